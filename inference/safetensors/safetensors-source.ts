/**
 * A model folder in the layout of the Hugging Face hub as a {@link ModelSource}: `config.json`, `tokenizer.json`,
 * `tokenizer_config.json`, optionally `generation_config.json` and `chat_template.jinja`, and the weights in safetensors.
 *
 * @module
 */

import { createHash } from 'node:crypto';
import { setImmediate } from 'node:timers/promises';
import { type Hex, toHex } from '../../attest/core/bytes.ts';
import { sha256 } from '../../attest/core/hash.ts';
import { canonicalBytes, type JsonObject } from '../../attest/encoding/canonical-json.ts';
import type { DecoderConfig } from '../decoder-config.ts';
import { ModelError } from '../errors.ts';
import { type ByteSource, bytesSource } from '../gguf/source.ts';
import {
  LAYER_TENSORS,
  type LayerTensor,
  MODEL_TENSORS,
  type ModelSource,
  type ModelTensor,
  type TensorPlace,
  tensorShape,
} from '../model-source.ts';
import { isWeightType, toBinary32, type WeightType } from './dtype.ts';
import { readHfConfig } from './hf-config.ts';
import { MAX_TEMPLATE_LENGTH, readHfTokenizer } from './hf-tokenizer.ts';
import { parseJsonObject } from './json-file.ts';
import { INDEX_FILE, openInFolder, openShards, type PlacedTensor } from './shards.ts';

/** Bytes read at a time. */
const CHUNK_BYTES = 1 << 22;

/** Greatest length of a text file, and signs that start a JSON value in it. */
const LIMITS = {
  config: { maxBytes: 1 << 20, maxValues: 1 << 14, maxDepth: 16 },
  // A token's settings repeated for each of some thousand added tokens.
  tokenizerConfig: { maxBytes: 1 << 24, maxValues: 1 << 18, maxDepth: 16 },
  tokenizer: { maxBytes: 1 << 26, maxValues: 1 << 22, maxDepth: 32 },
  index: { maxBytes: 1 << 24 },
  template: { maxBytes: 1 << 22 },
} as const;

const MODEL_NAMES: Readonly<Record<ModelTensor, string>> = {
  embedding: 'model.embed_tokens.weight',
  outputNorm: 'model.norm.weight',
  output: 'lm_head.weight',
};

/** Names behind `model.layers.N.`. */
const LAYER_NAMES: Readonly<Record<LayerTensor, string>> = {
  attentionNorm: 'input_layernorm.weight',
  query: 'self_attn.q_proj.weight',
  queryBias: 'self_attn.q_proj.bias',
  queryNorm: 'self_attn.q_norm.weight',
  key: 'self_attn.k_proj.weight',
  keyBias: 'self_attn.k_proj.bias',
  keyNorm: 'self_attn.k_norm.weight',
  value: 'self_attn.v_proj.weight',
  valueBias: 'self_attn.v_proj.bias',
  attentionOutput: 'self_attn.o_proj.weight',
  feedForwardNorm: 'post_attention_layernorm.weight',
  gate: 'mlp.gate_proj.weight',
  up: 'mlp.up_proj.weight',
  down: 'mlp.down_proj.weight',
};

/** Frequencies that old files store and that follow from the configuration. */
const INVERSE_FREQUENCIES = /^model\.(layers\.\d+\.self_attn\.)?rotary_emb\.inv_freq$/;

type Weight = PlacedTensor & { readonly dtype: WeightType; readonly columns: number; readonly rows: number };
type OpenFile = { readonly name: string; readonly source: ByteSource };

/**
 * Opens a folder; the caller closes the source. Only the tensors that the decoder reads may be in the files, beside
 * stored rotary frequencies and an output matrix that repeats a tied embedding byte for byte.
 *
 * @param folder - its files are untrusted
 * @throws {@link ModelError} `FILE_UNREADABLE` if a file is absent, and what the readers of its files throw
 */
