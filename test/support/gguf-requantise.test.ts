import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { halfToFloat } from '../../inference/gguf/binary16.ts';
import { dequantise } from '../../inference/gguf/dequantise.ts';
import { parseGguf } from '../../inference/gguf/reader.ts';
import { bytesSource } from '../../inference/gguf/source.ts';
import { floatToHalf, quantiseQ8, requantised, requantiseGguf } from './gguf-requantise.ts';
import { type Field, type TensorData, writeGguf } from './gguf-writer.ts';
import { seededRandom } from './random.ts';
import { temporaryFolder } from './temporary.ts';

describe('floatToHalf', () => {
  const all = Array.from({ length: 0x10000 }, (_, bits) => bits);

  it('gives every finite binary16 back', () => {
    const finite = all.filter((bits) => Number.isFinite(halfToFloat(bits)));
    expect(finite.length).toBe(2 * 0x7c00);
    expect(finite.map((bits) => floatToHalf(halfToFloat(bits)))).toEqual(finite);
  });

  it('rounds halfway values to the even neighbour and everything else to the nearer one', () => {
    const faults = all.slice(0, 0x7bff).filter((bits) => {
      const [low, high] = [halfToFloat(bits), halfToFloat(bits + 1)];
      const middle = (low + high) / 2;
      const little = (high - low) / 1024;
      return (
        floatToHalf(middle) !== bits + (bits % 2) ||
        floatToHalf(middle - little) !== bits ||
        floatToHalf(-middle - little) !== (0x8000 | (bits + 1))
      );
    });
    expect(faults).toEqual([]);
  });

  it('goes to infinity from half a step above the largest value', () => {
    expect(floatToHalf(65_519.99)).toBe(0x7bff);
    expect(floatToHalf(65_520)).toBe(0x7c00);
    expect(floatToHalf(-1e9)).toBe(0xfc00);
  });
});

describe('quantiseQ8', () => {
  it('writes d = max/127 and the nearest multiples, halves away from zero', () => {
    const values = new Float32Array(32);
    values.set([127, -127, 0.5, -0.5, 1.5, -2.5, 63.49, -0.49]);
    const bytes = quantiseQ8(values);
    expect(bytes.length).toBe(34);
    expect([...bytes.subarray(0, 2)]).toEqual([0x00, 0x3c]);
    expect([...new Int8Array(bytes.buffer, 2, 9)]).toEqual([127, -127, 1, -1, 2, -3, 63, 0, 0]);
  });

  it('takes a scale of its own for each block, and zero for a block of zeros', () => {
    const values = new Float32Array(64);
    values.fill(-254, 32);
    const bytes = quantiseQ8(values);
    expect([...bytes.subarray(0, 34)]).toEqual(Array(34).fill(0));
    expect([...bytes.subarray(34, 37)]).toEqual([0x00, 0x40, 0x81]);
  });

  it('refuses a broken block', () => {
    expect(() => quantiseQ8(new Float32Array(33))).toThrow(RangeError);
  });
});

describe('requantised', () => {
  const random = seededRandom(3);
  const normal = Float32Array.from({ length: 64 * 5 }, () => (random.below(2001) - 1000) / 500);
  const vector = Float32Array.from({ length: 7 }, (_, i) => i / 3);
  const bytesOf = (values: Float32Array) => new Uint8Array(values.buffer.slice(0));
  const fields = new Map<string, Field>([
    ['general.architecture', { type: 'string', value: 'test' }],
    ['odd', { type: 'bool', value: true }],
    ['words', { type: 'strings', value: ['', 'a', 'Grüße'] }],
    ['numbers', { type: 'f32s', value: [1.5, -2] }],
    ['long', { type: 'u64', value: 2n ** 40n }],
    ['byte', { type: 'u8', value: 7 }],
  ]);
  const tensors = new Map<string, TensorData>([
    ['small', { type: 'F32', shape: [7], bytes: bytesOf(vector) }],
    ['matrix', { type: 'F32', shape: [64, 5], bytes: bytesOf(normal) }],
    ['quantised', { type: 'Q8_0', shape: [64, 5], bytes: quantiseQ8(normal) }],
  ]);
  const original = writeGguf(fields, tensors);
  const rewrite = (target: 'Q8_0' | 'F32') =>
    Buffer.concat(Array.from(requantised(bytesSource(original), target), copy));
  const valuesOf = (file: Uint8Array, name: string) => {
    const tensor = parseGguf(bytesSource(file)).tensors.get(name);
    if (tensor === undefined) throw new Error(`no ${name}`);
    const out = new Float32Array(tensor.elements);
    dequantise(tensor.layout, file.subarray(tensor.offset, tensor.offset + tensor.sizeBytes), out);
    return { type: tensor.layout.type, shape: tensor.shape, values: out };
  };

  it('keeps every key-value', () => {
    for (const target of ['Q8_0', 'F32'] as const) {
      expect(parseGguf(bytesSource(rewrite(target))).metadata).toEqual(parseGguf(bytesSource(original)).metadata);
    }
  });

  it('writes matrices as Q8_0 within half a step, and vectors unchanged', () => {
    const file = rewrite('Q8_0');
    expect(valuesOf(file, 'small')).toEqual({ type: 'F32', shape: [7], values: vector });
    const { type, shape, values } = valuesOf(file, 'matrix');
    expect([type, shape]).toEqual(['Q8_0', [64, 5]]);
    // Half a step of q, and what rounding d to 11 bits moves the greatest q.
    const step = 2 / 127;
    for (const [i, value] of values.entries()) {
      expect(Math.abs(value - (normal[i] as number))).toBeLessThan(step / 2 + 127 * step * 2 ** -11);
    }
  });

  it('writes exactly the values of the reader as F32', () => {
    const file = rewrite('F32');
    for (const name of ['small', 'matrix', 'quantised']) {
      expect(valuesOf(file, name)).toEqual({ ...valuesOf(original, name), type: 'F32' });
    }
  });

  it('refuses rows that are not whole blocks', () => {
    const odd = writeGguf(fields, new Map([['m', { type: 'F32', shape: [3, 2], bytes: new Uint8Array(24) }]]));
    expect(() => [...requantised(bytesSource(odd), 'Q8_0')]).toThrow('rows of m are not whole blocks');
  });

  it('puts a file in place and leaves nothing beside it', () => {
    const folder = temporaryFolder();
    const from = join(folder, 'from.gguf');
    writeFileSync(from, original);
    requantiseGguf(from, join(folder, 'to.gguf'), 'Q8_0');
    expect(readFileSync(join(folder, 'to.gguf'))).toEqual(rewrite('Q8_0'));
    expect(readdirSync(folder).sort()).toEqual(['from.gguf', 'to.gguf']);
  });
});

/** Pieces are valid until the next only. */
function copy(bytes: Uint8Array): Uint8Array {
  return Uint8Array.from(bytes);
}
