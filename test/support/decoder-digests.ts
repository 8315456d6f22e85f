/**
 * What an exact engine computes, as digests: small enough to compare engines that run in different processes, machines or
 * browsers. Needs nothing of Node's own.
 *
 * @module
 */

import { toHex } from '../../attest/core/bytes.ts';
import { sha256 } from '../../attest/core/hash.ts';
import type { ExactDecoder } from '../../inference/exact/exact-decoder.ts';

/** SHA-256 over the little-endian bytes of results. */
export type DecoderDigests = {
  /** Of every position, computed in pieces with a look between the layers. */
  readonly logits: string;
  /** After the embedding and after each layer, of every position. */
  readonly hidden: string;
  /** Keys, values and their scales of every layer. */
  readonly caches: string;
  /** Logits of every position again, computed one row at a time with nobody looking: equal to `logits` in a right engine. */
  readonly single: string;
};

/** Runs tokens through two new sequences and closes them. */
export function decoderDigests(decoder: ExactDecoder, tokens: readonly number[], chunk: number): DecoderDigests {
  const { layers, context } = decoder.shape;
  const logits: Uint8Array[] = [];
  const hidden: Uint8Array[] = [];
  const sequence = decoder.openSequence(context);
  for (let at = 0; at < tokens.length; at += chunk) {
    const rows = tokens.slice(at, at + chunk).map((token) => ({ sequence, token }));
    const answer = decoder.forward(
      rows,
      rows.map((_, i) => i),
      (_, values) => hidden.push(bytesOf(values)),
    );
    logits.push(bytesOf(answer));
  }
  const caches = Array.from({ length: layers }, (_, layer) => {
    const { keys, keyScales, values, valueScales } = decoder.readCache(sequence, layer);
    return [keys, keyScales, values, valueScales].map(bytesOf);
  });
  decoder.closeSequence(sequence);

  const alone = decoder.openSequence(tokens.length);
  const single = tokens.map((token) => bytesOf(decoder.forward([{ sequence: alone, token }], [0])));
  decoder.closeSequence(alone);
  return { logits: digest(logits), hidden: digest(hidden), caches: digest(caches.flat()), single: digest(single) };
}

function digest(parts: readonly Uint8Array[]): string {
  return toHex(sha256(...parts));
}

/** A copy: engines may use their arrays again. */
function bytesOf({ buffer, byteOffset, byteLength }: Float32Array | Int16Array): Uint8Array {
  return new Uint8Array(buffer, byteOffset, byteLength).slice();
}
