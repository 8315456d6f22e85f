/**
 * A chat model of a few kilobytes: byte-level vocabulary, three control tokens, ChatML template, noise for weights; one
 * for each family of decoders, together in every tensor type. It answers nonsense, but it is a whole model.
 *
 * @module
 */

import type { DecoderFamily } from '../../inference/decoder-config.ts';
import { TENSOR_TYPES, type TensorType } from '../../inference/gguf/types.ts';
import { type Field, type TensorData, writeGguf } from './gguf-writer.ts';

export type TinyModel = { readonly fields: Map<string, Field>; readonly tensors: Map<string, TensorData> };

/** What is wanted; everything has a default. Extents must be whole blocks of the weights' types. */
export type TinyOptions = {
  readonly family?: DecoderFamily;
  readonly seed?: number;
  /** Whether the output matrix is the embedding. Default: false. */
  readonly tied?: boolean;
  /** Whether queries, keys and values have a bias. Default: only for `qwen2`. */
  readonly biases?: boolean;
  /** `linear` halves the frequencies; `divisors` writes `rope_freqs.weight`, values 1 to 8. Default: `none`. */
  readonly scaling?: 'none' | 'linear' | 'divisors';
  /** Type of all matrices. Default: a mixture. */
  readonly weights?: TensorType;
  readonly layers?: number;
  readonly contextLength?: number;
  readonly embedding?: number;
  /** Default 256, a block of the K-quants. */
  readonly feedForward?: number;
  readonly heads?: number;
  readonly kvHeads?: number;
  /** Default: `embedding / heads`, which the file leaves out; 16 for `qwen3`. */
  readonly headSize?: number;
};

export const TINY_TEMPLATE =
  "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

/** Merges beside the bytes: `th`, `the`, ` t`. */
const MERGES = ['t h', 'th e', 'Ġ t'];

const MATRICES = ['embedding', 'output', 'query', 'key', 'value', 'attentionOutput', 'gate', 'up', 'down'] as const;

type MatrixTypes = Readonly<Record<(typeof MATRICES)[number], TensorType>>;

/** Types of the matrices; each type occurs somewhere. The K-quants fit only rows of 256. */
const MIXTURES: Readonly<Record<DecoderFamily, MatrixTypes>> = {
  llama: mixture('Q8_0 F16 Q4_1 Q4_0 F32 Q8_0 Q4_0 Q4_1 Q6_K'),
  qwen2: mixture('Q5_0 BF16 Q8_0 Q5_1 Q5_0 Q4_0 Q5_1 F16 Q4_K'),
  qwen3: mixture('BF16 Q8_0 Q5_0 Q8_0 BF16 Q5_1 Q8_0 Q5_0 Q5_K'),
};

/** Other types of the last matrix of a layer, by layer: so that a mixture has all K-quants. */
const DOWN_OF_SECOND_LAYER: Readonly<Record<DecoderFamily, TensorType>> = {
  llama: 'Q6_K',
  qwen2: 'Q3_K',
  qwen3: 'Q2_K',
};

/** Makes the model; equal options give equal bytes. */
export function tinyModel(options: TinyOptions = {}): TinyModel {
  const { family = 'llama', seed = 1, tied = false, biases = family === 'qwen2', scaling = 'none' } = options;
  const { layers = 2, contextLength = 128, embedding = 32, feedForward = 256, heads = 4, kvHeads = 2 } = options;
  const headSize = options.headSize ?? (family === 'qwen3' ? 16 : embedding / heads);
  const tokens = [
    '<|endoftext|>',
    '<|im_start|>',
    '<|im_end|>',
    ...byteAlphabet(),
    ...MERGES.map((merge) => merge.replace(' ', '')),
  ];
  const fields = new Map<string, Field>([
    ['general.architecture', { type: 'string', value: family }],
    [`${family}.block_count`, { type: 'u32', value: layers }],
    [`${family}.context_length`, { type: 'u32', value: contextLength }],
    [`${family}.embedding_length`, { type: 'u32', value: embedding }],
    [`${family}.feed_forward_length`, { type: 'u32', value: feedForward }],
    [`${family}.attention.head_count`, { type: 'u32', value: heads }],
    [`${family}.attention.head_count_kv`, { type: 'u32', value: kvHeads }],
    [`${family}.attention.layer_norm_rms_epsilon`, { type: 'f32', value: 1e-5 }],
    ['tokenizer.ggml.model', { type: 'string', value: 'gpt2' }],
    ['tokenizer.ggml.pre', { type: 'string', value: family === 'llama' ? 'smollm' : 'qwen2' }],
    ['tokenizer.ggml.tokens', { type: 'strings', value: tokens }],
    ['tokenizer.ggml.token_type', { type: 'i32s', value: tokens.map((_, id) => (id < 3 ? 3 : 1)) }],
    ['tokenizer.ggml.merges', { type: 'strings', value: MERGES }],
    ['tokenizer.ggml.bos_token_id', { type: 'u32', value: 1 }],
    ['tokenizer.ggml.eos_token_id', { type: 'u32', value: 2 }],
    ['tokenizer.chat_template', { type: 'string', value: TINY_TEMPLATE }],
  ]);
  if (headSize * heads !== embedding || family === 'qwen3') {
    fields.set(`${family}.attention.key_length`, { type: 'u32', value: headSize });
    fields.set(`${family}.attention.value_length`, { type: 'u32', value: headSize });
  }
  if (scaling === 'linear') {
    fields.set(`${family}.rope.scaling.type`, { type: 'string', value: 'linear' });
    fields.set(`${family}.rope.scaling.factor`, { type: 'f32', value: 2 });
  }

  const next = lcg(seed);
  const gains = lcg(seed + 0x9e37);
  const types = (layer: number): MatrixTypes => {
    if (options.weights !== undefined) return mixture(options.weights);
    return layer % 2 === 1 ? { ...MIXTURES[family], down: DOWN_OF_SECOND_LAYER[family] } : MIXTURES[family];
  };
  const tensors = new Map<string, TensorData>([
    ['token_embd.weight', noise(types(0).embedding, [embedding, tokens.length], next)],
    ['output_norm.weight', gain(embedding, gains)],
  ]);
  if (!tied) tensors.set('output.weight', noise(types(0).output, [embedding, tokens.length], next));
  if (scaling === 'divisors') tensors.set('rope_freqs.weight', divisors(headSize / 2));
  for (let layer = 0; layer < layers; layer++) {
    const set = (name: string, tensor: TensorData) => tensors.set(`blk.${layer}.${name}`, tensor);
    const type = types(layer);
    set('attn_norm.weight', gain(embedding, gains));
    set('attn_q.weight', noise(type.query, [embedding, heads * headSize], next));
    set('attn_k.weight', noise(type.key, [embedding, kvHeads * headSize], next));
    set('attn_v.weight', noise(type.value, [embedding, kvHeads * headSize], next));
    if (biases) {
      set('attn_q.bias', noise('F32', [heads * headSize], next));
      set('attn_k.bias', noise('F32', [kvHeads * headSize], next));
      set('attn_v.bias', noise('F32', [kvHeads * headSize], next));
    }
    if (family === 'qwen3') {
      set('attn_q_norm.weight', gain(headSize, gains));
      set('attn_k_norm.weight', gain(headSize, gains));
    }
    set('attn_output.weight', noise(type.attentionOutput, [heads * headSize, embedding], next));
    set('ffn_norm.weight', gain(embedding, gains));
    set('ffn_gate.weight', noise(type.gate, [embedding, feedForward], next));
    set('ffn_up.weight', noise(type.up, [embedding, feedForward], next));
    set('ffn_down.weight', noise(type.down, [feedForward, embedding], next));
  }
  return { fields, tensors };
}

