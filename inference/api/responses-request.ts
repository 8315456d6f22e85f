/**
 * Bodies of `POST /v1/responses`: a schema, and a reading in two steps, since what a request refers to is known to the server alone.
 *
 * Spec: `inference/spec/responses.md`.
 *
 * @module
 */

import { z } from 'zod';
import type { LosslessJson } from '../../attest/encoding/canonical-json.ts';
import { REQUEST_LIMITS, type ResponseFormat } from '../../attest/trace/inference-request.ts';
import type { Asked } from '../answering.ts';
import { refuse, refuseValue } from '../protocol-faults.ts';
import { functionName, neutralFields, text, toSchemaText } from './fields.ts';
import { placeSchema, readPlace } from './place.ts';
import { defaultMaxTokens, jsonSchemaFields } from './response-format.ts';
import { KNOWN_TO_OPENAI } from './responses-elsewhere.ts';
import { toMessages } from './responses-input.ts';
import { type Item, inputItemSchema } from './responses-items.ts';
import { maxTokens, readSampling, samplingFields, seed, withExactSeed } from './sampling-fields.ts';
import { type AskedChoice, bindTools, functionFields, toRequestTool } from './tools.ts';

/** What `include` must name for log-probabilities. */
const LOGPROBS = 'message.output_text.logprobs';

/** A tool of a request. */
export const responsesToolSchema = z.strictObject({
  type: z.literal('function'),
  ...functionFields,
  defer_loading: z.literal(false).nullish(),
  output_schema: z.null().optional(),
  allowed_callers: z.null().optional(),
});

const named = z.strictObject({ type: z.literal('function'), name: functionName });

/** `tool_choice` of a request. */
export const responsesToolChoiceSchema = z.union([
  z.enum(['none', 'auto', 'required']),
  z.discriminatedUnion('type', [
    named,
    z.strictObject({
      type: z.literal('allowed_tools'),
      mode: z.enum(['auto', 'required']),
      tools: z.array(named).min(1).max(REQUEST_LIMITS.tools),
    }),
  ]),
]);

/** `text.format` of a request. */
export const responsesFormatSchema = z.discriminatedUnion('type', [
  z.strictObject({ type: z.literal('text') }),
  z.strictObject({ type: z.literal('json_object') }),
  z.strictObject({ type: z.literal('json_schema'), ...jsonSchemaFields }),
]);

const reasoning = z.strictObject({
  effort: z.literal('none').nullish(),
  summary: z.null().optional(),
  generate_summary: z.null().optional(),
});

/** Body of `POST /v1/responses`; what is not here is refused. */
export const responsesRequestSchema = z
  .strictObject({
    ...neutralFields,
    model: text(1, 256).describe('Name of a model of this server, or the digest of its weights.'),
    input: z
      .union([text(0, REQUEST_LIMITS.content), z.array(inputItemSchema).max(REQUEST_LIMITS.messages)])
      .describe('A message of the user, or the items of a conversation.'),
    instructions: text(0, REQUEST_LIMITS.content)
      .nullish()
      .describe("A system's message before all others; those of earlier responses are not taken over."),
    previous_response_id: text(1, 128).nullish().describe('A response that is kept: its input and output come first.'),
    store: z
      .boolean()
      .nullish()
      .describe(
        'Whether the response is kept for later requests (default true): in memory, bounded, for a day at most.',
      ),
    tools: z.array(responsesToolSchema).max(REQUEST_LIMITS.tools).nullish(),
    tool_choice: responsesToolChoiceSchema.nullish(),
    parallel_tool_calls: z.boolean().nullish().describe('Whether one answer may hold several calls; true by default.'),
    text: z.strictObject({ format: responsesFormatSchema.nullish(), verbosity: z.null().optional() }).nullish(),
    max_output_tokens: maxTokens.describe('256 by default, 1,024 where the answer is JSON or may be a call.'),
    ...samplingFields,
    seed,
    include: z
      .array(z.enum([LOGPROBS, 'reasoning.encrypted_content']))
      .max(64)
      .nullish()
      .describe('Log-probabilities of the text; of reasoning there is none.'),
    top_logprobs: z.int().min(0).max(20).nullish().describe('Alternatives of each token; goes with `include`.'),
    stream: z.boolean().nullish(),
    stream_options: z.strictObject({ include_obfuscation: z.literal(false).nullish() }).nullish(),
    truncation: z.literal('disabled').nullish().describe('What is longer than the context is refused.'),
    reasoning: reasoning.nullish(),
    background: z.literal(false).nullish(),
    prompt_cache_retention: z.literal('in_memory').nullish(),
    conversation: z.null().optional(),
    context_management: z.null().optional(),
    max_tool_calls: z.null().optional(),
    moderation: z.null().optional(),
    prompt: z.null().optional(),
    prompt_cache_options: z.null().optional(),
    tracebond: placeSchema.optional(),
  })
  .meta({ id: 'CreateResponse' });

