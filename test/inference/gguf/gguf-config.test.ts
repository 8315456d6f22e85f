import { describe, expect, it } from 'vitest';
import type { DecoderConfig } from '../../../inference/decoder-config.ts';
import { readDecoderConfig } from '../../../inference/gguf/gguf-config.ts';
import { parseGguf } from '../../../inference/gguf/reader.ts';
import { bytesSource } from '../../../inference/gguf/source.ts';
import { type Field, type TensorData, writeGguf } from '../../support/gguf-writer.ts';
import { type TinyModel, type TinyOptions, tinyModel } from '../../support/tiny-model.ts';

const CONFIG: DecoderConfig = {
  family: 'llama',
  layers: 2,
  contextLength: 128,
  embedding: 32,
  feedForward: 256,
  heads: 4,
  kvHeads: 2,
  headSize: 8,
  rotaryLayout: 'interleaved',
  rotaryBase: 10_000,
  rotaryScaling: { kind: 'none' },
  normEpsilon: Math.fround(1e-5),
  vocabulary: 262,
  tiedOutput: false,
  attentionBias: false,
  headNorm: false,
};

/** Reads a tiny model that was changed after it was made. */
function read(options: TinyOptions = {}, change: (model: TinyModel) => void = () => {}): DecoderConfig {
  const model = tinyModel(options);
  change(model);
  const source = bytesSource(writeGguf(model.fields, model.tensors));
  return readDecoderConfig(parseGguf(source), source);
}

const set = (key: string, value: Field) => (model: TinyModel) => void model.fields.set(key, value);

const u32 = (value: number): Field => ({ type: 'u32', value });
const f32 = (value: number): Field => ({ type: 'f32', value });
const text = (value: string): Field => ({ type: 'string', value });
const floats = (...values: readonly number[]): TensorData => ({
  type: 'F32',
  shape: [values.length],
  bytes: new Uint8Array(Float32Array.from(values).buffer),
});

const fault = (code: string, at: object = {}) =>
  expect.objectContaining({ name: 'ModelError', code, at: expect.objectContaining(at) });

describe('reads the shape of', () => {
  const qwen3 = { family: 'qwen3', rotaryLayout: 'halves', headNorm: true, headSize: 16 } as const;
  it.each<[string, TinyOptions, Partial<DecoderConfig>]>([
    ['llama', {}, {}],
    ['llama, tied', { tied: true }, { tiedOutput: true }],
    ['llama with biases', { biases: true }, { attentionBias: true }],
    ['llama with wide heads', { headSize: 16 }, { headSize: 16 }],
    ['qwen2', { family: 'qwen2' }, { family: 'qwen2', rotaryLayout: 'halves', attentionBias: true }],
    ['qwen2 without biases', { family: 'qwen2', biases: false }, { family: 'qwen2', rotaryLayout: 'halves' }],
    ['qwen3', { family: 'qwen3' }, qwen3],
    ['qwen3, tied', { family: 'qwen3', tied: true }, { ...qwen3, tiedOutput: true }],
    ['other extents', { layers: 1, embedding: 64, kvHeads: 4 }, { layers: 1, embedding: 64, kvHeads: 4, headSize: 16 }],
    ['linear scaling', { scaling: 'linear' }, { rotaryScaling: { kind: 'linear', factor: 2 } }],
    [
      'divisors of frequencies',
      { scaling: 'divisors' },
      { rotaryScaling: { kind: 'divisors', divisors: [1, 1 + 7 / 3, 1 + 14 / 3, 8].map(Math.fround) } },
    ],
  ])('%s', (_, options, expected) => {
    expect(read(options)).toEqual({ ...CONFIG, ...expected });
  });
});

describe('reads the scaling of frequencies as llama.cpp does', () => {
  const linear = { kind: 'linear', factor: 4 };
  it.each<[string, readonly (readonly [string, Field])[], object]>([
    ['a factor without a type is linear', [['scaling.factor', f32(4)]], linear],
    ['the old key', [['scale_linear', f32(4)]], linear],
    [
      'the newer key wins',
      [
        ['scaling.factor', f32(4)],
        ['scale_linear', f32(2)],
      ],
      linear,
    ],
    ['a factor of 1', [['scaling.factor', f32(1)]], { kind: 'none' }],
    [
      'type none',
      [
        ['scaling.type', text('none')],
        ['scaling.factor', f32(4)],
      ],
      { kind: 'none' },
    ],
  ])('%s', (_, fields, expected) => {
    const config = read({}, (model) => {
      for (const [key, value] of fields) model.fields.set(`llama.rope.${key}`, value);
    });
    expect(config.rotaryScaling).toEqual(expected);
  });
});

