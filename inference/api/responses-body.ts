/**
 * The response object of `/v1/responses`, as it begins, ends and fails.
 *
 * @module
 */

import { z } from 'zod';
import type { Answer, AnswerStart } from '../answering.ts';
import { type ErrorBody, toErrorReply } from '../api-errors.ts';
import { toSchemaText } from './fields.ts';
import { receiptDocumentSchema } from './receipt-body.ts';
import { type OutputItem, outputItemSchema } from './responses-items.ts';
import {
  type ResponsesRequest,
  responsesFormatSchema,
  responsesToolChoiceSchema,
  responsesToolSchema,
} from './responses-request.ts';

const count = z.int().min(0);

/** A response. */
export const responseSchema = z
  .object({
    id: z.string(),
    object: z.literal('response'),
    created_at: count.describe('Seconds since 1970.'),
    completed_at: count.optional().describe('Seconds since 1970, where the response is completed.'),
    status: z.enum(['in_progress', 'completed', 'incomplete', 'failed']),
    background: z.literal(false),
    error: z.object({ code: z.enum(['server_error', 'rate_limit_exceeded']), message: z.string() }).nullable(),
    incomplete_details: z.object({ reason: z.literal('max_output_tokens') }).nullable(),
    instructions: z.string().nullable(),
    max_output_tokens: count.nullable().describe('As it was asked.'),
    metadata: z.record(z.string(), z.string()),
    model: z.string(),
    output: z.array(outputItemSchema),
    parallel_tool_calls: z.boolean(),
    previous_response_id: z.string().nullable(),
    prompt_cache_key: z.string().optional(),
    reasoning: z.object({ effort: z.null(), summary: z.null() }),
    safety_identifier: z.string().optional(),
    service_tier: z.literal('default'),
    store: z.boolean(),
    system_fingerprint: z.string().describe('Equal exactly when model, numerics and engine are.'),
    temperature: z.number(),
    text: z.object({ format: responsesFormatSchema }),
    tool_choice: responsesToolChoiceSchema,
    tools: z.array(responsesToolSchema),
    top_logprobs: count,
    top_p: z.number(),
    truncation: z.literal('disabled'),
    usage: z
      .object({
        input_tokens: count,
        input_tokens_details: z.object({ cached_tokens: count, cache_write_tokens: count }),
        output_tokens: count,
        output_tokens_details: z.object({ reasoning_tokens: count }),
        total_tokens: count,
      })
      .optional()
      .describe('Where the response has ended.'),
    user: z.string().optional(),
    tracebond: receiptDocumentSchema.optional(),
  })
  .meta({ id: 'Response' });

export type ResponseBody = z.input<typeof responseSchema>;

/** What `DELETE /v1/responses/{id}` gives. */
export const deletedResponseSchema = z
  .object({ id: z.string(), object: z.literal('response'), deleted: z.literal(true) })
  .meta({ id: 'DeletedResponse' });

/**
 * A response that begins.
 *
 * @param id - of the response
 * @param fields - the request, which a response repeats
 */
export function beginResponse(id: string, fields: ResponsesRequest, start: AnswerStart): ResponseBody {
  const { user, safety_identifier, prompt_cache_key } = fields;
  return {
    id,
    object: 'response',
    created_at: start.created,
    status: 'in_progress',
    background: false,
    error: null,
    incomplete_details: null,
    instructions: fields.instructions ?? null,
    max_output_tokens: fields.max_output_tokens ?? null,
    metadata: fields.metadata ?? {},
    model: start.identity.id,
    output: [],
    parallel_tool_calls: fields.parallel_tool_calls ?? true,
    previous_response_id: fields.previous_response_id ?? null,
    ...(typeof prompt_cache_key === 'string' && { prompt_cache_key }),
    reasoning: { effort: null, summary: null },
    ...(typeof safety_identifier === 'string' && { safety_identifier }),
    service_tier: 'default',
    store: fields.store ?? true,
    system_fingerprint: start.fingerprint,
    temperature: fields.temperature ?? 0,
    text: { format: repeatFormat(fields.text?.format) },
    tool_choice: fields.tool_choice ?? 'auto',
    tools: (fields.tools ?? []).map(repeatTool),
    top_logprobs: fields.top_logprobs ?? 0,
    top_p: fields.top_p ?? 1,
    truncation: 'disabled',
    ...(typeof user === 'string' && { user }),
  };
}

/** The same response with its answer. */
export function endResponse(
  begun: ResponseBody,
  answer: Answer,
  output: readonly OutputItem[],
  nowMs: number,
): ResponseBody {
  const isWhole = answer.end !== 'length';
  const { promptIds, outputIds } = answer.completion;
  return {
    ...begun,
    ...(isWhole
      ? { status: 'completed' as const, completed_at: Math.floor(nowMs / 1000) }
      : { status: 'incomplete' as const, incomplete_details: { reason: 'max_output_tokens' as const } }),
    output: [...output],
    usage: {
      input_tokens: promptIds.length,
      input_tokens_details: { cached_tokens: 0, cache_write_tokens: 0 },
      output_tokens: outputIds.length,
      output_tokens_details: { reasoning_tokens: 0 },
      total_tokens: promptIds.length + outputIds.length,
    },
    tracebond: answer.receipt as unknown as NonNullable<ResponseBody['tracebond']>,
  };
}

/** The same response where the answer failed, with the error that its reader is told. */
export function failResponse(
  begun: ResponseBody,
  output: readonly OutputItem[],
  fault: unknown,
): { readonly body: ResponseBody; readonly error: ErrorBody['error'] } {
  const { error } = toErrorReply(fault).body;
  const code = error.type === 'rate_limit_error' ? 'rate_limit_exceeded' : 'server_error';
  const told = { code, message: error.message } as const;
  return { body: { ...begun, status: 'failed', error: told, output: [...output] }, error };
}

function repeatFormat(format: NonNullable<ResponsesRequest['text']>['format']): ResponseBody['text']['format'] {
  if (format === null || format === undefined) return { type: 'text' };
  if (format.type !== 'json_schema') return format;
  const { type, name, description, strict, schema } = format;
  const about = typeof description === 'string' ? { description } : {};
  return { type, name, ...about, strict: strict ?? true, schema: repeatSchema(schema) };
}

function repeatTool({ type, name, description, parameters, strict }: NonNullable<ResponsesRequest['tools']>[number]) {
  const schema = parameters === null || parameters === undefined ? null : repeatSchema(parameters);
  return { type, name, description: description ?? null, parameters: schema, strict: strict ?? true };
}

/** A schema with what a JSON writer can write: integers beyond 2^53 rounded, as the request's digest has them. */
function repeatSchema(schema: unknown): unknown {
  return JSON.parse(toSchemaText(schema, 'schema'));
}
