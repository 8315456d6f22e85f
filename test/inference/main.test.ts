import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import { connect } from 'node:net';
import { describe, expect, it, onTestFinished } from 'vitest';
import { childEntry } from '../../attest/core/entry.ts';
import { addressOf } from '../../attest/sign/secp256k1.ts';
import { isLoopback, serveInference } from '../../inference/main.ts';
import { ServerError } from '../../inference/server-errors.ts';
import { TEST_KEY } from '../support/receipt-facts.ts';
import { TOY_IDENTITY } from '../support/toy-engine.ts';

const ENTRY = childEntry(import.meta.url, '../support/toy-engine-child.ts');

async function serve(options: Partial<serveInference.Options> = {}) {
  const server = await serveInference({
    port: 0,
    path: 'toy.gguf',
    id: 'toy/echo',
    cacheDir: '/nowhere',
    privateKey: TEST_KEY,
    entry: ENTRY,
    ...options,
  });
  onTestFinished(() => server.close());
  return server;
}

function chat(url: string, content: string, signal?: AbortSignal) {
  return fetch(`${url}/v1/chat/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ model: 'toy/echo', messages: [{ role: 'user', content }] }),
    ...(signal === undefined ? {} : { signal }),
  });
}

async function text(response: Response) {
  return ((await response.json()) as { choices: { message: { content: string } }[] }).choices[0]?.message.content;
}

async function until(holds: () => boolean) {
  for (let i = 0; i < 500 && !holds(); i++) await new Promise((resolve) => setTimeout(resolve, 20));
  expect(holds()).toBe(true);
}

describe('serveInference', () => {
  it('listens on a port of its choice and answers', async () => {
    const server = await serve();
    expect(server.url).toBe(`http://127.0.0.1:${server.port}`);
    expect(server.port).toBeGreaterThan(0);
    expect(server.signer).toBe(addressOf(TEST_KEY));
    expect(server.identity).toEqual(TOY_IDENTITY);
    expect(await text(await chat(server.url, 'hello'))).toBe('echo: hello');
    expect((await fetch(`${server.url}/readyz`)).status).toBe(200);
  });

  it('says 503 for the request that was in a killed engine, and answers the next', async () => {
    const server = await serve();
    const pid = server.enginePid() as number;
    const waiting = chat(server.url, 'wait');
    // Killed while it works on the request, not before.
    await until(() => server.enginePid() === pid);
    await new Promise((resolve) => setTimeout(resolve, 100));
    process.kill(pid, 'SIGKILL');
    const died = await waiting;
    expect(died.status).toBe(503);
    expect(await died.json()).toMatchObject({ error: { type: 'server_error', code: 'engine_died', param: null } });
    expect(await text(await chat(server.url, 'hello'))).toBe('echo: hello');
    expect(server.enginePid()).not.toBe(pid);
    expect((await fetch(`${server.url}/healthz`)).status).toBe(200);
  });

  it('lives on when a request kills its engine', async () => {
    const server = await serve();
    for (let i = 0; i < 4; i++) expect((await chat(server.url, 'die')).status).toBe(503);
    expect(await text(await chat(server.url, 'hello'))).toBe('echo: hello');
  });

  it('cancels what its client does not wait for, so the next is answered', async () => {
    const server = await serve();
    const pid = server.enginePid();
    const stop = new AbortController();
    const gone = chat(server.url, 'wait', stop.signal).catch(() => 'gone');
    await new Promise((resolve) => setTimeout(resolve, 100));
    stop.abort();
    expect(await gone).toBe('gone');
    expect(await text(await chat(server.url, 'hello'))).toBe('echo: hello');
    expect(server.enginePid()).toBe(pid);
  });

  it('refuses what waits when it is closed, and ends its engine', async () => {
    const server = await serve();
    const pid = server.enginePid() as number;
    const waiting = chat(server.url, 'wait').then(
      (response) => response.status,
      () => 'cut',
    );
    await new Promise((resolve) => setTimeout(resolve, 100));
    await server.close();
    expect([503, 'cut']).toContain(await waiting);
    expect(() => process.kill(pid, 0)).toThrow();
    await expect(fetch(`${server.url}/healthz`)).rejects.toThrow();
  });

  it('names a port that is in use, before it opens the model', async () => {
    const other: Server = createServer();
    other.listen(0, '127.0.0.1');
    await once(other, 'listening');
    onTestFinished(() => void other.close());
    const { port } = other.address() as { port: number };
    const fault = await serve({ port, path: 'missing.gguf' }).catch((error) => error);
    expect(fault).toBeInstanceOf(ServerError);
    expect(fault).toMatchObject({ code: 'PORT_IN_USE', at: { port, host: '127.0.0.1' } });
    expect(fault.message).toContain(String(port));
  });

  it('names an address that is not its own', async () => {
    const fault = await serve({ host: '192.0.2.1' }).catch((error) => error);
    expect(fault).toMatchObject({ code: 'LISTEN_FAILED', at: { host: '192.0.2.1' } });
  });

  it('refuses a key that is none, before anything is opened', async () => {
    await expect(serve({ privateKey: new Uint8Array(32) })).rejects.toMatchObject({ code: 'MALFORMED_KEY' });
  });

  it('does not answer to the name of another site', async () => {
    const { port } = await serve();
    const socket = connect(port, '127.0.0.1');
    socket.write('GET /v1/models HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n');
    let answer = '';
    for await (const chunk of socket) answer += chunk;
    expect(answer).toMatch(/^HTTP\/1.1 403 /);
    expect(answer).toContain('host_not_allowed');
  });

  it('survives bytes that are no HTTP', async () => {
    const { port, url } = await serve();
    for (const bytes of [
      '\0\0\0\0\r\n\r\n',
      'GET / HTTP/9.9\r\n\r\n',
      'POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n',
      `GET /${'x'.repeat(100_000)} HTTP/1.1\r\n\r\n`,
    ]) {
      const socket = connect(port, '127.0.0.1');
      socket.on('error', () => {}).resume();
      socket.end(bytes);
      await once(socket, 'close');
    }
    expect(await text(await chat(url, 'hello'))).toBe('echo: hello');
  });
});

describe('isLoopback', () => {
  it('knows this computer', () => {
    for (const host of ['127.0.0.1', '127.8.9.10', '::1', 'localhost']) expect(isLoopback(host)).toBe(true);
    for (const host of ['0.0.0.0', '::', '10.0.0.1', '127.0.0.1.evil.example', 'localhost.evil', '']) {
      expect(isLoopback(host)).toBe(false);
    }
  });
});