describe('refuses what would be computed wrongly', () => {
  it.each<[string, string, Field, string]>([
    ['another architecture', 'general.architecture', text('mamba'), 'UNSUPPORTED_ARCHITECTURE'],
    ['an architecture of JavaScript', 'general.architecture', text('constructor'), 'UNSUPPORTED_ARCHITECTURE'],
    ['heads that do not divide', 'llama.attention.head_count', u32(5), 'MALFORMED_METADATA'],
    ['heads of odd size', 'llama.attention.head_count', u32(32), 'MALFORMED_METADATA'],
    ['keys that do not divide heads', 'llama.attention.head_count_kv', u32(3), 'MALFORMED_METADATA'],
    ['no layers', 'llama.block_count', u32(0), 'MALFORMED_METADATA'],
    ['a billion layers', 'llama.block_count', u32(1e9), 'MALFORMED_METADATA'],
    ['a layer too many', 'llama.block_count', u32(3), 'MISSING_TENSOR'],
    ['a layer too few', 'llama.block_count', u32(1), 'UNEXPECTED_TENSOR'],
    ['another width', 'llama.feed_forward_length', u32(128), 'TENSOR_SHAPE_MISMATCH'],
    ['a context of gigabytes', 'llama.context_length', u32(1 << 30), 'MALFORMED_METADATA'],
    ['a text for a count', 'llama.context_length', text('128'), 'MALFORMED_METADATA'],
    ['a negative epsilon', 'llama.attention.layer_norm_rms_epsilon', f32(-1), 'MALFORMED_METADATA'],
    ['NaN for the rotary base', 'llama.rope.freq_base', f32(Number.NaN), 'MALFORMED_METADATA'],
    ['a rotary base of 1', 'llama.rope.freq_base', f32(1), 'MALFORMED_METADATA'],
    ['a partly rotated head', 'llama.rope.dimension_count', u32(4), 'UNSUPPORTED_FEATURE'],
    ['values of another size than keys', 'llama.attention.value_length', u32(16), 'UNSUPPORTED_FEATURE'],
    ['keys of another size than values', 'llama.attention.key_length', u32(16), 'UNSUPPORTED_FEATURE'],
    ['keys of odd size', 'llama.attention.key_length', u32(7), 'MALFORMED_METADATA'],
    ['keys of a megabyte', 'llama.attention.key_length', u32(1 << 20), 'MALFORMED_METADATA'],
    ['angles scaled by YaRN', 'llama.rope.scaling.type', text('yarn'), 'UNSUPPORTED_FEATURE'],
    ['angles scaled by LongRoPE', 'llama.rope.scaling.type', text('longrope'), 'UNSUPPORTED_FEATURE'],
    ['a factor of zero', 'llama.rope.scaling.factor', f32(0), 'MALFORMED_METADATA'],
    ['an infinite factor', 'llama.rope.scaling.factor', f32(Number.POSITIVE_INFINITY), 'MALFORMED_METADATA'],
    ['another weight of attention', 'llama.rope.scaling.attn_factor', f32(0.5), 'UNSUPPORTED_FEATURE'],
    ['another scale of scores', 'llama.attention.scale', f32(0.5), 'UNSUPPORTED_FEATURE'],
    ['attention to later tokens', 'llama.attention.causal', { type: 'bool', value: false }, 'UNSUPPORTED_FEATURE'],
    ['capped logits', 'llama.final_logit_softcapping', f32(30), 'UNSUPPORTED_FEATURE'],
    ['experts', 'llama.expert_count', u32(8), 'UNSUPPORTED_FEATURE'],
    ['a sliding window', 'llama.attention.sliding_window', u32(64), 'UNSUPPORTED_FEATURE'],
  ])('%s', (_, key, value, code) => {
    expect(() => read({}, set(key, value))).toThrowError(fault(code));
  });

  it('divisors beside a linear factor', () => {
    const factor = set('llama.rope.scaling.factor', f32(2));
    expect(() => read({ scaling: 'divisors' }, factor)).toThrowError(
      fault('UNSUPPORTED_FEATURE', { key: 'llama.rope.scaling.factor' }),
    );
  });

  it.each<[string, TensorData, string]>([
    ['too many', floats(1, 1, 1, 1, 1), 'TENSOR_SHAPE_MISMATCH'],
    ['zero', floats(1, 1, 0, 1), 'MALFORMED_METADATA'],
    ['negative', floats(1, 1, 1, -8), 'MALFORMED_METADATA'],
    ['NaN', floats(1, Number.NaN, 1, 1), 'MALFORMED_METADATA'],
    ['infinite', floats(1, 1, 1, Number.POSITIVE_INFINITY), 'MALFORMED_METADATA'],
  ])('divisors that are %s', (_, tensor, code) => {
    expect(() => read({}, (model) => model.tensors.set('rope_freqs.weight', tensor))).toThrowError(
      fault(code, { tensor: 'rope_freqs.weight' }),
    );
  });
});

