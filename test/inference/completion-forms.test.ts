import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { toHex } from '../../attest/core/bytes.ts';
import { sha256 } from '../../attest/core/hash.ts';
import { computeMasksRoot } from '../../attest/sign/receipt.ts';
import { CompletionEngine } from '../../inference/completion-engine.ts';
import type { CheckingEngine, Completion, CompletionRequest, Delta } from '../../inference/engine.ts';
import { openEngine, openModel } from '../../inference/model.ts';
import { readWholeAnswer } from '../../inference/tools/answer-reader.ts';
import { tinyGguf } from '../support/tiny-model.ts';

const folder = mkdtempSync(join(tmpdir(), 'tracebond-forms-'));
const path = join(folder, 'tiny.gguf');
let engine: CheckingEngine;
beforeAll(async () => {
  writeFileSync(path, tinyGguf({ contextLength: 2048 }));
  engine = await openEngine({ path, id: 'tiny', cacheDir: join(folder, 'cache'), engine: 'wasm', threads: 1 });
});
afterAll(async () => {
  await engine.close();
  rmSync(folder, { recursive: true, force: true });
});

const ask = (more: Partial<CompletionRequest> = {}): CompletionRequest => ({
  messages: [{ role: 'user', content: 'the' }],
  maxTokens: 24,
  ...more,
});
const schema = JSON.stringify({ type: 'object', properties: { a: { enum: [1, 2] } }, required: ['a'] });
const form = (text: string) => ({ type: 'json_schema', schema: text }) as const;
const tools = ['f', 'g'].map((name) => ({ name, description: null, parameters: schema }));
const HOT = { temperature: 20_000, topP: 10_000, topK: 0, seed: `0x${'07'.repeat(32)}` as const };

async function withDeltas(request: CompletionRequest): Promise<{ answer: Completion; deltas: readonly Delta[] }> {
  const deltas: Delta[] = [];
  const answer = await engine.complete(request, undefined, (delta) => deltas.push(delta));
  return { answer, deltas };
}

const REQUESTS: readonly (readonly [string, CompletionRequest])[] = [
  ['free text', ask()],
  ['sampled text', ask({ sampling: HOT })],
  ['a prompt', ask({ messages: [], prompt: 'the cat' })],
  ['a choice', ask({ choices: ['yes', 'no'] })],
  ['a stop text', ask({ stop: ['a', 'e'], sampling: HOT })],
  ['JSON of a schema', ask({ format: form(schema), sampling: HOT })],
  ['any object', ask({ format: { type: 'json_object' }, sampling: HOT })],
  ['a call', ask({ toolUse: { tools, choice: { type: 'required' }, parallel: false }, maxTokens: 96, sampling: HOT })],
  ['a call or text', ask({ toolUse: { tools, choice: { type: 'auto' }, parallel: true }, sampling: HOT })],
];

