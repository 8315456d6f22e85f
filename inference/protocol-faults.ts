/**
 * From a schema's complaint to OpenAI's: which parameter, and whether it is unknown, unsupported, missing or wrong.
 *
 * @module
 */

import type { z } from 'zod';
import type { LosslessJson } from '../attest/encoding/canonical-json.ts';
import { ApiError } from './api-errors.ts';

type Issue = z.core.$ZodIssue;
type Path = readonly PropertyKey[];

/** Fields of OpenAI's API (2.3.0) that this server does not act on, and so refuses. */
const UNSUPPORTED: ReadonlySet<string> = new Set([
  'audio',
  'frequency_penalty',
  'function_call',
  'functions',
  'logit_bias',
  'logprobs',
  'metadata',
  'modalities',
  'moderation',
  'parallel_tool_calls',
  'prediction',
  'presence_penalty',
  'prompt_cache_key',
  'prompt_cache_options',
  'prompt_cache_retention',
  'reasoning_effort',
  'safety_identifier',
  'service_tier',
  'store',
  'stream_options',
  'tool_choice',
  'tools',
  'top_logprobs',
  'user',
  'verbosity',
  'web_search_options',
]);

/** The same inside a message. */
const UNSUPPORTED_IN_MESSAGE: ReadonlySet<string> = new Set([
  'annotations',
  'audio',
  'function_call',
  'refusal',
  'tool_call_id',
  'tool_calls',
]);

/** Values that OpenAI's API knows and this server does not act on, by parameter; `[]` stands for any index. */
const UNSUPPORTED_VALUES: { readonly [param: string]: (value: LosslessJson | undefined) => boolean } = {
  temperature: (value) => typeof value === 'number',
  top_p: (value) => typeof value === 'number',
  n: (value) => typeof value === 'number',
  stream: (value) => value === true,
  'response_format.type': (value) => value === 'json_object' || value === 'json_schema',
  'messages[].role': (value) => value === 'developer' || value === 'function',
  'messages[].content[].type': (value) => typeof value === 'string',
};

/**
 * The error for the first complaint about a body.
 *
 * @param issues - of zod, at least one
 * @param body - what was parsed
 */
export function refuse(issues: readonly Issue[], body: LosslessJson): ApiError {
  const issue = innermost(issues[0] as Issue);
  const param = formatPath(issue.path);
  if (issue.code === 'unrecognized_keys') {
    const key = issue.keys[0] ?? '';
    const full = formatPath([...issue.path, key.slice(0, 64)]);
    const known = issue.path.length === 0 ? UNSUPPORTED : UNSUPPORTED_IN_MESSAGE;
    const isKnown = known.has(key) && (issue.path.length === 0 || issue.path[0] === 'messages');
    const [code, message] = isKnown
      ? (['UNSUPPORTED_PARAMETER', `${full}: this server does not act on it, so it does not take it`] as const)
      : (['UNKNOWN_PARAMETER', `${full}: unknown parameter`] as const);
    return new ApiError(code, message, { at: { param: full } });
  }
  const at = { param: param === '' ? null : param };
  const where = param === '' ? 'body' : param;
  const value = valueAt(body, issue.path);
  if (value === undefined) return new ApiError('MISSING_PARAMETER', `${where}: missing parameter`, { at });
  if (UNSUPPORTED_VALUES[param.replace(/\[\d+\]/g, '[]')]?.(value) === true) {
    return new ApiError('UNSUPPORTED_VALUE', `${where}: ${describe(issue)}, the only one of this server`, { at });
  }
  const isType = issue.code === 'invalid_type' || (issue.code === 'invalid_value' && isOtherType(issue.values, value));
  return new ApiError(isType ? 'INVALID_TYPE' : 'INVALID_VALUE', `${where}: ${describe(issue)}`, { at });
}

/** An `INVALID_VALUE` that no schema finds. */
export function refuseValue(param: string, message: string): ApiError {
  return new ApiError('INVALID_VALUE', `${param}: ${message}`, { at: { param } });
}

/** Of a union's complaints, the one of the branch that came furthest; that is the branch that was meant. */
function innermost(issue: Issue): Issue {
  if (issue.code !== 'invalid_union' || issue.errors.length === 0) return issue;
  let best: Issue | undefined;
  for (const [first] of issue.errors) {
    if (first === undefined) continue;
    const found = innermost(first);
    if (best === undefined || rank(found) > rank(best)) best = found;
  }
  return best === undefined ? issue : { ...best, path: [...issue.path, ...best.path] };
}

/** Deeper before shallower; at one depth, a wrong value of the right type before a wrong type. */
function rank(issue: Issue): number {
  return 2 * issue.path.length + (issue.code === 'invalid_type' ? 0 : 1);
}

function describe(issue: Issue): string {
  if (issue.code === 'invalid_value')
    return `expected ${issue.values.map((value) => JSON.stringify(value)).join(' or ')}`;
  return issue.message.replace(/^Invalid input: /, '').replace(/^[A-Z]/, (letter) => letter.toLowerCase());
}

function isOtherType(values: readonly unknown[], value: LosslessJson): boolean {
  return values.every((expected) => typeof expected !== typeof value);
}

/** `messages[0].content`, as OpenAI names a parameter. */
function formatPath(path: Path): string {
  let text = '';
  for (const step of path) {
    if (typeof step === 'number') text += `[${step}]`;
    else text += text === '' ? String(step) : `.${String(step)}`;
  }
  return text;
}

function valueAt(body: LosslessJson, path: Path): LosslessJson | undefined {
  let value: LosslessJson | undefined = body;
  for (const step of path) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, step)) return undefined;
    value = (value as { readonly [key: PropertyKey]: LosslessJson })[step];
  }
  return value;
}
