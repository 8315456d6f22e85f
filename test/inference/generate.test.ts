import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { toHex } from '../../attest/core/bytes.ts';
import { stopAt } from '../../inference/continuation.ts';
import { exactModelFrom } from '../../inference/exact/exact-file.ts';
import { openReference } from '../../inference/exact/reference/reference-decoder.ts';
import { type GenerateOptions, generate } from '../../inference/generate.ts';
import { openGgufSource } from '../../inference/gguf/gguf-source.ts';
import { type OpenModel, openModel } from '../../inference/model.ts';
import { tinyGguf } from '../support/tiny-model.ts';

const folder = mkdtempSync(join(tmpdir(), 'tracebond-generate-'));
const path = join(folder, 'tiny.gguf');
const options = { path, id: 'tiny', cacheDir: join(folder, 'cache') };
const SEED = toHex(new Uint8Array(32).fill(7));
const HOT = { temperature: 20_000, topP: 10_000, topK: 0, seed: SEED };

let model: OpenModel;
beforeAll(async () => {
  writeFileSync(path, tinyGguf({}));
  model = await openModel(options);
});
afterAll(async () => {
  await model.sequences.close();
  rmSync(folder, { recursive: true, force: true });
});

const ask = (more: Partial<GenerateOptions> = {}) => generate(model, { prompt: 'the cat', maxTokens: 12, ...more });
/** All of an answer but how it came about. */
const bits = ({ prefillMs: _, decodeMs: __, counts: ___, ...rest }: Awaited<ReturnType<typeof generate>>) => rest;

