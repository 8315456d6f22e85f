import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { CompletionEngine } from '../../inference/completion-engine.ts';
import type { CompletionRequest } from '../../inference/engine.ts';
import { InferenceError } from '../../inference/errors.ts';
import { exactModelFrom } from '../../inference/exact/exact-file.ts';
import type { ExactModel } from '../../inference/exact/exact-model.ts';
import { exactSequences } from '../../inference/exact/exact-sequences.ts';
import { openReference } from '../../inference/exact/reference/reference-decoder.ts';
import { openGgufSource } from '../../inference/gguf/gguf-source.ts';
import { type OpenModel, openEngine, openModel } from '../../inference/model.ts';
import type { Sequences } from '../../inference/sequences.ts';
import { tinyGguf } from '../support/tiny-model.ts';

const folder = mkdtempSync(join(tmpdir(), 'tracebond-completions-'));
const path = join(folder, 'tiny.gguf');
const options = { path, id: 'tiny', cacheDir: join(folder, 'cache'), threads: 1 };

let model: OpenModel;
let exact: ExactModel;
beforeAll(async () => {
  writeFileSync(path, tinyGguf({}));
  model = await openModel(options);
  const source = openGgufSource(path);
  exact = exactModelFrom(source);
  source.close();
});
afterAll(async () => {
  await model.sequences.close();
  rmSync(folder, { recursive: true, force: true });
});

/** Sequences over the reference: batches are said to cost nothing, so that everything is speculated about; rows are counted. */
function sequencesOf(prefixCache: boolean): {
  readonly sequences: Sequences;
  readonly counts: { rows: number; calls: number };
} {
  const decoder = openReference(exact);
  const counts = { rows: 0, calls: 0 };
  const forward = decoder.forwardEach.bind(decoder);
  decoder.forwardEach = (rows, ...rest) => {
    counts.rows += rows.length;
    counts.calls += 1;
    forward(rows, ...rest);
  };
  const own = exactSequences(decoder, { prefixCache });
  const sequences: Sequences = {
    contextLength: own.contextLength,
    open(capacity, prompt) {
      const sequence = own.open(capacity, prompt);
      if (sequence.rows === undefined) throw new TypeError('no rows');
      Object.assign(sequence.rows, { costOf: (rows: number) => 1 + rows / 1000 });
      return sequence;
    },
    close: () => own.close(),
  };
  return { sequences, counts };
}

function engineOf(speculate: boolean, prefixCache: boolean) {
  const { sequences, counts } = sequencesOf(prefixCache);
  return { engine: new CompletionEngine(model.identity, model.tokenizer, sequences, { speculate }), counts };
}

const word = fc.constantFrom('the', 'cat', 'the cat ', 'a', ' b', 'abab');
const text = fc.array(word, { minLength: 1, maxLength: 4 }).map((words) => words.join(''));
const request: fc.Arbitrary<CompletionRequest> = fc
  .record({
    messages: fc.array(fc.record({ role: fc.constantFrom('user' as const, 'assistant' as const), content: text }), {
      minLength: 1,
      maxLength: 3,
    }),
    maxTokens: fc.integer({ min: 4, max: 24 }),
    kind: fc.constantFrom('greedy', 'sampled', 'stop', 'choices'),
    choices: fc.uniqueArray(fc.constantFrom('yes', 'yet', 'no', 'y', 'nope'), { minLength: 1, maxLength: 4 }),
    seed: fc.constantFrom('01', '02'),
  })
  .map(({ messages, maxTokens, kind, choices, seed }) => ({
    messages,
    maxTokens,
    ...(kind === 'choices' ? { choices } : {}),
    ...(kind === 'stop' ? { stop: ['e', 'ab'] } : {}),
    ...(kind === 'sampled'
      ? { sampling: { temperature: 9000, topP: 9000, topK: 5, seed: `0x${seed.repeat(32)}` as const } }
      : {}),
  }));