describe('refuses tensors', () => {
  it.each<[string, TinyOptions, string]>([
    ['of long contexts (Phi)', {}, 'rope_factors_long.weight'],
    ['of norms of heads in llama', {}, 'blk.0.attn_q_norm.weight'],
    ['of a bias in one layer only', {}, 'blk.1.attn_q.bias'],
    ['of a bias of the attention output', { family: 'qwen2' }, 'blk.0.attn_output.bias'],
    ['of a layer that is not there', { family: 'qwen3' }, 'blk.2.attn_norm.weight'],
    ['under a name with a zero before the number', { family: 'qwen3' }, 'blk.01.attn_norm.weight'],
  ])('%s that nothing reads', (_, options, tensor) => {
    expect(() => read(options, (model) => model.tensors.set(tensor, floats(1, 2, 3, 4)))).toThrowError(
      fault('UNEXPECTED_TENSOR', { tensor }),
    );
  });

  it.each<TinyOptions>([{ family: 'llama' }, { family: 'qwen2' }, { family: 'qwen3', tied: true }])(
    'that are missing or of another shape, each by its name: %o',
    (options) => {
      const names = [...tinyModel(options).tensors.keys()];
      expect(names.length).toBeGreaterThan(19);
      for (const tensor of names) {
        // Without it the file is a whole model whose output is the embedding.
        if (tensor === 'output.weight') continue;
        // Without it the file says that it has no biases; the others are too many then.
        const code = tensor === 'blk.0.attn_q.bias' ? 'UNEXPECTED_TENSOR' : 'MISSING_TENSOR';
        const at = tensor === 'blk.0.attn_q.bias' ? {} : { tensor };
        expect(() => read(options, (model) => model.tensors.delete(tensor))).toThrowError(fault(code, at));
        expect(() => read(options, (model) => model.tensors.set(tensor, floats(1, 2, 3)))).toThrowError(
          fault('TENSOR_SHAPE_MISMATCH', { tensor }),
        );
      }
    },
  );

  it('a matrix the wrong way round', () => {
    const turn = (model: TinyModel) => {
      const tensor = model.tensors.get('blk.0.attn_k.weight') as TensorData;
      model.tensors.set('blk.0.attn_k.weight', { type: 'F32', shape: [16, 32], bytes: new Uint8Array(4 * 512) });
      expect(tensor.shape).toEqual([32, 16]);
    };
    expect(() => read({}, turn)).toThrowError(fault('TENSOR_SHAPE_MISMATCH', { tensor: 'blk.0.attn_k.weight' }));
  });
});

it.each([
  'general.architecture',
  'qwen3.block_count',
  'qwen3.context_length',
  'qwen3.embedding_length',
  'qwen3.feed_forward_length',
  'qwen3.attention.head_count',
  'qwen3.attention.layer_norm_rms_epsilon',
  'tokenizer.ggml.tokens',
])('names the missing key %s', (key) => {
  expect(() => read({ family: 'qwen3' }, (model) => model.fields.delete(key))).toThrowError(
    fault('MISSING_METADATA', { key }),
  );
});
