/**
 * A model of noise in memory, of any shape of the three families. Every row follows from the seed, its tensor and its index
 * alone, so nothing is kept and large shapes cost nothing until they are read.
 *
 * @module
 */

import { createHash } from 'node:crypto';
import { type Hex, toHex } from '../../attest/core/bytes.ts';
import type { DecoderConfig, DecoderFamily, RotaryLayout, RotaryScaling } from '../../inference/decoder-config.ts';
import { ModelError } from '../../inference/errors.ts';
import {
  LAYER_TENSORS,
  MODEL_TENSORS,
  type ModelSource,
  type TensorPlace,
  tensorShape,
} from '../../inference/model-source.ts';
import type { TokenizerDescription } from '../../inference/tokenizer-json.ts';
import { byteAlphabet } from './tiny-model.ts';

/** What is wanted; everything has a default, together a model of about 20,000 weights. */
export type RandomOptions = {
  readonly family?: DecoderFamily;
  readonly seed?: number;
  readonly layers?: number;
  readonly contextLength?: number;
  readonly embedding?: number;
  readonly feedForward?: number;
  readonly heads?: number;
  readonly kvHeads?: number;
  /** Even. */
  readonly headSize?: number;
  /** At least 4. */
  readonly vocabulary?: number;
  readonly tied?: boolean;
  /** Default: only `qwen2`. */
  readonly biases?: boolean;
  /** Default: only `qwen3`. */
  readonly headNorm?: boolean;
  /** Default: neighbours for `llama`, halves for the others. */
  readonly rotaryLayout?: RotaryLayout;
  readonly rotaryBase?: number;
  readonly rotaryScaling?: RotaryScaling;
  readonly normEpsilon?: number;
  readonly chatTemplate?: string | null;
  /** Changes a row after it was made: adversarial weights, single changes. A vector is row 0. */
  readonly alter?: (place: TensorPlace, row: number, values: Float32Array) => void;
};

/** Makes the model; equal options give equal numbers. */
export function randomSource(options: RandomOptions = {}): ModelSource {
  const { seed = 1, alter = () => {} } = options;
  const config = randomConfig(options);
  const tokenizer = randomTokenizer(config.vocabulary, options.chatTemplate ?? null);
  return {
    config,
    tokenizer,
    digest: async () => digestOf(config, seed, alter),
    readRows(place, first, count, out) {
      const [rows, columns] = extent(config, place);
      if (first < 0 || count < 0 || first + count > rows || out.length < count * columns) {
        throw new RangeError(`rows ${first} to ${first + count} of ${place.tensor}`);
      }
      for (let i = 0; i < count; i++) {
        const values = out.subarray(i * columns, (i + 1) * columns);
        fillRow(place, first + i, seed, values);
        alter(place, first + i, values);
      }
    },
    close() {},
  };
}

/** All tensors that a model of this shape has, with their extents `[rows, columns]`. */
export function tensorPlaces(
  config: DecoderConfig,
): { readonly place: TensorPlace; readonly shape: readonly [number, number] }[] {
  const places: TensorPlace[] = MODEL_TENSORS.map((tensor) => ({ tensor }));
  for (let layer = 0; layer < config.layers; layer++)
    places.push(...LAYER_TENSORS.map((tensor) => ({ tensor, layer })));
  return places.flatMap((place) => {
    const shape = tensorShape(config, place.tensor);
    return shape === undefined ? [] : [{ place, shape }];
  });
}

function randomConfig(options: RandomOptions): DecoderConfig {
  const { family = 'llama', embedding = 32, heads = 4 } = options;
  return {
    family,
    layers: options.layers ?? 2,
    contextLength: options.contextLength ?? 64,
    embedding,
    feedForward: options.feedForward ?? 80,
    heads,
    kvHeads: options.kvHeads ?? 2,
    headSize: options.headSize ?? embedding / heads,
    rotaryLayout: options.rotaryLayout ?? (family === 'llama' ? 'interleaved' : 'halves'),
    rotaryBase: options.rotaryBase ?? 10_000,
    rotaryScaling: options.rotaryScaling ?? { kind: 'none' },
    normEpsilon: options.normEpsilon ?? 1e-5,
    vocabulary: options.vocabulary ?? 100,
    tiedOutput: options.tied ?? false,
    attentionBias: options.biases ?? family === 'qwen2',
    headNorm: options.headNorm ?? family === 'qwen3',
  };
}

