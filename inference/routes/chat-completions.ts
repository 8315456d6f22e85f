/**
 * `POST /v1/chat/completions`: one completion, with its receipt.
 *
 * @module
 */

import type { FastifyInstance } from 'fastify';
import { fromHex, toHex } from '../../attest/core/bytes.ts';
import { sha256 } from '../../attest/core/hash.ts';
import type { Json, LosslessJson } from '../../attest/encoding/canonical-json.ts';
import { type InferencePlace, type Receipt, signReceipt } from '../../attest/sign/receipt.ts';
import type { InferenceRequest } from '../../attest/trace/inference-request.ts';
import { ApiError } from '../api-errors.ts';
import { toCompletionRequest } from '../completion-request.ts';
import type { Completion, ModelIdentity } from '../engine.ts';
import { type ChatRequest, OFF_CHAIN, parseChatRequest } from '../protocol.ts';
import type { ServerContext } from './context.ts';

/** Adds the route. */
export function addChatCompletions(app: FastifyInstance, context: ServerContext): void {
  const { engine, privateKey } = context;
  app.post('/v1/chat/completions', async (call, reply) => {
    if (call.body === undefined) throw new ApiError('INVALID_JSON', 'body is empty');
    const chat = parseChatRequest(call.body as LosslessJson);
    const request = bindRequest(chat, engine.identity);
    const place = bindPlace(chat, context);

    const gone = new AbortController();
    reply.raw.once('close', () => {
      if (!reply.raw.writableFinished) gone.abort();
    });
    const completion = await engine.complete(toCompletionRequest(request), gone.signal);
    const receipt = signReceipt({ ...place, request, completion }, privateKey);
    return toChatResponse(completion, receipt, engine.identity, context.now());
  });
}

/** The whole request: what the client asked for and the identity of what answers it. */
function bindRequest(chat: ChatRequest, identity: ModelIdentity): InferenceRequest {
  const { model, profile, engine } = identity;
  if (chat.model !== identity.id && chat.model !== model) {
    const asked = JSON.stringify(chat.model);
    throw new ApiError('MODEL_NOT_FOUND', `model ${asked} is not served here, ${JSON.stringify(identity.id)} is`);
  }
  for (const field of ['model', 'profile', 'engine'] as const) {
    const pinned = chat.pinned[field];
    if (pinned !== undefined && pinned !== identity[field]) {
      throw new ApiError('IDENTITY_MISMATCH', `${field}: expected ${pinned}, this server has ${identity[field]}`, {
        at: { param: `tracebond.${field}` },
      });
    }
  }
  return { ...chat.request, model, profile, engine };
}

function bindPlace({ place }: ChatRequest, { domain }: ServerContext): InferencePlace {
  const own = domain ?? OFF_CHAIN;
  const bound = { ...own, ...place };
  if (domain === null) return bound;
  for (const field of ['chainId', 'contract'] as const) {
    if (bound[field] !== own[field]) {
      throw new ApiError('WRONG_CHAIN', `${field}: expected ${own[field]}, the request has ${bound[field]}`, {
        at: { param: `tracebond.${field}` },
      });
    }
  }
  return bound;
}

function toChatResponse(
  completion: Completion,
  receipt: Receipt,
  identity: ModelIdentity,
  nowMs: number,
): { readonly [key: string]: Json } {
  const { promptIds, outputIds, text, finishReason } = completion;
  return {
    // Not random: the same signed receipt has the same id, here and in a log.
    id: `chatcmpl-${toHex(sha256(fromHex(receipt.signature))).slice(2, 26)}`,
    object: 'chat.completion',
    created: Math.floor(nowMs / 1000),
    model: identity.id,
    choices: [
      {
        index: 0,
        message: { role: 'assistant', content: text, refusal: null },
        logprobs: null,
        // OpenAI's clients know no `choice`; the receipt has it.
        finish_reason: finishReason === 'length' ? 'length' : 'stop',
      },
    ],
    usage: {
      prompt_tokens: promptIds.length,
      completion_tokens: outputIds.length,
      total_tokens: promptIds.length + outputIds.length,
    },
    system_fingerprint: fingerprint(identity),
    tracebond: { receipt, promptIds, outputIds },
  };
}

/** Equal for two servers exactly when model, numerics and engine are. */
function fingerprint({ model, profile, engine }: ModelIdentity): string {
  return `fp_${toHex(sha256(fromHex(model), fromHex(profile), fromHex(engine))).slice(2, 22)}`;
}
