/**
 * From the normal form of a request, which is hashed, to what an engine is asked. Both who serves a request and who
 * computes it again go through here, so they ask the same.
 *
 * @module
 */

import { toHex } from '../attest/core/bytes.ts';
import type { Digest } from '../attest/core/hash.ts';
import type { InferenceRequest } from '../attest/trace/inference-request.ts';
import type { CompletionRequest } from './engine.ts';

/**
 * What an engine must compute for a request; the digests stay behind.
 *
 * @param seed - seed of the inference, 32 bytes, of `computeInferenceSeed`
 */
export function toCompletionRequest(request: InferenceRequest, seed: Digest): CompletionRequest {
  const { messages, prompt, tools, toolChoice, parallelToolCalls, maxTokens, responseFormat, sampling, stop } = request;
  const { type } = responseFormat;
  return {
    messages: messages.map(({ role, content, name, toolCalls, toolCallId }) => ({
      role,
      content,
      ...(name === null ? {} : { name }),
      ...(toolCalls.length === 0 ? {} : { toolCalls }),
      ...(toolCallId === null ? {} : { toolCallId }),
    })),
    ...(prompt === null ? {} : { prompt }),
    maxTokens,
    ...(type === 'choice' ? { choices: responseFormat.choices } : {}),
    ...(type === 'json_object' || type === 'json_schema' ? { format: responseFormat } : {}),
    ...(toolChoice.type === 'none' ? {} : { toolUse: { tools, choice: toolChoice, parallel: parallelToolCalls } }),
    ...(stop.length > 0 ? { stop } : {}),
    ...(sampling.temperature === 0 ? {} : { sampling: { ...sampling, seed: toHex(seed) } }),
  };
}
