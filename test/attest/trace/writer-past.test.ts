import { beforeAll, describe, expect, it } from 'vitest';
import { equalBytes } from '../../../attest/core/bytes.ts';
import { type PastItem, TraceWriter } from '../../../attest/trace/writer.ts';
import { OFF_CHAIN } from '../../../runtime/plan.ts';
import { type Journaled, planOf, readJournal } from '../../../runtime/recovery.ts';
import { beginRun, itemEnds, toyManaged } from '../../support/kill-cuts.ts';
import { OPERATOR_KEY } from '../../support/toy-run.ts';
import { toyVm } from '../../support/toy-vm.ts';

const vm = toyVm({
  two: async (ctx) => [
    await ctx.call('kv.put', { key: 'a', value: 'b' }),
    await ctx.call('random.bytes', { length: 2 }),
  ],
});

let whole: Uint8Array;
let journaled: Journaled;

beforeAll(async () => {
  whole = (await beginRun(vm, toyManaged('two'), null)).bytes;
  journaled = await readJournal([whole.subarray(0, itemEnds(whole)[5]?.end)]);
});

function writerOver(items: readonly PastItem[] = journaled.items, run = journaled.run) {
  const written: Uint8Array[] = [];
  const sink = { append: async (bytes: Uint8Array) => void written.push(bytes) };
  const writer = new TraceWriter(
    { sink, now: () => 1_900_000_000_000, salt: () => new Uint8Array(32).fill(5) },
    run,
    OFF_CHAIN,
    OPERATOR_KEY,
    items,
  );
  return { writer, written };
}

/** Says again what record `index` says. */
async function again(
  writer: TraceWriter,
  index: number,
  change: (body: { [field: string]: unknown }) => void = () => undefined,
) {
  const item = journaled.items[index];
  if (item?.type !== 'record') throw new Error(`no record ${index}`);
  const set = writer.payloads();
  for (const payload of item.payloads.values()) set.add(payload);
  const body = structuredClone(item.record.body) as unknown as { [field: string]: unknown };
  change(body);
  const of = item.head.of === item.head.index ? undefined : item.head.of;
  return writer.append(item.record.kind, body as never, set, of);
}