describe('completions', () => {
  it('are the same with and without speculation and kept beginnings of prompts', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(request, { minLength: 1, maxLength: 4 }), async (requests) => {
        const [plain, ...others] = [
          engineOf(false, false),
          engineOf(true, false),
          engineOf(false, true),
          engineOf(true, true),
        ] as const;
        for (const one of requests) {
          const expected = await plain.engine.complete(one);
          for (const { engine } of others) expect(await engine.complete(one)).toEqual(expected);
        }
      }),
      { numRuns: 12 },
    );
  });

  it('are computed in fewer batches where the text repeats itself, and in fewer rows where the prompt does', async () => {
    const [plain, ahead, kept] = [engineOf(false, false), engineOf(true, false), engineOf(false, true)];
    const copying = { messages: [{ role: 'user', content: 'abababababababababababab' }], maxTokens: 60 } as const;
    for (const { engine } of [plain, ahead, kept]) {
      await engine.complete(copying);
      await engine.complete(copying);
    }
    expect(ahead.counts.calls).toBeLessThan(plain.counts.calls);
    const { promptIds } = await plain.engine.complete({ ...copying, maxTokens: 1 });
    // 1 of the prompt of the second request is computed, and then its answer
    expect(kept.counts.rows).toBe(plain.counts.rows - promptIds.length - promptIds.length + 1);
  });

  it('of an engine that is opened by name speculate and keep by default, and do neither when told so', async () => {
    const ask = { messages: [{ role: 'user', content: 'the cat the cat' }], maxTokens: 20 } as const;
    const answers = [];
    for (const more of [{}, { speculate: false }, { prefixCache: false }, { profile: 'float-same-isa' }] as const) {
      const engine = await openEngine({ ...options, ...more });
      const first = await engine.complete(ask);
      expect(await engine.complete(ask)).toEqual(first);
      if (!('profile' in more)) answers.push(first);
      await engine.close();
    }
    expect(new Set(answers.map((answer) => JSON.stringify(answer))).size).toBe(1);
  });

  it.each([true, false])('leave %s to the option whether prompts are kept', async (prefixCache) => {
    const opened = await openModel({ ...options, prefixCache });
    const prompt = [1, 2, 3, 4, 5];
    const sequence = opened.sequences.open(8, prompt);
    await sequence.feed(prompt);
    sequence.close();
    expect(opened.sequences.open(8, prompt).length).toBe(prefixCache ? 4 : 0);
    await opened.sequences.close();
  });

  it('that were cancelled leave nothing wrong behind', async () => {
    const { engine } = engineOf(true, true);
    const plain = engineOf(false, false).engine;
    const ask = { messages: [{ role: 'user', content: 'the cat the cat the' }], maxTokens: 30 } as const;
    const expected = await plain.complete(ask);
    for (let after = 0; after < 8; after++) {
      const controller = new AbortController();
      const pending = engine.complete(ask, controller.signal);
      for (let turn = 0; turn < 2 * after; turn++) await new Promise((resolve) => setImmediate(resolve));
      controller.abort();
      const answer = await pending.catch((error) => error);
      if (answer instanceof Error) expect(answer).toMatchObject({ code: 'CANCELLED' });
      else expect(answer).toEqual(expected);
      expect(await engine.complete(ask)).toEqual(expected);
    }
  });
});

/** An engine with room for so many sequences at once, as one over a decoder of bounded memory is. */
function engineWithRoom(most: number) {
  const { sequences } = sequencesOf(false);
  const state = { held: 0, most: 0, isClosed: false };
  const bounded: Sequences = {
    contextLength: sequences.contextLength,
    isConcurrent: true,
    open(capacity, prompt) {
      if (state.held >= most) throw new InferenceError('OUT_OF_MEMORY', 'no room for a sequence');
      const sequence = sequences.open(capacity, prompt);
      const close = sequence.close.bind(sequence);
      state.held += 1;
      state.most = Math.max(state.most, state.held);
      return Object.assign(sequence, {
        close() {
          state.held -= 1;
          close();
        },
      });
    },
    async close() {
      state.isClosed = true;
      await sequences.close();
    },
  };
  return { engine: new CompletionEngine(model.identity, model.tokenizer, bounded), state };
}