/** The file of {@link tinyModel}. */
export function tinyGguf(options: TinyOptions = {}): Uint8Array {
  const { fields, tensors } = tinyModel(options);
  return writeGguf(fields, tensors);
}

/** GPT-2's printable stand-ins of the 256 bytes, in byte order. */
export function byteAlphabet(): string[] {
  let spare = 256;
  return Array.from({ length: 256 }, (_, byte) => {
    const printable = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
    return String.fromCodePoint(printable ? byte : spare++);
  });
}

/** A generator of unsigned 32-bit numbers (Numerical Recipes' linear congruential one). */
export function lcg(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state;
  };
}

/** Types of all matrices in the order of {@link MATRICES}; the last one stands for those that are not named. */
function mixture(types: string): MatrixTypes {
  const named = types.split(' ') as TensorType[];
  const last = named.at(-1) as TensorType;
  return Object.fromEntries(MATRICES.map((matrix, i) => [matrix, named[i] ?? last])) as MatrixTypes;
}

/** Factors between 1/2 and 3/2. */
function gain(length: number, next: () => number): TensorData {
  return floats(Array.from({ length }, () => 0.5 + next() / 2 ** 32));
}

/** 1 for the highest frequency, 8 for the lowest, as Llama 3 has it. */
function divisors(length: number): TensorData {
  return floats(Array.from({ length }, (_, i) => 1 + (7 * i) / Math.max(1, length - 1)));
}

function floats(values: readonly number[]): TensorData {
  return { type: 'F32', shape: [values.length], bytes: new Uint8Array(Float32Array.from(values).buffer) };
}

/** Places of binary16 constants in a block; the rest of a block may hold anything. */
const CONSTANTS: Readonly<Record<TensorType, readonly number[]>> = {
  F32: [],
  F16: [0],
  BF16: [],
  Q4_0: [0],
  Q4_1: [0, 2],
  Q5_0: [0],
  Q5_1: [0, 2],
  Q8_0: [0],
  Q2_K: [80, 82],
  Q3_K: [108],
  Q4_K: [0, 2],
  Q5_K: [0, 2],
  Q6_K: [208],
};

/** Random blocks of a type whose values are about 0.001 to 1, either sign. */
export function noise(type: TensorType, shape: readonly number[], next: () => number): TensorData {
  const layout = [...TENSOR_TYPES.values()].find((entry) => entry.type === type);
  if (layout === undefined || (shape[0] ?? 0) % layout.elements !== 0) throw new RangeError(`${type}: [${shape}]`);
  const blocks = shape.reduce((a, b) => a * b, 1) / layout.elements;
  const bytes = new Uint8Array(blocks * layout.bytes);
  const view = new DataView(bytes.buffer);
  for (let i = 0; i < bytes.length; i++) bytes[i] = next() >>> 24;
  for (let b = 0; b < blocks; b++) {
    if (type === 'F32') view.setFloat32(4 * b, next() / 2 ** 32 - 0.5, true);
    // Exponent 120 to 123 of 255.
    if (type === 'BF16') view.setUint16(2 * b, (next() & 0x81ff) | 0x3c00, true);
    // Exponent 5 to 8 of 31, either sign: about 10^-3.
    for (const at of CONSTANTS[type]) view.setUint16(b * layout.bytes + at, (next() & 0x8fff) | 0x1400, true);
  }
  return { type, shape, bytes };
}
