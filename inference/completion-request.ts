/**
 * From the normal form of a request, which is hashed, to what an engine is asked. Both who serves a request and who
 * computes it again go through here, so they ask the same.
 *
 * @module
 */

import type { InferenceRequest } from '../attest/trace/inference-request.ts';
import type { CompletionRequest } from './engine.ts';

/** What an engine must compute for a request; the digests and the seed stay behind, greedy decoding draws nothing. */
export function toCompletionRequest(request: InferenceRequest): CompletionRequest {
  const { messages, maxTokens, responseFormat, stop } = request;
  return {
    messages: messages.map(({ role, content, name }) => (name === null ? { role, content } : { role, content, name })),
    maxTokens,
    ...(responseFormat.type === 'choice' ? { choices: responseFormat.choices } : {}),
    ...(stop.length > 0 ? { stop } : {}),
  };
}
