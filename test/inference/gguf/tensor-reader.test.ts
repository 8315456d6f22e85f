import { describe, expect, it } from 'vitest';
import { parseGguf } from '../../../inference/gguf/reader.ts';
import { type ByteSource, bytesSource } from '../../../inference/gguf/source.ts';
import { TensorReader } from '../../../inference/gguf/tensor-reader.ts';
import type { TensorInfo } from '../../../inference/gguf/types.ts';
import { writeGguf } from '../../support/gguf-writer.ts';
import { lcg, noise } from '../../support/tiny-model.ts';

const TYPES = ['F32', 'F16', 'BF16', 'Q8_0', 'Q5_1', 'Q4_K', 'Q6_K'] as const;
const bytes = writeGguf(new Map(), new Map(TYPES.map((type) => [type, noise(type, [512, 3], lcg(3))])));
const { tensors } = parseGguf(bytesSource(bytes));

function find(name: string): TensorInfo {
  const tensor = tensors.get(name);
  if (tensor === undefined) throw new RangeError(name);
  return tensor;
}

/** Counts what is read. */
function counted(source: ByteSource): { source: ByteSource; ranges: [number, number][] } {
  const ranges: [number, number][] = [];
  return {
    ranges,
    source: {
      ...source,
      readInto(offset, out) {
        ranges.push([offset, out.length]);
        source.readInto(offset, out);
      },
    },
  };
}

it.each(TYPES)('%s: any run of blocks is that part of the whole', (type) => {
  const reader = new TensorReader(bytesSource(bytes));
  const tensor = find(type);
  const whole = new Float32Array(1536);
  reader.read(tensor, 0, whole);
  expect(whole.every(Number.isFinite)).toBe(true);
  expect(new Set(whole).size).toBeGreaterThan(100);
  const step = tensor.layout.elements;
  for (let first = 0; first < 1536; first += 256) {
    for (const length of [0, step, 256, 1536 - first]) {
      const part = new Float32Array(length);
      reader.read(tensor, first, part);
      expect(part).toEqual(whole.subarray(first, first + length));
    }
  }
});

it('reads only the bytes of those values', () => {
  const { source, ranges } = counted(bytesSource(bytes));
  const tensor = find('Q4_K');
  new TensorReader(source).read(tensor, 512, new Float32Array(512));
  expect(ranges).toEqual([[tensor.offset + 288, 288]]);
});

it('goes through a large tensor in parts of at most a mebibyte', () => {
  const large = writeGguf(new Map(), new Map([['t', noise('Q8_0', [4096, 1000], lcg(1))]]));
  const { source, ranges } = counted(bytesSource(large));
  const tensor = parseGguf(source).tensors.get('t') as TensorInfo;
  const out = new Float32Array(4_096_000);
  new TensorReader(source).read(tensor, 0, out);
  expect(ranges.length).toBeGreaterThan(4);
  expect(Math.max(...ranges.map(([, length]) => length))).toBeLessThanOrEqual(1 << 20);
  expect(ranges.reduce((sum, [, length]) => sum + length, 0)).toBe(tensor.sizeBytes);
  const last = new Float32Array(32);
  new TensorReader(source).read(tensor, 4_096_000 - 32, last);
  expect(out.subarray(-32)).toEqual(last);
});

describe('refuses', () => {
  it.each<[string, number, number]>([
    ['half a block at the start', 16, 32],
    ['half a block at the end', 0, 48],
    ['values after the end', 1536, 32],
    ['values before the start', -32, 32],
    ['NaN', Number.NaN, 32],
  ])('%s', (_, first, length) => {
    const reader = new TensorReader(bytesSource(bytes));
    expect(() => reader.read(find('Q8_0'), first, new Float32Array(length))).toThrowError(RangeError);
  });

  it('a file that became shorter', () => {
    const reader = new TensorReader(bytesSource(bytes.subarray(0, bytes.length - 64)));
    expect(() => reader.read(find('Q6_K'), 0, new Float32Array(1536))).toThrowError(
      expect.objectContaining({ code: 'TRUNCATED' }),
    );
  });
});
