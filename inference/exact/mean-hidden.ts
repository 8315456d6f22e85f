/**
 * The vector of a text: the mean over its positions of the last hidden state, after the last norm.
 *
 * The rows are those of the exact profile; each element is their sum in binary64, in order of position, divided once and rounded to binary32
 * once. So a text has one vector on every computer, however many rows are computed at once.
 *
 * Spec: `inference/spec/embeddings.md`.
 *
 * @module
 */

import { throwIfCancelled } from '../decode.ts';
import type { Sequences } from '../sequences.ts';
import type { ExactDecoder } from './exact-decoder.ts';
import { normalise } from './reference/row-operations.ts';

/**
 * Vectors with a decoder, one text at a time and between others' work.
 *
 * @param gain - of the last norm, `[embedding]`
 */
export function embeddingsOf(decoder: ExactDecoder, gain: Float32Array): Required<Pick<Sequences, 'embed'>> {
  return { embed: (ids, signal) => meanHidden(decoder, gain, ids, signal) };
}

async function meanHidden(
  decoder: ExactDecoder,
  gain: Float32Array,
  ids: readonly number[],
  signal: AbortSignal | undefined,
): Promise<Float32Array> {
  const { layers, embedding, epsilon } = decoder.shape;
  const sums = new Float64Array(embedding);
  const sequence = decoder.openSequence(ids.length);
  try {
    for (let at = 0; at < ids.length; at += decoder.maxRows) {
      // The kernels block this thread: others' rows are computed between two parts.
      await new Promise<void>((resolve) => setImmediate(resolve));
      throwIfCancelled(signal);
      const rows = ids.slice(at, at + decoder.maxRows).map((token) => ({ sequence, token }));
      decoder.forward(rows, [], (layer, hidden) => {
        if (layer !== layers - 1) return;
        for (let row = 0; row < rows.length; row++) {
          const state = normalise(hidden.slice(row * embedding, (row + 1) * embedding), gain, epsilon);
          for (let k = 0; k < embedding; k++) sums[k] = (sums[k] as number) + (state[k] as number);
        }
      });
    }
  } finally {
    decoder.closeSequence(sequence);
  }
  return Float32Array.from(sums, (sum) => sum / ids.length);
}
