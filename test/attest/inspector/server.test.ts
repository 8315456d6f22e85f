import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { request as httpRequest } from 'node:http';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { type BundlePath, openBundles } from '../../../attest/inspector/bundles.ts';
import { InspectorError } from '../../../attest/inspector/errors.ts';
import type { SourcedReport } from '../../../attest/inspector/report.ts';
import { type InspectorPorts, openInspector } from '../../../attest/inspector/server.ts';
import { temporaryFolder } from '../../support/temporary.ts';

type Answer = {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: Buffer;
};

const REPORT = { source: 'here', report: { verdict: 'MATCH' } } as unknown as SourcedReport;

let folder: string;
let page: string;

beforeEach(() => {
  const base = temporaryFolder();
  folder = join(base, 'runs');
  page = join(base, 'page');
  mkdirSync(join(page, 'assets'), { recursive: true });
  mkdirSync(folder);
  writeFileSync(join(base, 'secret.trace'), 'a secret');
  writeFileSync(join(page, 'index.html'), '<!doctype html><title>page</title>');
  writeFileSync(join(page, 'assets/a.js'), 'export {};');
  writeFileSync(join(page, '.inputs.json'), '{}');
  writeFileSync(join(folder, 'one.trace'), '0123456789');
  writeFileSync(join(folder, 'two words & ünï.trace'), 'x');
  writeFileSync(join(folder, 'empty.trace'), '');
  writeFileSync(join(folder, 'notes.txt'), 'not for readers');
  mkdirSync(join(folder, 'folder.trace'));
  symlinkSync(join(base, 'secret.trace'), join(folder, 'link.trace'));
});

async function open(ports: Partial<InspectorPorts> = {}) {
  const inspector = await openInspector({
    bundles: await openBundles(folder),
    page: pathToFileURL(`${page}/`),
    ...ports,
  });
  onTestFinished(() => inspector.close());
  const { origin, host, pathname: base } = new URL(inspector.url);
  /** Sends exactly this path; nothing is tidied up as a browser does. */
  const send = (
    path: string,
    { method = 'GET', headers = {} }: { method?: string; headers?: Record<string, string> } = {},
  ) =>
    new Promise<Answer>((done, failed) => {
      const [hostname, port] = host.split(':');
      const sent = httpRequest({ hostname, port, path, method, headers: { host, ...headers } }, (response) => {
        const parts: Buffer[] = [];
        response.on('data', (part: Buffer) => parts.push(part));
        response.on('end', () =>
          done({ status: response.statusCode ?? 0, headers: response.headers, body: Buffer.concat(parts) }),
        );
        response.on('error', failed);
      });
      sent.on('error', failed);
      sent.end();
    });
  return { send, base, origin, host, inspector };
}

describe('who is answered', () => {
  it('listens on 127.0.0.1 under a token of its own', async () => {
    const [a, b] = [await open(), await open()];
    expect(a.host).toMatch(/^127\.0\.0\.1:\d+$/);
    expect(a.base).toMatch(/^\/[\w-]{22}\/$/);
    expect(a.base).not.toBe(b.base);
    expect((await a.send(a.base)).status).toBe(200);
    for (const path of ['/', '/index.html', b.base, `${b.base}api/bundles`, '/api/bundles', `/${'x'.repeat(22)}/`]) {
      expect({ path, status: (await a.send(path)).status }).toEqual({ path, status: 404 });
    }
  });

  it('refuses another name for this address (DNS rebinding)', async () => {
    const { send, base, host } = await open();
    const port = host.split(':')[1];
    for (const name of ['evil.test', `evil.test:${port}`, `localhost:${port}`, '127.0.0.1']) {
      const answer = await send(`${base}api/bundles`, { headers: { host: name } });
      expect({ name, status: answer.status >= 400 }).toEqual({ name, status: true });
      expect(answer.body.toString()).not.toContain('one.trace');
    }
  });

  it('refuses requests that another page makes', async () => {
    const { send, base, origin } = await open({ verify: async () => REPORT });
    const from = async (headers: Record<string, string>, method = 'GET', path = 'api/bundles') =>
      (await send(base + path, { headers, method })).status;
    expect(await from({ origin })).toBe(200);
    expect(await from({ 'sec-fetch-site': 'same-origin' })).toBe(200);
    for (const headers of [
      { origin: 'http://evil.test' },
      { origin: 'null' },
      { 'sec-fetch-site': 'cross-site' },
      { 'sec-fetch-site': 'same-site' },
    ]) {
      expect(await from(headers as Record<string, string>)).toBe(403);
      expect(await from(headers as Record<string, string>, 'POST', 'api/verify/one')).toBe(403);
    }
    expect(await from({}, 'POST', 'api/verify/one')).toBe(403);
    // Following a link to the page is no request of the page that has the link.
    const visit = { 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'navigate', 'sec-fetch-dest': 'document' };
    expect(await from(visit, 'GET', '')).toBe(200);
    expect(await from({ ...visit, 'sec-fetch-dest': 'iframe' }, 'GET', '')).toBe(403);
    expect(await from({ ...visit, 'sec-fetch-mode': 'no-cors' }, 'GET', '')).toBe(403);
    expect(await from({ ...visit, origin: 'http://evil.test' }, 'GET', '')).toBe(403);
    for (const path of ['api/bundles', 'api/bundle/one', 'assets/a.js'])
      expect(await from(visit, 'GET', path)).toBe(403);
  });

  it('sends the security headers with every answer, refusals included', async () => {
    const { send, base } = await open();
    for (const path of [
      base,
      `${base}assets/a.js`,
      `${base}api/bundles`,
      `${base}api/bundle/one`,
      `${base}nothing`,
      '/',
    ]) {
      const { headers } = await send(path);
      expect(headers).toMatchObject({
        'x-content-type-options': 'nosniff',
        'referrer-policy': 'no-referrer',
        'cross-origin-opener-policy': 'same-origin',
        'cross-origin-resource-policy': 'same-origin',
        'cache-control': 'no-store',
      });
      expect(headers['content-security-policy']).toBe(
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; worker-src 'self'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
      );
      expect(headers['access-control-allow-origin']).toBeUndefined();
    }
  });
});

