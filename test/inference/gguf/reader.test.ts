import { describe, expect, it } from 'vitest';
import { GGUF_LIMITS, parseGguf } from '../../../inference/gguf/reader.ts';
import { bytesSource, openFileSource } from '../../../inference/gguf/source.ts';
import { type Field, type TensorData, writeGguf } from '../../support/gguf-writer.ts';
import { tinyModel } from '../../support/tiny-model.ts';

const code = (wanted: string) => expect.objectContaining({ name: 'ModelError', code: wanted });
const parse = (bytes: Uint8Array) => parseGguf(bytesSource(bytes));

/** Header of version 3 with counts, then raw parts: numbers as `[value, bytes]`. */
function raw(
  tensors: number | bigint,
  keys: number | bigint,
  ...parts: readonly (readonly [number | bigint, number] | string)[]
): Uint8Array {
  const out: number[] = [...Buffer.from('GGUF')];
  const number = (value: number | bigint, length: number) => {
    let rest = BigInt(value);
    for (let i = 0; i < length; i++, rest >>= 8n) out.push(Number(rest & 255n));
  };
  number(3, 4);
  number(tensors, 8);
  number(keys, 8);
  for (const part of parts) {
    if (typeof part === 'string') {
      number(Buffer.byteLength(part), 8);
      out.push(...Buffer.from(part));
    } else number(...part);
  }
  return Uint8Array.from(out);
}

const HUGE = 0xffff_ffff_ffff_ffffn;

describe('a sound file', () => {
  it('gives back what was written', () => {
    const fields = new Map<string, Field>([
      ['a.text', { type: 'string', value: 'Grüße ▁' }],
      ['a.flag', { type: 'bool', value: true }],
      ['a.long', { type: 'u64', value: 2n ** 63n }],
      ['a.small', { type: 'i32', value: -5 }],
      ['a.float', { type: 'f32', value: 0.5 }],
      ['a.list', { type: 'strings', value: ['x', '', 'z'] }],
    ]);
    const tensors = new Map<string, TensorData>([
      ['one', { type: 'F32', shape: [3], bytes: Uint8Array.from({ length: 12 }, (_, i) => i) }],
      ['two', { type: 'Q8_0', shape: [32, 2], bytes: new Uint8Array(68).fill(9) }],
    ]);
    const bytes = writeGguf(fields, tensors);
    const gguf = parse(bytes);
    expect(Object.fromEntries(gguf.metadata)).toEqual({
      'a.text': 'Grüße ▁',
      'a.flag': true,
      'a.long': 2n ** 63n,
      'a.small': -5,
      'a.float': 0.5,
      'a.list': ['x', '', 'z'],
    });
    const one = gguf.tensors.get('one');
    const two = gguf.tensors.get('two');
    expect(one).toMatchObject({ shape: [3], elements: 3, sizeBytes: 12, offset: gguf.dataOffset });
    expect(two).toMatchObject({ shape: [32, 2], elements: 64, sizeBytes: 68, offset: gguf.dataOffset + 32 });
    expect([...bytes.subarray(one?.offset, (one?.offset ?? 0) + 12)]).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
  });

  it('holds numbers of every type, wherever they begin', () => {
    const bits = new DataView(new ArrayBuffer(8));
    bits.setFloat64(0, -1.25);
    const numbers: readonly (readonly [type: number, bits: bigint, length: number, value: unknown])[] = [
      [0, 0xffn, 1, 255],
      [1, 0xffn, 1, -1],
      [2, 0xfffen, 2, 65_534],
      [3, 0xfffen, 2, -2],
      [4, 0xffff_fffdn, 4, 0xffff_fffd],
      [5, 0xffff_fffdn, 4, -3],
      [6, 0xbfa0_0000n, 4, -1.25],
      [7, 1n, 1, true],
      [10, HUGE, 8, HUGE],
      [11, HUGE, 8, -1n],
      [12, bits.getBigUint64(0), 8, -1.25],
    ];
    for (const [type, value, length, expected] of numbers) {
      for (let name = 1; name < 9; name++) {
        const bytes = raw(0, 1, 'k'.repeat(name), [type, 4], [value, length]);
        expect([...parse(bytes).metadata.values()], `type ${type}`).toEqual([expected]);
      }
    }
  });

  it('keeps texts and numbers that lie across the windows in which a file is read', () => {
    const letters = ['a', 'é', '▁', '🙂', '\0', '\x7f', '\ufeff'];
    const value = Array.from({ length: 40_000 }, (_, i) => letters[i % 7]?.repeat(i % 19) + (i % 3 ? '' : 'x'));
    const numbers = value.map((_, i) => i - 20_000);
    const long = `${'x'.repeat(600_000)}é`;
    const fields = new Map<string, Field>([
      ['texts', { type: 'strings', value }],
      ['odd', { type: 'string', value: 'x' }],
      ['numbers', { type: 'i32s', value: numbers }],
      ['long', { type: 'string', value: long }],
      ['plain', { type: 'string', value: long.slice(0, -1) }],
    ]);
    expect(Object.fromEntries(parse(writeGguf(fields, new Map())).metadata)).toEqual({
      texts: value,
      odd: 'x',
      numbers,
      long,
      plain: long.slice(0, -1),
    });
  });

  it('may ask for another alignment', () => {
    const fields = new Map<string, Field>([['general.alignment', { type: 'u32', value: 4096 }]]);
    const tensors = new Map<string, TensorData>([['t', { type: 'F32', shape: [1], bytes: new Uint8Array(4) }]]);
    expect(parse(writeGguf(fields, tensors, 4096)).dataOffset).toBe(4096);
  });
});