describe('requests of an engine with little room', () => {
  const ask = (content: string, maxTokens = 12): CompletionRequest => ({
    messages: [{ role: 'user', content }],
    maxTokens,
  });

  it('wait for those before them, and are answered as with room', async () => {
    const texts = ['the', 'the cat', 'a', 'b'];
    const { engine, state } = engineWithRoom(1);
    const { engine: plain } = engineOf(false, false);
    const answers = await Promise.all(texts.map((text) => engine.complete(ask(text))));
    for (const [i, text] of texts.entries()) expect(answers[i]).toEqual(await plain.complete(ask(text)));
    expect(state).toMatchObject({ held: 0, most: 1 });
  });

  it('are refused where nobody holds any', async () => {
    await expect(engineWithRoom(0).engine.complete(ask('the'))).rejects.toMatchObject({ code: 'OUT_OF_MEMORY' });
  });

  it('leave at once where they are cancelled while they wait', async () => {
    const { engine } = engineWithRoom(1);
    const stop = new AbortController();
    const running = engine.complete(ask('the', 60));
    const waiting = engine.complete(ask('a'), stop.signal).catch((error) => error.code);
    await new Promise((resolve) => setImmediate(resolve));
    stop.abort();
    expect(await Promise.race([running, waiting])).toBe('CANCELLED');
    await running;
  });

  it('are answered where they run and refused where they wait when it is closed, and then the model is freed', async () => {
    const { engine, state } = engineWithRoom(1);
    const running = engine.complete(ask('the', 20));
    const waiting = engine.complete(ask('a')).catch((error) => error.code);
    await new Promise((resolve) => setImmediate(resolve));
    await engine.close();
    expect(state).toMatchObject({ held: 0, isClosed: true });
    expect((await running).outputIds.length).toBeGreaterThan(0);
    expect(await waiting).toBe('ENGINE_CLOSED');
  });
});

/** An engine whose model wants to say the ids, whatever it is asked. */
function engineThatSays(ids: readonly number[], contextLength = 1024): CompletionEngine {
  const sequences: Sequences = {
    contextLength,
    open() {
      let said = 0;
      let length = 0;
      return {
        get length() {
          return length;
        },
        async feed(fed) {
          length += fed.length;
          const logits = new Float32Array(model.identity.vocabularySize);
          logits[ids[said++] ?? 0] = 1;
          return logits;
        },
        close() {},
      };
    },
    embed: async () => new Float32Array(3),
    async close() {},
  };
  return new CompletionEngine(model.identity, model.tokenizer, sequences);
}

