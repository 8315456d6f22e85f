import { beforeAll, describe, expect, it } from 'vitest';
import { type Entry, readEntries } from '../../../agents/demo/forge.ts';
import { toHex } from '../../../attest/core/bytes.ts';
import { ZERO_DIGEST } from '../../../attest/core/hash.ts';
import { KvTree } from '../../../attest/trace/kv-tree.ts';
import { RunState } from '../../../attest/trace/state.ts';
import { patchEntry } from '../../support/forging.ts';
import { toyRun } from '../../support/toy-run.ts';

let entries: readonly Entry[];
let run: Uint8Array;

beforeAll(async () => {
  const toy = await toyRun();
  entries = await readEntries(toy.bytes);
  run = toy.result.checkpoint.run;
});

const input = ({ record, at, of, index }: Entry) => (of === index ? { record, at } : { record, at, of });
const entry = (index: number) => entries[index] as Entry;

describe('RunState', () => {
  it('chains heads and states', () => {
    const state = new RunState(run);
    expect([state.size, state.digest, state.last]).toEqual([0n, ZERO_DIGEST, run]);
    let [prev, pre] = [run, undefined as Uint8Array | undefined];
    for (const one of entries) {
      const head = state.apply(input(one));
      expect(head.prev).toEqual(prev);
      if (pre !== undefined) expect(head.pre).toEqual(pre);
      expect(head.post).toEqual(state.digest);
      [prev, pre] = [state.last, head.post];
    }
    expect(state.openStarts.size).toBe(0);
    expect(state.kvCommitment('nothing')).toEqual(ZERO_DIGEST);
    expect(toHex(state.kvCommitment('agent/greeting'))).toBe((entry(11).record.body as { request: string }).request);
    expect(state.counters).toMatchObject({ draws: 3n, steps: 9n });
  });

  it('has the digests that were fixed for the toy run', () => {
    const state = new RunState(run);
    const heads = entries.map((one) => state.apply(input(one)));
    expect(toHex(run)).toBe('0x86d4cae579411385db00e2191d60c454ede8fe25a4654ce6e4e778febee6290e');
    expect(toHex((heads[0] as (typeof heads)[0]).facts)).toBe(
      '0x8142b25e96ea4002c67d7c059ac900299444e33f7ae39d32880a3e3cf5b10428',
    );
    expect(toHex((heads[12] as (typeof heads)[0]).post)).toBe(
      '0x6f49400cd9970d28f6f42ae148609413fcea29cdcb3a94c905c00a6e98cf50e9',
    );
    expect(toHex(state.digest)).toBe('0xb942d28645f50bc94efbceb7358c245f88ecfd503380fecd61b97c1092d118e3');
  });

  it('changes with each thing that it commits to', () => {
    const digestAfter = (...some: readonly Entry[]) => {
      const state = new RunState(run);
      for (const one of some) state.apply(input(one));
      return toHex(state.digest);
    };
    const first = entries.slice(0, 3);
    const start = entry(3);
    const seen = [
      digestAfter(...first),
      digestAfter(...first, start),
      digestAfter(...first, patchEntry(start, 'call', 1)),
      digestAfter(...first, patchEntry(start, 'bytes', '0')),
      digestAfter(...first, start, entry(4)),
      digestAfter(...entries.slice(0, 20)),
      digestAfter(...entries.slice(0, 21)),
    ];
    expect(new Set(seen).size).toBe(seen.length);
  });

  it('gives the facts of a write: path, old and new commitment', () => {
    const state = new RunState(run);
    for (const one of entries.slice(0, 12)) state.apply(input(one));
    const failed = patchEntry(patchEntry(entry(12), 'response', null), 'error', 'TIMEOUT');
    const other = new RunState(run);
    for (const one of entries.slice(0, 12)) other.apply(input(one));
    expect(state.apply(input(entry(12))).facts).not.toEqual(other.apply(input(failed)).facts);
    expect(other.kvCommitment('agent/greeting')).toEqual(ZERO_DIGEST);
    expect(KvTree.pathOf('greeting')).toHaveLength(32);
  });
});