describe('a faulty header', () => {
  it.each<[string, Uint8Array, string]>([
    ['empty file', new Uint8Array(0), 'NOT_GGUF'],
    ['a count of 2^32 with nothing below', raw(2n ** 32n, 0), 'TOO_LARGE'],
    ['three bytes', Uint8Array.from(Buffer.from('GGU')), 'NOT_GGUF'],
    ['another magic', Uint8Array.from(Buffer.from('GGML\x03\0\0\0')), 'NOT_GGUF'],
    ['magic alone', Uint8Array.from(Buffer.from('GGUF')), 'TRUNCATED'],
    ['version 1', Uint8Array.from(Buffer.from('GGUF\x01\0\0\0')), 'UNSUPPORTED_VERSION'],
    ['big-endian version 3', Uint8Array.from(Buffer.from('GGUF\0\0\0\x03')), 'UNSUPPORTED_VERSION'],
    ['2^64 - 1 tensors', raw(HUGE, 0), 'TOO_LARGE'],
    ['2^64 - 1 keys', raw(0, HUGE), 'TOO_LARGE'],
    ['more keys than bytes', raw(0, 4), 'TRUNCATED'],
    ['a key of 2^64 - 1 bytes', raw(0, 1, [HUGE, 8]), 'TOO_LARGE'],
    ['a key past the end', raw(0, 1, [200, 8]), 'TRUNCATED'],
    ['an empty key', raw(0, 1, ''), 'MALFORMED_STRING'],
    ['a key that is not UTF-8', raw(0, 1, [2, 8], [0x28c3, 2]), 'MALFORMED_STRING'],
    ['a value type that does not exist', raw(0, 1, 'k', [13, 4]), 'MALFORMED_VALUE'],
    ['a boolean of 2', raw(0, 1, 'k', [7, 4], [2, 1]), 'MALFORMED_VALUE'],
    ['a text past the end', raw(0, 1, 'k', [8, 4], [1000, 8]), 'TRUNCATED'],
    ['a text over the limit', raw(0, 1, 'k', [8, 4], [GGUF_LIMITS.stringBytes + 1, 8]), 'TOO_LARGE'],
    ['a list of 2^64 - 1', raw(0, 1, 'k', [9, 4], [0, 4], [HUGE, 8]), 'TOO_LARGE'],
    ['a list longer than the file', raw(0, 1, 'k', [9, 4], [10, 4], [1 << 20, 8]), 'TRUNCATED'],
    ['a list of unknown type', raw(0, 1, 'k', [9, 4], [99, 4], [0, 8]), 'MALFORMED_VALUE'],
    [
      'lists in lists in lists in lists',
      raw(0, 1, 'k', [9, 4], [9, 4], [1, 8], [9, 4], [1, 8], [9, 4], [1, 8], [0, 4], [0, 8]),
      'TOO_DEEP',
    ],
    ['a key twice', raw(0, 2, 'k', [0, 4], [1, 1], 'k', [0, 4], [1, 1]), 'DUPLICATE_KEY'],
    ['alignment 0', raw(0, 1, 'general.alignment', [4, 4], [0, 4]), 'MALFORMED_ALIGNMENT'],
    ['alignment 48', raw(0, 1, 'general.alignment', [4, 4], [48, 4]), 'MALFORMED_ALIGNMENT'],
    ['alignment 2^31', raw(0, 1, 'general.alignment', [4, 4], [2 ** 31, 4]), 'MALFORMED_ALIGNMENT'],
    ['alignment as text', raw(0, 1, 'general.alignment', [8, 4], 'x'), 'MALFORMED_ALIGNMENT'],
  ])('%s', (_, bytes, wanted) => {
    expect(() => parse(bytes)).toThrowError(code(wanted));
  });
});

