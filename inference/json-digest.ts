/**
 * Digests of descriptions: what names a tokenizer, a profile, an engine.
 *
 * @module
 */

import { createHash } from 'node:crypto';
import { type Hex, toHex } from '../attest/core/bytes.ts';
import { canonicalJson, type JsonObject } from '../attest/encoding/canonical-json.ts';

/** SHA-256 of the canonical JSON of `value`. */
export function jsonDigest(value: JsonObject): Hex {
  return toHex(createHash('sha256').update(canonicalJson(value)).digest());
}
