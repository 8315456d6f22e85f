import { createServer as createTlsServer, type Server as TlsServer } from 'node:https';
import { type AddressInfo, connect as connectSocket, createServer, type Server, type Socket } from 'node:net';
import { Duplex } from 'node:stream';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type FetchGrant, fetchHttp } from '../../../runtime/http-fetch.ts';
import { decideAddress, parseRanges } from '../../../runtime/net/address.ts';
import { type Connect, openConnection } from '../../../runtime/net/connect.ts';
import { FORBIDDEN_ANSWERS, FORBIDDEN_HOSTS, FORBIDDEN_URLS, PUBLIC_NAMES } from '../../support/ssrf-addresses.ts';
import { TEST_CERTIFICATE, TEST_KEY } from '../../support/ssrf-certificate.ts';
import { answerOf, type StubNetwork, stubNetwork } from '../../support/ssrf-network.ts';

const PUBLIC = '93.184.216.34';
const SHOP = 'http://shop.example.com';

/** A policy that allows every origin: only the address is left to refuse a request. */
const EVERYTHING: FetchGrant = { maxBytes: 1000, methods: ['GET'], origins: [] };

const ask = (network: StubNetwork, url: string, grant: FetchGrant = EVERYTHING) =>
  fetchHttp(grant, { url, method: 'GET', headers: {}, body: null }, { timeoutMs: 1000, allows: () => true, network });

/** Every address that a stub saw, with the proof that none of them is forbidden. */
const expectPublic = (network: StubNetwork, connections: number): void => {
  expect(network.dialled).toHaveLength(connections);
  for (const dialled of network.dialled) expect(decideAddress(dialled.split(' ')[0] ?? '')).toBe('public');
};

describe('no request reaches a forbidden address', () => {
  it('named by a URL', async () => {
    const urls = [
      ...Object.values(FORBIDDEN_HOSTS)
        .flat()
        .map((host) => `http://${host}/`),
      ...Object.values(FORBIDDEN_URLS).flat(),
    ];
    expect(urls.length).toBeGreaterThan(300);
    // A resolver that knows every name as public: even so no form may lead to a connection.
    const network = { ...stubNetwork({}, () => answerOf(200, {})), resolve: async () => [PUBLIC] };
    for (const url of urls) expect((await ask(network, url)).ok, url).toBe(false);
    expectPublic(network, 0);
  });

  it('named by a redirect', async () => {
    const hosts = Object.values(FORBIDDEN_HOSTS).flat();
    for (const host of hosts) {
      for (const location of [`http://${host}/`, `//${host}/x`]) {
        const network = stubNetwork({ 'shop.example.com': [[PUBLIC]] }, () => answerOf(302, { location }));
        const resolve: StubNetwork['resolve'] = async () => [PUBLIC];
        const result = await ask({ ...network, resolve }, `${SHOP}/`);
        if (result.ok) throw new Error(`followed ${location}`);
        // A location that WHATWG reads as a path of the same host goes round until the redirects are used up.
        expectPublic(network, network.dialled.length);
        expect(network.received.every((request) => request.includes('host: shop.example.com\r\n'))).toBe(true);
      }
    }
  });

  it('answered by a resolver, first or on a later hop, alone or among others', async () => {
    for (const answer of FORBIDDEN_ANSWERS) {
      for (const answers of [[answer], [PUBLIC, answer], [answer, PUBLIC]]) {
        const direct = stubNetwork({ 'shop.example.com': [answers] }, () => answerOf(200, {}));
        expect(await ask(direct, `${SHOP}/`)).toEqual({ ok: false, error: 'ADDRESS_DENIED' });
        expectPublic(direct, 0);
        const later = stubNetwork({ 'shop.example.com': [[PUBLIC]], 'b.example.com': [answers] }, () =>
          answerOf(307, { location: 'http://b.example.com/' }),
        );
        expect(await ask(later, `${SHOP}/`)).toEqual({ ok: false, error: 'ADDRESS_DENIED' });
        expectPublic(later, 1);
      }
    }
  });

  it('by a name whose answer changes between two hops', async () => {
    const network = stubNetwork({ 'shop.example.com': [[PUBLIC], ['127.0.0.1']] }, () =>
      answerOf(302, { location: '/next' }),
    );
    expect(await ask(network, `${SHOP}/`)).toEqual({ ok: false, error: 'ADDRESS_DENIED' });
    expect(network.asked).toEqual(['shop.example.com', 'shop.example.com']);
    expectPublic(network, 1);
  });

  it('by a name whose answer changes between check and connection: it is asked once, and the address is dialled', async () => {
    const network = stubNetwork({ 'shop.example.com': [[PUBLIC], ['169.254.169.254']] }, () => answerOf(200, {}));
    expect(await ask(network, `${SHOP}:8080/`)).toMatchObject({ ok: true });
    expect(network.asked).toEqual(['shop.example.com']);
    expect(network.dialled).toEqual([`${PUBLIC} 8080`]);
  });

  it.each([['127.0.0.1'], ['::ffff:127.0.0.1'], ['::1'], [`::ffff:${PUBLIC}`], ['93.184.216.35'], ['10.0.0.1'], ['']])(
    'that stands at the other end as %j though another was dialled: not a byte is sent',
    async (peer) => {
      const network = stubNetwork({ 'shop.example.com': [[PUBLIC]] }, () => answerOf(200, {}), { peer: () => peer });
      for (const scheme of ['http', 'https']) {
        expect(await ask(network, `${scheme}://shop.example.com/`)).toEqual({ ok: false, error: 'ADDRESS_DENIED' });
      }
      expect(network.received).toEqual([]);
    },
  );

  it('nor sends a byte over a connection that no longer says where it leads', async () => {
    const network = stubNetwork({ 'shop.example.com': [[PUBLIC]] }, () => answerOf(200, {}), { peer: () => undefined });
    expect(await ask(network, `${SHOP}/`)).toEqual({ ok: false, error: 'UNREACHABLE' });
    expect(network.received).toEqual([]);
  });

  it('with a grant that names another private address', async () => {
    const grant = { ...EVERYTHING, addresses: ['10.0.0.7/32', '127.0.0.1/32'] };
    const names = {
      'a.internal': [['10.0.0.7']],
      'b.internal': [['10.0.0.8']],
      'c.example.com': [['10.0.0.7', '10.0.0.8']],
    };
    const network = stubNetwork(names, () => answerOf(200, {}));
    expect(await ask(network, 'http://a.internal/', grant)).toMatchObject({ ok: true });
    expect(await ask(network, 'http://10.0.0.7/', grant)).toMatchObject({ ok: true });
    for (const url of [
      'http://b.internal/',
      'http://c.example.com/',
      'http://10.0.0.8/',
      'http://127.0.0.2/',
      'http://[::1]/',
    ]) {
      expect(await ask(network, url, grant)).toEqual({ ok: false, error: 'ADDRESS_DENIED' });
    }
    expect(network.dialled).toEqual(['10.0.0.7 80', '10.0.0.7 80']);
  });
});

