import { describe, expect, it } from 'vitest';
import type { JsonObject } from '../../../attest/encoding/canonical-json.ts';
import type { DecoderFamily } from '../../../inference/decoder-config.ts';
import { readHfConfig } from '../../../inference/safetensors/hf-config.ts';
import { tinyFolder } from '../../support/tiny-safetensors.ts';

const published = (family: DecoderFamily, change: object = {}) =>
  ({ ...tinyFolder(family).config, ...change }) as JsonObject;
const read = (family: DecoderFamily, change: object = {}) => readHfConfig(published(family, change));
const without = (family: DecoderFamily, ...keys: string[]) => {
  const entries = Object.entries(published(family)).filter(([key]) => !keys.includes(key));
  return readHfConfig(Object.fromEntries(entries));
};
const fault = (code: string, key: string) => expect.objectContaining({ name: 'ModelError', code, at: { key } });

const LLAMA3 = {
  factor: 32.0,
  high_freq_factor: 4.0,
  low_freq_factor: 1.0,
  original_max_position_embeddings: 64,
  rope_type: 'llama3',
};
const SCALING = {
  kind: 'llama3',
  factor: 32,
  lowFrequencyFactor: 1,
  highFrequencyFactor: 4,
  originalContext: 64,
};

describe('published configurations', () => {
  it('Llama 3.2', () => {
    expect(read('llama')).toEqual({
      family: 'llama',
      layers: 2,
      contextLength: 256,
      embedding: 32,
      feedForward: 64,
      heads: 4,
      kvHeads: 2,
      headSize: 8,
      rotaryLayout: 'halves',
      rotaryBase: 500_000,
      rotaryScaling: SCALING,
      normEpsilon: 1e-5,
      vocabulary: 271,
      tiedOutput: true,
      attentionBias: false,
      headNorm: false,
    });
  });

  it('Qwen2.5', () => {
    expect(read('qwen2')).toMatchObject({
      family: 'qwen2',
      headSize: 8,
      rotaryBase: 1_000_000,
      rotaryScaling: { kind: 'none' },
      attentionBias: true,
      headNorm: false,
    });
  });

  it('Qwen3, whose heads are larger than its hidden size', () => {
    const config = read('qwen3');
    expect(config).toMatchObject({ family: 'qwen3', headSize: 16, attentionBias: false, headNorm: true });
    expect(config.heads * config.headSize).not.toBe(config.embedding);
  });

  it('SmolLM2, with keys of its own', () => {
    const own = { is_llama_config: true, rope_interleaved: false, 'transformers.js_config': { dtype: 'q4' } };
    expect(read('llama', { ...own, rope_scaling: null, rope_theta: 100_000, pad_token_id: 2 })).toMatchObject({
      rotaryBase: 100_000,
      rotaryScaling: { kind: 'none' },
    });
  });
});

describe('absent keys', () => {
  it('have the values of the library', () => {
    expect(without('llama', 'num_key_value_heads')).toMatchObject({ heads: 4, kvHeads: 4 });
    expect(without('llama', 'head_dim')).toMatchObject({ headSize: 8 });
    expect(without('llama', 'tie_word_embeddings')).toMatchObject({ tiedOutput: false });
    expect(without('llama', 'rms_norm_eps')).toMatchObject({ normEpsilon: 1e-6 });
    expect(without('llama', 'rope_theta', 'rope_scaling')).toMatchObject({
      rotaryBase: 10_000,
      rotaryScaling: { kind: 'none' },
    });
    expect(without('qwen3', 'head_dim')).toMatchObject({ headSize: 128 });
    expect(without('llama', 'architectures', 'hidden_act', 'attention_bias', 'mlp_bias')).toEqual(read('llama'));
  });

  it.each([
    'model_type',
    'hidden_size',
    'intermediate_size',
    'num_hidden_layers',
    'num_attention_heads',
    'num_key_value_heads',
    'max_position_embeddings',
    'vocab_size',
  ])('%s is asked for by name', (key) => {
    expect(() => without('qwen2', key)).toThrowError(fault('MISSING_METADATA', key));
    expect(() => read('qwen2', { [key]: null })).toThrowError(fault('MISSING_METADATA', key));
  });
});

