/**
 * Bodies of `POST /v1/completions`: a text that is continued as it stands, without a chat template.
 *
 * @module
 */

import { z } from 'zod';
import type { LosslessJson } from '../../attest/encoding/canonical-json.ts';
import { REQUEST_LIMITS } from '../../attest/trace/inference-request.ts';
import { type KnownElsewhere, refuse, refuseValue } from '../protocol-faults.ts';
import { type ChatRequest, streamOptionsSchema } from './chat-request.ts';
import { neutralFields, text } from './fields.ts';
import { placeSchema, readPlace } from './place.ts';
import { DEFAULT_MAX_FORMED_TOKENS, isFreeText, readResponseFormat, responseFormatSchema } from './response-format.ts';
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

/** Tokens of a continuation where a request names no number, as in OpenAI's API. */
export const DEFAULT_CONTINUATION_TOKENS = 16;

/** Body of a request; what is not here is refused. */
export const textRequestSchema = z.strictObject({
  model: text(1, 256).describe('Name of a model of this server, or its digest.'),
  prompt: z
    .union([text(0, REQUEST_LIMITS.content), z.array(text(0, REQUEST_LIMITS.content)).length(1)])
    .describe('One text; token ids are not taken.'),
  max_tokens: maxTokens.describe('Most tokens of the continuation; 16, or 1,024 for JSON, by default.'),
  ...samplingFields,
  top_k: topK,
  seed,
  stop,
  logprobs: z.int().min(0).max(5).nullish().describe('Alternatives of each token.'),
  response_format: responseFormatSchema.nullish().describe('As of chat completions. An extension of this server.'),
  stream: z.boolean().nullish(),
  stream_options: streamOptionsSchema.nullish(),
  echo: z.literal(false).nullish(),
  best_of: z.literal(1).nullish(),
  suffix: z.null().optional(),
  ...neutralSamplingFields,
  ...neutralFields,
  tracebond: placeSchema.optional(),
});

const isNumber = (value: LosslessJson | undefined) => typeof value === 'number';
const isTrue = (value: LosslessJson | undefined) => value === true;

const ELSEWHERE: KnownElsewhere = {
  parameters: new Set(),
  values: {
    prompt: Array.isArray,
    'prompt[]': (value) => typeof value === 'number' || Array.isArray(value),
    n: isNumber,
    best_of: isNumber,
    echo: isTrue,
    suffix: (value) => typeof value === 'string',
    frequency_penalty: isNumber,
    presence_penalty: isNumber,
    logit_bias: (value) => typeof value === 'object',
    store: isTrue,
    service_tier: (value) => typeof value === 'string',
    'stream_options.include_obfuscation': isTrue,
  },
};

/**
 * Reads the body of a completion request.
 *
 * @param body - untrusted, of `readBody`
 * @throws {@link ApiError}, {@link InferenceError} as `parseChatRequest`
 */
export function parseTextRequest(body: LosslessJson): ChatRequest {
  const exact = withExactSeed(body);
  const parsed = textRequestSchema.safeParse(exact);
  if (!parsed.success) throw refuse(parsed.error.issues, exact, ELSEWHERE);
  const fields = parsed.data;
  const isStream = fields.stream ?? false;
  if (fields.stream_options !== null && fields.stream_options !== undefined && !isStream) {
    throw refuseValue('stream_options', 'expected with stream: true only');
  }
  const responseFormat = readResponseFormat(fields.response_format);
  const formed = { responseFormat, toolChoice: { type: 'none' } } as const;
  const stops = readStop(fields.stop);
  if (stops.length > 0 && !isFreeText(formed)) throw refuseValue('stop', 'stop goes with free text only');
  const isJson = responseFormat.type === 'json_object' || responseFormat.type === 'json_schema';
  const [prompt = ''] = typeof fields.prompt === 'string' ? [fields.prompt] : fields.prompt;
  return {
    asked: {
      model: fields.model,
      ...readPlace(fields.tracebond),
      request: {
        messages: [],
        prompt,
        tools: [],
        ...formed,
        parallelToolCalls: false,
        sampling: readSampling(fields),
        seed: String(fields.seed ?? 0),
        stop: stops,
        maxTokens: fields.max_tokens ?? (isJson ? DEFAULT_MAX_FORMED_TOKENS : DEFAULT_CONTINUATION_TOKENS),
      },
      logprobs: fields.logprobs ?? null,
    },
    isStream,
    includeUsage: fields.stream_options?.include_usage ?? false,
    nameParam: ({ at }, param) => {
      if (at['field'] === 'schema') return 'response_format.json_schema.schema';
      return param === 'messages' ? 'prompt' : undefined;
    },
  };
}