describe('a faulty tensor', () => {
  /** One tensor at offset 0 over `data` bytes of weights. */
  const one = (extents: readonly (number | bigint)[], type: number, offset: number | bigint = 0, data = 64) => {
    const header = raw(
      1,
      0,
      't',
      [extents.length, 4],
      ...extents.map((extent) => [extent, 8] as const),
      [type, 4],
      [offset, 8],
    );
    const bytes = new Uint8Array(Math.ceil(header.length / 32) * 32 + data);
    bytes.set(header);
    return bytes;
  };

  it('is accepted when sound', () => {
    expect(parse(one([16], 0)).tensors.get('t')).toMatchObject({ elements: 16, sizeBytes: 64 });
  });

  it.each<[string, Uint8Array, string]>([
    ['no dimensions', one([], 0), 'MALFORMED_SHAPE'],
    ['five dimensions', one([1, 1, 1, 1, 1], 0), 'MALFORMED_SHAPE'],
    ['an extent of 0', one([4, 0], 0), 'MALFORMED_SHAPE'],
    ['an extent of 2^64 - 1', one([HUGE], 0), 'MALFORMED_SHAPE'],
    ['a product beyond 2^64', one([2 ** 30, 2 ** 30, 2 ** 30, 16], 0), 'MALFORMED_SHAPE'],
    ['a product that wraps to 0 in 64 bits', one([2 ** 30, 2 ** 30, 2 ** 4, 1], 0), 'MALFORMED_SHAPE'],
    ['a row that is not whole blocks', one([16, 2], 8), 'MALFORMED_SHAPE'],
    ['type Q8_1', one([256], 9), 'UNSUPPORTED_TENSOR_TYPE'],
    ['type IQ2_XXS', one([256], 16), 'UNSUPPORTED_TENSOR_TYPE'],
    ['a row that is half a block of Q4_K', one([128, 2], 12), 'MALFORMED_SHAPE'],
    ['type 2^32 - 1', one([16], 0xffff_ffff), 'UNSUPPORTED_TENSOR_TYPE'],
    ['one value too many', one([17], 0), 'TRUNCATED'],
    ['an offset past the end', one([16], 0, 64), 'TRUNCATED'],
    ['an offset of 2^64 - 32', one([16], 0, HUGE - 31n), 'TRUNCATED'],
    ['an offset that is not aligned', one([1], 0, 4), 'MALFORMED_OFFSET'],
  ])('%s', (_, bytes, wanted) => {
    expect(() => parse(bytes)).toThrowError(code(wanted));
  });

  const two = (second: string, offset: number) => {
    const header = raw(2, 0, 't', [1, 4], [16, 8], [0, 4], [0, 8], second, [1, 4], [8, 8], [0, 4], [offset, 8]);
    const bytes = new Uint8Array(Math.ceil(header.length / 32) * 32 + 96);
    bytes.set(header);
    return bytes;
  };

  it('twice, or over another', () => {
    expect(() => parse(two('t', 64))).toThrowError(code('DUPLICATE_TENSOR'));
    expect(() => parse(two('u', 32))).toThrowError(code('OVERLAPPING_TENSORS'));
    expect(parse(two('u', 64)).tensors.size).toBe(2);
  });
});

it('a file that is cut anywhere in the header is TRUNCATED, or not a GGUF', () => {
  const { fields, tensors } = tinyModel();
  const bytes = writeGguf(fields, tensors);
  const end = parse(bytes).dataOffset;
  for (let length = 0; length < end - 32; length += 61) {
    expect(() => parse(bytes.subarray(0, length))).toThrowError(code(length < 4 ? 'NOT_GGUF' : 'TRUNCATED'));
  }
});

it('a file that is not there, or a folder, is FILE_UNREADABLE', () => {
  expect(() => openFileSource('/nonexistent/model.gguf')).toThrowError(code('FILE_UNREADABLE'));
  expect(() => openFileSource('/')).toThrowError(code('FILE_UNREADABLE'));
});
