/**
 * Server-sent events over a reply of Fastify's, for clients that read slowly, never, or leave.
 *
 * E1. What a client does not read is bounded: beyond `maxBufferedBytes` the connection is cut.
 * E2. A client that reads nothing for `stallMs` while something waits for it is cut too, also after the last event.
 * E3. After the client is gone nothing is written, and whoever writes need not know.
 *
 * @see HTML Living Standard, section 9.2 (server-sent events)
 * @module
 */

import type { OutgoingHttpHeaders } from 'node:http';
import type { FastifyReply } from 'fastify';

/** A stream of events to one client. */
export type EventStream = {
  /**
   * Sends one event.
   *
   * @param data - without line breaks, as JSON is
   * @param event - name of the event; none by default
   * @param id - what a client that comes back says it has seen; none by default
   */
  send(data: string, event?: string, id?: string): void;
  /** Resolves when the client has taken what waits for it, or is gone; for whoever would rather wait than fill the buffer. */
  drained(): Promise<void>;
  /** Ends the response; nothing can be sent any more. */
  end(): void;
};

/** Settings of a stream. */
export type EventStreamOptions = {
  /** Most bytes that wait for the client; 4 MiB by default. */
  readonly maxBufferedBytes?: number;
  /** Milliseconds of silence after which a comment keeps proxies from closing the connection; 15,000 by default. */
  readonly pingMs?: number;
  /** Milliseconds without progress after which a client is taken for gone; 60,000 by default. */
  readonly stallMs?: number;
  /** Told once when the client is gone, or cut off, before the stream was ended. */
  readonly onGone?: () => void;
};

const LINE_BREAK = /[\r\n]/;

/**
 * Sends the headers of a stream with status 200, those that were set on the reply among them; from here on the reply is the stream's, and
 * an error can be told by an event only.
 */
export function openEventStream(reply: FastifyReply, options: EventStreamOptions = {}): EventStream {
  const { maxBufferedBytes = 4 << 20, pingMs = 15_000, stallMs = 60_000, onGone = () => {} } = options;
  const { raw } = reply;
  reply.hijack();
  raw.once('close', () => {
    clearInterval(pings);
    clearInterval(stalls);
    if (!raw.writableFinished) onGone();
  });
  raw.writeHead(200, {
    ...(reply.getHeaders() as OutgoingHttpHeaders),
    'content-type': 'text/event-stream; charset=utf-8',
    'cache-control': 'no-cache',
    'x-accel-buffering': 'no',
  });
  raw.flushHeaders();

  let written = 0;
  let isQuiet = false;
  const write = (text: string) => {
    if (raw.destroyed || raw.writableEnded) return;
    written += Buffer.byteLength(text);
    isQuiet = false;
    raw.write(text);
    if (raw.writableLength > maxBufferedBytes) raw.destroy();
  };
  const pings = setInterval(() => {
    if (isQuiet) write(': ping\n\n');
    isQuiet = true;
  }, pingMs).unref();
  let read = 0;
  const stalls = setInterval(() => {
    // What waits is counted with the framing of HTTP, which makes progress smaller than it is, never greater.
    const readNow = written - raw.writableLength;
    if (raw.writableLength > 0 && readNow <= read) raw.destroy();
    read = Math.max(read, readNow);
  }, stallMs).unref();

  return {
    send(data, event, id) {
      if ([data, event ?? '', id ?? ''].some((text) => LINE_BREAK.test(text))) {
        throw new TypeError('expected an event without line breaks');
      }
      const fields = [id === undefined ? '' : `id: ${id}\n`, event === undefined ? '' : `event: ${event}\n`];
      write(`${fields.join('')}data: ${data}\n\n`);
    },
    drained() {
      if (raw.destroyed || !raw.writableNeedDrain) return Promise.resolve();
      return new Promise((resolve) => {
        const settle = () => {
          raw.off('drain', settle).off('close', settle);
          resolve();
        };
        raw.on('drain', settle).on('close', settle);
      });
    },
    end() {
      if (!raw.destroyed && !raw.writableEnded) raw.end();
    },
  };
}

/** A signal that fires when the client goes away before its response is whole. */
export function clientSignal(reply: FastifyReply): AbortSignal {
  const gone = new AbortController();
  const { raw } = reply;
  if (raw.destroyed && !raw.writableFinished) gone.abort();
  raw.once('close', () => {
    if (!raw.writableFinished) gone.abort();
  });
  return gone.signal;
}
