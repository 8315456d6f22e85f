import { getEventListeners } from 'node:events';
import { setImmediate } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import type { Hex } from '../../../attest/core/bytes.ts';
import { ModelError } from '../../../inference/errors.ts';
import { type FleetEngine, openFleet } from '../../../inference/models/fleet.ts';
import { ServerError } from '../../../inference/server-errors.ts';
import { seededRandom } from '../../support/random.ts';
import { TOY_IDENTITY } from '../../support/toy-engine.ts';

type Toy = FleetEngine & { isClosed: boolean };

const digestOf = (id: string): Hex => `0x${Buffer.from(id).toString('hex').padEnd(64, '0')}`;

/** Models by their bytes; engines open and close within a turn of the event loop, or when `hold` lets them. */
function world(sizes: Readonly<Record<string, number>>, maxBytes: number) {
  const log: string[] = [];
  const faults = new Map<string, () => Error>();
  const digests = new Map<string, Hex>();
  const state = { held: 0, most: 0, time: 0, gate: Promise.resolve() };
  const open = async ({ id, memoryBytes }: { readonly id: string; readonly memoryBytes: number }): Promise<Toy> => {
    log.push(`open ${id}`);
    state.held += memoryBytes;
    state.most = Math.max(state.most, state.held);
    await setImmediate();
    await state.gate;
    const fault = faults.get(id);
    if (fault !== undefined) {
      state.held -= memoryBytes;
      throw fault();
    }
    const toy: Toy = {
      identity: { ...TOY_IDENTITY, id, model: digests.get(id) ?? digestOf(id) },
      isClosed: false,
      async close() {
        toy.isClosed = true;
        await setImmediate();
        state.held -= memoryBytes;
        log.push(`close ${id}`);
      },
    };
    return toy;
  };
  const told: string[] = [];
  const start = (limits: { maxWaiting?: number; retryPauseMs?: number } = {}) =>
    openFleet<Toy>({
      models: Object.entries(sizes).map(([id, memoryBytes]) => ({ id, path: `/models/${id}`, memoryBytes })),
      maxBytes,
      open,
      now: () => state.time,
      onFault: (id, error) => told.push(`${id}: ${error}`),
      ...limits,
    });
  return { log, faults, digests, state, told, start };
}

/** Enough turns for whatever does not wait for a release. */
async function settle(): Promise<void> {
  for (let turn = 0; turn < 20; turn++) await setImmediate();
}

/** What became of a promise so far. */
function watch<T>(promise: Promise<T>): { value?: T; error?: unknown } {
  const outcome: { value?: T; error?: unknown } = {};
  promise.then(
    (value) => (outcome.value = value),
    (error) => (outcome.error = error),
  );
  return outcome;
}

describe('openFleet', () => {
  it('opens the first model at once and no other', async () => {
    const { start, log } = world({ a: 1, b: 1 }, 10);
    const fleet = await start();
    expect(log).toEqual(['open a']);
    expect(fleet.models.map(({ id, state }) => [id, state])).toEqual([
      ['a', 'ready'],
      ['b', 'cold'],
    ]);
    expect(fleet.find('a')?.identity?.model).toBe(digestOf('a'));
    expect(fleet.find('b')?.identity).toBeUndefined();
    expect(fleet.peek('b')).toBeUndefined();
    await fleet.close();
  });

  it('throws the fault of the first model as it is', async () => {
    const { start, faults } = world({ a: 1, b: 1 }, 10);
    const fault = new ModelError('NOT_GGUF', 'no GGUF file');
    faults.set('a', () => fault);
    await expect(start()).rejects.toBe(fault);
  });

  it('refuses two models of one name', async () => {
    const models = ['/x/a', '/y/a'].map((path) => ({ id: 'a', path, memoryBytes: 1 }));
    const opened: string[] = [];
    const open = async ({ path }: { readonly path: string }): Promise<Toy> => {
      opened.push(path);
      throw new Error('not to be opened');
    };
    await expect(openFleet({ models, maxBytes: 9, open })).rejects.toMatchObject({
      code: 'DUPLICATE_MODEL',
      at: { model: 'a', path: '/y/a' },
    });
    expect(opened).toEqual([]);
  });
});

