import { createHash } from 'node:crypto';
import { truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { dequantise } from '../../../inference/gguf/dequantise.ts';
import { openGgufSource } from '../../../inference/gguf/gguf-source.ts';
import { TENSOR_TYPES } from '../../../inference/gguf/types.ts';
import {
  LAYER_TENSORS,
  MODEL_TENSORS,
  type ModelSource,
  type TensorPlace,
  tensorShape,
} from '../../../inference/model-source.ts';
import type { TensorData } from '../../support/gguf-writer.ts';
import { describeSmolLM2 } from '../../support/smollm2.ts';
import { temporaryFolder } from '../../support/temporary.ts';
import { type TinyOptions, tinyGguf, tinyModel } from '../../support/tiny-model.ts';

function write(bytes: Uint8Array): string {
  const path = join(temporaryFolder(), 'model.gguf');
  writeFileSync(path, bytes);
  return path;
}

function open(bytes: Uint8Array): ModelSource {
  const source = openGgufSource(write(bytes));
  onTestFinished(() => source.close());
  return source;
}

const fault = (code: string, at: object = {}) =>
  expect.objectContaining({ name: 'ModelError', code, at: expect.objectContaining(at) });

function placesOf(layers: number): TensorPlace[] {
  const places: TensorPlace[] = MODEL_TENSORS.map((tensor) => ({ tensor }));
  for (let layer = 0; layer < layers; layer++) for (const tensor of LAYER_TENSORS) places.push({ tensor, layer });
  return places;
}

/** All values of a tensor as the test made it. */
function valuesOf({ type, bytes }: TensorData): Float32Array {
  const layout = [...TENSOR_TYPES.values()].find((entry) => entry.type === type);
  if (layout === undefined) throw new RangeError(type);
  const values = new Float32Array((bytes.length / layout.bytes) * layout.elements);
  dequantise(layout, bytes, values);
  return values;
}

function readAll(source: ModelSource, place: TensorPlace, step: number): Float32Array {
  const [rows, columns] = tensorShape(source.config, place.tensor) ?? [0, 0];
  const all = new Float32Array(rows * columns);
  const out = new Float32Array(step * columns + 5).fill(7);
  for (let first = 0; first < rows; first += step) {
    const count = Math.min(step, rows - first);
    source.readRows(place, first, count, out);
    all.set(out.subarray(0, count * columns), first * columns);
    expect([...out.subarray(step * columns)]).toEqual([7, 7, 7, 7, 7]);
  }
  return all;
}

describe.each<[string, TinyOptions]>([
  ['llama', { scaling: 'divisors' }],
  ['llama with biases, tied', { biases: true, tied: true, scaling: 'linear' }],
  ['qwen2', { family: 'qwen2' }],
  ['qwen3', { family: 'qwen3' }],
  ['qwen3, tied', { family: 'qwen3', tied: true }],
])('%s', (_, options) => {
  const made = tinyModel(options).tensors;

  it('gives every tensor of the file once, whole', () => {
    const source = open(tinyGguf(options));
    const given = new Set<TensorData>();
    for (const place of placesOf(2)) {
      if (tensorShape(source.config, place.tensor) === undefined) continue;
      const values = readAll(source, place, 7);
      const [name, tensor] = [...made].find(([, data]) => !given.has(data) && equal(valuesOf(data), values)) ?? [];
      if (name === undefined || tensor === undefined) throw new TypeError(`${place.tensor} is no tensor of the file`);
      given.add(tensor);
      // Names of the file and of the port, in words: `blk.1.ffn_down` is `down` of layer 1.
      expect(name.startsWith(place.layer === undefined ? 'blk.' : `blk.${place.layer}.`)).toBe(
        place.layer !== undefined,
      );
      const words: Readonly<Record<string, string>> = {
        token_embd: 'embedding',
        output_norm: 'outputNorm',
        output: 'output',
        attn_norm: 'attentionNorm',
        attn_output: 'attentionOutput',
        attn_q_norm: 'queryNorm',
        attn_k_norm: 'keyNorm',
        ffn_norm: 'feedForwardNorm',
        attn_q: 'query',
        attn_k: 'key',
        attn_v: 'value',
        ffn_gate: 'gate',
        ffn_up: 'up',
        ffn_down: 'down',
      };
      const [, word = '', kind] = /^(?:blk\.\d+\.)?([a-z_]+)\.(weight|bias)$/.exec(name) ?? [];
      expect(kind === 'bias' ? `${words[word]}Bias` : words[word]).toBe(place.tensor);
    }
    expect(given.size).toBe(made.size - (made.has('rope_freqs.weight') ? 1 : 0));
  });

  it('gives equal rows one at a time, several at a time and all at once', () => {
    const source = open(tinyGguf(options));
    for (const tensor of ['embedding', 'outputNorm'] as const) {
      const all = readAll(source, { tensor }, 1000);
      expect(readAll(source, { tensor }, 1)).toEqual(all);
      expect(readAll(source, { tensor }, 64)).toEqual(all);
    }
  });

  it('has no tensor that the configuration does not have', () => {
    const source = open(tinyGguf(options));
    for (const place of placesOf(2)) {
      if (tensorShape(source.config, place.tensor) !== undefined) continue;
      expect(() => source.readRows(place, 0, 1, new Float32Array(1000))).toThrowError(fault('MISSING_TENSOR'));
    }
    expect(() => source.readRows({ tensor: 'up', layer: 2 }, 0, 1, new Float32Array(1000))).toThrowError(
      fault('MISSING_TENSOR', { tensor: 'blk.2.ffn_up.weight' }),
    );
  });
});

it('refuses rows that are not there, and a place too small for them', () => {
  const source = open(tinyGguf());
  const read = (first: number, count: number, length = 1024) =>
    source.readRows({ tensor: 'query', layer: 0 }, first, count, new Float32Array(length));
  read(0, 32);
  read(32, 0);
  for (const [first, count] of [
    [0, 33],
    [32, 1],
    [-1, 1],
    [0, -1],
    [0.5, 1],
    [0, Number.NaN],
  ] as const) {
    expect(() => read(first, count)).toThrowError(RangeError);
  }
  expect(() => read(0, 2, 63)).toThrowError(RangeError);
});

it('reads the tokenizer', () => {
  const { tokenizer } = open(tinyGguf({ family: 'qwen2' }));
  expect([tokenizer.tokens.length, tokenizer.bosId, tokenizer.eosId]).toEqual([262, 1, 2]);
});

it('has the digest of the file, and says that it takes time', async () => {
  const bytes = tinyGguf();
  const said: string[] = [];
  const digest = await open(bytes).digest((message) => said.push(message));
  expect(digest).toBe(`0x${createHash('sha256').update(bytes).digest('hex')}`);
  expect(said).toHaveLength(1);
});

it('a closed source reads no more, and may be closed twice', () => {
  const source = open(tinyGguf());
  source.close();
  source.close();
  expect(() => source.readRows({ tensor: 'outputNorm' }, 0, 1, new Float32Array(32))).toThrowError(
    fault('FILE_UNREADABLE'),
  );
});

it('a file that becomes shorter is TRUNCATED', async () => {
  const path = write(tinyGguf());
  const source = openGgufSource(path);
  onTestFinished(() => source.close());
  truncateSync(path, 8192);
  expect(() => readAll(source, { tensor: 'down', layer: 1 }, 32)).toThrowError(fault('TRUNCATED', { file: path }));
});

it.each<[string, () => string, string]>([
  ['no file', () => join(temporaryFolder(), 'none.gguf'), 'FILE_UNREADABLE'],
  ['a folder', () => temporaryFolder(), 'FILE_UNREADABLE'],
  ['no GGUF', () => write(new Uint8Array(64)), 'NOT_GGUF'],
  ['half a GGUF', () => write(tinyGguf().subarray(0, 30_000)), 'TRUNCATED'],
])('%s is refused', (_, make, code) => {
  const path = make();
  expect(() => openGgufSource(path)).toThrowError(fault(code));
  expect(() => openGgufSource(path)).toThrowError(path);
});

describeSmolLM2('SmolLM2', (path) => {
  it('has the published shape, and finite weights', () => {
    const source = openGgufSource(path);
    expect(source.config).toEqual({
      family: 'llama',
      layers: 30,
      contextLength: 8192,
      embedding: 576,
      feedForward: 1536,
      heads: 9,
      kvHeads: 3,
      headSize: 64,
      rotaryLayout: 'interleaved',
      rotaryBase: 100_000,
      rotaryScaling: { kind: 'none' },
      normEpsilon: Math.fround(1e-5),
      vocabulary: 49_152,
      tiedOutput: true,
      attentionBias: false,
      headNorm: false,
    });
    const values = readAll(source, { tensor: 'down', layer: 29 }, 100);
    expect(values.every(Number.isFinite)).toBe(true);
    expect(values.reduce((most, value) => Math.max(most, Math.abs(value)), 0)).toBeGreaterThan(0.1);
    source.close();
  });
});

function equal(a: Float32Array, b: Float32Array): boolean {
  return a.length === b.length && a.every((value, i) => Object.is(value, b[i]));
}
