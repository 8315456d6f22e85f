/**
 * The tensors of a decoder under their names in GGUF files, and the check that a file has exactly those.
 *
 * Source: `docs/gguf.md` of ggml; `tensor_mapping.py` of the Python package gguf.
 *
 * @module
 */

import type { DecoderConfig } from '../decoder-config.ts';
import { ModelError } from '../errors.ts';
import {
  LAYER_TENSORS,
  type LayerTensor,
  MODEL_TENSORS,
  type ModelTensor,
  type TensorPlace,
  tensorShape,
} from '../model-source.ts';
import type { TensorInfo } from './types.ts';

/** Divisors of the rotary frequencies, `[headSize / 2]`: part of the configuration, not a weight. */
export const ROPE_DIVISORS = 'rope_freqs.weight';

const NAMES: Readonly<Record<ModelTensor | LayerTensor, string>> = {
  embedding: 'token_embd.weight',
  outputNorm: 'output_norm.weight',
  output: 'output.weight',
  attentionNorm: 'attn_norm.weight',
  query: 'attn_q.weight',
  queryBias: 'attn_q.bias',
  queryNorm: 'attn_q_norm.weight',
  key: 'attn_k.weight',
  keyBias: 'attn_k.bias',
  keyNorm: 'attn_k_norm.weight',
  value: 'attn_v.weight',
  valueBias: 'attn_v.bias',
  attentionOutput: 'attn_output.weight',
  feedForwardNorm: 'ffn_norm.weight',
  gate: 'ffn_gate.weight',
  up: 'ffn_up.weight',
  down: 'ffn_down.weight',
};

/** Name of a tensor in the file. */
export function ggufName({ tensor, layer }: TensorPlace): string {
  return layer === undefined ? NAMES[tensor] : `blk.${layer}.${NAMES[tensor]}`;
}

/**
 * Checks that the file has every tensor of the decoder, in its shape, and no other.
 *
 * @throws {@link ModelError} `MISSING_TENSOR`, `TENSOR_SHAPE_MISMATCH`, `UNEXPECTED_TENSOR`, all with `at.tensor`
 */
export function checkTensors(tensors: ReadonlyMap<string, TensorInfo>, config: DecoderConfig): void {
  const known = new Set<string>();
  const check = (name: string, shape: readonly number[]) => {
    known.add(name);
    checkShape(tensors, name, shape);
  };
  for (const tensor of MODEL_TENSORS) {
    const shape = fileShape(config, tensor);
    if (shape !== undefined) check(ggufName({ tensor }), shape);
  }
  for (let layer = 0; layer < config.layers; layer++) {
    for (const tensor of LAYER_TENSORS) {
      const shape = fileShape(config, tensor);
      if (shape !== undefined) check(ggufName({ tensor, layer }), shape);
    }
  }
  if (config.rotaryScaling.kind === 'divisors') check(ROPE_DIVISORS, [config.headSize / 2]);
  for (const name of tensors.keys()) {
    if (known.has(name)) continue;
    throw new ModelError('UNEXPECTED_TENSOR', `tensor ${name} is read by no operation of this decoder`, {
      at: { tensor: name },
    });
  }
}

/**
 * A tensor that must be there in this shape, fastest extent first.
 *
 * @throws {@link ModelError} `MISSING_TENSOR`, `TENSOR_SHAPE_MISMATCH`
 */
export function checkShape(
  tensors: ReadonlyMap<string, TensorInfo>,
  name: string,
  shape: readonly number[],
): TensorInfo {
  const tensor = tensors.get(name);
  if (tensor === undefined)
    throw new ModelError('MISSING_TENSOR', `tensor ${name} is missing`, { at: { tensor: name } });
  if (tensor.shape.join() !== shape.join()) {
    throw new ModelError('TENSOR_SHAPE_MISMATCH', `tensor ${name}: expected shape ${shape}, got ${tensor.shape}`, {
      at: { tensor: name },
    });
  }
  return tensor;
}

/** The shape in the file: fastest extent first, vectors with one extent. */
function fileShape(config: DecoderConfig, tensor: ModelTensor | LayerTensor): readonly number[] | undefined {
  const shape = tensorShape(config, tensor);
  if (shape === undefined) return undefined;
  return tensor.endsWith('Norm') || tensor.endsWith('Bias') ? [shape[1]] : [shape[1], shape[0]];
}