describe('acquire', () => {
  it('opens a cold model once for all who ask meanwhile', async () => {
    const { start, log } = world({ a: 1, b: 1 }, 10);
    const fleet = await start();
    const leases = await Promise.all(Array.from({ length: 20 }, () => fleet.acquire('b')));
    expect(log).toEqual(['open a', 'open b']);
    expect(new Set(leases.map(({ engine }) => engine)).size).toBe(1);
    expect(leases[0]?.identity.id).toBe('b');
    await fleet.close();
  });

  it('finds a model by its digest, once that is known', async () => {
    const { start } = world({ a: 1, b: 1 }, 10);
    const fleet = await start();
    expect((await fleet.acquire(digestOf('a'))).identity.id).toBe('a');
    await expect(fleet.acquire(digestOf('b'))).rejects.toMatchObject({
      code: 'MODEL_NOT_FOUND',
      at: { param: 'model' },
    });
    (await fleet.acquire('b')).release();
    expect((await fleet.acquire(digestOf('b'))).identity.id).toBe('b');
    await fleet.close();
  });

  it('refuses a name that it does not know, in bounded words', async () => {
    const fleet = await world({ a: 1 }, 10).start();
    const failed = await fleet.acquire('x'.repeat(10_000)).catch((error: Error) => error.message);
    expect(String(failed).length).toBeLessThan(400);
    await fleet.close();
  });

  it('closes the longest unused idle model when there is no room', async () => {
    const { start, log, state } = world({ a: 4, b: 4, c: 4 }, 9);
    const fleet = await start();
    (await fleet.acquire('b')).release();
    (await fleet.acquire('a')).release();
    (await fleet.acquire('c')).release();
    expect(log).toEqual(['open a', 'open b', 'close b', 'open c']);
    expect(state.most).toBe(8);
    expect(fleet.models.map((model) => model.state)).toEqual(['ready', 'cold', 'ready']);
    // Its digests stay known.
    expect(fleet.find(digestOf('b'))?.id).toBe('b');
    await fleet.close();
    expect(state.held).toBe(0);
  });

  it('counts a model as used until its last lease ends', async () => {
    const { start, log } = world({ a: 4, b: 4, c: 4 }, 9);
    const fleet = await start();
    const long = await fleet.acquire('a');
    (await fleet.acquire('b')).release();
    long.release();
    (await fleet.acquire('c')).release();
    expect(log).toEqual(['open a', 'open b', 'close b', 'open c']);
    await fleet.close();
  });

  it('keeps to the busy model that it drains, so that another stays open to all', async () => {
    const { start, log } = world({ a: 4, b: 4, c: 4 }, 9);
    const fleet = await start();
    const [one, two] = [await fleet.acquire('a'), await fleet.acquire('a')];
    const busy = await fleet.acquire('b');
    const cold = watch(fleet.acquire('c'));
    // Now the other is the longest unused.
    one.release();
    const beside = watch(fleet.acquire('b'));
    await settle();
    expect(beside.value?.identity.id).toBe('b');
    two.release();
    await settle();
    expect(cold.value?.identity.id).toBe('c');
    expect(log).toEqual(['open a', 'open b', 'close a', 'open c']);
    busy.release();
    await fleet.close();
  });

  it('closes as many as it takes, and no more', async () => {
    const { start, log } = world({ a: 2, b: 2, c: 2, d: 4 }, 6);
    const fleet = await start();
    for (const id of ['b', 'c', 'd']) (await fleet.acquire(id)).release();
    expect(log.filter((line) => line.startsWith('close'))).toEqual(['close a', 'close b']);
    await fleet.close();
  });

  it('waits until a busy model is idle, and never closes it before', async () => {
    const { start, log } = world({ a: 5, b: 5 }, 9);
    const fleet = await start();
    const first = await fleet.acquire('a');
    const second = await fleet.acquire('a');
    const waiting = watch(fleet.acquire('b'));
    await settle();
    first.release();
    first.release();
    await settle();
    expect(waiting.value).toBeUndefined();
    expect(first.engine.isClosed).toBe(false);
    second.release();
    await settle();
    expect(waiting.value?.identity.id).toBe('b');
    expect(log).toEqual(['open a', 'close a', 'open b']);
    await fleet.close();
  });

  it('gives a busy model no new lease while another waits for its room, and comes back to it in turn', async () => {
    const { start, log } = world({ a: 5, b: 5 }, 9);
    const fleet = await start();
    const old = await fleet.acquire('a');
    const cold = watch(fleet.acquire('b'));
    const late = watch(fleet.acquire('a'));
    await settle();
    expect([cold.value, late.value]).toEqual([undefined, undefined]);
    old.release();
    await settle();
    expect(cold.value?.identity.id).toBe('b');
    expect(late.value).toBeUndefined();
    cold.value?.release();
    await settle();
    expect(late.value?.identity.id).toBe('a');
    expect(log).toEqual(['open a', 'close a', 'open b', 'close b', 'open a']);
    await fleet.close();
  });

  it('lets the others go on when the one that waited for room has gone', async () => {
    const { start, log } = world({ a: 5, b: 5 }, 9);
    const fleet = await start();
    const old = await fleet.acquire('a');
    const gone = new AbortController();
    const cold = watch(fleet.acquire('b', gone.signal));
    const late = watch(fleet.acquire('a'));
    await settle();
    gone.abort();
    await settle();
    expect(cold.error).toMatchObject({ code: 'CANCELLED' });
    expect(late.value?.identity.id).toBe('a');
    old.release();
    await settle();
    expect(log).toEqual(['open a']);
    await fleet.close();
  });

  it('takes a model that becomes idle instead of the busy one it had chosen', async () => {
    const { start, log } = world({ a: 4, b: 4, c: 4 }, 9);
    const fleet = await start();
    const a = await fleet.acquire('a');
    const b = await fleet.acquire('b');
    const cold = watch(fleet.acquire('c'));
    const late = watch(fleet.acquire('a'));
    await settle();
    expect(late.value).toBeUndefined();
    b.release();
    await settle();
    expect(cold.value?.identity.id).toBe('c');
    expect(late.value?.identity.id).toBe('a');
    expect(log).toEqual(['open a', 'open b', 'close b', 'open c']);
    a.release();
    await fleet.close();
  });

  it('opens a model that is larger than the bound alone', async () => {
    const { start, log, state } = world({ a: 4, big: 50 }, 9);
    const fleet = await start();
    const a = await fleet.acquire('a');
    const big = watch(fleet.acquire('big'));
    await settle();
    expect(big.value).toBeUndefined();
    a.release();
    await settle();
    expect(big.value?.identity.id).toBe('big');
    expect(state.held).toBe(50);
    big.value?.release();
    (await fleet.acquire('a')).release();
    expect(log).toEqual(['open a', 'close a', 'open big', 'close big', 'open a']);
    await fleet.close();
  });

  it('refuses a signal that was aborted before, and keeps nothing of one that was aborted later', async () => {
    const { start } = world({ a: 5, b: 5 }, 9);
    const fleet = await start();
    await expect(fleet.acquire('a', AbortSignal.abort())).rejects.toMatchObject({ code: 'CANCELLED' });
    const late = new AbortController();
    const lease = await fleet.acquire('a', late.signal);
    late.abort();
    lease.release();
    expect((await fleet.acquire('b', late.signal).catch(({ code }) => code)) as unknown).toBe('CANCELLED');
    const { signal } = new AbortController();
    expect((await fleet.acquire('b', signal)).identity.id).toBe('b');
    expect(getEventListeners(signal, 'abort')).toEqual([]);
    await fleet.close();
  });

  it('refuses more waiting requests than may', async () => {
    const { start, state } = world({ a: 1, b: 1 }, 9);
    const fleet = await start({ maxWaiting: 3 });
    let release = () => {};
    state.gate = new Promise((resolve) => (release = resolve));
    const waiting = Array.from({ length: 3 }, () => watch(fleet.acquire('b')));
    await expect(fleet.acquire('b')).rejects.toMatchObject({ code: 'QUEUE_FULL', at: { retryAfterSeconds: 5 } });
    // A model that is open needs no waiting.
    (await fleet.acquire('a')).release();
    release();
    await settle();
    expect(waiting.every(({ value }) => value !== undefined)).toBe(true);
    await fleet.close();
  });
});

