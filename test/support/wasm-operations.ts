/**
 * Instructions of WebAssembly by what they take and give, and constants worth trying, for modules by chance.
 *
 * @module
 */

import { F32, F64, I32, I64 } from './wasm-builder.ts';

export const NUMBERS = [I32, I64, F32, F64] as const;

/** Numeric instructions by what they give. */
export const OPERATIONS: ReadonlyMap<number, readonly Operation[]> = numericOperations();
/** Whether bits of an operand show in a result that is no NaN: reinterpretations, and the sign that copysign takes. */
export function showsNaN(op: number, operand: number): boolean {
  return op === 0xbc || op === 0xbd || ((op === 0x98 || op === 0xa6) && operand === 1);
}

/** Conversions that trap, in the order of those that do not. */
export const TRUNCATIONS: readonly number[] = [0xa8, 0xa9, 0xaa, 0xab, 0xae, 0xaf, 0xb0, 0xb1];

/** An instruction as bytes (a second opcode is after 0xfc), and the types of its operands. */
export type Operation = { readonly code: readonly number[]; readonly from: readonly number[] };
/** A load or store, the type of its value and its greatest alignment. */
export type MemoryOp = readonly [op: number, type: number, align: number];

export const LOADS: readonly [MemoryOp, ...MemoryOp[]] = [
  [0x28, I32, 2],
  [0x29, I64, 3],
  [0x2a, F32, 2],
  [0x2b, F64, 3],
  [0x2c, I32, 0],
  [0x2d, I32, 0],
  [0x2e, I32, 1],
  [0x2f, I32, 1],
  [0x30, I64, 0],
  [0x31, I64, 0],
  [0x32, I64, 1],
  [0x33, I64, 1],
  [0x34, I64, 2],
  [0x35, I64, 2],
];
export const STORES: readonly [MemoryOp, ...MemoryOp[]] = [
  [0x36, I32, 2],
  [0x37, I64, 3],
  [0x38, F32, 2],
  [0x39, F64, 3],
  [0x3a, I32, 0],
  [0x3b, I32, 1],
  [0x3c, I64, 0],
  [0x3d, I64, 1],
  [0x3e, I64, 2],
];
export const INTEGERS = [0, 1, -1, 2, 7, 31, 32, 63, 255, 65535, 0x7fff_ffff, -0x8000_0000, 12345, -77] as const;
const FLOATS = [0, -0, 1, -1.5, Number.NaN, Infinity, -Infinity, 2 ** 31, -(2 ** 63), 1e-40, 3.7] as const;
export const FLOATS32 = FLOATS.map((value) => [...new Uint8Array(Float32Array.of(value).buffer)]) as [
  number[],
  ...number[][],
];
export const FLOATS64 = FLOATS.map((value) => [...new Uint8Array(Float64Array.of(value).buffer)]) as [
  number[],
  ...number[][],
];

function numericOperations(): Map<number, Operation[]> {
  const operations = new Map<number, Operation[]>(NUMBERS.map((type) => [type, []]));
  const range = (first: number, last: number, to: number, ...from: readonly number[]): void => {
    for (let op = first; op <= last; op++) operations.get(to)?.push({ code: [op], from });
  };
  range(0x45, 0x45, I32, I32);
  range(0x46, 0x4f, I32, I32, I32);
  range(0x50, 0x50, I32, I64);
  range(0x51, 0x5a, I32, I64, I64);
  range(0x5b, 0x60, I32, F32, F32);
  range(0x61, 0x66, I32, F64, F64);
  range(0x67, 0x69, I32, I32);
  range(0x6a, 0x78, I32, I32, I32);
  range(0x79, 0x7b, I64, I64);
  range(0x7c, 0x8a, I64, I64, I64);
  range(0x8b, 0x91, F32, F32);
  range(0x92, 0x98, F32, F32, F32);
  range(0x99, 0x9f, F64, F64);
  range(0xa0, 0xa6, F64, F64, F64);
  const conversions = [
    [I32, I64, F32, F32, F64, F64],
    [I64, I32, I32, F32, F32, F64, F64],
    [F32, I32, I32, I64, I64, F64],
    [F64, I32, I32, I64, I64, F32],
  ];
  let op = 0xa7;
  for (const [to = I32, ...sources] of conversions) for (const from of sources) range(op, op++, to, from);
  range(0xbc, 0xbc, I32, F32);
  range(0xbd, 0xbd, I64, F64);
  range(0xbe, 0xbe, F32, I32);
  range(0xbf, 0xbf, F64, I64);
  range(0xc0, 0xc1, I32, I32);
  range(0xc2, 0xc4, I64, I64);
  for (let sub = 0; sub < 8; sub++) {
    operations.get(sub < 4 ? I32 : I64)?.push({ code: [0xfc, sub], from: [(sub & 2) === 0 ? F32 : F64] });
  }
  return operations;
}
