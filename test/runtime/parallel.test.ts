import { describe, expect, it } from 'vitest';
import { type Entry, readEntries } from '../../agents/demo/forge.ts';
import type { Json } from '../../attest/encoding/canonical-json.ts';
import { beginRun, itemEnds, kindsOf, resumeRun, toyManaged, toyTools, verifyRun } from '../support/kill-cuts.ts';
import { fetchFrom } from '../support/managed.ts';
import { type ToyGuest, toyVm } from '../support/toy-vm.ts';

/** Requests wait until the test answers them, in any order. */
function answering() {
  const open = new Map<string, () => void>();
  let most = 0;
  const http = async (_grant: unknown, { body }: { readonly body: string | null }) => {
    await new Promise<void>((resolve) => {
      open.set(body ?? '', resolve);
      most = Math.max(most, open.size);
    });
    open.delete(body ?? '');
    return { ok: true as const, value: { status: 200, headers: {}, body: body ?? '' } };
  };
  const answer = async (...bodies: readonly string[]) => {
    for (const body of bodies) {
      while (!open.has(body)) await new Promise((resolve) => setTimeout(resolve, 1));
      open.get(body)?.();
      while (open.has(body)) await new Promise((resolve) => setTimeout(resolve, 0));
    }
  };
  return { http, answer, open, most: () => most };
}

const post = (body: string): Json => ({ url: 'http://shop.test/', method: 'POST', headers: {}, body });
const text = (value: Json) => (value as { readonly body: string }).body;
const GUESTS: Readonly<Record<string, ToyGuest>> = {
  three: async (ctx) => {
    const order: Json[] = [];
    const use = (input: string) => ctx.call('tool', { name: 'posts', input }).then((value) => order.push(value));
    await Promise.all([use('a'), use('b'), use('c')]);
    return order;
  },
  posts: async (ctx) => text(await ctx.call('http.fetch', post(ctx.input as string))),
  both: async (ctx) => {
    const order: Json[] = [];
    const seen = (name: string) => (value: Json) => order.push([name, typeof value === 'object' ? 'value' : value]);
    const tool = ctx.call('tool', { name: 'posts', input: 'slow' }).then(seen('tool'));
    await ctx.call('kv.put', { key: 'a', value: '1' }).then(seen('kv'));
    await ctx.call('random.bytes', { length: 1 }).then(() => order.push('random'));
    await tool;
    return order;
  },
  many: async (ctx) => {
    const calls = Array.from({ length: 40 }, (_, i) => ctx.call('http.fetch', post(`n${i}`)).then(text));
    return (await Promise.all(calls)).length;
  },
  leaves: async (ctx) => {
    ctx.call('tool', { name: 'posts', input: 'x' }).catch(() => null);
    ctx.call('http.fetch', post('y')).catch(() => null);
    return ctx.call('http.fetch', post('z')).then(() => 'gone');
  },
  left: async (ctx) => [await ctx.call('tool', { name: 'quits', input: null }), await ctx.call('kv.get', { key: 'a' })],
  quits: async (ctx) => {
    ctx.call('http.fetch', post('left')).catch(() => null);
    await ctx.call('random.bytes', { length: 1 });
    // Never decided: the tool is over.
    ctx.call('random.bytes', { length: 2 }).catch(() => null);
    return 'quit';
  },
  starving: async (ctx) => {
    const use = (input: string) =>
      ctx.call('tool', { name: 'posts', input }).catch((error: { code: string }) => error.code);
    return Promise.all(['a', 'b', 'c', 'd'].map(use));
  },
};
const vm = toyVm(GUESTS);
const shop = fetchFrom('http://shop.test', { idempotent: true });
const agent = (name: string, limits = {}) =>
  toyManaged(name, { grants: [shop], tools: toyTools({ posts: [shop] }), limits });
const of = (entries: readonly Entry[], kind: string) => entries.filter(({ record }) => record.kind === kind);