export function openSafetensorsSource(folder: string): ModelSource {
  const texts: OpenFile[] = [];
  const read = (name: string, maxBytes: number): Uint8Array | undefined => {
    const bytes = readWhole(folder, name, maxBytes);
    if (bytes !== undefined) texts.push({ name, source: bytesSource(bytes) });
    return bytes;
  };
  const optionalJson = (name: string, limits: parseJsonObject.Options): JsonObject | null => {
    const bytes = read(name, limits.maxBytes);
    return bytes === undefined ? null : parseJsonObject(bytes, name, limits);
  };
  const json = (name: string, limits: parseJsonObject.Options): JsonObject => {
    const object = optionalJson(name, limits);
    if (object === null) throw new ModelError('FILE_UNREADABLE', `the folder has no ${name}`, { at: { file: name } });
    return object;
  };

  const configJson = json('config.json', LIMITS.config);
  const config = readHfConfig(configJson);
  const tokenizer = readHfTokenizer(
    {
      tokenizer: json('tokenizer.json', LIMITS.tokenizer),
      tokenizerConfig: json('tokenizer_config.json', LIMITS.tokenizerConfig),
      config: configJson,
      generationConfig: optionalJson('generation_config.json', LIMITS.config),
      chatTemplate: decodeTemplate(read('chat_template.jinja', LIMITS.template.maxBytes)),
    },
    config.vocabulary,
  );
  const shards = openShards(folder, read(INDEX_FILE, LIMITS.index.maxBytes));
  try {
    const weights = placeWeights(config, shards.tensors);
    return {
      config,
      tokenizer,
      digest: (onProgress) => digestFiles([...texts, ...shards.files], onProgress),
      readRows: (place, first, count, out) => readRows(findWeight(config, weights, place), first, count, out),
      close: shards.close,
    };
  } catch (error) {
    shards.close();
    throw error;
  }
}

function readWhole(folder: string, name: string, maxBytes: number): Uint8Array | undefined {
  const source = openInFolder(folder, name);
  if (source === undefined) return undefined;
  try {
    if (source.size > maxBytes) {
      throw new ModelError('TOO_LARGE', `${name} has ${source.size} bytes, at most ${maxBytes}`, {
        at: { file: name },
      });
    }
    return source.read(0, source.size);
  } finally {
    source.close();
  }
}

function decodeTemplate(bytes: Uint8Array | undefined): string | null {
  if (bytes === undefined) return null;
  const file = 'chat_template.jinja';
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (cause) {
    throw new ModelError('MALFORMED_TEMPLATE', `${file} is not UTF-8`, { at: { file }, cause });
  }
  if (text.length > MAX_TEMPLATE_LENGTH) {
    throw new ModelError('MALFORMED_TEMPLATE', `${file} has more than ${MAX_TEMPLATE_LENGTH} letters`, {
      at: { file },
    });
  }
  return text;
}

function tensorName(place: TensorPlace): string {
  return place.layer === undefined
    ? MODEL_NAMES[place.tensor]
    : `model.layers.${place.layer}.${LAYER_NAMES[place.tensor]}`;
}

