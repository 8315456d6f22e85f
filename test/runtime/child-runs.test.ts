import { readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { Hex } from '../../attest/core/bytes.ts';
import type { Json } from '../../attest/encoding/canonical-json.ts';
import { addressOf } from '../../attest/sign/secp256k1.ts';
import { hashGuestCode } from '../../attest/trace/guest.ts';
import type { ManagedAgent, RunManager } from '../../runtime/manager-types.ts';
import { APPROVER_KEY } from '../support/kill-agents.ts';
import { countingWorld, kindsOf, toyManaged } from '../support/kill-cuts.ts';
import {
  copyFolder,
  decide,
  openFolder,
  order,
  recordAt,
  until,
  untilStatus,
  verifyIn,
} from '../support/kill-folder.ts';
import { fetchFrom } from '../support/managed.ts';
import { type ToyGuest, toyVm } from '../support/toy-vm.ts';

const child = (agent: string, input: Json = null): Json => ({ agent, input });
type Failed = { readonly code: string; readonly message: string };
const caught = (error: Failed): Json => [error.code, error.message];

const GUESTS: Readonly<Record<string, ToyGuest>> = {
  parent: async (ctx) => {
    const names = ctx.input as readonly string[];
    const answers = await Promise.all(
      names.map((name) => ctx.call('run.child', child(name, { of: name })).catch(caught)),
    );
    return { answers, after: await ctx.call('random.bytes', { length: 1 }) };
  },
  echo: async (ctx) => [ctx.input, await ctx.call('random.bytes', { length: 2 })],
  fails: async () => {
    throw new Error('not today');
  },
  asks: async (ctx) => (await ctx.call('human.approve', { summary: '?', details: null, timeoutMs: 0 })) as Json,
  greedy: async (ctx) => {
    for (let i = 0; i < 50; i++) await ctx.call('kv.put', { key: 'k', value: 'x'.repeat(1000) });
    return null;
  },
  nested: async (ctx) => ctx.call('run.child', child('echo', 'deep')),
  posts: async (ctx) => ctx.call('http.fetch', order('from a child')),
};
const vm = toyVm(GUESTS);
const grantOf = (...agents: readonly ManagedAgent[]) => ({
  capability: 'run.child' as const,
  agents: agents.map(({ name, agent, limits }) => ({ name, digest: hashGuestCode(agent), limits })),
});
const APPROVER = addressOf(APPROVER_KEY);
const shop = fetchFrom('http://shop.test', { idempotent: true });
const echo = toyManaged('echo');
const fails = toyManaged('fails');
const asks = toyManaged('asks', { grants: [{ capability: 'human.approve', approvers: [APPROVER] }] });
const greedy = toyManaged('greedy', { limits: { bytes: '20000' } });
const nested = toyManaged('nested', { grants: [grantOf(echo)] });
const posts = toyManaged('posts', { grants: [shop] });
const children = [echo, fails, asks, greedy, nested, posts];
const parent = toyManaged('parent', { grants: [grantOf(...children)] });
const all = [parent, ...children];

const childrenOf = (manager: RunManager, run: Hex) => manager.list().filter((status) => status.parent?.run === run);
const answersOf = (output: Json) => (output as { readonly answers: readonly Json[] }).answers;

describe('a child run', () => {
  it('is a run of its own, which says whose it is and is found again by its parent’s record', async () => {
    const { manager } = await openFolder(vm, all);
    const { run } = await manager.create({ agent: 'parent', input: ['echo'] });
    const done = await manager.settled(run);
    expect(answersOf(done.output)).toEqual([[{ of: 'echo' }, expect.stringMatching(/^0x[0-9a-f]{4}$/)]]);
    const [own] = childrenOf(manager, run);
    expect(own).toMatchObject({ agent: 'echo', status: 'done', parent: { run, index: '3' }, seedFrom: 'operator' });
    expect(await recordAt(manager, run, 4n)).toMatchObject({ body: { run: own?.run, status: 'done', error: null } });
    expect(await verifyIn(vm, manager, run)).toMatchObject({ verdict: 'MATCH' });
    expect(await verifyIn(vm, manager, own?.run as Hex)).toMatchObject({ verdict: 'MATCH' });
    expect(await verifyIn(vm, manager, run, false)).toMatchObject({ verdict: 'CANNOT_RECOMPUTE', code: 'CHILD_RUN' });
  });

  it('tells its parent how it ended, in every way', async () => {
    const { manager } = await openFolder(vm, all);
    const { run } = await manager.create({ agent: 'parent', input: ['fails', 'greedy', 'echo', 'nested', 'other'] });
    const done = await manager.settled(run);
    expect(answersOf(done.output)).toEqual([
      ['TOOL_ERROR', 'not today'],
      ['OUT_OF_BUDGET', "the run's limit of bytes is reached"],
      expect.anything(),
      ['deep', expect.anything()],
      ['CAPABILITY_DENIED', 'run.child is denied by agent.default'],
    ]);
    expect(await verifyIn(vm, manager, run)).toMatchObject({ verdict: 'MATCH' });
  });

  it('is lost where its agent is not here', async () => {
    const { manager } = await openFolder(vm, [parent, echo]);
    const { run } = await manager.create({ agent: 'parent', input: ['fails', 'echo'] });
    const done = await manager.settled(run);
    expect(answersOf(done.output)).toEqual([['HOST_CALL_FAILED', 'HOST_FAULT'], expect.anything()]);
    expect(await verifyIn(vm, manager, run)).toMatchObject({ verdict: 'MATCH', lost: 1 });
  });

  it('that waits for a person has its parent wait, both put aside, over restarts', async () => {
    const first = await openFolder(vm, all);
    const { run } = await first.manager.create({ agent: 'parent', input: ['asks', 'echo'] });
    const status = await untilStatus(first.manager, run, 'suspended');
    expect(status).toMatchObject({
      reason: 'child',
      waiting: [{ for: 'child', capability: 'run.child', target: 'asks' }],
    });
    const own = childrenOf(first.manager, run).find(({ agent }) => agent === 'asks');
    expect(own).toMatchObject({ status: 'suspended', reason: 'approval' });
    await first.manager.close();
    const second = await openFolder(vm, all, {}, first.folder);
    const index = own?.waiting[0]?.index as string;
    await second.manager.approve(
      own?.run as Hex,
      BigInt(index),
      await decide(second.manager, own?.run as Hex, index, APPROVER, APPROVER_KEY),
    );
    const done = await untilStatus(second.manager, run, 'done');
    expect(answersOf(done.output)[0]).toMatchObject({ approved: true });
    expect(await verifyIn(vm, second.manager, run)).toMatchObject({ verdict: 'MATCH' });
    expect(second.faults).toEqual([]);
  });

  it('that ended while its parent was not told of it is told when the folder is opened again', async () => {
    const first = await openFolder(vm, all);
    const { run } = await first.manager.create({ agent: 'parent', input: ['asks'] });
    await untilStatus(first.manager, run, 'suspended');
    const before = copyFolder(first.folder);
    const own = childrenOf(first.manager, run)[0]?.run as Hex;
    const word = await decide(first.manager, own, '3', APPROVER, APPROVER_KEY);
    await first.manager.approve(own, 3n, word);
    await untilStatus(first.manager, run, 'done');
    await first.manager.close();
    // The child is over, its parent still as it was put aside: the process ended between the two.
    for (const name of readdirSync(first.folder)) if (name.includes(own.slice(2))) continue;
    const { cpSync } = await import('node:fs');
    for (const name of [`${own.slice(2)}.trace`, `${own.slice(2)}.status.json`])
      cpSync(join(first.folder, name), join(before, name));
    const second = await openFolder(vm, all, {}, before);
    expect(await untilStatus(second.manager, run, 'done')).toMatchObject({ status: 'done' });
    expect(await verifyIn(vm, second.manager, run)).toMatchObject({ verdict: 'MATCH' });
  });

  it('goes on under its parent after a crash of both, and is not begun twice', async () => {
    const world = countingWorld();
    let release: () => void = () => {};
    const open = new Promise<void>((resolve) => {
      release = resolve;
    });
    const http: typeof world.http = async (...request) => {
      const answer = await world.http(...request);
      await open;
      return answer;
    };
    const first = await openFolder(vm, all, { http });
    const { run } = await first.manager.create({ agent: 'parent', input: ['posts', 'posts'] });
    await until(() => world.requests() === 2);
    const folder = copyFolder(first.folder);
    release();
    const second = await openFolder(vm, all, { http: world.http }, folder);
    expect(await untilStatus(second.manager, run, 'done')).toMatchObject({ status: 'done' });
    expect(childrenOf(second.manager, run)).toHaveLength(2);
    expect(world.keys.size).toBe(2);
    expect(world.requests()).toBe(4);
    expect(await verifyIn(vm, second.manager, run)).toMatchObject({ verdict: 'MATCH' });
    expect(second.faults).toEqual([]);
    // A parent whose child was never begun begins it.
    await first.manager.settled(run);
    const third = copyFolder(folder);
    await second.manager.close();
    for (const name of readdirSync(third))
      if (!name.startsWith(run.slice(2)) || name.endsWith('.json')) rmSync(join(third, name));
    const bytes = readFileSync(join(third, `${run.slice(2)}.trace`));
    expect(kindsOf(bytes)).toContain('run.child.start');
  });

  it('is ended with its parent, at work or put aside', async () => {
    const world = countingWorld();
    const http: typeof world.http = async (...request) => {
      await world.http(...request);
      return new Promise((_, reject) =>
        request[2].signal?.addEventListener('abort', () => reject(new Error('aborted'))),
      );
    };
    const { manager } = await openFolder(vm, all, { http });
    const { run } = await manager.create({ agent: 'parent', input: ['posts', 'asks'] });
    await until(() => world.requests() === 1 && childrenOf(manager, run).some(({ status }) => status === 'suspended'));
    expect(await manager.cancel(run)).toMatchObject({ status: 'cancelled' });
    await until(() => childrenOf(manager, run).every(({ status }) => status === 'cancelled'));
    for (const own of childrenOf(manager, run)) {
      await manager.settled(own.run);
      expect(await verifyIn(vm, manager, own.run)).toMatchObject({ verdict: 'MATCH', status: 'cancelled' });
    }
    expect(await verifyIn(vm, manager, run)).toMatchObject({ verdict: 'MATCH', status: 'cancelled', lost: 2 });
  });

  it('that is put aside is ended when its parent is found over', async () => {
    const first = await openFolder(vm, all);
    const { run } = await first.manager.create({ agent: 'parent', input: ['asks'] });
    await untilStatus(first.manager, run, 'suspended');
    const before = copyFolder(first.folder);
    const own = childrenOf(first.manager, run)[0]?.run as Hex;
    await first.manager.cancel(run);
    await first.manager.close();
    const { cpSync } = await import('node:fs');
    for (const name of [`${run.slice(2)}.trace`, `${run.slice(2)}.status.json`])
      cpSync(join(first.folder, name), join(before, name));
    const second = await openFolder(vm, all, {}, before);
    expect(await untilStatus(second.manager, own, 'cancelled')).toMatchObject({ status: 'cancelled' });
  });
});
