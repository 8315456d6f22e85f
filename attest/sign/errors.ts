/**
 * Faults of keys, signatures and typed data.
 *
 * @module
 */

import { RuntimeError } from '../core/error.ts';

export type SignatureErrorCode = 'MALFORMED_SIGNATURE' | 'MALFORMED_KEY' | 'HIGH_S' | 'SIGNATURE_MISMATCH';

/** A key or signature that is none, or a signature by somebody else or over something else. */
export class SignatureError extends RuntimeError<SignatureErrorCode> {
  override readonly name = 'SignatureError';
}

export type TypedDataErrorCode =
  | 'MALFORMED_TYPES'
  | 'UNKNOWN_TYPE'
  | 'MISSING_FIELD'
  | 'UNKNOWN_FIELD'
  | 'MALFORMED_VALUE'
  | 'MALFORMED_ADDRESS'
  | 'OUT_OF_RANGE'
  | 'WRONG_LENGTH'
  | 'TOO_DEEP'
  | 'TOO_LARGE';

/** Typed data (EIP-712) that has no digest; `at.path` names the type or field. */
export class TypedDataError extends RuntimeError<TypedDataErrorCode> {
  override readonly name = 'TypedDataError';
}
