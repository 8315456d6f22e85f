import { describe, expect, it } from 'vitest';
import { toHex, utf8 } from '../../../attest/core/bytes.ts';
import { sha256, ZERO_DIGEST } from '../../../attest/core/hash.ts';
import type { Json } from '../../../attest/encoding/canonical-json.ts';
import { encodeHead, HEAD_BYTES, type Head, hashHead, headToJson, parseHead } from '../../../attest/trace/head.ts';
import { classOf, KIND_CODES, startKindOf } from '../../../attest/trace/kinds.ts';

const digest = (name: string) => sha256(utf8(name));
const head: Head = {
  kind: 'tool.end',
  class: 'recomputable',
  index: 5n,
  at: 1_700_000_000_000n,
  of: 3n,
  run: digest('run'),
  prev: digest('prev'),
  pre: digest('pre'),
  post: digest('post'),
  subject: digest('subject'),
  body: digest('body'),
  facts: ZERO_DIGEST,
};

describe('encodeHead', () => {
  it('puts every field at its offset', () => {
    const bytes = encodeHead(head);
    expect(bytes).toHaveLength(HEAD_BYTES);
    expect(toHex(bytes.subarray(0, 28))).toBe('0x0121000000000000000000050000018bcfe568000000000000000003');
    expect(bytes.subarray(28, 60)).toEqual(head.run);
    expect(bytes.subarray(220)).toEqual(ZERO_DIGEST);
  });

  it('has the leaf hash that was fixed', () => {
    expect(toHex(hashHead(head))).toBe('0xef89ff269b469e25a3635b97caac173fbbae690e6042124a0f4a8a20ad99b975');
  });
});

describe('parseHead', () => {
  const json = headToJson(head);

  it('reads what headToJson writes', () => {
    expect(parseHead(json)).toEqual(head);
  });

  it.each<[string, Json, string]>([
    ['version', 2, 'UNSUPPORTED_VERSION'],
    ['flags', 1, 'MALFORMED_HEAD'],
    ['flags', '0', 'MALFORMED_HEAD'],
    ['kind', 'tool.stop', 'MALFORMED_HEAD'],
    ['kind', 'toString', 'MALFORMED_HEAD'],
    ['kind', '__proto__', 'MALFORMED_HEAD'],
    ['class', 'constructor', 'MALFORMED_HEAD'],
    ['index', 5, 'MALFORMED_HEAD'],
    ['index', '05', 'MALFORMED_HEAD'],
    ['index', '-1', 'MALFORMED_HEAD'],
    ['at', '18446744073709551616', 'MALFORMED_HEAD'],
    ['of', '', 'MALFORMED_HEAD'],
    ['run', `0x${'AB'.repeat(32)}`, 'MALFORMED_HEAD'],
    ['facts', '0x00', 'MALFORMED_HEAD'],
    ['prev', null, 'MALFORMED_HEAD'],
  ])('refuses %s %j', (field, value, code) => {
    expect(() => parseHead({ ...json, [field]: value })).toThrow(
      expect.objectContaining({ code, at: { field: `head.${field}` } }),
    );
  });

  it('refuses a missing and an unknown field, and no object', () => {
    const { post: _, ...rest } = json;
    expect(() => parseHead(rest)).toThrow(expect.objectContaining({ at: { field: 'head.post' } }));
    expect(() => parseHead({ ...json, more: 1 })).toThrow(expect.objectContaining({ at: { field: 'head.more' } }));
    for (const value of [null, [], 'head', 1]) expect(() => parseHead(value)).toThrow(/expected an object/);
  });
});

describe('kinds', () => {
  it('have one class each', () => {
    expect(classOf('host.end', 'http.fetch')).toBe('opaque');
    expect(classOf('host.end', 'http.fetch', true)).toBe('attested');
    expect(classOf('host.end', 'kv.put')).toBe('recomputable');
    expect(classOf('host.end')).toBe('opaque');
    expect(classOf('inference.lost')).toBe('opaque');
    expect(classOf('host.start', 'http.fetch')).toBe('recomputable');
  });

  it('complete the start of their own family', () => {
    expect(startKindOf('run.child.lost')).toBe('run.child.start');
    expect(startKindOf('tool.end')).toBe('tool.start');
    expect(startKindOf('run.close')).toBeUndefined();
    expect(new Set(Object.values(KIND_CODES)).size).toBe(Object.keys(KIND_CODES).length);
  });
});
