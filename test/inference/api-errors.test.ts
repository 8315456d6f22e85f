import { describe, expect, it } from 'vitest';
import { RuntimeError } from '../../attest/core/error.ts';
import { EncodingError } from '../../attest/encoding/errors.ts';
import { ApiError, type ApiErrorCode, toErrorReply } from '../../inference/api-errors.ts';
import { InferenceError, type InferenceErrorCode, ModelError } from '../../inference/errors.ts';
import { ServerError, type ServerErrorCode } from '../../inference/server-errors.ts';

/** Pins: changing a line here changes what clients of the API see. A missing code does not compile. */
const API: { readonly [C in ApiErrorCode]: string } = {
  INVALID_JSON: '400 invalid_json',
  BODY_TOO_LARGE: '413 body_too_large',
  UNSUPPORTED_MEDIA_TYPE: '415 unsupported_media_type',
  BAD_REQUEST: '400 bad_request',
  REQUEST_TOO_SLOW: '408 request_too_slow',
  HEADERS_TOO_LARGE: '431 headers_too_large',
  HOST_NOT_ALLOWED: '403 host_not_allowed',
  UNAUTHORIZED: '401 invalid_api_key',
  NOT_FOUND: '404 not_found',
  MODEL_NOT_FOUND: '404 model_not_found',
  RECEIPT_NOT_FOUND: '404 receipt_not_found',
  RESPONSE_NOT_FOUND: '404 response_not_found',
  MISSING_PARAMETER: '400 missing_required_parameter',
  UNKNOWN_PARAMETER: '400 unknown_parameter',
  UNSUPPORTED_PARAMETER: '400 unsupported_parameter',
  UNSUPPORTED_VALUE: '400 unsupported_value',
  INVALID_TYPE: '400 invalid_type',
  INVALID_VALUE: '400 invalid_value',
  IDENTITY_MISMATCH: '409 identity_mismatch',
  WRONG_CHAIN: '409 wrong_chain',
};

const INFERENCE: { readonly [C in InferenceErrorCode]: string } = {
  REQUEST_MALFORMED: '400 invalid_value',
  PROMPT_EMPTY: '400 invalid_value',
  PROMPT_TOO_LONG: '400 context_length_exceeded',
  CONTEXT_EXCEEDED: '400 context_length_exceeded',
  CHOICE_EMPTY: '400 invalid_value',
  CHOICE_DUPLICATE: '400 invalid_value',
  CHOICE_TOO_LONG: '400 invalid_value',
  TOO_MANY_CHOICES: '400 invalid_value',
  CHOICE_UNWRITABLE: '400 invalid_value',
  STOP_EMPTY: '400 invalid_value',
  SCHEMA_REFUSED: '400 invalid_json_schema',
  BUDGET_TOO_SMALL: '400 budget_too_small',
  SAMPLING_REFUSED: '400 invalid_value',
  TEMPLATE_REFUSED: '400 template_refused',
  CONTROL_TOKEN_IN_TEXT: '400 control_token_in_text',
  OUT_OF_MEMORY: '503 out_of_memory',
  NUMERIC_FAULT: '500 numeric_fault',
  GRAPH_FAILED: '500 graph_failed',
  CANCELLED: '499 cancelled',
  ENGINE_CLOSED: '503 engine_closed',
};

/** Those that give 500 never reach a client: there is no server yet. */
const SERVER: { readonly [C in ServerErrorCode]: string } = {
  PORT_IN_USE: '500 internal_error',
  LISTEN_FAILED: '500 internal_error',
  QUEUE_FULL: '429 queue_full',
  RATE_LIMITED: '429 rate_limit_exceeded',
  REQUEST_TIMEOUT: '504 request_timeout',
  ENGINE_DIED: '503 engine_died',
  ENGINE_UNAVAILABLE: '503 engine_unavailable',
  ENGINE_CHANGED: '503 engine_changed',
  MODEL_UNAVAILABLE: '503 model_unavailable',
  DUPLICATE_MODEL: '500 internal_error',
  KEYS_UNAVAILABLE: '503 keys_unavailable',
  SERVER_CLOSED: '503 server_closed',
};

function shown(error: unknown): string {
  const { status, body } = toErrorReply(error);
  return `${status} ${body.error.code}`;
}

describe('status and wire code', () => {
  it.each(Object.entries(API))('ApiError %s: %s', (code, expected) => {
    expect(shown(new ApiError(code as ApiErrorCode, 'x'))).toBe(expected);
  });

  it.each(Object.entries(INFERENCE))('InferenceError %s: %s', (code, expected) => {
    expect(shown(new InferenceError(code as InferenceErrorCode, 'x'))).toBe(expected);
  });

  it.each(Object.entries(SERVER))('ServerError %s: %s', (code, expected) => {
    expect(shown(new ServerError(code as ServerErrorCode, 'x'))).toBe(expected);
  });

  it('of a body that is no JSON', () => {
    expect(shown(new EncodingError('DUPLICATE_KEY', 'x'))).toBe('400 invalid_json');
    expect(shown(new EncodingError('TOO_LARGE', 'x'))).toBe('413 body_too_large');
  });

  it('of what is no fault of a request', () => {
    class Other extends RuntimeError {
      override readonly name = 'ApiError2';
    }
    for (const error of [
      new TypeError('secret'),
      new ModelError('TRUNCATED', 'secret'),
      new Other('X', 'secret'),
      'secret',
      null,
    ]) {
      const { status, body } = toErrorReply(error);
      expect(status).toBe(500);
      expect(body).toEqual({
        error: { message: 'internal error', type: 'server_error', param: null, code: 'internal_error' },
      });
    }
  });
});

describe('parameter', () => {
  it('is the error’s own, else that of its kind', () => {
    const param = (error: unknown) => toErrorReply(error).body.error.param;
    expect(param(new ApiError('INVALID_VALUE', 'x', { at: { param: 'stop[1]' } }))).toBe('stop[1]');
    expect(param(new ApiError('INVALID_JSON', 'x'))).toBe(null);
    expect(param(new InferenceError('PROMPT_TOO_LONG', 'x'))).toBe('messages');
    expect(param(new InferenceError('REQUEST_MALFORMED', 'x', { at: { field: 'maxTokens' } }))).toBe('max_tokens');
    expect(param(new InferenceError('REQUEST_MALFORMED', 'x', { at: { field: 'toString' } }))).toBe(null);
    const text = { at: { field: 'input', index: 3, limit: 8 } };
    expect(param(new InferenceError('PROMPT_TOO_LONG', 'x', text))).toBe('input[3]');
  });
});

it('a full queue says when to come again', () => {
  const error = new ServerError('QUEUE_FULL', 'x', { at: { retryAfterSeconds: 3 } });
  expect(toErrorReply(error).retryAfterSeconds).toBe(3);
});