/** A body, read as far as it says itself. */
export type ResponsesRequest = z.output<typeof responsesRequestSchema>;

/**
 * Reads the body of a request.
 *
 * @param body - untrusted, as `readBody` leaves it
 * @throws {@link ApiError} with the parameter in `at.param`: `MISSING_PARAMETER`, `UNKNOWN_PARAMETER`, `UNSUPPORTED_PARAMETER` (OpenAI's,
 *   and not this server's), `UNSUPPORTED_VALUE` (likewise), `INVALID_TYPE`, `INVALID_VALUE`
 */
export function parseResponsesRequest(body: LosslessJson): ResponsesRequest {
  const exact = withExactSeed(body);
  const parsed = responsesRequestSchema.safeParse(exact);
  if (!parsed.success) throw refuse(parsed.error.issues, exact, KNOWN_TO_OPENAI);
  const { top_logprobs, include } = parsed.data;
  if ((top_logprobs ?? 0) > 0 && include?.includes(LOGPROBS) !== true) {
    throw refuseValue('top_logprobs', `expected ${JSON.stringify(LOGPROBS)} in include`);
  }
  return parsed.data;
}

/**
 * What is asked, in normal form.
 *
 * @param items - the whole conversation: that of the previous response, and the request's own
 * @throws {@link ApiError} `INVALID_VALUE`
 * @throws {@link InferenceError} `SAMPLING_REFUSED`
 */
export function toAsked(fields: ResponsesRequest, items: readonly Item[]): Asked {
  const tools = (fields.tools ?? []).map((tool, i) => toRequestTool(tool, `tools[${i}].parameters`));
  const calling = bindTools(tools, readChoice(fields.tool_choice), fields.parallel_tool_calls);
  const responseFormat = readFormat(fields.text?.format);
  return {
    ...readPlace(fields.tracebond),
    model: fields.model,
    logprobs: fields.include?.includes(LOGPROBS) === true ? (fields.top_logprobs ?? 0) : null,
    request: {
      messages: toMessages(fields.instructions ?? null, items),
      prompt: null,
      ...calling,
      responseFormat,
      sampling: readSampling(fields),
      seed: (fields.seed ?? 0n).toString(),
      stop: [],
      maxTokens: fields.max_output_tokens ?? defaultMaxTokens({ responseFormat, toolChoice: calling.toolChoice }),
    },
  };
}

function readChoice(choice: ResponsesRequest['tool_choice']): AskedChoice | undefined {
  if (choice === null || choice === undefined) return undefined;
  if (typeof choice === 'string') return { type: choice };
  if (choice.type === 'function') return { type: 'function', names: [choice.name] };
  return { type: choice.mode, names: choice.tools.map(({ name }) => name) };
}

function readFormat(format: z.output<typeof responsesFormatSchema> | null | undefined): ResponseFormat {
  if (format === null || format === undefined) return { type: 'text' };
  if (format.type !== 'json_schema') return format;
  return { type: 'json_schema', schema: toSchemaText(format.schema, 'text.format.schema') };
}
