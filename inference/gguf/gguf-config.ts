/**
 * The shape of a decoder of the LLaMA family, read from GGUF metadata, and the tensors it must have. Whatever no engine
 * here would honour (experts, windows, other ways to scale rotary angles, tensors that nothing reads) is refused: a model
 * computed half right is worse than none.
 *
 * Sources: `docs/gguf.md` of ggml; `llama-model.cpp` of llama.cpp (defaults, rotary layouts, `rope_freqs`).
 *
 * @module
 */

import type { DecoderConfig, DecoderFamily, RotaryLayout, RotaryScaling } from '../decoder-config.ts';
import { ModelError } from '../errors.ts';
import { checkShape, checkTensors, ROPE_DIVISORS } from './gguf-tensors.ts';
import { type Metadata, readMetadata } from './metadata.ts';
import type { ByteSource } from './source.ts';
import { TensorReader } from './tensor-reader.ts';
import type { Gguf } from './types.ts';

const ROTARY: Readonly<Record<DecoderFamily, RotaryLayout>> = {
  llama: 'interleaved',
  qwen2: 'halves',
  qwen3: 'halves',
};

/** Above this the rotary tables alone would take gigabytes. */
const MAX_CONTEXT = 1 << 18;

const MAX_HEADS = 1 << 10;
const MAX_HEAD_SIZE = 1 << 12;

/** Features that change the numbers and are not computed here. */
const REFUSED = [
  'expert_count',
  'attention.sliding_window',
  'attention.clamp_kqv',
  'attention.max_alibi_bias',
  'attention.scale',
  'attention.output_scale',
  'attention.temperature_scale',
  'attn_logit_softcapping',
  'final_logit_softcapping',
  'logit_scale',
  'embedding_scale',
  'residual_scale',
  'use_parallel_residual',
  'rope.dimension_sections',
  'rope.scaling.alpha',
  'rope.scaling.attn_factor',
  'rope.scaling.yarn_log_multiplier',
] as const;

/**
 * Reads and checks the shape of the decoder in a file.
 *
 * @param gguf - parsed, its contents untrusted
 * @param source - the file itself: divisors of rotary frequencies lie among the tensors
 * @throws {@link ModelError} `MISSING_METADATA`, `MALFORMED_METADATA` (both with `at.key`), `UNSUPPORTED_ARCHITECTURE`,
 * `UNSUPPORTED_FEATURE`, `MISSING_TENSOR`, `UNEXPECTED_TENSOR`, `TENSOR_SHAPE_MISMATCH` (with `at.tensor`)
 */
export function readDecoderConfig(gguf: Gguf, source: ByteSource): DecoderConfig {
  const metadata = readMetadata(gguf.metadata);
  const family = readFamily(metadata);
  const key = (name: string) => `${family}.${name}`;
  refuseFeatures(metadata, family);

  const embedding = metadata.count(key('embedding_length'), 1 << 16);
  const heads = metadata.count(key('attention.head_count'), MAX_HEADS);
  const kvHeads = metadata.optionalCount(key('attention.head_count_kv'), MAX_HEADS) ?? heads;
  if (heads % kvHeads !== 0) {
    throw malformed(key('attention.head_count_kv'), `${kvHeads} heads of keys do not divide ${heads}`);
  }
  const headSize = readHeadSize(metadata, family, embedding, heads);
  const rotaryBase = metadata.optionalPositive(key('rope.freq_base')) ?? 10_000;
  if (rotaryBase <= 1) throw malformed(key('rope.freq_base'), `a rotary base of ${rotaryBase} is not above 1`);
  const config: DecoderConfig = {
    family,
    layers: metadata.count(key('block_count'), 512),
    contextLength: metadata.count(key('context_length'), MAX_CONTEXT),
    embedding,
    feedForward: metadata.count(key('feed_forward_length'), 1 << 18),
    heads,
    kvHeads,
    headSize,
    rotaryLayout: ROTARY[family],
    rotaryBase,
    rotaryScaling: readScaling(metadata, family, gguf, source, headSize),
    normEpsilon: metadata.positive(key('attention.layer_norm_rms_epsilon')),
    vocabulary: metadata.list('tokenizer.ggml.tokens').length,
    tiedOutput: !gguf.tensors.has('output.weight'),
    attentionBias: gguf.tensors.has('blk.0.attn_q.bias'),
    headNorm: family === 'qwen3',
  };
  checkTensors(gguf.tensors, config);
  return config;
}

