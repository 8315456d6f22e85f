/**
 * The capability `http.fetch`: text over HTTP, to origins that the policy lists and addresses that may be reached,
 * redirects followed only inside of both.
 *
 * F1. Every hop is checked alike: URL by the grant, then name, answers and address (`net/connect.ts`).
 * F2. Headers of the grant, which may hold secrets, go to the origin of the first request, and to no hop after the first
 *     one that leaves it.
 * F3. What leaves this module holds no secret: headers and body are redacted as a whole.
 *
 * Spec: `runtime/spec/host-calls.md#httpfetch`.
 *
 * @module
 */

import type { Json } from '../attest/encoding/canonical-json.ts';
import { type AddressRange, parseRanges } from './net/address.ts';
import { type NetworkPorts, openConnection } from './net/connect.ts';
import { parseTarget } from './net/destination.ts';
import { ExchangeError, type ExchangeErrorCode, GrantError } from './net/errors.ts';
import { exchange, type Incoming } from './net/exchange.ts';
import { createRedactor, type Redactor, renderTemplate, type Secrets } from './secrets.ts';

/** Failures of a request, as records and guests see them. */
export type FetchFailure = ExchangeErrorCode;

/** What a policy grants. */
export type FetchGrant = {
  /** Bytes of a response's body. */
  readonly maxBytes: number;
  readonly methods: readonly string[];
  /** Origins in their canonical text, `https://books.example.com`. */
  readonly origins: readonly string[];
  /** Address ranges that may be reached though they are not public, see `parseRanges`. */
  readonly addresses?: readonly string[];
  /** Headers that the host adds; values are templates such as `Bearer {{secret:BOOKS_TOKEN}}`. */
  readonly headers?: readonly { readonly name: string; readonly value: string }[];
};

/** Arguments of `http.fetch`. */
export type FetchRequest = {
  readonly url: string;
  readonly method: string;
  readonly headers: Json;
  readonly body: string | null;
};

/** What a guest gets: status, the headers of a short list, text. */
export type FetchResponse = {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
};

/** Response, or why there is none. */
export type FetchResult =
  | { readonly ok: true; readonly value: FetchResponse }
  | { readonly ok: false; readonly error: FetchFailure };

/** Redirects that are followed at most. */
const MAX_REDIRECTS = 5;

/** Characters of a URL. */
const MAX_URL_LENGTH = 8192;

/**
 * Headers that a guest may set. Not `x-*`: servers read methods, paths and origins of the caller from such headers, and
 * would be led around the grant.
 */
const GUEST_HEADERS: ReadonlySet<string> = new Set([
  'accept',
  'accept-language',
  'content-type',
  'if-match',
  'if-modified-since',
  'if-none-match',
  'if-unmodified-since',
]);

/** Headers that belong to the connection or to this module, and that no grant may set. */
const HOST_HEADERS: ReadonlySet<string> = new Set([
  'accept-encoding',
  'connection',
  'content-length',
  'expect',
  'host',
  'idempotency-key',
  'keep-alive',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
]);

/**
 * Makes one request. Every hop must be allowed by the grant, the body is at most `grant.maxBytes` bytes of UTF-8.
 *
 * @param request - untrusted
 * @throws {@link GrantError} `MALFORMED_RANGE`, `RANGE_NOT_GRANTABLE` or `MALFORMED_HEADER` if the grant cannot be held to
 * @throws {@link SecretError} if a template or a secret cannot be used; nothing has been sent then
 * @throws the reason of `options.signal` once it is aborted
 */
export async function fetchHttp(
  grant: FetchGrant,
  request: FetchRequest,
  options: fetchHttp.Options,
): Promise<FetchResult> {
  const ranges = parseRanges(grant.addresses ?? []);
  const own = renderHeaders(grant.headers ?? [], options.secrets ?? { get: () => undefined });
  const deadline = openDeadline(options.timeoutMs, options.signal);
  try {
    const answer = await follow({ grant, ranges, headers: own.headers, options, signal: deadline.signal }, request);
    const redact = (text: string): string => own.redactor.redact(options.redactor?.redact(text) ?? text);
    const body = redact(answer.body);
    // A mark may be longer than the secret that it stands for.
    if (Buffer.byteLength(body) > grant.maxBytes) return { ok: false, error: 'TOO_LARGE' };
    const headers = Object.fromEntries(Object.entries(answer.headers).map(([name, value]) => [name, redact(value)]));
    return { ok: true, value: { status: answer.status, headers, body } };
  } catch (error) {
    options.signal?.throwIfAborted();
    if (deadline.signal.aborted) return { ok: false, error: 'TIMEOUT' };
    if (error instanceof ExchangeError) return { ok: false, error: error.code };
    throw error;
  } finally {
    deadline.close();
  }
}

export declare namespace fetchHttp {
  type Options = {
    /** For all hops together, in milliseconds. */
    readonly timeoutMs: number;
    /** Whether the grant allows a method and a URL; by default a listed method and a listed origin. */
    readonly allows?: (method: string, url: string) => boolean;
    /** Sent as `Idempotency-Key` with every hop: printable ASCII. */
    readonly idempotencyKey?: string;
    readonly secrets?: Secrets;
    /** Applied to the answer besides one for the secrets that this request holds. */
    readonly redactor?: Redactor;
    readonly network?: NetworkPorts;
    readonly signal?: AbortSignal;
  };
}