describe('generate', () => {
  it('answers alike on every engine, on any number of threads, cold or warm', async () => {
    const first = bits(await ask());
    expect(first.tokens.length).toBeGreaterThan(1);
    expect(bits(await ask())).toEqual(first);
    for (const more of [{ engine: 'reference' }, { threads: 1 }, { threads: 3 }] as const) {
      const other = await openModel({ ...options, ...more });
      expect(bits(await generate(other, { prompt: 'the cat', maxTokens: 12 }))).toEqual(first);
      expect(other.commitment).toBe(model.commitment);
      expect(other.identity).toEqual(model.identity);
      await other.sequences.close();
    }
  });

  it('digests the logits of every generated position, and nothing else', async () => {
    const { promptTokens, tokens, logitsDigest } = await ask();
    const source = openGgufSource(path);
    const decoder = openReference(exactModelFrom(source));
    source.close();
    const sequence = decoder.openSequence(64);
    const hash = createHash('sha256');
    [...promptTokens, ...tokens].slice(0, -1).forEach((token, position) => {
      const logits = decoder.forward([{ sequence, token }], [0]);
      if (position >= promptTokens.length - 1) {
        for (const value of logits) {
          const bytes = Buffer.alloc(4);
          bytes.writeFloatLE(value);
          hash.update(bytes);
        }
      }
    });
    expect(logitsDigest).toBe(toHex(hash.digest()));
  });

  it('draws by the seed: one seed one text, other seeds other texts, top-k of 1 is greedy', async () => {
    const drawn = bits(await ask({ sampling: HOT }));
    expect(bits(await ask({ sampling: HOT }))).toEqual(drawn);
    const others = await Promise.all(
      [1, 2, 3, 4].map((byte) => ask({ sampling: { ...HOT, seed: toHex(new Uint8Array(32).fill(byte)) } })),
    );
    expect(new Set([drawn, ...others].map(({ tokens }) => tokens.join())).size).toBeGreaterThan(3);
    const greedy = await ask();
    expect((await ask({ sampling: { ...HOT, topK: 1 } })).tokens).toEqual(greedy.tokens);
    expect((await ask({ sampling: { ...HOT, temperature: 0 } })).tokens).toEqual(greedy.tokens);
  });

  it('gives the same bits with and without tokens computed ahead and beginnings computed before', async () => {
    const fresh = await openModel({ ...options, threads: 1, prefixCache: false });
    // the same text again and again, so that there is something to look up
    for (const prompt of ['abcabcabcabcabcabc', 'the the the the the the the']) {
      for (const sampling of [{ ...HOT, temperature: 0 }, HOT, { ...HOT, temperature: 3000 }]) {
        const more = { prompt, maxTokens: 90, sampling };
        const plain = await generate(fresh, { ...more, speculate: false });
        expect(plain.counts).toMatchObject({ proposed: 0, reused: 0, calls: plain.tokens.length });
        const first = await ask(more);
        for (const other of [first, await generate(fresh, more)]) expect(bits(other)).toEqual(bits(plain));
        const again = await ask(more);
        expect(bits(again)).toEqual(bits(plain));
        expect(again.counts.reused).toBe(plain.promptTokens.length - 1);
        const answered = plain.promptTokens.length + plain.tokens.length - 1;
        for (const { counts } of [first, again]) {
          expect(counts.rows + counts.reused).toBe(answered + counts.proposed - counts.accepted);
        }
      }
    }
    await fresh.sequences.close();
  });

  it('gives the prompt to the model as it is, or in its template', async () => {
    const raw = await ask();
    const chat = await ask({ chat: true });
    expect(model.tokenizer.decode(raw.promptTokens)).toBe('the cat');
    expect(chat.promptTokens.length).toBeGreaterThan(raw.promptTokens.length);
    expect(chat.tokens).not.toEqual(raw.tokens);
  });

  it('ends before a stop text and keeps the tokens', async () => {
    const whole = await ask({ sampling: HOT, maxTokens: 40 });
    const word = whole.text.slice(5, 7);
    const stopped = await ask({ sampling: HOT, maxTokens: 40, stop: ['never there', word] });
    expect(stopped.text).toBe(whole.text.slice(0, whole.text.indexOf(word)));
    expect(stopped.finishReason).toBe('stop');
    expect(whole.tokens.slice(0, stopped.tokens.length)).toEqual(stopped.tokens);
  });

  it('fills the context to its last position, and refuses one token more', async () => {
    const prompt = 'x'.repeat(100);
    const { promptTokens } = await ask({ prompt, maxTokens: 1 });
    const room = model.sequences.contextLength - promptTokens.length;
    const full = await ask({ prompt, maxTokens: room });
    expect(full.tokens.length === room || full.finishReason === 'stop').toBe(true);
    await expect(ask({ prompt, maxTokens: room + 1 })).rejects.toMatchObject({ code: 'CONTEXT_EXCEEDED' });
    await expect(ask({ prompt: 'x'.repeat(500), maxTokens: 1 })).rejects.toMatchObject({ code: 'PROMPT_TOO_LONG' });
  });

  it.each([
    ['no prompt', { prompt: '' }, 'PROMPT_EMPTY'],
    ['no tokens', { maxTokens: 0 }, 'REQUEST_MALFORMED'],
    ['half a token', { maxTokens: 1.5 }, 'REQUEST_MALFORMED'],
    ['an empty stop', { stop: ['a', ''] }, 'STOP_EMPTY'],
    ['a negative temperature', { sampling: { ...HOT, temperature: -1 } }, 'SAMPLING_REFUSED'],
    ['a broken temperature', { sampling: { ...HOT, temperature: 0.5 } }, 'SAMPLING_REFUSED'],
    ['no top-p', { sampling: { ...HOT, topP: 0 } }, 'SAMPLING_REFUSED'],
  ] as const)('refuses %s', async (_, more, code) => {
    await expect(ask(more)).rejects.toMatchObject({ name: 'InferenceError', code });
    expect((await ask({ maxTokens: 1 })).tokens).toHaveLength(1);
  });
});

describe('stopAt', () => {
  it('finds where the first of several texts begins', () => {
    expect(stopAt('one two three', ['three', 'two', 'never'])).toBe(4);
    expect(stopAt('one two three', ['two', 'three'])).toBe(4);
    expect(stopAt('one', ['two'])).toBe(-1);
    expect(stopAt('one', [])).toBe(-1);
  });
});

describe('opening under a profile', () => {
  it('computes float-same-isa with the graph, which has no commitment', async () => {
    const float = await openModel({ ...options, profile: 'float-same-isa' });
    expect(float).toMatchObject({ engineName: 'ort', commitment: null });
    expect(float.identity).toMatchObject({ profileName: 'float-same-isa', vocabularySize: 262 });
    expect(float.identity.model).not.toBe(model.identity.model);
    expect(float.identity.profile).not.toBe(model.identity.profile);
    const first = bits(await generate(float, { prompt: 'the cat', maxTokens: 12 }));
    const again = await generate(float, { prompt: 'the cat', maxTokens: 12 });
    expect(bits(again)).toEqual(first);
    expect(again.counts).toMatchObject({ proposed: 0, reused: 0, calls: again.tokens.length });
    await float.sequences.close();
  });
});
