/**
 * Receipts' facts for tests, from a few words.
 *
 * @module
 */

import { utf8 } from '../../attest/core/bytes.ts';
import { sha256 } from '../../attest/core/hash.ts';
import { NO_PLACE, type ReceiptFacts } from '../../attest/sign/receipt.ts';
import { GREEDY, type InferenceMessage, type InferenceRequest } from '../../attest/trace/inference-request.ts';
import { TOY_IDENTITY } from './toy-engine.ts';

/** A published key: SHA-256 of a text. Never use it for anything but tests. */
export const TEST_KEY = sha256(utf8('tracebond test key'));

/** What a user says. */
export function toyMessage(content: string, changes: Partial<InferenceMessage> = {}): InferenceMessage {
  return { role: 'user', content, name: null, toolCalls: [], toolCallId: null, ...changes };
}

/** A request of the toy's identity. */
export function toyRequest(changes: Partial<InferenceRequest> = {}): InferenceRequest {
  return {
    model: TOY_IDENTITY.model,
    profile: TOY_IDENTITY.profile,
    engine: TOY_IDENTITY.engine,
    messages: [toyMessage('hello')],
    prompt: null,
    tools: [],
    toolChoice: { type: 'none' },
    parallelToolCalls: false,
    responseFormat: { type: 'text' },
    sampling: GREEDY,
    seed: '0',
    stop: [],
    maxTokens: 64,
    ...changes,
  };
}

/** One prompt and one answer; the token ids are their UTF-8 bytes. */
export function factsOf(prompt: string, text: string, changes: Partial<ReceiptFacts> = {}): ReceiptFacts {
  return {
    ...NO_PLACE,
    request: toyRequest({ messages: [toyMessage(prompt)] }),
    completion: { promptIds: [...utf8(prompt)], outputIds: [...utf8(text)], text, finishReason: 'stop', masks: null },
    ...changes,
  };
}
