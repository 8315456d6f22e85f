/**
 * Streams of `/v1/responses`: an answer as named, numbered events while it is made.
 *
 * Nothing is sent before the request is accepted, so that a refusal has its status; a fault after that is the events `error` and
 * `response.failed`.
 *
 * @module
 */

import type { FastifyReply } from 'fastify';
import type { Answer, AnswerOptions, AnswerStart } from '../answering.ts';
import { toErrorReply } from '../api-errors.ts';
import type { AnswerStreamOptions } from './answer-stream.ts';
import { failResponse, type ResponseBody } from './responses-body.ts';
import { type OutputWriter, type UnnumberedEvent, writeOutput } from './responses-output.ts';
import { type EventStream, openEventStream } from './sse.ts';

/** What one stream is made of. */
export type ResponseStreaming = {
  readonly newId: (prefix: string) => string;
  /** Makes the answer. */
  readonly answer: (options: Pick<AnswerOptions, 'onStart' | 'onEvent'>) => Promise<Answer>;
  readonly begin: (start: AnswerStart) => ResponseBody;
  /** Ends the output; the response with its receipt. */
  readonly finish: (begun: ResponseBody, answer: Answer, output: OutputWriter) => ResponseBody;
};

/**
 * Answers and streams.
 *
 * @throws what `answer` throws, if nothing was sent yet
 */
export async function streamResponse(
  reply: FastifyReply,
  { newId, answer, begin, finish }: ResponseStreaming,
  { onFault = () => {}, ...settings }: AnswerStreamOptions = {},
): Promise<FastifyReply> {
  let opened: Opened | undefined;
  const open = (start: AnswerStart): Opened => {
    opened ??= openResponse(reply, begin(start), newId, settings);
    return opened;
  };
  try {
    const made = await answer({
      onStart: open,
      onEvent: (event) => opened?.output.push(event),
    });
    const { begun, output, emit } = open(made);
    const response = finish(begun, made, output);
    emit({ type: response.status === 'completed' ? 'response.completed' : 'response.incomplete', response });
  } catch (fault) {
    if (opened === undefined) throw fault;
    if (toErrorReply(fault).status === 500) onFault(fault);
    const { body, error } = failResponse(opened.begun, opened.output.items, fault);
    const { code, message, param } = error;
    opened.emit({ type: 'error', code, message, param, error: { ...error } });
    opened.emit({ type: 'response.failed', response: body });
  }
  opened?.stream.end();
  return reply;
}

type Opened = {
  readonly stream: EventStream;
  readonly begun: ResponseBody;
  readonly output: OutputWriter;
  readonly emit: (event: UnnumberedEvent) => void;
};

function openResponse(
  reply: FastifyReply,
  begun: ResponseBody,
  newId: (prefix: string) => string,
  settings: AnswerStreamOptions,
): Opened {
  const stream = openEventStream(reply, settings);
  let sequence_number = 0;
  const emit = (event: UnnumberedEvent) => {
    stream.send(JSON.stringify({ ...event, sequence_number }), event.type);
    sequence_number += 1;
  };
  emit({ type: 'response.created', response: begun });
  emit({ type: 'response.in_progress', response: begun });
  return { stream, begun, output: writeOutput(newId, emit), emit };
}