describe('public names', () => {
  it('are resolved by the name the URL parser wrote, without the last dot', async () => {
    for (const name of PUBLIC_NAMES) {
      const network = stubNetwork({}, () => answerOf(200, {}, 'ok'));
      const asked: string[] = [];
      const resolve = async (asking: string) => {
        asked.push(asking);
        return [PUBLIC];
      };
      expect(await ask({ ...network, resolve }, `http://${name}/`), name).toMatchObject({ ok: true });
      expect(asked).toEqual([new URL(`http://${name}`).hostname.replace(/\.$/, '')]);
      expect(network.received[0]).toContain(`\r\nhost: ${new URL(`http://${name}`).host}\r\n`);
    }
  });

  it('without an answer, or with a resolver that fails, are unreachable', async () => {
    const network = stubNetwork({ 'shop.example.com': [[]] }, () => answerOf(200, {}));
    expect(await ask(network, `${SHOP}/`)).toEqual({ ok: false, error: 'UNREACHABLE' });
    expect(await ask(network, 'http://b.example.com/')).toEqual({ ok: false, error: 'UNREACHABLE' });
    expectPublic(network, 0);
  });

  it('are tried at their next address if one takes no connection, at four at most', async () => {
    const network = stubNetwork({ 'shop.example.com': [['1.1.1.1', '1.1.1.2', '1.1.1.3', '1.1.1.4', '1.1.1.5']] }, () =>
      answerOf(200, {}, 'ok'),
    );
    const failing =
      (failures: number): Connect =>
      (address, port, signal) => {
        if (network.dialled.length >= failures) return network.connect(address, port, signal);
        network.dialled.push(address);
        return Promise.reject(new Error('refused'));
      };
    expect(await ask({ ...network, connect: failing(3) }, `${SHOP}/`)).toMatchObject({ value: { body: 'ok' } });
    expect(network.dialled).toEqual(['1.1.1.1', '1.1.1.2', '1.1.1.3', '1.1.1.4 80']);
    network.dialled.length = 0;
    expect(await ask({ ...network, connect: failing(9) }, `${SHOP}/`)).toEqual({ ok: false, error: 'UNREACHABLE' });
    expect(network.dialled).toHaveLength(4);
  });

  it('end at the deadline while they are resolved, dialled or secured', async () => {
    const never = new Promise<never>(() => {});
    const mute = () => new Duplex({ read: () => {}, write: (_chunk, _encoding, done) => done() });
    const silent: Connect = async () => Object.assign(mute(), { remoteAddress: PUBLIC });
    const waits: [string, Partial<StubNetwork>][] = [
      ['http', { resolve: () => never }],
      ['https', { connect: silent }],
      [
        'http',
        { connect: (_, __, signal) => new Promise((_resolve, reject) => signal.addEventListener('abort', reject)) },
      ],
    ];
    for (const [scheme, ports] of waits) {
      const network = { ...stubNetwork({ 'shop.example.com': [[PUBLIC]] }, () => answerOf(200, {})), ...ports };
      const request = { url: `${scheme}://shop.example.com/`, method: 'GET', headers: {}, body: null };
      const options = { timeoutMs: 30, allows: () => true, network };
      expect(await fetchHttp(EVERYTHING, request, options)).toEqual({ ok: false, error: 'TIMEOUT' });
    }
  });
});

describe('connections', () => {
  let secure: TlsServer;
  let silent: Server;
  const served: (string | undefined)[] = [];
  const sockets: Socket[] = [];

  beforeAll(async () => {
    secure = createTlsServer({ cert: TEST_CERTIFICATE, key: TEST_KEY }, (request, response) => {
      served.push(request.headers.host);
      response.end('secure');
    });
    silent = createServer((socket) => {
      sockets.push(socket.resume());
      socket.on('error', () => {});
    });
    await Promise.all(
      [secure, silent].map((server) => new Promise<void>((done) => server.listen(0, '127.0.0.1', done))),
    );
  });
  afterAll(() => {
    for (const socket of sockets) socket.destroy();
    secure.closeAllConnections();
    secure.close();
    silent.close();
  });

  const portOf = (server: Server): number => (server.address() as AddressInfo).port;
  const local: FetchGrant = { ...EVERYTHING, addresses: ['127.0.0.1/32'] };
  const askSecure = (host: string, ca: string | undefined) =>
    fetchHttp(
      local,
      { url: `https://${host}:${portOf(secure)}/`, method: 'GET', headers: {}, body: null },
      { timeoutMs: 2000, allows: () => true, network: { resolve: async () => ['127.0.0.1'], ca } },
    );

  it('are secured with a certificate for the name or the address of the URL', async () => {
    served.length = 0;
    for (const host of ['books.example.com', 'BOOKS.example.com.', '127.0.0.1', '0x7f.1']) {
      expect(await askSecure(host, TEST_CERTIFICATE), host).toMatchObject({ ok: true, value: { body: 'secure' } });
    }
    const port = portOf(secure);
    expect(served).toEqual([
      `books.example.com:${port}`,
      `books.example.com.:${port}`,
      `127.0.0.1:${port}`,
      `127.0.0.1:${port}`,
    ]);
  });

  it('are refused with a certificate of nobody, or for another name, whatever the environment says', async () => {
    served.length = 0;
    process.env['NODE_TLS_REJECT_UNAUTHORIZED'] = '0';
    try {
      expect(await askSecure('books.example.com', undefined)).toEqual({ ok: false, error: 'UNREACHABLE' });
      expect(await askSecure('127.0.0.1', undefined)).toEqual({ ok: false, error: 'UNREACHABLE' });
      expect(await askSecure('other.example.com', TEST_CERTIFICATE)).toEqual({ ok: false, error: 'UNREACHABLE' });
    } finally {
      delete process.env['NODE_TLS_REJECT_UNAUTHORIZED'];
    }
    expect(served).toEqual([]);
  });

  it('end with the request, also where it fails', async () => {
    const url = `http://127.0.0.1:${portOf(silent)}/`;
    const request = { url, method: 'GET', headers: {}, body: null };
    expect(await fetchHttp(local, request, { timeoutMs: 50, allows: () => true })).toEqual({
      ok: false,
      error: 'TIMEOUT',
    });
    const [socket] = sockets;
    if (socket === undefined) throw new Error('nobody came');
    if (!socket.closed) await new Promise((done) => socket.once('close', done));
  });

  it('to a port where nobody listens are unreachable', async () => {
    const probe = createServer();
    await new Promise<void>((done) => probe.listen(0, '127.0.0.1', done));
    const port = portOf(probe);
    await new Promise((done) => probe.close(done));
    const signal = new AbortController().signal;
    await expect(
      openConnection(new URL(`http://127.0.0.1:${port}/`), parseRanges(['127.0.0.1/32']), {}, signal),
    ).rejects.toMatchObject({ code: 'UNREACHABLE' });
  });

  it('check the real other end of a socket', async () => {
    const elsewhere: Connect = (_, __, ___) =>
      new Promise((resolve, reject) => {
        const socket = connectSocket(portOf(silent), '127.0.0.1', () => resolve(socket)).once('error', reject);
      });
    const network = { ...stubNetwork({ 'shop.example.com': [[PUBLIC]] }, () => ''), connect: elsewhere };
    expect(await ask(network, `${SHOP}/`, local)).toEqual({ ok: false, error: 'ADDRESS_DENIED' });
  });
});
