/**
 * Function bodies of a WebAssembly module: their instructions, what each takes from and leaves on the operand stack, and
 * the greatest height of that stack.
 *
 * Vectors, threads, exceptions, GC and tail calls are refused: they cannot be billed or are not deterministic.
 *
 * @module
 * @see WebAssembly Core Specification 2.0, §5.4 (binary instructions), §3.3 (validation)
 */

import { Cursor, type Extent, type FunctionType, isValueType, MeterError, type ModuleShape } from './wasm-reader.ts';

/** Opcodes that the meter treats one by one. */
export const OP = {
  unreachable: 0x00,
  nop: 0x01,
  block: 0x02,
  loop: 0x03,
  if: 0x04,
  else: 0x05,
  end: 0x0b,
  br: 0x0c,
  brIf: 0x0d,
  brTable: 0x0e,
  return: 0x0f,
  call: 0x10,
  callIndirect: 0x11,
  select: 0x1b,
  localGet: 0x20,
  localTee: 0x22,
  globalGet: 0x23,
  globalSet: 0x24,
  memorySize: 0x3f,
  memoryGrow: 0x40,
  i32Const: 0x41,
  i64Const: 0x42,
  f32Const: 0x43,
  f64Const: 0x44,
  i32Eq: 0x46,
  i32LtS: 0x48,
  i64LtS: 0x53,
  i64LeU: 0x58,
  f32Eq: 0x5b,
  f64Eq: 0x61,
  i32Add: 0x6a,
  i32Sub: 0x6b,
  i32ShrU: 0x76,
  i64Add: 0x7c,
  i64Sub: 0x7d,
  i64Mul: 0x7e,
  i64ExtendI32U: 0xad,
  /** Prefix of saturating conversions and bulk memory. */
  extended: 0xfc,
} as const;

/** Greatest number of targets of a br_table, its default not counted; engines bound it at 65,520. */
export const MAX_BRANCH_TARGETS = 65_000;

/** One instruction; `start` and `end` are byte offsets in the module. */
export type Instruction = {
  readonly op: number;
  /** Second opcode of an {@link OP.extended} instruction, else -1. */
  readonly sub: number;
  readonly start: number;
  readonly end: number;
};

/** A function body, decoded. */
export type Body = {
  /** Extent of the local declarations, their count included. */
  readonly declarations: Extent;
  /** Number of groups of declared locals. */
  readonly localGroups: number;
  /** Number of declared locals, parameters not counted. */
  readonly locals: number;
  readonly instructions: readonly Instruction[];
  /** Greatest number of operands on the stack at once. */
  readonly height: number;
  /** Whether it calls anything. */
  readonly calls: boolean;
};

/**
 * Decodes the body of function `index` (counted without imports) and measures its operand stack.
 *
 * @throws {@link MeterError} `MALFORMED_WASM` or `UNSUPPORTED_WASM`, with the offset
 */
export function readBody(module: ModuleShape, index: number): Body {
  const extent = module.bodies[index];
  const type = module.types[module.functions[module.importedFunctions + index] ?? -1];
  if (extent === undefined || type === undefined)
    throw new MeterError('MALFORMED_WASM', `function ${index} has no type`);
  const cursor = new Cursor(module.bytes.subarray(0, extent.end), extent.start);
  const localGroups = cursor.u32();
  let locals = 0;
  for (let i = 0; i < localGroups; i++) {
    locals += cursor.u32();
    cursor.valueType();
  }
  const declarations = { start: extent.start, end: cursor.offset };
  const stack = new OperandStack(type);
  const instructions: Instruction[] = [];
  let calls = false;
  while (cursor.offset < extent.end) {
    const start = cursor.offset;
    const op = cursor.u8();
    const sub = readInstruction(module, cursor, op, stack);
    calls ||= op === OP.call || op === OP.callIndirect;
    instructions.push({ op, sub, start, end: cursor.offset });
  }
  if (!stack.closed) throw new MeterError('MALFORMED_WASM', `function ${index} is not ended`);
  return { declarations, localGroups, locals, instructions, height: stack.greatest, calls };
}

type Frame = { readonly base: number; readonly type: FunctionType; unreachable: boolean };

