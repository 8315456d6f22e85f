import { describe, expect, it } from 'vitest';
import { readLlamaConfig } from '../../../inference/float/llama-config.ts';
import { parseGguf } from '../../../inference/gguf/reader.ts';
import { bytesSource } from '../../../inference/gguf/source.ts';
import { type Field, type TensorData, writeGguf } from '../../support/gguf-writer.ts';
import { tinyModel } from '../../support/tiny-model.ts';

function read(fields: Iterable<readonly [string, Field]>, tensors: Iterable<readonly [string, TensorData]> = []) {
  const model = tinyModel();
  const all = new Map([...model.fields, ...fields]);
  return readLlamaConfig(parseGguf(bytesSource(writeGguf(all, new Map([...model.tensors, ...tensors])))));
}

const fault = (code: string, at: object) =>
  expect.objectContaining({ name: 'ModelError', code, at: expect.objectContaining(at) });

it('reads the shape of a model', () => {
  expect(read([])).toEqual({
    architecture: 'llama',
    rotary: 'interleaved',
    layers: 2,
    contextLength: 128,
    embedding: 32,
    feedForward: 256,
    heads: 4,
    kvHeads: 2,
    headSize: 8,
    rotaryBase: 10_000,
    normEpsilon: Math.fround(1e-5),
    vocabulary: 262,
    tiedOutput: false,
    attentionBias: false,
  });
});

describe('refuses what it would compute wrongly', () => {
  const u32 = (value: number): Field => ({ type: 'u32', value });
  it.each<[string, string, Field, string]>([
    ['another architecture', 'general.architecture', { type: 'string', value: 'mamba' }, 'UNSUPPORTED_ARCHITECTURE'],
    ['heads that do not divide', 'llama.attention.head_count', u32(5), 'MALFORMED_METADATA'],
    ['keys that do not divide heads', 'llama.attention.head_count_kv', u32(3), 'MALFORMED_METADATA'],
    ['no layers', 'llama.block_count', u32(0), 'MALFORMED_METADATA'],
    ['a billion layers', 'llama.block_count', u32(1e9), 'MALFORMED_METADATA'],
    ['a layer too many', 'llama.block_count', u32(3), 'MISSING_TENSOR'],
    ['a layer too few', 'llama.block_count', u32(1), 'UNEXPECTED_TENSOR'],
    ['another width', 'llama.feed_forward_length', u32(128), 'TENSOR_SHAPE_MISMATCH'],
    ['a context of gigabytes', 'llama.context_length', u32(1 << 30), 'MALFORMED_METADATA'],
    ['a text for a count', 'llama.context_length', { type: 'string', value: '128' }, 'MALFORMED_METADATA'],
    ['a negative epsilon', 'llama.attention.layer_norm_rms_epsilon', { type: 'f32', value: -1 }, 'MALFORMED_METADATA'],
    ['NaN for the rotary base', 'llama.rope.freq_base', { type: 'f32', value: Number.NaN }, 'MALFORMED_METADATA'],
    ['a partly rotated head', 'llama.rope.dimension_count', u32(4), 'UNSUPPORTED_FEATURE'],
    ['scaled angles', 'llama.rope.scaling.type', { type: 'string', value: 'yarn' }, 'UNSUPPORTED_FEATURE'],
    ['experts', 'llama.expert_count', u32(8), 'UNSUPPORTED_FEATURE'],
    ['a sliding window', 'llama.attention.sliding_window', u32(64), 'UNSUPPORTED_FEATURE'],
  ])('%s', (_, key, value, code) => {
    expect(() => read([[key, value]])).toThrowError(fault(code, {}));
  });

  it('a tensor that nothing reads', () => {
    const extra: TensorData = { type: 'F32', shape: [4], bytes: new Uint8Array(16) };
    expect(() => read([], [['rope_freqs.weight', extra]])).toThrowError(
      fault('UNEXPECTED_TENSOR', { tensor: 'rope_freqs.weight' }),
    );
  });
});

it.each([
  'general.architecture',
  'llama.block_count',
  'llama.context_length',
  'llama.embedding_length',
  'llama.feed_forward_length',
  'llama.attention.head_count',
  'llama.attention.layer_norm_rms_epsilon',
  'tokenizer.ggml.tokens',
])('names the missing key %s', (key) => {
  const { fields, tensors } = tinyModel();
  fields.delete(key);
  expect(() => readLlamaConfig(parseGguf(bytesSource(writeGguf(fields, tensors))))).toThrowError(
    fault('MISSING_METADATA', { key }),
  );
});
