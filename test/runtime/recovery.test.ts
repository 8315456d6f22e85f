import { describe, expect, it } from 'vitest';
import { toHex, utf8 } from '../../attest/core/bytes.ts';
import type { Json } from '../../attest/encoding/canonical-json.ts';
import { parseLine } from '../../attest/trace/lines.ts';
import { planOf, readJournal } from '../../runtime/recovery.ts';
import { joinLines, linesOf } from '../support/forging.ts';
import { beginRun, itemEnds, planOfAgent, resumeRun, toyManaged, toyTools } from '../support/kill-cuts.ts';
import { type ToyGuest, toyVm } from '../support/toy-vm.ts';

const GUESTS: Readonly<Record<string, ToyGuest>> = {
  agent: async (ctx) => [await ctx.call('kv.get', { key: 'a' }), await ctx.call('tool', { name: 'one', input: 1 })],
  asks: async (ctx) => ctx.call('human.approve', { summary: '?', details: null, timeoutMs: 0 }),
  one: async (ctx) => ctx.input,
  two: async () => null,
};
const vm = toyVm(GUESTS);
const entry = toyManaged('agent', { tools: toyTools({ one: [], two: [] }) });
const input: Json = { deep: [1, { text: 'ä' }] };
const whole = (await beginRun(vm, entry, input)).bytes;
const lines = linesOf(whole);
const lineOf = (start: string, nth = 0) =>
  lines.flatMap((line, i) => (line.startsWith(start) ? [i] : []))[nth] as number;

describe('a journal', () => {
  it('is read whole: every record with its payloads, every checkpoint, to the last byte', async () => {
    const { items, keepBytes, closed, run } = await readJournal([whole]);
    expect(keepBytes).toBe(whole.length);
    expect(closed).toBe(true);
    expect(items.map((item) => (item.type === 'record' ? item.record.kind : item.type))).toEqual(
      itemEnds(whole).map(({ kind }) => kind),
    );
    expect(toHex(run)).toBe(toHex(planOfAgent(vm, entry, input).run));
  });

  it('is closed by its closed checkpoint alone', async () => {
    for (const { end } of itemEnds(whole).slice(0, -1)) {
      expect((await readJournal([whole.subarray(0, end)])).closed).toBe(false);
    }
  });

  it('is not closed by the checkpoint of a run that was put aside', async () => {
    const asking = toyManaged('asks', { grants: [{ capability: 'human.approve', approvers: [] }] });
    const { bytes, result } = await beginRun(vm, asking, null);
    expect(result.status).toBe('suspended');
    const { items, closed } = await readJournal([bytes]);
    expect(items.at(-1)?.type).toBe('checkpoint');
    expect(closed).toBe(false);
  });

  it('is kept up to its last whole item, wherever it is cut', async () => {
    const ends = itemEnds(whole).map(({ end }) => end);
    const first = ends[0] as number;
    const sizes = Array.from({ length: Math.ceil((whole.length - first) / 31) }, (_, i) => first + 31 * i);
    for (const size of [...sizes, ...ends, ...ends.map((end) => end - 1).slice(1)]) {
      const { keepBytes } = await readJournal([whole.subarray(0, size)]);
      expect(keepBytes, `cut at ${size}`).toBe(ends.findLast((end) => end <= size));
    }
  });

  it('is read the same in whatever pieces it comes', async () => {
    const expected = await readJournal([whole]);
    const pieces = Array.from({ length: Math.ceil(whole.length / 7) }, (_, i) => whole.subarray(7 * i, 7 * i + 7));
    expect(await readJournal(pieces)).toEqual(expected);
  });

  it('is empty before its first record is whole', async () => {
    const first = itemEnds(whole)[0]?.end ?? 0;
    for (const size of [0, 1, 20, linesOf(whole)[0]?.length ?? 0, first - 1, first - 40]) {
      await expect(readJournal([whole.subarray(0, size)]), `cut at ${size}`).rejects.toMatchObject({
        code: 'JOURNAL_EMPTY',
      });
    }
    expect((await readJournal([whole.subarray(0, first)])).items).toHaveLength(1);
  });

  const record = lineOf('{"record"', 3);
  const payload = lineOf('{"payload"', 6);
  const damaged: readonly (readonly [string, number, (all: string[]) => void])[] = [
    ['a line that is no line', record, (all) => all.splice(record, 1, '{}')],
    ['a line that is no JSON', record, (all) => all.splice(record, 1, 'x')],
    ['a header twice', record, (all) => all.splice(record, 0, lines[0] as string)],
    ['no header', 0, (all) => all.splice(0, 1)],
    ['a payload of nothing', record, (all) => all.splice(record, 0, lines[payload] as string)],
    ['a record where a payload is due', payload, (all) => all.splice(payload, 1)],
    ['another payload', payload, (all) => all.splice(payload, 1, lines[payload + 1] as string)],
    ['an empty line', record, (all) => all.splice(record, 0, '')],
  ];
  it.each(damaged)('with %s is corrupt, and says where', async (_name, line, damage) => {
    const all = [...lines];
    damage(all);
    const error = await readJournal([joinLines(all)]).catch((found: unknown) => found);
    expect(error).toMatchObject({ name: 'RecoveryError', code: 'JOURNAL_CORRUPT' });
    const { at } = error as { readonly at: { readonly line: number } };
    expect(Math.abs(at.line - line - 1)).toBeLessThanOrEqual(1);
  });

  it('with a payload taken out goes on no more', async () => {
    const all = [...lines];
    const parsed = parseLine(utf8(lines[payload] as string));
    if (parsed.type !== 'payload') throw new Error('no payload');
    all[payload] = JSON.stringify({ withheld: parsed.commitment });
    await expect(readJournal([joinLines(all)])).rejects.toMatchObject({
      code: 'PAYLOAD_WITHHELD',
      at: { line: payload + 1 },
    });
  });

  it('that was written on in another order than it says is not gone on with', async () => {
    const ends = itemEnds(whole);
    const cut = (from: number, to: number) => whole.subarray(ends[from - 1]?.end ?? 0, ends[to - 1]?.end);
    const swapped = Buffer.concat([cut(0, 2), cut(3, 4), cut(2, 3)]);
    await expect(resumeRun(vm, swapped)).rejects.toMatchObject({ name: expect.stringMatching(/TraceError|HostFault/) });
    const doubled = Buffer.concat([cut(0, 3), cut(2, 3)]);
    await expect(resumeRun(vm, doubled)).rejects.toMatchObject({ name: expect.stringMatching(/TraceError|HostFault/) });
  });
});

describe('the plan of a run', () => {
  it('is that with which it was begun', async () => {
    const { plan } = planOfAgent(vm, entry, input);
    const found = planOf(await readJournal([whole]));
    expect(found.openBody).toEqual(plan.openBody);
    expect(found.agent).toEqual(entry.agent);
    expect([...found.tools.keys()]).toEqual(['one', 'two']);
    expect(found.tools.get('one')).toEqual(entry.tools.get('one'));
    expect(found.policy).toEqual(entry.policy);
    expect(found.input).toEqual(input);
    expect([...found.openPayloads.byCommitment]).toEqual([...plan.openPayloads.byCommitment]);
  });

  it('needs record 0', async () => {
    const { items, run } = await readJournal([whole]);
    expect(() => planOf({ items: items.slice(1), run })).toThrow(expect.objectContaining({ code: 'JOURNAL_EMPTY' }));
  });
});
