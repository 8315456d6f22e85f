/**
 * The server as no client library would use it: bodies that are not JSON, sockets that are left at any point.
 *
 * @module
 */

import { connect, type Socket } from 'node:net';

/** One answer; `body` is parsed JSON, or the text where it is none. */
export type RawAnswer = { readonly status: number; readonly headers: Headers; readonly body: unknown };

const JSON_TYPE = { 'content-type': 'application/json' };

/** Sends bytes as they are. */
export async function send(
  url: string,
  path: string,
  body: string | Uint8Array,
  headers: Readonly<Record<string, string>> = JSON_TYPE,
): Promise<RawAnswer> {
  const response = await fetch(`${url}${path}`, {
    method: 'POST',
    headers,
    body: body as string | Uint8Array<ArrayBuffer>,
  });
  const text = await response.text();
  let parsed: unknown = text;
  try {
    parsed = JSON.parse(text);
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
  }
  return { status: response.status, headers: response.headers, body: parsed };
}

/** The text of a whole request by HTTP/1.1. */
export function requestText(path: string, body: string, headers: readonly string[] = []): string {
  const length = Buffer.byteLength(body);
  const lines = [
    `POST ${path} HTTP/1.1`,
    'host: 127.0.0.1',
    'content-type: application/json',
    `content-length: ${length}`,
    ...headers,
  ];
  return `${lines.join('\r\n')}\r\n\r\n${body}`;
}

/** A connection of its own. What it gets is counted, not kept, until it is paused. */
export type RawConnection = {
  readonly socket: Socket;
  write(text: string): Promise<void>;
  /** Resolves when so many bytes came, or it was closed. */
  received(bytes: number): Promise<void>;
  /** All that came, as text. */
  text(): string;
};

/** Resolves when it is connected. */
export async function openConnection(url: string): Promise<RawConnection> {
  const { hostname, port } = new URL(url);
  const socket = connect(Number(port), hostname);
  let text = '';
  socket.setEncoding('utf8');
  // The other side may end it at any time.
  socket.on('error', () => {});
  socket.on('data', (data) => {
    text += String(data);
  });
  await new Promise<void>((resolve, reject) => {
    socket.once('connect', resolve);
    socket.once('error', reject);
  });
  return {
    socket,
    write: (data) => new Promise((resolve) => socket.write(data, () => resolve())),
    received: (bytes) =>
      new Promise((resolve) => {
        const check = () => {
          if (text.length < bytes && !socket.destroyed) return;
          socket.off('data', check);
          socket.off('close', check);
          resolve();
        };
        socket.on('data', check);
        socket.on('close', check);
        check();
      }),
    text: () => text,
  };
}
