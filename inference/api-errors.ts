/**
 * What a client of the HTTP API is told when it gets no answer: the OpenAI error object and a status, from one table.
 *
 * @module
 */

import { RuntimeError } from '../attest/core/error.ts';
import { EncodingError } from '../attest/encoding/errors.ts';
import { InferenceError, type InferenceErrorCode } from './errors.ts';
import { ServerError, type ServerErrorCode } from './server-errors.ts';

export type ApiErrorCode =
  | 'INVALID_JSON'
  | 'BODY_TOO_LARGE'
  | 'UNSUPPORTED_MEDIA_TYPE'
  | 'BAD_REQUEST'
  | 'REQUEST_TOO_SLOW'
  | 'HEADERS_TOO_LARGE'
  | 'HOST_NOT_ALLOWED'
  | 'UNAUTHORIZED'
  | 'NOT_FOUND'
  | 'MODEL_NOT_FOUND'
  | 'RECEIPT_NOT_FOUND'
  | 'RESPONSE_NOT_FOUND'
  | 'MISSING_PARAMETER'
  | 'UNKNOWN_PARAMETER'
  | 'UNSUPPORTED_PARAMETER'
  | 'UNSUPPORTED_VALUE'
  | 'INVALID_TYPE'
  | 'INVALID_VALUE'
  | 'IDENTITY_MISMATCH'
  | 'WRONG_CHAIN';

/** A request that the API refuses; `at.param` names the parameter, where one is at fault. */
export class ApiError extends RuntimeError<ApiErrorCode> {
  override readonly name = 'ApiError';
}

/** The body of every refusal, as OpenAI's clients read it. */
export type ErrorBody = {
  readonly error: {
    readonly message: string;
    readonly type: 'invalid_request_error' | 'rate_limit_error' | 'server_error';
    readonly param: string | null;
    readonly code: string;
  };
};

/** A refusal as it goes over the wire. */
export type ErrorReply = { readonly status: number; readonly body: ErrorBody; readonly retryAfterSeconds?: number };

type Row = readonly [status: number, type: ErrorBody['error']['type'], code: string, param?: string];

/** Every fault of a request; one that is missing below does not compile. */
type Fault =
  | `ApiError.${ApiErrorCode}`
  | `InferenceError.${InferenceErrorCode}`
  | `ServerError.${Exclude<ServerErrorCode, 'PORT_IN_USE' | 'LISTEN_FAILED' | 'DUPLICATE_MODEL'>}`;

