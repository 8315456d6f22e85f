/**
 * Ways in which the demo can fail to show what it shows.
 *
 * @module
 */

import { RuntimeError } from '../../attest/core/error.ts';

export type DemoErrorCode = 'DEMO_FAILED';

/** Something in the demo did not come out as it must; the message says what. */
export class DemoError extends RuntimeError<DemoErrorCode> {
  override readonly name = 'DemoError';
}
