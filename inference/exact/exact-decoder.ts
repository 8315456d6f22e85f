/**
 * The port of the exact engines: rows of sequences in, logits out. Every engine gives the same bits.
 *
 * Spec: `inference/spec/exact.md`.
 *
 * @module
 */

import type { ExactShape } from './exact-model.ts';

/** One row of a batch: a token at the next position of its sequence. */
export type Row = { readonly sequence: number; readonly token: number };

/** Quantised keys and values of one layer and sequence, for comparison of engines. */
export type CacheView = {
  /** `[kvHeads, length, headSize]`. */
  readonly keys: Int16Array;
  /** `[kvHeads, length]`. */
  readonly keyScales: Float32Array;
  /** `[kvHeads, length, headSize]`. */
  readonly values: Int16Array;
  /** `[kvHeads, length]`. */
  readonly valueScales: Float32Array;
};

/** Computes rows of sequences with one model; results never depend on what else is in the batch. */
export type ExactDecoder = {
  readonly name: 'reference' | 'wasm' | 'ort';
  readonly shape: ExactShape;
  /** Most rows of one `forward`. */
  readonly maxRows: number;

  /**
   * Starts an empty sequence with room for `capacity` positions (1..context); returns its handle.
   *
   * @throws InferenceError CONTEXT_EXCEEDED; OUT_OF_MEMORY where the engine has no room.
   */
  openSequence(capacity: number): number;

  /** Ends a sequence and gives its room back. @throws InferenceError REQUEST_MALFORMED for an unknown one. */
  closeSequence(sequence: number): void;

  /** Positions in use. @throws InferenceError REQUEST_MALFORMED for an unknown sequence. */
  lengthOf(sequence: number): number;

  /** Forgets positions from `length` on. @throws InferenceError REQUEST_MALFORMED unless `0 <= length <= lengthOf`. */
  truncate(sequence: number, length: number): void;

  /**
   * Copies the first `length` positions of a sequence into an empty one.
   *
   * @throws InferenceError REQUEST_MALFORMED for an unknown sequence, a `to` that is not empty or is `from`, or unless `0 <= length <= lengthOf(from)`;
   *   CONTEXT_EXCEEDED if `to` has less room; before anything is changed.
   */
  copy(from: number, to: number, length: number): void;

  /**
   * Appends rows in order; several rows of one sequence are consecutive positions.
   *
   * @param logitsOf Indices of the rows whose logits are wanted.
   * @param onLayer Gets the residual rows `[rows, embedding]` after each layer (-1: after the embedding), for tests. The array is
   *   valid during the call only.
   * @returns `[logitsOf.length, vocabulary]`, valid until the next call of the decoder.
   * @throws InferenceError CONTEXT_EXCEEDED; REQUEST_MALFORMED (unknown sequence, token out of range, no rows or too many,
   *   `logitsOf` out of range), before anything is changed.
   */
  forward(
    rows: readonly Row[],
    logitsOf: readonly number[],
    onLayer?: (layer: number, hidden: Float32Array) => void,
  ): Float32Array;

  /**
   * Appends rows as {@link forward} does and hands out the wanted logits one row at a time: nothing is kept of them.
   *
   * @param visit - gets `[vocabulary]`, valid during the call only, and the index in `logitsOf`, in that order; `false` ends it (the rows are appended all
   *   the same)
   * @throws as {@link forward}; what `visit` throws goes through, the rows being appended
   */
  forwardEach(
    rows: readonly Row[],
    logitsOf: readonly number[],
    visit: (logits: Float32Array, index: number) => boolean | undefined,
  ): void;

  /** Copies what the cache holds of a layer. @throws InferenceError REQUEST_MALFORMED for an unknown sequence or layer. */
  readCache(sequence: number, layer: number): CacheView;

  /** Frees everything; afterwards every call is an InferenceError ENGINE_CLOSED. */
  close(): Promise<void>;
};
