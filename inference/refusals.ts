/**
 * Codes with which an engine refuses a request for what the request says, every time: whoever shows an answer to it lies.
 *
 * @module
 */

import { InferenceError, type InferenceErrorCode } from './errors.ts';

const REFUSALS: ReadonlySet<InferenceErrorCode> = new Set([
  'REQUEST_MALFORMED',
  'PROMPT_EMPTY',
  'PROMPT_TOO_LONG',
  'CONTEXT_EXCEEDED',
  'CHOICE_EMPTY',
  'CHOICE_DUPLICATE',
  'CHOICE_TOO_LONG',
  'CHOICE_UNWRITABLE',
  'TOO_MANY_CHOICES',
  'STOP_EMPTY',
  'SAMPLING_REFUSED',
  'SCHEMA_REFUSED',
  'BUDGET_TOO_SMALL',
  'TEMPLATE_REFUSED',
  'CONTROL_TOKEN_IN_TEXT',
]);

/** Whether an error says that this request is never answered. */
export function isRefusal(error: unknown): error is InferenceError {
  return error instanceof InferenceError && REFUSALS.has(error.code);
}