describe('calls side by side', () => {
  it('run together, and their ends are recorded in the order in which they came', async () => {
    const world = answering();
    const going = beginRun(vm, agent('three'), null, world as never);
    await world.answer('b', 'c', 'a');
    const { bytes, result } = await going;
    expect(result).toMatchObject({ status: 'done', output: ['b', 'c', 'a'] });
    expect(world.most()).toBe(3);
    const kinds = kindsOf(bytes);
    // All three are under way before the first of them ends.
    expect(kinds.lastIndexOf('tool.start')).toBeLessThan(kinds.indexOf('tool.end'));
    const entries = await readEntries(bytes);
    const starts = of(entries, 'tool.start').map(({ index }) => index);
    expect(of(entries, 'tool.end').map((entry) => starts.indexOf(entry.of))).toEqual([1, 2, 0]);
    expect(await verifyRun(vm, bytes)).toMatchObject({ verdict: 'MATCH' });
  });

  it('let the agent go on while a tool works', async () => {
    const world = answering();
    const going = beginRun(vm, agent('both'), null, world as never);
    while (world.open.size === 0) await new Promise((resolve) => setTimeout(resolve, 1));
    await new Promise((resolve) => setTimeout(resolve, 10));
    await world.answer('slow');
    const { bytes, result } = await going;
    expect(result).toMatchObject({ output: [['kv', 'value'], 'random', ['tool', 'slow']] });
    expect(await verifyRun(vm, bytes)).toMatchObject({ verdict: 'MATCH' });
  });

  it('are at most 32 at once; the others are started as they end', async () => {
    const world = answering();
    const going = beginRun(vm, agent('many'), null, world as never);
    for (let i = 0; i < 40; i++) await world.answer(`n${i}`);
    const { bytes, result } = await going;
    expect(result).toMatchObject({ status: 'done', output: 40 });
    expect(world.most()).toBe(32);
    const kinds = kindsOf(bytes);
    expect(kinds.slice(0, kinds.indexOf('host.end')).filter((kind) => kind === 'host.start')).toHaveLength(32);
    expect(await verifyRun(vm, bytes)).toMatchObject({ verdict: 'MATCH' });
  });

  it('are lost when the agent has ended', async () => {
    const world = answering();
    const going = beginRun(vm, agent('leaves'), null, world as never);
    while (world.open.size < 3) await new Promise((resolve) => setTimeout(resolve, 1));
    await world.answer('z');
    const { bytes, result } = await going;
    expect(result).toMatchObject({ status: 'done', output: 'gone' });
    const entries = await readEntries(bytes);
    const lost = entries.filter(({ record }) => record.kind.endsWith('.lost'));
    expect(lost.map(({ record }) => [record.kind, (record.body as { reason: string }).reason])).toEqual([
      // What a tool started before the tool.
      ['host.lost', 'CANCELLED'],
      ['host.lost', 'CANCELLED'],
      ['tool.lost', 'CANCELLED'],
    ]);
    expect(await verifyRun(vm, bytes)).toMatchObject({ verdict: 'MATCH', lost: 3 });
  });

  it('of a tool are lost when the tool has ended, and the agent goes on', async () => {
    const entry = toyManaged('left', { tools: toyTools({ quits: [shop, { capability: 'random.bytes' }] }) });
    const { bytes, result } = await beginRun(vm, entry, null, answering() as never);
    expect(result).toMatchObject({ status: 'done', output: ['quit', null] });
    const kinds = kindsOf(bytes);
    expect(kinds.slice(kinds.indexOf('host.lost'), kinds.indexOf('host.lost') + 3)).toEqual([
      'host.lost',
      'tool.end',
      'agent',
    ]);
    expect(await verifyRun(vm, bytes)).toMatchObject({ verdict: 'MATCH', lost: 1 });
    for (const { end } of itemEnds(bytes)) {
      const again = await resumeRun(vm, bytes.subarray(0, end), answering() as never);
      expect(again.result, `cut at ${end}`).toMatchObject({ status: 'done', output: ['quit', null] });
      expect(await verifyRun(vm, again.bytes)).toMatchObject({ verdict: 'MATCH', lost: 1 });
    }
  });

  it('are granted no more fuel together than the run has, and wait for what others leave', async () => {
    const world = answering();
    // The agent's code may use 300 million, each tool 300 million: two tools at a time, and no more.
    const going = beginRun(vm, agent('starving', { fuel: '1000000000' }), null, world as never);
    while (world.open.size < 3) await new Promise((resolve) => setTimeout(resolve, 1));
    expect([...world.open.keys()]).toEqual(['a', 'b', 'c']);
    await world.answer('b', 'a', 'c', 'd');
    const { bytes, result } = await going;
    expect(result).toMatchObject({ status: 'done', output: ['a', 'b', 'c', 'd'] });
    const kinds = kindsOf(bytes);
    expect(kinds.slice(0, kinds.indexOf('tool.end')).filter((kind) => kind === 'tool.start')).toHaveLength(3);
    expect(await verifyRun(vm, bytes)).toMatchObject({ verdict: 'MATCH' });
  });

  it('end the run where no fuel is left for a tool though none is under way', async () => {
    const { bytes, result } = await beginRun(vm, agent('starving', { fuel: '300000000' }), null, answering() as never);
    expect(result).toMatchObject({
      status: 'out-of-budget',
      error: { code: 'OUT_OF_BUDGET', message: "the run's limit of fuel is reached" },
    });
    expect(kindsOf(bytes)).toEqual(['run.open', 'agent', 'policy', 'run.close']);
    expect(await verifyRun(vm, bytes)).toMatchObject({ verdict: 'MATCH', status: 'out-of-budget' });
  });
});
