import { describe, expect, it } from 'vitest';
import { toHex, utf8 } from '../../../attest/core/bytes.ts';
import { sha256 } from '../../../attest/core/hash.ts';
import type { Json } from '../../../attest/encoding/canonical-json.ts';
import {
  CHUNK_BYTES,
  commitPayload,
  computeIdsRoot,
  idsPayload,
  jsonPayload,
  type Payload,
  parsePayload,
  partSalt,
  payloadToJson,
  readIdsPayload,
  readJsonPayload,
  readTextPayload,
  textPayload,
} from '../../../attest/trace/payload.ts';

const SALT = sha256(utf8('salt'));
const of = (length: number): Payload => ({ ...textPayload('', SALT), data: new Uint8Array(length).fill(0x61) });
const raw = (data: string): Payload => ({ ...jsonPayload(null, SALT), data: utf8(data) });

describe('commitPayload', () => {
  it('gives the commitments that were fixed', () => {
    expect(toHex(commitPayload(textPayload('hello', SALT)))).toBe(
      '0x51c830debf7f889b40928d4699d50d30980c57e67276355d578e57c01f34df2c',
    );
    expect(toHex(commitPayload(of(CHUNK_BYTES + 1)))).toBe(
      '0xb8119f39760982ffe84b30573af618f85361514578386c1a7c292d81f9ccc5be',
    );
    expect(toHex(computeIdsRoot([1, 2, 70_000], SALT))).toBe(
      '0xbe484f2bf1c301ab08e4833afa178074f0b3ccbc97802d27eaf66831842bf5f2',
    );
  });

  it('differs by salt, media type, length and chunk', () => {
    const all = [
      of(0),
      of(1),
      of(CHUNK_BYTES),
      of(CHUNK_BYTES + 1),
      { ...of(1), salt: sha256(utf8('other')) },
      { ...of(1), media: 'text/html' },
    ].map((payload) => toHex(commitPayload(payload)));
    expect(new Set(all).size).toBe(all.length);
    expect(partSalt(SALT, 0)).not.toEqual(partSalt(SALT, 1));
  });
});

describe('parsePayload', () => {
  const json = payloadToJson(of(CHUNK_BYTES + 1));

  it.each([0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES])('reads %i bytes again', (length) => {
    expect(parsePayload(payloadToJson(of(length))).payload).toEqual(of(length));
  });

  const [first, second] = json['chunks'] as [string, string];
  it.each<[string, { [field: string]: Json }, string]>([
    ['no chunk', { chunks: [] }, 'MALFORMED_PAYLOAD'],
    ['a short chunk before the last', { chunks: [second, first] }, 'MALFORMED_PAYLOAD'],
    ['an empty last chunk', { chunks: [first, second, ''] }, 'MALFORMED_PAYLOAD'],
    ['a chunk that is no base64', { chunks: [first, 'Y!=='] }, 'MALFORMED_PAYLOAD'],
    ['a chunk with pad bits', { chunks: [first, 'YR=='] }, 'MALFORMED_PAYLOAD'],
    ['another byte', { chunks: [first, 'Yg=='] }, 'PAYLOAD_MISMATCH'],
    ['another salt', { salt: `0x${'00'.repeat(32)}` }, 'PAYLOAD_MISMATCH'],
    ['another media type', { media: 'text/html' }, 'PAYLOAD_MISMATCH'],
    ['another mode', { mode: 'private' }, 'MALFORMED_PAYLOAD'],
    ['another commitment', { commitment: `0x${'00'.repeat(32)}` }, 'PAYLOAD_MISMATCH'],
    ['an unknown field', { more: 1 }, 'MALFORMED_PAYLOAD'],
  ])('refuses %s', (_, change, code) => {
    expect(() => parsePayload({ ...json, ...change })).toThrow(expect.objectContaining({ code }));
  });
});

describe('reading', () => {
  const malformed = expect.objectContaining({ code: 'MALFORMED_PAYLOAD', at: { field: 'body.x' } });

  it('gives back what was put in', () => {
    expect(readTextPayload(textPayload('\ufeffé😀', SALT), 'x')).toBe('\ufeffé😀');
    expect(readJsonPayload(jsonPayload({ b: [1, null], a: 'x' }, SALT), 'x')).toEqual({ a: 'x', b: [1, null] });
    expect(readIdsPayload(idsPayload([0, 1, 2 ** 32 - 1], SALT), 'x')).toEqual([0, 1, 2 ** 32 - 1]);
    expect(readIdsPayload(idsPayload([], SALT), 'x')).toEqual([]);
  });

  it.each(['', '{', '1', '[]', '{}', '{"value":1.5}', '{"value": 1}', '{"value":1,"x":1}', '{"value":-0}', '{"v":1}'])(
    'refuses the JSON %j',
    (text) => {
      expect(() => readJsonPayload(raw(text), 'body.x')).toThrow(malformed);
    },
  );

  it('refuses another media type, half a character and a part of an id', () => {
    expect(() => readTextPayload(jsonPayload(1, SALT), 'body.x')).toThrow(malformed);
    expect(() => readJsonPayload(textPayload('1', SALT), 'body.x')).toThrow(malformed);
    expect(() => readIdsPayload(textPayload('abcd', SALT), 'body.x')).toThrow(malformed);
    expect(() => readTextPayload({ ...of(1), data: Uint8Array.of(0xc3) }, 'body.x')).toThrow(malformed);
    expect(() => readIdsPayload({ ...idsPayload([1], SALT), data: new Uint8Array(5) }, 'body.x')).toThrow(malformed);
  });
});
