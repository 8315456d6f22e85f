/**
 * Serves the inspector's page to the browser of this computer: the built page, the bytes of bundles, and a verifier's report. Nothing
 * else, and to nobody else.
 *
 * I1. Listens on 127.0.0.1 alone; every path begins with a token of 128 random bits, which only the printed address holds.
 * I2. A request whose `Host` is not this server's own address is refused, so that no name which somebody points at 127.0.0.1 becomes
 *     this origin (DNS rebinding); one with a foreign `Origin` or `Sec-Fetch-Site` is refused as well, unless somebody follows a link to
 *     the page itself.
 * I3. What a request names is looked up in the list of bundles and of built files; it never becomes a part of a path.
 * I4. Every answer has the security headers, errors included.
 *
 * Spec: `attest/spec/inspector.md#the-server`.
 *
 * @module
 */

import { randomBytes, timingSafeEqual } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { pipeline } from 'node:stream/promises';
import { gzipSync } from 'node:zlib';
import { RuntimeError } from '../core/error.ts';
import type { BundlePath, ListBundles } from './bundles.ts';
import { InspectorError } from './errors.ts';
import { loadPage, type PageFile } from './page-files.ts';
import type { SourcedReport } from './report.ts';

/** What an inspector's server takes from outside. */
export type InspectorPorts = {
  readonly bundles: ListBundles;
  /** Folder of the built page. */
  readonly page: URL;
  /** The report that somebody gave of a bundle. */
  readonly reportOf?: (bundle: BundlePath) => SourcedReport | undefined;
  /** Executes a bundle again on this computer; absent: the page offers no such button. */
  readonly verify?: (bundle: BundlePath, signal: AbortSignal) => Promise<SourcedReport>;
};

/** A server that listens. */
export type OpenInspector = {
  /** Address of the page, token included. */
  readonly url: string;
  close(): Promise<void>;
};

/**
 * The page may run its own scripts and workers and speak to this server; nothing else. Workers are scripts of this origin
 * (`worker-src`); there is no WebAssembly, no inline script or style, no frame, no form.
 */
export const CONTENT_SECURITY_POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "connect-src 'self'",
  "worker-src 'self'",
  "img-src 'self' data:",
  "frame-ancestors 'none'",
  "base-uri 'none'",
  "form-action 'none'",
].join('; ');

const SECURITY_HEADERS = {
  'content-security-policy': CONTENT_SECURITY_POLICY,
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY',
  'referrer-policy': 'no-referrer',
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-resource-policy': 'same-origin',
  'cross-origin-embedder-policy': 'require-corp',
  'permissions-policy': 'camera=(), geolocation=(), microphone=(), payment=(), usb=()',
  'cache-control': 'no-store',
} as const;

const HOST = '127.0.0.1';

/**
 * Starts the server.
 *
 * @param port - 0 for any that is free
 * @throws {@link InspectorError} `PAGE_MISSING`, `PORT_IN_USE`, `LISTEN_FAILED`
 */
export async function openInspector(ports: InspectorPorts, port = 0): Promise<OpenInspector> {
  const files = await loadPage(ports.page);
  const token = randomBytes(16).toString('base64url');
  const stop = new AbortController();
  const context: Context = { ports, files, token, stop: stop.signal, busy: new Set(), made: new Map() };
  const server = createServer({ maxHeaderSize: 16 * 1024, requestTimeout: 30_000 }, (request, response) => {
    answer(context, request, response, `${HOST}:${(server.address() as AddressInfo).port}`).catch((error: unknown) => {
      fail(response, error);
    });
  });
  await new Promise<void>((listening, refused) => {
    server.once('error', (cause: NodeJS.ErrnoException) => {
      const code = cause.code === 'EADDRINUSE' ? 'PORT_IN_USE' : 'LISTEN_FAILED';
      refused(new InspectorError(code, `port ${port} of ${HOST} cannot be listened on (${cause.code})`, { cause }));
    });
    server.listen(port, HOST, listening);
  });
  return {
    url: `http://${HOST}:${(server.address() as AddressInfo).port}/${token}/`,
    async close() {
      stop.abort();
      server.closeAllConnections();
      await new Promise<void>((closed) => server.close(() => closed()));
    },
  };
}

