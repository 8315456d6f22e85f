/**
 * Values that cross the wall of the sandbox: JSON whose numbers are safe integers, because nothing else is recorded alike
 * everywhere. A fraction travels as decimal text.
 *
 * @module
 */

import { RuntimeError } from '../../attest/core/error.ts';
import { hasLoneSurrogate, isJsonObject, type Json, parseJsonText } from '../../attest/encoding/canonical-json.ts';

/** Nesting of a crossing value: below a record body's 32, so that a record can hold it. */
export const MAX_VALUE_DEPTH = 24;
/** Nesting of the completion value of a script, which no record holds: less than the guest's stack bears. */
export const MAX_COMPLETION_DEPTH = 200;

export type ValueErrorCode = 'NOT_RECORDABLE';

/** A value that cannot cross; the message names the path (`$.rows[2].amount`). */
export class ValueError extends RuntimeError<ValueErrorCode> {
  override readonly name = 'ValueError';
}

/**
 * Reads a value that the guest wrote.
 *
 * @param text - untrusted
 * @throws {@link ValueError} if a number is no safe integer or it nests too deep
 * @throws {@link EncodingError} if it is no JSON
 */
export function parseValue(text: string): Json {
  const value = parseJsonText(text, { maxDepth: MAX_VALUE_DEPTH + 1 });
  assertValue(value);
  return value;
}

/**
 * Checks that a value can cross as it is.
 *
 * @throws {@link ValueError} naming the path of a number that is no safe integer, a lone surrogate, or too deep a nesting
 */
export function assertValue(value: Json): void {
  assertAt(value, '$', 0);
}

/**
 * Reads the completion value of a script, which may hold fractions.
 *
 * @param text - untrusted
 * @throws {@link EncodingError} if it is no JSON, or nests deeper than {@link MAX_COMPLETION_DEPTH}
 */
export function parseCompletion(text: string): Json {
  return parseJsonText(text, { maxBytes: text.length, maxDepth: MAX_COMPLETION_DEPTH });
}

function assertAt(value: Json, path: string, depth: number): void {
  if (typeof value === 'number') {
    if (!Number.isSafeInteger(value) || Object.is(value, -0)) {
      throw refuse(`${path} is not a safe integer; write a fraction as text`);
    }
  } else if (typeof value === 'string') {
    if (hasLoneSurrogate(value)) throw refuse(`${path} holds half a character`);
  } else if (Array.isArray(value)) {
    if (depth >= MAX_VALUE_DEPTH) throw refuse(`value nests deeper than ${MAX_VALUE_DEPTH} levels`);
    for (const [i, item] of value.entries()) assertAt(item, `${path}[${i}]`, depth + 1);
  } else if (isJsonObject(value)) {
    if (depth >= MAX_VALUE_DEPTH) throw refuse(`value nests deeper than ${MAX_VALUE_DEPTH} levels`);
    for (const [key, item] of Object.entries(value)) {
      if (hasLoneSurrogate(key)) throw refuse(`a key of ${path} holds half a character`);
      assertAt(item, `${path}.${key}`, depth + 1);
    }
  } else if (value !== null && typeof value !== 'boolean') {
    throw refuse(`${path} is ${typeof value}, which is no JSON`);
  }
}

function refuse(message: string): ValueError {
  return new ValueError('NOT_RECORDABLE', message.length > 500 ? `${message.slice(0, 500)}…` : message);
}
