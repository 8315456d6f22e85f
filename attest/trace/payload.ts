/**
 * Payloads: what a record commits to without containing it. Chunked, salted, so that a contract can be shown
 * one piece and a reader can be denied the whole without breaking a hash.
 *
 * Spec: `attest/spec/trace.md#payloads`.
 *
 * @module
 */

import { equalBytes, fromHex, type Hex, toHex, uintBytes, utf8 } from '../core/bytes.ts';
import { type Digest, sha256, taggedHash } from '../core/hash.ts';
import { fromBase64, toBase64 } from '../encoding/base64.ts';
import { canonicalBytes, type Json, parseCanonical } from '../encoding/canonical-json.ts';
import { MerkleAccumulator } from '../merkle/tree.ts';
import { fieldError } from './errors.ts';
import { array, hex32, object, oneOf, text } from './shape.ts';

/** Bytes of one chunk; the last may be shorter. */
export const CHUNK_BYTES = 4096;

/** Greatest payload in bytes. */
export const MAX_PAYLOAD_BYTES = 16 * 1024 * 1024;

/** Wire codes of the payload modes. This release writes and reads `public` bytes; the others may only be withheld. */
export const PAYLOAD_MODES = { public: 1, sealed: 2, private: 3 } as const;

/** Media types that records use. */
export const MEDIA = {
  text: 'text/plain; charset=utf-8',
  json: 'application/json',
  ids: 'application/vnd.tracebond.token-ids',
} as const;

/** A payload with the salt that hides it behind its commitment. */
export type Payload = {
  readonly mode: 'public';
  readonly media: string;
  readonly data: Uint8Array;
  /** 32 random bytes, never used for another payload. */
  readonly salt: Uint8Array;
};

/** The salt of part `index` of a payload: SHA-256(0x06 || salt || index as 8 bytes). */
export function partSalt(salt: Uint8Array, index: number | bigint): Digest {
  return taggedHash('salt', salt, uintBytes(index, 8));
}

/**
 * Commitment of a payload: SHA-256(0x02 || mode || SHA-256(media) || length 8 || root of the chunk tree),
 * chunk leaf = SHA-256(0x02 || salt_i || chunk). An empty payload has one empty chunk.
 */
export function commitPayload(payload: Payload): Digest {
  const tree = new MerkleAccumulator();
  const count = Math.max(1, Math.ceil(payload.data.length / CHUNK_BYTES));
  for (let i = 0; i < count; i++) {
    const chunk = payload.data.subarray(i * CHUNK_BYTES, (i + 1) * CHUNK_BYTES);
    tree.append(taggedHash('payload', partSalt(payload.salt, i), chunk));
  }
  return taggedHash(
    'payload',
    Uint8Array.of(PAYLOAD_MODES[payload.mode]),
    sha256(utf8(payload.media)),
    uintBytes(payload.data.length, 8),
    tree.root(),
  );
}

/** A payload of text, UTF-8; lone surrogates become U+FFFD. */
export function textPayload(value: string, salt: Uint8Array): Payload {
  return { mode: 'public', media: MEDIA.text, data: utf8(value), salt };
}

/** A payload of one canonical JSON value. */
export function jsonPayload(value: Json, salt: Uint8Array): Payload {
  return { mode: 'public', media: MEDIA.json, data: canonicalBytes({ value }), salt };
}

/** A payload of token ids, each four bytes big-endian. */
export function idsPayload(ids: readonly number[], salt: Uint8Array): Payload {
  const data = new Uint8Array(4 * ids.length);
  const view = new DataView(data.buffer);
  ids.forEach((id, i) => {
    view.setUint32(4 * i, id);
  });
  return { mode: 'public', media: MEDIA.ids, data, salt };
}

/** Root over single salted ids: leaf i = SHA-256(0x03 || salt_i || id as 4 bytes), salts counted from 2^63. */
export function computeIdsRoot(ids: readonly number[], salt: Uint8Array): Digest {
  const tree = new MerkleAccumulator();
  ids.forEach((id, i) => {
    tree.append(taggedHash('tokenId', partSalt(salt, (1n << 63n) + BigInt(i)), uintBytes(id, 4)));
  });
  return tree.root();
}

