import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { parseJson } from '../../../attest/encoding/canonical-json.ts';
import { bytesSource } from '../../../inference/gguf/source.ts';
import { toBinary32 } from '../../../inference/safetensors/dtype.ts';
import { MAX_HEADER_BYTES, parseSafetensors } from '../../../inference/safetensors/reader.ts';
import { joinSafetensors, writeSafetensors } from '../../support/tiny-safetensors.ts';

const parse = (bytes: Uint8Array) => parseSafetensors(bytesSource(bytes), 'model.safetensors');
const parseHeader = (header: unknown, dataBytes: number, length?: bigint) =>
  parse(
    joinSafetensors(typeof header === 'string' ? header : JSON.stringify(header), new Uint8Array(dataBytes), length),
  );
const tensor = (dtype: string, shape: unknown, begin: unknown, end: unknown) => ({
  dtype,
  shape,
  data_offsets: [begin, end],
});
const fault = (code: string, at: object = {}) =>
  expect.objectContaining({
    name: 'ModelError',
    code,
    at: expect.objectContaining({ file: 'model.safetensors', ...at }),
  });

describe('a sound file', () => {
  it('gives every tensor with its place', () => {
    const bytes = writeSafetensors(
      new Map([
        ['b', { dtype: 'F32', shape: [2, 1], bytes: Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8) }],
        ['a', { dtype: 'BF16', shape: [3], bytes: Uint8Array.of(9, 10, 11, 12, 13, 14) }],
        ['one', { dtype: 'U8', shape: [], bytes: Uint8Array.of(15) }],
        ['none', { dtype: 'F16', shape: [0, 7], bytes: new Uint8Array(0) }],
      ]),
    );
    const start = bytes.length - 15;
    const tensors = parse(bytes);
    expect(tensors.get('b')).toEqual({ dtype: 'F32', shape: [2, 1], offset: start, sizeBytes: 8 });
    expect(tensors.get('a')).toEqual({ dtype: 'BF16', shape: [3], offset: start + 8, sizeBytes: 6 });
    expect(tensors.get('one')).toMatchObject({ shape: [], sizeBytes: 1 });
    expect(tensors.get('none')).toMatchObject({ shape: [0, 7], sizeBytes: 0 });
    expect(tensors.size).toBe(4);
  });

  it('lists its tensors in any order, and may hold none', () => {
    const header = { y: tensor('F16', [1], 4, 6), x: tensor('F32', [], 0, 4) };
    expect([...parseHeader(header, 6).keys()]).toEqual(['x', 'y']);
    expect(parseHeader({}, 0).size).toBe(0);
    expect(parseHeader({ __metadata__: { format: 'pt', a: '' } }, 0).size).toBe(0);
  });

  it('may have names that objects have already', () => {
    const header = '{"__proto__":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}';
    expect([...parseHeader(header, 1).keys()]).toEqual(['__proto__']);
  });

  it('counts the bits of small types', () => {
    expect(parseHeader({ x: tensor('F4', [2, 3], 0, 3) }, 3).get('x')?.sizeBytes).toBe(3);
    expect(() => parseHeader({ x: tensor('F4', [3], 0, 2) }, 2)).toThrowError(fault('MALFORMED_SHAPE'));
  });
});

