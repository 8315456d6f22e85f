/**
 * Canonical base64: RFC 4648 §4, padded, and one text for each byte string.
 *
 * Spec: `attest/spec/encoding.md#base64`.
 *
 * @module
 */

import { EncodingError } from './errors.ts';

const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/';
const DIGITS = Uint8Array.from(ALPHABET, (digit) => digit.charCodeAt(0));
const PAD = 0x3d;
const FOREIGN = 0xff;
const VALUES = new Uint8Array(128).fill(FOREIGN);
for (let i = 0; i < ALPHABET.length; i++) VALUES[ALPHABET.charCodeAt(i)] = i;

const decoder = new TextDecoder();

/** Writes bytes as padded base64. */
export function toBase64(bytes: Uint8Array): string {
  const text = new Uint8Array(4 * Math.ceil(bytes.length / 3));
  let offset = 0;
  for (let i = 0; i < bytes.length; i += 3) {
    const group = ((bytes[i] as number) << 16) | ((bytes[i + 1] ?? 0) << 8) | (bytes[i + 2] ?? 0);
    text[offset++] = DIGITS[group >> 18] as number;
    text[offset++] = DIGITS[(group >> 12) & 63] as number;
    text[offset++] = i + 1 < bytes.length ? (DIGITS[(group >> 6) & 63] as number) : PAD;
    text[offset++] = i + 2 < bytes.length ? (DIGITS[group & 63] as number) : PAD;
  }
  return decoder.decode(text);
}

/**
 * Reads base64 as {@link toBase64} writes it.
 *
 * @param text - untrusted
 * @param length - expected number of bytes, if fixed
 * @throws {@link EncodingError} `MALFORMED_BASE64` for a foreign character (line ends and the URL alphabet too), missing
 *   or surplus padding, pad bits that are not zero, or another length
 */
export function fromBase64(text: string, length?: number): Uint8Array {
  if (text.length % 4 !== 0) throw malformed(`length ${text.length} is no multiple of 4`);
  const padding = text.endsWith('==') ? 2 : text.endsWith('=') ? 1 : 0;
  const bytes = new Uint8Array((text.length / 4) * 3 - padding);
  if (length !== undefined && bytes.length !== length) throw malformed(`expected ${length} bytes, got ${bytes.length}`);
  const digits = text.length - padding;
  let bits = 0;
  let offset = 0;
  for (let i = 0; i < digits; i++) {
    const value = VALUES[text.charCodeAt(i)] ?? FOREIGN;
    if (value === FOREIGN) throw malformed(`foreign character at ${i}`);
    bits = ((bits << 6) | value) & 0xffffff;
    const phase = i & 3;
    if (phase === 1) bytes[offset++] = (bits >> 4) & 0xff;
    else if (phase === 2) bytes[offset++] = (bits >> 2) & 0xff;
    else if (phase === 3) bytes[offset++] = bits & 0xff;
  }
  if ((padding === 2 && (bits & 15) !== 0) || (padding === 1 && (bits & 3) !== 0))
    throw malformed('pad bits are not zero');
  return bytes;
}

function malformed(why: string): EncodingError {
  return new EncodingError('MALFORMED_BASE64', `base64: ${why}`);
}