describe('rotary positions', () => {
  it.each<[string, object, object]>([
    ['linear', { rope_type: 'linear', factor: 2.5 }, { kind: 'linear', factor: 2.5 }],
    ['linear by its old name', { type: 'linear', factor: 2 }, { kind: 'linear', factor: 2 }],
    ['default', { rope_type: 'default' }, { kind: 'none' }],
    ['both names', { ...LLAMA3, type: 'llama3' }, SCALING],
  ])('%s', (_, rope_scaling, rotaryScaling) => {
    expect(read('llama', { rope_scaling })).toMatchObject({ rotaryScaling, rotaryBase: 500_000 });
  });

  it('are read from the newer object', () => {
    const rope_parameters = { ...LLAMA3, rope_theta: 250_000 };
    const newer = { rope_parameters, rope_scaling: null, rope_theta: null };
    expect(read('llama', newer)).toMatchObject({ rotaryScaling: SCALING, rotaryBase: 250_000 });
    expect(read('llama', { ...newer, rope_theta: 250_000 })).toMatchObject({ rotaryBase: 250_000 });
    expect(
      read('qwen3', { rope_theta: null, rope_parameters: { rope_theta: 5e6, rope_type: 'default' } }),
    ).toMatchObject({ rotaryScaling: { kind: 'none' }, rotaryBase: 5e6 });
  });

  it.each<[string, object, string, string]>([
    ['both objects', { rope_parameters: LLAMA3 }, 'MALFORMED_METADATA', 'rope_parameters'],
    [
      'two bases',
      { rope_scaling: null, rope_parameters: { rope_theta: 10 } },
      'MALFORMED_METADATA',
      'rope_parameters.rope_theta',
    ],
    ['two kinds', { rope_scaling: { ...LLAMA3, type: 'linear' } }, 'MALFORMED_METADATA', 'rope_scaling.type'],
    ['yarn', { rope_scaling: { type: 'yarn', factor: 4 } }, 'UNSUPPORTED_FEATURE', 'rope_scaling.rope_type'],
    ['dynamic', { rope_scaling: { rope_type: 'dynamic' } }, 'UNSUPPORTED_FEATURE', 'rope_scaling.rope_type'],
    ['a list', { rope_scaling: [1] }, 'MALFORMED_METADATA', 'rope_scaling'],
    [
      'an unknown key',
      { rope_scaling: { ...LLAMA3, attention_factor: 1 } },
      'UNSUPPORTED_FEATURE',
      'rope_scaling.attention_factor',
    ],
    [
      'sections',
      { rope_scaling: { type: 'default', mrope_section: [1] } },
      'UNSUPPORTED_FEATURE',
      'rope_scaling.mrope_section',
    ],
    [
      'an object for each kind of layer',
      { rope_scaling: null, rope_parameters: { full_attention: { rope_type: 'default' } } },
      'UNSUPPORTED_FEATURE',
      'rope_parameters.full_attention',
    ],
    [
      'a part of the head',
      { rope_scaling: null, rope_parameters: { partial_rotary_factor: 0.5 } },
      'UNSUPPORTED_FEATURE',
      'rope_parameters.partial_rotary_factor',
    ],
    ['no factor', { rope_scaling: { type: 'linear' } }, 'MISSING_METADATA', 'rope_scaling.factor'],
    ['factor zero', { rope_scaling: { type: 'linear', factor: 0 } }, 'MALFORMED_METADATA', 'rope_scaling.factor'],
    [
      'crossed limits',
      { rope_scaling: { ...LLAMA3, high_freq_factor: 1 } },
      'MALFORMED_METADATA',
      'rope_scaling.high_freq_factor',
    ],
    [
      'half a position',
      { rope_scaling: { ...LLAMA3, original_max_position_embeddings: 1.5 } },
      'MALFORMED_METADATA',
      'rope_scaling.original_max_position_embeddings',
    ],
    ['base one', { rope_theta: 1 }, 'MALFORMED_METADATA', 'rope_theta'],
    ['a base that is a text', { rope_theta: '1e6' }, 'MALFORMED_METADATA', 'rope_theta'],
  ])('refuse %s', (_, change, code, key) => {
    expect(() => read('llama', change)).toThrowError(fault(code, key));
  });
});

