/**
 * Which IP addresses a request may be sent to: those of the public internet, and ranges that a grant names.
 *
 * An address is read in one spelling only (RFC 5952 aside: any RFC 4291 text without a zone for IPv6, four decimal
 * numbers without leading zeros for IPv4), so that nothing is checked as one address and dialled as another.
 *
 * Spec: `runtime/spec/host-calls.md#addresses`.
 *
 * @module
 */

import { isIPv6 } from 'node:net';
import ipaddr from 'ipaddr.js';
import { GrantError } from './errors.ts';

/** An address range, from {@link parseRanges}. */
export type AddressRange = { readonly network: Address; readonly prefix: number };

/** What is known of an address; `granted` is not public, but inside a range of the grant. */
export type AddressDecision = 'public' | 'granted' | 'denied';

type Address = ipaddr.IPv4 | ipaddr.IPv6;

/** Ranges in which a grant may name addresses. No translation, multicast, unspecified or link-local address is ever one. */
const GRANTABLE: ReadonlySet<string> = new Set(['loopback', 'private', 'uniqueLocal', 'carrierGradeNat']);

/** RFC 4291 §2.4 and the IANA registry: only these are handed out as global unicast addresses. */
const GLOBAL_UNICAST = new ipaddr.IPv6([0x2000, 0, 0, 0, 0, 0, 0, 0]);
const GLOBAL_UNICAST_PREFIX = 3;

/**
 * Decides whether a connection to an address may be opened.
 *
 * @param text - untrusted; what is no address is denied
 * @param ranges - ranges of the grant
 */
export function decideAddress(text: string, ranges: readonly AddressRange[] = []): AddressDecision {
  const address = readAddress(text);
  if (address === undefined) return 'denied';
  if (isPublic(address)) return 'public';
  if (!GRANTABLE.has(address.range())) return 'denied';
  return ranges.some((range) => contains(range, address)) ? 'granted' : 'denied';
}

/**
 * The one text of an address (RFC 5952 for IPv6), or `undefined` if `text` is none.
 *
 * @param text - untrusted
 */
export function normalizeAddress(text: string): string | undefined {
  return readAddress(text)?.toString();
}

/**
 * Reads the ranges that a grant opens although they are not public, such as `127.0.0.1/32` or `fd00::/8`.
 *
 * @throws {@link GrantError} `MALFORMED_RANGE` unless each is a canonical network address, `/`, and a prefix length
 * @throws {@link GrantError} `RANGE_NOT_GRANTABLE` if a range is not inside loopback, RFC 1918, RFC 4193 or RFC 6598
 */
export function parseRanges(texts: readonly string[]): readonly AddressRange[] {
  return texts.map((text, i) => parseRange(text, i));
}

function parseRange(text: string, index: number): AddressRange {
  const at = { index };
  const slash = text.indexOf('/');
  const prefixText = slash < 0 ? '' : text.slice(slash + 1);
  const network = slash < 0 ? undefined : readAddress(text.slice(0, slash));
  if (network === undefined || !/^(0|[1-9]\d{0,2})$/.test(prefixText)) {
    throw new GrantError('MALFORMED_RANGE', `address range ${index} is no network address with a prefix length`, {
      at,
    });
  }
  const prefix = Number(prefixText);
  const bits = network.kind() === 'ipv4' ? 32 : 128;
  if (prefix > bits || network.toString() !== text.slice(0, slash) || hasHostBits(network, prefix)) {
    throw new GrantError('MALFORMED_RANGE', `address range ${index} is not in its canonical form`, { at });
  }
  const range = { network, prefix };
  // Special ranges are prefixes too: two prefixes are nested or apart, so both ends inside means all inside.
  const name = network.range();
  if (!GRANTABLE.has(name) || lastAddress(range).range() !== name) {
    throw new GrantError('RANGE_NOT_GRANTABLE', `address range ${index} is not inside a range that may be granted`, {
      at,
    });
  }
  return range;
}

function isPublic(address: Address): boolean {
  if (address.range() !== 'unicast') return false;
  if (isIpv4(address)) return true;
  // Outside 2000::/3 lie `::a.b.c.d` (RFC 4291 §2.5.5.1) and all that is not handed out.
  if (!address.match(GLOBAL_UNICAST, GLOBAL_UNICAST_PREFIX)) return false;
  // RFC 5214 §6.1: the interface identifier of ISATAP holds an IPv4 address that a router may unwrap.
  const [, , , , high = 0, low = 0] = address.parts;
  return !((high & 0xfdff) === 0 && low === 0x5efe);
}

/** An address in a spelling that every resolver and socket reads alike; with a zone it is none. */
function readAddress(text: string): Address | undefined {
  if (ipaddr.IPv4.isValidFourPartDecimal(text)) return ipaddr.IPv4.parse(text);
  if (!isIPv6(text) || text.includes('%')) return undefined;
  // ipaddr.js reads `::1.2.3.4` as a mapped address; the URL parser writes all sixteen bytes, and so must we.
  return ipaddr.IPv6.parse(new URL(`http://[${text}]/`).hostname.slice(1, -1));
}

function contains(range: AddressRange, address: Address): boolean {
  return range.network.kind() === address.kind() && address.match(range.network, range.prefix);
}

function hasHostBits(address: Address, prefix: number): boolean {
  return address.toByteArray().some((byte, i) => (byte & hostMask(prefix, i)) !== 0);
}

function lastAddress(range: AddressRange): Address {
  const bytes = range.network.toByteArray().map((byte, i) => byte | hostMask(range.prefix, i));
  return range.network.kind() === 'ipv4' ? new ipaddr.IPv4(bytes) : new ipaddr.IPv6(bytes);
}

/** Bits of byte `i` that a prefix leaves to hosts. */
function hostMask(prefix: number, i: number): number {
  return 0xff >> Math.min(8, Math.max(0, prefix - 8 * i));
}

function isIpv4(address: Address): address is ipaddr.IPv4 {
  return address.kind() === 'ipv4';
}
