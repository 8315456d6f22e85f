import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { temporaryFolder } from '../../../support/temporary.ts';
import { countOpcodes } from '../../../support/wasm-opcodes.ts';

const ROOT = fileURLToPath(new URL('../../../../', import.meta.url));
const KERNELS = readFileSync(join(ROOT, 'inference/exact/wasm/kernels.wasm'));

/** All that the kernels do with floats. Each is one IEEE 754 operation, moves bits, or is exact where the kernels use it. */
const FLOAT_OPCODES: Readonly<Record<string, string>> = {
  '0x2a': 'f32.load',
  '0x38': 'f32.store',
  '0x43': 'f32.const',
  '0x91': 'f32.sqrt',
  '0x92': 'f32.add',
  '0x93': 'f32.sub',
  '0x94': 'f32.mul',
  '0x95': 'f32.div',
  '0x97': 'f32.max',
  '0xb2': 'f32.convert_i32_s',
  '0xb4': 'f32.convert_i64_s',
  '0xfd 0x13': 'f32x4.splat',
  '0xfd 0x1f': 'f32x4.extract_lane',
  '0xfd 0xe0': 'f32x4.abs',
  '0xfd 0xe4': 'f32x4.add',
  '0xfd 0xe5': 'f32x4.sub',
  '0xfd 0xe6': 'f32x4.mul',
  '0xfd 0xe7': 'f32x4.div',
  '0xfd 0xea': 'f32x4.pmin',
  '0xfd 0xeb': 'f32x4.pmax',
  '0xfd 0xfa': 'f32x4.convert_i32x4_s',
  // sums of integers, with their one rounding
  '0xfd 0x5e': 'f32x4.demote_f64x2_zero',
  '0xfd 0xf0': 'f64x2.add',
  '0xfd 0xf2': 'f64x2.mul',
  '0xfd 0xfe': 'f64x2.convert_low_i32x4_s',
};

describe('the module of the kernels', () => {
  it('is what its source compiles to, byte for byte', () => {
    const out = join(temporaryFolder(), 'kernels.wasm');
    const compiler = join(dirname(createRequire(import.meta.url).resolve('assemblyscript/package.json')), 'bin/asc.js');
    const config = ['--config', 'inference/exact/wasm/asconfig.json', '--target', 'release'];
    execFileSync(process.execPath, [compiler, ...config, '--outFile', out], { cwd: ROOT });
    expect(readFileSync(out).equals(KERNELS), 'run `npm run kernels`').toBe(true);
  });

  it('has no float instruction beside those listed, and none that may be fused', () => {
    const used = [...countOpcodes(KERNELS).keys()].filter(isFloat).sort();
    expect(used).toEqual(Object.keys(FLOAT_OPCODES).sort());
  });

  it('imports a memory and the products of the host, and nothing else', () => {
    const { Module } = Reflect.get(globalThis, 'WebAssembly');
    expect(Module.imports(new Module(KERNELS))).toEqual([
      { module: 'env', name: 'product', kind: 'function' },
      { module: 'env', name: 'memory', kind: 'memory' },
    ]);
  });
});

describe('the walk over instructions', () => {
  it('counts', () => {
    const counts = countOpcodes(moduleOf([0x20, 0x00, 0x20, 0x00, 0xfd, 0xe6, 0x01]));
    expect([...counts]).toEqual([
      ['0x20', 2],
      ['0xfd 0xe6', 1],
      ['0x0b', 1],
    ]);
  });

  it.each([
    ['f32x4.relaxed_madd', [0xfd, 0x85, 0x02]],
    ['i16x8.relaxed_q15mulr', [0xfd, 0x91, 0x02]],
    ['i8x16.relaxed_swizzle', [0xfd, 0x80, 0x02]],
    ['an exception', [0x08, 0x00]],
    ['an atomic that is not one', [0xfe, 0x4f, 0x02, 0x00]],
    ['a bulk instruction that is not one', [0xfc, 0x20]],
  ])('refuses %s', (_, code) => {
    expect(() => countOpcodes(moduleOf(code))).toThrow(TypeError);
  });

  it('refuses a body that goes on after its end', () => {
    expect(() => countOpcodes(moduleOf([0x0b, 0x01]))).toThrow(TypeError);
    expect(() => countOpcodes(moduleOf([0x02, 0x40]))).toThrow(TypeError);
  });
});

/** Whether an instruction reads, makes or moves floats; memory and lanes of 128 bits are without a type. */
function isFloat(name: string): boolean {
  const [prefix, sub] = name.split(' ').map(Number);
  const within = (value: number, ...ranges: readonly (readonly [number, number])[]) =>
    ranges.some(([from, to]) => value >= from && value <= to);
  if (sub === undefined) {
    const scalar = [
      [0x2a, 0x2b],
      [0x38, 0x39],
      [0x43, 0x44],
      [0x5b, 0x66],
      [0x8b, 0xa6],
      [0xa8, 0xab],
    ] as const;
    return within(prefix ?? 0, ...scalar, [0xae, 0xbf]);
  }
  if (prefix === 0xfc) return sub <= 7;
  if (prefix !== 0xfd) return false;
  const vector = [
    [0x13, 0x14],
    [0x1f, 0x22],
    [0x41, 0x4c],
    [0x5e, 0x5f],
    [0x67, 0x6a],
    [0x74, 0x75],
  ] as const;
  return within(sub, ...vector, [0x7a, 0x7a], [0x94, 0x94], [0xe0, 0xff]);
}

/** A module of one function without parameters; it need not be valid. */
function moduleOf(code: readonly number[]): Uint8Array {
  const body = [0x00, ...code, 0x0b];
  const section = [0x01, body.length, ...body];
  return Uint8Array.of(0, 0x61, 0x73, 0x6d, 1, 0, 0, 0, 10, section.length, ...section);
}