type Context = {
  readonly ports: InspectorPorts;
  readonly files: ReadonlyMap<string, PageFile>;
  readonly token: string;
  readonly stop: AbortSignal;
  /** Bundles that are being executed again. */
  readonly busy: Set<string>;
  /** Reports made here, by bundle. */
  readonly made: Map<string, SourcedReport>;
};

async function answer(context: Context, request: IncomingMessage, response: ServerResponse, host: string) {
  for (const [name, value] of Object.entries(SECURITY_HEADERS)) response.setHeader(name, value);
  const { method, headers } = request;
  if (headers.host !== host) return refuse(response, 421, 'HOST_NOT_ALLOWED');
  const { origin } = headers;
  const site = headers['sec-fetch-site'];
  if (origin !== undefined && origin !== `http://${host}`) return refuse(response, 403, 'ORIGIN_NOT_ALLOWED');
  const [, token = '', ...rest] = (request.url ?? '').split('?', 1)[0]?.split('/') ?? [];
  if (!isToken(token, context.token)) return refuse(response, 404, 'NOT_FOUND');
  const path = rest.join('/');
  // A link to the page may stand anywhere; it brings its reader here, and gives the page that holds it nothing.
  const isVisit = path === '' && headers['sec-fetch-mode'] === 'navigate' && headers['sec-fetch-dest'] === 'document';
  if (site !== undefined && site !== 'same-origin' && site !== 'none' && !isVisit) {
    return refuse(response, 403, 'ORIGIN_NOT_ALLOWED');
  }
  const [api, name, ...more] = path.split('/');
  if (api !== 'api') {
    if (method !== 'GET' && method !== 'HEAD') return refuse(response, 405, 'METHOD_NOT_ALLOWED');
    return sendFile(context, request, response, path === '' ? 'index.html' : path);
  }
  if (name === 'verify') {
    if (method !== 'POST') return refuse(response, 405, 'METHOD_NOT_ALLOWED');
    // A page of another origin may send a plain POST, and says so in `Origin`; a browser always sends it with one.
    if (origin === undefined && site === undefined) return refuse(response, 403, 'ORIGIN_NOT_ALLOWED');
    return verify(context, response, await findBundle(context, more));
  }
  if (method !== 'GET') return refuse(response, 405, 'METHOD_NOT_ALLOWED');
  if (name === 'bundles' && more.length === 0) {
    const bundles = (await context.ports.bundles()).map(({ path: _, ...entry }) => entry);
    return sendJson(response, 200, { bundles, canVerify: context.ports.verify !== undefined });
  }
  const bundle = await findBundle(context, more);
  if (bundle === undefined) return refuse(response, 404, 'NOT_FOUND');
  if (name === 'bundle') return sendBundle(request, response, bundle);
  if (name === 'report') {
    const report = context.made.get(bundle.id) ?? context.ports.reportOf?.(bundle);
    return sendJson(response, 200, { report: report ?? null });
  }
  return refuse(response, 404, 'NOT_FOUND');
}

async function findBundle(context: Context, parts: readonly string[]): Promise<BundlePath | undefined> {
  const [part, ...more] = parts;
  if (part === undefined || more.length > 0) return undefined;
  let id: string;
  try {
    id = decodeURIComponent(part);
  } catch (error) {
    if (!(error instanceof URIError)) throw error;
    return undefined;
  }
  return (await context.ports.bundles()).find((bundle) => bundle.id === id);
}

async function verify(context: Context, response: ServerResponse, bundle: BundlePath | undefined): Promise<void> {
  const { busy, made, ports, stop } = context;
  if (bundle === undefined || ports.verify === undefined) return refuse(response, 404, 'NOT_FOUND');
  if (busy.size > 0) return refuse(response, 409, 'BUSY');
  busy.add(bundle.id);
  const gone = new AbortController();
  response.once('close', () => gone.abort());
  try {
    const report = await ports.verify(bundle, AbortSignal.any([stop, gone.signal]));
    made.set(bundle.id, report);
    sendJson(response, 200, { report });
  } catch (error) {
    if (!RuntimeError.is(error)) throw error;
    sendJson(response, 502, { error: { code: error.code, message: error.message } });
  } finally {
    busy.delete(bundle.id);
  }
}

