/**
 * The stories260K model of llama2.c as fields and tensors of a GGUF.
 *
 * Source of the layouts: `run.c` of llama2.c (`memory_map_weights`, `build_tokenizer`).
 *
 * @module
 */

import type { Field, TensorData } from './gguf-writer.ts';

export type Stories = { readonly fields: Map<string, Field>; readonly tensors: Map<string, TensorData> };

/** Converts a checkpoint and its tokenizer. */
export function readStories(checkpoint: Uint8Array, tokenizer: Uint8Array): Stories {
  const view = new DataView(checkpoint.buffer, checkpoint.byteOffset, checkpoint.byteLength);
  const header = Array.from({ length: 7 }, (_, i) => view.getInt32(4 * i, true));
  const [dim = 0, hidden = 0, layers = 0, heads = 0, kvHeads = 0, vocabulary = 0, context = 0] = header;
  const kvDim = (dim / heads) * kvHeads;

  let offset = 28;
  const take = (...shape: number[]): TensorData => {
    const count = shape.reduce((a, b) => a * b, 1);
    const bytes = checkpoint.slice(offset, offset + 4 * count);
    offset += 4 * count;
    return { type: 'F32', shape, bytes };
  };
  const tensors = new Map<string, TensorData>([['token_embd.weight', take(dim, vocabulary)]]);
  const each = (name: string, ...shape: number[]) => {
    for (let l = 0; l < layers; l++) tensors.set(`blk.${l}.${name}`, take(...shape));
  };
  each('attn_norm.weight', dim);
  each('attn_q.weight', dim, dim);
  each('attn_k.weight', dim, kvDim);
  each('attn_v.weight', dim, kvDim);
  each('attn_output.weight', dim, dim);
  each('ffn_norm.weight', dim);
  each('ffn_gate.weight', dim, hidden);
  each('ffn_down.weight', hidden, dim);
  each('ffn_up.weight', dim, hidden);
  tensors.set('output_norm.weight', take(dim));

  const { tokens, scores } = readTokens(tokenizer, vocabulary);
  const types = tokens.map((_, id) => (id === 0 ? 2 : id < 3 ? 3 : id < 259 ? 6 : 1));
  const fields = new Map<string, Field>([
    ['general.architecture', { type: 'string', value: 'llama' }],
    ['general.name', { type: 'string', value: 'stories260K' }],
    ['llama.block_count', { type: 'u32', value: layers }],
    ['llama.context_length', { type: 'u32', value: context }],
    ['llama.embedding_length', { type: 'u32', value: dim }],
    ['llama.feed_forward_length', { type: 'u32', value: hidden }],
    ['llama.attention.head_count', { type: 'u32', value: heads }],
    ['llama.attention.head_count_kv', { type: 'u32', value: kvHeads }],
    ['llama.attention.layer_norm_rms_epsilon', { type: 'f32', value: 1e-5 }],
    ['llama.rope.dimension_count', { type: 'u32', value: dim / heads }],
    ['tokenizer.ggml.model', { type: 'string', value: 'llama' }],
    ['tokenizer.ggml.tokens', { type: 'strings', value: tokens }],
    ['tokenizer.ggml.scores', { type: 'f32s', value: scores }],
    ['tokenizer.ggml.token_type', { type: 'i32s', value: types }],
    ['tokenizer.ggml.unknown_token_id', { type: 'u32', value: 0 }],
    ['tokenizer.ggml.bos_token_id', { type: 'u32', value: 1 }],
    ['tokenizer.ggml.eos_token_id', { type: 'u32', value: 2 }],
  ]);
  return { fields, tensors };
}

/**
 * The same model with the rotated pairs of each head as halves instead of neighbours and zero biases: architecture
 * `qwen2`. Its logits are those of the original but for the order of the sums in a score.
 */
export function asHalves(stories: Stories): Stories {
  const fields = new Map<string, Field>();
  for (const [key, field] of stories.fields) fields.set(key.replace(/^llama\./, 'qwen2.'), field);
  fields.set('general.architecture', { type: 'string', value: 'qwen2' });
  const size = numberOf(stories.fields.get('llama.rope.dimension_count'));
  const tensors = new Map<string, TensorData>();
  for (const [name, tensor] of stories.tensors) {
    const match = /attn_([qkv])\.weight$/.exec(name);
    tensors.set(name, match?.[1] === 'q' || match?.[1] === 'k' ? permuteRows(tensor, size) : tensor);
    const rows = tensor.shape[1] ?? 0;
    if (match)
      tensors.set(name.replace(/weight$/, 'bias'), { type: 'F32', shape: [rows], bytes: new Uint8Array(4 * rows) });
  }
  return { fields, tensors };
}

/** Row `2i + j` of each head becomes row `i + j * size / 2`. */
function permuteRows(tensor: TensorData, size: number): TensorData {
  const [columns = 0, rows = 0] = tensor.shape;
  const bytes = new Uint8Array(tensor.bytes.length);
  for (let row = 0; row < rows; row++) {
    const inHead = row % size;
    const to = row - inHead + (inHead >> 1) + (inHead % 2) * (size / 2);
    bytes.set(tensor.bytes.subarray(4 * columns * row, 4 * columns * (row + 1)), 4 * columns * to);
  }
  return { ...tensor, bytes };
}
function numberOf(field: Field | undefined): number {
  if (field?.type !== 'u32') throw new TypeError('expected a u32 field');
  return field.value;
}

function readTokens(bytes: Uint8Array, count: number): { tokens: string[]; scores: number[] } {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const tokens: string[] = [];
  const scores: number[] = [];
  let at = 4;
  for (let id = 0; id < count; id++) {
    scores.push(view.getFloat32(at, true));
    const length = view.getInt32(at + 4, true);
    const text = new TextDecoder('utf-8', { fatal: true }).decode(bytes.subarray(at + 8, at + 8 + length));
    // llama2.c wrote its own spellings for control and space.
    tokens.push(id === 1 ? '<s>' : id === 2 ? '</s>' : text.replaceAll(' ', '▁'));
    at += 8 + length;
  }
  return { tokens, scores };
}