/** Height of the operand stack, following the algorithm of the standard's appendix, counts only. */
class OperandStack {
  greatest = 0;
  #height = 0;
  readonly #frames: Frame[];

  constructor(type: FunctionType) {
    this.#frames = [{ base: 0, type: { params: [], results: type.results }, unreachable: false }];
  }

  get closed(): boolean {
    return this.#frames.length === 0;
  }

  apply(pops: number, pushes: number): void {
    const frame = this.#top();
    this.#height -= pops;
    if (this.#height < frame.base) {
      if (!frame.unreachable) throw new MeterError('MALFORMED_WASM', 'operand stack underflow');
      this.#height = frame.base;
    }
    this.#height += pushes;
    if (this.#height > this.greatest) this.greatest = this.#height;
  }

  open(type: FunctionType): void {
    this.apply(type.params.length, 0);
    this.#frames.push({ base: this.#height, type, unreachable: false });
    this.apply(0, type.params.length);
  }

  else(): void {
    const frame = this.#top();
    this.#height = frame.base;
    frame.unreachable = false;
    this.apply(0, frame.type.params.length);
  }

  end(): void {
    const frame = this.#top();
    this.#frames.pop();
    this.#height = frame.base;
    if (!this.closed) this.apply(0, frame.type.results.length);
  }

  jump(): void {
    const frame = this.#top();
    this.#height = frame.base;
    frame.unreachable = true;
  }

  #top(): Frame {
    const frame = this.#frames.at(-1);
    if (frame === undefined) throw new MeterError('MALFORMED_WASM', 'instruction after the end of the function');
    return frame;
  }
}

/** Reads the immediates of an instruction, applies its effect, and returns its second opcode or -1. */
function readInstruction(module: ModuleShape, cursor: Cursor, op: number, stack: OperandStack): number {
  if (op >= 0x45 && op <= 0xc4) {
    stack.apply(isBinary(op) ? 2 : 1, 1);
    return -1;
  }
  if (op >= 0x28 && op <= 0x3e) {
    if ((cursor.u32() & 0x40) !== 0) throw unsupported('several memories', cursor);
    // 32 bits also in engines that know 64-bit memories and would read a longer one.
    cursor.u32();
    if (op <= 0x35) stack.apply(1, 1);
    else stack.apply(2, 0);
    return -1;
  }
  switch (op) {
    case OP.unreachable:
      stack.jump();
      return -1;
    case OP.nop:
      stack.apply(0, 0);
      return -1;
    case OP.block:
    case OP.loop:
    case OP.if:
      if (op === OP.if) stack.apply(1, 0);
      stack.open(readBlockType(module, cursor));
      return -1;
    case OP.else:
      stack.else();
      return -1;
    case OP.end:
      stack.end();
      return -1;
    case OP.br:
      cursor.u32();
      stack.jump();
      return -1;
    case OP.brIf:
      cursor.u32();
      stack.apply(1, 0);
      return -1;
    case OP.brTable:
      readTargets(cursor);
      stack.jump();
      return -1;
    case OP.return:
      stack.jump();
      return -1;
    case OP.call: {
      const type = module.types[module.functions[cursor.u32()] ?? -1];
      if (type === undefined)
        throw new MeterError('MALFORMED_WASM', 'call of no function', { at: { offset: cursor.offset } });
      stack.apply(type.params.length, type.results.length);
      return -1;
    }
    case OP.callIndirect: {
      const type = module.types[cursor.u32()];
      cursor.u32();
      if (type === undefined)
        throw new MeterError('MALFORMED_WASM', 'call of no type', { at: { offset: cursor.offset } });
      stack.apply(type.params.length + 1, type.results.length);
      return -1;
    }
    case 0x1a: // drop
      stack.apply(1, 0);
      return -1;
    case 0x1c: // select with types
      for (let rest = cursor.u32(); rest > 0; rest--) cursor.valueType();
      stack.apply(3, 1);
      return -1;
    case OP.select:
      stack.apply(3, 1);
      return -1;
    case OP.localGet:
    case OP.globalGet:
      cursor.u32();
      stack.apply(0, 1);
      return -1;
    case 0x21: // local.set
    case OP.globalSet:
      cursor.u32();
      stack.apply(1, 0);
      return -1;
    case OP.localTee:
    case 0x25: // table.get
      cursor.u32();
      stack.apply(1, 1);
      return -1;
    case 0x26: // table.set
      cursor.u32();
      stack.apply(2, 0);
      return -1;
    case OP.memorySize:
      readMemoryIndex(cursor);
      stack.apply(0, 1);
      return -1;
    case OP.memoryGrow:
      readMemoryIndex(cursor);
      stack.apply(1, 1);
      return -1;
    case OP.i32Const:
    case OP.i64Const:
      cursor.skipLeb();
      stack.apply(0, 1);
      return -1;
    case OP.f32Const:
      cursor.skip(4);
      stack.apply(0, 1);
      return -1;
    case OP.f64Const:
      cursor.skip(8);
      stack.apply(0, 1);
      return -1;
    case 0xd0: // ref.null
      cursor.valueType();
      stack.apply(0, 1);
      return -1;
    case 0xd1: // ref.is_null
      stack.apply(1, 1);
      return -1;
    case 0xd2: // ref.func
      cursor.u32();
      stack.apply(0, 1);
      return -1;
    case OP.extended:
      return readExtended(cursor, stack);
    default:
      throw unsupported(`opcode 0x${op.toString(16)}`, cursor);
  }
}