describe('a model that cannot be opened', () => {
  it('fails those who asked, without the paths in its message, and is tried again after a pause', async () => {
    const { start, faults, log, state, told } = world({ a: 1, b: 1 }, 10);
    const fleet = await start({ retryPauseMs: 1500 });
    faults.set('b', () => new ModelError('NOT_GGUF', '/secret/b.gguf is no GGUF file'));
    const asked = [watch(fleet.acquire('b')), watch(fleet.acquire('b'))];
    await settle();
    for (const { error } of asked) {
      expect(error).toMatchObject({ code: 'MODEL_UNAVAILABLE', at: { model: 'b', retryAfterSeconds: 2 } });
      expect(String(error)).toContain('NOT_GGUF');
      expect(String(error)).not.toContain('secret');
    }
    expect(told).toEqual(['b: ModelError: /secret/b.gguf is no GGUF file']);
    expect(fleet.find('b')?.state).toBe('failed');
    await expect(fleet.acquire('b')).rejects.toMatchObject({ code: 'MODEL_UNAVAILABLE' });
    expect(log).toEqual(['open a', 'open b']);
    faults.clear();
    state.time = 1500;
    expect((await fleet.acquire('b')).identity.id).toBe('b');
    expect(fleet.find('b')?.state).toBe('ready');
    await fleet.close();
  });

  it('is cold like any other when it was opened later and gave room', async () => {
    const { start, faults, state } = world({ a: 5, b: 5 }, 9);
    const fleet = await start({ retryPauseMs: 1500 });
    faults.set('b', () => new Error('boom'));
    await expect(fleet.acquire('b')).rejects.toMatchObject({ code: 'MODEL_UNAVAILABLE' });
    faults.clear();
    state.time = 1500;
    (await fleet.acquire('b')).release();
    (await fleet.acquire('a')).release();
    expect(fleet.find('b')?.state).toBe('cold');
    await fleet.close();
  });

  it('is told as such where its process did not come up, without what that said', async () => {
    const { start, faults } = world({ a: 1, b: 1 }, 10);
    const fleet = await start();
    faults.set('b', () => new ServerError('ENGINE_UNAVAILABLE', '/secret/b.gguf is no GGUF file'));
    const error = await fleet.acquire('b').catch((fault: unknown) => fault);
    expect(error).toMatchObject({ code: 'MODEL_UNAVAILABLE', at: { model: 'b', retryAfterSeconds: 10 } });
    expect(String(error)).not.toContain('secret');
    await fleet.close();
  });

  it('does not stop the one that waits behind it', async () => {
    const { start, faults } = world({ a: 1, b: 1, c: 1 }, 10);
    const fleet = await start();
    faults.set('b', () => new Error('boom'));
    const b = watch(fleet.acquire('b'));
    const c = watch(fleet.acquire('c'));
    await settle();
    expect(b.error).toMatchObject({ code: 'MODEL_UNAVAILABLE' });
    expect(c.value?.identity.id).toBe('c');
    await fleet.close();
  });

  it('is refused when it comes back as another', async () => {
    const { start, digests, state } = world({ a: 5, b: 5 }, 9);
    const fleet = await start();
    (await fleet.acquire('b')).release();
    digests.set('a', digestOf('other'));
    await expect(fleet.acquire('a')).rejects.toMatchObject({ code: 'ENGINE_CHANGED' });
    expect(fleet.find('a')?.identity?.model).toBe(digestOf('a'));
    await settle();
    expect(state.held).toBe(0);
    await fleet.close();
  });
});