type Call = {
  readonly grant: FetchGrant;
  readonly ranges: readonly AddressRange[];
  readonly headers: Readonly<Record<string, string>>;
  readonly options: fetchHttp.Options;
  readonly signal: AbortSignal;
};

/** Sends the request, and again to where its answers point, until one is no redirect. */
async function follow(call: Call, request: FetchRequest): Promise<Extract<Incoming, { kind: 'answer' }>> {
  const { grant, options } = call;
  const allows = options.allows ?? ((method, url) => isListed(grant, method, url));
  let guest = readGuestHeaders(request.headers);
  let { method, body } = request;
  if (request.url.length > MAX_URL_LENGTH) throw new ExchangeError('BAD_REQUEST', 'url is too long');
  let url = parseTarget(request.url);
  if (body !== null && (method === 'GET' || method === 'HEAD')) {
    throw new ExchangeError('BAD_REQUEST', `${method} has no body`);
  }
  if (!allows(method, url.href)) throw new ExchangeError('BAD_REQUEST', 'request is outside of the grant');
  const { origin } = url;
  let atOrigin = grant.origins.includes(origin);
  for (let hop = 0; hop <= MAX_REDIRECTS; hop++) {
    atOrigin &&= url.origin === origin;
    const headers = {
      accept: '*/*',
      'user-agent': 'tracebond',
      ...(body === null ? {} : { 'content-type': 'text/plain;charset=UTF-8' }),
      ...guest,
      ...(atOrigin ? call.headers : {}),
      ...(options.idempotencyKey === undefined ? {} : { 'idempotency-key': options.idempotencyKey }),
    };
    const connection = await openConnection(url, call.ranges, options.network ?? {}, call.signal);
    const answer = await exchange(connection, { method, url, headers, body }, grant.maxBytes, call.signal);
    if (answer.kind === 'answer') return answer;
    url = readLocation(answer.location, url);
    if (answer.status !== 307 && answer.status !== 308) {
      method = method === 'HEAD' ? 'HEAD' : 'GET';
      body = null;
      const { 'content-type': _, ...rest } = guest;
      guest = rest;
    }
    if (!allows(method, url.href)) throw new ExchangeError('REDIRECT_DENIED', 'redirect leads out of the grant');
  }
  throw new ExchangeError('REDIRECT_DENIED', `more than ${MAX_REDIRECTS} redirects`);
}

/** @throws {@link ExchangeError} `REDIRECT_DENIED` unless it leads to an http(s) URL without credentials */
function readLocation(location: string, base: URL): URL {
  if (location.length <= MAX_URL_LENGTH && URL.canParse(location, base.href)) {
    const url = new URL(location, base);
    const http = url.protocol === 'http:' || url.protocol === 'https:';
    if (http && url.username === '' && url.password === '') return url;
  }
  throw new ExchangeError('REDIRECT_DENIED', 'redirect leads to no http(s) url');
}

function isListed(grant: FetchGrant, method: string, url: string): boolean {
  return grant.methods.includes(method) && grant.origins.includes(new URL(url).origin);
}

/** @throws {@link ExchangeError} `BAD_REQUEST` unless each is a text for a header of the list */
function readGuestHeaders(headers: Json): Readonly<Record<string, string>> {
  if (typeof headers !== 'object' || headers === null || Array.isArray(headers)) {
    throw new ExchangeError('BAD_REQUEST', 'headers are no object');
  }
  const found: Record<string, string> = {};
  for (const [name, value] of Object.entries(headers)) {
    const lower = name.toLowerCase();
    if (
      typeof value !== 'string' ||
      !GUEST_HEADERS.has(lower) ||
      Object.hasOwn(found, lower) ||
      !FIELD_VALUE.test(value)
    )
      throw new ExchangeError('BAD_REQUEST', 'headers hold one that a guest may not set');
    found[lower] = value;
  }
  return found;
}

/** Printable ASCII (RFC 9110 §5.5 without obs-text). */
const FIELD_VALUE = /^[\t\x20-\x7e]*$/;

/** The headers of a grant with their secrets, and what takes these out of an answer. */
function renderHeaders(
  templates: NonNullable<FetchGrant['headers']>,
  secrets: Secrets,
): { readonly headers: Readonly<Record<string, string>>; readonly redactor: Redactor } {
  const headers: Record<string, string> = {};
  const used: Record<string, string> = {};
  for (const template of templates) {
    const name = template.name.toLowerCase();
    const rendered = renderTemplate(template.value, secrets);
    const known = /^[a-z0-9-]{1,64}$/.test(name) && !HOST_HEADERS.has(name) && !Object.hasOwn(headers, name);
    if (!known || !FIELD_VALUE.test(rendered.text)) {
      throw new GrantError('MALFORMED_HEADER', `grant cannot set header ${JSON.stringify(name)}`, {
        at: { header: name },
      });
    }
    headers[name] = rendered.text;
    Object.assign(used, rendered.used);
  }
  return { headers, redactor: createRedactor(used) };
}

/** A signal that aborts after a time, or with another signal; `close` frees both. */
function openDeadline(timeoutMs: number, signal?: AbortSignal): { readonly signal: AbortSignal; close(): void } {
  const controller = new AbortController();
  const onAbort = (): void => controller.abort(signal?.reason);
  if (signal?.aborted === true) onAbort();
  signal?.addEventListener('abort', onAbort);
  const timer = setTimeout(() => controller.abort(), timeoutMs);
  return {
    signal: controller.signal,
    close: () => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', onAbort);
    },
  };
}
