/**
 * The float instructions that the kernels use, in every lane, against TestFloat; and their rounding, from its own source,
 * against TestFloat and against integers.
 */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { compileString } from 'assemblyscript/asc';
import { beforeAll, describe, expect, it } from 'vitest';
import { wasm } from '../../../../attest/core/webassembly.ts';
import { describeVectors } from '../../../support/vectors.ts';

const KERNELS = new URL('../../../../inference/exact/wasm/', import.meta.url);
const LANES = 4;
/** Most operands of one call, and where they lie. */
const MOST = 1 << 20;
const [X, Y, OUT] = [1 << 22, 2 << 22, 3 << 22];
const PAGES = (4 << 22) / 65_536;

const upper = (v: string) => `v128.shuffle<i32>(${v}, ${v}, 2, 3, 2, 3)`;
/** Four binary64 from two vectors, rounded to binary32 as the kernels do it. */
const demoted = (low: string, high: string) =>
  `v128.shuffle<i32>(f32x4.demote_f64x2_zero(${low}), f32x4.demote_f64x2_zero(${high}), 0, 1, 4, 5)`;
const product = (a: string, b: string) => `f64x2.mul(f64x2.promote_low_f32x4(${a}), f64x2.promote_low_f32x4(${b}))`;

/** Of vectors `a` and `b`. */
const VECTOR = {
  add: 'f32x4.add(a, b)',
  sub: 'f32x4.sub(a, b)',
  mul: 'f32x4.mul(a, b)',
  div: 'f32x4.div(a, b)',
  sqrt: 'f32x4.sqrt(a)',
  abs: 'f32x4.abs(a)',
  eq: 'f32x4.eq(a, b)',
  ne: 'f32x4.ne(a, b)',
  lt: 'f32x4.lt(a, b)',
  gt: 'f32x4.gt(b, a)',
  le: 'f32x4.le(a, b)',
  ge: 'f32x4.ge(b, a)',
  pmax: 'f32x4.pmax(a, b)',
  pmin: 'f32x4.pmin(b, a)',
  convert: 'f32x4.convert_i32x4_s(a)',
  // exact in binary64, so the one rounding is the demotion's
  demoteProduct: demoted(product('a', 'b'), product(upper('a'), upper('b'))),
  demoteInteger: demoted('f64x2.convert_low_i32x4_s(a)', `f64x2.convert_low_i32x4_s(${upper('a')})`),
  round: 'round4(a)',
};

/** Of scalars `a` and `b`; `i` is the integer in the place of `a`. */
const SCALAR = {
  scalarAdd: 'a + b',
  scalarSub: 'a - b',
  scalarMul: 'a * b',
  scalarDiv: 'a / b',
  scalarSqrt: 'sqrt<f32>(a)',
  scalarConvert: '<f32>i',
  scalarConvertLong: '<f32><i64>i',
};

const SOURCE = [
  "import { round4 } from './rows';",
  ...Object.entries(VECTOR).map(
    ([name, result]) => `export function test_${name}(n: i32, x: usize, y: usize, out: usize): void {
      for (let o: usize = 0, end = <usize>n << 2; o < end; o += 16) {
        const a = v128.load(x + o);
        const b = v128.load(y + o);
        v128.store(out + o, ${result});
      }
    }`,
  ),
  ...Object.entries(SCALAR).map(
    ([name, result]) => `export function test_${name}(n: i32, x: usize, y: usize, out: usize): void {
      for (let o: usize = 0, end = <usize>n << 2; o < end; o += 4) {
        const i = load<i32>(x + o);
        const a = load<f32>(x + o);
        const b = load<f32>(y + o);
        store<f32>(out + o, ${result});
      }
    }`,
  ),
].join('\n');

type Name = keyof typeof VECTOR | keyof typeof SCALAR;
type Module = {
  readonly x: Int32Array;
  readonly y: Int32Array;
  readonly out: Int32Array;
  /** Computes the first `n` results, `n` a multiple of {@link LANES}. */
  run(name: Name, n: number): void;
};

