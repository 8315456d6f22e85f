/**
 * A loopback HTTP server for one file that follows a script of faults, one entry a request, and is honest afterwards.
 *
 * @module
 */

import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/** One request's answer. Offsets `after` and `at` count in the body that is sent. */
export type Answer =
  | { readonly kind: 'honest' | 'ignore-range' | 'no-content-range' | 'reset' | 'encoded' | 'loop' | 'to-nowhere' }
  | { readonly kind: 'status'; readonly status: number }
  | { readonly kind: 'redirect'; readonly hops: number }
  /** Breaks the connection. */
  | { readonly kind: 'drop'; readonly after: number }
  /** Ends the chunked body in good order, too early. */
  | { readonly kind: 'short'; readonly after: number }
  /** Sends more than there is, chunked. */
  | { readonly kind: 'long'; readonly extra: number }
  /** Falls silent with the connection open. */
  | { readonly kind: 'stall'; readonly after: number }
  | { readonly kind: 'corrupt'; readonly at: number }
  /** Says another Content-Length than the file's; sends the honest bytes. */
  | { readonly kind: 'lie-length'; readonly by: number }
  /** 206 for bytes that start `by` later than asked for. */
  | { readonly kind: 'shifted-range'; readonly by: number }
  /** 206 with the right bytes and another total length. */
  | { readonly kind: 'wrong-total'; readonly by: number };

export type FileServer = AsyncDisposable & {
  readonly url: string;
  /** The `Range` header of every request that came, '' for none. */
  readonly ranges: string[];
};

/** Starts the server on a free port of 127.0.0.1. */
export async function startFileServer(content: Uint8Array, script: readonly Answer[] = []): Promise<FileServer> {
  const ranges: string[] = [];
  const rest = [...script];
  const server = createServer((request, response) => {
    const hops = /^\/hop\/(\d+)$/.exec(request.url ?? '')?.[1];
    if (hops !== undefined && Number(hops) > 0) {
      response.writeHead(302, { location: `/hop/${Number(hops) - 1}` }).end();
      return;
    }
    ranges.push(request.headers.range ?? '');
    answer(content, hops === undefined ? (rest.shift() ?? { kind: 'honest' }) : { kind: 'honest' }, request, response);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}/file`,
    ranges,
    [Symbol.asyncDispose]: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

/** One answer. */
export function answer(content: Uint8Array, what: Answer, request: IncomingMessage, response: ServerResponse): void {
  const asked = /^bytes=(\d+)-$/.exec(request.headers.range ?? '')?.[1];
  const start = what.kind === 'ignore-range' || asked === undefined ? 0 : Number(asked);
  const partial = asked !== undefined && what.kind !== 'ignore-range';
  if (partial && start >= content.length) {
    response.writeHead(416, { 'content-range': `bytes */${content.length}` }).end();
    return;
  }
  const body = content.subarray(start);
  const status = partial ? 206 : 200;
  const range = (from: number, total: number) => ({ 'content-range': `bytes ${from}-${content.length - 1}/${total}` });
  const honest = { 'content-length': body.length, ...(partial ? range(start, content.length) : {}) };
  const chunked = partial ? range(start, content.length) : {};
  switch (what.kind) {
    case 'honest':
    case 'ignore-range':
      response.writeHead(status, honest).end(body);
      return;
    case 'no-content-range':
      response.writeHead(status, { 'content-length': body.length }).end(body);
      return;
    case 'reset':
      request.socket.resetAndDestroy();
      return;
    case 'encoded':
      response.writeHead(status, { ...honest, 'content-encoding': 'gzip' }).end(body);
      return;
    case 'loop':
      response.writeHead(302, { location: '/hop/100' }).end();
      return;
    case 'to-nowhere':
      response.writeHead(302, { location: 'ftp://127.0.0.1/file' }).end();
      return;
    case 'redirect':
      response.writeHead(302, { location: `/hop/${what.hops}` }).end();
      return;
    case 'status':
      response.writeHead(what.status, { 'content-length': 5 }).end('sorry');
      return;
    case 'drop':
      response.writeHead(status, honest);
      response.write(body.subarray(0, what.after), () => request.socket.destroy());
      return;
    case 'short':
      response.writeHead(status, chunked).end(body.subarray(0, what.after));
      return;
    case 'long':
      response.writeHead(status, chunked);
      response.write(body);
      response.end(new Uint8Array(what.extra));
      return;
    case 'stall':
      response.writeHead(status, honest);
      response.write(body.subarray(0, what.after));
      return;
    case 'corrupt': {
      const changed = body.slice();
      const at = what.at % Math.max(1, changed.length);
      changed[at] = (changed[at] ?? 0) ^ 0x10;
      response.writeHead(status, honest).end(changed);
      return;
    }
    case 'lie-length':
      // Written by hand: Node's own server refuses to lie about the length.
      request.socket.end(
        Buffer.concat([Buffer.from(`HTTP/1.1 200 OK\r\ncontent-length: ${content.length + what.by}\r\n\r\n`), content]),
      );
      return;
    case 'shifted-range':
      response
        .writeHead(206, { ...range(start + what.by, content.length), 'content-length': body.length - what.by })
        .end(body.subarray(what.by));
      return;
    case 'wrong-total':
      response.writeHead(206, { ...range(start, content.length + what.by), 'content-length': body.length }).end(body);
      return;
  }
}
