import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type FetchGrant, type FetchRequest, fetchHttp } from '../../runtime/http-fetch.ts';
import { createRedactor } from '../../runtime/secrets.ts';
import { answerOf, type StubHandler, stubNetwork } from '../support/ssrf-network.ts';

const SECRET = 'canary-7f3a/9+secret';
const secrets = { get: (name: string) => (name === 'BOOKS_TOKEN' ? SECRET : undefined) };
const BEARER = { name: 'Authorization', value: 'Bearer {{secret:BOOKS_TOKEN}}' };

describe('http.fetch over a real server', () => {
  let server: Server;
  let other: Server;
  let origin: string;
  let elsewhere: string;
  const seen: IncomingMessage[] = [];

  const listen = (handler: (request: IncomingMessage, response: ServerResponse) => void) =>
    new Promise<Server>((resolve) => {
      const made = createServer(handler);
      made.listen(0, '127.0.0.1', () => resolve(made));
    });

  beforeAll(async () => {
    other = await listen((request, response) => {
      seen.push(request);
      response.end('elsewhere');
    });
    elsewhere = `http://127.0.0.1:${(other.address() as AddressInfo).port}`;
    server = await listen((request, response) => {
      seen.push(request);
      const { url = '' } = request;
      if (url === '/text') response.end('grüße');
      else if (url === '/binary') response.end(Buffer.from([0xff, 0xfe, 0x00]));
      else if (url === '/large') response.end('x'.repeat(5000));
      else if (url === '/to-text') response.writeHead(302, { location: '/text' }).end();
      else if (url === '/to-echo') response.writeHead(307, { location: '/echo' }).end();
      else if (url === '/to-echo-303') response.writeHead(303, { location: '/echo' }).end();
      else if (url === '/away') response.writeHead(302, { location: `${elsewhere}/` }).end();
      else if (url === '/loop') response.writeHead(302, { location: '/loop' }).end();
      else if (url === '/slow') setTimeout(() => response.end('late'), 5000).unref();
      else if (url === '/drip') {
        response.write('a');
        setInterval(() => response.write('a'), 50).unref();
      } else if (url === '/reset') request.socket.destroy();
      else if (url === '/short') {
        response.writeHead(200, { 'content-length': '100' });
        response.write('only this');
        setTimeout(() => request.socket.destroy(), 20);
      } else if (url === '/echo') request.pipe(response);
      else if (url === '/split') {
        response.write(`token: ${SECRET.slice(0, 9)}`);
        setTimeout(() => response.end(`${SECRET.slice(9)}!`), 20);
      } else response.writeHead(404).end('no such page');
    });
    origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  });
  afterAll(() => {
    for (const each of [server, other]) {
      each.closeAllConnections();
      each.close();
    }
  });

  const grant = (more: Partial<FetchGrant> = {}): FetchGrant => ({
    addresses: ['127.0.0.1/32'],
    maxBytes: 1000,
    methods: ['GET', 'POST'],
    origins: [origin],
    ...more,
  });
  const ask = (path: string, more: Partial<FetchRequest> & { grant?: Partial<FetchGrant> } = {}) =>
    fetchHttp(
      grant(more.grant),
      { url: `${origin}${path}`, method: more.method ?? 'GET', headers: more.headers ?? {}, body: more.body ?? null },
      { timeoutMs: 400, secrets },
    );

  it('answers with status and text, also through a redirect inside the list', async () => {
    expect(await ask('/text')).toEqual({ ok: true, value: { status: 200, headers: {}, body: 'grüße' } });
    expect(await ask('/to-text')).toMatchObject({ ok: true, value: { status: 200, body: 'grüße' } });
    expect(await ask('/none')).toMatchObject({ ok: true, value: { status: 404, body: 'no such page' } });
    expect(await ask('/echo', { method: 'POST', body: 'back ü' })).toMatchObject({ value: { body: 'back ü' } });
    expect(await ask('/echo', { method: 'POST' })).toMatchObject({ value: { body: '' } });
  });

  it('sends method and body on after 307, and a GET without body after 303', async () => {
    expect(await ask('/to-echo', { method: 'POST', body: 'kept' })).toMatchObject({ value: { body: 'kept' } });
    seen.length = 0;
    expect(await ask('/to-echo-303', { method: 'POST', body: 'dropped' })).toMatchObject({ value: { body: '' } });
    expect(seen.map(({ method }) => method)).toEqual(['POST', 'GET']);
    expect(seen[1]?.headers['content-type']).toBeUndefined();
    expect(await ask('/to-echo-303', { method: 'POST', grant: { methods: ['POST'] } })).toEqual({
      ok: false,
      error: 'REDIRECT_DENIED',
    });
  });

  it.each([
    ['/binary', 'NOT_TEXT'],
    ['/large', 'TOO_LARGE'],
    ['/away', 'REDIRECT_DENIED'],
    ['/loop', 'REDIRECT_DENIED'],
    ['/slow', 'TIMEOUT'],
    ['/drip', 'TIMEOUT'],
    ['/reset', 'UNREACHABLE'],
    ['/short', 'UNREACHABLE'],
  ])('%s is %s', async (path, error) => {
    expect(await ask(path)).toEqual({ ok: false, error });
  });

  it('does not reach the server without the range in the grant', async () => {
    seen.length = 0;
    for (const addresses of [[], ['127.0.0.2/32'], ['10.0.0.0/8', '::1/128']]) {
      expect(await ask('/text', { grant: { addresses } })).toEqual({ ok: false, error: 'ADDRESS_DENIED' });
    }
    const { addresses: _, ...without } = grant();
    const request = { url: `${origin}/text`, method: 'GET', headers: {}, body: null };
    expect(await fetchHttp(without, request, { timeoutMs: 400 })).toEqual({ ok: false, error: 'ADDRESS_DENIED' });
    expect(seen).toEqual([]);
  });

  it('reaches a local name through the range in the grant, by the resolver of the system', async () => {
    const url = origin.replace('127.0.0.1', 'localhost');
    const request = { url: `${url}/text`, method: 'GET', headers: {}, body: null };
    const local = { ...grant({ origins: [url] }), addresses: ['127.0.0.1/32', '::1/128'] };
    expect(await fetchHttp(local, request, { timeoutMs: 400 })).toMatchObject({ value: { body: 'grüße' } });
    expect(await fetchHttp({ ...local, addresses: [] }, request, { timeoutMs: 400 })).toEqual({
      ok: false,
      error: 'ADDRESS_DENIED',
    });
  });

  it('goes past an environment that names proxies', async () => {
    const before = { ...process.env };
    Object.assign(process.env, { HTTP_PROXY: elsewhere, http_proxy: elsewhere, NODE_USE_ENV_PROXY: '1' });
    try {
      expect(await ask('/text')).toMatchObject({ value: { body: 'grüße' } });
    } finally {
      process.env = before;
    }
  });

  it('sends headers of the grant to its origin, and not on to another one', async () => {
    seen.length = 0;
    const headers = [BEARER, { name: 'x-version', value: '3' }];
    await ask('/away', { grant: { headers, origins: [origin, elsewhere] }, headers: { accept: 'text/plain' } });
    expect(seen.map(({ headers: sent }) => [sent.authorization, sent['x-version'], sent.accept])).toEqual([
      [`Bearer ${SECRET}`, '3', 'text/plain'],
      [undefined, undefined, 'text/plain'],
    ]);
  });

  it('redacts a secret that comes back in two pieces', async () => {
    expect(await ask('/split', { grant: { headers: [BEARER] } })).toMatchObject({
      value: { body: 'token: [redacted:BOOKS_TOKEN]!' },
    });
  });

  it('ends with the reason of an abort', async () => {
    const abort = new AbortController();
    setTimeout(() => abort.abort(new Error('cancelled')), 20);
    const request = { url: `${origin}/slow`, method: 'GET', headers: {}, body: null };
    await expect(fetchHttp(grant(), request, { timeoutMs: 400, signal: abort.signal })).rejects.toThrow('cancelled');
    await expect(fetchHttp(grant(), request, { timeoutMs: 400, signal: abort.signal })).rejects.toThrow('cancelled');
  });
});

