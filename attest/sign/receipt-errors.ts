/**
 * Faults of an inference receipt: one code for each field that can contradict what was asked and answered.
 *
 * @module
 */

import { RuntimeError } from '../core/error.ts';

export type ReceiptErrorCode =
  | 'MALFORMED_RECEIPT'
  | 'MALFORMED_SIGNATURE'
  | 'CHAIN_MISMATCH'
  | 'CONTRACT_MISMATCH'
  | 'RUN_MISMATCH'
  | 'INDEX_MISMATCH'
  | 'REQUEST_MISMATCH'
  | 'SEED_MISMATCH'
  | 'PROMPT_IDS_MISMATCH'
  | 'OUTPUT_IDS_MISMATCH'
  | 'MASKS_MISMATCH'
  | 'VECTORS_MISMATCH'
  | 'TEXT_MISMATCH'
  | 'FINISH_MISMATCH'
  | 'MODEL_MISMATCH'
  | 'PROFILE_MISMATCH'
  | 'ENGINE_MISMATCH'
  | 'SIGNER_MISMATCH';

/** A receipt that is not one, or that is for something else; `at.field` is the dotted path (`receipt.seed`). */
export class ReceiptError extends RuntimeError<ReceiptErrorCode> {
  override readonly name = 'ReceiptError';
}
