/**
 * The form that a client wants an answer to have.
 *
 * @module
 */

import { z } from 'zod';
import { type InferenceRequest, REQUEST_LIMITS, type ResponseFormat } from '../../attest/trace/inference-request.ts';
import { functionName, jsonObject, text, toSchemaText } from './fields.ts';

/** Fields of a format of JSON; chat completions have them under `json_schema`, responses in the format itself. */
export const jsonSchemaFields = {
  name: functionName.describe('Decides nothing.'),
  description: text(0, REQUEST_LIMITS.description).nullish().describe('Decides nothing.'),
  schema: jsonObject.describe('JSON Schema of the answer; the order of its members decides the order of the answer.'),
  strict: z.boolean().nullish().describe('Answers keep to the schema either way.'),
} as const;

/** `response_format`; `choice` is an extension of this server: the answer is exactly one of the given texts. */
export const responseFormatSchema = z.discriminatedUnion('type', [
  z.strictObject({ type: z.literal('text') }),
  z.strictObject({
    type: z.literal('choice'),
    choices: z
      .array(text(1, REQUEST_LIMITS.choice))
      .min(1)
      .max(REQUEST_LIMITS.choices)
      .refine((choices) => new Set(choices).size === choices.length, 'expected no choice twice'),
  }),
  z.strictObject({ type: z.literal('json_object') }),
  z.strictObject({ type: z.literal('json_schema'), json_schema: z.strictObject(jsonSchemaFields) }),
]);

/**
 * A format in normal form.
 *
 * @throws {@link ApiError} `INVALID_VALUE` if a schema is beyond the limits
 */
export function readResponseFormat(format: z.output<typeof responseFormatSchema> | null | undefined): ResponseFormat {
  if (format === null || format === undefined) return { type: 'text' };
  if (format.type !== 'json_schema') return format;
  return { type: 'json_schema', schema: toSchemaText(format.json_schema.schema, 'response_format.json_schema.schema') };
}

/** Tokens of output where a request names no number. */
export const DEFAULT_MAX_TOKENS = 256;

/** The same where the answer is JSON or may be a call: half of either is of no use. */
export const DEFAULT_MAX_FORMED_TOKENS = 1024;

/** Tokens of output of a request that names no number. */
export function defaultMaxTokens({ responseFormat: { type }, toolChoice }: Formed): number {
  const isFormed = type === 'json_object' || type === 'json_schema' || toolChoice.type !== 'none';
  return isFormed ? DEFAULT_MAX_FORMED_TOKENS : DEFAULT_MAX_TOKENS;
}

/** Whether an answer is free text, which alone can be stopped by a text. */
export function isFreeText({ responseFormat, toolChoice }: Formed): boolean {
  return responseFormat.type === 'text' && toolChoice.type === 'none';
}

type Formed = Pick<InferenceRequest, 'responseFormat' | 'toolChoice'>;
