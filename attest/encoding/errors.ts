/**
 * Faults of the byte and text encodings.
 *
 * @module
 */

import { RuntimeError } from '../core/error.ts';

export type EncodingErrorCode =
  | 'MALFORMED_HEX'
  | 'MALFORMED_BASE64'
  | 'MALFORMED_UTF8'
  | 'MALFORMED_JSON'
  | 'DUPLICATE_KEY'
  | 'LONE_SURROGATE'
  | 'TOO_DEEP'
  | 'TOO_LARGE'
  | 'NUMBER_OUT_OF_RANGE'
  | 'NOT_AN_INTEGER'
  | 'NOT_CANONICAL'
  | 'NOT_JSON';

/** Bytes or text that are not in the encoding they are said to be in. */
export class EncodingError extends RuntimeError<EncodingErrorCode> {
  override readonly name = 'EncodingError';
}
