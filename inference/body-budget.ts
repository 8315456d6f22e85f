/**
 * How many bytes of request bodies are held at once, over all connections.
 *
 * B1. The bytes of all bodies that are being read or answered never pass the bound: a body takes its part before the first byte is read, and
 *     gives it back when its response has ended.
 * B2. A body that is too large is refused with a status that its sender can read: the rest of it is taken from the wire and dropped first,
 *     up to a bound, since a connection that is closed on unread bytes takes the response with it.
 *
 * @module
 */

import type { IncomingMessage } from 'node:http';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { ApiError } from './api-errors.ts';
import { onceEnded } from './response-end.ts';
import { ServerError } from './server-errors.ts';

/** Bytes of a refused body that are taken from the wire. */
const MAX_DROPPED = 64 << 20;

const DROP_TIMEOUT_MS = 5_000;

const RETRY_SECONDS = 2;

/**
 * Limits the bodies of all requests together.
 *
 * @param bodyLimit - bytes of one body; what does not say its length counts as long as this
 * @param totalLimit - bytes of all bodies
 */
export function addBodyBudget(app: FastifyInstance, bodyLimit: number, totalLimit: number): void {
  let held = 0;
  app.addHook('onRequest', async (request, reply) => {
    const part = sizeOf(request);
    // A body of any route that takes none is not read either.
    if (part > bodyLimit) throw new ApiError('BODY_TOO_LARGE', `body is larger than ${bodyLimit} bytes`);
    if (held + part > totalLimit) {
      throw new ServerError('QUEUE_FULL', 'bodies of other requests take all the room there is', {
        at: { retryAfterSeconds: RETRY_SECONDS },
      });
    }
    held += part;
    onceEnded(reply.raw, () => {
      held -= part;
    });
  });

  function sizeOf({ headers }: FastifyRequest): number {
    const length = headers['content-length'];
    if (length !== undefined) return Number(length);
    return headers['transfer-encoding'] === undefined ? 0 : bodyLimit;
  }
}

/** Takes what is left of a body from the wire and drops it; comes back when it has ended, or the bounds are reached. */
export async function dropBody(message: IncomingMessage): Promise<void> {
  if (message.readableEnded || message.destroyed) return;
  let dropped = 0;
  await new Promise<void>((resolve) => {
    const settle = () => {
      clearTimeout(timer);
      message.off('data', onData).off('end', settle).off('close', settle).off('error', settle);
      resolve();
    };
    const onData = (chunk: Buffer) => {
      dropped += chunk.length;
      if (dropped > MAX_DROPPED) settle();
    };
    const timer = setTimeout(settle, DROP_TIMEOUT_MS);
    message.on('data', onData).on('end', settle).on('close', settle).on('error', settle).resume();
  });
}
