/**
 * Where the numbers of a model come from: a port over GGUF files and safetensors folders.
 *
 * @module
 */

import type { Hex } from '../attest/core/bytes.ts';
import type { DecoderConfig } from './decoder-config.ts';
import type { TokenizerDescription } from './tokenizer-json.ts';

/** Tensors of the whole model; `output` is there unless it is the embedding. */
export const MODEL_TENSORS = ['embedding', 'outputNorm', 'output'] as const;

/** Tensors of each layer; biases and head norms only where the configuration has them. */
export const LAYER_TENSORS = [
  'attentionNorm',
  'query',
  'queryBias',
  'queryNorm',
  'key',
  'keyBias',
  'keyNorm',
  'value',
  'valueBias',
  'attentionOutput',
  'feedForwardNorm',
  'gate',
  'up',
  'down',
] as const;

export type ModelTensor = (typeof MODEL_TENSORS)[number];
export type LayerTensor = (typeof LAYER_TENSORS)[number];

/** One tensor of a model. */
export type TensorPlace =
  | { readonly tensor: ModelTensor; readonly layer?: undefined }
  | { readonly tensor: LayerTensor; readonly layer: number };

/** An open model. Rows and columns are those of the file: the rotary layout is not changed here. */
export type ModelSource = {
  readonly config: DecoderConfig;
  readonly tokenizer: TokenizerDescription;
  /**
   * Digest of all files that were read, which names the model's folder in the cache: SHA-256 of the one file, or of the
   * names, lengths and digests of several.
   */
  digest(onProgress?: (message: string) => void): Promise<Hex>;
  /**
   * Copies rows `[first, first + count)` in binary32 to the start of `out`, `[count, columns]`; a vector is one row.
   *
   * @throws {@link ModelError} `MISSING_TENSOR` if the model has no such tensor, `FILE_UNREADABLE`, `TRUNCATED`
   */
  readRows(place: TensorPlace, first: number, count: number, out: Float32Array): void;
  close(): void;
};

/** Rows and columns of a tensor, `[outputs, inputs]`; a vector is `[1, extent]`. Undefined where the model has none. */
export function tensorShape(
  config: DecoderConfig,
  tensor: ModelTensor | LayerTensor,
): readonly [number, number] | undefined {
  const { embedding, feedForward, vocabulary, headSize } = config;
  const query = config.heads * headSize;
  const keyValue = config.kvHeads * headSize;
  switch (tensor) {
    case 'embedding':
      return [vocabulary, embedding];
    case 'output':
      return config.tiedOutput ? undefined : [vocabulary, embedding];
    case 'outputNorm':
    case 'attentionNorm':
    case 'feedForwardNorm':
      return [1, embedding];
    case 'query':
      return [query, embedding];
    case 'key':
    case 'value':
      return [keyValue, embedding];
    case 'queryBias':
      return config.attentionBias ? [1, query] : undefined;
    case 'keyBias':
    case 'valueBias':
      return config.attentionBias ? [1, keyValue] : undefined;
    case 'queryNorm':
    case 'keyNorm':
      return config.headNorm ? [1, headSize] : undefined;
    case 'attentionOutput':
      return [embedding, query];
    case 'gate':
    case 'up':
      return [feedForward, embedding];
    case 'down':
      return [embedding, feedForward];
  }
}
