/**
 * Faults of fetching a model.
 *
 * @module
 */

import { describeFault, SetupError } from '../../agents/setup/setup-error.mjs';
import { RuntimeError } from '../../attest/core/error.ts';

export type ModelPullErrorCode =
  /** The text names no source. */
  | 'BAD_SPEC'
  /** Others could change what comes from there on its way. */
  | 'INSECURE_ADDRESS'
  /** `--sha256` is no SHA-256, or the source has many files. */
  | 'BAD_SHA256'
  /** The source has no such model, version or file. */
  | 'NOT_FOUND'
  /** The source wants a login. */
  | 'NOT_ALLOWED'
  /** The repository has several GGUF files and none was named. */
  | 'AMBIGUOUS_FILE'
  /** The repository has no model that this program could read. */
  | 'NO_MODEL_FILES'
  /** A file is larger than is taken. */
  | 'TOO_LARGE'
  /** The source answers what makes no sense. */
  | 'BAD_ANSWER'
  /** What came has another hash, or another length. */
  | 'CHECKSUM_MISMATCH'
  /** The source cannot be reached, or breaks off; `at.reason` is the code of the set-up. */
  | 'SOURCE_FAILED'
  /** No source of the shipped model could give it. */
  | 'NO_SOURCE'
  | 'DISK_FULL'
  | 'NOT_WRITABLE'
  /** Another process took over the work. */
  | 'LOCK_LOST'
  /** It was told to stop. */
  | 'CANCELLED';

/** A model that could not be fetched; the message says why, and what may help. */
export class ModelPullError extends RuntimeError<ModelPullErrorCode> {
  override readonly name = 'ModelPullError';
}

const SAME: { readonly [setup: string]: ModelPullErrorCode } = {
  CHECKSUM_MISMATCH: 'CHECKSUM_MISMATCH',
  WRONG_SIZE: 'CHECKSUM_MISMATCH',
  DISK_FULL: 'DISK_FULL',
  NOT_WRITABLE: 'NOT_WRITABLE',
  LOCK_LOST: 'LOCK_LOST',
  NO_SOURCE: 'NO_SOURCE',
};

/** What the parts of the set-up throw, as an error of ours; anything unexpected as it is. */
export function toPullError(error: unknown, what: string): unknown {
  if (RuntimeError.is(error)) return error;
  if (error instanceof SetupError) {
    const code = SAME[error.code] ?? 'SOURCE_FAILED';
    const message = code === 'NO_SOURCE' ? error.message : `${what}: ${error.message}`;
    return new ModelPullError(code, message, { at: { reason: error.code }, cause: error });
  }
  // A socket, or a look-up of a name.
  if (error instanceof Error && 'code' in error && ('syscall' in error || 'errors' in error)) {
    const at = { reason: String(error.code) };
    return new ModelPullError('SOURCE_FAILED', `${what}: ${describeFault(error)}`, { at, cause: error });
  }
  return error;
}
