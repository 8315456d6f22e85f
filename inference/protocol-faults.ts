/**
 * From a schema's complaint to OpenAI's: which parameter, and whether it is unknown, unsupported, missing or wrong.
 *
 * @module
 */

import type { z } from 'zod';
import type { LosslessJson } from '../attest/encoding/canonical-json.ts';
import { ApiError, toErrorReply } from './api-errors.ts';
import { InferenceError } from './errors.ts';

type Issue = z.core.$ZodIssue;
type Path = readonly PropertyKey[];

/**
 * What OpenAI's API (2.3.0) knows and this server does not act on: to be told from what nobody knows. A parameter is named by its path,
 * `[]` standing for any index.
 */
export type KnownElsewhere = {
  readonly parameters: ReadonlySet<string>;
  /** Whether a value that was refused is one of OpenAI's, by parameter. */
  readonly values: { readonly [param: string]: (value: LosslessJson | undefined) => boolean };
};

const NOTHING: KnownElsewhere = { parameters: new Set(), values: {} };

/**
 * The error for the first complaint about a body.
 *
 * @param issues - of zod, at least one
 * @param body - what was parsed
 */
export function refuse(issues: readonly Issue[], body: LosslessJson, known: KnownElsewhere = NOTHING): ApiError {
  const issue = innermost(issues[0] as Issue);
  const param = formatPath(issue.path);
  if (issue.code === 'unrecognized_keys') {
    const key = issue.keys[0] ?? '';
    const full = formatPath([...issue.path, key.slice(0, 64)]);
    const [code, message] = known.parameters.has(anyIndex(full))
      ? (['UNSUPPORTED_PARAMETER', `${full}: this server does not act on it, so it does not take it`] as const)
      : (['UNKNOWN_PARAMETER', `${full}: unknown parameter`] as const);
    return new ApiError(code, message, { at: { param: full } });
  }
  const at = { param: param === '' ? null : param };
  const where = param === '' ? 'body' : param;
  const value = valueAt(body, issue.path);
  if (value === undefined) return new ApiError('MISSING_PARAMETER', `${where}: missing parameter`, { at });
  const { values } = known;
  const general = anyIndex(param);
  if (Object.hasOwn(values, general) && values[general]?.(value) === true) {
    return new ApiError('UNSUPPORTED_VALUE', `${where}: ${describe(issue)}; this server takes no other`, { at });
  }
  const isType = issue.code === 'invalid_type' || (issue.code === 'invalid_value' && isOtherType(issue.values, value));
  return new ApiError(isType ? 'INVALID_TYPE' : 'INVALID_VALUE', `${where}: ${describe(issue)}`, { at });
}

/** An `INVALID_VALUE` that no schema finds. */
export function refuseValue(param: string, message: string): ApiError {
  return new ApiError('INVALID_VALUE', `${param}: ${message}`, { at: { param } });
}

/**
 * An engine's refusal with the parameter as the asked surface calls it, which the engine does not know.
 *
 * @param rename - the surface's name for a field of `at`, or for a parameter of chat completions; undefined to leave it
 */
export function withParam(error: unknown, rename: (fault: InferenceError, param: string | null) => string | undefined) {
  if (!(error instanceof InferenceError)) return error;
  const param = rename(error, toErrorReply(error).body.error.param);
  if (param === undefined) return error;
  return new InferenceError(error.code, error.message, { at: { ...error.at, param }, cause: error });
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
  if (issue.code === 'invalid_union' && 'options' in issue) {
    return `expected ${(issue.options as readonly unknown[])
      .filter((value) => value !== undefined)
      .map((value) => JSON.stringify(value))
      .join(' or ')}`;
  }
  if (issue.code === 'invalid_value')
    return `expected ${issue.values.map((value) => JSON.stringify(value)).join(' or ')}`;
  return issue.message.replace(/^Invalid input: /, '').replace(/^[A-Z]/, (letter) => letter.toLowerCase());
}

function isOtherType(values: readonly unknown[], value: LosslessJson): boolean {
  return values.every((expected) => typeof expected !== typeof value);
}

/** `messages[]` for `messages[7]`. */
function anyIndex(param: string): string {
  return param.replace(/\[\d+\]/g, '[]');
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
