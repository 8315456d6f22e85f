/**
 * Model folders of a few hundred kilobytes in the layout of the Hugging Face hub: the fields of published models
 * (Llama-3.2-1B-Instruct, Qwen2.5-0.5B-Instruct, Qwen3-0.6B), their extents shrunk, noise for weights.
 *
 * @module
 */

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { DecoderFamily } from '../../inference/decoder-config.ts';
import { seededRandom } from './random.ts';
import { byteAlphabet } from './tiny-model.ts';

/** JSON that tests change at will. */
export type Loose = Record<string, unknown>;

/** A tensor as it is written; `bytes` fit dtype and shape unless a test wants otherwise. */
export type RawTensor = { readonly dtype: string; readonly shape: readonly number[]; readonly bytes: Uint8Array };

/** Everything of a folder, before it becomes bytes. */
export type TinyFolder = {
  readonly config: Loose;
  readonly generationConfig: Loose;
  readonly tokenizer: Loose;
  readonly tokenizerConfig: Loose;
  readonly tensors: Map<string, RawTensor>;
  /** What the tensors hold, in binary32. */
  readonly values: Map<string, Float32Array>;
};

export type TinyFolderOptions = {
  readonly seed?: number;
  /** Type of the weights; BF16 as published. */
  readonly dtype?: 'F32' | 'F16' | 'BF16';
  /** Default as published at this size: true. */
  readonly tied?: boolean;
};

const EXTENTS = { hidden_size: 32, intermediate_size: 64, num_hidden_layers: 2, max_position_embeddings: 256 };

/** Merges beside the bytes, in order of rank. */
const MERGES = ['t h', 'th e', 'Ġ t', 'Ġ a', 'i n', 'Ġt h', 'e r', '1 2', 'Ġth e'];

/** Makes a folder; equal options give equal bytes. */
export function tinyFolder(family: DecoderFamily, options: TinyFolderOptions = {}): TinyFolder {
  const { seed = 1, dtype = 'BF16', tied = true } = options;
  const { config, ...texts } = FAMILIES[family]();
  config['tie_word_embeddings'] = tied;
  const random = seededRandom(seed);
  const tensors = new Map<string, RawTensor>();
  const values = new Map<string, Float32Array>();
  for (const [name, shape] of shapesOf(family, config, tied)) {
    const numbers = Float32Array.from(
      { length: shape.reduce((a, b) => a * b, 1) },
      () => (random.below(255) - 127) / 64,
    );
    values.set(name, numbers);
    tensors.set(name, { dtype, shape, bytes: encodeValues(dtype, numbers) });
  }
  return { config, ...texts, tensors, values };
}

/** The files of a folder, with one file of weights or `shards` of them and their index. */
export function folderFiles(folder: TinyFolder, shards = 1): Map<string, Uint8Array> {
  const files = new Map<string, Uint8Array>([
    ['config.json', jsonBytes(folder.config)],
    ['generation_config.json', jsonBytes(folder.generationConfig)],
    ['tokenizer.json', jsonBytes(folder.tokenizer)],
    ['tokenizer_config.json', jsonBytes(folder.tokenizerConfig)],
  ]);
  if (shards === 1) return files.set('model.safetensors', writeSafetensors(folder.tensors));
  const names = [...folder.tensors.keys()].sort();
  const weight_map: Record<string, string> = {};
  let total_size = 0;
  for (let shard = 0; shard < shards; shard++) {
    const part = new Map<string, RawTensor>();
    const file = `model-${String(shard + 1).padStart(5, '0')}-of-${String(shards).padStart(5, '0')}.safetensors`;
    for (const name of names.slice((shard * names.length) / shards, ((shard + 1) * names.length) / shards)) {
      const tensor = folder.tensors.get(name);
      if (tensor === undefined) continue;
      part.set(name, tensor);
      weight_map[name] = file;
      total_size += tensor.bytes.length;
    }
    files.set(file, writeSafetensors(part));
  }
  return files.set('model.safetensors.index.json', jsonBytes({ metadata: { total_size }, weight_map }));
}

/** Writes files into a folder that exists. */
export function writeFolder(path: string, files: ReadonlyMap<string, Uint8Array>): void {
  for (const [name, bytes] of files) writeFileSync(join(path, name), bytes);
}

