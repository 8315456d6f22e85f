/**
 * Fields of request bodies that several surfaces of the API have: bounded texts, digests, exact integers, JSON Schemas, and what clients
 * send as a matter of course though it decides nothing here.
 *
 * @module
 */

import { z } from 'zod';
import type { Hex } from '../../attest/core/bytes.ts';
import { isJsonObject, type LosslessJson, parseJsonText } from '../../attest/encoding/canonical-json.ts';
import { EncodingError } from '../../attest/encoding/errors.ts';
import { REQUEST_LIMITS } from '../../attest/trace/inference-request.ts';
import { refuseValue } from '../protocol-faults.ts';
import { toJsonText } from './json-body.ts';

export const UINT64 = 1n << 64n;
export const UINT256 = 1n << 256n;

/** A text of `[min, max]` UTF-16 units. Lone surrogates are refused by the JSON reader already. */
export const text = (min: number, max: number) => z.string().min(min).max(max);

/** So many bytes in hexadecimal. */
export const hex = (bytes: number) =>
  z
    .string()
    .regex(new RegExp(`^0x[0-9a-f]{${2 * bytes}}$`), `expected ${bytes} bytes as lower-case 0x hexadecimal`)
    .transform((digits) => digits as Hex);

/** A decimal number below a limit, as a text. */
export const decimal = (limit: bigint) =>
  z
    .string()
    .regex(/^(?:0|[1-9][0-9]{0,77})$/, 'expected a decimal number without leading zeros')
    .transform((digits) => BigInt(digits))
    .refine((value) => value < limit, 'expected a smaller number');

/** A JSON object, left as it is: a copy would lose what looks like a prototype. */
export const jsonObject = z
  .unknown()
  .check((context) => {
    if (isJsonObject(context.value as LosslessJson)) return;
    context.issues.push({ code: 'invalid_type', expected: 'object', input: context.value });
  })
  .meta({ type: 'object' });

/** Name of a function or of a schema: it is written into JSON and into prompts as it stands. */
export const functionName = z
  .string()
  .regex(/^[a-zA-Z0-9_-]{1,64}$/, 'expected 1 to 64 letters, digits, underscores or dashes');

/** Labels of a caller's own: they decide nothing. */
export const metadata = z
  .record(z.string().max(64), z.string().max(512))
  .refine((labels) => Object.keys(labels).length <= 16, 'expected at most 16 labels')
  .describe('Up to 16 labels of the caller; they decide nothing and are not signed.');

const label = (max: number) =>
  z.string().max(max).nullish().describe('Of the caller; decides nothing and is not signed.');

/** What clients send as a matter of course: each with the values that change nothing here. */
export const neutralFields = {
  user: label(1024),
  safety_identifier: label(1024),
  prompt_cache_key: label(1024),
  metadata: metadata.nullish(),
  service_tier: z.enum(['auto', 'default']).nullish().describe('There is one tier.'),
  store: z.literal(false).nullish().describe('Answers are not kept; their receipts are.'),
} as const;

/**
 * A JSON Schema as the text that is hashed and that masks are made of: members in the client's order.
 *
 * @param schema - an object of a request's body
 * @param param - where it stands, for the refusal
 * @throws {@link ApiError} `INVALID_VALUE` beyond the limits of a request's schemas
 */
export function toSchemaText(schema: unknown, param: string): string {
  const { schema: maxUnits, schemaDepth } = REQUEST_LIMITS;
  const written = toJsonText(schema as LosslessJson);
  try {
    parseJsonText(written, { maxBytes: maxUnits, maxDepth: schemaDepth });
  } catch (error) {
    if (!(error instanceof EncodingError)) throw error;
    throw refuseValue(param, `expected at most ${maxUnits} characters in ${schemaDepth} levels: ${error.message}`);
  }
  return written;
}
