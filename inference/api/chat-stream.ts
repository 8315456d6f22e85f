/**
 * Answers of `POST /v1/chat/completions` piece by piece. The pieces put together are the whole answer; the last chunk carries the receipt.
 *
 * @module
 */

import { z } from 'zod';
import type { Answer, AnswerEvent, AnswerStart } from '../answering.ts';
import type { EventWriter } from './answer-stream.ts';
import { finishReasonSchema, logprobsSchema, toLogprobs } from './chat-response.ts';
import { chunkHead, lastChunks } from './chunks.ts';
import { headFields, receiptDocumentSchema, usageSchema } from './receipt-body.ts';

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
    const choices = [{ index: 0 as const, delta: {}, logprobs: null, finish_reason: answer.end }];
    return lastChunks(answer, this.#options.includeUsage, choices, (fields) => this.#chunk(fields));
  }

  #choice(piece: Delta, logprobs: z.input<typeof logprobsSchema> | null = null): string {
    return this.#chunk({ choices: [{ index: 0, delta: piece, logprobs, finish_reason: null }] });
  }

  #chunk(fields: Pick<Chunk, 'choices'> & Partial<Chunk>): string {
    const head = chunkHead(this.#start, this.#options);
    return JSON.stringify({ ...head, object: 'chat.completion.chunk', ...fields } satisfies Chunk);
  }
}