// Immediates (i index, m memory), pops and pushes of 0xfc 0x08 to 0xfc 0x11.
const EXTENDED: readonly (readonly [immediates: string, pops: number, pushes: number])[] = [
  ['im', 3, 0], // memory.init
  ['i', 0, 0], // data.drop
  ['mm', 3, 0], // memory.copy
  ['m', 3, 0], // memory.fill
  ['ii', 3, 0], // table.init
  ['i', 0, 0], // elem.drop
  ['ii', 3, 0], // table.copy
  ['i', 2, 1], // table.grow
  ['i', 0, 1], // table.size
  ['i', 3, 0], // table.fill
];

function readExtended(cursor: Cursor, stack: OperandStack): number {
  const sub = cursor.u32();
  if (sub < 8) {
    stack.apply(1, 1);
    return sub;
  }
  const effect = EXTENDED[sub - 8];
  if (effect === undefined) throw unsupported(`opcode 0xfc 0x${sub.toString(16)}`, cursor);
  const [immediates, pops, pushes] = effect;
  for (const immediate of immediates) {
    if (immediate === 'm') readMemoryIndex(cursor);
    else cursor.u32();
  }
  stack.apply(pops, pushes);
  return sub;
}

function readTargets(cursor: Cursor): void {
  const count = cursor.u32();
  if (count > MAX_BRANCH_TARGETS) {
    throw new MeterError('MODULE_TOO_LARGE', `br_table of ${count} targets, at most ${MAX_BRANCH_TARGETS}`, {
      at: { offset: cursor.offset },
    });
  }
  for (let rest = count; rest >= 0; rest--) cursor.u32();
}

function readBlockType(module: ModuleShape, cursor: Cursor): FunctionType {
  const at = cursor.offset;
  const value = cursor.s33();
  if (value >= 0) {
    const type = module.types[value];
    if (type === undefined) throw new MeterError('MALFORMED_WASM', 'block of no type', { at: { offset: at } });
    return type;
  }
  const byte = value + 128;
  if (byte === 0x40) return { params: [], results: [] };
  if (!isValueType(byte)) throw unsupported(`block type 0x${byte.toString(16)}`, cursor);
  return { params: [], results: [byte] };
}

function readMemoryIndex(cursor: Cursor): void {
  if (cursor.u8() !== 0) throw unsupported('several memories', cursor);
}

/** Of the numeric instructions 0x45 to 0xc4: those that take two operands. */
function isBinary(op: number): boolean {
  return (
    (op >= 0x46 && op <= 0x4f) ||
    (op >= 0x51 && op <= 0x66) ||
    (op >= 0x6a && op <= 0x78) ||
    (op >= 0x7c && op <= 0x8a) ||
    (op >= 0x92 && op <= 0x98) ||
    (op >= 0xa0 && op <= 0xa6)
  );
}

function unsupported(what: string, cursor: Cursor): MeterError {
  return new MeterError('UNSUPPORTED_WASM', `${what} not supported`, { at: { offset: cursor.offset } });
}
