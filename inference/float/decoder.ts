/**
 * Runs the binary32 graph over one sequence: feeds ids, keeps the key-value cache, returns logits.
 *
 * @module
 */

import type { GraphSession, GraphTensor } from '../session.ts';
import type { LlamaConfig } from './llama-config.ts';

/**
 * Longest run of ids given to the graph at once. Longer prompts go in parts of exactly this length, because scores take
 * memory by the square. Part of the profile: another number may round differently.
 */
export const PREFILL_CHUNK = 512;

/** One sequence of tokens that grows; a new one starts empty. */
export type Sequence = {
  /**
   * Appends ids and returns the logits after the last of them, `[vocabulary]`.
   *
   * @param ids - at least one; the caller keeps the sum within the context length
   */
  feed(ids: readonly number[], signal?: AbortSignal): Promise<Float32Array>;
};

/** Starts an empty sequence on a session of the graph of `config`. */
export function startSequence(session: GraphSession, config: LlamaConfig): Sequence {
  const { layers, kvHeads, headSize } = config;
  let cache: Record<string, GraphTensor> = {};
  for (let l = 0; l < layers; l++) {
    cache[`past_key_${l}`] = { type: 'float32', dims: [kvHeads, headSize, 0], data: new Float32Array(0) };
    cache[`past_value_${l}`] = { type: 'float32', dims: [kvHeads, 0, headSize], data: new Float32Array(0) };
  }
  return {
    async feed(ids, signal) {
      let logits = new Float32Array(0);
      for (let at = 0; at < ids.length; at += PREFILL_CHUNK) {
        signal?.throwIfAborted();
        const part = BigInt64Array.from(ids.slice(at, at + PREFILL_CHUNK), BigInt);
        const outputs = await session.run({ ids: { type: 'int64', dims: [part.length], data: part }, ...cache });
        const next: Record<string, GraphTensor> = {};
        for (let l = 0; l < layers; l++) {
          next[`past_key_${l}`] = outputs[`key_${l}`] as GraphTensor;
          next[`past_value_${l}`] = outputs[`value_${l}`] as GraphTensor;
        }
        cache = next;
        logits = outputs['logits']?.data as Float32Array<ArrayBuffer>;
      }
      return logits;
    },
  };
}
