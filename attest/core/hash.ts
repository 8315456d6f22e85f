/**
 * SHA-256 and the one-byte tags that keep the hashed things of this project apart.
 *
 * Spec: `attest/spec/trace.md#hashes`. SHA-256 is FIPS 180-4, through @noble/hashes (the same code in Node and in a browser).
 *
 * @module
 */

import { sha256 as nobleSha256 } from '@noble/hashes/sha2.js';
import { concatBytes } from './bytes.ts';

/** SHA-256 digest, 32 bytes. */
export type Digest = Uint8Array;

/** First byte of every hashed thing; no two kinds share one. */
export const TAG = {
  record: 0x00,
  node: 0x01,
  payload: 0x02,
  tokenId: 0x03,
  body: 0x04,
  state: 0x05,
  salt: 0x06,
  tensorRow: 0x07,
  weightRow: 0x08,
  operation: 0x09,
} as const;

/** Name of a hashed thing. */
export type Tag = keyof typeof TAG;

/** Thirty-two zero bytes: "nothing here" wherever a digest is expected. */
export const ZERO_DIGEST: Digest = new Uint8Array(32);

/** SHA-256 of the concatenation of `parts`. */
export function sha256(...parts: readonly Uint8Array[]): Digest {
  return nobleSha256(parts.length === 1 ? (parts[0] as Uint8Array) : concatBytes(...parts));
}

/** SHA-256 of the tag byte followed by `parts`. */
export function taggedHash(tag: Tag, ...parts: readonly Uint8Array[]): Digest {
  return sha256(Uint8Array.of(TAG[tag]), ...parts);
}