/** The bytes of a bundle, whole or one range of them. */
async function sendBundle(request: IncomingMessage, response: ServerResponse, { path, bytes }: BundlePath) {
  const range = parseRange(request.headers.range, bytes);
  response.setHeader('content-type', 'application/octet-stream');
  response.setHeader('accept-ranges', 'bytes');
  if (range === 'unsatisfiable') {
    response.setHeader('content-range', `bytes */${bytes}`);
    return refuse(response, 416, 'RANGE_NOT_SATISFIABLE');
  }
  const { start, end } = range ?? { start: 0, end: bytes };
  if (range !== undefined) response.setHeader('content-range', `bytes ${start}-${end - 1}/${bytes}`);
  response.setHeader('content-length', end - start);
  response.writeHead(range === undefined ? 200 : 206);
  if (end === start) {
    response.end();
    return;
  }
  try {
    // A run that is going on appends: what comes after the length that was told is not sent.
    let left = end - start;
    const file = createReadStream(path, { start, end: end - 1, highWaterMark: 1 << 18 });
    file.on('data', (piece) => {
      left -= piece.length;
    });
    await pipeline(file, response, { end: false });
    // A file that became shorter meanwhile: the reader would wait for the rest.
    if (left > 0) response.destroy();
    else response.end();
  } catch (error) {
    // A reader that leaves is no fault; for any other the broken-off answer is all that can still be said.
    if ((error as NodeJS.ErrnoException).code !== 'ERR_STREAM_PREMATURE_CLOSE') response.destroy();
  }
}

/** One range `bytes=a-`, `bytes=a-b`, as `[start, end)`; undefined: none was asked for, or one of another form, which RFC 9110 lets ignore. */
function parseRange(header: string | undefined, bytes: number) {
  const [, from, to] = /^bytes=(\d{1,15})-(\d{0,15})$/.exec(header ?? '') ?? [];
  if (from === undefined) return undefined;
  const start = Number(from);
  const end = to === undefined || to === '' ? bytes : Math.min(bytes, Number(to) + 1);
  return start >= end ? 'unsatisfiable' : { start, end };
}

function sendFile({ files }: Context, request: IncomingMessage, response: ServerResponse, path: string): void {
  const file = files.get(path);
  if (file === undefined) {
    refuse(response, 404, 'NOT_FOUND');
    return;
  }
  response.setHeader('content-type', file.type);
  const isGzip = /\bgzip\b/.test(String(request.headers['accept-encoding'] ?? ''));
  if (isGzip) response.setHeader('content-encoding', 'gzip');
  const body = isGzip ? file.gzip : file.body;
  response.setHeader('vary', 'accept-encoding');
  response.setHeader('content-length', body.length);
  response.writeHead(200).end(request.method === 'HEAD' ? undefined : body);
}

function sendJson(response: ServerResponse, status: number, value: unknown): void {
  const text = Buffer.from(JSON.stringify(value));
  const body = text.length > 64 * 1024 ? gzipSync(text) : text;
  if (body !== text) response.setHeader('content-encoding', 'gzip');
  response.setHeader('content-type', 'application/json');
  response.setHeader('content-length', body.length);
  response.writeHead(status).end(body);
}

function refuse(response: ServerResponse, status: number, code: string): void {
  sendJson(response, status, { error: { code, message: code.toLowerCase().replaceAll('_', ' ') } });
}

/** What this computer refused, such as a file that is gone: the page says that it could not be read. */
function fail(response: ServerResponse, error: unknown): void {
  const code = (error as { readonly code?: unknown }).code;
  if (response.headersSent) response.destroy();
  else sendJson(response, 500, { error: { code: typeof code === 'string' ? code : 'INTERNAL', message: 'internal' } });
}

function isToken(given: string, token: string): boolean {
  const [a, b] = [Buffer.from(given), Buffer.from(token)];
  return a.length === b.length && timingSafeEqual(a, b);
}
