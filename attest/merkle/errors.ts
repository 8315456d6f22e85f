/**
 * Faults of tree proofs.
 *
 * @module
 */

import { RuntimeError } from '../core/error.ts';

export type ProofErrorCode =
  | 'MALFORMED_INDEX'
  | 'MALFORMED_SIZE'
  | 'MALFORMED_DIGEST'
  | 'MALFORMED_PATH'
  | 'ROOT_MISMATCH';

/** An inclusion or consistency proof that does not hold; `ROOT_MISMATCH` is well formed and false, the rest no proof. */
export class ProofError extends RuntimeError<ProofErrorCode> {
  override readonly name = 'ProofError';
}
