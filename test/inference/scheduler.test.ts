import { getEventListeners } from 'node:events';
import fc from 'fast-check';
import { describe, expect, it, vi } from 'vitest';
import { InferenceError } from '../../inference/errors.ts';
import { openScheduler, type Turn } from '../../inference/scheduler.ts';
import { ServerError } from '../../inference/server-errors.ts';

const turn = () => new Promise((resolve) => setImmediate(resolve));
const outOfMemory = () => new InferenceError('OUT_OF_MEMORY', 'no room for a cache');

/** A scheduler, and works that end when the test says so. */
function manual(options: openScheduler.Options = {}) {
  const scheduler = openScheduler(options);
  const entered: string[] = [];
  const inside = new Map<string, { readonly signal: AbortSignal; end(): void; fail(error: Error): void }>();
  let most = 0;
  const ask = (name: string, extra: Partial<Turn> = {}) => {
    const { key = name.replace(/\d+$/, '') } = extra;
    const answer = scheduler.run({ ...extra, key }, async (signal) => {
      entered.push(name);
      try {
        await new Promise<void>((resolve, reject) => {
          inside.set(name, { signal, end: resolve, fail: reject });
          most = Math.max(most, inside.size);
        });
      } finally {
        inside.delete(name);
      }
      return `answer to ${name}`;
    });
    answer.catch(() => {});
    return answer;
  };
  const end = async (name: string) => {
    inside.get(name)?.end();
    await turn();
  };
  return { scheduler, ask, end, inside, entered, most: () => most };
}

