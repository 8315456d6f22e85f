import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { addressOf } from '../../attest/sign/secp256k1.ts';
import { isLoopback, serveInference } from '../../inference/main.ts';
import { ServerError } from '../../inference/server-errors.ts';
import { bundledEntry } from '../support/bundled.ts';
import { TEST_KEY } from '../support/receipt-facts.ts';
import { TOY_IDENTITY } from '../support/toy-engine.ts';

const ENTRY = bundledEntry('test/support/toy-engine-child.ts');

async function serve(options: Partial<serveInference.Options> = {}) {
  const folder = mkdtempSync(join(tmpdir(), 'tracebond-test-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const server = await serveInference({
    port: 0,
    models: [{ path: 'toy.gguf', id: 'toy/echo' }],
    memoryOf: () => 100,
    cacheDir: folder,
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

/** A stream of which the first piece has come. */
async function stream(url: string, content: string) {
  return fetch(`${url}/v1/chat/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ model: 'toy/echo', stream: true, messages: [{ role: 'user', content }] }),
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

  it('ends streams with an error event when their engine is killed, and answers again', async () => {
    const server = await serve();
    const pid = server.enginePid() as number;
    const streams = await Promise.all(['show one', 'show two'].map((words) => stream(server.url, words)));
    process.kill(pid, 'SIGKILL');
    const killedAt = performance.now();
    for (const response of streams) {
      expect(response.headers.get('content-type')).toMatch(/^text\/event-stream/);
      const events = (await response.text()).trim().split('\n\n');
      expect(events.length).toBeGreaterThan(1);
      expect(JSON.parse(events.at(-1)?.replace(/^data: /, '') ?? '')).toMatchObject({
        error: { type: 'server_error', code: 'engine_died', param: null },
      });
    }
    expect(await text(await chat(server.url, 'hello'))).toBe('echo: hello');
    expect(performance.now() - killedAt).toBeLessThan(5000);
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
    const fault = await serve({ port, models: [{ path: 'missing.gguf', id: 'missing' }] }).catch((error) => error);
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

describe('several models', () => {
  const models = ['one', 'two', 'three'].map((id) => ({ id, path: `${id}.gguf` }));
  const ask = (url: string, model: string) =>
    fetch(`${url}/v1/chat/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ model, messages: [{ role: 'user', content: 'hello' }] }),
    });
  const opened = async (url: string) => {
    const metrics = await (await fetch(`${url}/metrics`)).text();
    return models.filter(({ id }) => metrics.includes(`tracebond_model_open{model="${id}"} 1`)).map(({ id }) => id);
  };

  it('are opened when they are asked for, within the bound of memory', async () => {
    const { url, identity } = await serve({ models, maxMemoryBytes: 250 });
    expect(identity.id).toBe('one');
    expect(await opened(url)).toEqual(['one']);
    const list = async () => (await (await fetch(`${url}/v1/models`)).json()) as { data: { tracebond?: object }[] };
    expect((await list()).data.map(({ tracebond }) => tracebond !== undefined)).toEqual([true, false, false]);
    expect(await text(await ask(url, 'two'))).toBe('echo: hello');
    expect(await opened(url)).toEqual(['one', 'two']);
    expect(await text(await ask(url, 'three'))).toBe('echo: hello');
    expect(await opened(url)).toEqual(['two', 'three']);
    // What one was is still known, and what it is: not gone for good.
    expect((await list()).data.map(({ tracebond }) => tracebond !== undefined)).toEqual([true, true, true]);
    expect((await fetch(`${url}/readyz`)).status).toBe(200);
    expect(await text(await ask(url, 'one'))).toBe('echo: hello');
    expect((await ask(url, 'four')).status).toBe(404);
  });

  it('are not served where two have one name', async () => {
    const twice = [...models, { id: 'one', path: 'other.gguf' }];
    await expect(serve({ models: twice })).rejects.toMatchObject({ code: 'DUPLICATE_MODEL', at: { model: 'one' } });
  });

  it('tell one that cannot be opened from those that can', async () => {
    const faults: unknown[] = [];
    const { url } = await serve({
      models: [
        { id: 'one', path: 'one.gguf' },
        { id: 'bad', path: 'missing.gguf' },
      ],
      onFault: (error) => faults.push(error),
    });
    const refused = await ask(url, 'bad');
    expect(refused.status).toBe(503);
    expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(0);
    const body = await refused.text();
    expect(JSON.parse(body)).toMatchObject({ error: { code: 'model_unavailable', param: 'model' } });
    expect(body).not.toContain('missing.gguf');
    expect(faults).toEqual([expect.objectContaining({ code: 'FILE_UNREADABLE' })]);
    expect((await ask(url, 'one')).status).toBe(200);
  });

  it('do not hold up the end of the server while one is being opened', async () => {
    const server = await serve({
      models: [
        { id: 'one', path: 'one.gguf' },
        { id: 'slow', path: 'silent' },
      ],
    });
    const waiting = ask(server.url, 'slow').then(
      (response) => response.status,
      () => 'cut',
    );
    await new Promise((resolve) => setTimeout(resolve, 300));
    const started = performance.now();
    await server.close();
    expect(performance.now() - started).toBeLessThan(5000);
    expect([503, 'cut']).toContain(await waiting);
  });
});

