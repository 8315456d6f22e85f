/**
 * The capability `http.fetch`: text over HTTP, to origins that the policy lists, redirects followed only inside that list.
 *
 * @module
 */

import type { Json } from '../attest/encoding/canonical-json.ts';
import { allowsFetch, type Grant } from '../attest/trace/policy.ts';

/** Failures of a request, as records and guests see them. */
export type FetchFailure = 'UNREACHABLE' | 'TIMEOUT' | 'TOO_LARGE' | 'REDIRECT_DENIED' | 'NOT_TEXT' | 'BAD_REQUEST';

/** Arguments of `http.fetch`. */
export type FetchRequest = {
  readonly url: string;
  readonly method: string;
  readonly headers: Json;
  readonly body: string | null;
};

/** Response `{ status, body }`, or why there is none. */
export type FetchResult =
  | { readonly ok: true; readonly value: { readonly status: number; readonly body: string } }
  | { readonly ok: false; readonly error: FetchFailure };

/** Redirects that are followed at most. */
const MAX_REDIRECTS = 5;

/** Headers that a guest may set. */
const GUEST_HEADERS: ReadonlySet<string> = new Set(['accept', 'content-type', 'accept-language']);

/**
 * Makes one request. Every hop must be allowed by the grant, the body is at most `grant.maxBytes` bytes of UTF-8.
 *
 * @param options.timeoutMs - for all hops together
 */
export async function fetchHttp(
  grant: Extract<Grant, { capability: 'http.fetch' }>,
  request: FetchRequest,
  options: { readonly timeoutMs: number; readonly fetch?: typeof fetch },
): Promise<FetchResult> {
  const headers = guestHeaders(request.headers);
  if (headers === undefined) return { ok: false, error: 'BAD_REQUEST' };
  const send = options.fetch ?? fetch;
  const signal = AbortSignal.timeout(options.timeoutMs);
  let { method, body } = request;
  let url = request.url;
  try {
    for (let hop = 0; hop <= MAX_REDIRECTS; hop++) {
      const response = await send(url, { method, headers, body, redirect: 'manual', signal });
      const location = response.headers.get('location');
      if (response.status >= 300 && response.status < 400 && location !== null) {
        await response.body?.cancel();
        if (!URL.canParse(location, url)) return { ok: false, error: 'REDIRECT_DENIED' };
        url = new URL(location, url).href;
        if (response.status !== 307 && response.status !== 308) {
          method = method === 'HEAD' ? 'HEAD' : 'GET';
          body = null;
        }
        if (!allowsFetch(grant, `${method} ${url}`)) return { ok: false, error: 'REDIRECT_DENIED' };
        continue;
      }
      return await readBody(response, grant.maxBytes);
    }
    return { ok: false, error: 'REDIRECT_DENIED' };
  } catch (error) {
    return { ok: false, error: failureOf(error) };
  }
}

async function readBody(response: Response, maxBytes: number): Promise<FetchResult> {
  const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
  let body = '';
  let size = 0;
  try {
    for await (const piece of response.body ?? []) {
      size += piece.length;
      if (size > maxBytes) return { ok: false, error: 'TOO_LARGE' };
      body += decoder.decode(piece, { stream: true });
    }
    body += decoder.decode();
  } catch (error) {
    if (error instanceof TypeError && 'code' in error && error.code === 'ERR_ENCODING_INVALID_ENCODED_DATA') {
      return { ok: false, error: 'NOT_TEXT' };
    }
    throw error;
  }
  return { ok: true, value: { status: response.status, body } };
}

function guestHeaders(headers: Json): Record<string, string> | undefined {
  if (typeof headers !== 'object' || headers === null || Array.isArray(headers)) return undefined;
  const found: Record<string, string> = {};
  for (const [name, value] of Object.entries(headers)) {
    if (typeof value !== 'string' || !GUEST_HEADERS.has(name.toLowerCase()) || /[\r\n\0]/.test(value)) return undefined;
    found[name.toLowerCase()] = value;
  }
  return found;
}

function failureOf(error: unknown): FetchFailure {
  if (error instanceof DOMException && error.name === 'TimeoutError') return 'TIMEOUT';
  if (error instanceof TypeError && error.cause === undefined) return 'BAD_REQUEST';
  return 'UNREACHABLE';
}