/** Finds every tensor that the decoder reads, and refuses every other. */
function placeWeights(config: DecoderConfig, tensors: ReadonlyMap<string, PlacedTensor>): ReadonlyMap<string, Weight> {
  const places: TensorPlace[] = MODEL_TENSORS.map((tensor) => ({ tensor }));
  for (let layer = 0; layer < config.layers; layer++) {
    for (const tensor of LAYER_TENSORS) places.push({ tensor, layer });
  }
  const weights = new Map<string, Weight>();
  for (const place of places) {
    const shape = tensorShape(config, place.tensor);
    if (shape === undefined) continue;
    const name = tensorName(place);
    const [rows, columns] = shape;
    const entry = tensors.get(name) ?? fail('MISSING_TENSOR', name, 'is missing');
    // A vector is written with one extent.
    const expected = isVector(place.tensor) ? [columns] : [rows, columns];
    if (entry.shape.join() !== expected.join()) {
      fail('TENSOR_SHAPE_MISMATCH', name, `has shape [${entry.shape.join()}], expected [${expected.join()}]`);
    }
    const { dtype } = entry;
    if (!isWeightType(dtype)) fail('UNSUPPORTED_TENSOR_TYPE', name, `has type ${dtype}, expected F32, F16 or BF16`);
    else weights.set(name, { ...entry, dtype, rows, columns });
  }
  for (const [name, entry] of tensors) {
    if (weights.has(name) || INVERSE_FREQUENCIES.test(name)) continue;
    const embedding = weights.get(MODEL_NAMES.embedding);
    const repeats = name === MODEL_NAMES.output && embedding !== undefined && equalTensors(entry, embedding);
    if (!repeats) fail('UNEXPECTED_TENSOR', name, 'is read by no operation of this decoder');
  }
  return weights;
}

function isVector(tensor: ModelTensor | LayerTensor): boolean {
  return /Norm$|Bias$/.test(tensor);
}

function equalTensors(a: PlacedTensor, b: PlacedTensor): boolean {
  if (a.dtype !== b.dtype || a.shape.join() !== b.shape.join()) return false;
  for (let at = 0; at < a.sizeBytes; at += CHUNK_BYTES) {
    const length = Math.min(CHUNK_BYTES, a.sizeBytes - at);
    if (Buffer.compare(a.source.read(a.offset + at, length), b.source.read(b.offset + at, length)) !== 0) return false;
  }
  return true;
}

function findWeight(config: DecoderConfig, weights: ReadonlyMap<string, Weight>, place: TensorPlace): Weight {
  const name = tensorName(place);
  const weight = weights.get(name);
  if (weight === undefined) {
    const layers = `${config.layers} layers`;
    throw new ModelError('MISSING_TENSOR', `this ${config.family} decoder of ${layers} has no tensor ${name}`, {
      at: { tensor: name },
    });
  }
  return weight;
}

function readRows(weight: Weight, first: number, count: number, out: Float32Array): void {
  const { rows, columns, dtype } = weight;
  const inside = Number.isInteger(first) && Number.isInteger(count) && first >= 0 && count >= 0;
  if (!inside || first + count > rows || out.length < count * columns) {
    throw new RangeError(`rows ${first} to ${first + count} of ${rows} do not fit ${out.length} values`);
  }
  const size = dtype === 'F32' ? 4 : 2;
  const step = CHUNK_BYTES / size;
  for (let at = 0; at < count * columns; at += step) {
    const values = out.subarray(at, Math.min(at + step, count * columns));
    const bytes = weight.source.read(weight.offset + (first * columns + at) * size, values.length * size);
    toBinary32(dtype, bytes, values);
  }
}

/** SHA-256 of the canonical JSON of all files by name: name, length in bytes, SHA-256. */
async function digestFiles(files: readonly OpenFile[], onProgress: (message: string) => void = () => {}): Promise<Hex> {
  const listed: { name: string; sizeBytes: number; sha256: Hex }[] = [];
  for (const { name, source } of [...files].sort((a, b) => (a.name < b.name ? -1 : 1))) {
    onProgress(`hashing ${name}`);
    const hash = createHash('sha256');
    for (let at = 0; at < source.size; at += CHUNK_BYTES) {
      hash.update(source.read(at, Math.min(CHUNK_BYTES, source.size - at)));
      await setImmediate();
    }
    listed.push({ name, sizeBytes: source.size, sha256: toHex(hash.digest()) });
  }
  return toHex(sha256(canonicalBytes({ files: listed })));
}

function fail(code: ModelError['code'], tensor: string, message: string): never {
  const name = tensor.slice(0, 200);
  throw new ModelError(code, `tensor ${name} ${message}`, { at: { tensor: name } });
}
