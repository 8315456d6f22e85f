import { describe, expect, it } from 'vitest';
import { EncodingError } from '../../../attest/encoding/errors.ts';
import { assertValue, MAX_VALUE_DEPTH, parseValue, ValueError } from '../../../runtime/sandbox/values.ts';

const nested = (depth: number): string => '['.repeat(depth) + ']'.repeat(depth);

describe('parseValue', () => {
  it.each(['null', '-1', '9007199254740991', '{"a":[true,"x",{}]}', nested(MAX_VALUE_DEPTH)])('reads %s', (text) => {
    expect(JSON.stringify(parseValue(text))).toBe(text);
  });

  it.each([
    ['0.5', '$ is not a safe integer; write a fraction as text'],
    ['-0', '$ is not a safe integer; write a fraction as text'],
    ['{"a":[1,9007199254740992]}', '$.a[1] is not a safe integer; write a fraction as text'],
    [nested(MAX_VALUE_DEPTH + 1), 'value nests deeper than 24 levels'],
  ])('refuses %s', (text, message) => {
    expect(() => parseValue(text)).toThrow(ValueError);
    expect(() => parseValue(text)).toThrow(message);
  });

  it.each(['', '{', '{"a":1,"a":2}', '"\\ud800"', '1e999', nested(5000)])('calls no JSON what is none: %s', (text) => {
    expect(() => parseValue(text)).toThrow(EncodingError);
  });
});

describe('assertValue', () => {
  it('names the place', () => {
    expect(() => assertValue({ rows: [{ amount: 1.5 }] })).toThrow('$.rows[0].amount is not a safe integer');
    expect(() => assertValue({ text: '\ud800' })).toThrow('$.text holds half a character');
    expect(() => assertValue({ '\ud800': 1 })).toThrow('a key of $ holds half a character');
    expect(() => assertValue([undefined] as never)).toThrow('$[0] is undefined, which is no JSON');
  });
});
