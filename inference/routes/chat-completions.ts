/**
 * `POST /v1/chat/completions`: an answer with its receipt, whole or as a stream.
 *
 * @module
 */

import { randomBytes } from 'node:crypto';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { LosslessJson } from '../../attest/encoding/canonical-json.ts';
import type { Answer } from '../answering.ts';
import { type AnswerStreamOptions, type EventWriter, streamAnswer } from '../api/answer-stream.ts';
import { type ChatRequest, parseChatRequest } from '../api/chat-request.ts';
import { toChatResponse } from '../api/chat-response.ts';
import { openChatStream } from '../api/chat-stream.ts';
import { readBody } from '../api/json-body.ts';
import { clientSignal } from '../api/sse.ts';
import { withParam } from '../protocol-faults.ts';
import type { ServerContext } from './context.ts';

/** Settings of the routes of completions. */
export type CompletionOptions = AnswerStreamOptions & {
  /** What follows the prefix of a response's id; 24 random hexadecimal digits by default. */
  readonly newId?: () => string;
};

/** What a surface of completions reads and writes. */
export type CompletionSurface = {
  readonly prefix: string;
  parse(body: LosslessJson): ChatRequest;
  whole(id: string, answer: Answer, hasLogprobs: boolean): object;
  open(options: { readonly id: string; readonly includeUsage: boolean; readonly hasLogprobs: boolean }): EventWriter;
};

/** Adds the route. */
export function addChatCompletions(
  app: FastifyInstance,
  context: ServerContext,
  options: CompletionOptions = {},
): void {
  const surface: CompletionSurface = {
    prefix: 'chatcmpl-',
    parse: parseChatRequest,
    whole: toChatResponse,
    open: openChatStream,
  };
  app.post('/v1/chat/completions', answerWith(surface, context, options));
}

/** A handler that answers in a surface's words. */
export function answerWith(
  surface: CompletionSurface,
  { answer, callerOf }: Pick<ServerContext, 'answer' | 'callerOf'>,
  { newId = randomId, ...settings }: CompletionOptions,
): (call: FastifyRequest, reply: FastifyReply) => Promise<unknown> {
  return async (call, reply) => {
    const { asked, isStream, includeUsage, nameParam } = surface.parse(readBody(call));
    const caller = callerOf(call);
    const hasLogprobs = asked.logprobs !== null;
    try {
      const id = `${surface.prefix}${newId()}`;
      if (isStream) {
        const writer = surface.open({ id, includeUsage, hasLogprobs });
        return await streamAnswer(reply, { answer, asked, caller, responseId: id }, writer, settings);
      }
      const made = await answer(asked, { signal: clientSignal(reply), caller, responseId: id });
      return surface.whole(id, made, hasLogprobs);
    } catch (error) {
      throw withParam(error, nameParam);
    }
  };
}

function randomId(): string {
  return randomBytes(12).toString('hex');
}
