import { createHash } from 'node:crypto';
import { createServer as createHttp, type Server } from 'node:http';
import { type AddressInfo, connect, createServer as createTcp } from 'node:net';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { downloadFile } from '../../../agents/setup/download.mjs';
import { proxyFor } from '../../../agents/setup/http-get.mjs';
import { startFileServer } from '../../support/file-server.ts';
import { temporaryFolder } from '../../support/temporary.ts';

const CONTENT = new TextEncoder().encode('a small file');
const SHA256 = createHash('sha256').update(CONTENT).digest('hex');
const ONCE = { sleep: async () => undefined };

async function listen(server: Server | ReturnType<typeof createTcp>): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => void server.close());
  return (server.address() as AddressInfo).port;
}

function file(url: string) {
  return { url, target: join(temporaryFolder(), 'f'), sizeBytes: CONTENT.length, sha256: SHA256 };
}

it.each([
  [{}, 'https://hub.example/x', undefined],
  [{ HTTPS_PROXY: 'http://p:3128' }, 'https://hub.example/x', 'http://p:3128/'],
  [{ https_proxy: 'http://low:1', HTTPS_PROXY: 'http://p:3128' }, 'https://hub.example/x', 'http://low:1/'],
  [{ HTTPS_PROXY: 'p:3128' }, 'https://hub.example/x', 'http://p:3128/'],
  [{ HTTPS_PROXY: 'http://p:3128' }, 'http://hub.example/x', undefined],
  [{ HTTP_PROXY: 'http://p:3128' }, 'http://hub.example/x', 'http://p:3128/'],
  [{ ALL_PROXY: 'http://p:3128' }, 'http://hub.example/x', 'http://p:3128/'],
  [{ ALL_PROXY: 'http://p:1', NO_PROXY: '*' }, 'http://hub.example/x', undefined],
  [{ ALL_PROXY: 'http://p:1', NO_PROXY: 'a.b, hub.example' }, 'http://hub.example/x', undefined],
  [{ ALL_PROXY: 'http://p:1', NO_PROXY: '.example' }, 'http://hub.example/x', undefined],
  [{ ALL_PROXY: 'http://p:1', NO_PROXY: '*.example' }, 'http://HUB.example/x', undefined],
  [{ ALL_PROXY: 'http://p:1', no_proxy: 'b.example' }, 'http://hub.example/x', 'http://p:1/'],
  [{ ALL_PROXY: 'http://p:1', NO_PROXY: 'hub.example:80' }, 'https://hub.example/x', 'http://p:1/'],
  [{ ALL_PROXY: 'http://p:1', NO_PROXY: 'hub.example:443' }, 'https://hub.example/x', undefined],
])('proxyFor %o of %s is %s', (env, url, expected) => {
  expect(proxyFor(new URL(url), env)?.href).toBe(expected);
});

it('goes through an HTTP proxy with its password', async () => {
  const seen: unknown[] = [];
  await using origin = await startFileServer(CONTENT);
  const proxy = createHttp((request, response) => {
    seen.push(request.url, request.headers['proxy-authorization'], request.headers.host);
    response.writeHead(200, { 'content-length': CONTENT.length }).end(CONTENT);
  });
  const env = { HTTP_PROXY: `http://user:p%40ss@127.0.0.1:${await listen(proxy)}` };
  await downloadFile(file('http://hub.example/file'), { ...ONCE, http: { env } });
  expect(seen).toEqual(['http://hub.example/file', `Basic ${btoa('user:p@ss')}`, 'hub.example']);
  expect(origin.ranges).toEqual([]);
});

it('opens a tunnel for https and talks TLS inside it', async () => {
  const seen: unknown[] = [];
  // The end of the tunnel only looks whether a TLS handshake for the right name begins.
  const end = createTcp((socket) =>
    socket.once('data', (hello) => {
      seen.push(hello[0], hello.includes('hub.example'));
      socket.destroy();
    }),
  );
  const endPort = await listen(end);
  const proxy = createHttp();
  proxy.on('connect', (request, socket) => {
    seen.push(request.url);
    const through = connect(endPort, '127.0.0.1', () => {
      socket.write('HTTP/1.1 200 OK\r\n\r\n');
      through.pipe(socket).pipe(through);
    });
    through.on('error', () => socket.destroy());
    socket.on('error', () => through.destroy());
  });
  const env = { HTTPS_PROXY: `http://127.0.0.1:${await listen(proxy)}` };
  await expect(downloadFile(file('https://hub.example/file'), { ...ONCE, http: { env } })).rejects.toThrow();
  expect(seen.slice(0, 3)).toEqual(['hub.example:443', 0x16, true]);
});

it('says that a proxy refuses', async () => {
  const proxy = createHttp((_, response) => response.writeHead(405).end());
  proxy.on('connect', (_, socket) => socket.end('HTTP/1.1 407 Proxy Authentication Required\r\n\r\n'));
  const env = { HTTPS_PROXY: `http://127.0.0.1:${await listen(proxy)}` };
  await expect(downloadFile(file('https://hub.example/file'), { ...ONCE, http: { env } })).rejects.toThrow(
    /proxy 127\.0\.0\.1:\d+ answered HTTP 407/,
  );
});

it('does not wait for a server that accepts and never answers', async () => {
  const port = await listen(createTcp(() => undefined));
  const http = { headerTimeoutMs: 50 };
  await expect(downloadFile(file(`http://127.0.0.1:${port}/f`), { ...ONCE, http })).rejects.toThrow(/took longer than/);
});

it('does not wait for a TLS handshake that never comes', async () => {
  const port = await listen(createTcp(() => undefined));
  const startedAt = performance.now();
  const http = { connectTimeoutMs: 50 };
  await expect(downloadFile(file(`https://127.0.0.1:${port}/f`), { ...ONCE, http })).rejects.toMatchObject({
    code: 'CONNECT_TIMEOUT',
  });
  expect(performance.now() - startedAt).toBeLessThan(2_000);
});

it.each(['ftp://127.0.0.1/f', 'file:///etc/passwd', 'not a url'])('refuses the address %s', async (url) => {
  await expect(downloadFile(file(url), ONCE)).rejects.toMatchObject({ code: 'BAD_URL' });
});
