/**
 * What a client of the runtime's API is told when it does not get what it asked for: one table over the faults of runs, and that of the
 * HTTP server below it. Messages hold no path of the host.
 *
 * @module
 */

import { RuntimeError } from '../../attest/core/error.ts';
import { type ErrorBody, type ErrorReply, toErrorReply } from '../../inference/api-errors.ts';
import { ControlError, type ControlErrorCode } from '../control.ts';
import { JournalError, type JournalErrorCode } from '../journal.ts';
import { ManagerError, type ManagerErrorCode } from '../manager-types.ts';
import { QueueError, type QueueErrorCode } from '../queue/errors.ts';
import { RetentionError, type RetentionErrorCode } from '../retention.ts';
import { HostFault, type HostFaultCode } from '../sandbox/vm.ts';

export type RunApiErrorCode =
  /** The key came before with another body. */
  | 'IDEMPOTENCY_KEY_REUSED'
  /** As many streams of records are open as may be. */
  | 'TOO_MANY_STREAMS'
  /** The same signed request has a run already, of another access key. */
  | 'REQUEST_TAKEN'
  /** The caller that the request names has not signed it. */
  | 'SIGNATURE_INVALID'
  | 'REQUEST_EXPIRED'
  /** The request is for other code than the agent's here. */
  | 'AGENT_MISMATCH'
  /** The request commits to another input. */
  | 'INPUT_MISMATCH'
  /** The request commits to other limits. */
  | 'LIMITS_MISMATCH'
  /** A file of the book of requests is none that this program wrote; `at.path`. Told at the start, never over HTTP. */
  | 'REQUESTS_MALFORMED';

/** A request about runs that is refused. */
export class RunApiError extends RuntimeError<RunApiErrorCode> {
  override readonly name = 'RunApiError';
}

type Row = readonly [
  status: number,
  type: ErrorBody['error']['type'],
  code: string,
  more?: {
    readonly param?: string;
    /** Instead of the error's own. */
    readonly message?: string;
    readonly retryAfterSeconds?: number;
  },
];

type Fault =
  | `RunApiError.${Exclude<RunApiErrorCode, 'REQUESTS_MALFORMED'>}`
  | `ManagerError.${ManagerErrorCode}`
  | `ControlError.${ControlErrorCode}`
  | `JournalError.${JournalErrorCode}`
  | `QueueError.${QueueErrorCode}`
  | `RetentionError.${Exclude<RetentionErrorCode, 'OUTPUT_EXISTS'>}`
  | `HostFault.${HostFaultCode}`;

const SANDBOX: Row = [503, 'server_error', 'sandbox_unavailable', { message: 'the sandbox is not to be had now' }];

const UNREACHABLE: Row = [
  503,
  'server_error',
  'store_unreachable',
  { message: 'where runs are kept cannot be reached now', retryAfterSeconds: 5 },
];