function readFamily(metadata: Metadata): DecoderFamily {
  const architecture = metadata.text('general.architecture');
  if (!Object.hasOwn(ROTARY, architecture)) {
    throw new ModelError(
      'UNSUPPORTED_ARCHITECTURE',
      `expected architecture llama, qwen2 or qwen3, got ${architecture.slice(0, 64)}`,
    );
  }
  return architecture as DecoderFamily;
}

/** The key length where the file has one, else an equal share of the embedding; values and rotation have the same extent. */
function readHeadSize(metadata: Metadata, family: DecoderFamily, embedding: number, heads: number): number {
  const key = (name: string) => `${family}.${name}`;
  const headSize = metadata.optionalCount(key('attention.key_length'), MAX_HEAD_SIZE) ?? embedding / heads;
  if (!Number.isInteger(headSize) || headSize % 2 !== 0 || headSize > MAX_HEAD_SIZE) {
    throw malformed(key('attention.head_count'), `${heads} heads over ${embedding} make a head size of ${headSize}`);
  }
  for (const name of ['attention.value_length', 'rope.dimension_count']) {
    // Where the file is silent, llama.cpp takes the share of the embedding for values.
    const value =
      metadata.optionalCount(key(name), 1 << 16) ?? (name === 'rope.dimension_count' ? headSize : embedding / heads);
    if (value !== headSize) {
      throw unsupported(key(name), `${key(name)} is ${value}, only the head size ${headSize} is supported`);
    }
  }
  return headSize;
}

function readScaling(
  metadata: Metadata,
  family: DecoderFamily,
  gguf: Gguf,
  source: ByteSource,
  headSize: number,
): RotaryScaling {
  const key = (name: string) => `${family}.rope.${name}`;
  const type = metadata.optionalText(key('scaling.type')) ?? 'linear';
  if (type !== 'none' && type !== 'linear') {
    throw unsupported(key('scaling.type'), `rotary angles scaled by ${type.slice(0, 64)} are not supported`);
  }
  const factor =
    metadata.optionalPositive(key('scaling.factor')) ?? metadata.optionalPositive(key('scale_linear')) ?? 1;
  const linear = type === 'linear' && factor !== 1;
  if (!gguf.tensors.has(ROPE_DIVISORS)) return linear ? { kind: 'linear', factor } : { kind: 'none' };
  if (linear) throw unsupported(key('scaling.factor'), `a linear factor beside ${ROPE_DIVISORS} is not supported`);
  return { kind: 'divisors', divisors: readDivisors(gguf, source, headSize) };
}

function readDivisors(gguf: Gguf, source: ByteSource, headSize: number): readonly number[] {
  const tensor = checkShape(gguf.tensors, ROPE_DIVISORS, [headSize / 2]);
  const values = new Float32Array(headSize / 2);
  new TensorReader(source).read(tensor, 0, values);
  const divisors = [...values];
  if (!divisors.every((value) => value > 0 && value < Infinity)) {
    throw new ModelError('MALFORMED_METADATA', `${ROPE_DIVISORS} has a value that is no finite number above zero`, {
      at: { tensor: ROPE_DIVISORS },
    });
  }
  return divisors;
}

function refuseFeatures(metadata: Metadata, family: DecoderFamily): void {
  for (const name of REFUSED) {
    const key = `${family}.${name}`;
    if (metadata.has(key)) throw unsupported(key, `${key} is not supported`);
  }
  const causal = `${family}.attention.causal`;
  if (metadata.optionalFlag(causal) === false) throw unsupported(causal, 'attention to later tokens is not supported');
}

function malformed(key: string, message: string): ModelError {
  return new ModelError('MALFORMED_METADATA', message, { at: { key } });
}

function unsupported(key: string, message: string): ModelError {
  return new ModelError('UNSUPPORTED_FEATURE', message, { at: { key } });
}
