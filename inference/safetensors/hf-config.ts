/**
 * The shape of a decoder out of a Hugging Face `config.json` (families `llama`, `qwen2`, `qwen3`). A key that would
 * change the computation and is not honoured is refused by name, and so is one that is not known: a model computed half
 * right is worse than none.
 *
 * Sources: `configuration_llama.py`, `configuration_qwen2.py`, `configuration_qwen3.py`, `modeling_rope_utils.py` of
 * transformers (defaults of absent keys).
 *
 * @module
 */

import { isJsonObject, type Json, type JsonObject } from '../../attest/encoding/canonical-json.ts';
import type { DecoderConfig, DecoderFamily, RotaryScaling } from '../decoder-config.ts';
import { ModelError } from '../errors.ts';
import { type Metadata, readMetadata } from '../gguf/metadata.ts';
import type { GgufValue } from '../gguf/types.ts';

/** Above this the rotary tables alone would take gigabytes. */
const MAX_CONTEXT = 1 << 18;

const ARCHITECTURES: Readonly<Record<DecoderFamily, string>> = {
  llama: 'LlamaForCausalLM',
  qwen2: 'Qwen2ForCausalLM',
  qwen3: 'Qwen3ForCausalLM',
};

/** Keys that are read, here or for the tokenizer. */
const READ_KEYS = [
  'architectures',
  'model_type',
  'hidden_size',
  'intermediate_size',
  'num_hidden_layers',
  'num_attention_heads',
  'num_key_value_heads',
  'head_dim',
  'max_position_embeddings',
  'rms_norm_eps',
  'rope_theta',
  'rope_scaling',
  'rope_parameters',
  'vocab_size',
  'tie_word_embeddings',
  'layer_types',
  'bos_token_id',
  'eos_token_id',
];

/** Keys of training, of the writing program and of generation with the library, none of which the decoder's numbers follow. */
const INERT_KEYS = [
  '_name_or_path',
  '_attn_implementation_autoset',
  'attention_dropout',
  'dtype',
  'initializer_range',
  'max_window_layers',
  'pad_token_id',
  'torch_dtype',
  'transformers_version',
  'transformers.js_config',
  'use_cache',
];

/** Keys with one value that this decoder computes. */
const FIXED_KEYS: ReadonlyMap<string, Json> = new Map<string, Json>([
  ['hidden_act', 'silu'],
  ['mlp_bias', false],
  ['pretraining_tp', 1],
  ['partial_rotary_factor', 1],
  ['use_sliding_window', false],
  ['use_mrope', false],
  ['rope_interleaved', false],
  ['is_llama_config', true],
]);

/**
 * Reads and checks the configuration.
 *
 * @param config - parsed `config.json`, untrusted
 * @throws {@link ModelError} with `at.key`: `MISSING_METADATA`, `MALFORMED_METADATA`, `UNSUPPORTED_ARCHITECTURE`,
 *   `UNSUPPORTED_FEATURE`
 */
export function readHfConfig(config: JsonObject): DecoderConfig {
  const metadata = fieldsOf(config);
  const family = readFamily(metadata);
  refuseFeatures(config, family);
  const embedding = metadata.count('hidden_size', 1 << 16);
  const heads = metadata.count('num_attention_heads', 1 << 10);
  // Where the key is absent the Qwen configurations have a constant that fits no small model; absence is a fault there.
  const kvHeads =
    family === 'llama'
      ? (metadata.optionalCount('num_key_value_heads', 1 << 10) ?? heads)
      : metadata.count('num_key_value_heads', 1 << 10);
  if (heads % kvHeads !== 0) malformed('num_key_value_heads', `${kvHeads} does not divide ${heads} heads`);
  const headSize = readHeadSize(metadata, family, embedding, heads);
  const layers = metadata.count('num_hidden_layers', 512);
  checkLayerTypes(config['layer_types'], layers);
  return {
    family,
    layers,
    contextLength: metadata.count('max_position_embeddings', MAX_CONTEXT),
    embedding,
    feedForward: metadata.count('intermediate_size', 1 << 18),
    heads,
    kvHeads,
    headSize,
    rotaryLayout: 'halves',
    ...readRotary(config),
    normEpsilon: readEpsilon(metadata),
    vocabulary: metadata.count('vocab_size', 1 << 20),
    tiedOutput: metadata.optionalFlag('tie_word_embeddings') ?? false,
    attentionBias: family === 'qwen2',
    headNorm: family === 'qwen3',
  };
}

/** Typed access to a JSON object's members; `null` counts as absent, as it does in the library. */
export function fieldsOf(object: JsonObject): Metadata {
  const entries = Object.entries(object).filter(([, value]) => value !== null);
  // The getters look at each value before they return it, so an object among them is refused as any other wrong type.
  return readMetadata(new Map(entries as readonly (readonly [string, GgufValue])[]));
}

function readFamily(metadata: Metadata): DecoderFamily {
  const family = metadata.text('model_type');
  if (family !== 'llama' && family !== 'qwen2' && family !== 'qwen3') {
    const got = family.slice(0, 64);
    throw new ModelError('UNSUPPORTED_ARCHITECTURE', `model_type: expected llama, qwen2 or qwen3, got ${got}`, {
      at: { key: 'model_type' },
    });
  }
  if (!metadata.has('architectures')) return family;
  const names = metadata.texts('architectures');
  if (names.length !== 1 || names[0] !== ARCHITECTURES[family]) {
    const got = names.join().slice(0, 64);
    throw new ModelError('UNSUPPORTED_ARCHITECTURE', `architectures: expected ${ARCHITECTURES[family]}, got ${got}`, {
      at: { key: 'architectures' },
    });
  }
  return family;
}

