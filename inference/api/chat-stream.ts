/**
 * Answers of `POST /v1/chat/completions` piece by piece. The pieces put together are the whole answer; the last chunk carries the receipt.
 *
 * @module
 */

import { z } from 'zod';
import type { Answer, AnswerEvent, AnswerStart } from '../answering.ts';
import type { EventWriter } from './answer-stream.ts';
import { finishReasonSchema, logprobsSchema, toLogprobs } from './chat-response.ts';
import { headFields, receiptDocumentSchema, toReceiptBody, toUsage, usageSchema } from './receipt-body.ts';

const delta = z.looseObject({
  role: z.literal('assistant').optional(),
  content: z.string().optional(),
  refusal: z.null().optional(),
  tool_calls: z
    .array(
      z.looseObject({
        index: z.int().nonnegative(),
        id: z.string().optional(),
        type: z.literal('function').optional(),
        function: z.looseObject({ name: z.string().optional(), arguments: z.string() }),
      }),
    )
    .optional(),
});

/** One chunk of a stream. */
export const chatChunkSchema = z.looseObject({
  ...headFields,
  object: z.literal('chat.completion.chunk'),
  choices: z
    .array(
      z.looseObject({
        index: z.literal(0),
        delta,
        logprobs: logprobsSchema.nullable(),
        finish_reason: finishReasonSchema.nullable(),
      }),
    )
    .max(1),
  usage: usageSchema
    .nullable()
    .optional()
    .describe('With stream_options.include_usage; null in all chunks but the last.'),
  tracebond: receiptDocumentSchema.optional().describe('In the last chunk.'),
});

type Chunk = z.input<typeof chatChunkSchema>;
type Delta = z.input<typeof delta>;

/** Chunks of one answer. */
export function openChatStream(options: {
  /** Of the answer, in every chunk. */
  readonly id: string;
  /** Whether a chunk with the numbers of tokens comes last. */
  readonly includeUsage: boolean;
  readonly hasLogprobs: boolean;
}): EventWriter {
  return new ChatStream(options);
}

class ChatStream implements EventWriter {
  readonly #options: Parameters<typeof openChatStream>[0];
  #start: AnswerStart | undefined;

  constructor(options: Parameters<typeof openChatStream>[0]) {
    this.#options = options;
  }

  start(start: AnswerStart): readonly string[] {
    this.#start = start;
    return [this.#choice({ role: 'assistant', content: '', refusal: null })];
  }

  piece(event: AnswerEvent): readonly string[] {
    switch (event.type) {
      case 'text': {
        const { logprobs = [] } = event;
        return [this.#choice({ content: event.text }, this.#options.hasLogprobs ? toLogprobs(logprobs) : null)];
      }
      case 'call': {
        const { index, id, name } = event;
        return [this.#choice({ tool_calls: [{ index, id, type: 'function', function: { name, arguments: '' } }] })];
      }
      case 'arguments':
        return [this.#choice({ tool_calls: [{ index: event.index, function: { arguments: event.text } }] })];
    }
  }

  end(answer: Answer): readonly string[] {
    const { includeUsage } = this.#options;
    const receipt = { tracebond: toReceiptBody(answer) as z.input<typeof receiptDocumentSchema> };
    const last = this.#choice({}, null, answer.end, includeUsage ? {} : receipt);
    if (!includeUsage) return [last, '[DONE]'];
    return [last, this.#chunk({ choices: [], usage: toUsage(answer), ...receipt }), '[DONE]'];
  }

  #choice(
    piece: Delta,
    logprobs: z.input<typeof logprobsSchema> | null = null,
    end: Answer['end'] | null = null,
    more: Partial<Chunk> = {},
  ): string {
    return this.#chunk({ choices: [{ index: 0, delta: piece, logprobs, finish_reason: end }], ...more });
  }

  #chunk(fields: Pick<Chunk, 'choices'> & Partial<Chunk>): string {
    if (this.#start === undefined) throw new TypeError('expected a start before all pieces');
    const { identity, created, fingerprint } = this.#start;
    return JSON.stringify({
      id: this.#options.id,
      object: 'chat.completion.chunk',
      created,
      model: identity.id,
      system_fingerprint: fingerprint,
      ...(this.#options.includeUsage ? { usage: null } : {}),
      ...fields,
    } satisfies Chunk);
  }
}
