/**
 * Sends an answer as a stream of events while it is made.
 *
 * A1. Nothing is sent before the request is accepted, so that a refusal has its status.
 * A2. An error after that is an event with OpenAI's error object, and the stream ends without its last event.
 *
 * @module
 */

import type { FastifyReply } from 'fastify';
import type { Answer, AnswerEvent, Answering, AnswerStart, Asked, Caller } from '../answering.ts';
import { toErrorReply } from '../api-errors.ts';
import { clientSignal, type EventStream, type EventStreamOptions, openEventStream } from './sse.ts';

/** What is sent, as data of events. */
export type EventWriter = {
  start(start: AnswerStart): readonly string[];
  piece(event: AnswerEvent): readonly string[];
  end(answer: Answer): readonly string[];
};

/** Settings of streams, and who is told of faults that clients see as a bare `internal_error`. */
export type AnswerStreamOptions = Omit<EventStreamOptions, 'onGone'> & { readonly onFault?: (error: unknown) => void };

/** What is asked, by whom, and the id of the response. */
export type Streamed = {
  readonly answer: Answering;
  readonly asked: Asked;
  readonly caller: Caller | null;
  readonly responseId: string;
};

/**
 * Answers and streams.
 *
 * @param answer - makes the answer
 * @throws what `answer` throws, if nothing was sent yet
 */
export async function streamAnswer(
  reply: FastifyReply,
  { answer, asked, caller, responseId }: Streamed,
  writer: EventWriter,
  { onFault = () => {}, ...settings }: AnswerStreamOptions = {},
): Promise<FastifyReply> {
  let stream: EventStream | undefined;
  const open = (start: AnswerStart): EventStream => {
    if (stream !== undefined) return stream;
    stream = openEventStream(reply, settings);
    for (const data of writer.start(start)) stream.send(data);
    return stream;
  };
  try {
    const made = await answer(asked, {
      signal: clientSignal(reply),
      caller,
      responseId,
      onStart: open,
      onEvent: (event) => {
        for (const data of writer.piece(event)) stream?.send(data);
      },
    });
    const opened = open(made);
    for (const data of writer.end(made)) opened.send(data);
    opened.end();
  } catch (error) {
    if (stream === undefined) throw error;
    const { status, body } = toErrorReply(error);
    if (status === 500) onFault(error);
    stream.send(JSON.stringify(body));
    stream.end();
  }
  return reply;
}
