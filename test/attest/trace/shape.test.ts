import { describe, expect, it } from 'vitest';
import type { Json } from '../../../attest/encoding/canonical-json.ts';
import {
  array,
  decimal64,
  decimal256,
  exactObject,
  flag,
  hex32,
  integer,
  nullable,
  object,
  oneOf,
  type Shape,
  tagged,
  text,
} from '../../../attest/trace/shape.ts';

const point = object({ x: integer(0, 9), y: nullable(text(3)) });
const either = tagged('type', { a: object({ type: oneOf('a') }), b: object({ n: flag, type: oneOf('b') }) });

describe('shapes', () => {
  it.each<[string, Shape<unknown>, Json]>([
    ['object', point, { x: 9, y: null }],
    ['array', array(point, 2), [{ x: 0, y: 'abc' }]],
    ['tagged', either, { n: false, type: 'b' }],
    ['decimal64', decimal64, '18446744073709551615'],
    ['decimal256', decimal256, (2n ** 256n - 1n).toString()],
    ['hex32', hex32, `0x${'0f'.repeat(32)}`],
  ])('take %s', (_, shape, value) => {
    expect(shape(value, 'v')).toEqual(value);
  });

  it.each<[string, Shape<unknown>, Json, string]>([
    ['a missing field', point, { x: 1 }, 'v.y'],
    ['an unknown field', point, { x: 1, y: null, z: 1 }, 'v.z'],
    ['an own __proto__', point, JSON.parse('{"x":1,"y":null,"__proto__":1}') as Json, 'v.__proto__'],
    ['an array for an object', point, [], 'v'],
    ['an object for an array', array(flag, 9), { length: 0 }, 'v'],
    ['too many items', array(flag, 1), [true, true], 'v'],
    ['a wrong item', array(flag, 2), [true, 0], 'v.1'],
    ['an inherited tag', either, { type: 'toString' }, 'v.type'],
    ['no tag', either, {}, 'v.type'],
    ['a tag’s fields of another', either, { n: true, type: 'a' }, 'v.n'],
    ['a text too long', text(3), 'abcd', 'v'],
    ['a float', integer(0, 9), 1.5, 'v'],
    ['an integer above', integer(0, 9), 10, 'v'],
    ['an integer below', integer(1, 9), 0, 'v'],
    ['an integer that is a text', integer(0, 9), '1', 'v'],
    ['2^64', decimal64, '18446744073709551616', 'v'],
    ['2^256', decimal256, (2n ** 256n).toString(), 'v'],
    ['a leading zero', decimal64, '01', 'v'],
    ['a sign', decimal64, '+1', 'v'],
    ['a space', decimal64, '1\n', 'v'],
    ['a number for a decimal', decimal64, 1, 'v'],
    ['an endless decimal', decimal64, '9'.repeat(1_000_000), 'v'],
    ['upper case', hex32, `0x${'0F'.repeat(32)}`, 'v'],
    ['a line end after hexadecimal', hex32, `0x${'0f'.repeat(32)}\n`, 'v'],
    ['31 bytes', hex32, `0x${'00'.repeat(31)}`, 'v'],
    ['a flag as a number', flag, 1, 'v'],
  ])('refuse %s', (_, shape, value, field) => {
    expect(() => shape(value, 'v')).toThrow(expect.objectContaining({ code: 'MALFORMED_BODY', at: { field } }));
    expect(() => shape(value, 'v', 'MALFORMED_HEAD')).toThrow(expect.objectContaining({ code: 'MALFORMED_HEAD' }));
  });

  it('cut a long unknown key in messages', () => {
    expect(() => exactObject({ ['k'.repeat(1000)]: 1 }, 'v', [])).toThrow(/^v\.k{64}: unknown field$/);
  });
});
