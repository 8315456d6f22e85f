/**
 * The HTTP API as the runtime's client speaks it: a request in normal form as a body of OpenAI's, and what of an answer is read.
 *
 * P1. A body written here is read by the server (`api/chat-request.ts`, `api/text-request.ts`) as exactly the request it was made of.
 * P2. Of an answer nothing is believed that the receipt does not cover.
 *
 * Spec: `inference/spec/receipt.md#over-http`.
 *
 * @module
 */

import { z } from 'zod';
import { type Hex, toHex } from '../attest/core/bytes.ts';
import { type Json, parseJsonText } from '../attest/encoding/canonical-json.ts';
import type { InferencePlace } from '../attest/sign/receipt.ts';
import type { InferenceMessage, InferenceRequest, ResponseFormat } from '../attest/trace/inference-request.ts';
import { decimal, hex, UINT256 } from './api/fields.ts';
import type { ModelIdentity } from './engine.ts';
import { SAMPLING_UNITS } from './exact/sampler.ts';

/** A request as it goes over the wire. */
export type WireRequest = {
  readonly path: '/v1/chat/completions' | '/v1/completions';
  readonly body: { readonly [key: string]: Json };
};

/**
 * The call that asks for exactly this request at this place; the server reads it back.
 *
 * @param modelId - the server's name of the model
 * @throws TypeError for a prompt with tools, which no surface of the API takes
 */
export function toWireRequest(request: InferenceRequest, modelId: string, at: InferencePlace): WireRequest {
  return request.prompt === null
    ? { path: '/v1/chat/completions', body: toChatBody(request, modelId, at) }
    : { path: '/v1/completions', body: toTextBody(request, modelId, at) };
}

/**
 * A conversation as the body of a chat completion.
 *
 * @param modelId - the server's name of the model
 * @throws TypeError for a prompt
 */
export function toChatBody(request: InferenceRequest, modelId: string, at: InferencePlace): WireRequest['body'] {
  if (request.prompt !== null) throw new TypeError('expected messages, got a prompt');
  const { tools, toolChoice, parallelToolCalls } = request;
  return {
    model: modelId,
    messages: request.messages.map(toMessage),
    ...(tools.length === 0
      ? {}
      : {
          tools: tools.map(({ name, description, parameters }) => ({
            type: 'function',
            function: { name, ...(description === null ? {} : { description }), parameters: parseJsonText(parameters) },
          })),
          tool_choice:
            toolChoice.type === 'function'
              ? { type: 'function', function: { name: toolChoice.name } }
              : toolChoice.type,
          parallel_tool_calls: parallelToolCalls,
        }),
    max_completion_tokens: request.maxTokens,
    ...toSharedFields(request, at),
  };
}

/**
 * A prompt as the body of a completion.
 *
 * @param modelId - the server's name of the model
 * @throws TypeError for a conversation, or with tools
 */
export function toTextBody(request: InferenceRequest, modelId: string, at: InferencePlace): WireRequest['body'] {
  if (request.prompt === null) throw new TypeError('expected a prompt, got messages');
  if (request.tools.length > 0) throw new TypeError('a prompt has no tools');
  return {
    model: modelId,
    prompt: request.prompt,
    max_tokens: request.maxTokens,
    ...toSharedFields(request, at),
  };
}

function toMessage({ role, content, name, toolCalls, toolCallId }: InferenceMessage): Json {
  return {
    role,
    content,
    ...(name === null ? {} : { name }),
    ...(toolCalls.length === 0
      ? {}
      : {
          tool_calls: toolCalls.map((call) => ({
            id: call.id,
            type: 'function',
            function: { name: call.name, arguments: call.arguments },
          })),
        }),
    ...(toolCallId === null ? {} : { tool_call_id: toolCallId }),
  };
}

function toSharedFields(request: InferenceRequest, at: InferencePlace): WireRequest['body'] {
  const { temperature, topP, topK } = request.sampling;
  return {
    temperature: temperature / SAMPLING_UNITS,
    top_p: topP / SAMPLING_UNITS,
    top_k: topK,
    seed: request.seed,
    stop: request.stop,
    response_format: toFormat(request.responseFormat),
    tracebond: {
      run: toHex(at.run),
      index: at.index.toString(),
      runSeed: toHex(at.runSeed),
      chainId: at.chainId.toString(),
      contract: at.contract,
      model: request.model,
      profile: request.profile,
      engine: request.engine,
    },
  };
}

function toFormat(format: ResponseFormat): Json {
  if (format.type !== 'json_schema') return format;
  return { type: 'json_schema', json_schema: { name: 'answer', schema: parseJsonText(format.schema) } };
}

const tokenIds = z.array(z.int().min(0).max(0xffffffff));

/** What a client reads of an answer of either surface: what it needs is checked, other fields may be there. */
export const answerSchema = z.looseObject({
  choices: z.tuple([
    z.looseObject({
      finish_reason: z.enum(['stop', 'length', 'tool_calls']),
      /** Of completions. */
      text: z.string().optional(),
      /** Of chat completions. */
      message: z
        .looseObject({
          content: z.string().nullable(),
          tool_calls: z
            .array(
              z.looseObject({ id: z.string(), function: z.looseObject({ name: z.string(), arguments: z.string() }) }),
            )
            .optional(),
        })
        .optional(),
    }),
  ]),
  tracebond: z.looseObject({
    receipt: z.unknown(),
    promptIds: tokenIds,
    outputIds: tokenIds,
    masks: hex(32).nullable(),
    text: z.string(),
  }),
});

/** What a server says about its model under `tracebond`, besides OpenAI's fields. */
export const modelSchema = z.looseObject({
  id: z.string().min(1).max(256),
  object: z.literal('model'),
  tracebond: z.strictObject({
    model: hex(32),
    tokenizer: hex(32),
    operations: hex(32),
    profile: hex(32),
    profileName: z.enum(['exact', 'float-same-isa']),
    engine: hex(32),
    contextLength: z.int().min(1).max(0xffffffff),
    vocabularySize: z.int().min(1).max(0xffffffff),
    signer: hex(20),
    chainId: decimal(UINT256).nullable(),
    contract: hex(20).nullable(),
  }),
});

/** Body of `GET /v1/models`. The first model has its identity; others that were never opened have none yet. */
export const modelListSchema = z.looseObject({
  object: z.literal('list'),
  data: z.tuple([modelSchema], z.looseObject({ id: z.string() })),
});

/** Chain and contract that receipts are bound to, or null where each request names its own. */
export type ReceiptDomain = { readonly chainId: bigint; readonly contract: Hex } | null;

/** The JSON of one model. `created` is not known for a file and is 0. */
export function toModelBody(
  identity: ModelIdentity,
  signer: Hex,
  domain: ReceiptDomain,
): { readonly [key: string]: Json } {
  const { id, ...digests } = identity;
  return {
    id,
    object: 'model',
    created: 0,
    owned_by: 'tracebond',
    tracebond: {
      ...digests,
      signer,
      chainId: domain === null ? null : domain.chainId.toString(),
      contract: domain === null ? null : domain.contract,
    },
  };
}