function refuseFeatures(config: JsonObject, family: DecoderFamily): void {
  for (const [key, value] of Object.entries(config)) {
    if (value === null || READ_KEYS.includes(key) || INERT_KEYS.includes(key)) continue;
    if (key === 'attention_bias') {
      // Qwen2 has these biases whatever the key says. In the other families it adds one to the output product as well.
      if (value !== (family === 'qwen2')) refuse(key, value);
    } else if (key === 'sliding_window') {
      // Qwen configurations name a window which `use_sliding_window` turns on.
      if (family === 'llama') refuse(key, value);
    } else if (FIXED_KEYS.get(key) !== value) {
      refuse(key, value);
    }
  }
}

function readHeadSize(metadata: Metadata, family: DecoderFamily, embedding: number, heads: number): number {
  const size = metadata.optionalCount('head_dim', 1 << 16) ?? (family === 'qwen3' ? 128 : embedding / heads);
  if (!Number.isInteger(size) || size % 2 !== 0) malformed('head_dim', `a head of ${size} values`);
  return size;
}

function checkLayerTypes(types: Json | undefined, layers: number): void {
  if (types === undefined || types === null) return;
  if (!Array.isArray(types) || types.length !== layers) malformed('layer_types', `expected ${layers} texts`);
  const other = types.find((type) => type !== 'full_attention');
  if (other !== undefined) refuse('layer_types', other);
}

function readEpsilon(metadata: Metadata): number {
  const epsilon = metadata.optionalPositive('rms_norm_eps') ?? 1e-6;
  if (epsilon >= 1 || Math.fround(epsilon) === 0) malformed('rms_norm_eps', `${epsilon} is out of range`);
  return epsilon;
}

/** Keys of the rotary object, by its kind. */
const ROTARY_KEYS: ReadonlyMap<string, readonly string[]> = new Map([
  ['default', []],
  ['linear', ['factor']],
  ['llama3', ['factor', 'low_freq_factor', 'high_freq_factor', 'original_max_position_embeddings']],
]);

/** `rope_theta` with `rope_scaling`, or in newer files `rope_parameters`, which holds both. */
function readRotary(config: JsonObject): Pick<DecoderConfig, 'rotaryBase' | 'rotaryScaling'> {
  const [older, newer] = [config['rope_scaling'] ?? null, config['rope_parameters'] ?? null];
  if (older !== null && newer !== null) malformed('rope_parameters', 'stands beside rope_scaling');
  const outer = newer === null ? 'rope_scaling' : 'rope_parameters';
  const object = newer ?? older ?? {};
  if (!isJsonObject(object)) return malformed(outer, 'expected an object');

  const prefixed = new Map(Object.entries(object).map(([key, value]) => [`${outer}.${key}`, value]));
  const fields = fieldsOf(Object.fromEntries(prefixed));
  const field = (key: string) => `${outer}.${key}`;
  const [kind, oldKind] = [fields.optionalText(field('rope_type')), fields.optionalText(field('type'))];
  if (kind !== undefined && oldKind !== undefined && kind !== oldKind) {
    malformed(field('type'), `is ${oldKind.slice(0, 64)}, but rope_type is ${kind.slice(0, 64)}`);
  }
  const known = ROTARY_KEYS.get(kind ?? oldKind ?? 'default');
  if (known === undefined) return refuse(field('rope_type'), kind ?? oldKind ?? null);
  for (const [key, value] of Object.entries(object)) {
    if (value === null || key === 'rope_type' || key === 'type' || key === 'rope_theta') continue;
    if (key === 'partial_rotary_factor' && value === 1) continue;
    if (!known.includes(key)) refuse(field(key), value);
  }

  const inner = fields.optionalPositive(field('rope_theta'));
  const base = fieldsOf(config).optionalPositive('rope_theta');
  if (inner !== undefined && base !== undefined && inner !== base) {
    malformed(field('rope_theta'), `is ${inner}, but rope_theta is ${base}`);
  }
  const rotaryBase = inner ?? base ?? 10_000;
  if (rotaryBase <= 1) malformed('rope_theta', `expected a number above one, got ${rotaryBase}`);
  return { rotaryBase, rotaryScaling: readScaling(fields, field, kind ?? oldKind ?? 'default') };
}

function readScaling(fields: Metadata, field: (key: string) => string, kind: string): RotaryScaling {
  if (kind === 'default') return { kind: 'none' };
  const factor = fields.positive(field('factor'));
  if (kind === 'linear') return { kind, factor };
  const lowFrequencyFactor = fields.positive(field('low_freq_factor'));
  const highFrequencyFactor = fields.positive(field('high_freq_factor'));
  if (highFrequencyFactor <= lowFrequencyFactor) {
    malformed(field('high_freq_factor'), `${highFrequencyFactor} is not above low_freq_factor ${lowFrequencyFactor}`);
  }
  const originalContext = fields.count(field('original_max_position_embeddings'), MAX_CONTEXT);
  return { kind: 'llama3', factor, lowFrequencyFactor, highFrequencyFactor, originalContext };
}

function refuse(key: string, value: Json): never {
  const got = JSON.stringify(value).slice(0, 64);
  throw new ModelError('UNSUPPORTED_FEATURE', `config.json: ${key.slice(0, 64)} ${got} is not supported`, {
    at: { key: key.slice(0, 64) },
  });
}

function malformed(key: string, message: string): never {
  throw new ModelError('MALFORMED_METADATA', `config.json: ${key}: ${message}`, { at: { key } });
}