describe('a writer with a past', () => {
  it('writes nothing while it is told what it knows, and gives the heads that stand there', async () => {
    const { writer, written } = writerOver();
    for (const [i, item] of journaled.items.entries()) {
      if (item.type !== 'record') continue;
      expect(writer.next?.head.index).toBe(item.head.index);
      expect(await again(writer, i)).toEqual(item.head);
    }
    expect(written).toEqual([]);
    expect(writer.next).toBeUndefined();
    expect(writer.state.size).toBe(BigInt(journaled.items.length));
    expect(writer.unsigned).toBe(journaled.items.length);
  });

  it('goes on behind its past: same tree, time not before it, no second header', async () => {
    const { writer, written } = writerOver();
    while (writer.next !== undefined) writer.take();
    const { body } = planOf(journaled) && { body: journaled.open };
    expect(body.operator).toBe(journaled.open.operator);
    const checkpoint = await writer.checkpoint();
    expect(checkpoint).toMatchObject({ size: BigInt(journaled.items.length), closed: false });
    expect(Buffer.concat(written).toString()).toMatch(/^\{"checkpoint"/);
    const both = await readJournal([Buffer.concat([whole.subarray(0, journaled.keepBytes), ...written])]);
    const later = writerOver(both.items);
    while (later.writer.next !== undefined) later.writer.take();
    expect(equalBytes((await later.writer.checkpoint()).signature, checkpoint.signature)).toBe(true);
    expect(later.written).toEqual([]);
    expect(later.writer.unsigned).toBe(0);
  });

  it('stops what says something else than its past', async () => {
    const cases: readonly (readonly [number, (body: { [field: string]: unknown }) => void])[] = [
      [0, (body) => Object.assign(body, { attempt: '1' })],
      [1, (body) => Object.assign(body, { fuel: '99' })],
      [2, (body) => Object.assign(body, { decision: 'deny' })],
      [3, (body) => Object.assign(body, { call: 9 })],
    ];
    for (const [index, change] of cases) {
      const { writer, written } = writerOver();
      for (let i = 0; i < index; i++) writer.take();
      await expect(again(writer, index, change), `record ${index}`).rejects.toMatchObject({
        code: 'JOURNAL_MISMATCH',
        at: { field: 'body' },
      });
      expect(written).toEqual([]);
      // Nothing was taken: it may still be told right.
      expect((await again(writer, index)).index).toBe(BigInt(index));
    }
  });

  it('stops another kind of record, and an end of another start', async () => {
    const { writer } = writerOver();
    writer.take();
    await expect(again(writer, 2)).rejects.toMatchObject({ code: 'JOURNAL_MISMATCH', at: { field: 'head.kind' } });
    for (let i = 1; i < 4; i++) writer.take();
    const end = journaled.items[4];
    if (end?.type !== 'record') throw new Error('no end');
    expect(writer.completes(3n)).toBe(true);
    expect(writer.completes(2n)).toBe(false);
    await expect(writer.append(end.record.kind, end.record.body as never, writer.payloads(), 2n)).rejects.toMatchObject(
      { code: 'JOURNAL_MISMATCH' },
    );
  });

  it('signs nothing amid its past', async () => {
    const { writer } = writerOver();
    writer.take();
    await expect(writer.checkpoint()).rejects.toThrow(TypeError);
    while (writer.next !== undefined) writer.take();
    expect(() => writer.take()).toThrow(TypeError);
  });

  it('takes no record that does not follow from those before it', async () => {
    const [first, second] = journaled.items as [PastItem, PastItem];
    if (first.type !== 'record' || second.type !== 'record') throw new Error('no records');
    for (const head of [
      { ...second.head, prev: new Uint8Array(32).fill(7) },
      { ...second.head, post: new Uint8Array(32).fill(7) },
      { ...second.head, facts: new Uint8Array(32).fill(7) },
    ]) {
      const { writer } = writerOver([first, { ...second, head }]);
      writer.take();
      expect(() => writer.take()).toThrow(expect.objectContaining({ name: 'TraceError' }));
    }
  });

  it('takes no checkpoint that is none of its past', async () => {
    const all = await readJournal([whole]);
    const last = all.items.at(-1);
    if (last?.type !== 'checkpoint') throw new Error('no checkpoint');
    const { checkpoint } = last;
    for (const change of [
      { size: checkpoint.size - 1n },
      { root: new Uint8Array(32) },
      { state: new Uint8Array(32) },
      { run: new Uint8Array(32) },
      { closed: false },
    ]) {
      const { writer } = writerOver([
        ...all.items.slice(0, -1),
        { type: 'checkpoint', checkpoint: { ...checkpoint, ...change } },
      ]);
      const takeAll = () => {
        while (writer.next !== undefined) writer.take();
      };
      expect(takeAll, Object.keys(change)[0]).toThrow(
        expect.objectContaining({ code: 'JOURNAL_MISMATCH', at: { field: 'checkpoint' } }),
      );
    }
    const { writer } = writerOver(all.items);
    while (writer.next !== undefined) writer.take();
    expect(writer.closed).toBe(true);
    expect(await writer.checkpoint()).toEqual(checkpoint);
  });

  it('keeps the salts of what it says again, one for each', () => {
    const { writer } = writerOver();
    const set = writer.payloads();
    const input = journaled.items[0]?.type === 'record' ? journaled.items[0].payloads.get('body.input') : undefined;
    const said = set.json(null);
    expect([...set.byCommitment.values()][0]?.salt).toEqual(input?.salt);
    // The same once more has no salt in the past.
    expect(set.json(null)).not.toBe(said);
  });
});
