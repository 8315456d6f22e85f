/**
 * Faults of the store of models.
 *
 * @module
 */

import { RuntimeError } from '../../attest/core/error.ts';

export type ModelStoreErrorCode =
  /** A name that no model may have. */
  | 'BAD_MODEL_ID'
  /** The store has no such model; `at.model`. */
  | 'NOT_IN_STORE'
  /** A model of that name is there, from elsewhere; `at.model`. */
  | 'ID_TAKEN'
  /** The file beside a model is none of ours; `at.path`. */
  | 'MALFORMED_MANIFEST'
  /** A process serves the model; `at.model`, `at.pid`. */
  | 'MODEL_IN_USE'
  /** What is at the model's place is no folder of the store, such as a link elsewhere; `at.path`. */
  | 'STORE_UNSAFE';

/** A model that the store cannot give, take or remove; the message says what to do. */
export class ModelStoreError extends RuntimeError<ModelStoreErrorCode> {
  override readonly name = 'ModelStoreError';
}