const OPEN: FetchGrant = { maxBytes: 1000, methods: ['GET', 'HEAD', 'POST'], origins: ['http://books.example.com'] };
const NAMES = { 'books.example.com': [['93.184.216.34']], 'other.example.com': [['93.184.216.35']] };

const fetchStub = async (
  handler: StubHandler,
  more: { request?: Partial<FetchRequest>; grant?: Partial<FetchGrant>; options?: Partial<fetchHttp.Options> } = {},
) => {
  const network = stubNetwork(NAMES, handler);
  const result = await fetchHttp(
    { ...OPEN, ...more.grant },
    { url: 'http://books.example.com/a?b=c#d', method: 'GET', headers: {}, body: null, ...more.request },
    { timeoutMs: 400, network, secrets, ...more.options },
  );
  return { result, network };
};

describe('requests', () => {
  it('send these bytes', async () => {
    const { network } = await fetchStub(() => answerOf(200, {}, 'ok'), {
      request: { method: 'POST', body: 'ü', headers: { Accept: 'application/json' } },
      grant: { headers: [BEARER] },
      options: { idempotencyKey: 'key-1' },
    });
    expect(network.received).toEqual([
      'POST /a?b=c HTTP/1.1\r\naccept: application/json\r\nuser-agent: tracebond\r\n' +
        `content-type: text/plain;charset=UTF-8\r\nauthorization: Bearer ${SECRET}\r\nidempotency-key: key-1\r\n` +
        'host: books.example.com\r\nconnection: close\r\naccept-encoding: identity\r\ncontent-length: 2\r\n\r\nü',
    ]);
    expect(network.dialled).toEqual(['93.184.216.34 80']);
  });

  it.each<[string, Partial<FetchRequest>]>([
    ['host', { headers: { host: 'evil.test' } }],
    ['cookie', { headers: { cookie: 'a' } }],
    ['authorization', { headers: { authorization: 'a' } }],
    ['idempotency-key', { headers: { 'idempotency-key': 'a' } }],
    ['content-length', { headers: { 'content-length': '5' } }],
    ['transfer-encoding', { headers: { 'transfer-encoding': 'chunked' } }],
    ['connection', { headers: { connection: 'upgrade' } }],
    ['proxy-authorization', { headers: { 'proxy-authorization': 'a' } }],
    ['accept-encoding', { headers: { 'accept-encoding': 'gzip' } }],
    ['x-forwarded-for', { headers: { 'x-forwarded-for': '127.0.0.1' } }],
    ['x-http-method-override', { headers: { 'x-http-method-override': 'DELETE' } }],
    ['x-original-url', { headers: { 'X-Original-URL': '/admin' } }],
    ['a line in a value', { headers: { accept: 'a\r\nhost: b' } }],
    ['a bare LF in a value', { headers: { accept: 'a\nhost: b' } }],
    ['NUL in a value', { headers: { accept: 'a\0' } }],
    ['a wide character that ends in LF', { headers: { accept: 'a\u010ahost: b' } }],
    ['a header twice', { headers: { accept: 'a', Accept: 'b' } }],
    ['a header that is no text', { headers: { accept: 1 } }],
    ['headers that are a list', { headers: [] }],
    ['headers that are null', { headers: null }],
    ['GET with a body', { body: 'x' }],
    ['a method that is not granted', { method: 'DELETE' }],
    ['a method with a line', { method: 'GET / HTTP/1.1\r\nhost: b\r\n\r\nGET' }],
    ['an origin that is not granted', { url: 'http://other.example.com/' }],
    ['another port', { url: 'http://books.example.com:8080/' }],
    ['credentials', { url: 'http://user:pass@books.example.com/' }],
    ['another scheme', { url: 'file:///etc/passwd' }],
    ['no URL', { url: 'books.example.com' }],
    ['a URL of 9,000 characters', { url: `http://books.example.com/${'a'.repeat(9000)}` }],
  ])('with %s are refused before any connection', async (_, request) => {
    const { result, network } = await fetchStub(() => answerOf(200, {}), { request });
    expect(result).toEqual({ ok: false, error: 'BAD_REQUEST' });
    expect(network).toMatchObject({ dialled: [], asked: [] });
  });

  it.each([
    ['MALFORMED_HEADER', { headers: [{ name: 'host', value: 'a' }] }],
    ['MALFORMED_HEADER', { headers: [{ name: 'Idempotency-Key', value: 'a' }] }],
    ['MALFORMED_HEADER', { headers: [{ name: 'a b', value: 'a' }] }],
    ['MALFORMED_HEADER', { headers: [{ name: 'a', value: 'a\r\nb: c' }] }],
    ['MALFORMED_HEADER', { headers: [BEARER, { name: 'authorization', value: 'a' }] }],
    ['MALFORMED_TEMPLATE', { headers: [{ name: 'a', value: '{{BOOKS_TOKEN}}' }] }],
    ['UNKNOWN_SECRET', { headers: [{ name: 'a', value: '{{secret:OTHER}}' }] }],
    ['MALFORMED_RANGE', { addresses: ['127.0.0.1'] }],
    ['RANGE_NOT_GRANTABLE', { addresses: ['0.0.0.0/0'] }],
  ] as const)('throw %s for the grant %j', async (code, grant) => {
    await expect(fetchStub(() => answerOf(200, {}), { grant })).rejects.toMatchObject({ code });
  });

  it('do not hold a secret for an origin that only the callback allows', async () => {
    const { network } = await fetchStub(() => answerOf(200, {}), {
      grant: { headers: [BEARER], origins: [] },
      options: { allows: () => true },
    });
    expect(network.received.join()).not.toContain(SECRET);
  });

  it('never get a secret back after they have left the origin', async () => {
    const origins = ['http://books.example.com', 'http://other.example.com'];
    const hops = ['http://other.example.com/1', 'http://books.example.com/2'];
    const { network } = await fetchStub(
      () => (hops.length > 0 ? answerOf(307, { location: hops.shift() ?? '' }) : answerOf(200, {})),
      { grant: { headers: [BEARER], origins }, options: { idempotencyKey: 'key-1' } },
    );
    expect(network.received.map((request) => request.includes(SECRET))).toEqual([true, false, false]);
    expect(network.received.every((request) => request.includes('idempotency-key: key-1\r\n'))).toBe(true);
  });
});