describe('the end of an answer', () => {
  const messages = [{ role: 'user', content: 'the' }] as const;
  const answer = async (ids: readonly number[], more: Partial<CompletionRequest>) => {
    const shown: string[] = [];
    const request = { messages, maxTokens: ids.length, ...more };
    const found = await engineThatSays(ids).complete(request, undefined, ({ text }) => shown.push(text));
    expect(shown.join('')).toBe(found.text);
    return found;
  };
  const idsOf = (said: string) => model.tokenizer.encodeText(said);

  it('shows what could have been the beginning of a stop text', async () => {
    expect(await answer(idsOf('abc'), { stop: ['bcd'] })).toMatchObject({ text: 'abc', finishReason: 'length' });
    expect(await answer(idsOf('abcd'), { stop: ['bcd'] })).toMatchObject({ text: 'a', finishReason: 'stop' });
  });

  it('is a stop where half a character that is left makes the stop text whole', async () => {
    const [half = 0] = idsOf('€');
    expect(await answer([half], {})).toMatchObject({ text: '\ufffd', finishReason: 'length' });
    expect(await answer([half], { stop: ['\ufffd'] })).toMatchObject({ text: '', finishReason: 'stop' });
  });

  it('is a stop where the form is whole, though more could follow, and its tokens are spent', async () => {
    const format = { type: 'json_schema', schema: '{"type":"integer"}' } as const;
    expect(await answer(idsOf('12'), { format })).toMatchObject({ text: '12', finishReason: 'stop' });
    const tools = [{ name: 'f', description: null, parameters: '{"type":"object"}' }];
    const toolUse = { tools, choice: { type: 'auto' }, parallel: true } as const;
    const call = '<tool_call>\n{"name": "f", "arguments": {}}\n</tool_call>';
    expect(await answer(idsOf(call), { toolUse })).toMatchObject({ text: call, finishReason: 'stop' });
    // Free text may always go on.
    expect(await answer(idsOf('12'), { toolUse })).toMatchObject({ text: '12', finishReason: 'length' });
    expect(await answer(idsOf('12'), { toolUse, format })).toMatchObject({ text: '12', finishReason: 'stop' });
  });

  it('is where a claim is wrong, with the id that is right', async () => {
    const ids = idsOf('abc');
    const [a = 0, b = 0, c = 0] = ids;
    const check = (claim: readonly number[]) => engineThatSays(ids).check({ messages, maxTokens: 3 }, claim);
    expect(await check(ids)).toMatchObject({ outputIds: ids, text: 'abc', finishReason: 'length' });
    const wrong = { text: null, finishReason: null, masks: null };
    expect(await check([a, c, c])).toMatchObject({ ...wrong, outputIds: [a, b] });
    expect(await check([])).toMatchObject({ ...wrong, outputIds: [a] });
  });
});

describe('embeddings', () => {
  it('are refused by an engine that is closed, and awaited by one that closes', async () => {
    const log: string[] = [];
    let give = () => {};
    const held = new Promise<void>((resolve) => {
      give = resolve;
    });
    const { sequences } = sequencesOf(false);
    const engine = new CompletionEngine(model.identity, model.tokenizer, {
      ...sequences,
      async embed() {
        await held;
        log.push('vector');
        return Float32Array.of(1);
      },
      async close() {
        log.push('closed');
      },
    });
    const running = engine.embed(['the']);
    const closing = Promise.all([engine.close(), engine.close()]);
    await expect(engine.embed(['the'])).rejects.toMatchObject({ code: 'ENGINE_CLOSED' });
    await new Promise((resolve) => setImmediate(resolve));
    give();
    expect((await running).vectors).toEqual([[1]]);
    await closing;
    expect(log).toEqual(['vector', 'closed']);
  });

  it('end between two texts where they are cancelled', async () => {
    const stop = new AbortController();
    let count = 0;
    const { sequences } = sequencesOf(false);
    const engine = new CompletionEngine(model.identity, model.tokenizer, {
      ...sequences,
      async embed() {
        count += 1;
        stop.abort();
        return Float32Array.of(1);
      },
    });
    await expect(engine.embed(['the', 'cat', 'a'], stop.signal)).rejects.toMatchObject({ code: 'CANCELLED' });
    expect(count).toBe(1);
  });

  it('are zero where the model gives nothing', async () => {
    expect((await engineThatSays([]).embed(['the'])).vectors).toStrictEqual([[0, 0, 0]]);
  });

  it('fill the context to its last place and no further', async () => {
    const [ids = []] = (await engineThatSays([]).embed(['the cat'])).ids;
    expect((await engineThatSays([], ids.length).embed(['the cat'])).ids).toEqual([ids]);
    await expect(engineThatSays([], ids.length - 1).embed(['a', 'the cat'])).rejects.toMatchObject({
      code: 'PROMPT_TOO_LONG',
      at: { field: 'input', index: 1, limit: ids.length - 1 },
    });
  });
});
