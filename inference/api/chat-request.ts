/**
 * Bodies of `POST /v1/chat/completions`.
 *
 * Q1. Nothing is ignored that OpenAI's API acts on: a parameter that this server does not act on is refused by name, unless its value is
 * the one that changes nothing.
 * Q2. Two bodies that mean the same become one request in normal form, and so one request digest.
 *
 * Spec: `inference/spec/receipt.md#over-http`.
 *
 * @module
 */

import { z } from 'zod';
import type { LosslessJson } from '../../attest/encoding/canonical-json.ts';
import { REQUEST_LIMITS } from '../../attest/trace/inference-request.ts';
import type { Asked } from '../answering.ts';
import type { InferenceError } from '../errors.ts';
import { type KnownElsewhere, refuse, refuseValue } from '../protocol-faults.ts';
import { neutralFields, text } from './fields.ts';
import { messageSchema, readMessages } from './message.ts';
import { placeSchema, readPlace } from './place.ts';
import { defaultMaxTokens, isFreeText, readResponseFormat, responseFormatSchema } from './response-format.ts';
import {
  maxTokens,
  neutralSamplingFields,
  readSampling,
  readStop,
  samplingFields,
  seed,
  stop,
  topK,
  withExactSeed,
} from './sampling-fields.ts';
import { bindTools, chatToolChoiceSchema, chatToolSchema, readToolChoice, toRequestTool } from './tools.ts';

/** `stream_options`, of streams alone. */
export const streamOptionsSchema = z.strictObject({
  include_usage: z.boolean().nullish().describe('A last chunk with the numbers of tokens, and with the receipt.'),
  include_obfuscation: z.literal(false).nullish(),
});

/** Body of a request; what is not here is refused. */
export const chatRequestSchema = z.strictObject({
  model: text(1, 256).describe('Name of a model of this server, or its digest.'),
  messages: z.array(messageSchema).min(1).max(REQUEST_LIMITS.messages),
  tools: z.array(chatToolSchema).max(REQUEST_LIMITS.tools).nullish(),
  tool_choice: chatToolChoiceSchema.nullish(),
  parallel_tool_calls: z.boolean().nullish().describe('Whether one answer may hold several calls; true by default.'),
  response_format: responseFormatSchema.nullish(),
  max_completion_tokens: maxTokens.describe('Most tokens of the answer; 256, or 1,024 for JSON and tools, by default.'),
  max_tokens: maxTokens.describe('The older name of max_completion_tokens.'),
  ...samplingFields,
  top_k: topK,
  seed,
  stop,
  logprobs: z.boolean().nullish(),
  top_logprobs: z.int().min(0).max(20).nullish().describe('Alternatives of each token; with logprobs only.'),
  stream: z.boolean().nullish(),
  stream_options: streamOptionsSchema.nullish(),
  ...neutralSamplingFields,
  ...neutralFields,
  modalities: z.array(z.literal('text')).max(1).nullish(),
  reasoning_effort: z.literal('none').nullish(),
  verbosity: z.null().optional(),
  audio: z.null().optional(),
  prediction: z.null().optional(),
  moderation: z.null().optional(),
  prompt_cache_retention: z.null().optional(),
  tracebond: placeSchema.optional(),
});

const isNumber = (value: LosslessJson | undefined) => typeof value === 'number';
const isText = (value: LosslessJson | undefined) => typeof value === 'string';
const isObject = (value: LosslessJson | undefined) => typeof value === 'object' && value !== null;
const isTrue = (value: LosslessJson | undefined) => value === true;
const isNot =
  (...own: readonly string[]) =>
  (value: LosslessJson | undefined) =>
    typeof value === 'string' && !own.includes(value);

