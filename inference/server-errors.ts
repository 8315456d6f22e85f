/**
 * Faults of the inference server and of the process behind it, as opposed to faults of one model (`errors.ts`) or of
 * what a client sent (`api-errors.ts`).
 *
 * @module
 */

import { RuntimeError } from '../attest/core/error.ts';

export type ServerErrorCode =
  /** Another program listens there; `at.port`. */
  | 'PORT_IN_USE'
  /** The address cannot be listened on for another reason; `at.host`, `at.port`. */
  | 'LISTEN_FAILED'
  /** As many requests wait as may; `at.retryAfterSeconds`. */
  | 'QUEUE_FULL'
  /** An access key is at a limit of its own; `at.retryAfterSeconds`. */
  | 'RATE_LIMITED'
  /** The answer was not there in time. */
  | 'REQUEST_TIMEOUT'
  /** The engine's process ended while it worked on this request; the next one is answered by a new process. */
  | 'ENGINE_DIED'
  /** The engine's process does not start. */
  | 'ENGINE_UNAVAILABLE'
  /** A new process of the engine has other digests than the first: the model file was exchanged. */
  | 'ENGINE_CHANGED'
  /** The model cannot be opened now; `at.model`, `at.retryAfterSeconds`. */
  | 'MODEL_UNAVAILABLE'
  /** Two models of one server have one name; `at.model`, `at.path` of the second. */
  | 'DUPLICATE_MODEL'
  /** The file of access keys cannot be read now; the cause says why. */
  | 'KEYS_UNAVAILABLE'
  /** The server is being closed. */
  | 'SERVER_CLOSED';

/** A server that cannot serve: this request, or at all. */
export class ServerError extends RuntimeError<ServerErrorCode> {
  override readonly name = 'ServerError';
}