describe('scheduler', () => {
  it('lets so many in at once and the next when one has ended, in order within a key (Q1)', async () => {
    const { ask, end, entered, inside, most } = manual({ maxActive: 2 });
    const answers = ['a1', 'a2', 'a3', 'a4'].map((name) => ask(name));
    expect(entered).toEqual(['a1', 'a2']);
    await end('a2');
    expect(entered).toEqual(['a1', 'a2', 'a3']);
    for (const name of ['a1', 'a3', 'a4']) await end(name);
    expect(await Promise.all(answers)).toEqual([1, 2, 3, 4].map((i) => `answer to a${i}`));
    expect([most(), inside.size]).toEqual([2, 0]);
  });

  it('serves keys in turns: a thousand requests of one delay nobody else by more than one (Q4)', async () => {
    const { ask, end, entered, scheduler } = manual({ maxActive: 1, maxWaiting: 2000 });
    for (let i = 0; i < 1000; i++) ask(`a${i}`);
    for (const name of ['b1', 'b2', 'c1']) ask(name);
    expect(scheduler.counts).toEqual({ active: 1, waiting: 1002 });
    for (let i = 0; i < 6; i++) await end(entered.at(-1) ?? '');
    expect(entered).toEqual(['a0', 'a1', 'b1', 'c1', 'a2', 'b2', 'a3']);
    scheduler.close();
  });

  it('lets a key whose requests have ended begin at the end of the turns again (Q4)', async () => {
    const { ask, end, entered } = manual({ maxActive: 1 });
    for (const name of ['a1', 'b1']) ask(name);
    await end('a1');
    for (const name of ['c1', 'a2']) ask(name);
    await end('b1');
    await end('c1');
    expect(entered).toEqual(['a1', 'b1', 'c1', 'a2']);
  });

  it('holds back a key at its own limit, and nobody else', async () => {
    const { ask, end, entered } = manual({ maxActive: 3, perKey: { active: 1 } });
    for (const name of ['a1', 'a2', 'b1', 'b2', 'c1']) ask(name);
    expect(entered).toEqual(['a1', 'b1', 'c1']);
    await end('b1');
    expect(entered).toEqual(['a1', 'b1', 'c1', 'b2']);
    await end('a1');
    expect(entered.at(-1)).toBe('a2');
  });

  it('takes the limits of a turn before those of all keys', async () => {
    const { ask, entered } = manual({ maxActive: 9, perKey: { active: 1 } });
    for (const name of ['a1', 'a2', 'a3']) ask(name, { limits: { active: 2 } });
    expect(entered).toEqual(['a1', 'a2']);
  });

  it('refuses what a key has beyond its waiting limit, with advice', async () => {
    const { ask, scheduler } = manual({ maxActive: 1, perKey: { waiting: 1 } });
    const answers = ['a1', 'a2', 'a3'].map((name) => ask(name));
    await expect(answers[2]).rejects.toMatchObject({ code: 'RATE_LIMITED', at: { retryAfterSeconds: 2 } });
    void ask('b1');
    expect(scheduler.counts).toEqual({ active: 1, waiting: 2 });
    // One at a time of the key's, however many others may run.
    const slow = manual({ maxActive: 9, perKey: { active: 1, waiting: 1 } });
    const [, , third] = ['a1', 'a2', 'a3'].map((name) => slow.ask(name));
    await expect(third).rejects.toMatchObject({ code: 'RATE_LIMITED', at: { retryAfterSeconds: 2 } });
  });

  it('refuses what comes when all places to wait are taken (Q3)', async () => {
    const { ask, scheduler } = manual({ maxActive: 1, maxWaiting: 2 });
    const answers = ['a1', 'a2', 'a3', 'a4'].map((name) => ask(name));
    await expect(answers[3]).rejects.toMatchObject({ code: 'QUEUE_FULL', at: { retryAfterSeconds: 3 } });
    expect(scheduler.counts).toEqual({ active: 1, waiting: 2 });
  });

  it('refuses what would fit by itself where another waits before it and the places are taken (Q3, Q5)', async () => {
    const { ask, scheduler } = manual({ maxPositions: 100, maxWaiting: 1 });
    ask('a1', { positions: 60 });
    ask('b1', { positions: 60 });
    await expect(ask('c1', { positions: 1 })).rejects.toMatchObject({ code: 'QUEUE_FULL' });
    expect(scheduler.counts).toEqual({ active: 1, waiting: 1 });
  });

  it('gives a place of the longest line to one that has fewer waiting (Q3)', async () => {
    const { ask, end, entered, scheduler } = manual({ maxActive: 1, maxWaiting: 3 });
    const answers = ['a1', 'a2', 'a3', 'a4'].map((name) => ask(name));
    ask('b1');
    await expect(answers[3]).rejects.toMatchObject({ code: 'QUEUE_FULL' });
    // Two of a wait and one of b: another of b would make them no more equal.
    await expect(ask('b2')).rejects.toMatchObject({ code: 'QUEUE_FULL' });
    expect(scheduler.counts.waiting).toBe(3);
    for (const name of ['a1', 'a2', 'b1', 'a3']) await end(name);
    expect(entered).toEqual(['a1', 'a2', 'b1', 'a3']);
  });

  it('forgets one that is cancelled while it waits, and its place is free at once (Q2)', async () => {
    const { ask, end, entered } = manual({ maxActive: 1, maxWaiting: 1 });
    const stop = new AbortController();
    ask('a1');
    const two = ask('a2', { signal: stop.signal });
    await expect(ask('a3')).rejects.toMatchObject({ code: 'QUEUE_FULL' });
    stop.abort('gone');
    await expect(two).rejects.toMatchObject({ code: 'CANCELLED', cause: 'gone' });
    ask('a4');
    await end('a1');
    expect(entered).toEqual(['a1', 'a4']);
  });

  it('tells a running one that it was cancelled, and gives its place away when it has ended (Q1)', async () => {
    const { ask, inside, entered } = manual({ maxActive: 1 });
    const stop = new AbortController();
    const one = ask('a1', { signal: stop.signal });
    ask('b1');
    stop.abort();
    await expect(one).rejects.toMatchObject({ code: 'CANCELLED' });
    expect(inside.get('a1')?.signal.aborted).toBe(true);
    await turn();
    expect(entered).toEqual(['a1']);
    inside.get('a1')?.fail(new InferenceError('CANCELLED', 'at last'));
    await turn();
    expect(entered).toEqual(['a1', 'b1']);
  });

  it('refuses one that is cancelled already', async () => {
    const { ask, entered, scheduler } = manual();
    await expect(ask('a1', { signal: AbortSignal.abort() })).rejects.toMatchObject({ code: 'CANCELLED' });
    expect(entered).toEqual([]);
    expect(scheduler.counts).toEqual({ active: 0, waiting: 0 });
  });

  it('counts the wait into the time-out', async () => {
    const { ask, inside, entered } = manual({ maxActive: 1, timeoutMs: 30 });
    const [running, waiting] = [ask('a1'), ask('a2')];
    await expect(running).rejects.toMatchObject({ code: 'REQUEST_TIMEOUT' });
    await expect(waiting).rejects.toBeInstanceOf(ServerError);
    expect([entered, inside.get('a1')?.signal.aborted]).toEqual([['a1'], true]);
  });

  it('goes on after a failure, and hands it on as it is', async () => {
    const { ask, end, inside } = manual({ maxActive: 1 });
    const [one, two] = [ask('a1'), ask('a2')];
    const fault = new InferenceError('GRAPH_FAILED', 'as asked');
    inside.get('a1')?.fail(fault);
    await expect(one).rejects.toBe(fault);
    await end('a2');
    expect(await two).toBe('answer to a2');
    const scheduler = openScheduler();
    const throwing = scheduler.run({ key: 'a' }, () => {
      throw fault;
    });
    await expect(throwing).rejects.toBe(fault);
    expect(scheduler.counts).toEqual({ active: 0, waiting: 0 });
  });

  it('keeps the sum of positions, and lets nobody overtake what does not fit (Q5)', async () => {
    const { ask, end, entered } = manual({ maxPositions: 100 });
    ask('a1', { positions: 60 });
    ask('b1', { positions: 41 });
    ask('c1', { positions: 1 });
    expect(entered).toEqual(['a1']);
    await end('a1');
    expect(entered).toEqual(['a1', 'b1', 'c1']);
    ask('d1', { positions: 101 });
    await end('b1');
    expect(entered).not.toContain('d1');
    await end('c1');
    expect(entered).toContain('d1');
  });

  it('lets the next in where what did not fit before it is cancelled (Q5)', () => {
    const { ask, entered } = manual({ maxPositions: 100 });
    const stop = new AbortController();
    ask('a1', { positions: 60 });
    ask('b1', { positions: 60, signal: stop.signal });
    ask('c1', { positions: 40 });
    expect(entered).toEqual(['a1']);
    stop.abort();
    expect(entered).toEqual(['a1', 'c1']);
  });

  it('lets one that found no memory wait until another has ended (Q5)', async () => {
    const { ask, end, inside, entered, scheduler } = manual();
    ask('a1');
    ask('a2');
    const three = ask('a3');
    inside.get('a3')?.fail(outOfMemory());
    await turn();
    ask('b1');
    expect(entered).toEqual(['a1', 'a2', 'a3']);
    expect(scheduler.counts).toEqual({ active: 2, waiting: 2 });
    await end('a1');
    expect(entered).toEqual(['a1', 'a2', 'a3', 'a3', 'b1']);
    await end('a3');
    expect(await three).toBe('answer to a3');
  });

  it('refuses one for want of memory where no other is there, and forgets it where it is cancelled', async () => {
    const { ask, end, inside, entered } = manual();
    const alone = ask('a1');
    inside.get('a1')?.fail(outOfMemory());
    await expect(alone).rejects.toMatchObject({ code: 'OUT_OF_MEMORY' });
    ask('b1');
    const stop = new AbortController();
    const waiting = ask('b2', { signal: stop.signal });
    inside.get('b2')?.fail(outOfMemory());
    await turn();
    stop.abort();
    await expect(waiting).rejects.toMatchObject({ code: 'CANCELLED' });
    await end('b1');
    expect(entered).toEqual(['a1', 'b1', 'b2']);
    ask('c1');
    expect(entered.at(-1)).toBe('c1');
  });

  it('does not do one again that found no memory after it was cancelled (Q2)', async () => {
    const { ask, end, inside, entered, scheduler } = manual();
    const stop = new AbortController();
    ask('a1');
    const two = ask('a2', { signal: stop.signal });
    stop.abort();
    inside.get('a2')?.fail(outOfMemory());
    await expect(two).rejects.toMatchObject({ code: 'CANCELLED' });
    await turn();
    expect(scheduler.counts).toEqual({ active: 1, waiting: 0 });
    await end('a1');
    expect(entered).toEqual(['a1', 'a2']);
  });

  it('comes to an end where several found no memory', async () => {
    const { ask, end, inside, entered } = manual();
    for (const name of ['a1', 'a2']) ask(name);
    for (const name of ['a1', 'a2']) inside.get(name)?.fail(outOfMemory());
    await turn();
    await turn();
    expect(entered.slice(2, 3)).toEqual([entered[2]]);
    expect(inside.size).toBe(1);
    await end(entered.at(-1) ?? '');
    expect(inside.size).toBe(1);
  });

  it('advises by what answers took', async () => {
    let nowMs = 0;
    const { ask, end, scheduler } = manual({ maxActive: 2, maxWaiting: 1, now: () => nowMs });
    for (let i = 0; i < 40; i++) {
      const one = ask(`a${i}`);
      nowMs += 10_000;
      await end(`a${i}`);
      await one;
    }
    // What was cancelled says nothing about the time that an answer takes.
    for (let i = 0; i < 40; i++) {
      const stop = new AbortController();
      ask(`b${i}`, { signal: stop.signal }).catch(() => {});
      stop.abort();
      await end(`b${i}`);
    }
    for (const name of ['a1', 'a2', 'a3']) ask(name);
    const full = await ask('a4').catch((error) => error);
    expect(full).toMatchObject({ code: 'QUEUE_FULL' });
    // Two have to be answered, two at a time.
    expect(full.at.retryAfterSeconds).toBeGreaterThan(8);
    expect(full.at.retryAfterSeconds).toBeLessThanOrEqual(10);
    scheduler.close();
  });

  it('leaves no timer and no listener behind, whatever became of a request', async () => {
    vi.useFakeTimers();
    try {
      const scheduler = openScheduler({ maxActive: 1, maxWaiting: 0 });
      const { signal } = new AbortController();
      let end = () => {};
      const held = new Promise<void>((resolve) => {
        end = resolve;
      });
      const running = scheduler.run({ key: 'a', signal }, () => held);
      await expect(scheduler.run({ key: 'a', signal }, () => held)).rejects.toMatchObject({ code: 'QUEUE_FULL' });
      expect([vi.getTimerCount(), getEventListeners(signal, 'abort').length]).toEqual([1, 1]);
      end();
      await running;
      expect([vi.getTimerCount(), getEventListeners(signal, 'abort').length]).toEqual([0, 0]);
    } finally {
      vi.useRealTimers();
    }
  });

  it('closes: cancels those that run, refuses those that wait and those that come', async () => {
    const { ask, scheduler, inside, entered } = manual({ maxActive: 1 });
    const answers = ['a1', 'a2', 'b1'].map((name) => ask(name));
    scheduler.close();
    for (const end of await Promise.allSettled(answers))
      expect(end).toMatchObject({ reason: { code: 'SERVER_CLOSED' } });
    expect(inside.get('a1')?.signal.aborted).toBe(true);
    await expect(ask('a3')).rejects.toMatchObject({ code: 'SERVER_CLOSED' });
    expect(entered).toEqual(['a1']);
  });

  it('refuses what found no memory too when it closes', async () => {
    const { ask, scheduler, inside, entered } = manual();
    ask('a1');
    const two = ask('a2');
    inside.get('a2')?.fail(outOfMemory());
    await turn();
    expect(scheduler.counts).toEqual({ active: 1, waiting: 1 });
    scheduler.close();
    await expect(two).rejects.toMatchObject({ code: 'SERVER_CLOSED' });
    expect(entered).toEqual(['a1', 'a2']);
  });

  it('is never over a limit and leaves nobody waiting, whatever happens', async () => {
    const request = fc.record({
      key: fc.constantFrom('a', 'b', 'c'),
      positions: fc.integer({ min: 0, max: 60 }),
      after: fc.integer({ min: 0, max: 8 }),
      takes: fc.integer({ min: 0, max: 4 }),
      cancelAfter: fc.option(fc.integer({ min: 0, max: 10 }), { nil: undefined, freq: 3 }),
      memoryFaults: fc.integer({ min: 0, max: 2 }),
    });
    const limits = fc.record({
      maxActive: fc.integer({ min: 1, max: 4 }),
      maxWaiting: fc.integer({ min: 0, max: 12 }),
      maxPositions: fc.integer({ min: 10, max: 120 }),
      perKey: fc.record({ active: fc.integer({ min: 1, max: 3 }), waiting: fc.integer({ min: 0, max: 8 }) }),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(request, { maxLength: 20 }), limits, async (requests, options) => {
        const scheduler = openScheduler(options);
        const active = { a: 0, b: 0, c: 0 } as Record<string, number>;
        let all = 0;
        let positions = 0;
        const turns = async (count: number) => {
          for (let i = 0; i < count; i++) await turn();
        };
        const ends = requests.map(async ({ key, after, takes, cancelAfter, memoryFaults, ...rest }) => {
          await turns(after);
          const stop = new AbortController();
          let faults = memoryFaults;
          const answer = scheduler.run({ key, positions: rest.positions, signal: stop.signal }, async (signal) => {
            all += 1;
            positions += rest.positions;
            active[key] = (active[key] ?? 0) + 1;
            expect(all).toBeLessThanOrEqual(options.maxActive);
            expect(active[key]).toBeLessThanOrEqual(options.perKey.active);
            if (all > 1) expect(positions).toBeLessThanOrEqual(options.maxPositions);
            try {
              for (let i = 0; i < takes && !signal.aborted; i++) await turn();
              if (faults-- > 0) throw outOfMemory();
            } finally {
              all -= 1;
              positions -= rest.positions;
              active[key] = (active[key] ?? 0) - 1;
            }
          });
          if (cancelAfter !== undefined) void turns(cancelAfter).then(() => stop.abort());
          const { waiting } = scheduler.counts;
          // Those that found no memory had a place already.
          expect(waiting).toBeLessThanOrEqual(options.maxWaiting + options.maxActive);
          await answer.catch((error) => {
            expect(['CANCELLED', 'QUEUE_FULL', 'RATE_LIMITED', 'OUT_OF_MEMORY']).toContain(error.code);
          });
        });
        await Promise.all(ends);
        await turns(3);
        expect(scheduler.counts).toEqual({ active: 0, waiting: 0 });
      }),
      { numRuns: 200 },
    );
  });
});
