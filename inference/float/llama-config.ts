/**
 * The numbers of a LLaMA-family decoder, read from GGUF metadata, and the tensors it must have. Whatever the graph would
 * not honour (scaled rotary angles, experts, windows, tensors that nothing reads) is refused: a model computed half
 * right is worse than none.
 *
 * @module
 */

import { ModelError } from '../errors.ts';
import { type Metadata, readMetadata } from '../gguf/metadata.ts';
import type { Gguf, TensorInfo } from '../gguf/types.ts';

/** Pairs of a rotated head: neighbours `(2i, 2i+1)`, or halves `(i, i + d/2)`. */
export type RotaryLayout = 'interleaved' | 'halves';

/** Shape of a decoder; all counts positive. */
export type LlamaConfig = {
  readonly architecture: 'llama' | 'qwen2';
  readonly rotary: RotaryLayout;
  readonly layers: number;
  readonly contextLength: number;
  readonly embedding: number;
  readonly feedForward: number;
  readonly heads: number;
  readonly kvHeads: number;
  /** Extent of one head; even, and all of it is rotated. */
  readonly headSize: number;
  readonly rotaryBase: number;
  readonly normEpsilon: number;
  readonly vocabulary: number;
  /** Whether the output matrix is the embedding. */
  readonly tiedOutput: boolean;
  /** Whether queries, keys and values have a bias. */
  readonly attentionBias: boolean;
};

const ROTARY: Readonly<Record<LlamaConfig['architecture'], RotaryLayout>> = { llama: 'interleaved', qwen2: 'halves' };

/** Above this the rotary tables alone would take gigabytes. */
const MAX_CONTEXT = 1 << 18;

/**
 * Reads and checks the shape of the decoder in a file.
 *
 * @param gguf - parsed, its contents untrusted
 * @throws {@link ModelError} `MISSING_METADATA`, `MALFORMED_METADATA` (both with `at.key`), `UNSUPPORTED_ARCHITECTURE`,
 * `UNSUPPORTED_FEATURE`, `MISSING_TENSOR`, `UNEXPECTED_TENSOR`, `TENSOR_SHAPE_MISMATCH` (with `at.tensor`)
 */
export function readLlamaConfig(gguf: Gguf): LlamaConfig {
  const metadata = readMetadata(gguf.metadata);
  const architecture = metadata.text('general.architecture');
  if (architecture !== 'llama' && architecture !== 'qwen2') {
    throw new ModelError(
      'UNSUPPORTED_ARCHITECTURE',
      `expected architecture llama or qwen2, got ${architecture.slice(0, 64)}`,
    );
  }
  const key = (name: string) => `${architecture}.${name}`;
  refuseFeatures(metadata, architecture);

  const embedding = metadata.count(key('embedding_length'), 1 << 16);
  const heads = metadata.count(key('attention.head_count'), 1 << 10);
  const kvHeads = metadata.optionalCount(key('attention.head_count_kv'), 1 << 10) ?? heads;
  const headSize = embedding / heads;
  if (!Number.isInteger(headSize) || headSize % 2 !== 0 || heads % kvHeads !== 0) {
    throw new ModelError(
      'MALFORMED_METADATA',
      `${heads} heads, ${kvHeads} of keys, do not divide ${embedding} evenly`,
      {
        at: { key: key('attention.head_count') },
      },
    );
  }
  for (const name of ['rope.dimension_count', 'attention.key_length', 'attention.value_length']) {
    const value = metadata.optionalCount(key(name), 1 << 16) ?? headSize;
    if (value !== headSize) {
      throw new ModelError(
        'UNSUPPORTED_FEATURE',
        `${key(name)} is ${value}, only the head size ${headSize} is supported`,
        {
          at: { key: key(name) },
        },
      );
    }
  }
  const config: LlamaConfig = {
    architecture,
    rotary: ROTARY[architecture],
    layers: metadata.count(key('block_count'), 512),
    contextLength: metadata.count(key('context_length'), MAX_CONTEXT),
    embedding,
    feedForward: metadata.count(key('feed_forward_length'), 1 << 18),
    heads,
    kvHeads,
    headSize,
    rotaryBase: metadata.optionalPositive(key('rope.freq_base')) ?? 10_000,
    normEpsilon: metadata.positive(key('attention.layer_norm_rms_epsilon')),
    vocabulary: metadata.list('tokenizer.ggml.tokens').length,
    tiedOutput: !gguf.tensors.has('output.weight'),
    attentionBias: gguf.tensors.has('blk.0.attn_q.bias'),
  };
  checkTensors(gguf.tensors, config);
  return config;
}

/** Every tensor that the decoder reads, with its shape as in the file (fastest extent first). */
function tensorShapes(config: LlamaConfig): ReadonlyMap<string, readonly number[]> {
  const { embedding, feedForward, vocabulary } = config;
  const query = config.heads * config.headSize;
  const keyValue = config.kvHeads * config.headSize;
  const shapes = new Map<string, readonly number[]>([
    ['token_embd.weight', [embedding, vocabulary]],
    ['output_norm.weight', [embedding]],
  ]);
  if (!config.tiedOutput) shapes.set('output.weight', [embedding, vocabulary]);
  for (let layer = 0; layer < config.layers; layer++) {
    const set = (name: string, shape: readonly number[]) => shapes.set(`blk.${layer}.${name}`, shape);
    set('attn_norm.weight', [embedding]);
    set('attn_q.weight', [embedding, query]);
    set('attn_k.weight', [embedding, keyValue]);
    set('attn_v.weight', [embedding, keyValue]);
    if (config.attentionBias) {
      set('attn_q.bias', [query]);
      set('attn_k.bias', [keyValue]);
      set('attn_v.bias', [keyValue]);
    }
    set('attn_output.weight', [query, embedding]);
    set('ffn_norm.weight', [embedding]);
    set('ffn_gate.weight', [embedding, feedForward]);
    set('ffn_up.weight', [embedding, feedForward]);
    set('ffn_down.weight', [feedForward, embedding]);
  }
  return shapes;
}

function refuseFeatures(metadata: Metadata, architecture: string): void {
  const scaling = metadata.optionalText(`${architecture}.rope.scaling.type`);
  if (scaling !== undefined && scaling !== 'none') {
    throw new ModelError('UNSUPPORTED_FEATURE', 'scaled rotary angles are not supported', {
      at: { key: `${architecture}.rope.scaling.type` },
    });
  }
  for (const name of ['expert_count', 'attention.sliding_window', 'rope.scale_linear', 'attention.clamp_kqv']) {
    if (metadata.has(`${architecture}.${name}`)) {
      throw new ModelError('UNSUPPORTED_FEATURE', `${architecture}.${name} is not supported`, {
        at: { key: `${architecture}.${name}` },
      });
    }
  }
}

function checkTensors(tensors: ReadonlyMap<string, TensorInfo>, config: LlamaConfig): void {
  const shapes = tensorShapes(config);
  for (const [name, shape] of shapes) {
    const tensor = tensors.get(name);
    if (tensor === undefined)
      throw new ModelError('MISSING_TENSOR', `tensor ${name} is missing`, { at: { tensor: name } });
    if (tensor.shape.join() !== shape.join()) {
      throw new ModelError('TENSOR_SHAPE_MISMATCH', `tensor ${name}: expected shape ${shape}, got ${tensor.shape}`, {
        at: { tensor: name },
      });
    }
  }
  for (const name of tensors.keys()) {
    if (!shapes.has(name)) {
      throw new ModelError('UNEXPECTED_TENSOR', `tensor ${name} is read by no operation of this decoder`, {
        at: { tensor: name },
      });
    }
  }
}
