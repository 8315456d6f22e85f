/**
 * Records what goes between a client and the server: a `fetch` for clients to use in place of their own.
 *
 * @module
 */

import { parseEvents, type ServerEvent } from './server-events.ts';

/** One request and its answer; the answer's body is there when {@link Exchange.ended} resolves. */
export type Exchange = {
  readonly method: string;
  /** With `/v1`, without the query. */
  readonly path: string;
  /** The parsed body; undefined where there is none. */
  readonly request: unknown;
  readonly status: number;
  readonly headers: Headers;
  /** Resolves when the answer was read to its end or left. */
  readonly ended: Promise<void>;
  /** False when the client left before the end. */
  readonly isWhole: () => boolean;
  /** What was read of the answer. */
  readonly text: () => string;
  /** The parsed answer. Throws if it is not JSON. */
  readonly json: () => unknown;
  /** Events of a streamed answer. Throws if they are not framed as such. */
  readonly events: () => ServerEvent[];
};

export type Recorder = {
  readonly fetch: typeof fetch;
  readonly exchanges: readonly Exchange[];
  /** Resolves when no answer is being read any more. */
  settled(): Promise<void>;
};

/** Milliseconds for a client to read or leave its answers. */
const SETTLE_MS = 5000;

export function createRecorder(): Recorder {
  const exchanges: Exchange[] = [];
  return {
    exchanges,
    async fetch(input, init) {
      const request = new Request(input, init);
      const body = request.body === null ? '' : await request.clone().text();
      const response = await fetch(input, init);
      const { exchange, observed } = observe(request, body, response);
      exchanges.push(exchange);
      return observed;
    },
    async settled() {
      let timer: NodeJS.Timeout | undefined;
      const late = new Promise<never>((_, reject) => {
        const fault = new Error('a client neither read its answer to the end nor left it');
        timer = setTimeout(() => reject(fault), SETTLE_MS);
      });
      try {
        await Promise.race([Promise.all(exchanges.map(({ ended }) => ended)), late]);
      } finally {
        clearTimeout(timer);
      }
    },
  };
}

function observe(request: Request, body: string, response: Response): { exchange: Exchange; observed: Response } {
  const decoder = new TextDecoder('utf-8', { fatal: true });
  let text = '';
  let isWhole = false;
  let isLeft = false;
  const { promise: ended, resolve: end } = withResolvers();
  const reader = response.body?.getReader();
  if (reader === undefined) {
    isWhole = true;
    end();
  }
  const stream =
    reader &&
    new ReadableStream<Uint8Array>({
      async pull(controller) {
        try {
          const { done, value } = await reader.read();
          // What is cancelled reads as done.
          if (isLeft) return;
          if (done) {
            text += decoder.decode();
            isWhole = true;
            controller.close();
            end();
          } else {
            text += decoder.decode(value, { stream: true });
            controller.enqueue(value);
          }
        } catch (error) {
          controller.error(error);
          end();
        }
      },
      async cancel(reason) {
        isLeft = true;
        end();
        await reader.cancel(reason);
      },
    });
  const { status, statusText, headers } = response;
  const exchange: Exchange = {
    method: request.method,
    path: new URL(request.url).pathname,
    request: body === '' ? undefined : JSON.parse(body),
    status,
    headers,
    ended,
    isWhole: () => isWhole,
    text: () => text,
    json: () => JSON.parse(text),
    events: () => parseEvents(text),
  };
  const observed = new Response(stream ?? null, { status, statusText, headers });
  Object.defineProperty(observed, 'url', { value: response.url });
  return { exchange, observed };
}

/** As `Promise.withResolvers`, which Node 20 does not have. */
function withResolvers(): { promise: Promise<void>; resolve: () => void } {
  let resolve: () => void = () => {};
  const promise = new Promise<void>((done) => {
    resolve = done;
  });
  return { promise, resolve };
}
