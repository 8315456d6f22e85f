import { readdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { addressOf } from '../../attest/sign/secp256k1.ts';
import { hashGuestCode } from '../../attest/trace/guest.ts';
import { createRequest, OFF_CHAIN } from '../../runtime/plan.ts';
import { countingWorld, itemEnds, kindsOf, toyManaged, toyTools } from '../support/kill-cuts.ts';
import {
  bodyOf,
  copyFolder,
  openFolder,
  order,
  recordAt,
  until,
  untilStatus,
  verifyIn,
} from '../support/kill-folder.ts';
import { fetchFrom } from '../support/managed.ts';
import { temporaryFolder } from '../support/temporary.ts';
import { CALLER_KEY, OPERATOR } from '../support/toy-run.ts';
import { type ToyGuest, toyVm } from '../support/toy-vm.ts';

const GUESTS: Readonly<Record<string, ToyGuest>> = {
  quick: async (ctx) => ctx.call('random.bytes', { length: 2 }),
  orders: async (ctx) => {
    const out = [];
    for (let i = 0; i < 3; i++) {
      out.push(await ctx.call('http.fetch', order(`order ${i}`)).then(bodyOf, (error: Error) => error.message));
    }
    return out;
  },
  uses: async (ctx) => {
    const both = [ctx.call('tool', { name: 'orders', input: 1 }), ctx.call('tool', { name: 'waits', input: 2 })];
    return Promise.all(both);
  },
  waits: async (ctx) =>
    ctx.call('http.fetch', { url: 'http://shop.test/slow', method: 'GET', headers: {}, body: null }).then(bodyOf),
};
const vm = toyVm(GUESTS);
const shop = fetchFrom('http://shop.test');
const safe = fetchFrom('http://shop.test', { idempotent: true });
const quick = toyManaged('quick');
const orders = toyManaged('orders', { grants: [shop] });
const safeOrders = toyManaged('orders', { grants: [safe] });
const uses = toyManaged('uses', { tools: toyTools({ orders: [shop], waits: [shop] }) });

/** A world whose POSTs are done, but answered only when told. */
function hangingWorld() {
  const world = countingWorld();
  let release: () => void = () => {};
  const open = new Promise<void>((resolve) => {
    release = resolve;
  });
  const http: typeof world.http = async (grant, request, options) => {
    const answer = await world.http(grant, request, options);
    await Promise.race([open, new Promise((_, reject) => options.signal?.addEventListener('abort', reject))]);
    return answer;
  };
  return { ...world, http, release, atOnce: world.http };
}

describe('a run of a manager', () => {
  it('is in its journal before it is acknowledged, and in the list', async () => {
    const { manager } = await openFolder(vm, [quick]);
    const { run, status } = await manager.create({ agent: 'quick', input: 1 });
    expect(kindsOf(readFileSync(manager.bundle(run)))[0]).toBe('run.open');
    expect(['running', 'done']).toContain(status);
    const done = await manager.settled(run);
    expect(done).toMatchObject({
      status: 'done',
      agent: 'quick',
      parent: null,
      seedFrom: 'operator',
      waiting: [],
      wakeAt: null,
    });
    expect(manager.list().map((one) => one.run)).toEqual([run]);
    expect(done.records).toBe(kindsOf(readFileSync(manager.bundle(run))).length);
    expect(await verifyIn(vm, manager, run)).toMatchObject({ verdict: 'MATCH', status: 'done' });
  });

  it('is refused for what it asks', async () => {
    const { manager } = await openFolder(vm, [quick], { now: () => 1_800_000_000_000 });
    const refused = (asked: Parameters<typeof manager.create>[0]) => expect(manager.create(asked)).rejects;
    await refused({ agent: 'other', input: 1 }).toMatchObject({ code: 'UNKNOWN_AGENT', at: { field: 'agent' } });
    await refused({ agent: 'quick', input: 1, limits: { steps: '201' } }).toMatchObject({
      code: 'REQUEST_REFUSED',
      at: { field: 'limits.steps' },
    });
    const caller = createRequest({
      agent: hashGuestCode(quick.agent),
      input: 1,
      limits: quick.limits,
      expiry: 1_799_999_999n,
      callerKey: CALLER_KEY,
      deployment: OFF_CHAIN,
      random: () => new Uint8Array(32),
    });
    await refused({ agent: 'quick', input: 1, caller }).toMatchObject({
      code: 'REQUEST_REFUSED',
      at: { field: 'request.expiry' },
    });
    expect(manager.list()).toEqual([]);
    expect(() => manager.get(`0x${'00'.repeat(32)}`)).toThrow(expect.objectContaining({ code: 'UNKNOWN_RUN' }));
  });

  it('is the same one for the same signed request, also after a restart', async () => {
    const { manager, folder } = await openFolder(vm, [quick]);
    const caller = createRequest({
      agent: hashGuestCode(quick.agent),
      input: 1,
      limits: quick.limits,
      expiry: 4_000_000_000n,
      callerKey: CALLER_KEY,
      deployment: OFF_CHAIN,
      random: () => new Uint8Array(32).fill(7),
    });
    const first = await manager.create({ agent: 'quick', input: 1, caller });
    expect((await manager.create({ agent: 'quick', input: 1, caller })).run).toBe(first.run);
    await manager.settled(first.run);
    await manager.close();
    await expect(manager.create({ agent: 'quick', input: 1, caller })).rejects.toMatchObject({
      code: 'MANAGER_CLOSED',
    });
    await expect(manager.cancel(first.run)).rejects.toMatchObject({ code: 'MANAGER_CLOSED' });
    const again = await openFolder(vm, [quick], {}, folder);
    expect(await again.manager.create({ agent: 'quick', input: 1, caller })).toMatchObject({
      run: first.run,
      status: 'done',
      seedFrom: 'caller',
    });
    expect(readdirSync(folder).filter((name) => name.endsWith('.trace'))).toHaveLength(1);
  });

  it('is told in full to those who follow it, from any record on', async () => {
    const world = hangingWorld();
    const { manager } = await openFolder(vm, [orders], world);
    const { run } = await manager.create({ agent: 'orders', input: 1 });
    const stop = new AbortController();
    const collect = async (from: bigint, signal?: AbortSignal) => {
      const seen: bigint[] = [];
      for await (const { index } of manager.records(run, from, signal ? { follow: true, signal } : { follow: true }))
        seen.push(index);
      return seen;
    };
    const [all, late, cut] = [collect(0n), collect(5n), collect(0n, stop.signal)];
    await until(() => world.requests() === 1);
    stop.abort();
    expect((await cut).length).toBe(4);
    world.release();
    const { records } = await manager.settled(run);
    expect(await all).toEqual(Array.from({ length: records }, (_, i) => BigInt(i)));
    expect(await late).toEqual(Array.from({ length: records - 5 }, (_, i) => BigInt(i + 5)));
    expect((await recordAt(manager, run, 2n)).payloads).toEqual({});
    expect((await recordAt(manager, run, 3n)).payloads).toMatchObject({ 'body.request': { body: 'order 0' } });
  });

  it('is shown as broken when this program fails, and goes on when the folder is opened again', async () => {
    const world = countingWorld();
    const failing = { http: async () => Promise.reject(new TypeError('a bug')) };
    const first = await openFolder(vm, [safeOrders], failing);
    const { run } = await first.manager.create({ agent: 'orders', input: 1 });
    expect(await first.manager.settled(run)).toMatchObject({ status: 'broken', error: { code: 'HOST_INTERNAL' } });
    expect(first.faults).toEqual(['TypeError: a bug']);
    await expect(first.manager.cancel(run)).rejects.toMatchObject({ code: 'WRONG_STATE' });
    const second = await openFolder(vm, [safeOrders], { http: world.http }, first.folder);
    expect(await untilStatus(second.manager, run, 'done')).toMatchObject({ status: 'done' });
    expect(await verifyIn(vm, second.manager, run)).toMatchObject({ verdict: 'MATCH' });
  });

  it('is one of so many at work', async () => {
    const world = hangingWorld();
    const { manager } = await openFolder(vm, [orders], world, temporaryFolder(), 1);
    const first = await manager.create({ agent: 'orders', input: 1 });
    await expect(manager.create({ agent: 'orders', input: 2 })).rejects.toMatchObject({ code: 'TOO_MANY_RUNS' });
    world.release();
    expect((await manager.settled(first.run)).status).toBe('done');
    expect(await manager.create({ agent: 'orders', input: 2 })).toMatchObject({ agent: 'orders' });
  });
});

describe('a folder that a process left behind', () => {
  it('goes on where requests may be sent again, under the same key', async () => {
    const world = hangingWorld();
    const first = await openFolder(vm, [safeOrders], world);
    const { run } = await first.manager.create({ agent: 'orders', input: 1 });
    await until(() => world.requests() === 1);
    const folder = copyFolder(first.folder);
    const second = await openFolder(vm, [safeOrders], { http: world.atOnce }, folder);
    expect(await untilStatus(second.manager, run, 'done')).toMatchObject({ status: 'done' });
    expect([...world.performed.values()]).toEqual([1, 1, 1]);
    expect(world.requests()).toBe(4);
    expect(await verifyIn(vm, second.manager, run)).toMatchObject({ verdict: 'MATCH' });
    expect(second.faults).toEqual([]);
  });

  it('goes on with a run that was put aside before, and at work when it was left', async () => {
    const world = hangingWorld();
    const first = await openFolder(vm, [safeOrders], world);
    const { run } = await first.manager.create({ agent: 'orders', input: 1 });
    await until(() => world.requests() === 1);
    const paused = first.manager.pause(run);
    world.release();
    expect(await paused).toMatchObject({ status: 'suspended', reason: 'paused' });
    const third = hangingWorld();
    await first.manager.close();
    const second = await openFolder(vm, [safeOrders], third, first.folder);
    expect(second.manager.get(run)).toMatchObject({ status: 'suspended', reason: 'paused' });
    await second.manager.resume(run);
    await until(() => third.requests() === 1);
    // The word "suspended" must be gone by now: this process dies at work.
    const last = await openFolder(vm, [safeOrders], { http: third.atOnce }, copyFolder(first.folder));
    expect(await untilStatus(last.manager, run, 'done')).toMatchObject({ status: 'done' });
    expect([...third.performed.values()]).toEqual([1, 1]);
  });

  it('forgets what never had its first record, and its name is free', async () => {
    const { manager, folder } = await openFolder(vm, [quick]);
    const { run } = await manager.create({ agent: 'quick', input: 1 });
    await manager.settled(run);
    await manager.close();
    const path = manager.bundle(run);
    const other = copyFolder(folder);
    const bytes = readFileSync(path);
    for (const size of [0, 10, (itemEnds(bytes)[0]?.end ?? 0) - 1]) {
      writeFileSync(join(other, path.slice(folder.length + 1)), bytes.subarray(0, size));
      for (const name of readdirSync(other)) if (name.endsWith('.json')) writeFileSync(join(other, name), '');
      const again = await openFolder(vm, [quick], {}, other);
      expect(again.manager.list()).toEqual([]);
      expect(readdirSync(other).filter((name) => name.endsWith('.trace'))).toEqual([]);
      await again.manager.close();
    }
  });

  it('shows what cannot go on as broken, leaves it as it is, and goes on with the others', async () => {
    const world = hangingWorld();
    const first = await openFolder(vm, [safeOrders], world);
    const [one, two] = [
      await first.manager.create({ agent: 'orders', input: 1 }),
      await first.manager.create({ agent: 'orders', input: 2 }),
    ];
    await until(() => world.requests() === 2);
    const folder = copyFolder(first.folder);
    const path = join(folder, `${one.run.slice(2)}.trace`);
    const bytes = readFileSync(path);
    const at = itemEnds(bytes)[1]?.end ?? 0;
    bytes[at + 2] = '!'.charCodeAt(0);
    writeFileSync(path, bytes);
    const second = await openFolder(vm, [safeOrders], { http: world.atOnce }, folder);
    expect(await untilStatus(second.manager, two.run, 'done')).toMatchObject({ status: 'done' });
    expect(second.manager.get(one.run)).toMatchObject({ status: 'broken', error: { code: 'JOURNAL_CORRUPT' } });
    expect(readFileSync(path).equals(bytes)).toBe(true);
    for (const steer of [
      () => second.manager.resume(one.run),
      () => second.manager.cancel(one.run),
      () => second.manager.reconcile(one.run, 3n, 'send'),
    ]) {
      await expect(steer()).rejects.toMatchObject({ code: 'WRONG_STATE' });
    }
  });

  it('of another engine or operator is broken, and not written', async () => {
    const world = hangingWorld();
    const first = await openFolder(vm, [safeOrders], world);
    const { run } = await first.manager.create({ agent: 'orders', input: 1 });
    await until(() => world.requests() === 1);
    const before = readFileSync(first.manager.bundle(run));
    for (const [ports, what] of [
      [{ vm: { ...vm, engine: `0x${'11'.repeat(32)}` as const } }, 'engine'],
      [{ key: CALLER_KEY }, 'operator'],
    ] as const) {
      const folder = copyFolder(first.folder);
      const second = await openFolder(vm, [safeOrders], { ...ports, http: world.http }, folder);
      expect(second.manager.get(run)).toMatchObject({ status: 'broken', error: { code: 'OTHER_HOST' } });
      expect(second.manager.get(run).error?.message).toContain(what);
      expect(readFileSync(second.manager.bundle(run)).equals(before)).toBe(true);
    }
    expect(world.requests()).toBe(1);
    expect(OPERATOR).not.toBe(addressOf(CALLER_KEY));
  });

  it('that another process still writes is left to it', async () => {
    const world = hangingWorld();
    const first = await openFolder(vm, [safeOrders], world);
    const { run } = await first.manager.create({ agent: 'orders', input: 1 });
    await until(() => world.requests() === 1);
    const before = readFileSync(first.manager.bundle(run));
    const second = await openFolder(vm, [safeOrders], { http: world.atOnce }, first.folder);
    await until(() => second.faults.length > 0);
    expect(second.faults[0]).toContain('is written by another');
    expect(readFileSync(first.manager.bundle(run)).equals(before)).toBe(true);
    world.release();
    expect(await first.manager.settled(run)).toMatchObject({ status: 'done' });
    expect([...world.performed.values()]).toEqual([1, 1, 1]);
    expect(await verifyIn(vm, first.manager, run)).toMatchObject({ verdict: 'MATCH' });
  });

  it('is cut at what a crash cut off, and no further', async () => {
    const world = hangingWorld();
    const first = await openFolder(vm, [safeOrders], world);
    const { run } = await first.manager.create({ agent: 'orders', input: 1 });
    await until(() => world.requests() === 1);
    const whole = copyFolder(first.folder);
    const name = `${run.slice(2)}.trace`;
    const bytes = readFileSync(join(whole, name));
    truncateSync(join(whole, name), bytes.length - 5);
    const second = await openFolder(vm, [safeOrders], { http: world.atOnce }, whole);
    expect(await untilStatus(second.manager, run, 'done')).toMatchObject({ status: 'done' });
    const kept = itemEnds(bytes).at(-2)?.end ?? 0;
    expect(readFileSync(join(whole, name)).subarray(0, kept).equals(bytes.subarray(0, kept))).toBe(true);
    expect(await verifyIn(vm, second.manager, run)).toMatchObject({ verdict: 'MATCH' });
  });
});

describe('a request that may have happened', () => {
  const crashed = async (agent = orders) => {
    const world = hangingWorld();
    const first = await openFolder(vm, [agent], world);
    const { run } = await first.manager.create({ agent: agent.name, input: 1 });
    await until(() => world.requests() === (agent === uses ? 2 : 1));
    const key = [...world.keys].find(([, effect]) => effect.startsWith('POST'))?.[0];
    const second = await openFolder(vm, [agent], { http: world.atOnce }, copyFolder(first.folder));
    return {
      world,
      key,
      run,
      first: first.manager,
      second: second.manager,
      faults: second.faults,
      folder: second.folder,
    };
  };

  it('is not sent again: the run is put aside for whoever knows', async () => {
    const { world, run, second } = await crashed();
    const status = await untilStatus(second, run, 'suspended');
    expect(status).toMatchObject({
      reason: 'reconciliation',
      waiting: [{ index: '3', for: 'reconciliation', capability: 'http.fetch', target: 'POST http://shop.test/' }],
    });
    expect(world.requests()).toBe(1);
    await expect(second.reconcile(run, 2n, 'send')).rejects.toMatchObject({ code: 'NOT_WAITING' });
    await expect(
      second.approve(run, 3n, { approved: true, approver: null, note: '', signature: null }),
    ).rejects.toMatchObject({
      code: 'NOT_WAITING',
    });
    expect(await untilStatus(second, run, 'suspended')).toMatchObject({ reason: 'reconciliation' });
    expect(world.requests()).toBe(1);
  });

  it('stays put aside over restarts', async () => {
    const { world, run, second, folder } = await crashed();
    await untilStatus(second, run, 'suspended');
    await second.close();
    const third = await openFolder(vm, [orders], { http: world.atOnce }, folder);
    expect(third.manager.get(run)).toMatchObject({ status: 'suspended', reason: 'reconciliation' });
    await third.manager.resume(run);
    expect(await untilStatus(third.manager, run, 'suspended')).toMatchObject({ reason: 'reconciliation' });
    expect(world.requests()).toBe(1);
  });

  it('is sent once more under the same key when somebody says so', async () => {
    const { world, key, run, second } = await crashed();
    await untilStatus(second, run, 'suspended');
    const sent = [...world.keys.keys()];
    await second.reconcile(run, 3n, 'send');
    expect(await untilStatus(second, run, 'done')).toMatchObject({
      status: 'done',
      output: ['did POST http://shop.test/ order 0', expect.anything(), expect.anything()],
    });
    expect(sent).toEqual([key]);
    expect(world.requests()).toBe(4);
    expect([...world.performed.values()]).toEqual([1, 1, 1]);
    await expect(second.reconcile(run, 3n, 'send')).rejects.toMatchObject({ code: 'WRONG_STATE' });
    expect(await verifyIn(vm, second, run)).toMatchObject({ verdict: 'MATCH' });
  });

  it('is closed as lost when somebody says so, and the agent hears CRASH', async () => {
    const { world, run, second } = await crashed();
    await untilStatus(second, run, 'suspended');
    await second.reconcile(run, 3n, 'lost');
    expect(await untilStatus(second, run, 'done')).toMatchObject({
      output: ['CRASH', expect.anything(), expect.anything()],
    });
    expect(world.requests()).toBe(3);
    expect(await recordAt(second, run, 4n)).toMatchObject({ body: { reason: 'CRASH' } });
    expect(await verifyIn(vm, second, run)).toMatchObject({ verdict: 'MATCH', lost: 1 });
  });

  it('of a tool waits likewise, while what can go on goes on', async () => {
    const { world, key, run, second } = await crashed(uses);
    const status = await untilStatus(second, run, 'suspended');
    expect(status.waiting).toMatchObject([{ for: 'reconciliation', target: 'POST http://shop.test/' }]);
    // The other tool asked by GET, which is safe, was answered, and its tool has ended.
    expect(kindsOf(readFileSync(second.bundle(run))).filter((kind) => kind === 'tool.end')).toHaveLength(1);
    expect(world.requests()).toBe(3);
    await second.reconcile(run, BigInt(status.waiting[0]?.index ?? ''), 'send');
    expect(await untilStatus(second, run, 'done')).toMatchObject({ status: 'done' });
    expect([...world.keys.keys()].filter((one) => one === key)).toHaveLength(1);
    expect(
      [...world.performed.entries()].filter(([effect]) => effect.startsWith('POST')).map(([, times]) => times),
    ).toEqual([1, 1, 1]);
    expect(await verifyIn(vm, second, run)).toMatchObject({ verdict: 'MATCH' });
  });
});
