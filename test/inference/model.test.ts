import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readEnvironment } from '../../agents/cli/environment.ts';
import type { CompletionRequest, Engine } from '../../inference/engine.ts';
import { openEngine } from '../../inference/model.ts';
import { SHIPPED_MODEL } from '../../inference/model-path.ts';
import { type Field, writeGguf } from '../support/gguf-writer.ts';
import { describeSmolLM2 } from '../support/smollm2.ts';
import { tinyModel } from '../support/tiny-model.ts';

const folder = mkdtempSync(join(tmpdir(), 'tracebond-model-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const cacheDir = join(folder, 'cache');
/** Engines have tests of their own, in `exact/`. */
const ENGINE = { engine: 'wasm', threads: 1 } as const;
const ask = (content: string, more: Partial<CompletionRequest> = {}): CompletionRequest => ({
  messages: [{ role: 'user', content }],
  maxTokens: 8,
  ...more,
});

function writeTiny(change: (fields: Map<string, Field>) => void = () => {}): string {
  const { fields, tensors } = tinyModel();
  change(fields);
  const path = join(folder, 'tiny.gguf');
  writeFileSync(path, writeGguf(fields, tensors));
  return path;
}

describe('opening a model', () => {
  it.each([...tinyModel().fields.keys()].filter((key) => !/head_count_kv|bos_token_id/.test(key)))(
    'names the missing key %s',
    async (key) => {
      const path = writeTiny((fields) => fields.delete(key));
      await expect(openEngine({ ...ENGINE, path, id: 'tiny', cacheDir })).rejects.toMatchObject({
        name: 'ModelError',
        code: 'MISSING_METADATA',
        at: { key },
      });
    },
  );

  it('a file that is not there is FILE_UNREADABLE', async () => {
    await expect(openEngine({ ...ENGINE, path: join(folder, 'no.gguf'), id: 'x', cacheDir })).rejects.toMatchObject({
      code: 'FILE_UNREADABLE',
    });
  });

  it('tells what it does, and does it once', async () => {
    const path = writeTiny((fields) => fields.set('general.name', { type: 'string', value: 'progress' }));
    const messages: string[][] = [];
    for (let i = 0; i < 2; i++) {
      const said: string[] = [];
      await (
        await openEngine({ ...ENGINE, path, id: 'tiny', cacheDir, onProgress: (message) => said.push(message) })
      ).close();
      messages.push(said);
    }
    expect(messages[0]?.some((message) => message.startsWith('converting'))).toBe(true);
    expect(messages[1]?.some((message) => message.startsWith('converting'))).toBe(false);
  });

  it('gives one identity for one file, and another for any change of the file', async () => {
    const identity = async (change?: (fields: Map<string, Field>) => void) => {
      const engine = await openEngine({ ...ENGINE, path: writeTiny(change), id: 'tiny', cacheDir });
      await engine.close();
      return engine.identity;
    };
    const first = await identity();
    expect(first).toMatchObject({ id: 'tiny', profileName: 'exact', contextLength: 128, vocabularySize: 262 });
    for (const name of ['model', 'tokenizer', 'operations', 'profile', 'engine'] as const)
      expect(first[name]).toMatch(/^0x[0-9a-f]{64}$/);
    expect(await identity()).toEqual(first);
    const template = await identity((fields) => fields.set('tokenizer.chat_template', { type: 'string', value: 'x' }));
    expect(template).toMatchObject({ operations: first.operations, profile: first.profile });
    expect([template.model, template.tokenizer]).not.toContain(first.model);
    expect(template.tokenizer).not.toBe(first.tokenizer);
    const epsilon = await identity((fields) =>
      fields.set('llama.attention.layer_norm_rms_epsilon', { type: 'f32', value: 1e-6 }),
    );
    expect(epsilon.operations).not.toBe(first.operations);
    const rotary = await identity((fields) => fields.set('llama.rope.freq_base', { type: 'f32', value: 5000 }));
    // Rotary tables are data of the model, no operation of their own.
    expect(rotary.operations).toBe(first.operations);
    expect(rotary.model).not.toBe(first.model);
  });
});

describe('a request', () => {
  let engine: Engine;
  beforeAll(async () => {
    engine = await openEngine({ ...ENGINE, path: writeTiny(), id: 'tiny', cacheDir });
  });
  afterAll(() => engine.close());

  it('is answered alike however often it is asked, and whatever ran between', async () => {
    const first = await engine.complete(ask('the cat'));
    expect(first.outputIds.length).toBeGreaterThan(0);
    await engine.complete(ask('something else', { maxTokens: 3 }));
    expect(await engine.complete(ask('the cat'))).toEqual(first);
    const many = await Promise.all(Array.from({ length: 4 }, () => engine.complete(ask('the cat'))));
    for (const answer of many) expect(answer).toEqual(first);
  });

  it('answers with one of the choices', async () => {
    const choices = ['yes', 'no', 'the', 'then'];
    const answer = await engine.complete(ask('?', { choices }));
    expect(choices).toContain(answer.text);
    expect(answer.finishReason).toBe('choice');
    expect(answer.outputIds).not.toContain(2);
    expect(await engine.complete(ask('?', { choices: ['<|im_end|>'], maxTokens: 20 }))).toMatchObject({
      text: '<|im_end|>',
      finishReason: 'choice',
    });
  });

  it('ends before a stop text', async () => {
    const free = await engine.complete(ask('the cat'));
    const stop = [...free.text][2] ?? '';
    const stopped = await engine.complete(ask('the cat', { stop: ['never there', stop] }));
    expect(stopped.finishReason).toBe('stop');
    expect(stopped.text).toBe(free.text.slice(0, free.text.indexOf(stop)));
    expect(free.outputIds.slice(0, stopped.outputIds.length)).toEqual(stopped.outputIds);
  });

  it.each<[string, CompletionRequest, string]>([
    ['no messages', ask('', { messages: [] }), 'PROMPT_EMPTY'],
    ['no tokens wanted', ask('a', { maxTokens: 0 }), 'REQUEST_MALFORMED'],
    ['half a token wanted', ask('a', { maxTokens: 1.5 }), 'REQUEST_MALFORMED'],
    ['a prompt over the context', ask('word '.repeat(40)), 'PROMPT_TOO_LONG'],
    ['a prompt far over the context', ask('x'.repeat(50_000_000)), 'PROMPT_TOO_LONG'],
    ['prompt and answer over the context', ask('a', { maxTokens: 127 }), 'CONTEXT_EXCEEDED'],
    [
      'prompt and choice over the context',
      ask('x'.repeat(80), { maxTokens: 60, choices: ['a', 'y'.repeat(50)] }),
      'CONTEXT_EXCEEDED',
    ],
    ['an empty list of choices', ask('a', { choices: [] }), 'CHOICE_EMPTY'],
    ['an empty choice', ask('a', { choices: ['a', ''] }), 'CHOICE_EMPTY'],
    ['a choice twice', ask('a', { choices: ['a', 'b', 'a'] }), 'CHOICE_DUPLICATE'],
    ['a choice longer than wanted', ask('a', { choices: ['a', 'abcdefghi'] }), 'CHOICE_TOO_LONG'],
    ['a choice with half a character', ask('a', { choices: ['\ud800'] }), 'CHOICE_UNWRITABLE'],
    ['too many choices', ask('a', { choices: Array.from({ length: 1025 }, (_, i) => `c${i}`) }), 'TOO_MANY_CHOICES'],
    ['choices and stop', ask('a', { choices: ['a'], stop: ['b'] }), 'REQUEST_MALFORMED'],
    ['an empty stop', ask('a', { stop: [''] }), 'STOP_EMPTY'],
  ])('%s is refused', async (_, request, code) => {
    await expect(engine.complete(request)).rejects.toMatchObject({ name: 'InferenceError', code });
  });

  it('fills the context to the last place and no further', async () => {
    const { promptIds } = await engine.complete(ask('a', { maxTokens: 1 }));
    const answer = await engine.complete(ask('a', { maxTokens: 128 - promptIds.length }));
    expect(answer.outputIds.length).toBeLessThanOrEqual(128 - promptIds.length);
    await expect(engine.complete(ask('a', { maxTokens: 129 - promptIds.length }))).rejects.toMatchObject({
      code: 'CONTEXT_EXCEEDED',
    });
  });

  it('is cancelled, and the next is answered', async () => {
    await expect(engine.complete(ask('a'), AbortSignal.abort())).rejects.toMatchObject({ code: 'CANCELLED' });
    const controller = new AbortController();
    const waiting = engine.complete(ask('a', { maxTokens: 100 }), controller.signal);
    controller.abort();
    await expect(waiting).rejects.toMatchObject({ code: 'CANCELLED' });
    expect((await engine.complete(ask('a', { maxTokens: 1 }))).outputIds).toHaveLength(1);
  });

  it('that runs is answered by an engine that is closed, and the next is refused', async () => {
    const other = await openEngine({ ...ENGINE, path: writeTiny(), id: 'tiny', cacheDir });
    const running = other.complete(ask('a', { maxTokens: 50 }));
    const beside = other.complete(ask('b'));
    const outcome = Promise.allSettled([running, beside]);
    await Promise.resolve();
    await other.close();
    await other.close();
    const [first, second] = await outcome;
    expect([first.status, second.status]).toEqual(['fulfilled', 'fulfilled']);
    await expect(other.complete(ask('a'))).rejects.toMatchObject({ code: 'ENGINE_CLOSED' });
  });
});

describeSmolLM2('SmolLM2', (path) => {
  let engine: Engine;
  beforeAll(async () => {
    engine = await openEngine({ path, id: SHIPPED_MODEL.id, cacheDir: readEnvironment().cache, threads: 1 });
  });
  afterAll(() => engine.close());

  it('is the file that the set-up fetches', () => {
    expect(engine.identity).toMatchObject({
      profileName: 'exact',
      contextLength: 8192,
      vocabularySize: 49_152,
    });
  });

  it('knows the capital of France', async () => {
    const answer = await engine.complete(ask('What is the capital of France?', { maxTokens: 20 }));
    expect(answer).toMatchObject({ text: 'The capital of France is Paris.', finishReason: 'stop' });
    expect(answer.outputIds.at(-1)).toBe(2);
    expect(answer.promptIds).toHaveLength(37);
  });

  it('chooses', async () => {
    const messages = [
      { role: 'system' as const, content: 'Classify the expense. Answer with one word: travel, meals or software.' },
      { role: 'user' as const, content: 'Flight to Berlin, 240 EUR' },
    ];
    const answer = await engine.complete({ messages, maxTokens: 8, choices: ['meals', 'software', 'travel'] });
    expect(answer).toMatchObject({ text: 'travel', finishReason: 'choice' });
  });

  it('refuses a prompt of 10,000 words', async () => {
    await expect(engine.complete(ask('word '.repeat(10_000)))).rejects.toMatchObject({
      code: 'PROMPT_TOO_LONG',
      at: { limit: 8192 },
    });
  });
});
