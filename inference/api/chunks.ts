/**
 * What chunks of chat completions and of completions have in common: their head, and how a stream ends.
 *
 * @module
 */

import type { z } from 'zod';
import type { Answer, AnswerStart } from '../answering.ts';
import { type receiptDocumentSchema, toReceiptBody, toUsage } from './receipt-body.ts';

/** What the head of a chunk follows from, besides its answer. */
type Head = { readonly id: string; readonly includeUsage: boolean };

/**
 * Fields of every chunk. Where a chunk with the numbers of tokens comes last, all others say that theirs is not it.
 *
 * @throws TypeError before the answer has started
 */
export function chunkHead(start: AnswerStart | undefined, { id, includeUsage }: Head) {
  if (start === undefined) throw new TypeError('expected a start before all pieces');
  const { identity, created, fingerprint } = start;
  const usage = includeUsage ? { usage: null } : {};
  return { id, created, model: identity.id, system_fingerprint: fingerprint, ...usage };
}

/**
 * The end of a stream: the receipt is in its last chunk.
 *
 * @param choices - of the chunk that says why the answer ended
 * @param write - makes a chunk
 */
export function lastChunks<C>(
  answer: Answer,
  includeUsage: boolean,
  choices: readonly C[],
  write: (fields: {
    choices: C[];
    usage?: ReturnType<typeof toUsage>;
    tracebond?: z.input<typeof receiptDocumentSchema>;
  }) => string,
): readonly string[] {
  const tracebond = toReceiptBody(answer) as z.input<typeof receiptDocumentSchema>;
  if (!includeUsage) return [write({ choices: [...choices], tracebond }), '[DONE]'];
  return [write({ choices: [...choices] }), write({ choices: [], usage: toUsage(answer), tracebond }), '[DONE]'];
}