/** Status, type and wire code of every fault of a request, by class and code. */
const TABLE: { readonly [F in Fault]: Row } = {
  'ApiError.INVALID_JSON': [400, 'invalid_request_error', 'invalid_json'],
  'ApiError.BODY_TOO_LARGE': [413, 'invalid_request_error', 'body_too_large'],
  'ApiError.UNSUPPORTED_MEDIA_TYPE': [415, 'invalid_request_error', 'unsupported_media_type'],
  'ApiError.BAD_REQUEST': [400, 'invalid_request_error', 'bad_request'],
  'ApiError.REQUEST_TOO_SLOW': [408, 'invalid_request_error', 'request_too_slow'],
  'ApiError.HEADERS_TOO_LARGE': [431, 'invalid_request_error', 'headers_too_large'],
  'ApiError.HOST_NOT_ALLOWED': [403, 'invalid_request_error', 'host_not_allowed'],
  'ApiError.UNAUTHORIZED': [401, 'invalid_request_error', 'invalid_api_key'],
  'ApiError.NOT_FOUND': [404, 'invalid_request_error', 'not_found'],
  'ApiError.MODEL_NOT_FOUND': [404, 'invalid_request_error', 'model_not_found', 'model'],
  'ApiError.RECEIPT_NOT_FOUND': [404, 'invalid_request_error', 'receipt_not_found'],
  'ApiError.RESPONSE_NOT_FOUND': [404, 'invalid_request_error', 'response_not_found'],
  'ApiError.MISSING_PARAMETER': [400, 'invalid_request_error', 'missing_required_parameter'],
  'ApiError.UNKNOWN_PARAMETER': [400, 'invalid_request_error', 'unknown_parameter'],
  'ApiError.UNSUPPORTED_PARAMETER': [400, 'invalid_request_error', 'unsupported_parameter'],
  'ApiError.UNSUPPORTED_VALUE': [400, 'invalid_request_error', 'unsupported_value'],
  'ApiError.INVALID_TYPE': [400, 'invalid_request_error', 'invalid_type'],
  'ApiError.INVALID_VALUE': [400, 'invalid_request_error', 'invalid_value'],
  'ApiError.IDENTITY_MISMATCH': [409, 'invalid_request_error', 'identity_mismatch'],
  'ApiError.WRONG_CHAIN': [409, 'invalid_request_error', 'wrong_chain'],
  'InferenceError.REQUEST_MALFORMED': [400, 'invalid_request_error', 'invalid_value'],
  'InferenceError.PROMPT_EMPTY': [400, 'invalid_request_error', 'invalid_value', 'messages'],
  'InferenceError.PROMPT_TOO_LONG': [400, 'invalid_request_error', 'context_length_exceeded', 'messages'],
  'InferenceError.CONTEXT_EXCEEDED': [400, 'invalid_request_error', 'context_length_exceeded', 'messages'],
  'InferenceError.CHOICE_EMPTY': [400, 'invalid_request_error', 'invalid_value', 'response_format.choices'],
  'InferenceError.CHOICE_DUPLICATE': [400, 'invalid_request_error', 'invalid_value', 'response_format.choices'],
  'InferenceError.CHOICE_TOO_LONG': [400, 'invalid_request_error', 'invalid_value', 'response_format.choices'],
  'InferenceError.TOO_MANY_CHOICES': [400, 'invalid_request_error', 'invalid_value', 'response_format.choices'],
  'InferenceError.CHOICE_UNWRITABLE': [400, 'invalid_request_error', 'invalid_value', 'response_format.choices'],
  'InferenceError.STOP_EMPTY': [400, 'invalid_request_error', 'invalid_value', 'stop'],
  'InferenceError.SCHEMA_REFUSED': [400, 'invalid_request_error', 'invalid_json_schema', 'response_format'],
  'InferenceError.BUDGET_TOO_SMALL': [400, 'invalid_request_error', 'budget_too_small', 'max_tokens'],
  'InferenceError.SAMPLING_REFUSED': [400, 'invalid_request_error', 'invalid_value'],
  'InferenceError.TEMPLATE_REFUSED': [400, 'invalid_request_error', 'template_refused', 'messages'],
  'InferenceError.CONTROL_TOKEN_IN_TEXT': [400, 'invalid_request_error', 'control_token_in_text', 'messages'],
  'InferenceError.OUT_OF_MEMORY': [503, 'server_error', 'out_of_memory'],
  'InferenceError.NUMERIC_FAULT': [500, 'server_error', 'numeric_fault'],
  'InferenceError.GRAPH_FAILED': [500, 'server_error', 'graph_failed'],
  // The client that cancelled does not read this; a proxy between may.
  'InferenceError.CANCELLED': [499, 'invalid_request_error', 'cancelled'],
  'InferenceError.ENGINE_CLOSED': [503, 'server_error', 'engine_closed'],
  'ServerError.QUEUE_FULL': [429, 'rate_limit_error', 'queue_full'],
  'ServerError.RATE_LIMITED': [429, 'rate_limit_error', 'rate_limit_exceeded'],
  'ServerError.REQUEST_TIMEOUT': [504, 'server_error', 'request_timeout'],
  'ServerError.ENGINE_DIED': [503, 'server_error', 'engine_died'],
  'ServerError.ENGINE_UNAVAILABLE': [503, 'server_error', 'engine_unavailable'],
  'ServerError.ENGINE_CHANGED': [503, 'server_error', 'engine_changed'],
  'ServerError.MODEL_UNAVAILABLE': [503, 'server_error', 'model_unavailable', 'model'],
  'ServerError.KEYS_UNAVAILABLE': [503, 'server_error', 'keys_unavailable'],
  'ServerError.SERVER_CLOSED': [503, 'server_error', 'server_closed'],
};

/** Fields of the engine's port, as the API calls them. */
const PARAMETERS: { readonly [field: string]: string } = {
  choices: 'response_format.choices',
  schema: 'response_format.json_schema.schema',
  maxTokens: 'max_tokens',
  messages: 'messages',
  prompt: 'prompt',
  stop: 'stop',
  temperature: 'temperature',
  tools: 'tools',
  topK: 'top_k',
  topP: 'top_p',
};

