import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { fetchHttp } from '../../runtime/http-fetch.ts';

let server: Server;
let other: Server;
let origin: string;
let elsewhere: string;

const listen = (handler: Parameters<typeof createServer>[1]) =>
  new Promise<Server>((resolve) => {
    const made = createServer(handler as never);
    made.listen(0, '127.0.0.1', () => resolve(made));
  });

beforeAll(async () => {
  other = await listen((_, response) => response.end('elsewhere'));
  elsewhere = `http://127.0.0.1:${(other.address() as AddressInfo).port}`;
  server = await listen((request, response) => {
    const { url = '' } = request;
    if (url === '/text') response.end('grüße');
    else if (url === '/binary') response.end(Buffer.from([0xff, 0xfe, 0x00]));
    else if (url === '/large') response.end('x'.repeat(5000));
    else if (url === '/to-text') response.writeHead(302, { location: '/text' }).end();
    else if (url === '/away') response.writeHead(302, { location: `${elsewhere}/` }).end();
    else if (url === '/loop') response.writeHead(302, { location: '/loop' }).end();
    else if (url === '/slow') setTimeout(() => response.end('late'), 5000).unref();
    else if (url === '/reset') request.socket.destroy();
    else if (url === '/echo') request.pipe(response);
    else response.writeHead(404).end('no such page');
  });
  origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterAll(() => {
  server.closeAllConnections();
  server.close();
  other.close();
});

const ask = (path: string, more: { method?: string; headers?: Record<string, string>; body?: string } = {}) =>
  fetchHttp(
    { capability: 'http.fetch', maxBytes: 1000, methods: ['GET', 'POST'], origins: [origin] },
    { url: `${origin}${path}`, method: more.method ?? 'GET', headers: more.headers ?? {}, body: more.body ?? null },
    { timeoutMs: 500 },
  );

describe('http.fetch', () => {
  it('answers with status and text, also through a redirect inside the list', async () => {
    expect(await ask('/text')).toEqual({ ok: true, value: { status: 200, body: 'grüße' } });
    expect(await ask('/to-text')).toEqual({ ok: true, value: { status: 200, body: 'grüße' } });
    expect(await ask('/none')).toEqual({ ok: true, value: { status: 404, body: 'no such page' } });
    expect(await ask('/echo', { method: 'POST', body: 'back' })).toEqual({
      ok: true,
      value: { status: 200, body: 'back' },
    });
  });

  it.each([
    ['/binary', 'NOT_TEXT'],
    ['/large', 'TOO_LARGE'],
    ['/away', 'REDIRECT_DENIED'],
    ['/loop', 'REDIRECT_DENIED'],
    ['/slow', 'TIMEOUT'],
    ['/reset', 'UNREACHABLE'],
  ])('%s is %s', async (path, error) => {
    expect(await ask(path)).toEqual({ ok: false, error });
  });

  it('refuses headers that a guest may not set', async () => {
    for (const headers of [{ host: 'evil.test' }, { cookie: 'a' }, { accept: 'a\r\nhost: b' }]) {
      expect(await ask('/text', { headers: headers as unknown as Record<string, string> })).toEqual({
        ok: false,
        error: 'BAD_REQUEST',
      });
    }
  });
});
