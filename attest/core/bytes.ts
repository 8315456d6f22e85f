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
  if (bytes.length > 256) return longHex(bytes);
  let text = '0x';
  for (let i = 0; i < bytes.length; i++) text += BYTE_TEXT[bytes[i] as number];
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
  if (!text.startsWith('0x') || text.length % 2 !== 0) {
    throw new EncodingError('MALFORMED_HEX', 'expected lower-case 0x hexadecimal');
  }
  const count = (text.length - 2) / 2;
  // attacker-controlled: the length, so a wrong one costs nothing
  if (length !== undefined && count !== length) {
    throw new EncodingError('MALFORMED_HEX', `expected ${length} bytes, got ${count}`);
  }
  const bytes = new Uint8Array(count);
  for (let i = 0; i < count; i++) {
    const high = DIGIT_VALUE[text.charCodeAt(2 + 2 * i)] ?? NO_DIGIT;
    const low = DIGIT_VALUE[text.charCodeAt(3 + 2 * i)] ?? NO_DIGIT;
    if (high === NO_DIGIT || low === NO_DIGIT) {
      throw new EncodingError('MALFORMED_HEX', `expected lower-case hexadecimal at byte ${i}`, { at: { byte: i } });
    }
    bytes[i] = high * 16 + low;
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

const BYTE_TEXT: readonly string[] = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, '0'));

/** The same for many bytes, where joining texts would cost more than decoding one. */
function longHex(bytes: Uint8Array): Hex {
  const text = new Uint8Array(2 * bytes.length);
  for (let i = 0; i < bytes.length; i++) {
    const byte = bytes[i] as number;
    text[2 * i] = DIGIT[byte >> 4] as number;
    text[2 * i + 1] = DIGIT[byte & 15] as number;
  }
  return `0x${decoder.decode(text)}`;
}

const DIGIT = Uint8Array.from('0123456789abcdef', (digit) => digit.charCodeAt(0));
const decoder = new TextDecoder();

const NO_DIGIT = 0xff;
const DIGIT_VALUE = new Uint8Array(128).fill(NO_DIGIT);
for (let value = 0; value < 16; value++) DIGIT_VALUE[value.toString(16).charCodeAt(0)] = value;

const encoder = new TextEncoder();

/** UTF-8 bytes of a text without lone surrogates (those would become U+FFFD). */
export function utf8(text: string): Uint8Array {
  return encoder.encode(text);
}
