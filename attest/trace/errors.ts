/**
 * Faults of a trace: what is wrong with its bytes, its order, its hashes or its signatures.
 *
 * @module
 */

import { RuntimeError } from '../core/error.ts';

export type TraceErrorCode =
  | 'MALFORMED_LINE'
  | 'MALFORMED_HEADER'
  | 'MALFORMED_HEAD'
  | 'MALFORMED_BODY'
  | 'MALFORMED_PAYLOAD'
  | 'MALFORMED_CHECKPOINT'
  | 'UNSUPPORTED_VERSION'
  | 'PAYLOAD_MISMATCH'
  | 'MISSING_LINE'
  | 'UNEXPECTED_LINE'
  | 'HEAD_MISMATCH'
  | 'ORDER_VIOLATION'
  | 'RUN_ID_MISMATCH'
  | 'IDENTITY_MISMATCH'
  | 'CHECKPOINT_MISMATCH'
  | 'SIGNATURE_MISMATCH'
  | 'RECEIPT_MISMATCH'
  | 'SIGNER_MISMATCH'
  | 'LIMIT_EXCEEDED'
  /** A trace that is continued says something else than the run that continues it. */
  | 'JOURNAL_MISMATCH';

/**
 * A trace, or a part of one, that is not what it says. `at.field` is the dotted path of the fault
 * (`head.prev`, `body.output.root`, `checkpoint.root`), `at.step` the record where the caller knows it.
 */
export class TraceError extends RuntimeError<TraceErrorCode> {
  override readonly name = 'TraceError';
}

/** Makes a {@link TraceError} that names one field. */
export function fieldError(code: TraceErrorCode, field: string, message: string, cause?: unknown): TraceError {
  return new TraceError(code, `${field}: ${message}`, { at: { field }, cause });
}