describe('the prefix', () => {
  it.each<[string, Uint8Array, string]>([
    ['an empty file', new Uint8Array(0), 'TRUNCATED'],
    ['seven bytes', new Uint8Array(7), 'TRUNCATED'],
    ['a header of no bytes', new Uint8Array(8), 'NOT_SAFETENSORS'],
    ['a header behind the end', joinSafetensors('{}', new Uint8Array(0), 9n), 'TRUNCATED'],
    [
      'a header of 100 MB and a byte',
      joinSafetensors('{}', new Uint8Array(0), BigInt(MAX_HEADER_BYTES) + 1n),
      'TOO_LARGE',
    ],
    ['a header of 2^64 - 1 bytes', joinSafetensors('{}', new Uint8Array(0), 2n ** 64n - 1n), 'TOO_LARGE'],
    [
      'a header of 100 MB that is not there',
      joinSafetensors('{}', new Uint8Array(0), BigInt(MAX_HEADER_BYTES)),
      'TRUNCATED',
    ],
  ])('%s', (_, bytes, code) => {
    expect(() => parse(bytes)).toThrowError(fault(code));
  });

  it.each<[string, string, string]>([
    ['a space before the brace', ' {}', 'NOT_SAFETENSORS'],
    ['a list', '[]', 'NOT_SAFETENSORS'],
    ['no JSON', '{x}', 'NOT_SAFETENSORS'],
    ['half an object', '{"x":', 'NOT_SAFETENSORS'],
    ['text behind the object', '{} {}', 'NOT_SAFETENSORS'],
    ['a zero byte behind the object', '{}\0', 'NOT_SAFETENSORS'],
    ['a name twice', '{"x":{},"x":{}}', 'DUPLICATE_KEY'],
    ['a field twice', '{"x":{"dtype":"U8","dtype":"I8"}}', 'DUPLICATE_KEY'],
    ['nesting', '{"x":[[[[[[]]]]]]}', 'TOO_DEEP'],
  ])('%s', (_, header, code) => {
    expect(() => parseHeader(header, 0)).toThrowError(fault(code));
  });

  it('is not UTF-8', () => {
    const bytes = joinSafetensors('{"x  ":0}', new Uint8Array(0));
    bytes[11] = 0xff;
    expect(() => parse(bytes)).toThrowError(fault('NOT_SAFETENSORS'));
  });

  it.each(['2.0', '2e0', '02', '-2', '"2"', '2.5', '9007199254740993'])('has %s for a whole number', (number) => {
    for (const fields of [`"shape":[${number}],"data_offsets":[0,2]`, `"shape":[2],"data_offsets":[0,${number}]`]) {
      expect(() => parseHeader(`{"x":{"dtype":"U8",${fields}}}`, 2)).toThrowError(
        expect.objectContaining({ code: expect.stringMatching(/MALFORMED_VALUE|NOT_SAFETENSORS/) }),
      );
    }
  });

  it('spells more values than are made of it', () => {
    const many = `{"x":[${'[],'.repeat(1_500_000)}[]]}`;
    expect(() => parseHeader(many, 0)).toThrowError(fault('TOO_LARGE'));
  });
});

describe('a tensor', () => {
  it.each<[string, unknown, string]>([
    ['is a number', 1, 'MALFORMED_VALUE'],
    ['is a list', [], 'MALFORMED_VALUE'],
    ['has no type', { shape: [1], data_offsets: [0, 4] }, 'MALFORMED_VALUE'],
    ['has no shape', { dtype: 'F32', data_offsets: [0, 4] }, 'MALFORMED_VALUE'],
    ['has no place', { dtype: 'F32', shape: [1] }, 'MALFORMED_VALUE'],
    ['has a further field', { ...tensor('F32', [1], 0, 4), strides: [1] }, 'MALFORMED_VALUE'],
    ['has a type by number', tensor(7 as never, [1], 0, 4), 'MALFORMED_VALUE'],
    ['has an unknown type', tensor('F128', [1], 0, 4), 'UNSUPPORTED_TENSOR_TYPE'],
    ['has a type in small letters', tensor('f32', [1], 0, 4), 'UNSUPPORTED_TENSOR_TYPE'],
    ['has a shape that is a number', tensor('F32', 1, 0, 4), 'MALFORMED_VALUE'],
    ['has a negative extent', tensor('F32', [-1], 0, 4), 'MALFORMED_VALUE'],
    ['has two negative extents', tensor('F32', [-1, -1], 0, 4), 'MALFORMED_VALUE'],
    ['has half an extent', tensor('F32', [0.5, 2], 0, 4), 'MALFORMED_VALUE'],
    ['has an extent that is a text', tensor('F32', ['1'], 0, 4), 'MALFORMED_VALUE'],
    ['has an extent beyond integers', tensor('F32', [2 ** 53], 0, 4), 'MALFORMED_VALUE'],
    ['has extents whose product overflows', tensor('F32', [2 ** 32, 2 ** 32], 0, 0), 'MALFORMED_SHAPE'],
    ['has extents that overflow before a zero', tensor('F32', [2 ** 40, 2 ** 40, 0], 0, 0), 'MALFORMED_SHAPE'],
    ['has seventeen extents', tensor('F32', Array(17).fill(1), 0, 4), 'MALFORMED_SHAPE'],
    ['has fewer bytes than its shape', tensor('F32', [2], 0, 4), 'MALFORMED_SHAPE'],
    ['has more bytes than its shape', tensor('F16', [1], 0, 4), 'MALFORMED_SHAPE'],
    ['ends before it starts', tensor('F32', [1], 4, 0), 'MALFORMED_OFFSET'],
    ['starts behind the first byte', tensor('U8', [3], 1, 4), 'MALFORMED_OFFSET'],
    ['starts at half a byte', tensor('F32', [1], 0.5, 4.5), 'MALFORMED_VALUE'],
    ['has one offset', { dtype: 'F32', shape: [1], data_offsets: [0] }, 'MALFORMED_VALUE'],
    ['has three offsets', { dtype: 'F32', shape: [1], data_offsets: [0, 4, 4] }, 'MALFORMED_VALUE'],
    ['ends behind the file', tensor('F32', [2], 0, 8), 'TRUNCATED'],
  ])('%s', (_, value, code) => {
    expect(() => parseHeader({ x: value }, 4)).toThrowError(fault(code, { tensor: 'x' }));
  });

  it('overlaps another', () => {
    expect(() => parseHeader({ x: tensor('U8', [4], 0, 4), y: tensor('U8', [4], 2, 6) }, 6)).toThrowError(
      fault('OVERLAPPING_TENSORS', { tensor: 'y' }),
    );
    expect(() => parseHeader({ x: tensor('U8', [4], 0, 4), y: tensor('U8', [4], 0, 4) }, 4)).toThrowError(
      fault('OVERLAPPING_TENSORS'),
    );
  });

  it('leaves a gap before it', () => {
    expect(() => parseHeader({ x: tensor('U8', [2], 0, 2), y: tensor('U8', [2], 3, 5) }, 5)).toThrowError(
      fault('MALFORMED_OFFSET', { tensor: 'y' }),
    );
  });

  it('leaves bytes behind it', () => {
    expect(() => parseHeader({ x: tensor('U8', [2], 0, 2) }, 3)).toThrowError(fault('MALFORMED_OFFSET'));
    expect(() => parseHeader({}, 1)).toThrowError(fault('MALFORMED_OFFSET'));
  });

  it('has a name beyond measure', () => {
    expect(() => parseHeader({ ['x'.repeat(2000)]: tensor('U8', [1], 0, 1) }, 1)).toThrowError(fault('TOO_LARGE'));
  });

  it.each([[1], ['text'], [{ a: 1 }], [{ a: { b: 'c' } }]])('is not __metadata__, which cannot be %j', (value) => {
    expect(() => parseHeader({ __metadata__: value }, 0)).toThrowError(fault('MALFORMED_VALUE'));
  });
});

