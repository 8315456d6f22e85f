/**
 * Why runs cannot be queued or kept.
 *
 * @module
 */

import { RuntimeError } from '../../attest/core/error.ts';

export type QueueErrorCode =
  | 'QUEUE_CLOSED'
  /** The server cannot be reached, or does not answer in time. */
  | 'QUEUE_UNREACHABLE'
  /** The server forgets what it has acknowledged when it or its machine crashes. */
  | 'QUEUE_NOT_DURABLE'
  /** The server is too old, or is none of the kind that is expected. */
  | 'QUEUE_UNSUPPORTED';

/** Runs cannot be queued or kept. */
export class QueueError extends RuntimeError<QueueErrorCode> {
  override readonly name = 'QueueError';
}
