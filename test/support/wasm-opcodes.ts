/**
 * Walks the code of a WebAssembly module and counts its instructions: what a module can compute is what its opcodes say.
 *
 * Knows the instructions of WebAssembly 2.0 (MVP, bulk memory, SIMD) and the threads proposal; any other is a fault, relaxed SIMD
 * (0xfd 0x100 and up, where multiply-adds may be fused) included.
 *
 * @module
 */

import { Cursor } from '../../runtime/sandbox/wasm-reader.ts';

const CODE_SECTION = 10;

/** First sub-opcode of relaxed SIMD. */
const RELAXED = 0x100;

/** Sub-opcodes of 0xfd that read or write memory, and those that also name a lane. */
const isVectorMemory = (op: number) => op <= 0x0b || (op >= 0x54 && op <= 0x5d);
const isVectorMemoryLane = (op: number) => op >= 0x54 && op <= 0x5b;
const isLane = (op: number) => op >= 0x15 && op <= 0x22;

/**
 * How often each instruction stands in the module: `0x6a`, or with a prefix `0xfd 0xba`.
 *
 * @param bytes - a module that `WebAssembly.validate` accepts
 * @throws TypeError for an instruction that is not known
 */
export function countOpcodes(bytes: Uint8Array): Map<string, number> {
  const counts = new Map<string, number>();
  const count = (name: string) => counts.set(name, (counts.get(name) ?? 0) + 1);
  for (const cursor of bodiesOf(bytes)) {
    const end = cursor.bytes.length;
    for (let locals = cursor.u32(); locals > 0; locals--) {
      cursor.u32();
      cursor.u8();
    }
    let depth = 0;
    while (cursor.offset < end) {
      const op = cursor.u8();
      if (op === 0x02 || op === 0x03 || op === 0x04) depth += 1;
      // nesting that ends before the body does, or not with it, means that an operand was taken for an instruction
      if (op === 0x0b && --depth < 0 !== (cursor.offset === end))
        throw new TypeError('a body is not nested as it should be');
      if (op === 0xfc || op === 0xfd || op === 0xfe) {
        const sub = cursor.u32();
        count(`${hex(op)} ${hex(sub)}`);
        if (op === 0xfc) skipBulk(cursor, sub);
        else if (op === 0xfd) skipVector(cursor, sub);
        else skipAtomic(cursor, sub);
      } else {
        count(hex(op));
        skipPlain(cursor, op);
      }
    }
    if (depth !== -1) throw new TypeError('a body has no end');
  }
  return counts;
}

/** One cursor for each function body, which ends where the body does. */
function* bodiesOf(bytes: Uint8Array): Generator<Cursor> {
  const module = new Cursor(bytes, 8);
  while (module.offset < bytes.length) {
    const id = module.u8();
    const size = module.u32();
    const start = module.offset;
    if (id === CODE_SECTION) {
      for (let bodies = module.u32(); bodies > 0; bodies--) {
        const length = module.u32();
        yield new Cursor(bytes.subarray(0, module.offset + length), module.offset);
        module.skip(length);
      }
    }
    module.offset = start + size;
  }
}

function skipPlain(cursor: Cursor, op: number): void {
  const memory = op >= 0x28 && op <= 0x3e;
  if (op === 0x02 || op === 0x03 || op === 0x04) cursor.s33();
  else if (op === 0x0c || op === 0x0d || op === 0x10 || (op >= 0x20 && op <= 0x26) || op === 0xd2) cursor.u32();
  else if (op === 0x0e) for (let labels = cursor.u32() + 1; labels > 0; labels--) cursor.u32();
  else if (op === 0x11) {
    cursor.u32();
    cursor.u32();
  } else if (op === 0x1c) for (let types = cursor.u32(); types > 0; types--) cursor.u8();
  else if (memory) skipMemory(cursor);
  else if (op === 0x3f || op === 0x40 || op === 0xd0) cursor.u8();
  else if (op === 0x41 || op === 0x42) cursor.skipLeb();
  else if (op === 0x43) cursor.skip(4);
  else if (op === 0x44) cursor.skip(8);
  else if (!isBare(op)) throw unknown(hex(op));
}

/** Whether an instruction of one byte has no operand that stands in the code. */
function isBare(op: number): boolean {
  return (
    op === 0x00 ||
    op === 0x01 ||
    op === 0x05 ||
    op === 0x0b ||
    op === 0x0f ||
    op === 0x1a ||
    op === 0x1b ||
    (op >= 0x45 && op <= 0xc4) ||
    op === 0xd1
  );
}

function skipBulk(cursor: Cursor, sub: number): void {
  // memory.init, data.drop, memory.copy, memory.fill, then those of tables; conversions below
  if (sub <= 7) return;
  if (sub === 8 || sub === 10) cursor.skip(2);
  else if (sub === 9) cursor.u32();
  else if (sub === 11) cursor.skip(1);
  else if (sub <= 17) for (let indexes = sub === 12 || sub === 14 ? 2 : 1; indexes > 0; indexes--) cursor.u32();
  else throw unknown(`0xfc ${hex(sub)}`);
}

function skipVector(cursor: Cursor, sub: number): void {
  if (sub >= RELAXED) throw unknown(`relaxed SIMD 0xfd ${hex(sub)}`);
  if (isVectorMemory(sub)) skipMemory(cursor);
  if (sub === 0x0c || sub === 0x0d) cursor.skip(16);
  else if (isLane(sub) || isVectorMemoryLane(sub)) cursor.skip(1);
}

function skipAtomic(cursor: Cursor, sub: number): void {
  if (sub === 0x03) cursor.skip(1);
  else if (sub <= 0x4e) skipMemory(cursor);
  else throw unknown(`0xfe ${hex(sub)}`);
}

function skipMemory(cursor: Cursor): void {
  cursor.u32();
  cursor.skipLeb();
}

function hex(value: number): string {
  return `0x${value.toString(16).padStart(2, '0')}`;
}

function unknown(name: string): TypeError {
  return new TypeError(`instruction ${name} is not known`);
}