/** A safetensors file as the reference implementation writes it, the header padded to eight bytes. */
export function writeSafetensors(tensors: ReadonlyMap<string, RawTensor>): Uint8Array {
  const header: Loose = { __metadata__: { format: 'pt' } };
  let position = 0;
  for (const [name, { dtype, shape, bytes }] of tensors) {
    header[name] = { dtype, shape, data_offsets: [position, position + bytes.length] };
    position += bytes.length;
  }
  return joinSafetensors(JSON.stringify(header), Buffer.concat([...tensors.values()].map(({ bytes }) => bytes)));
}

/** Length, header and data as they are given; spaces pad the header. */
export function joinSafetensors(header: string, data: Uint8Array, length?: bigint): Uint8Array {
  const text = Buffer.from(header);
  const padded = Buffer.concat([text, Buffer.alloc((8 - (text.length % 8)) % 8, ' ')]);
  const prefix = Buffer.alloc(8);
  prefix.writeBigUInt64LE(length ?? BigInt(padded.length));
  return new Uint8Array(Buffer.concat([prefix, padded, data]));
}

/** Little-endian numbers; exact for the values that {@link tinyFolder} makes. */
export function encodeValues(dtype: 'F32' | 'F16' | 'BF16', values: Float32Array): Uint8Array {
  const size = dtype === 'F32' ? 4 : 2;
  const view = new DataView(new ArrayBuffer(values.length * size));
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  bits.forEach((word, i) => {
    if (dtype === 'F32') view.setUint32(4 * i, word, true);
    else if (dtype === 'BF16') view.setUint16(2 * i, word >>> 16, true);
    else {
      const exponent = ((word >>> 23) & 255) - 112;
      const half = exponent <= 0 ? 0 : (exponent << 10) | ((word >>> 13) & 1023);
      view.setUint16(2 * i, ((word >>> 16) & 0x8000) | half, true);
    }
  });
  return new Uint8Array(view.buffer);
}

/** Compact JSON in UTF-8. */
export function jsonBytes(value: unknown): Uint8Array {
  return new Uint8Array(Buffer.from(JSON.stringify(value)));
}

/** Names and shapes as transformers writes them. */
function shapesOf(family: DecoderFamily, config: Loose, tied: boolean): [string, number[]][] {
  const number = (key: string) => Number(config[key]);
  const hidden = number('hidden_size');
  const inner = number('intermediate_size');
  const head = config['head_dim'] === undefined ? hidden / number('num_attention_heads') : number('head_dim');
  const query = head * number('num_attention_heads');
  const keyValue = head * number('num_key_value_heads');
  const shapes: [string, number[]][] = [['model.embed_tokens.weight', [number('vocab_size'), hidden]]];
  for (let layer = 0; layer < number('num_hidden_layers'); layer++) {
    const add = (name: string, ...shape: number[]) => shapes.push([`model.layers.${layer}.${name}`, shape]);
    add('input_layernorm.weight', hidden);
    add('self_attn.q_proj.weight', query, hidden);
    add('self_attn.k_proj.weight', keyValue, hidden);
    add('self_attn.v_proj.weight', keyValue, hidden);
    if (family === 'qwen2') {
      add('self_attn.q_proj.bias', query);
      add('self_attn.k_proj.bias', keyValue);
      add('self_attn.v_proj.bias', keyValue);
    }
    if (family === 'qwen3') {
      add('self_attn.q_norm.weight', head);
      add('self_attn.k_norm.weight', head);
    }
    add('self_attn.o_proj.weight', hidden, query);
    add('post_attention_layernorm.weight', hidden);
    add('mlp.gate_proj.weight', inner, hidden);
    add('mlp.up_proj.weight', inner, hidden);
    add('mlp.down_proj.weight', hidden, inner);
  }
  shapes.push(['model.norm.weight', [hidden]]);
  if (!tied) shapes.push(['lm_head.weight', [number('vocab_size'), hidden]]);
  return shapes;
}

type Texts = Omit<TinyFolder, 'tensors' | 'values'>;

