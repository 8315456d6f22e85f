/**
 * Answers of `POST /v1/completions`, whole and piece by piece: a chunk has the shape of a whole answer.
 *
 * @module
 */

import { z } from 'zod';
import type { Answer, AnswerEvent, AnswerStart } from '../answering.ts';
import type { TokenLogprobs } from '../engine.ts';
import type { EventWriter } from './answer-stream.ts';
import { chunkHead, lastChunks } from './chunks.ts';
import { headFields, receiptDocumentSchema, toReceiptBody, toUsage, usageSchema } from './receipt-body.ts';

/** Probabilities in the older form: lists side by side. */
export const textLogprobsSchema = z.looseObject({
  tokens: z.array(z.string()),
  token_logprobs: z.array(z.number()),
  top_logprobs: z.array(z.record(z.string(), z.number())).describe('The chosen token is among them.'),
  text_offset: z.array(z.int().nonnegative()).describe('Code points of the answer before each token.'),
});

const choice = { index: z.literal(0), text: z.string(), logprobs: textLogprobsSchema.nullable() } as const;
const finishReason = z.enum(['stop', 'length']);

/** Body of an answer. */
export const textResponseSchema = z.looseObject({
  ...headFields,
  object: z.literal('text_completion'),
  choices: z.array(z.looseObject({ ...choice, finish_reason: finishReason })).length(1),
  usage: usageSchema,
  tracebond: receiptDocumentSchema,
});

/** One chunk of a stream. */
export const textChunkSchema = z.looseObject({
  ...headFields,
  object: z.literal('text_completion'),
  choices: z.array(z.looseObject({ ...choice, finish_reason: finishReason.nullable() })).max(1),
  usage: usageSchema
    .nullable()
    .optional()
    .describe('With stream_options.include_usage; null in all chunks but the last.'),
  tracebond: receiptDocumentSchema.optional().describe('In the last chunk.'),
});

type Chunk = z.input<typeof textChunkSchema>;

/**
 * The body of an answer.
 *
 * @param id - of this response and no other
 * @param hasLogprobs - whether they were asked for
 */
export function toTextResponse(id: string, answer: Answer, hasLogprobs: boolean): z.input<typeof textResponseSchema> {
  const { completion } = answer;
  return {
    id,
    object: 'text_completion',
    created: answer.created,
    model: answer.identity.id,
    choices: [
      {
        index: 0,
        text: answer.content ?? '',
        logprobs: hasLogprobs ? new TextLogprobs().add(completion.logprobs ?? []) : null,
        finish_reason: toFinishReason(answer),
      },
    ],
    usage: toUsage(answer),
    system_fingerprint: answer.fingerprint,
    tracebond: toReceiptBody(answer) as z.input<typeof receiptDocumentSchema>,
  };
}

/** Chunks of one answer. */
export function openTextStream(options: {
  /** Of the answer, in every chunk. */
  readonly id: string;
  /** Whether a chunk with the numbers of tokens comes last. */
  readonly includeUsage: boolean;
  readonly hasLogprobs: boolean;
}): EventWriter {
  return new TextStream(options);
}

class TextStream implements EventWriter {
  readonly #options: Parameters<typeof openTextStream>[0];
  readonly #logprobs = new TextLogprobs();
  #start: AnswerStart | undefined;

  constructor(options: Parameters<typeof openTextStream>[0]) {
    this.#options = options;
  }

  start(start: AnswerStart): readonly string[] {
    this.#start = start;
    return [];
  }

  piece(event: AnswerEvent): readonly string[] {
    if (event.type !== 'text') throw new TypeError('a prompt has no tools');
    const logprobs = this.#options.hasLogprobs ? this.#logprobs.add(event.logprobs ?? []) : null;
    return [this.#chunk({ choices: [{ index: 0, text: event.text, logprobs, finish_reason: null }] })];
  }

  end(answer: Answer): readonly string[] {
    const choices = [{ index: 0 as const, text: '', logprobs: null, finish_reason: toFinishReason(answer) }];
    return lastChunks(answer, this.#options.includeUsage, choices, (fields) => this.#chunk(fields));
  }

  #chunk(fields: Pick<Chunk, 'choices'> & Partial<Chunk>): string {
    const head = chunkHead(this.#start, this.#options);
    return JSON.stringify({ ...head, object: 'text_completion', ...fields } satisfies Chunk);
  }
}

/** Lists of probabilities, with the offset that the tokens before have reached. */
class TextLogprobs {
  readonly #decoder = new TextDecoder('utf-8', { ignoreBOM: true });
  #offset = 0;

  add(tokens: readonly TokenLogprobs[]): z.input<typeof textLogprobsSchema> {
    return {
      tokens: tokens.map((token) => token.text),
      token_logprobs: tokens.map((token) => token.logprob),
      top_logprobs: tokens.map((token) =>
        Object.fromEntries([token, ...token.top].map(({ text, logprob }) => [text, logprob])),
      ),
      text_offset: tokens.map((token) => {
        const offset = this.#offset;
        const added = this.#decoder.decode(Uint8Array.from(token.bytes ?? []), { stream: true });
        this.#offset += [...added].length;
        return offset;
      }),
    };
  }
}

function toFinishReason({ end }: Answer): 'stop' | 'length' {
  return end === 'length' ? 'length' : 'stop';
}
