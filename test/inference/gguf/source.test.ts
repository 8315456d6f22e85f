import { truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { type ByteSource, bytesSource, openFileSource } from '../../../inference/gguf/source.ts';
import { temporaryFolder } from '../../support/temporary.ts';

const BYTES = Uint8Array.from({ length: 1000 }, (_, i) => i * 7);

const fault = (code: string) => expect.objectContaining({ name: 'ModelError', code });

function file(): string {
  const path = join(temporaryFolder(), 'bytes');
  writeFileSync(path, BYTES);
  return path;
}

describe.each<[string, () => ByteSource]>([
  ['bytes', () => bytesSource(BYTES)],
  ['a file', () => openFileSource(file())],
])('%s', (_, make) => {
  const open = () => {
    const source = make();
    onTestFinished(() => source.close());
    return source;
  };

  it('gives any part, in new or given bytes', () => {
    const source = open();
    expect(source.size).toBe(1000);
    const out = new Uint8Array(1006);
    for (const [offset, length] of [
      [0, 1000],
      [0, 0],
      [1000, 0],
      [999, 1],
      [17, 400],
    ] as const) {
      const wanted = BYTES.subarray(offset, offset + length);
      expect(Uint8Array.from(source.read(offset, length))).toEqual(wanted);
      out.fill(0xaa);
      source.readInto(offset, out.subarray(3, 3 + length));
      expect(out.subarray(3, 3 + length)).toEqual(wanted);
      expect([...out.subarray(0, 3), ...out.subarray(3 + length)].every((byte) => byte === 0xaa)).toBe(true);
    }
  });

  it.each([
    [0, 1001],
    [1000, 1],
    [1001, 0],
    [-1, 1],
    [0.5, 1],
    [Number.MAX_SAFE_INTEGER, 2],
  ])('refuses bytes outside: %d, %d', (offset, length) => {
    const source = open();
    expect(() => source.read(offset, length)).toThrowError(fault('TRUNCATED'));
    expect(() => source.readInto(offset, new Uint8Array(length))).toThrowError(fault('TRUNCATED'));
  });
});

it('a file that becomes shorter is TRUNCATED', () => {
  const path = file();
  const source = openFileSource(path);
  truncateSync(path, 500);
  expect(() => source.readInto(400, new Uint8Array(200))).toThrowError(fault('TRUNCATED'));
  source.close();
});

it('a closed file is not read, not even when another has its descriptor', () => {
  const source = openFileSource(file());
  source.close();
  // The lowest free number is given again.
  const other = openFileSource(file());
  onTestFinished(() => other.close());
  expect(() => source.read(0, 10)).toThrowError(fault('FILE_UNREADABLE'));
  expect(() => source.readInto(0, new Uint8Array(10))).toThrowError(fault('FILE_UNREADABLE'));
  source.close();
  expect(other.read(0, 10)).toEqual(BYTES.subarray(0, 10));
});
