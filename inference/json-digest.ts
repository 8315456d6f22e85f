/**
 * Digests of descriptions: what names a tokenizer, a profile, an engine.
 *
 * @module
 */

import { createHash } from 'node:crypto';
import { type Hex, toHex } from '../attest/core/bytes.ts';
import { canonicalJson, type Json, type JsonObject } from '../attest/encoding/canonical-json.ts';

/** Levels of containers that are written member by member: a vocabulary lies on the fourth of a tokenizer's description. */
const OPENED_LEVELS = 4;

/** UTF-16 units that are hashed at a time. */
const CHUNK = 1 << 14;

/**
 * SHA-256 of the canonical JSON of `value`. The text, millions of letters for a tokenizer, is never whole in memory.
 *
 * @throws {@link EncodingError} as `canonicalJson`
 */
export function jsonDigest(value: JsonObject): Hex {
  const hash = createHash('sha256');
  let text = '';
  writeCanonical(value, OPENED_LEVELS, (piece) => {
    text += piece;
    if (text.length < CHUNK) return;
    hash.update(text);
    text = '';
  });
  return toHex(hash.update(text).digest());
}

/** Writes what `canonicalJson` gives, in pieces that cut no character. */
function writeCanonical(value: Json, levels: number, put: (piece: string) => void): void {
  if (levels === 0 || typeof value !== 'object' || value === null || !isPlain(value)) {
    put(canonicalJson(value));
  } else if (Array.isArray(value)) {
    put('[');
    for (let i = 0; i < value.length; i++) {
      if (i > 0) put(',');
      writeCanonical(value[i] as Json, levels - 1, put);
    }
    put(']');
  } else {
    const members = value as JsonObject;
    // Order of UTF-16 units, as RFC 8785 asks for.
    const keys = Object.keys(members).sort();
    put('{');
    for (let i = 0; i < keys.length; i++) {
      const key = keys[i] as string;
      put(i > 0 ? ',' : '');
      put(canonicalJson(key));
      put(':');
      writeCanonical(members[key] as Json, levels - 1, put);
    }
    put('}');
  }
}

/** Objects of a class are left to `canonicalJson`, which refuses them. */
function isPlain(value: object): boolean {
  const prototype: unknown = Object.getPrototypeOf(value);
  return Array.isArray(value) || prototype === null || prototype === Object.prototype;
}
