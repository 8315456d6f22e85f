import { once } from 'node:events';
import { connect } from 'node:net';
import type { FastifyInstance } from 'fastify';
import { describe, expect, it, onTestFinished } from 'vitest';
import { buildServer } from '../../inference/server.ts';
import { toyContext } from '../support/toy-context.ts';

const CHAT = JSON.stringify({ model: 'toy/echo', messages: [{ role: 'user', content: 'hello' }] });

async function listen(options: buildServer.Options = {}) {
  const app = buildServer(toyContext(), options);
  onTestFinished(() => app.close());
  await app.listen({ host: '127.0.0.1', port: 0 });
  const { port } = app.server.address() as { port: number };
  return { app, port, url: `http://127.0.0.1:${port}/v1/chat/completions` };
}

function post(url: string, body: string | ReadableStream<Uint8Array>) {
  return fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body,
    duplex: 'half',
  } as RequestInit);
}

async function codeOf(response: Response) {
  return ((await response.json()) as { error: { code: string } }).error.code;
}

/** A connection that announces a body and sends none of it. */
async function announce(port: number, bytes: number) {
  const socket = connect(port, '127.0.0.1');
  onTestFinished(() => void socket.destroy());
  await once(socket, 'connect');
  const head = ['POST /v1/chat/completions HTTP/1.1', 'Host: 127.0.0.1', 'Content-Type: application/json'];
  socket.write(`${[...head, `Content-Length: ${bytes}`].join('\r\n')}\r\n\r\n`);
  return socket;
}

/** Waits for the server to have seen so many requests. */
async function seen(app: FastifyInstance, count: number) {
  for (let i = 0; i < 250; i++) {
    const open = await new Promise<number>((resolve) => app.server.getConnections((_, found) => resolve(found)));
    if (open >= count) break;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  await new Promise((resolve) => setTimeout(resolve, 50));
}

describe('a body that is too large', () => {
  it.each([
    ['by its length', () => 'x'.repeat(20 << 20)],
    [
      'by its bytes',
      () =>
        new ReadableStream<Uint8Array>({
          start(stream) {
            for (let i = 0; i < 20; i++) stream.enqueue(new Uint8Array(1 << 20).fill(0x78));
            stream.close();
          },
        }),
    ],
  ])('is refused %s, so that its sender can read it', async (_, body) => {
    const { url } = await listen();
    for (let i = 0; i < 3; i++) {
      const response = await post(url, body());
      expect(response.status).toBe(413);
      expect(await codeOf(response)).toBe('body_too_large');
    }
    expect((await post(url, CHAT)).status).toBe(200);
  });

  it('is 4 MiB and a byte by default', async () => {
    const { url } = await listen();
    const pad = (size: number) => CHAT + ' '.repeat(size - CHAT.length);
    expect((await post(url, pad(4 << 20))).status).toBe(200);
    expect((await post(url, pad((4 << 20) + 1))).status).toBe(413);
  });
});

describe('all bodies together', () => {
  it('have a bound, and give their part back when their clients leave', async () => {
    const { app, port, url } = await listen({ bodyLimitBytes: 1000, bodiesLimitBytes: 2000 });
    const slow = [await announce(port, 950), await announce(port, 950)];
    await seen(app, 2);
    const refused = await post(url, CHAT.padEnd(200));
    expect(refused.status).toBe(429);
    expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(0);
    expect(await codeOf(refused)).toBe('queue_full');
    // Requests without a body need no part.
    expect((await fetch(`http://127.0.0.1:${port}/v1/models`)).status).toBe(200);
    for (const socket of slow) socket.destroy();
    await new Promise((resolve) => setTimeout(resolve, 100));
    for (let i = 0; i < 20; i++) expect((await post(url, CHAT.padEnd(900))).status).toBe(200);
  });

  it('count one of unknown length as the longest', async () => {
    const { app, port, url } = await listen({ bodyLimitBytes: 1000, bodiesLimitBytes: 1000 });
    const socket = connect(port, '127.0.0.1');
    onTestFinished(() => void socket.destroy());
    const head = ['POST /v1/chat/completions HTTP/1.1', 'Host: 127.0.0.1', 'Content-Type: application/json'];
    socket.write(`${[...head, 'Transfer-Encoding: chunked'].join('\r\n')}\r\n\r\n1\r\n`);
    await seen(app, 1);
    expect((await post(url, CHAT)).status).toBe(429);
  });
});

describe('bytes that are no request', () => {
  async function answerTo(port: number, bytes: string) {
    const socket = connect(port, '127.0.0.1');
    let answer = '';
    socket.setEncoding('utf8').on('data', (text: string) => {
      answer += text;
    });
    socket.on('error', () => {});
    socket.write(bytes);
    await once(socket, 'close');
    return answer;
  }

  it.each([
    ['no HTTP', 'GARBAGE\r\n\r\n', 400, 'bad_request'],
    ['huge headers', `GET / HTTP/1.1\r\nx: ${'a'.repeat(20_000)}\r\n\r\n`, 431, 'headers_too_large'],
    ['a length below zero', 'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n', 400, 'bad_request'],
  ])('are refused in the shape of all refusals: %s', async (_, bytes, status, code) => {
    const { port, url } = await listen();
    const answer = await answerTo(port, bytes);
    expect(answer.split(' ')[1]).toBe(String(status));
    const [, body = ''] = answer.split('\r\n\r\n');
    expect(JSON.parse(body)).toEqual({
      error: { message: expect.any(String), type: 'invalid_request_error', param: null, code },
    });
    expect((await post(url, CHAT)).status).toBe(200);
  });
});
