import { describe, expect, it } from 'vitest';
import type { CompletionRequest, Engine } from '../../inference/engine.ts';
import { InferenceError } from '../../inference/errors.ts';
import { openQueue } from '../../inference/queue.ts';
import { ServerError } from '../../inference/server-errors.ts';
import { openToyEngine, TOY_IDENTITY, toyAnswer } from '../support/toy-engine.ts';

const ask = (content: string): CompletionRequest => ({ messages: [{ role: 'user', content }], maxTokens: 50 });

/** An engine whose answers wait for the test. */
function manualEngine() {
  const inside: { content: string; signal: AbortSignal | undefined; answer(): void; fail(error: Error): void }[] = [];
  let most = 0;
  let running = 0;
  const engine: Engine = {
    identity: TOY_IDENTITY,
    async complete(request, signal) {
      most = Math.max(most, ++running);
      try {
        await new Promise<void>((resolve, reject) => {
          inside.push({ content: request.messages[0]?.content ?? '', signal, answer: resolve, fail: reject });
        });
      } finally {
        running--;
      }
      return toyAnswer(request);
    },
    async close() {},
  };
  return { engine, inside, most: () => most };
}

const turn = () => new Promise((resolve) => setImmediate(resolve));

describe('queue', () => {
  it('lets one in at a time, in order (Q1)', async () => {
    const { engine, inside, most } = manualEngine();
    const queue = openQueue(engine);
    const answers = ['a', 'b', 'c'].map((content) => queue.complete(ask(content)));
    for (let i = 0; i < 3; i++) {
      await turn();
      expect(inside.length).toBe(i + 1);
      inside[i]?.answer();
    }
    expect((await Promise.all(answers)).map(({ text }) => text)).toEqual(['echo: a', 'echo: b', 'echo: c']);
    expect(inside.map(({ content }) => content)).toEqual(['a', 'b', 'c']);
    expect(most()).toBe(1);
  });

  it('goes on after a failure, and hands it on as it is', async () => {
    const { engine, inside } = manualEngine();
    const queue = openQueue(engine);
    const [one, two] = ['a', 'b'].map((content) => queue.complete(ask(content)));
    const fault = new InferenceError('GRAPH_FAILED', 'as asked');
    inside[0]?.fail(fault);
    await expect(one).rejects.toBe(fault);
    await turn();
    inside[1]?.answer();
    expect((await two)?.text).toBe('echo: b');
  });

  it('forgets one that is cancelled while it waits (Q2)', async () => {
    const { engine, inside } = manualEngine();
    const queue = openQueue(engine, { maxWaiting: 1 });
    const one = queue.complete(ask('a'));
    const stop = new AbortController();
    const two = queue.complete(ask('b'), stop.signal);
    await expect(queue.complete(ask('x'))).rejects.toMatchObject({ code: 'QUEUE_FULL' });
    stop.abort();
    await expect(two).rejects.toMatchObject({ code: 'CANCELLED' });
    // Its place is free at once.
    const three = queue.complete(ask('c'));
    inside[0]?.answer();
    await one;
    await turn();
    inside[1]?.answer();
    expect((await three).text).toBe('echo: c');
    expect(inside.map(({ content }) => content)).toEqual(['a', 'c']);
  });

  it('tells the engine of a cancelled one, and lets the next in only when the engine is done with it (Q1)', async () => {
    const { engine, inside } = manualEngine();
    const queue = openQueue(engine);
    const stop = new AbortController();
    const one = queue.complete(ask('a'), stop.signal);
    const two = queue.complete(ask('b'));
    stop.abort();
    await expect(one).rejects.toMatchObject({ code: 'CANCELLED' });
    await turn();
    expect(inside[0]?.signal?.aborted).toBe(true);
    expect(inside.length).toBe(1);
    inside[0]?.fail(new InferenceError('CANCELLED', 'at last'));
    await turn();
    expect(inside.length).toBe(2);
    inside[1]?.answer();
    await two;
  });

  it('refuses one that is cancelled already', async () => {
    const { engine, inside } = manualEngine();
    await expect(openQueue(engine).complete(ask('a'), AbortSignal.abort())).rejects.toMatchObject({
      code: 'CANCELLED',
    });
    expect(inside).toEqual([]);
  });

  it('counts the wait into the time-out', async () => {
    const { engine, inside } = manualEngine();
    const queue = openQueue(engine, { timeoutMs: 50 });
    const [running, waiting] = [queue.complete(ask('a')), queue.complete(ask('b'))];
    await expect(running).rejects.toMatchObject({ code: 'REQUEST_TIMEOUT' });
    await expect(waiting).rejects.toBeInstanceOf(ServerError);
    expect(inside.map(({ content, signal }) => [content, signal?.aborted])).toEqual([['a', true]]);
  });

  it('advises by what answers took', async () => {
    let nowMs = 0;
    const { engine, inside } = manualEngine();
    const queue = openQueue(engine, { maxWaiting: 1, now: () => nowMs });
    for (let i = 0; i < 40; i++) {
      const one = queue.complete(ask('a'));
      nowMs += 10_000;
      inside[i]?.answer();
      await one;
      await turn();
    }
    const rest = ['a', 'b'].map((content) => queue.complete(ask(content)).catch(() => {}));
    const full = await queue.complete(ask('x')).catch((error) => error);
    expect(full).toMatchObject({ code: 'QUEUE_FULL' });
    expect(full.at.retryAfterSeconds).toBeGreaterThan(15);
    expect(full.at.retryAfterSeconds).toBeLessThanOrEqual(20);
    await queue.close();
    await Promise.all(rest);
  });

  it('closes: refuses all, then closes the engine', async () => {
    const queue = openQueue(openToyEngine());
    const ends = Promise.allSettled(['wait', 'a'].map((content) => queue.complete(ask(content))));
    await queue.close();
    for (const end of await ends) expect(end).toMatchObject({ reason: { code: 'SERVER_CLOSED' } });
    await expect(queue.complete(ask('a'))).rejects.toMatchObject({ code: 'SERVER_CLOSED' });
  });
});