/** Faults that Fastify itself finds, by its codes. */
const FRAMEWORK: { readonly [code: string]: readonly [ApiErrorCode, string] } = {
  FST_ERR_CTP_BODY_TOO_LARGE: ['BODY_TOO_LARGE', 'body is larger than this server takes'],
  FST_ERR_CTP_INVALID_MEDIA_TYPE: ['UNSUPPORTED_MEDIA_TYPE', 'expected content-type application/json'],
  FST_ERR_CTP_EMPTY_JSON_BODY: ['INVALID_JSON', 'body is empty'],
  FST_ERR_CTP_INVALID_CONTENT_LENGTH: ['BAD_REQUEST', 'body is not as long as its content-length'],
  FST_ERR_BAD_URL: ['BAD_REQUEST', 'path is no URL'],
  FST_ERR_MAX_PARAM_LENGTH: ['NOT_FOUND', 'path is longer than any of this server'],
  // Of Node's HTTP parser, before there is a request.
  ERR_HTTP_REQUEST_TIMEOUT: ['REQUEST_TOO_SLOW', 'the request did not arrive in time'],
  HPE_HEADER_OVERFLOW: ['HEADERS_TOO_LARGE', 'headers are larger than this server takes'],
};

/**
 * The reply to any fault. What is not an expected fault of a request becomes a bare 500: its message may hold what is no
 * client's business.
 */
export function toErrorReply(error: unknown): ErrorReply {
  const known = toKnown(error);
  const row =
    known === undefined ? undefined : (TABLE as { readonly [fault: string]: Row })[`${known.name}.${known.code}`];
  if (known === undefined || row === undefined) {
    return reply(500, { message: 'internal error', type: 'server_error', param: null, code: 'internal_error' });
  }
  const [status, type, code, param] = row;
  const named = known.at['param'] ?? nameField(known.at);
  const body = { message: known.message, type, param: typeof named === 'string' ? named : (param ?? null), code };
  const seconds = known.at['retryAfterSeconds'];
  return typeof seconds === 'number' ? { ...reply(status, body), retryAfterSeconds: seconds } : reply(status, body);
}

/** The parameter of a field of the engine's port; a tool's and that of a text to embed have their index. */
function nameField({ field, index }: RuntimeError['at']): string | undefined {
  if (field === 'input' && typeof index === 'number') return `input[${index}]`;
  if (field === 'tools' && typeof index === 'number') return `tools[${index}].function.parameters`;
  return typeof field === 'string' && Object.hasOwn(PARAMETERS, field) ? PARAMETERS[field] : undefined;
}

/** The reply to bytes that are no HTTP request: a connection's error, as Node gives it. */
export function toConnectionReply(error: unknown): ErrorReply {
  return toErrorReply(toKnown(error) ?? new ApiError('BAD_REQUEST', 'not an HTTP request', { cause: error }));
}

function reply(status: number, error: ErrorBody['error']): ErrorReply {
  return { status, body: { error } };
}

function toKnown(error: unknown): RuntimeError | undefined {
  if (error instanceof EncodingError) {
    const code = error.code === 'TOO_LARGE' ? 'BODY_TOO_LARGE' : 'INVALID_JSON';
    return new ApiError(code, `body: ${error.message}`, { cause: error });
  }
  if (error instanceof ApiError || error instanceof ServerError || error instanceof InferenceError) return error;
  if (RuntimeError.is(error)) return undefined;
  if (!(error instanceof Error)) return undefined;
  const { code, statusCode } = error as { code?: unknown; statusCode?: unknown };
  const row = typeof code === 'string' ? FRAMEWORK[code] : undefined;
  if (row !== undefined) return new ApiError(row[0], row[1], { cause: error });
  return typeof statusCode === 'number' ? toStatusFault(statusCode, error) : undefined;
}

/** What a part of the framework refuses without a code of ours: files of `/docs`, by a path that leads out of them or a range that none has. */
function toStatusFault(status: number, cause: Error): ApiError | undefined {
  if (status === 403 || status === 404) return new ApiError('NOT_FOUND', 'no such file', { cause });
  if (status < 400 || status >= 500) return undefined;
  return new ApiError('BAD_REQUEST', 'not a request that this route takes', { cause });
}
