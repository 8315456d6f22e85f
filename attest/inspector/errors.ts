/**
 * Faults of the inspector's server.
 *
 * @module
 */

import { RuntimeError } from '../core/error.ts';

export type InspectorErrorCode =
  /** The path is neither a file nor a folder that can be read. */
  | 'NO_SUCH_BUNDLE'
  /** The folder holds no `.trace` file. */
  | 'NO_BUNDLES'
  /** The built page is not where it should be. */
  | 'PAGE_MISSING'
  | 'PORT_IN_USE'
  | 'LISTEN_FAILED';

/** The inspector cannot be served. */
export class InspectorError extends RuntimeError<InspectorErrorCode> {
  override readonly name = 'InspectorError';
}