/** What else OpenAI's API has. */
const ELSEWHERE: KnownElsewhere = {
  parameters: new Set([
    'function_call',
    'functions',
    'prompt_cache_options',
    'web_search_options',
    'messages[].audio',
    'messages[].content[].prompt_cache_breakpoint',
  ]),
  values: {
    n: isNumber,
    frequency_penalty: isNumber,
    presence_penalty: isNumber,
    logit_bias: isObject,
    store: isTrue,
    service_tier: isText,
    'modalities[]': isText,
    modalities: isObject,
    reasoning_effort: isText,
    verbosity: isText,
    audio: isObject,
    prediction: isObject,
    moderation: isObject,
    prompt_cache_retention: isText,
    'stream_options.include_obfuscation': isTrue,
    'messages[].role': (value) => value === 'function',
    'messages[].content[].type': isNot('text'),
    'messages[].audio': isObject,
    'messages[].function_call': isObject,
    'messages[].annotations': isObject,
    'messages[].tool_calls[].type': (value) => value === 'custom',
    'tools[].type': (value) => value === 'custom',
    'tool_choice.type': (value) => value === 'custom',
    'tool_choice.allowed_tools.tools[].type': isNot('function'),
    'response_format.type': (value) => value === 'grammar' || value === 'python',
  },
};

/** A chat completion that a client asks for. */
export type ChatRequest = {
  readonly asked: Asked;
  readonly isStream: boolean;
  /** Whether a stream ends with the numbers of its tokens. */
  readonly includeUsage: boolean;
  /** Names of parameters as the client uses them, for faults that the engine finds. */
  readonly nameParam: (fault: InferenceError, param: string | null) => string | undefined;
};

/**
 * Reads the body of a chat completion request.
 *
 * @param body - untrusted, of `readBody`
 * @throws {@link ApiError} with the parameter in `at.param`: `MISSING_PARAMETER`, `UNKNOWN_PARAMETER`, `UNSUPPORTED_PARAMETER` (OpenAI's,
 *   and not this server's), `UNSUPPORTED_VALUE` (likewise), `INVALID_TYPE`, `INVALID_VALUE`
 */
export function parseChatRequest(body: LosslessJson): ChatRequest {
  const exact = withExactSeed(body);
  const parsed = chatRequestSchema.safeParse(exact);
  if (!parsed.success) throw refuse(parsed.error.issues, exact, ELSEWHERE);
  const fields = parsed.data;
  const { max_tokens: older, max_completion_tokens: newer } = fields;
  if (typeof older === 'number' && typeof newer === 'number' && older !== newer) {
    throw refuseValue('max_tokens', 'max_tokens and max_completion_tokens differ');
  }
  const isStream = fields.stream ?? false;
  if (fields.stream_options !== null && fields.stream_options !== undefined && !isStream) {
    throw refuseValue('stream_options', 'expected with stream: true only');
  }
  return {
    asked: {
      model: fields.model,
      ...readPlace(fields.tracebond),
      request: readRequest(fields),
      logprobs: readLogprobs(fields),
    },
    isStream,
    includeUsage: fields.stream_options?.include_usage ?? false,
    nameParam: ({ at }, param) => {
      if (at['field'] === 'schema') return 'response_format.json_schema.schema';
      if (at['field'] === 'tools' && typeof at['index'] === 'number')
        return `tools[${at['index']}].function.parameters`;
      return param === 'max_tokens' && typeof newer === 'number' ? 'max_completion_tokens' : undefined;
    },
  };
}

function readRequest(fields: z.output<typeof chatRequestSchema>): Asked['request'] {
  const tools = (fields.tools ?? []).map((tool, i) => toRequestTool(tool.function, `tools[${i}].function.parameters`));
  const formed = {
    ...bindTools(tools, readToolChoice(fields.tool_choice), fields.parallel_tool_calls),
    responseFormat: readResponseFormat(fields.response_format),
  };
  if (formed.responseFormat.type === 'choice' && formed.toolChoice.type !== 'none') {
    throw refuseValue('response_format', 'a choice excludes tools');
  }
  const stops = readStop(fields.stop);
  if (stops.length > 0 && !isFreeText(formed)) throw refuseValue('stop', 'stop goes with free text without tools only');
  return {
    messages: readMessages(fields.messages),
    prompt: null,
    ...formed,
    sampling: readSampling(fields),
    seed: String(fields.seed ?? 0),
    stop: stops,
    maxTokens: fields.max_completion_tokens ?? fields.max_tokens ?? defaultMaxTokens(formed),
  };
}

function readLogprobs({ logprobs, top_logprobs: top }: z.output<typeof chatRequestSchema>): number | null {
  if (logprobs === true) return top ?? 0;
  if (typeof top === 'number' && top > 0) throw refuseValue('top_logprobs', 'expected with logprobs: true only');
  return null;
}