describe('the end of a server', () => {
  it('comes at once, also for connections that an answer was under way on', async () => {
    const server = await serve();
    const streaming = await stream(server.url, 'show');
    const waiting = chat(server.url, 'wait').then(({ status }) => status);
    await new Promise((resolve) => setTimeout(resolve, 200));
    const started = performance.now();
    await server.close();
    expect(performance.now() - started).toBeLessThan(3000);
    expect(await waiting).toBe(503);
    expect(await streaming.text()).toContain('server_closed');
  });

  it('does not wait for a client that reads nothing', async () => {
    const server = await serve();
    const socket = connect(server.port, '127.0.0.1');
    onTestFinished(() => void socket.destroy());
    socket.on('error', () => {}).pause();
    const content = 'x'.repeat(1_000);
    const body = JSON.stringify({ model: 'toy/echo', stream: true, messages: [{ role: 'user', content }] });
    const head = ['POST /v1/chat/completions HTTP/1.1', 'Host: localhost', 'Content-Type: application/json'];
    const request = `${[...head, `Content-Length: ${body.length}`].join('\r\n')}\r\n\r\n${body}`;
    socket.write(request.repeat(50));
    await new Promise((resolve) => setTimeout(resolve, 500));
    const started = performance.now();
    await server.close();
    expect(performance.now() - started).toBeLessThan(8000);
  });
});

describe('a server', () => {
  it('keeps receipts across a restart', async () => {
    const cacheDir = mkdtempSync(join(tmpdir(), 'tracebond-test-'));
    onTestFinished(() => rmSync(cacheDir, { recursive: true, force: true }));
    const first = await serve({ cacheDir });
    const { tracebond } = (await (await chat(first.url, 'hello')).json()) as { tracebond: { id: string } };
    const get = async (url: string) => (await fetch(`${url}/v1/receipts/${tracebond.id}`)).json();
    expect(await get(first.url)).toEqual(tracebond);
    await first.close();
    const second = await serve({ cacheDir });
    expect(await get(second.url)).toEqual(tracebond);
  });

  it('asks for keys, gives each its own receipts, and limits what a key has in the engine', async () => {
    const limits = { active: 1, waiting: 1, requestsPerMinute: null, tokensPerMinute: null };
    const secrets = ['tb-a', 'tb-b'];
    const { url } = await serve({
      accessKeys: {
        authenticate: (secret) => (secrets.includes(secret) ? { id: secret.replace('tb', 'ak'), limits } : undefined),
      },
    });
    const post = (secret: string, content: string, signal?: AbortSignal) =>
      fetch(`${url}/v1/chat/completions`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', authorization: `Bearer ${secret}` },
        body: JSON.stringify({ model: 'toy/echo', messages: [{ role: 'user', content }] }),
        ...(signal === undefined ? {} : { signal }),
      });
    expect((await post('tb-c', 'hello')).status).toBe(401);
    const { tracebond } = (await (await post('tb-a', 'hello')).json()) as { tracebond: { id: string } };
    const receipt = (secret: string) =>
      fetch(`${url}/v1/receipts/${tracebond.id}`, { headers: { authorization: `Bearer ${secret}` } });
    expect((await receipt('tb-a')).status).toBe(200);
    expect((await receipt('tb-b')).status).toBe(404);
    const stop = new AbortController();
    const held = [post('tb-a', 'wait', stop.signal), post('tb-a', 'wait', stop.signal)].map((one) =>
      one.catch(() => 0),
    );
    await new Promise((resolve) => setTimeout(resolve, 200));
    const refused = await post('tb-a', 'hello');
    expect(refused.status).toBe(429);
    expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(0);
    expect(await text(await post('tb-b', 'hello'))).toBe('echo: hello');
    stop.abort();
    await Promise.all(held);
    // The server hears of it a moment later.
    let again = await post('tb-a', 'hello');
    for (let i = 0; i < 50 && again.status === 429; i++) {
      await new Promise((resolve) => setTimeout(resolve, 20));
      again = await post('tb-a', 'hello');
    }
    expect(await text(again)).toBe('echo: hello');
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
