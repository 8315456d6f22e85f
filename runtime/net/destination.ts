/**
 * Where a URL leads: an address, or a name whose answers must all be addresses that may be reached.
 *
 * The checks are pure; the addresses that a name resolves to come from the caller. What passes is the list of addresses
 * to dial, so that a name is never resolved a second time between the check and the connection.
 *
 * Spec: `runtime/spec/host-calls.md#destinations`.
 *
 * @module
 */

import { type AddressRange, decideAddress, normalizeAddress } from './address.ts';
import { ExchangeError } from './errors.ts';

/** Host of a URL. `local` names are for the own machine or network by name, whatever they resolve to. */
export type Host =
  | { readonly kind: 'address'; readonly address: string }
  | { readonly kind: 'name'; readonly name: string; readonly local: boolean };

/** Answers that a name may have; more are no answer at all. */
const MAX_ANSWERS = 64;

/**
 * Names of one's own machine or network: RFC 6761 §6.3, RFC 6762 (with its appendix G), RFC 7686, RFC 8375, and ICANN's
 * `.internal`.
 */
const LOCAL_SUFFIXES = [
  'localhost',
  'localdomain',
  'local',
  'internal',
  'intranet',
  'private',
  'corp',
  'home',
  'lan',
  'home.arpa',
  'onion',
] as const;

/**
 * Reads the URL of a request.
 *
 * @param text - untrusted
 * @throws {@link ExchangeError} `BAD_REQUEST` unless it is an http(s) URL without credentials
 */
export function parseTarget(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined) throw new ExchangeError('BAD_REQUEST', 'url cannot be parsed');
  if (url.protocol !== 'http:' && url.protocol !== 'https:') {
    throw new ExchangeError('BAD_REQUEST', 'url is neither http nor https');
  }
  if (url.username !== '' || url.password !== '') throw new ExchangeError('BAD_REQUEST', 'url holds credentials');
  return url;
}

/**
 * The host of a URL, as the URL parser wrote it.
 *
 * @throws {@link ExchangeError} `ADDRESS_DENIED` for a name that no resolver should be asked for
 */
export function readHost(url: URL): Host {
  const { hostname } = url;
  const literal = hostname.startsWith('[') ? hostname.slice(1, -1) : hostname;
  const address = normalizeAddress(literal);
  if (address !== undefined) return { kind: 'address', address };
  const name = hostname.endsWith('.') ? hostname.slice(0, -1) : hostname;
  const labels = name.split('.');
  // A resolver may read other characters, and a last label of digits, as something that is no name.
  if (
    name.length > 253 ||
    !labels.every((label) => /^[a-z0-9_-]{1,63}$/.test(label)) ||
    /^\d+$/.test(labels.at(-1) ?? '')
  )
    throw new ExchangeError('ADDRESS_DENIED', 'host is neither an address nor a name of the domain name system');
  const local = labels.length === 1 || LOCAL_SUFFIXES.some((suffix) => name === suffix || name.endsWith(`.${suffix}`));
  return { kind: 'name', name, local };
}

/**
 * Checks all that a host resolves to, and returns the addresses to dial, each in its one text.
 *
 * @param answers - untrusted; for a host that is an address, further addresses to check
 * @param ranges - ranges that the grant opens
 * @throws {@link ExchangeError} `ADDRESS_DENIED` if one of the answers may not be reached or is no address; a local name
 *   may lead to granted addresses only
 * @throws {@link ExchangeError} `UNREACHABLE` if a name has no answer
 */
export function verifyDestination(
  host: Host,
  answers: readonly string[],
  ranges: readonly AddressRange[] = [],
): readonly string[] {
  if (answers.length > MAX_ANSWERS) throw new ExchangeError('ADDRESS_DENIED', 'host has too many addresses');
  const all = host.kind === 'address' ? [host.address, ...answers] : answers;
  if (host.kind === 'name' && host.local && ranges.length === 0) {
    throw new ExchangeError('ADDRESS_DENIED', 'host is a local name');
  }
  if (all.length === 0) throw new ExchangeError('UNREACHABLE', 'host has no address');
  for (const answer of all) {
    const decision = decideAddress(answer, ranges);
    if (decision === 'granted') continue;
    if (decision === 'denied' || (host.kind === 'name' && host.local)) {
      throw new ExchangeError('ADDRESS_DENIED', 'host leads to an address that may not be reached');
    }
  }
  return host.kind === 'address' ? [host.address] : all.flatMap((answer) => normalizeAddress(answer) ?? []);
}