describe('close', () => {
  it('refuses those that wait, closes what is open, and lets nobody in', async () => {
    const { start, state } = world({ a: 5, b: 5 }, 9);
    const fleet = await start();
    const lease = await fleet.acquire('a');
    const waiting = watch(fleet.acquire('b'));
    await fleet.close();
    await settle();
    expect(waiting.error).toMatchObject({ code: 'SERVER_CLOSED' });
    expect(lease.engine.isClosed).toBe(true);
    lease.release();
    await expect(fleet.acquire('a')).rejects.toBeInstanceOf(ServerError);
    expect(state.held).toBe(0);
  });

  it('tells of an engine that does not close, and goes on', async () => {
    const { start, told } = world({ a: 5, b: 5 }, 9);
    const fleet = await start();
    const lease = await fleet.acquire('a');
    lease.engine.close = async () => {
      throw new Error('stuck');
    };
    lease.release();
    expect((await fleet.acquire('b')).identity.id).toBe('b');
    expect(told).toEqual(['a: Error: stuck']);
    await fleet.close();
  });

  it('closes an engine that came up meanwhile', async () => {
    const { start, state, log, told } = world({ a: 1, b: 1 }, 9);
    const fleet = await start();
    let release = () => {};
    state.gate = new Promise((resolve) => (release = resolve));
    const waiting = watch(fleet.acquire('b'));
    await settle();
    const closing = watch(fleet.close());
    await settle();
    expect(waiting.error).toMatchObject({ code: 'SERVER_CLOSED' });
    expect(closing).not.toHaveProperty('value');
    release();
    await settle();
    expect(closing).toHaveProperty('value');
    expect(log).toContain('close b');
    expect(state.held).toBe(0);
    expect(told).toEqual([]);
  });
});

it('keeps its promises under random requests', async () => {
  for (let seed = 1; seed <= 40; seed++) {
    const { below } = seededRandom(seed);
    const sizes = { a: 1 + below(5), b: 1 + below(5), c: 1 + below(5), d: 1 + below(5) };
    const maxBytes = Math.max(...Object.values(sizes)) + below(6);
    const { start, state } = world(sizes, maxBytes);
    const fleet = await start();
    let served = 0;
    const clients = Array.from({ length: 24 }, async () => {
      for (let request = 0; request < 6; request++) {
        const id = 'abcd'[below(4)] ?? 'a';
        const gone = new AbortController();
        const asked = fleet.acquire(id, gone.signal);
        if (below(5) === 0) gone.abort();
        const lease = await asked.catch((error) => {
          expect(error).toMatchObject({ code: 'CANCELLED' });
          return undefined;
        });
        for (let turn = below(6); turn > 0; turn--) await setImmediate();
        if (lease === undefined) continue;
        expect(lease.identity.id).toBe(id);
        expect(lease.engine.isClosed).toBe(false);
        lease.release();
        served += 1;
      }
    });
    await Promise.all(clients);
    expect(served).toBeGreaterThan(50);
    expect(state.most).toBeLessThanOrEqual(maxBytes);
    await fleet.close();
    expect(state.held).toBe(0);
  }
});