/** Status, type and wire code of every fault, by class and code. */
const TABLE: { readonly [F in Fault]: Row } = {
  'RunApiError.IDEMPOTENCY_KEY_REUSED': [409, 'invalid_request_error', 'idempotency_key_reused'],
  'RunApiError.TOO_MANY_STREAMS': [429, 'rate_limit_error', 'too_many_streams', { retryAfterSeconds: 5 }],
  'RunApiError.REQUEST_TAKEN': [409, 'invalid_request_error', 'request_taken', { param: 'request' }],
  'RunApiError.SIGNATURE_INVALID': [400, 'invalid_request_error', 'signature_invalid', { param: 'signature' }],
  'RunApiError.REQUEST_EXPIRED': [400, 'invalid_request_error', 'request_expired', { param: 'request.expiry' }],
  'RunApiError.AGENT_MISMATCH': [409, 'invalid_request_error', 'agent_mismatch', { param: 'request.agent' }],
  'RunApiError.INPUT_MISMATCH': [400, 'invalid_request_error', 'input_mismatch', { param: 'request.input' }],
  'RunApiError.LIMITS_MISMATCH': [400, 'invalid_request_error', 'limits_mismatch', { param: 'request.limits' }],
  'ManagerError.UNKNOWN_AGENT': [404, 'invalid_request_error', 'agent_not_found', { param: 'agent' }],
  'ManagerError.UNKNOWN_RUN': [404, 'invalid_request_error', 'run_not_found'],
  'ManagerError.WRONG_STATE': [409, 'invalid_request_error', 'wrong_state'],
  'ManagerError.TOO_MANY_RUNS': [429, 'rate_limit_error', 'too_many_runs', { retryAfterSeconds: 5 }],
  'ManagerError.REQUEST_REFUSED': [400, 'invalid_request_error', 'request_refused'],
  'ManagerError.MANAGER_CLOSED': [503, 'server_error', 'server_closed'],
  'ControlError.NOT_WAITING': [409, 'invalid_request_error', 'not_waiting'],
  'ControlError.APPROVAL_INVALID': [403, 'invalid_request_error', 'approval_invalid'],
  'ControlError.RUN_OVER': [409, 'invalid_request_error', 'wrong_state'],
  'ControlError.NOT_HEARD': [
    503,
    'server_error',
    'not_heard',
    { message: 'it was said, and waits until somebody takes the run up', retryAfterSeconds: 5 },
  ],
  'JournalError.JOURNAL_EXISTS': [409, 'invalid_request_error', 'wrong_state', { message: 'the run exists already' }],
  'JournalError.JOURNAL_MISSING': [503, 'server_error', 'journal_missing', { message: 'the bundle is not there' }],
  'JournalError.JOURNAL_IN_USE': [
    503,
    'server_error',
    'journal_in_use',
    { message: 'another process of this operator goes on with the run', retryAfterSeconds: 5 },
  ],
  'JournalError.JOURNAL_FENCED': [
    503,
    'server_error',
    'journal_in_use',
    { message: 'another process of this operator goes on with the run', retryAfterSeconds: 5 },
  ],
  'JournalError.JOURNAL_UNREACHABLE': UNREACHABLE,
  'QueueError.QUEUE_CLOSED': [503, 'server_error', 'server_closed'],
  'QueueError.QUEUE_UNREACHABLE': UNREACHABLE,
  'QueueError.QUEUE_NOT_DURABLE': UNREACHABLE,
  'QueueError.QUEUE_UNSUPPORTED': UNREACHABLE,
  'JournalError.JOURNAL_FULL': [503, 'server_error', 'journal_full', { message: 'no room is left for runs' }],
  'JournalError.JOURNAL_UNWRITABLE': [
    503,
    'server_error',
    'journal_unwritable',
    { message: 'the journal of the run cannot be written' },
  ],
  'RetentionError.NOT_CLOSED': [409, 'invalid_request_error', 'wrong_state'],
  'RetentionError.NOT_A_BUNDLE': [500, 'server_error', 'not_a_bundle', { message: 'the bundle is damaged' }],
  'HostFault.WALL_TIME': SANDBOX,
  'HostFault.HOST_OUT_OF_MEMORY': SANDBOX,
  'HostFault.HOST_STACK': SANDBOX,
  'HostFault.WORKER_LOST': SANDBOX,
  'HostFault.HOST_INTERNAL': SANDBOX,
};

const CLASSES = [RunApiError, ManagerError, ControlError, JournalError, QueueError, RetentionError, HostFault] as const;

/** The reply to any fault; what is not an expected one becomes a bare 500. */
export function toRunErrorReply(error: unknown): ErrorReply {
  if (!CLASSES.some((known) => error instanceof known)) return toErrorReply(error);
  const fault = error as RuntimeError;
  const row = (TABLE as { readonly [name: string]: Row })[`${fault.name}.${fault.code}`];
  if (row === undefined) return toErrorReply(error);
  const [status, type, code, { param, message, retryAfterSeconds } = {}] = row;
  const { field } = fault.at;
  // Why a run is broken may name files of the host.
  const said = fault.cause === undefined ? fault.message : 'the run cannot go on here';
  const named = param ?? (fault instanceof ManagerError && typeof field === 'string' ? field : null);
  const body = { error: { message: message ?? said, type, param: named, code } };
  return retryAfterSeconds === undefined ? { status, body } : { status, body, retryAfterSeconds };
}