describe('an answer', () => {
  it.each(REQUESTS)('of %s comes in pieces that are all of it', async (_, request) => {
    const { answer, deltas } = await withDeltas(request);
    expect(deltas.map(({ text }) => text).join('')).toBe(answer.text);
    expect(deltas.flatMap(({ ids }) => ids)).toEqual(answer.outputIds);
  });

  it.each(REQUESTS)('of %s is the same in company, and when it is checked', async (_, request) => {
    const alone = await engine.complete(request);
    const [among] = await Promise.all([
      engine.complete(request),
      ...REQUESTS.map(([, other]) => engine.complete({ ...other, maxTokens: other.maxTokens + 1 })),
    ]);
    expect(among).toEqual(alone);
    expect(await engine.check(request, alone.outputIds)).toEqual(alone);
  });

  it('of a form is whole however few tokens it may have', async () => {
    for (let maxTokens = 8; maxTokens < 30; maxTokens++) {
      for (const seed of ['01', '02', '03']) {
        const sampling = { ...HOT, seed: `0x${seed.repeat(32)}` as const };
        const { text, finishReason } = await engine.complete(
          ask({ format: { type: 'json_object' }, maxTokens, sampling }),
        );
        expect(typeof JSON.parse(text)).toBe('object');
        expect(finishReason).toBe('stop');
      }
    }
  });

  it('calls the function that was named, once, and any where one is required', async () => {
    const sampling = HOT;
    const read = (answer: Completion) => readWholeAnswer(answer.text, true, String);
    const named = { tools, choice: { type: 'function', name: 'g' }, parallel: true } as const;
    const { content, calls } = read(await engine.complete(ask({ toolUse: named, maxTokens: 200, sampling })));
    expect([content, calls.map(({ name }) => name)]).toEqual([null, ['g']]);
    expect([1, 2]).toContain(JSON.parse(calls[0]?.arguments ?? '').a);
    const any = { tools, choice: { type: 'required' }, parallel: false } as const;
    expect(read(await engine.complete(ask({ toolUse: any, maxTokens: 200, sampling }))).calls).toHaveLength(1);
  });

  it('is JSON of a schema or a call where both are asked for', async () => {
    const toolUse = { tools, choice: { type: 'auto' }, parallel: false } as const;
    for (const seed of ['01', '02', '03', '04', '05', '06']) {
      const sampling = { ...HOT, seed: `0x${seed.repeat(32)}` as const };
      const { text } = await engine.complete(ask({ format: form(schema), toolUse, maxTokens: 96, sampling }));
      const { content, calls } = readWholeAnswer(text, true, String);
      expect(JSON.parse(content ?? calls[0]?.arguments ?? '')).toMatchObject({ a: expect.any(Number) });
    }
  });
});

describe('masks', () => {
  it('are null where all was allowed', async () => {
    expect((await engine.complete(ask())).masks).toBeNull();
  });

  it('are the allowed ids at each place of a choice', async () => {
    const { outputIds, masks } = await engine.complete(ask({ choices: ['yes'] }));
    const words = 4 * Math.ceil(engine.identity.vocabularySize / 32);
    const digests = outputIds.map((id) => {
      const bits = new Uint8Array(words);
      bits[id >> 3] = 1 << (id & 7);
      return sha256(bits);
    });
    expect(masks).toBe(toHex(computeMasksRoot(digests)));
  });

  it('differ where the form differs and the answer does not', async () => {
    const only = (values: readonly number[]) =>
      engine.complete(ask({ format: form(JSON.stringify({ enum: values })) }));
    const [one, other] = [await only([1]), await only([1, 23])];
    expect(one.text).toBe('1');
    expect(one.masks).not.toBeNull();
    expect(one.masks).not.toBe(other.masks);
  });
});

describe('log-probabilities', () => {
  it('are one for each id, of the token that was taken, also where one alone was allowed', async () => {
    for (const more of [{}, { format: form(schema) }]) {
      const { answer, deltas } = await withDeltas(ask({ ...more, logprobs: 2 }));
      expect(answer.logprobs?.map(({ id }) => id)).toEqual(answer.outputIds);
      for (const { logprob, top } of answer.logprobs ?? []) {
        expect(logprob).toBeLessThanOrEqual(0);
        expect(top).toHaveLength(2);
      }
      expect(deltas.flatMap(({ logprobs = [] }) => logprobs)).toEqual(answer.logprobs);
    }
  });

  it('do not change the answer', async () => {
    const { logprobs, ...answer } = await engine.complete(ask({ format: form(schema), logprobs: 0 }));
    expect(answer).toEqual(await engine.complete(ask({ format: form(schema) })));
    expect(logprobs?.every(({ top }) => top.length === 0)).toBe(true);
  });
});

