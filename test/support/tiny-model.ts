/**
 * A chat model of a few kilobytes: byte-level vocabulary, three control tokens, ChatML template, noise for weights in
 * every tensor type. It answers nonsense, but it is a whole model.
 *
 * @module
 */

import { TENSOR_TYPES, type TensorType } from '../../inference/gguf/types.ts';
import type { Field, TensorData } from './gguf-writer.ts';

export type TinyModel = { readonly fields: Map<string, Field>; readonly tensors: Map<string, TensorData> };

export const TINY_TEMPLATE =
  "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

const EMBEDDING = 32;
const KEY_VALUE = 16;
const FEED_FORWARD = 256;
const LAYERS = 2;
const CONTEXT = 128;

/** Merges beside the bytes: `th`, `the`, ` t`. */
const MERGES = ['t h', 'th e', 'Ġ t'];

/** Makes the model; equal seeds give equal bytes. */
export function tinyModel(seed = 1): TinyModel {
  const tokens = [
    '<|endoftext|>',
    '<|im_start|>',
    '<|im_end|>',
    ...byteAlphabet(),
    ...MERGES.map((merge) => merge.replace(' ', '')),
  ];
  const fields = new Map<string, Field>([
    ['general.architecture', { type: 'string', value: 'llama' }],
    ['llama.block_count', { type: 'u32', value: LAYERS }],
    ['llama.context_length', { type: 'u32', value: CONTEXT }],
    ['llama.embedding_length', { type: 'u32', value: EMBEDDING }],
    ['llama.feed_forward_length', { type: 'u32', value: FEED_FORWARD }],
    ['llama.attention.head_count', { type: 'u32', value: 4 }],
    ['llama.attention.head_count_kv', { type: 'u32', value: 2 }],
    ['llama.attention.layer_norm_rms_epsilon', { type: 'f32', value: 1e-5 }],
    ['tokenizer.ggml.model', { type: 'string', value: 'gpt2' }],
    ['tokenizer.ggml.pre', { type: 'string', value: 'smollm' }],
    ['tokenizer.ggml.tokens', { type: 'strings', value: tokens }],
    ['tokenizer.ggml.token_type', { type: 'i32s', value: tokens.map((_, id) => (id < 3 ? 3 : 1)) }],
    ['tokenizer.ggml.merges', { type: 'strings', value: MERGES }],
    ['tokenizer.ggml.bos_token_id', { type: 'u32', value: 1 }],
    ['tokenizer.ggml.eos_token_id', { type: 'u32', value: 2 }],
    ['tokenizer.chat_template', { type: 'string', value: TINY_TEMPLATE }],
  ]);
  const next = lcg(seed);
  const tensors = new Map<string, TensorData>([
    ['token_embd.weight', noise('Q8_0', [EMBEDDING, tokens.length], next)],
    ['output_norm.weight', ones(EMBEDDING)],
    ['output.weight', noise('F16', [EMBEDDING, tokens.length], next)],
  ]);
  for (let layer = 0; layer < LAYERS; layer++) {
    const set = (name: string, tensor: TensorData) => tensors.set(`blk.${layer}.${name}.weight`, tensor);
    set('attn_norm', ones(EMBEDDING));
    set('attn_q', noise('Q4_1', [EMBEDDING, EMBEDDING], next));
    set('attn_k', noise('Q4_0', [EMBEDDING, KEY_VALUE], next));
    set('attn_v', noise('F32', [EMBEDDING, KEY_VALUE], next));
    set('attn_output', noise('Q8_0', [EMBEDDING, EMBEDDING], next));
    set('ffn_norm', ones(EMBEDDING));
    set('ffn_gate', noise('Q4_0', [EMBEDDING, FEED_FORWARD], next));
    set('ffn_up', noise('Q4_1', [EMBEDDING, FEED_FORWARD], next));
    set('ffn_down', noise('Q6_K', [FEED_FORWARD, EMBEDDING], next));
  }
  return { fields, tensors };
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

function ones(length: number): TensorData {
  return { type: 'F32', shape: [length], bytes: new Uint8Array(new Float32Array(length).fill(1).buffer) };
}

/** Places of binary16 constants in a block; the rest of a block may hold anything. */
const CONSTANTS: Readonly<Record<TensorType, readonly number[]>> = {
  F32: [],
  F16: [0],
  Q4_0: [0],
  Q4_1: [0, 2],
  Q8_0: [0],
  Q6_K: [208],
};

function noise(type: TensorType, shape: readonly number[], next: () => number): TensorData {
  const layout = [...TENSOR_TYPES.values()].find((entry) => entry.type === type);
  if (layout === undefined) throw new RangeError(type);
  const blocks = shape.reduce((a, b) => a * b, 1) / layout.elements;
  const bytes = new Uint8Array(blocks * layout.bytes);
  const view = new DataView(bytes.buffer);
  for (let i = 0; i < bytes.length; i++) bytes[i] = next() >>> 24;
  for (let b = 0; b < blocks; b++) {
    if (type === 'F32') view.setFloat32(4 * b, next() / 2 ** 32 - 0.5, true);
    // Exponent 5 to 8 of 31, either sign: about 10^-3.
    for (const at of CONSTANTS[type]) view.setUint16(b * layout.bytes + at, (next() & 0x8fff) | 0x1400, true);
  }
  return { type, shape, bytes };
}
