/**
 * The port between decoding and what computes: sequences of tokens that grow, and the logits after their last token.
 *
 * @module
 */

/** One sequence; starts empty. */
export type Sequence = {
  /**
   * Appends ids and returns the logits after the last of them, `[vocabulary]`, valid until the next call of any sequence.
   *
   * @param ids - at least one; the caller keeps the sum within the capacity
   * @throws InferenceError `CANCELLED` once `signal` has fired; the sequence is then of no use
   */
  feed(ids: readonly number[], signal?: AbortSignal): Promise<Float32Array>;
  /** Gives its memory back. */
  close(): void;
};

/** A loaded model. */
export type Sequences = {
  /** Most positions of one sequence. */
  readonly contextLength: number;
  /**
   * Starts a sequence of at most `capacity` positions, `[1, contextLength]`.
   *
   * @throws InferenceError `OUT_OF_MEMORY`, `ENGINE_CLOSED`
   */
  open(capacity: number): Sequence;
  close(): Promise<void>;
};
