/**
 * The instructions that the meter adds.
 *
 * @module
 */

import { type Charge, EMPTY_BLOCK, I32, type Layout } from './meter-layout.ts';
import { OP } from './wasm-body.ts';
import { ByteWriter } from './wasm-writer.ts';

/** Bytes of bulk memory for one unit of fuel, as a shift. */
const BYTES_PER_FUEL_SHIFT = 3;
const FUEL_PER_PAGE = 65536 >> BYTES_PER_FUEL_SHIFT;

/** Replaces the float on the stack by the canonical NaN if it is one. */
export function canonicaliseNaN(out: ByteWriter, width: 32 | 64, scratch: number): void {
  out.push(OP.localTee);
  out.u32(scratch);
  if (width === 32) out.push(OP.f32Const, 0, 0, 0xc0, 0x7f);
  else out.push(OP.f64Const, 0, 0, 0, 0, 0, 0, 0xf8, 0x7f);
  for (let i = 0; i < 2; i++) {
    out.push(OP.localGet);
    out.u32(scratch);
  }
  out.push(width === 32 ? OP.f32Eq : OP.f64Eq, OP.select);
}

/** Takes fuel without looking whether it is there. */
export function subtractFuel(out: ByteWriter, layout: Layout, cost: number): void {
  getGlobal(out, layout.fuel);
  out.push(OP.i64Const);
  out.signed(cost);
  out.push(OP.i64Sub);
  setGlobal(out, layout.fuel);
}

/** Traps if there is no fuel. */
export function checkFuel(out: ByteWriter, layout: Layout): void {
  getGlobal(out, layout.fuel);
  out.push(OP.i64Const, 0, OP.i64LtS, OP.if, EMPTY_BLOCK, OP.unreachable, OP.end);
}

/** Takes a frame from the depth and traps if it is not there. */
export function enterFrame(out: ByteWriter, layout: Layout, frame: number): void {
  getGlobal(out, layout.depth);
  out.push(OP.i32Const);
  out.signed(frame);
  out.push(OP.i32Sub);
  setGlobal(out, layout.depth);
  getGlobal(out, layout.depth);
  out.push(OP.i32Const, 0, OP.i32LtS, OP.if, EMPTY_BLOCK, OP.unreachable, OP.end);
}

/** Gives a frame back. */
export function addDepth(out: ByteWriter, layout: Layout, frame: number): void {
  getGlobal(out, layout.depth);
  out.push(OP.i32Const);
  out.signed(frame);
  out.push(OP.i32Add);
  setGlobal(out, layout.depth);
}

function getGlobal(out: ByteWriter, index: number): void {
  out.push(OP.globalGet);
  out.u32(index);
}

function setGlobal(out: ByteWriter, index: number): void {
  out.push(OP.globalSet);
  out.u32(index);
}

/** `(length) -> (length)`: subtracts the price of a length, in 64 bits, and checks. */
export function chargeBody(layout: Layout, charge: Charge): Uint8Array {
  const out = new ByteWriter(96);
  if (charge === 'growth') out.push(1, 1, I32);
  else out.push(0);
  getGlobal(out, layout.fuel);
  out.push(OP.localGet, 0);
  if (charge === 'bytes') out.push(OP.i32Const, BYTES_PER_FUEL_SHIFT, OP.i32ShrU);
  out.push(OP.i64ExtendI32U);
  if (charge === 'pages' || charge === 'growth') {
    out.push(OP.i64Const);
    out.signed(FUEL_PER_PAGE);
    out.push(OP.i64Mul);
  }
  out.push(OP.i64Sub);
  setGlobal(out, layout.fuel);
  checkFuel(out, layout);
  out.push(OP.localGet, 0);
  if (charge === 'growth' && layout.growth !== undefined) growMemory(out, layout.growth);
  out.push(OP.end);
  return out.view();
}

/** Grows the memory by the operand; a refusal that the limit does not explain is the host's, and traps. */
function growMemory(out: ByteWriter, { refused, most }: NonNullable<Layout['growth']>): void {
  out.push(OP.memoryGrow, 0, OP.localTee, 1, OP.i32Const);
  out.signed(-1);
  out.push(
    OP.i32Eq,
    OP.if,
    EMPTY_BLOCK,
    OP.localGet,
    0,
    OP.i64ExtendI32U,
    OP.memorySize,
    0,
    OP.i64ExtendI32U,
    OP.i64Add,
  );
  out.push(OP.i64Const);
  out.signed(most);
  out.push(OP.i64LeU, OP.if, EMPTY_BLOCK, OP.i32Const, 2);
  setGlobal(out, refused);
  out.push(OP.unreachable, OP.end, OP.i32Const, 1);
  setGlobal(out, refused);
  out.push(OP.end, OP.localGet, 1);
}