describe('answers', () => {
  it('show the headers of the list, redacted', async () => {
    const { result } = await fetchStub(
      () =>
        answerOf(
          200,
          {
            'content-type': 'text/plain',
            etag: `"${SECRET}"`,
            location: '/x',
            'set-cookie': 'a=b',
            'x-own': 'y',
            'retry-after': '\u00e9',
          },
          JSON.stringify({ echo: `Bearer ${SECRET}`, other: 'my-api-key' }),
        ),
      { grant: { headers: [BEARER] }, options: { redactor: createRedactor({ API: 'my-api-key' }) } },
    );
    expect(result).toEqual({
      ok: true,
      value: {
        status: 200,
        headers: { 'content-type': 'text/plain', etag: '"[redacted:BOOKS_TOKEN]"' },
        body: '{"echo":"Bearer [redacted:BOOKS_TOKEN]","other":"[redacted:API]"}',
      },
    });
  });

  it.each<[string, string, StubHandler]>([
    ['over the limit without a length', 'TOO_LARGE', () => `HTTP/1.1 200 OK\r\n\r\n${'x'.repeat(1001)}`],
    ['over the limit once redacted', 'TOO_LARGE', () => answerOf(200, {}, SECRET.repeat(50))],
    ['with headers of 17 KiB', 'TOO_LARGE', () => answerOf(200, { etag: 'e'.repeat(17 * 1024) })],
    [
      'with 101 header fields',
      'TOO_LARGE',
      () => answerOf(200, Object.fromEntries(Array.from({ length: 100 }, (_, i) => [`h${i}`, '1']))),
    ],
    ['compressed', 'NOT_TEXT', () => answerOf(200, { 'content-encoding': 'gzip' }, 'x')],
    [
      'compressed for the way',
      'NOT_TEXT',
      () => 'HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n',
    ],
    ['in Latin-1', 'NOT_TEXT', () => Buffer.from('HTTP/1.1 200 OK\r\n\r\ngr\xfc\xdfe', 'latin1')],
    ['ending inside of a character', 'NOT_TEXT', () => Buffer.from('HTTP/1.1 200 OK\r\n\r\n\xc3', 'latin1')],
    ['that is no HTTP', 'UNREACHABLE', () => 'SSH-2.0-OpenSSH_9.6\r\n'],
    ['with length and chunks', 'UNREACHABLE', () => answerOf(200, { 'transfer-encoding': 'chunked' }, 'x')],
    ['that is empty', 'UNREACHABLE', () => ''],
    ['that changes the protocol', 'UNREACHABLE', () => 'HTTP/1.1 101 S\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n'],
    ['cut off', 'UNREACHABLE', () => answerOf(200, { 'content-length': '50' }, 'x')],
  ])('%s are %s', async (_, error, handler) => {
    expect((await fetchStub(handler, { grant: { headers: [BEARER] } })).result).toEqual({ ok: false, error });
  });

  it.each([
    ['credentials', 'http://user:pass@books.example.com/'],
    ['another scheme', 'ftp://books.example.com/'],
    ['a script', 'javascript:alert(1)'],
    ['no URL', 'http://['],
    ['another origin', 'http://other.example.com/'],
    ['9,000 characters', `/${'a'.repeat(9000)}`],
  ])('that redirect to %s end there', async (_, location) => {
    const { result, network } = await fetchStub(() => answerOf(302, { location }));
    expect(result).toEqual({ ok: false, error: 'REDIRECT_DENIED' });
    expect(network.dialled).toHaveLength(1);
  });

  it('are followed five times', async () => {
    const chain = (length: number) => {
      let hop = 0;
      return fetchStub(() => (hop++ < length ? answerOf(302, { location: `/${hop}` }) : answerOf(200, {}, 'end')));
    };
    expect((await chain(5)).result).toMatchObject({ value: { body: 'end' } });
    expect(await chain(6)).toMatchObject({
      result: { ok: false, error: 'REDIRECT_DENIED' },
      network: { dialled: { length: 6 } },
    });
  });

  it('of 304 and 300 are answers, whatever location they name', async () => {
    for (const status of [300, 304]) {
      const { result } = await fetchStub(() => answerOf(status, { location: 'http://127.0.0.1/' }));
      expect(result).toMatchObject({ ok: true, value: { status, headers: {} } });
    }
  });

  it('come in pieces of one byte, as large as the grant allows', async () => {
    const pieces = 'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n';
    const body = 'é'.repeat(100_000);
    const chunked = Buffer.concat([
      Buffer.from(pieces),
      ...[...Buffer.from(body)].map((byte) => Buffer.from([0x31, 0x0d, 0x0a, byte, 0x0d, 0x0a])),
      Buffer.from('0\r\n\r\n'),
    ]);
    const options = { timeoutMs: 5000 };
    const { result } = await fetchStub(() => chunked, { grant: { maxBytes: 200_000 }, options });
    expect(result).toEqual({ ok: true, value: { status: 200, headers: {}, body } });
    const smaller = await fetchStub(() => chunked, { grant: { maxBytes: 199_999 }, options });
    expect(smaller.result).toEqual({ ok: false, error: 'TOO_LARGE' });
  });

  it('to HEAD have no body, and may name an encoding', async () => {
    const { result } = await fetchStub(() => answerOf(200, { 'content-encoding': 'gzip', 'content-length': '9' }), {
      request: { method: 'HEAD' },
    });
    expect(result).toMatchObject({ ok: true, value: { status: 200, body: '' } });
  });
});
