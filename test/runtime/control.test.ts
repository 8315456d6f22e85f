import { readdirSync, readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Json } from '../../attest/encoding/canonical-json.ts';
import { ControlError, RunControl } from '../../runtime/control.ts';
import { openQuickJsVm } from '../../runtime/sandbox/quickjs-vm.ts';
import type { Vm } from '../../runtime/sandbox/vm.ts';
import { countingWorld, kindsOf, toyManaged } from '../support/kill-cuts.ts';
import { openFolder, order, recordAt, until, untilStatus, verifyIn } from '../support/kill-folder.ts';
import { fetchFrom, managed } from '../support/managed.ts';
import { type ToyGuest, toyVm } from '../support/toy-vm.ts';

const GUESTS: Readonly<Record<string, ToyGuest>> = {
  waits: async (ctx) => ctx.call('human.approve', { summary: '?', details: null, timeoutMs: 0 }),
  fetches: async (ctx) => {
    const out: Json[] = [];
    for (let i = 0; i < 3; i++)
      out.push(await ctx.call('http.fetch', order(`n${i}`)).catch((error: Error) => error.message));
    return out.length;
  },
};
const toy = toyVm(GUESTS);
const shop = fetchFrom('http://shop.test', { idempotent: true });
const waits = toyManaged('waits', { grants: [{ capability: 'human.approve', approvers: [] }] });
const fetches = toyManaged('fetches', { grants: [shop] });

/** A world in which every request waits until it is let go, or its run ends. */
function slowWorld() {
  const world = countingWorld();
  let letGo: () => void = () => {};
  let aborted = 0;
  const http: typeof world.http = async (...request) => {
    const answer = await world.http(...request);
    await new Promise<void>((resolve, reject) => {
      letGo = resolve;
      request[2].signal?.addEventListener('abort', () => {
        aborted += 1;
        reject(request[2].signal?.reason);
      });
    });
    return answer;
  };
  return { ...world, http, letGo: () => letGo(), aborted: () => aborted };
}

describe('the steering wheel of a run', () => {
  it('keeps words until they are taken, and refuses what comes after the end', async () => {
    const control = new RunControl();
    let heard = 0;
    control.listen(() => {
      heard += 1;
    });
    const said = control.say(3n, { type: 'child' });
    const left = control.say(4n, { type: 'reconcile', how: 'lost' });
    expect(heard).toBe(2);
    const word = control.takeWord();
    expect(word).toMatchObject({ type: 'child', index: 3n });
    word?.accept();
    await said;
    control.end();
    await expect(left).rejects.toMatchObject({ code: 'RUN_OVER' });
    await expect(control.say(5n, { type: 'child' })).rejects.toBeInstanceOf(ControlError);
    expect(control.takeWord()).toBeUndefined();
    control.cancel();
    expect(heard).toBe(2);
    expect([control.cancelled, control.paused, control.left, control.over]).toEqual([true, false, false, true]);
  });
});

describe('a run that is steered', () => {
  it('is cancelled while it is put aside', async () => {
    const { manager } = await openFolder(toy, [waits]);
    const { run } = await manager.create({ agent: 'waits', input: null });
    await untilStatus(manager, run, 'suspended');
    expect(await manager.cancel(run)).toMatchObject({ status: 'cancelled', output: null, waiting: [], wakeAt: null });
    expect(await recordAt(manager, run, 4n)).toMatchObject({ body: { reason: 'CANCELLED' } });
    expect(await verifyIn(toy, manager, run)).toMatchObject({ verdict: 'MATCH', status: 'cancelled' });
    await expect(manager.cancel(run)).rejects.toMatchObject({ code: 'WRONG_STATE' });
    await expect(manager.resume(run)).rejects.toMatchObject({ code: 'WRONG_STATE' });
  });

  it('is cancelled during a request, which is broken off', async () => {
    const world = slowWorld();
    const { manager } = await openFolder(toy, [fetches], world);
    const { run } = await manager.create({ agent: 'fetches', input: null });
    await until(() => world.requests() === 1);
    expect(await manager.cancel(run)).toMatchObject({ status: 'cancelled' });
    expect(world.aborted()).toBe(1);
    expect(kindsOf(readFileSync(manager.bundle(run))).slice(-2)).toEqual(['host.lost', 'run.close']);
    expect(await verifyIn(toy, manager, run)).toMatchObject({ verdict: 'MATCH', status: 'cancelled', lost: 1 });
  });

  it('is cancelled at whatever moment it is said', async () => {
    for (let ms = 0; ms < 10; ms++) {
      const { manager } = await openFolder(toy, [waits]);
      const { run } = await manager.create({ agent: 'waits', input: null });
      await new Promise((resolve) => setTimeout(resolve, ms));
      expect(await manager.cancel(run)).toMatchObject({ status: 'cancelled' });
    }
  });

  it('is paused once nothing is under way, and starts nothing more', async () => {
    const world = slowWorld();
    const { manager } = await openFolder(toy, [fetches], world);
    const { run } = await manager.create({ agent: 'fetches', input: null });
    await until(() => world.requests() === 1);
    const paused = manager.pause(run);
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(manager.get(run).status).toBe('running');
    world.letGo();
    expect(await paused).toMatchObject({ status: 'suspended', reason: 'paused', waiting: [] });
    expect(await manager.pause(run)).toMatchObject({ status: 'suspended' });
    expect(world.requests()).toBe(1);
    const before = kindsOf(readFileSync(manager.bundle(run)));
    expect(before.at(-1)).toBe('agent');
    await manager.resume(run);
    await until(() => world.requests() === 2);
    world.letGo();
    await until(() => world.requests() === 3);
    world.letGo();
    expect(await manager.settled(run)).toMatchObject({ status: 'done', output: 3 });
    expect([...world.performed.values()]).toEqual([1, 1, 1]);
    expect(await verifyIn(toy, manager, run)).toMatchObject({ verdict: 'MATCH' });
  });

  it('closes as out of budget when its time is over during a request', async () => {
    const world = slowWorld();
    // The clock stands still at the very millisecond.
    let clock = 1_800_000_000_000;
    const { manager } = await openFolder(toy, [fetches], { ...world, now: () => clock });
    const { run } = await manager.create({ agent: 'fetches', input: null, limits: { wallMs: '150' } });
    await until(() => world.requests() === 1);
    clock += 150;
    expect(await manager.settled(run)).toMatchObject({ status: 'out-of-budget', error: { code: 'OUT_OF_BUDGET' } });
    expect(world.aborted()).toBe(1);
    expect(await recordAt(manager, run, 4n)).toMatchObject({ body: { reason: 'DEADLINE' } });
    expect(await verifyIn(toy, manager, run)).toMatchObject({ verdict: 'MATCH', status: 'out-of-budget' });
  });

  it('is left as it stands when its manager is closed, and goes on after that', async () => {
    const world = slowWorld();
    const first = await openFolder(toy, [fetches], world);
    const { run } = await first.manager.create({ agent: 'fetches', input: null });
    await until(() => world.requests() === 1);
    const before = readFileSync(first.manager.bundle(run));
    await first.manager.close();
    expect(readFileSync(first.manager.bundle(run)).equals(before)).toBe(true);
    const calm = countingWorld();
    const second = await openFolder(toy, [fetches], { http: calm.http }, first.folder);
    expect(await untilStatus(second.manager, run, 'done')).toMatchObject({ status: 'done', output: 3 });
    expect([...calm.keys.keys()][0]).toBe([...world.keys.keys()][0]);
  });
});