const FAMILIES: Readonly<Record<DecoderFamily, () => Texts>> = {
  /** Fields of meta-llama/Llama-3.2-1B-Instruct. */
  llama() {
    const special = [
      '<|begin_of_text|>',
      '<|end_of_text|>',
      '<|eom_id|>',
      '<|start_header_id|>',
      '<|end_header_id|>',
      '<|eot_id|>',
    ];
    const { vocab, next } = byteLevelVocab();
    const config = {
      architectures: ['LlamaForCausalLM'],
      attention_bias: false,
      attention_dropout: 0.0,
      bos_token_id: next,
      eos_token_id: [next + 1, next + 2, next + 5],
      head_dim: 8,
      hidden_act: 'silu',
      ...EXTENTS,
      initializer_range: 0.02,
      mlp_bias: false,
      model_type: 'llama',
      num_attention_heads: 4,
      num_key_value_heads: 2,
      pretraining_tp: 1,
      rms_norm_eps: 1e-5,
      rope_scaling: {
        factor: 32.0,
        high_freq_factor: 4.0,
        low_freq_factor: 1.0,
        original_max_position_embeddings: 64,
        rope_type: 'llama3',
      },
      rope_theta: 500000.0,
      torch_dtype: 'bfloat16',
      transformers_version: '4.45.0.dev0',
      use_cache: true,
      vocab_size: next + special.length,
    };
    const bos = { SpecialToken: { id: '<|begin_of_text|>', type_id: 0 } };
    const tokenizer = {
      version: '1.0',
      truncation: null,
      padding: null,
      added_tokens: special.map((content, i) => addedToken(next + i, content, true)),
      normalizer: null,
      pre_tokenizer: { type: 'Sequence', pretokenizers: [split('\\p{N}{1,3}'), byteLevel(false, false)] },
      post_processor: {
        type: 'Sequence',
        processors: [
          byteLevel(true, true, false),
          {
            type: 'TemplateProcessing',
            single: [bos, { Sequence: { id: 'A', type_id: 0 } }],
            pair: [
              bos,
              { Sequence: { id: 'A', type_id: 0 } },
              { SpecialToken: { id: '<|begin_of_text|>', type_id: 1 } },
              { Sequence: { id: 'B', type_id: 1 } },
            ],
            special_tokens: {
              '<|begin_of_text|>': { id: '<|begin_of_text|>', ids: [next], tokens: ['<|begin_of_text|>'] },
            },
          },
        ],
      },
      decoder: byteLevel(true, true),
      model: {
        type: 'BPE',
        dropout: null,
        unk_token: null,
        continuing_subword_prefix: null,
        end_of_word_suffix: null,
        fuse_unk: false,
        byte_fallback: false,
        ignore_merges: true,
        vocab,
        merges: MERGES,
      },
    };
    const tokenizerConfig = {
      added_tokens_decoder: addedTokensDecoder(tokenizer.added_tokens),
      bos_token: '<|begin_of_text|>',
      chat_template:
        "{{- bos_token }}{% for message in messages %}{{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' + message['content'] | trim + '<|eot_id|>' }}{% endfor %}{% if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}",
      clean_up_tokenization_spaces: true,
      eos_token: '<|eot_id|>',
      model_input_names: ['input_ids', 'attention_mask'],
      model_max_length: 131072,
      tokenizer_class: 'PreTrainedTokenizerFast',
    };
    const generationConfig = {
      bos_token_id: next,
      do_sample: true,
      eos_token_id: config.eos_token_id,
      temperature: 0.6,
      top_p: 0.9,
      transformers_version: '4.45.0.dev0',
    };
    return { config, generationConfig, tokenizer, tokenizerConfig };
  },

  /** Fields of Qwen/Qwen2.5-0.5B-Instruct. */
  qwen2() {
    return qwen('Qwen2', (next) => ({
      hidden_act: 'silu',
      num_attention_heads: 4,
      num_key_value_heads: 2,
      max_window_layers: 2,
      model_type: 'qwen2',
      rms_norm_eps: 1e-6,
      rope_theta: 1000000.0,
      sliding_window: 32768,
      torch_dtype: 'bfloat16',
      transformers_version: '4.43.1',
      use_cache: true,
      use_sliding_window: false,
      vocab_size: next + 13,
    }));
  },

  /** Fields of Qwen/Qwen3-0.6B: heads times their size is not the hidden size. */
  qwen3() {
    return qwen('Qwen3', (next) => ({
      attention_bias: false,
      head_dim: 16,
      hidden_act: 'silu',
      num_attention_heads: 4,
      num_key_value_heads: 2,
      max_window_layers: 2,
      model_type: 'qwen3',
      rms_norm_eps: 1e-6,
      rope_scaling: null,
      rope_theta: 1000000,
      sliding_window: null,
      torch_dtype: 'bfloat16',
      transformers_version: '4.51.0',
      use_cache: true,
      use_sliding_window: false,
      vocab_size: next + 13,
    }));
  },
};