describe('a request', () => {
  it.each([
    ['no messages', ask({ messages: [] }), 'PROMPT_EMPTY', { field: 'messages' }],
    ['an empty prompt', ask({ messages: [], prompt: '' }), 'PROMPT_EMPTY', { field: 'prompt' }],
    ['stop and a form', ask({ format: form(schema), stop: ['x'] }), 'REQUEST_MALFORMED', { field: 'stop' }],
    ['choices and a form', ask({ format: form(schema), choices: ['x'] }), 'REQUEST_MALFORMED', { field: 'choices' }],
    ['choices and log-probabilities', ask({ logprobs: 1, choices: ['x'] }), 'REQUEST_MALFORMED', { field: 'choices' }],
    ['21 log-probabilities', ask({ logprobs: 21 }), 'REQUEST_MALFORMED', { field: 'logprobs' }],
    ['half a log-probability', ask({ logprobs: 0.5 }), 'REQUEST_MALFORMED', { field: 'logprobs' }],
    ['too few tokens', ask({ format: form(schema), maxTokens: 1 }), 'BUDGET_TOO_SMALL', { field: 'maxTokens' }],
    ['a schema that is none', ask({ format: form('{"type":7}') }), 'SCHEMA_REFUSED', { field: 'schema' }],
    ['a schema that is not supported', ask({ format: form('{"if":{}}') }), 'SCHEMA_REFUSED', { keyword: 'if' }],
    ['a schema that is no JSON', ask({ format: form('{') }), 'SCHEMA_REFUSED', { field: 'schema' }],
    [
      'a tool with such a schema',
      ask({
        toolUse: {
          tools: [...tools, { name: 'h', description: null, parameters: '{"if":{}}' }],
          choice: { type: 'auto' },
          parallel: false,
        },
      }),
      'SCHEMA_REFUSED',
      { field: 'tools', index: 2 },
    ],
  ] as const)('with %s is refused', async (_, request, code, at) => {
    await expect(engine.complete(request as CompletionRequest)).rejects.toMatchObject({ code, at });
  });

  it('that was refused or cancelled leaves the next as it is', async () => {
    const expected = await engine.complete(ask());
    const stop = new AbortController();
    const cancelled = engine.complete(ask({ maxTokens: 60 }), stop.signal, () => stop.abort());
    const beside = engine.complete(ask());
    await expect(cancelled).rejects.toMatchObject({ code: 'CANCELLED' });
    expect(await beside).toEqual(expected);
    expect(await engine.complete(ask())).toEqual(expected);
  });
});

describe('embeddings', () => {
  it('are of unit length, and the same in company', async () => {
    const { ids, vectors } = await engine.embed(['the cat', 'the']);
    expect(ids.map((one) => one.length > 0)).toEqual([true, true]);
    for (const vector of vectors) {
      expect(Math.hypot(...vector)).toBeCloseTo(1, 5);
      expect(vector.every((value) => Math.fround(value) === value)).toBe(true);
    }
    const [again] = await Promise.all([engine.embed(['the cat']), engine.complete(ask())]);
    expect(again.vectors[0]).toEqual(vectors[0]);
    expect(vectors[1]).not.toEqual(vectors[0]);
  });

  it('have no -0, which JSON would lose', async () => {
    const model = await openModel({ path, id: 'tiny', cacheDir: join(folder, 'cache'), engine: 'wasm', threads: 1 });
    const embed = async () => Float32Array.of(-3, -0, 4);
    const other = new CompletionEngine(model.identity, model.tokenizer, { ...model.sequences, embed });
    const { vectors } = await other.embed(['the']);
    expect(vectors).toStrictEqual([[Math.fround(-0.6), 0, Math.fround(0.8)]]);
    await model.sequences.close();
  });

  it('refuse a text without tokens, and one beyond the context', async () => {
    await expect(engine.embed(['a', ''])).rejects.toMatchObject({
      code: 'PROMPT_EMPTY',
      at: { field: 'input', index: 1 },
    });
    const long = 'the cat '.repeat(engine.identity.contextLength);
    await expect(engine.embed([long])).rejects.toMatchObject({ code: 'PROMPT_TOO_LONG' });
  });
});