/** Compiles the operations together with the kernels' own `rows.ts`, by the kernels' options. */
async function compile(change = (rows: string) => rows): Promise<Module> {
  const { options } = JSON.parse(readFileSync(new URL('asconfig.json', KERNELS), 'utf8'));
  const read = (name: string) => readFileSync(new URL(`assembly/${name}`, KERNELS), 'utf8');
  const sources = { 'floats.ts': SOURCE, 'rows.ts': change(read('rows.ts')), 'model.ts': read('model.ts') };
  const { binary, error, stderr } = await compileString(sources, options);
  if (!binary) throw new Error(`${error?.message}: ${stderr.toString()}`);
  const memory = new wasm.Memory({ initial: PAGES, maximum: 65_536, shared: true });
  const { exports } = new wasm.Instance(new wasm.Module(binary), { env: { memory } });
  const kernels = exports as Readonly<Record<string, (n: number, x: number, y: number, out: number) => void>>;
  const [x, y, out] = [X, Y, OUT].map((at) => new Int32Array(memory.buffer, at, MOST)) as [
    Int32Array,
    Int32Array,
    Int32Array,
  ];
  const run = (name: Name, n: number) => {
    const kernel = kernels[`test_${name}`];
    if (kernel === undefined) throw new TypeError(`the module has no ${name}`);
    kernel(n, X, Y, OUT);
  };
  return { x, y, out, run };
}

/** Bits of operands and of the result; one operand stands for both where there is one. */
type Case = readonly [a: number, b: number, want: number];

let floats: Module;
beforeAll(async () => {
  floats = await compile();
});

/** Cases whose result has other bits in any of the four lanes. A NaN is a NaN: WebAssembly leaves its bits open. */
function wrongCases(module: Module, name: Name, cases: readonly Case[]): string[] {
  const { x, y, out } = module;
  const count = Math.ceil(cases.length / LANES) * LANES;
  const wrong: string[] = [];
  for (let shift = 0; shift < LANES; shift++) {
    const at = (i: number) => cases[(i + shift) % cases.length] as Case;
    for (let i = 0; i < count; i++) [x[i], y[i]] = at(i);
    out.fill(0x55555555, 0, count);
    module.run(name, count);
    for (let i = 0; i < count; i++) {
      const [a, b, want] = at(i);
      const got = out[i] as number;
      if (got === want || (isNaNs(got) && isNaNs(want))) continue;
      wrong.push(`${name}(${[a, b].map(hex)}) in lane ${i % LANES}: ${hex(got)}, not ${hex(want)}`);
    }
  }
  return wrong;
}

