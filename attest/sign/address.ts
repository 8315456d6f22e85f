/**
 * Ethereum addresses: 20 bytes, written in hexadecimal, where mixed case is a checksum.
 *
 * Spec: `attest/spec/encoding.md#signatures`.
 *
 * @module
 */

import { keccak_256 } from '@noble/hashes/sha3.js';
import { fromHex, type Hex, toHex, utf8 } from '../core/bytes.ts';

/**
 * Reads an address in lower case, in upper case or with the checksum of ERC-55.
 *
 * @param text - untrusted
 * @returns 20 bytes, or `undefined` if it is no address or its checksum is wrong
 */
export function parseAddress(text: string): Uint8Array | undefined {
  if (!/^0x[0-9a-fA-F]{40}$/.test(text)) return undefined;
  const digits = text.slice(2);
  const lower = digits.toLowerCase();
  const bytes = fromHex(`0x${lower}`, 20);
  const isPlain = digits === lower || digits === digits.toUpperCase();
  return isPlain || text === checksumAddress(bytes) ? bytes : undefined;
}

/** Writes 20 bytes with the checksum of ERC-55, as people read it. */
export function checksumAddress(bytes: Uint8Array): Hex {
  const digits = toHex(bytes).slice(2);
  const hash = toHex(keccak_256(utf8(digits))).slice(2);
  let text = '';
  for (let i = 0; i < digits.length; i++) {
    text += hash.charAt(i) >= '8' ? digits.charAt(i).toUpperCase() : digits.charAt(i);
  }
  return `0x${text}`;
}
