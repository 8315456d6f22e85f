/**
 * Answers of `POST /v1/chat/completions`, whole.
 *
 * @module
 */

import { z } from 'zod';
import { utf8 } from '../../attest/core/bytes.ts';
import type { Answer } from '../answering.ts';
import type { TokenLogprobs, TokenProbability } from '../engine.ts';
import { headFields, receiptDocumentSchema, toReceiptBody, toUsage, usageSchema } from './receipt-body.ts';

const probability = {
  token: z.string(),
  logprob: z.number().describe('Natural logarithm; -9999 for what is too improbable.'),
  bytes: z.array(z.int().min(0).max(255)).nullable(),
} as const;

const tokenLogprob = z.looseObject({ ...probability, top_logprobs: z.array(z.looseObject(probability)) });

/** Probabilities of the tokens of a content, before sampling and masks; they decide nothing and are not signed. */
export const logprobsSchema = z.looseObject({ content: z.array(tokenLogprob), refusal: z.null() });

/** Why an answer ended. */
export const finishReasonSchema = z.enum(['stop', 'length', 'tool_calls']);

/** Body of an answer. */
export const chatResponseSchema = z.looseObject({
  ...headFields,
  object: z.literal('chat.completion'),
  choices: z
    .array(
      z.looseObject({
        index: z.literal(0),
        message: z.looseObject({
          role: z.literal('assistant'),
          content: z.string().nullable(),
          refusal: z.null(),
          tool_calls: z
            .array(
              z.looseObject({
                id: z.string(),
                type: z.literal('function'),
                function: z.looseObject({ name: z.string(), arguments: z.string() }),
              }),
            )
            .optional(),
        }),
        logprobs: logprobsSchema.nullable(),
        finish_reason: finishReasonSchema,
      }),
    )
    .length(1),
  usage: usageSchema,
  tracebond: receiptDocumentSchema,
});

/**
 * The body of an answer.
 *
 * @param id - of this response and no other: clients tell messages apart by it
 * @param hasLogprobs - whether they were asked for
 */
export function toChatResponse(id: string, answer: Answer, hasLogprobs: boolean): z.input<typeof chatResponseSchema> {
  const { calls, content } = answer;
  const called = calls.map((call) => ({
    id: call.id,
    type: 'function' as const,
    function: { name: call.name, arguments: call.arguments },
  }));
  return {
    id,
    object: 'chat.completion',
    created: answer.created,
    model: answer.identity.id,
    choices: [
      {
        index: 0,
        message: {
          role: 'assistant',
          content,
          refusal: null,
          ...(called.length > 0 ? { tool_calls: called } : {}),
        },
        logprobs: hasLogprobs ? toLogprobs(contentLogprobs(answer)) : null,
        finish_reason: answer.end,
      },
    ],
    usage: toUsage(answer),
    system_fingerprint: answer.fingerprint,
    tracebond: toReceiptBody(answer) as z.input<typeof receiptDocumentSchema>,
  };
}

/** Probabilities as a choice has them. */
export function toLogprobs(tokens: readonly TokenLogprobs[]): z.input<typeof logprobsSchema> {
  return {
    content: tokens.map((token) => ({ ...describe(token), top_logprobs: token.top.map(describe) })),
    refusal: null,
  };
}

function describe({ text, logprob, bytes }: TokenProbability) {
  return { token: text, logprob, bytes: bytes === null ? null : [...bytes] };
}

/** The tokens that the content is made of: all, unless calls follow it. */
function contentLogprobs({ completion: { logprobs = [] }, content, calls }: Answer): readonly TokenLogprobs[] {
  if (calls.length === 0) return logprobs;
  let left = utf8(content ?? '').length;
  return logprobs.filter(({ bytes }) => {
    const isContent = left > 0;
    left -= bytes?.length ?? 0;
    return isContent;
  });
}
