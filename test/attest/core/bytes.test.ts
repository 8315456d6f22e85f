import { describe, expect, it } from 'vitest';
import { bytesUint, concatBytes, equalBytes, fromHex, toHex, uintBytes, utf8 } from '../../../attest/core/bytes.ts';
import { EncodingError } from '../../../attest/encoding/errors.ts';

function codeOf(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    if (error instanceof EncodingError) return error.code;
    throw error;
  }
  return 'no error';
}

describe('hexadecimal', () => {
  it('writes and reads every byte', () => {
    const bytes = Uint8Array.from({ length: 256 }, (_, i) => i);
    const text = toHex(bytes);
    expect(text).toBe(`0x${Buffer.from(bytes).toString('hex')}`);
    expect(fromHex(text)).toEqual(bytes);
    const long = Uint8Array.from({ length: 1000 }, (_, i) => (i * 7) & 255);
    expect(toHex(long)).toBe(`0x${Buffer.from(long).toString('hex')}`);
    expect(toHex(new Uint8Array())).toBe('0x');
    expect(fromHex('0x')).toEqual(new Uint8Array());
  });

  it.each([
    '',
    '0',
    'x',
    '00',
    '0X00',
    '0x0',
    '0x0G',
    '0xAB',
    '0x 0',
    '0x0\n',
    '0x00\n',
    ' 0x00',
    '0x٠٠',
    '0xéé',
    '0x0x',
  ])('refuses %j', (text) => {
    expect(codeOf(() => fromHex(text))).toBe('MALFORMED_HEX');
  });

  it('refuses another length', () => {
    expect(fromHex('0x0102', 2)).toEqual(Uint8Array.of(1, 2));
    expect(codeOf(() => fromHex('0x0102', 1))).toBe('MALFORMED_HEX');
    expect(codeOf(() => fromHex('0x0102', 3))).toBe('MALFORMED_HEX');
  });

  it('takes a text of 20 million digits', () => {
    expect(fromHex(`0x${'ab'.repeat(10_000_000)}`).length).toBe(10_000_000);
  });
});

describe('integers', () => {
  it('are big-endian', () => {
    expect(uintBytes(258, 4)).toEqual(Uint8Array.of(0, 0, 1, 2));
    expect(uintBytes((1n << 64n) - 1n, 8)).toEqual(new Uint8Array(8).fill(255));
    expect(bytesUint(Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0, 1))).toBe((1n << 64n) + 1n);
    expect(bytesUint(new Uint8Array())).toBe(0n);
  });

  it('must fit', () => {
    expect(() => uintBytes(256, 1)).toThrow(RangeError);
    expect(() => uintBytes(-1, 8)).toThrow(RangeError);
    expect(() => uintBytes(1n << 64n, 8)).toThrow(RangeError);
  });
});

describe('byte strings', () => {
  it('are joined and compared', () => {
    expect(concatBytes(Uint8Array.of(1), new Uint8Array(), Uint8Array.of(2, 3))).toEqual(Uint8Array.of(1, 2, 3));
    expect(equalBytes(utf8('é'), Uint8Array.of(0xc3, 0xa9))).toBe(true);
    expect(equalBytes(Uint8Array.of(1), Uint8Array.of(1, 0))).toBe(false);
    expect(equalBytes(Uint8Array.of(1), Uint8Array.of(2))).toBe(false);
  });
});
