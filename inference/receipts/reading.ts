/**
 * What a completion says, read by its request: content, calls of tools, and why it ended. It follows from request and text alone, so
 * whoever holds a receipt reads the same.
 *
 * @module
 */

import { toHex, uintBytes, utf8 } from '../../attest/core/bytes.ts';
import { sha256 } from '../../attest/core/hash.ts';
import type { FinishReason } from '../../attest/sign/receipt.ts';
import { computeRequestDigest, type InferenceRequest } from '../../attest/trace/inference-request.ts';
import type { AnswerEnd } from '../answering.ts';
import { type AnswerReader, type ReadAnswer, readAnswer } from '../tools/answer-reader.ts';

/** Starts to read the text that answers a request. */
export function readAnswerTo(request: InferenceRequest): AnswerReader {
  let digest: Uint8Array | undefined;
  return readAnswer(request.toolChoice.type !== 'none', (index) => {
    digest ??= computeRequestDigest(request);
    return callId(digest, index);
  });
}

/** A whole text at once. */
export function readWholeAnswerTo(request: InferenceRequest, text: string): ReadAnswer {
  const reader = readAnswerTo(request);
  reader.push(text);
  reader.end();
  return reader.answer;
}

/** Why an answer ended, in OpenAI's words, which have none for a choice. */
export function endOf(finish: FinishReason, { calls }: ReadAnswer): AnswerEnd {
  if (calls.length > 0) return 'tool_calls';
  return finish === 'length' ? 'length' : 'stop';
}

/** `call_` and 24 digits of SHA-256("tracebond/call/1" || request digest 32 || index 4): not random, so that a receipt covers it. */
function callId(requestDigest: Uint8Array, index: number): string {
  return `call_${toHex(sha256(utf8('tracebond/call/1'), requestDigest, uintBytes(index, 4))).slice(2, 26)}`;
}
