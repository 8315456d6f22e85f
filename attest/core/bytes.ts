/**
 * Byte strings: hexadecimal, concatenation, big-endian integers.
 *
 * @module
 */

import { EncodingError } from '../encoding/errors.ts';

/** Lower-case hexadecimal with `0x`, two digits a byte. */
export type Hex = `0x${string}`;

/** Writes bytes as lower-case hexadecimal with `0x`. */
export function toHex(bytes: Uint8Array): Hex {
  let text = '0x';
  for (const byte of bytes) text += byte.toString(16).padStart(2, '0');
  return text as Hex;
}

/**
 * Reads canonical hexadecimal: `0x`, lower case, an even number of digits.
 *
 * @param text - untrusted
 * @param length - expected number of bytes, if fixed
 * @throws {@link EncodingError} `MALFORMED_HEX` for anything else
 */
export function fromHex(text: string, length?: number): Uint8Array {
  if (!/^0x(?:[0-9a-f]{2})*$/.test(text)) throw new EncodingError('MALFORMED_HEX', 'expected lower-case 0x hexadecimal');
  const bytes = new Uint8Array((text.length - 2) / 2);
  for (let i = 0; i < bytes.length; i++) bytes[i] = Number.parseInt(text.slice(2 + 2 * i, 4 + 2 * i), 16);
  if (length !== undefined && bytes.length !== length) {
    throw new EncodingError('MALFORMED_HEX', `expected ${length} bytes, got ${bytes.length}`);
  }
  return bytes;
}

/** Joins byte strings into a new one. */
export function concatBytes(...parts: readonly Uint8Array[]): Uint8Array {
  let length = 0;
  for (const part of parts) length += part.length;
  const out = new Uint8Array(length);
  let offset = 0;
  for (const part of parts) {
    out.set(part, offset);
    offset += part.length;
  }
  return out;
}

/** Whether two byte strings are equal; not constant time, for public values only. */
export function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

/**
 * Writes an unsigned integer as `length` big-endian bytes.
 *
 * @throws RangeError if the value does not fit
 */
export function uintBytes(value: bigint | number, length: number): Uint8Array {
  let rest = BigInt(value);
  if (rest < 0n || rest >= 1n << BigInt(8 * length)) throw new RangeError(`${rest} does not fit ${length} bytes`);
  const out = new Uint8Array(length);
  for (let i = length - 1; i >= 0; i--) {
    out[i] = Number(rest & 0xffn);
    rest >>= 8n;
  }
  return out;
}

/** Reads big-endian bytes as an unsigned integer. */
export function bytesUint(bytes: Uint8Array): bigint {
  let value = 0n;
  for (const byte of bytes) value = (value << 8n) | BigInt(byte);
  return value;
}

/** UTF-8 bytes of a text without lone surrogates (those would become U+FFFD). */
export function utf8(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}
