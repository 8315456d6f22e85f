/**
 * The port between decoding and what computes: sequences of tokens that grow, and the logits after their last token.
 *
 * @module
 */

/** One sequence; starts empty unless the engine knows a beginning of its prompt. */
export type Sequence = {
  /** Positions in use. */
  readonly length: number;
  /**
   * Appends ids and returns the logits after the last of them, `[vocabulary]`, valid until the next call of any sequence.
   *
   * @param ids - at least one; the caller keeps the sum within the capacity
   * @throws InferenceError `CANCELLED` once `signal` has fired; the sequence is then of no use
   */
  feed(ids: readonly number[], signal?: AbortSignal): Promise<Float32Array>;
  /** Present where the bits of a row never depend on how many rows are computed together. */
  readonly rows?: RowAccess;
  /** Gives its memory back. */
  close(): void;
};

/** Several rows of a sequence at once, and back. */
export type RowAccess = {
  /**
   * Appends ids and gives `visit` the logits after each of the last `wanted` of them, in order.
   *
   * @param ids - at least one; the caller keeps the sum within the capacity
   * @param wanted - `[0, ids.length]`
   * @param visit - gets `[vocabulary]`, valid during the call only, and the index in `ids`; `false` ends the call: what is then in the sequence is
   *   `length`, and the caller truncates it
   * @throws InferenceError `CANCELLED` once `signal` has fired; the sequence is then of no use
   */
  feedRows(
    ids: readonly number[],
    wanted: number,
    visit: (logits: Float32Array, index: number) => boolean | undefined,
    signal?: AbortSignal,
  ): Promise<void>;
  /** Forgets positions from `length` on, `[0, length in use]`. */
  truncate(length: number): void;
  /** Ids are `[0, vocabulary)`. */
  readonly vocabulary: number;
  /**
   * Time of a batch of so many rows, as far as known, where that of one row is 1, among others that are fed at the same time; infinite for more
   * than there is room for beside them. It decides how many rows are worth computing, nothing else.
   */
  costOf(rows: number): number;
};

/** A loaded model. */
export type Sequences = {
  /** Most positions of one sequence. */
  readonly contextLength: number;
  /**
   * Starts a sequence of at most `capacity` positions, `[1, contextLength]`.
   *
   * @param prompt - ids that will be fed first; an engine that computed a beginning of them before starts with `length` of them, fewer than all
   * @throws InferenceError `OUT_OF_MEMORY`, `ENGINE_CLOSED`
   */
  open(capacity: number, prompt?: readonly number[]): Sequence;
  /** Present where several sequences may be fed at the same time; logits are then valid until the next call of their own sequence. */
  readonly isConcurrent?: true;
  /**
   * Present where the engine gives the mean over all positions of the last hidden state, after the last norm, `[embedding]`.
   *
   * @param ids - `[1, contextLength]` of them
   * @throws InferenceError `OUT_OF_MEMORY`, `ENGINE_CLOSED`, `CANCELLED`
   */
  embed?(ids: readonly number[], signal?: AbortSignal): Promise<Float32Array>;
  close(): Promise<void>;
};