describe('what is answered', () => {
  it('the list: files of the folder, no link out of it, no path', async () => {
    const { send, base } = await open();
    const { body } = await send(`${base}api/bundles`);
    const { bundles, canVerify } = JSON.parse(body.toString());
    expect(bundles.map(({ id, bytes }: BundlePath) => [id, bytes])).toEqual([
      ['empty', 0],
      ['one', 10],
      ['two words & ünï', 1],
    ]);
    expect(canVerify).toBe(false);
    expect(body.toString()).not.toContain(folder);
  });

  it('a bundle, whole or one range of it', async () => {
    const { send, base } = await open();
    const get = async (range?: string) => {
      const { status, headers, body } = await send(`${base}api/bundle/one`, {
        headers: range === undefined ? {} : { range },
      });
      return [status, body.toString(), headers['content-range']];
    };
    expect(await get()).toEqual([200, '0123456789', undefined]);
    expect(await get('bytes=0-')).toEqual([206, '0123456789', 'bytes 0-9/10']);
    expect(await get('bytes=3-5')).toEqual([206, '345', 'bytes 3-5/10']);
    expect(await get('bytes=8-99')).toEqual([206, '89', 'bytes 8-9/10']);
    for (const range of ['bytes=10-', 'bytes=5-3']) {
      expect((await get(range)).at(0)).toBe(416);
      expect((await get(range)).at(2)).toBe('bytes */10');
    }
    for (const range of ['bytes=-3', 'bytes=0-1,3-4', 'items=0-1', 'bytes=x-'])
      expect((await get(range)).at(0)).toBe(200);
    expect((await send(`${base}api/bundle/empty`)).status).toBe(200);
    expect((await send(`${base}api/bundle/${encodeURIComponent('two words & ünï')}`)).body.toString()).toBe('x');
  });

  it('nothing else of the disk', async () => {
    const { send, base } = await open();
    for (const path of [
      'api/bundle/link',
      'api/bundle/notes.txt',
      'api/bundle/notes',
      'api/bundle/folder',
      'api/bundle/one.trace',
      'api/bundle/../secret',
      'api/bundle/..%2fsecret',
      'api/bundle/%2e%2e%2fsecret.trace',
      'api/bundle/one/',
      'api/bundle/%',
      'api/bundle/%00',
      'api/bundle/__proto__',
      'api/bundle/',
      'api/bundle',
      'api/',
      'api/other/one',
      '.inputs.json',
      'assets/',
      'assets/../index.html',
      '../page/index.html',
      '%2e%2e/secret.trace',
      'constructor',
    ]) {
      const { status, body } = await send(base + path);
      expect({ path, status }).toEqual({ path, status: 404 });
      expect(body.toString()).not.toContain('secret');
    }
  });

  it('reading alone, but for executing again', async () => {
    const { send, base, origin } = await open();
    for (const method of ['POST', 'PUT', 'DELETE', 'OPTIONS', 'PATCH']) {
      for (const path of ['', 'api/bundles', 'api/bundle/one', 'api/report/one']) {
        expect((await send(base + path, { method, headers: { origin } })).status).toBe(405);
      }
    }
    expect((await send(`${base}api/verify/one`)).status).toBe(405);
    expect((await send(`${base}api/verify/one`, { method: 'POST', headers: { origin } })).status).toBe(404);
  });
});

