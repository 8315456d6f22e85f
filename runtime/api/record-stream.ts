/**
 * `GET /v1/runs/{id}/records`: the records of a run as server-sent events, from any record on, as they become durable.
 *
 * S1. An event's id is its record's index, so that a client that comes back with `Last-Event-ID` misses none and sees none twice.
 * S2. A client that reads slowly is waited for: at most one record is held for it. One that reads nothing for a minute is cut.
 * S3. A stream that follows stays open while the run is put aside, and ends with the event `end` when it is over, or broken.
 *
 * @module
 */

import type { FastifyInstance, FastifyReply } from 'fastify';
import { clientSignal, openEventStream } from '../../inference/api/sse.ts';
import type { ErrorBody } from '../../inference/api-errors.ts';
import type { RecordView } from '../record-feed.ts';
import { isOver, type RunStatus } from '../run-status.ts';
import { recordsHeadersSchema, recordsQuerySchema, toRecordBody, toRunBody } from './bodies.ts';
import { findRun, type RunContext } from './context.ts';
import { RunApiError, toRunErrorReply } from './errors.ts';
import { readFields } from './queries.ts';

/** Settings of streams. */
export type RecordStreamOptions = {
  /** Streams open at once; 256 by default. */
  readonly maxStreams?: number;
  /** See `openEventStream`. */
  readonly pingMs?: number;
  readonly stallMs?: number;
  /** Told of what broke a stream in the middle. */
  readonly onFault?: (error: unknown) => void;
};

const MAX_STREAMS = 256;

/** Adds the route; returns how many streams are open. */
export function addRecords(app: FastifyInstance, context: RunContext, options: RecordStreamOptions): () => number {
  const { maxStreams = MAX_STREAMS, onFault = () => {}, ...timing } = options;
  let open = 0;
  app.get<{ Params: { id: string } }>('/v1/runs/:id/records', { exposeHeadRoute: false }, async (request, reply) => {
    const { run } = findRun(context, context.callerOf(request), request.params.id);
    const { from = '0', follow } = readFields(recordsQuerySchema, request.query);
    const last = readFields(recordsHeadersSchema, request.headers)['last-event-id'];
    if (open >= maxStreams)
      throw new RunApiError('TOO_MANY_STREAMS', `${maxStreams} streams are open; try again later`);
    open += 1;
    try {
      const first = last === undefined ? BigInt(from) : BigInt(last) + 1n;
      const signal = clientSignal(reply);
      const views = context.manager.records(run, first, { follow: follow !== 'false', signal });
      await stream(reply, views, () => context.manager.get(run), signal, { ...timing, onFault });
    } finally {
      open -= 1;
    }
  });
  return () => open;
}

async function stream(
  reply: FastifyReply,
  views: AsyncGenerator<RecordView>,
  status: () => RunStatus,
  signal: AbortSignal,
  { onFault, ...timing }: Pick<RecordStreamOptions, 'pingMs' | 'stallMs'> & { onFault: (error: unknown) => void },
): Promise<void> {
  const events = openEventStream(reply, { ...timing, maxBufferedBytes: Number.POSITIVE_INFINITY });
  try {
    for await (const view of views) {
      if (signal.aborted) return;
      events.send(JSON.stringify(toRecordBody(view)), String(view.head['kind']), view.index.toString());
      await events.drained();
    }
    const ended = status();
    if (isOver(ended) || ended.status === 'broken') events.send(JSON.stringify(toRunBody(ended, true)), 'end');
  } catch (error) {
    const { body, status: code } = toRunErrorReply(error);
    if (code === 500) onFault(error);
    events.send(JSON.stringify(body satisfies ErrorBody), 'error');
  } finally {
    events.end();
  }
}
