/**
 * What every exact engine checks before it changes anything: the rows of a call, and the room of a sequence.
 *
 * @module
 */

import { InferenceError } from '../errors.ts';
import type { Row } from './exact-decoder.ts';

/** What the checks need to know of an engine. */
export type RowLimits = {
  readonly maxRows: number;
  readonly vocabulary: number;
  /** Positions in use and room of an open sequence; undefined for an unknown one. */
  readonly sequence: (handle: number) => { readonly length: number; readonly capacity: number } | undefined;
};

/**
 * Positions of the rows in their sequences, in order.
 *
 * @param rows - untrusted
 * @param logitsOf - untrusted
 * @throws {@link InferenceError} `REQUEST_MALFORMED` if there are no rows or more than `maxRows`, for an unknown sequence, a
 *   token outside the vocabulary, or a `logitsOf` that is no row or comes twice
 * @throws {@link InferenceError} `CONTEXT_EXCEEDED` if a sequence has no room for its rows
 */
export function positionsOf(rows: readonly Row[], logitsOf: readonly number[], limits: RowLimits): Int32Array {
  if (rows.length < 1 || rows.length > limits.maxRows) {
    throw malformed(`expected 1 to ${limits.maxRows} rows, got ${rows.length}`);
  }
  const positions = new Int32Array(rows.length);
  const ends = new Map<number, number>();
  rows.forEach(({ sequence, token }, i) => {
    const known = limits.sequence(sequence);
    if (known === undefined) throw malformed(`row ${i}: unknown sequence ${sequence}`);
    if (!isIndex(token, limits.vocabulary)) {
      throw malformed(`row ${i}: token ${token} is outside a vocabulary of ${limits.vocabulary}`);
    }
    const position = ends.get(sequence) ?? known.length;
    if (position >= known.capacity) {
      throw new InferenceError('CONTEXT_EXCEEDED', `sequence ${sequence} has room for ${known.capacity} positions`);
    }
    positions[i] = position;
    ends.set(sequence, position + 1);
  });
  const wanted = new Set(logitsOf);
  if (wanted.size !== logitsOf.length) throw malformed('logits of a row are wanted twice');
  for (const row of wanted) {
    if (!isIndex(row, rows.length)) throw malformed(`logits of row ${row} are wanted, there are ${rows.length} rows`);
  }
  return positions;
}

/**
 * Checks the room asked for a new sequence.
 *
 * @throws {@link InferenceError} `REQUEST_MALFORMED` unless it is a whole number above 0, `CONTEXT_EXCEEDED` above `context`
 */
export function checkCapacity(capacity: number, context: number): void {
  if (!Number.isSafeInteger(capacity) || capacity < 1) {
    throw malformed(`expected room for at least one position, got ${capacity}`);
  }
  if (capacity > context) {
    throw new InferenceError('CONTEXT_EXCEEDED', `${capacity} positions, the model has ${context}`);
  }
}

/**
 * Checks a copy of the first `length` positions of a sequence into another.
 *
 * @throws {@link InferenceError} `REQUEST_MALFORMED` if `to` is not empty or is `from`, or unless `0 <= length <= from.length`;
 *   `CONTEXT_EXCEEDED` if `to` has less room
 */
export function checkCopy(
  from: { readonly length: number },
  to: { readonly length: number; readonly capacity: number },
  length: number,
): void {
  if (from === to) throw malformed('a sequence cannot be copied into itself');
  if (to.length !== 0) throw malformed(`cannot copy into a sequence of ${to.length} positions`);
  if (!isIndex(length, from.length + 1)) {
    throw malformed(`cannot copy ${length} positions of a sequence of ${from.length}`);
  }
  if (length > to.capacity) {
    throw new InferenceError('CONTEXT_EXCEEDED', `${length} positions, the sequence has room for ${to.capacity}`);
  }
}

/** Whether `0 <= value < limit`, a whole number. */
export function isIndex(value: number, limit: number): boolean {
  return Number.isSafeInteger(value) && value >= 0 && value < limit;
}

function malformed(message: string): InferenceError {
  return new InferenceError('REQUEST_MALFORMED', message);
}
