/**
 * Suite `ssrf` of `tracebond conformance`: may a request be sent to this URL, given what its host resolves to? Under a
 * policy that allows every public http(s) origin and grants no other address.
 *
 * @module
 */

import { RuntimeError } from '../../attest/core/error.ts';
import type { LosslessJson } from '../../attest/encoding/canonical-json.ts';
import { parseTarget, readHost, verifyDestination } from '../../runtime/net/destination.ts';

/** Answer to one case. */
export type SsrfResult = { readonly decision: 'allow' | 'deny' } | { readonly error: 'MALFORMED_CASE' };

/**
 * Decides `{url, resolved}`: a text, and the list of addresses that a resolver answers for its host. For a host that is
 * an address itself the list may be empty or left out; addresses in it must be allowed all the same.
 *
 * @param fields - untrusted
 */
export function evaluateSsrf(fields: { readonly [field: string]: LosslessJson }): SsrfResult {
  const url = Object.hasOwn(fields, 'url') ? fields['url'] : undefined;
  const resolved = Object.hasOwn(fields, 'resolved') ? fields['resolved'] : [];
  if (typeof url !== 'string' || !isTexts(resolved)) return { error: 'MALFORMED_CASE' };
  try {
    verifyDestination(readHost(parseTarget(url)), resolved);
    return { decision: 'allow' };
  } catch (error) {
    if (RuntimeError.is(error)) return { decision: 'deny' };
    throw error;
  }
}

function isTexts(value: LosslessJson | undefined): value is readonly string[] & LosslessJson {
  return Array.isArray(value) && value.every((entry: LosslessJson) => typeof entry === 'string');
}