describe('elements', () => {
  const convert = (dtype: 'F16' | 'BF16', bits: number): number => {
    const out = new Float32Array(1);
    toBinary32(dtype, Uint8Array.of(bits & 255, bits >> 8), out);
    return out[0] ?? 0;
  };
  /** IEEE 754 §3.4 by the widths of exponent and fraction. */
  const value = (bits: number, exponentBits: number, fractionBits: number): number => {
    const bias = 2 ** (exponentBits - 1) - 1;
    const sign = bits >> 15 ? -1 : 1;
    const exponent = (bits >> fractionBits) & (2 ** exponentBits - 1);
    const fraction = (bits & (2 ** fractionBits - 1)) / 2 ** fractionBits;
    if (exponent === 2 ** exponentBits - 1) return fraction === 0 ? sign * Infinity : Number.NaN;
    return sign * (exponent === 0 ? fraction * 2 ** (1 - bias) : (1 + fraction) * 2 ** (exponent - bias));
  };

  it.each([
    ['F16', 5, 10],
    ['BF16', 8, 7],
  ] as const)('of %s are read exactly, all 65,536', (dtype, exponentBits, fractionBits) => {
    for (let bits = 0; bits < 65_536; bits++) {
      const want = value(bits, exponentBits, fractionBits);
      if (!Object.is(convert(dtype, bits), want)) expect([bits, convert(dtype, bits)]).toEqual([bits, want]);
    }
  });

  it('of F32 are read from any address', () => {
    const bytes = new Uint8Array(13);
    const view = new DataView(bytes.buffer);
    view.setFloat32(1, -1.5e-40, true);
    view.setFloat32(5, Math.PI, true);
    view.setFloat32(9, -0, true);
    const out = new Float32Array(3);
    toBinary32('F32', bytes.subarray(1), out);
    expect([...out]).toEqual([Math.fround(-1.5e-40), Math.fround(Math.PI), -0]);
  });
});

describe('the reference implementation', () => {
  const { cases } = parseJson(
    readFileSync(new URL('../../vectors/safetensors/cases.json', import.meta.url)),
  ) as unknown as { readonly cases: readonly { readonly file: string; readonly tensors: object | null }[] };

  it.each(
    cases.map(({ file, tensors }, index) => [index, tensors === null ? 'refuses' : 'reads', file, tensors] as const),
  )('file %i: it %s it, and so does this one', (_, __, file, tensors) => {
    const bytes = new Uint8Array(Buffer.from(file, 'hex'));
    if (tensors === null) {
      expect(() => parse(bytes)).toThrowError(expect.objectContaining({ name: 'ModelError' }));
    } else {
      const read = [...parse(bytes)].map(([name, { dtype, shape, sizeBytes }]) => [name, [dtype, shape, sizeBytes]]);
      expect(Object.fromEntries(read)).toEqual(tensors);
    }
  });
});