/** Reads a text payload. @throws {@link TraceError} `MALFORMED_PAYLOAD` */
export function readTextPayload(payload: Payload, field: string): string {
  requireMedia(payload, MEDIA.text, field);
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(payload.data);
  } catch (cause) {
    throw fieldError('MALFORMED_PAYLOAD', field, 'not UTF-8', cause);
  }
}

/** Reads a JSON payload, which must be canonical. @throws {@link TraceError} `MALFORMED_PAYLOAD` */
export function readJsonPayload(payload: Payload, field: string): Json {
  requireMedia(payload, MEDIA.json, field);
  try {
    const wrapped = parseCanonical(payload.data) as { readonly [key: string]: Json };
    if (Object.keys(wrapped).join() === 'value') return wrapped['value'] as Json;
  } catch (cause) {
    throw fieldError('MALFORMED_PAYLOAD', field, 'not canonical JSON', cause);
  }
  throw fieldError('MALFORMED_PAYLOAD', field, 'expected {"value": …}');
}

/** Reads a payload of token ids. @throws {@link TraceError} `MALFORMED_PAYLOAD` */
export function readIdsPayload(payload: Payload, field: string): readonly number[] {
  requireMedia(payload, MEDIA.ids, field);
  if (payload.data.length % 4 !== 0) throw fieldError('MALFORMED_PAYLOAD', field, 'length is not a multiple of 4');
  const view = new DataView(payload.data.buffer, payload.data.byteOffset, payload.data.length);
  return Array.from({ length: payload.data.length / 4 }, (_, i) => view.getUint32(4 * i));
}

/** A payload as the JSON of its bundle line. */
export function payloadToJson(payload: Payload): { [field: string]: Json } {
  const chunks: string[] = [];
  for (let at = 0; at < payload.data.length || chunks.length === 0; at += CHUNK_BYTES) {
    chunks.push(toBase64(payload.data.subarray(at, at + CHUNK_BYTES)));
  }
  return {
    chunks,
    commitment: toHex(commitPayload(payload)),
    media: payload.media,
    mode: payload.mode,
    salt: toHex(payload.salt),
  };
}

const payloadShape = object({
  chunks: array(text(Math.ceil(CHUNK_BYTES / 3) * 4), Math.ceil(MAX_PAYLOAD_BYTES / CHUNK_BYTES)),
  commitment: hex32,
  media: text(128),
  mode: oneOf('public'),
  salt: hex32,
});

/**
 * Reads the JSON of a payload line and checks it against its own commitment.
 *
 * @throws {@link TraceError} `MALFORMED_PAYLOAD`, `PAYLOAD_MISMATCH`
 */
export function parsePayload(value: Json): { readonly commitment: Hex; readonly payload: Payload } {
  const line = payloadShape(value, 'payload', 'MALFORMED_PAYLOAD');
  if (line.chunks.length === 0) throw fieldError('MALFORMED_PAYLOAD', 'payload.chunks', 'expected at least one chunk');
  const parts = line.chunks.map((chunk, i) => {
    const field = `payload.chunks.${i}`;
    const bytes = decodeChunk(chunk, field);
    const last = i === line.chunks.length - 1;
    const sound = last ? bytes.length <= CHUNK_BYTES && (bytes.length > 0 || i === 0) : bytes.length === CHUNK_BYTES;
    if (!sound) throw fieldError('MALFORMED_PAYLOAD', field, `unexpected length ${bytes.length}`);
    return bytes;
  });
  const data = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let offset = 0;
  for (const part of parts) {
    data.set(part, offset);
    offset += part.length;
  }
  const payload: Payload = { mode: 'public', media: line.media, data, salt: fromHex(line.salt) };
  if (!equalBytes(commitPayload(payload), fromHex(line.commitment))) {
    throw fieldError('PAYLOAD_MISMATCH', 'payload.commitment', 'does not commit to these bytes');
  }
  return { commitment: line.commitment, payload };
}

function decodeChunk(chunk: string, field: string): Uint8Array {
  try {
    return fromBase64(chunk);
  } catch (cause) {
    throw fieldError('MALFORMED_PAYLOAD', field, 'not canonical base64', cause);
  }
}

function requireMedia(payload: Payload, media: string, field: string): void {
  if (payload.media !== media) throw fieldError('MALFORMED_PAYLOAD', field, `expected ${media}, got ${payload.media}`);
}