function extent(config: DecoderConfig, place: TensorPlace): readonly [number, number] {
  const shape = tensorShape(config, place.tensor);
  const { layer = 0 } = place;
  if (shape === undefined || layer < 0 || layer >= config.layers) {
    throw new ModelError('MISSING_TENSOR', `the model has no ${place.tensor}`, { at: { tensor: place.tensor } });
  }
  return shape;
}

/** Gains lie in [1/2, 3/2); all else is even around 0, products of matrices with rows of size 1 are about 1. */
function fillRow(place: TensorPlace, row: number, seed: number, values: Float32Array): void {
  const { tensor, layer = -1 } = place;
  const kind = [...MODEL_TENSORS, ...LAYER_TENSORS].indexOf(tensor);
  const next = uniform(mix(mix(mix(seed, kind), layer + 1), row));
  const gain = tensor.endsWith('Norm');
  const reach = tensor.endsWith('Bias') ? 0.2 : tensor === 'embedding' ? 1 : Math.sqrt(12 / values.length);
  for (let i = 0; i < values.length; i++) values[i] = gain ? 0.5 + next() : reach * (next() - 0.5);
}

/** Numbers in [0, 1): mulberry32 (Tommy Ettinger, public domain). */
function uniform(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let word = Math.imul(state ^ (state >>> 15), state | 1);
    word ^= word + Math.imul(word ^ (word >>> 7), word | 61);
    return ((word ^ (word >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** MurmurHash3's finaliser (Austin Appleby, public domain) over a running state. */
function mix(state: number, value: number): number {
  let word = Math.imul(state ^ value ^ 0x9e3779b9, 0x85ebca6b);
  word = Math.imul(word ^ (word >>> 13), 0xc2b2ae35);
  return (word ^ (word >>> 16)) >>> 0;
}

/** Of the config, the seed, and what `alter` makes of each row where there is one. */
function digestOf(config: DecoderConfig, seed: number, alter: NonNullable<RandomOptions['alter']>): Hex {
  const hash = createHash('sha256').update(JSON.stringify([config, seed]));
  for (const { place, shape } of tensorPlaces(config)) {
    const values = new Float32Array(shape[1]);
    for (let row = 0; row < shape[0]; row++) {
      fillRow(place, row, seed, values);
      alter(place, row, values);
      hash.update(new Uint8Array(values.buffer));
    }
  }
  return toHex(hash.digest());
}

/** Byte-level tokens after three control tokens; longer vocabularies are filled up with words that no text gives. */
function randomTokenizer(vocabulary: number, chatTemplate: string | null): TokenizerDescription {
  const named = ['<|endoftext|>', '<|im_start|>', '<|im_end|>', ...byteAlphabet()];
  const tokens = Array.from({ length: vocabulary }, (_, id) => named[id] ?? `<word ${id}>`);
  const added = tokens.slice(0, 3).map(
    (content, id) =>
      ({
        id,
        content,
        special: true,
        single_word: false,
        lstrip: false,
        rstrip: false,
        normalized: false,
      }) as const,
  );
  const bytes = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true };
  return {
    json: {
      version: '1.0',
      added_tokens: added,
      normalizer: null,
      pre_tokenizer: bytes,
      post_processor: null,
      decoder: bytes,
      model: {
        type: 'BPE',
        vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
        merges: [],
        byte_fallback: false,
        unk_token: null,
      },
    },
    tokens,
    controlIds: [0, 1, 2],
    bosId: 1,
    eosId: 2,
    endIds: [2],
    unknownId: null,
    addBos: false,
    chatTemplate,
  };
}
