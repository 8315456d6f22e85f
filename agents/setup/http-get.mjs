/**
 * HTTP GET with what a download needs and Node 20's `fetch` has not: a short limit on connecting alone, and the proxies
 * of `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY`.
 *
 * @module
 */

import http from 'node:http';
import https from 'node:https';
import { SetupError } from './setup-error.mjs';

const MAX_REDIRECTS = 6;

/**
 * Opens a URL, following redirects (never from https to http); resolves when the header is there.
 *
 * @param {string} url
 * @param {{ headers?: Record<string, string>, env?: Record<string, string | undefined>, connectTimeoutMs?: number,
 *   headerTimeoutMs?: number, check?: (target: URL) => void }} [options] - `check` gets every address before it is asked
 *   and may throw
 * @returns {Promise<http.IncomingMessage>} the caller reads or destroys it
 * @throws {SetupError} `CONNECT_TIMEOUT`, `HEADER_TIMEOUT`, `BAD_REDIRECT`, `BAD_URL`, `PROXY_REFUSED`, or an error of the socket
 */
export async function httpGet(url, options = {}) {
  let target = parseUrl(url);
  for (let redirects = 0; ; redirects++) {
    options.check?.(target);
    const response = await getOnce(target, options);
    const status = response.statusCode ?? 0;
    if (status < 300 || status >= 400 || status === 304) return response;
    response.destroy();
    const location = response.headers.location;
    if (location === undefined) throw new SetupError('BAD_REDIRECT', `HTTP ${status} without a new address`);
    if (redirects >= MAX_REDIRECTS) throw new SetupError('BAD_REDIRECT', `more than ${MAX_REDIRECTS} redirects`);
    const next = parseUrl(location, target);
    if (target.protocol === 'https:' && next.protocol !== 'https:') {
      throw new SetupError('BAD_REDIRECT', 'redirect from https to http refused');
    }
    target = next;
  }
}

/**
 * The proxy for a URL by the usual environment variables (lower case goes first), or undefined for none.
 *
 * @param {URL} target
 * @param {Record<string, string | undefined>} env
 * @returns {URL | undefined}
 */
export function proxyFor(target, env) {
  const read = (name) => env[name.toLowerCase()] || env[name] || '';
  const host = target.hostname.toLowerCase();
  for (const entry of read('NO_PROXY')
    .toLowerCase()
    .split(/[\s,]+/)) {
    const [name = '', port = ''] = entry.split(':');
    if (name === '' || (port !== '' && port !== effectivePort(target))) continue;
    const suffix = name.replace(/^\*?\.?/, '');
    if (suffix === '' || host === suffix || host.endsWith(`.${suffix}`)) return undefined;
  }
  const proxy = (target.protocol === 'https:' ? read('HTTPS_PROXY') : read('HTTP_PROXY')) || read('ALL_PROXY');
  if (proxy === '') return undefined;
  const url = parseUrl(proxy.includes('://') ? proxy : `http://${proxy}`);
  return url;
}

function parseUrl(text, base) {
  const url = URL.canParse(text, base) ? new URL(text, base) : undefined;
  if (url === undefined || (url.protocol !== 'https:' && url.protocol !== 'http:')) {
    throw new SetupError('BAD_URL', `not an http or https address: ${text}`);
  }
  return url;
}

function effectivePort(url) {
  return url.port || (url.protocol === 'https:' ? '443' : '80');
}

function proxyHeaders(proxy) {
  if (proxy.username === '') return {};
  const user = `${decodeURIComponent(proxy.username)}:${decodeURIComponent(proxy.password)}`;
  return { 'proxy-authorization': `Basic ${Buffer.from(user).toString('base64')}` };
}

async function getOnce(target, options) {
  const proxy = proxyFor(target, options.env ?? {});
  const headers = { 'user-agent': 'tracebond-setup', accept: '*/*', ...options.headers };
  if (proxy === undefined) return await send(target, { headers }, options);
  if (target.protocol === 'http:') {
    return await send(
      proxy,
      { path: target.href, headers: { ...headers, host: target.host, ...proxyHeaders(proxy) } },
      options,
    );
  }
  const socket = await openTunnel(proxy, target, options);
  // With a ready socket https.request only adds TLS for the target's own name.
  return await send(target, { headers, socket, agent: false, servername: target.hostname }, options);
}

function send(url, request, options) {
  const { promise, resolve, reject } = withResolvers();
  const client = url.protocol === 'https:' ? https : http;
  const outgoing = client.get(url, { ...request, agent: false });
  watchTimes(outgoing, url, options);
  outgoing.on('response', resolve);
  outgoing.on('error', reject);
  return promise;
}

function openTunnel(proxy, target, options) {
  const { promise, resolve, reject } = withResolvers();
  const authority = `${target.hostname}:${effectivePort(target)}`;
  const client = proxy.protocol === 'https:' ? https : http;
  const outgoing = client.request(proxy, {
    method: 'CONNECT',
    path: authority,
    headers: { host: authority, ...proxyHeaders(proxy) },
    agent: false,
  });
  watchTimes(outgoing, proxy, options);
  outgoing.on('connect', (response, socket) => {
    if (response.statusCode === 200) return resolve(socket);
    socket.destroy();
    reject(new SetupError('PROXY_REFUSED', `proxy ${proxy.host} answered HTTP ${response.statusCode}`));
  });
  // A proxy that does not know CONNECT answers like a plain server.
  outgoing.on('response', (response) => {
    response.destroy();
    reject(new SetupError('PROXY_REFUSED', `proxy ${proxy.host} answered HTTP ${response.statusCode}`));
  });
  outgoing.on('error', reject);
  outgoing.end();
  return promise;
}

/** Name look-up, TCP and TLS share one limit; from then on the answer's header has another. */
function watchTimes(outgoing, url, options) {
  const connectMs = options.connectTimeoutMs ?? 8_000;
  const headerMs = options.headerTimeoutMs ?? 20_000;
  const late = (code, what, ms) => () =>
    outgoing.destroy(new SetupError(code, `${what} ${url.host} took longer than ${ms / 1000} s`));
  let timer = setTimeout(late('CONNECT_TIMEOUT', 'connecting to', connectMs), connectMs);
  const connected = () => {
    clearTimeout(timer);
    timer = setTimeout(late('HEADER_TIMEOUT', 'the answer of', headerMs), headerMs);
  };
  outgoing.on('socket', (socket) => {
    if (!socket.connecting && !socket.encrypted) connected();
    else socket.once(socket.encrypted ? 'secureConnect' : 'connect', connected);
  });
  for (const end of ['response', 'connect', 'close', 'error']) outgoing.on(end, () => clearTimeout(timer));
}

/** `Promise.withResolvers` is newer than Node 20. */
function withResolvers() {
  let resolve = () => {};
  let reject = () => {};
  const promise = new Promise((res, rej) => {
    resolve = res;
    reject = rej;
  });
  return { promise, resolve, reject };
}