describe('guests in processes', () => {
  let vm: Vm;
  beforeAll(async () => {
    vm = await openQuickJsVm();
  });
  afterAll(() => vm.close());

  const spins = managed('spins', `await call('kv.put', { key: 'a', value: 'b' }); for (;;);`);
  const uses = managed('uses', `return call('tool', { name: 'spins', input: null });`, {
    tools: {
      spins: { body: `await call('random.bytes', { length: 1 }); for (;;);`, grants: [{ capability: 'random.bytes' }] },
    },
  });
  const endless = (entry: typeof spins) => ({
    ...entry,
    agent: { ...entry.agent, limits: { ...entry.agent.limits, fuel: '4000000000000' } },
    tools: new Map(
      [...entry.tools].map(([name, code]) => [name, { ...code, limits: { ...code.limits, fuel: '4000000000000' } }]),
    ),
    limits: { ...entry.limits, fuel: '9000000000000' },
  });

  it.each([
    ['the agent', endless(spins), 'host.end'],
    ['a tool', endless(uses), 'host.end'],
  ] as const)(
    'are ended in the middle of an endless loop of %s when the run is cancelled',
    async (_who, entry, last) => {
      const { manager } = await openFolder(vm, [entry]);
      const { run } = await manager.create({ agent: entry.name, input: null });
      await until(() => kindsOf(readFileSync(manager.bundle(run))).includes(last));
      await new Promise((resolve) => setTimeout(resolve, 30));
      expect(await manager.cancel(run)).toMatchObject({ status: 'cancelled', error: null });
      expect(kindsOf(readFileSync(manager.bundle(run))).slice(-1)).toEqual(['run.close']);
    },
  );

  it('are ended in an endless loop when the manager is closed', async () => {
    const entry = endless(spins);
    const { manager } = await openFolder(vm, [entry]);
    const { run } = await manager.create({ agent: 'spins', input: null });
    await until(() => kindsOf(readFileSync(manager.bundle(run))).includes('host.end'));
    await manager.close();
    expect(kindsOf(readFileSync(manager.bundle(run))).at(-1)).toBe('host.end');
  });

  it('are not held by runs that wait: what is kept for the next is no more for many than for one', async () => {
    const asking = managed('asking', `return call('human.approve', { summary: '?', details: 1, timeoutMs: 0 });`, {
      grants: [{ capability: 'human.approve', approvers: [] }],
    });
    const { manager } = await openFolder(vm, [asking]);
    const runs = await Promise.all(Array.from({ length: 5 }, () => manager.create({ agent: 'asking', input: null })));
    for (const { run } of runs) await untilStatus(manager, run, 'suspended');
    await until(() => processesOf(process.pid) <= 2);
    for (const { run } of runs)
      await manager.approve(run, 3n, { approved: true, approver: null, note: '', signature: null });
    for (const { run } of runs) expect(await untilStatus(manager, run, 'done')).toMatchObject({ status: 'done' });
  });
});

/** Sandbox processes that a process has started and that are not gone. */
function processesOf(pid: number): number {
  const lists = readdirSync(`/proc/${pid}/task`).map((task) =>
    readFileSync(`/proc/${pid}/task/${task}/children`, 'utf8'),
  );
  const children = lists.flatMap((list) => list.trim().split(' ').filter(Boolean));
  return children.filter((child) => !readFileSync(`/proc/${child}/cmdline`, 'utf8').includes('esbuild')).length;
}