describe('what is not computed', () => {
  it.each<[DecoderFamily, string, unknown, string]>([
    ['llama', 'model_type', 'mistral', 'UNSUPPORTED_ARCHITECTURE'],
    ['llama', 'architectures', ['LlamaForSequenceClassification'], 'UNSUPPORTED_ARCHITECTURE'],
    ['llama', 'architectures', ['Qwen2ForCausalLM'], 'UNSUPPORTED_ARCHITECTURE'],
    ['llama', 'architectures', [], 'UNSUPPORTED_ARCHITECTURE'],
    ['llama', 'attention_bias', true, 'UNSUPPORTED_FEATURE'],
    ['qwen3', 'attention_bias', true, 'UNSUPPORTED_FEATURE'],
    ['qwen2', 'attention_bias', false, 'UNSUPPORTED_FEATURE'],
    ['llama', 'mlp_bias', true, 'UNSUPPORTED_FEATURE'],
    ['llama', 'hidden_act', 'gelu', 'UNSUPPORTED_FEATURE'],
    ['llama', 'pretraining_tp', 2, 'UNSUPPORTED_FEATURE'],
    ['llama', 'partial_rotary_factor', 0.5, 'UNSUPPORTED_FEATURE'],
    ['llama', 'rope_interleaved', true, 'UNSUPPORTED_FEATURE'],
    ['llama', 'sliding_window', 4096, 'UNSUPPORTED_FEATURE'],
    ['qwen2', 'use_sliding_window', true, 'UNSUPPORTED_FEATURE'],
    ['qwen2', 'use_mrope', true, 'UNSUPPORTED_FEATURE'],
    ['qwen3', 'layer_types', ['full_attention', 'sliding_attention'], 'UNSUPPORTED_FEATURE'],
    ['qwen3', 'layer_types', ['full_attention'], 'MALFORMED_METADATA'],
    ['llama', 'quantization_config', { quant_method: 'awq' }, 'UNSUPPORTED_FEATURE'],
    ['llama', 'logits_scaling', 8, 'UNSUPPORTED_FEATURE'],
    ['llama', 'final_logit_softcapping', 30, 'UNSUPPORTED_FEATURE'],
    ['llama', '__proto__', 1, 'UNSUPPORTED_FEATURE'],
  ])('%s with %s %j', (family, key, value, code) => {
    const config = Object.defineProperty(published(family), key, { value, enumerable: true });
    expect(() => readHfConfig(config)).toThrowError(fault(code, key));
  });

  it.each<[string, unknown]>([
    ['hidden_size', 0],
    ['hidden_size', 1.5],
    ['hidden_size', '32'],
    ['hidden_size', {}],
    ['hidden_size', 2 ** 40],
    ['num_hidden_layers', 100_000],
    ['num_attention_heads', -4],
    ['num_key_value_heads', 3],
    ['head_dim', 7],
    ['head_dim', []],
    ['max_position_embeddings', 2 ** 40],
    ['vocab_size', 2 ** 31],
    ['rms_norm_eps', 0],
    ['rms_norm_eps', 1],
    ['rms_norm_eps', 1e-60],
    ['tie_word_embeddings', 1],
    ['architectures', 'LlamaForCausalLM'],
    ['architectures', [1]],
  ])('%s %j', (key, value) => {
    expect(() => read('llama', { [key]: value })).toThrowError(fault('MALFORMED_METADATA', key));
  });

  it('a hidden size that its heads do not divide', () => {
    expect(() => read('llama', { head_dim: null, num_attention_heads: 6 })).toThrowError(
      fault('MALFORMED_METADATA', 'head_dim'),
    );
  });

  it('nothing that is null', () => {
    expect(read('llama', { sliding_window: null, quantization_config: null })).toEqual(read('llama'));
    expect(read('qwen3', { layer_types: ['full_attention', 'full_attention'] })).toEqual(read('qwen3'));
  });
});