describe('reports', () => {
  it('those that were given, by bundle', async () => {
    const { send, base } = await open({
      reportOf: ({ id }) => (id === 'one' ? { ...REPORT, source: 'file' } : undefined),
    });
    const get = async (id: string) => JSON.parse((await send(`${base}api/report/${id}`)).body.toString());
    expect(await get('one')).toEqual({ report: { ...REPORT, source: 'file' } });
    expect(await get('empty')).toEqual({ report: null });
  });

  it('one made here, one at a time, kept for the next reader, and stopped when nobody waits', async () => {
    let finish = (_: SourcedReport) => {};
    const signals: AbortSignal[] = [];
    const { send, base, origin, inspector } = await open({
      verify: async (_bundle, signal) => {
        signals.push(signal);
        return await new Promise<SourcedReport>((done) => {
          finish = done;
        });
      },
    });
    const post = (id: string) => send(`${base}api/verify/${id}`, { method: 'POST', headers: { origin } });
    const first = post('one');
    while (signals.length === 0) await new Promise((next) => setTimeout(next, 5));
    expect((await post('one')).status).toBe(409);
    expect((await post('empty')).status).toBe(409);
    finish(REPORT);
    expect(JSON.parse((await first).body.toString())).toEqual({ report: REPORT });
    expect(JSON.parse((await send(`${base}api/report/one`)).body.toString())).toEqual({ report: REPORT });
    const left = post('one').catch(() => 'closed');
    while (signals.length === 1) await new Promise((next) => setTimeout(next, 5));
    await inspector.close();
    expect(signals[1]?.aborted).toBe(true);
    expect(await left).toBe('closed');
  });

  it('a verifier that fails says so by code', async () => {
    const { send, base, origin } = await open({
      verify: async () => {
        throw new InspectorError('LISTEN_FAILED', 'the verifier is not here');
      },
    });
    const { status, body } = await send(`${base}api/verify/one`, { method: 'POST', headers: { origin } });
    expect([status, JSON.parse(body.toString())]).toEqual([
      502,
      { error: { code: 'LISTEN_FAILED', message: 'the verifier is not here' } },
    ]);
  });
});

describe('what cannot be served', () => {
  const codeOf = async (run: () => Promise<unknown>) => {
    try {
      await run();
    } catch (error) {
      if (error instanceof InspectorError) return error.code;
      throw error;
    }
    return 'none';
  };

  it('a path that is not there, and a folder without bundles', async () => {
    expect(await codeOf(() => openBundles(join(folder, 'nothing')))).toBe('NO_SUCH_BUNDLE');
    expect(await codeOf(() => openBundles(page))).toBe('NO_BUNDLES');
  });

  it('a page that was not built, and a port that is taken', async () => {
    expect(await codeOf(() => open({ page: pathToFileURL(`${folder}/`) }))).toBe('PAGE_MISSING');
    expect(await codeOf(() => open({ page: pathToFileURL(join(folder, 'nothing/')) }))).toBe('PAGE_MISSING');
    const { host } = await open();
    const bundles = await openBundles(folder);
    const again = () => openInspector({ bundles, page: pathToFileURL(`${page}/`) }, Number(host.split(':')[1]));
    expect(await codeOf(again)).toBe('PORT_IN_USE');
  });
});

it('breaks the answer off where a file became shorter since its length was told', async () => {
  const real = await openBundles(folder);
  const { send, base } = await open({
    bundles: async () => (await real()).map((bundle) => ({ ...bundle, bytes: bundle.bytes + 100 })),
  });
  await expect(send(`${base}api/bundle/one`)).rejects.toThrow(/aborted|hang up/);
});

it('gives files whose names begin with a dot a name of their own', async () => {
  for (const name of ['.trace', '..trace', '...trace', '.trace.trace', '.one.trace'])
    writeFileSync(join(folder, name), name);
  const { send, base } = await open();
  const { bundles } = JSON.parse(String((await send(`${base}api/bundles`)).body)) as {
    bundles: { id: string; name: string }[];
  };
  expect(new Set(bundles.map(({ id }) => id)).size).toBe(bundles.length);
  for (const { id, name } of bundles.filter((one) => one.name.startsWith('.'))) {
    expect(id).toBe(name);
    const url = new URL(`api/bundle/${encodeURIComponent(id)}`, `http://x${base}`);
    expect(String((await send(url.pathname)).body)).toBe(name);
  }
});