function qwen(name: 'Qwen2' | 'Qwen3', fields: (next: number) => Loose): Texts {
  const { vocab, next } = byteLevelVocab();
  const special = ['<|endoftext|>', '<|im_start|>', '<|im_end|>'];
  const plain =
    name === 'Qwen3' ? ['<tool_call>', '</tool_call>', '<think>', '</think>'] : ['<tool_call>', '</tool_call>'];
  const [end, turn] = [next, next + 2];
  const config = {
    architectures: [`${name}ForCausalLM`],
    attention_dropout: 0.0,
    bos_token_id: end,
    eos_token_id: turn,
    initializer_range: 0.02,
    ...EXTENTS,
    ...fields(next),
  };
  const tokenizer = {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: [...special, ...plain].map((content, i) => addedToken(next + i, content, i < special.length)),
    normalizer: { type: 'NFC' },
    pre_tokenizer: { type: 'Sequence', pretokenizers: [split('\\p{N}'), byteLevel(false, false)] },
    post_processor: byteLevel(false, false, false),
    decoder: byteLevel(false, false, false),
    model: {
      type: 'BPE',
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: '',
      end_of_word_suffix: '',
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: false,
      vocab,
      merges: MERGES.map((merge) => merge.split(' ')),
    },
  };
  const tokenizerConfig = {
    add_bos_token: false,
    add_prefix_space: false,
    added_tokens_decoder: addedTokensDecoder(tokenizer.added_tokens),
    additional_special_tokens: ['<|im_start|>', '<|im_end|>'],
    bos_token: null,
    chat_template:
      "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
    clean_up_tokenization_spaces: false,
    eos_token: '<|im_end|>',
    errors: 'replace',
    model_max_length: 131072,
    pad_token: '<|endoftext|>',
    split_special_tokens: false,
    tokenizer_class: 'Qwen2Tokenizer',
    unk_token: null,
  };
  const generationConfig = {
    bos_token_id: end,
    pad_token_id: end,
    do_sample: true,
    eos_token_id: [turn, end],
    repetition_penalty: 1.1,
    temperature: 0.7,
    top_p: 0.8,
    top_k: 20,
    transformers_version: '4.37.0',
  };
  return { config, generationConfig, tokenizer, tokenizerConfig };
}

function byteLevelVocab(): { readonly vocab: Record<string, number>; readonly next: number } {
  const tokens = [...byteAlphabet(), ...MERGES.map((merge) => merge.replace(' ', ''))];
  return { vocab: Object.fromEntries(tokens.map((token, id) => [token, id])), next: tokens.length };
}

function addedToken(id: number, content: string, special: boolean) {
  return { id, content, single_word: false, lstrip: false, rstrip: false, normalized: false, special };
}

function addedTokensDecoder(added: readonly { readonly id: number; readonly content: string }[]): Loose {
  return Object.fromEntries(added.map(({ id, ...token }) => [String(id), token]));
}

/** The pattern of Llama 3 and Qwen, which differ in the digits that stay together. */
function split(digits: string): Loose {
  const Regex = `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|${digits}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+`;
  return { type: 'Split', pattern: { Regex }, behavior: 'Isolated', invert: false };
}

function byteLevel(add_prefix_space: boolean, use_regex: boolean, trim_offsets = true): Loose {
  return { type: 'ByteLevel', add_prefix_space, trim_offsets, use_regex };
}