describeVectors('testfloat', (folder) => {
  const read = (list: string) =>
    readFileSync(join(folder, `${list}.txt`), 'utf8')
      .trimEnd()
      .split('\n')
      .map((line) => line.split(' ').map((word) => Number.parseInt(word, 16) | 0));
  const binary = (list: string) => read(list).map(([a, b, want]) => [a, b, want] as Case);
  const unary = (list: string) => read(list).map(([a, want]) => [a, a, want] as Case);

  it.each([
    ['f32_add', ['add', 'scalarAdd']],
    ['f32_sub', ['sub', 'scalarSub']],
    ['f32_mul', ['mul', 'scalarMul', 'demoteProduct']],
    ['f32_div', ['div', 'scalarDiv']],
  ] as const)('%s: every bit, subnormal and infinite results too', (list, names) => {
    const cases = binary(list);
    expect(cases.length).toBe(6000);
    expect(cases.filter(([, , want]) => isSubnormal(want)).length).toBeGreaterThan(0);
    for (const name of names) expect(wrongCases(floats, name, cases)).toEqual([]);
  });

  it('f32_sqrt', () => {
    const cases = unary('f32_sqrt');
    expect(cases.length).toBe(600);
    for (const name of ['sqrt', 'scalarSqrt'] as const) expect(wrongCases(floats, name, cases)).toEqual([]);
  });

  it('i32_to_f32, also by way of binary64 and of 64-bit integers', () => {
    const cases = unary('i32_to_f32');
    expect(cases.length).toBe(372);
    for (const name of ['convert', 'demoteInteger', 'scalarConvert', 'scalarConvertLong'] as const) {
      expect(wrongCases(floats, name, cases)).toEqual([]);
    }
  });

  it.each([
    ['f32_eq', 'eq', 'ne'],
    ['f32_lt', 'lt', 'gt'],
    ['f32_le', 'le', 'ge'],
  ] as const)('%s: masks of all ones and all zeros', (list, name, other) => {
    const cases = binary(list).map(([a, b, want]) => [a, b, -want] as const);
    expect(cases.length).toBe(6000);
    expect(wrongCases(floats, name, cases)).toEqual([]);
    const others = cases.map(([a, b, want]) => [a, b, other === 'ne' ? ~want : want] as const);
    expect(wrongCases(floats, other, others)).toEqual([]);
  });

  it('f32_lt decides the larger and the smaller, bit for bit; abs clears the sign alone', () => {
    const cases = binary('f32_lt').filter(([a, b]) => !isNaNs(a) && !isNaNs(b));
    const larger = cases.map(([a, b, less]) => [a, b, less === 1 ? b : a] as const);
    expect(wrongCases(floats, 'pmax', larger)).toEqual([]);
    const smaller = cases.map(([a, b, less]) => [a, b, less === 1 ? a : b] as const);
    expect(wrongCases(floats, 'pmin', smaller)).toEqual([]);
    const magnitudes = cases.map(([a, b]) => [a, b, a & 0x7fffffff] as const);
    expect(wrongCases(floats, 'abs', magnitudes)).toEqual([]);
  });

  /** What the kernels round: magnitudes below 2^22. */
  const rounded = () => {
    const whole = unary('f32_rne').map(([a, b, want]) => [a, b, float(want) | 0] as const);
    return [...whole, ...unary('f32_to_i32')].filter(([a]) => Math.abs(float(a)) < 2 ** 22);
  };

  it('f32_rne and f32_to_i32: the kernels round as they do below 2^22', () => {
    expect(rounded().length).toBeGreaterThan(500);
    expect(wrongCases(floats, 'round', rounded())).toEqual([]);
  });

  it('finds other ways to round', async () => {
    const truncation = 'i32x4.trunc_sat_f32x4_s(v)';
    const changes: readonly ((rows: string) => string)[] = [
      (rows) => rows.replace('12582912.0', '8388608.0').replace('0x4b400000', '0x4b000000'),
      (rows) => rows.replace('i32x4.sub(f32x4.add(v, f32x4.splat(MAGIC)), i32x4.splat(MAGIC_BITS))', truncation),
    ];
    for (const change of changes) {
      expect(wrongCases(await compile(change), 'round', rounded()).length).toBeGreaterThan(20);
    }
  });
});

describe('the rounding of the kernels', () => {
  it('is right at every half and integer below 2^22 and at their neighbours', () => {
    const { x, out } = floats;
    const values = new Float32Array(x.buffer, x.byteOffset, MOST);
    const halves = 2 ** 23;
    const wrong: string[] = [];
    for (const step of [-1, 0, 1]) {
      for (let first = 1 - halves; first < halves; first += MOST) {
        const count = Math.min(MOST, halves - first);
        for (let i = 0; i < count; i++) {
          values[i] = (first + i) / 2;
          // the next float toward zero or away from it
          if (first + i !== 0) x[i] = (x[i] as number) + step;
        }
        floats.run('round', Math.ceil(count / LANES) * LANES);
        for (let i = 0; i < count; i++) {
          if (out[i] !== roundedHalf(first + i, step)) wrong.push(`${values[i]}: ${out[i]}`);
          if (wrong.length > 10) expect.fail(wrong.join('\n'));
        }
      }
    }
    expect(wrong).toEqual([]);
  });
});

/** The integer nearest to `halves / 2`, or to its neighbour toward zero (`step` -1) or away from it (1); by integers. */
function roundedHalf(halves: number, step: number): number {
  if ((halves & 1) === 0) return halves >> 1;
  const below = (halves - 1) >> 1;
  const [inner, outer] = halves > 0 ? [below, below + 1] : [below + 1, below];
  if (step !== 0) return step < 0 ? inner : outer;
  return (inner & 1) === 0 ? inner : outer;
}

function float(word: number): number {
  const view = new DataView(new ArrayBuffer(4));
  view.setInt32(0, word);
  return view.getFloat32(0);
}

function isNaNs(word: number): boolean {
  return (word & 0x7fffffff) > 0x7f800000;
}

function isSubnormal(word: number): boolean {
  const magnitude = word & 0x7fffffff;
  return magnitude > 0 && magnitude < 0x00800000;
}

function hex(word: number): string {
  return (word >>> 0).toString(16).padStart(8, '0');
}
