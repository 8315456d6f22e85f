/**
 * One HTTP/1.1 request and its answer over a connection of its own, everything about the answer limited.
 *
 * Spec: `runtime/spec/host-calls.md#answers`.
 *
 * @module
 */

import { type IncomingMessage, request as sendRequest } from 'node:http';
import type { Connection } from './connect.ts';
import { ExchangeError } from './errors.ts';

/** A request; `headers` are complete but for `host`, `connection`, `content-length` and `accept-encoding`. */
export type Outgoing = {
  readonly method: string;
  readonly url: URL;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string | null;
};

/** An answer. `location` stands for the target of a redirect; its body is not read. */
export type Incoming =
  | { readonly kind: 'redirect'; readonly status: number; readonly location: string }
  | {
      readonly kind: 'answer';
      readonly status: number;
      readonly headers: Readonly<Record<string, string>>;
      readonly body: string;
    };

/** Header bytes of an answer, and header fields. */
const MAX_HEADER_BYTES = 16 * 1024;
const MAX_HEADER_FIELDS = 100;

/** Statuses that send on to another place (RFC 9110 §15.4). */
const REDIRECTS: ReadonlySet<number> = new Set([301, 302, 303, 307, 308]);

/** Headers of an answer that leave this module. */
const ANSWER_HEADERS = ['content-language', 'content-type', 'etag', 'last-modified', 'link', 'retry-after'] as const;

/**
 * Sends a request and reads its answer. The connection is ended in any case.
 *
 * @param maxBytes - of the body
 * @param signal - its abort ends the exchange; what is thrown then is its reason
 * @throws {@link ExchangeError} `UNREACHABLE` if the answer is not HTTP or ends too soon
 * @throws {@link ExchangeError} `TOO_LARGE` if headers or body are over their limit
 * @throws {@link ExchangeError} `NOT_TEXT` for a body that is compressed or not UTF-8
 */
export async function exchange(
  connection: Connection,
  outgoing: Outgoing,
  maxBytes: number,
  signal: AbortSignal,
): Promise<Incoming> {
  const end = (): void => {
    connection.destroy();
  };
  signal.addEventListener('abort', end);
  try {
    signal.throwIfAborted();
    const response = await send(connection, outgoing);
    const status = response.statusCode ?? 0;
    const { location } = response.headers;
    if (response.rawHeaders.length / 2 > MAX_HEADER_FIELDS) {
      throw new ExchangeError('TOO_LARGE', `answer has more than ${MAX_HEADER_FIELDS} header fields`);
    }
    if (REDIRECTS.has(status) && location !== undefined) return { kind: 'redirect', status, location };
    const body = await readBody(response, outgoing.method, maxBytes);
    return { kind: 'answer', status, headers: shownHeaders(response), body };
  } catch (error) {
    signal.throwIfAborted();
    if (ExchangeError.is(error)) throw error;
    const code = error instanceof Error && 'code' in error ? error.code : undefined;
    if (code === 'HPE_HEADER_OVERFLOW') {
      throw new ExchangeError('TOO_LARGE', `headers of the answer are over ${MAX_HEADER_BYTES} bytes`);
    }
    throw new ExchangeError('UNREACHABLE', 'answer is broken', { cause: error });
  } finally {
    signal.removeEventListener('abort', end);
    end();
  }
}

function send(connection: Connection, { method, url, headers, body }: Outgoing): Promise<IncomingMessage> {
  const bytes = body === null ? undefined : Buffer.from(body, 'utf8');
  const withBody = bytes !== undefined || !(method === 'GET' || method === 'HEAD');
  return new Promise((resolve, reject) => {
    if (connection.destroyed) throw new ExchangeError('UNREACHABLE', 'connection has ended');
    const request = sendRequest({
      // Without an agent: no pool, no proxy, no second connection.
      createConnection: () => connection,
      method,
      path: `${url.pathname}${url.search}`,
      setHost: false,
      headers: {
        ...headers,
        host: url.host,
        connection: 'close',
        'accept-encoding': 'identity',
        ...(withBody ? { 'content-length': String(bytes?.length ?? 0) } : {}),
      },
      maxHeaderSize: MAX_HEADER_BYTES,
      insecureHTTPParser: false,
    });
    // All fields are kept, so that they can be counted.
    request.maxHeadersCount = 0;
    request.once('response', resolve);
    request.on('error', reject);
    request.once('upgrade', () => reject(new ExchangeError('UNREACHABLE', 'answer changes the protocol')));
    request.once('close', () => reject(new ExchangeError('UNREACHABLE', 'connection ended without an answer')));
    request.end(bytes);
  });
}

async function readBody(response: IncomingMessage, method: string, maxBytes: number): Promise<string> {
  const { 'content-encoding': content = 'identity', 'transfer-encoding': transfer = 'chunked' } = response.headers;
  // A compressed body could be a bomb, and would be counted in other bytes than it is shown in; none was asked for.
  if (method !== 'HEAD' && (content.toLowerCase() !== 'identity' || transfer.toLowerCase() !== 'chunked')) {
    throw new ExchangeError('NOT_TEXT', 'body of the answer is encoded');
  }
  // One buffer and not a list of pieces: a server may send pieces of one byte.
  let bytes = new Uint8Array(Math.min(maxBytes, 64 * 1024));
  let size = 0;
  for await (const piece of response as AsyncIterable<Uint8Array>) {
    const end = size + piece.length;
    if (end > maxBytes) throw new ExchangeError('TOO_LARGE', `body of the answer is over ${maxBytes} bytes`);
    if (end > bytes.length) {
      const larger = new Uint8Array(Math.min(maxBytes, Math.max(end, 2 * bytes.length)));
      larger.set(bytes.subarray(0, size));
      bytes = larger;
    }
    bytes.set(piece, size);
    size = end;
  }
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes.subarray(0, size));
  } catch (cause) {
    throw new ExchangeError('NOT_TEXT', 'body of the answer is not UTF-8', { cause });
  }
}

/** The headers of the list, in its order; one whose value is not printable ASCII is left out. */
function shownHeaders(response: IncomingMessage): Readonly<Record<string, string>> {
  const shown: Record<string, string> = {};
  for (const name of ANSWER_HEADERS) {
    const value = response.headers[name];
    if (typeof value === 'string' && /^[\t\x20-\x7e]*$/.test(value)) shown[name] = value;
  }
  return shown;
}
