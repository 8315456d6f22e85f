/**
 * The meter: rewrites a WebAssembly module so that it counts its own work and stops at its own limits, the same on every
 * host. Guest code can neither see nor catch the stop.
 *
 * M1. Every basic block subtracts its cost from the fuel, an i64 global, before it runs; function entries and loop heads
 *     check it and trap below zero. Between two checks lies no loop, so the overrun is bounded by the size of a function.
 * M2. Work by length (bulk memory, growing) is billed by that length before it is done, the operand untouched.
 * M3. Every function that calls subtracts its frame from the depth, an i32 global, and traps below zero; so the host's
 *     own stack limit, which differs from host to host, is never the first to be met.
 * M4. The result of every float operation that may be a NaN is the canonical NaN.
 * M5. New globals, types and functions go to the end of their index spaces: nothing is renumbered.
 * M6. A source module is read whole before the host's engine is asked whether it is valid, and what engines of different
 *     age judge differently is refused in the reading; so every host refuses the same modules for the same reason.
 *
 * Spec: `runtime/spec/metering.md`.
 *
 * @module
 */

import { wasm } from '../../attest/core/webassembly.ts';
import { type Body, OP, readBody } from './wasm-body.ts';
import {
  Cursor,
  type FunctionType,
  type Limits,
  MeterError,
  type ModuleShape,
  readModule,
  SECTION_ORDER,
} from './wasm-reader.ts';
import { ByteWriter } from './wasm-writer.ts';

/** Version of the rewriting; any change of its output changes it. */
export const REWRITER_VERSION = 1;
/** Version of the costs: 1 for an instruction, 0 for block, loop, end, else, nop; lengths as {@link meterModule} says. */
export const COST_TABLE_VERSION = 1;
/** Exported mutable i64 global: fuel left. */
export const FUEL_EXPORT = '__fuel';
/** Exported mutable i32 global: bytes of call depth left. */
export const DEPTH_EXPORT = '__depth';
/**
 * Exported mutable i32 global, of a module with a limit of memory: 1 after a `memory.grow` beyond the limit, 2 after one
 * within it that the host refused, at which the module trapped.
 */
export const REFUSED_EXPORT = '__meter_refused';
/** Exported function: the start function of a module whose start was deferred. */
export const START_EXPORT = '__meter_start';
/** Greatest number of parameters, locals and operands of one function. */
export const MAX_FRAME_SLOTS = 1000;

/** Greatest function, in bytes: as it comes, and rewritten; engines bound it at 7,654,321. */
const MAX_BODY_BYTES = { source: 1 << 20, rewritten: 7_000_000 } as const;
/** Greatest rewritten code, in bytes. */
const MAX_CODE_BYTES = 1 << 27;
/** Greatest memory of 32 bits, in pages. */
const MOST_PAGES = 65_536;

/** Modelled bytes of a frame without its slots of 8 bytes. */
const FRAME_BASE = 48;
/** Start value of both globals, before the host sets them: enough for start functions and constructors. */
const INITIAL_FUEL = 2 ** 40;
const INITIAL_DEPTH = 1 << 20;
/** Bytes of bulk memory for one unit of fuel, as a shift. */
const BYTES_PER_FUEL_SHIFT = 3;
const FUEL_PER_PAGE = 65536 >> BYTES_PER_FUEL_SHIFT;

const I32 = 0x7f;
const I64 = 0x7e;
const F32 = 0x7d;
const F64 = 0x7c;
const EMPTY_BLOCK = 0x40;

export type Metered = {
  /** The rewritten module; custom sections are gone. */
  readonly bytes: Uint8Array;
  /** Functions of the source module, its imports not counted. */
  readonly functions: number;
  /** Greatest modelled frame, in bytes. */
  readonly greatestFrame: number;
};

/**
 * Rewrites a module. Bulk memory costs a unit for 8 bytes, growing a memory 8,192 a page, table operations one an element.
 *
 * @param source - a module; not trusted to be valid
 * @throws {@link MeterError} `MALFORMED_WASM`; `UNSUPPORTED_WASM` for vectors, threads, exceptions, GC, tail calls, 64-bit
 *   or several memories and whatever else is not in version 2.0; `FRAME_TOO_LARGE` for a function of more than 1,000
 *   parameters, locals and operands; `MODULE_TOO_LARGE`; `RESERVED_EXPORT` for an export with a name that the meter adds
 */
export function meterModule(source: Uint8Array, options: meterModule.Options = {}): Metered {
  const module = readModule(source);
  const layout = planLayout(module, options);
  for (const name of layout.reserved) {
    if (module.exports.has(name)) throw new MeterError('RESERVED_EXPORT', `export ${name} is the meter's`);
  }
  const code = new ByteWriter(source.length * 3);
  let greatestFrame = 0;
  code.u32(module.bodies.length + layout.added.length);
  for (const [index, { start, end }] of module.bodies.entries()) {
    if (end - start > MAX_BODY_BYTES.source) throw tooLarge(index, end - start, MAX_BODY_BYTES.source);
    const body = readBody(module, index);
    const type = module.types[module.functions[module.importedFunctions + index] ?? -1];
    if (type === undefined) throw new MeterError('MALFORMED_WASM', `function ${index} has no type`);
    const rewritten = rewriteBody(module, layout, body, type, index);
    greatestFrame = Math.max(greatestFrame, rewritten.frame);
    const size = rewritten.locals.length + rewritten.code.length;
    if (size > MAX_BODY_BYTES.rewritten) throw tooLarge(index, size, MAX_BODY_BYTES.rewritten);
    code.u32(size);
    code.bytes(rewritten.locals);
    code.bytes(rewritten.code);
    if (code.length > MAX_CODE_BYTES)
      throw new MeterError('MODULE_TOO_LARGE', `code of more than ${MAX_CODE_BYTES} bytes`);
  }
  if (!wasm.validate(Uint8Array.from(source))) throw new MeterError('MALFORMED_WASM', 'module is not valid');
  for (const charge of layout.added) code.sized(chargeBody(layout, charge));
  return { bytes: assemble(module, layout, code.view()), functions: module.bodies.length, greatestFrame };
}

export declare namespace meterModule {
  type Options = {
    /** Greatest size of a memory of the module's own, in pages; its maximum becomes at most this. */
    readonly memoryPages?: number;
    /** Greatest size of tables of the module's own; their maximum becomes at most this. */
    readonly tableElements?: number;
    /** Makes the start function an export, so that the host sets the fuel before it runs. */
    readonly deferStart?: boolean;
  };
}

function tooLarge(index: number, size: number, most: number): MeterError {
  return new MeterError('MODULE_TOO_LARGE', `function ${index} of ${size} bytes, at most ${most}`, {
    at: { function: index },
  });
}

/** Added functions: they bill a length, in units of their name. `growth` bills pages and grows the memory itself. */
type Charge = 'bytes' | 'elements' | 'pages' | 'growth';

/** Indexes of what is added to the module. */
type Layout = {
  readonly fuel: number;
  readonly depth: number;
  /** With a limit of memory: the global that tells of a refused growth, and the limit. */
  readonly growth: { readonly refused: number; readonly most: number } | undefined;
  readonly tableElements: number | undefined;
  /** Index of the start function, if it is to be exported instead of run. */
  readonly start: number | undefined;
  /** Whether the start section stays. */
  readonly keepsStart: boolean;
  /** Names of added exports. */
  readonly reserved: readonly string[];
  readonly added: readonly Charge[];
  /** Type `(i32) -> (i32)` of the charge functions. */
  readonly chargeType: number;
  readonly charges: Readonly<Record<Charge, number>>;
  /** Types `() -> results` of blocks around bodies with several results, by the results joined with commas. */
  readonly blockTypes: Map<string, number>;
  readonly newTypes: FunctionType[];
};

function planLayout(module: ModuleShape, options: meterModule.Options): Layout {
  const first = module.functions.length;
  const { memoryPages, tableElements, deferStart = false } = options;
  const limited = memoryPages !== undefined && module.memory !== undefined;
  const most = Math.min(memoryPages ?? MOST_PAGES, module.memory?.maximum ?? MOST_PAGES);
  const start = deferStart ? module.start : undefined;
  const reserved = [FUEL_EXPORT, DEPTH_EXPORT];
  if (limited) reserved.push(REFUSED_EXPORT);
  if (start !== undefined) reserved.push(START_EXPORT);
  return {
    fuel: module.globals,
    depth: module.globals + 1,
    growth: limited ? { refused: module.globals + 2, most } : undefined,
    tableElements,
    start,
    keepsStart: !deferStart,
    reserved,
    added: ['bytes', 'elements', limited ? 'growth' : 'pages'],
    chargeType: module.types.length,
    charges: { bytes: first, elements: first + 1, pages: first + 2, growth: first + 2 },
    blockTypes: new Map(),
    newTypes: [{ params: [I32], results: [I32] }],
  };
}

function rewriteBody(
  module: ModuleShape,
  layout: Layout,
  body: Body,
  type: FunctionType,
  index: number,
): { readonly locals: Uint8Array; readonly code: Uint8Array; readonly frame: number } {
  const slots = type.params.length + body.locals + body.height;
  if (slots > MAX_FRAME_SLOTS) {
    throw new MeterError('FRAME_TOO_LARGE', `function ${index} has ${slots} slots, at most ${MAX_FRAME_SLOTS}`, {
      at: { function: index },
    });
  }
  const frame = body.calls ? FRAME_BASE + 8 * slots : 0;
  const { costs, heads } = planCosts(body);
  const out = new ByteWriter((body.instructions.at(-1)?.end ?? 0) - body.declarations.end + 256);
  const scratchF32 = type.params.length + body.locals;
  const scratchF64 = scratchF32 + 1;
  let floats = false;
  if (body.calls) {
    enterFrame(out, layout, frame);
    out.push(OP.block);
    writeBlockType(out, layout, module, type.results);
  }
  let nesting = 0;
  const last = body.instructions.length - 1;
  for (const [i, { op, sub, start, end }] of body.instructions.entries()) {
    const cost = costs.get(i);
    if (cost !== undefined) subtractFuel(out, layout, cost);
    if (heads.has(i)) checkFuel(out, layout);
    if (op === OP.block || op === OP.loop || op === OP.if) nesting++;
    if (op === OP.end) {
      if (i === last) {
        if (body.calls) {
          out.push(OP.end);
          addDepth(out, layout, frame);
        }
        out.push(OP.end);
        break;
      }
      nesting--;
    }
    // A return leaves through the end of the block around the body, where the frame is given back.
    if (op === OP.return && body.calls) {
      out.push(OP.br);
      out.u32(nesting);
      continue;
    }
    const charge = chargeOf(op, sub);
    if (charge !== undefined) {
      out.push(OP.call);
      out.u32(layout.charges[charge]);
    }
    if (charge !== 'pages' || layout.growth === undefined) out.bytes(module.bytes.subarray(start, end));
    const width = canonicalWidth(op);
    if (width !== undefined) {
      floats = true;
      canonicaliseNaN(out, width, width === 32 ? scratchF32 : scratchF64);
    }
  }
  return { locals: declareLocals(module, body, floats), code: out.view(), frame };
}

/**
 * Cost of each basic block, by the index of its first instruction, and the indexes where fuel is checked. A block ends
 * where control may enter or leave; a call does not end one.
 */
function planCosts(body: Body): { readonly costs: Map<number, number>; readonly heads: Set<number> } {
  const costs = new Map<number, number>();
  const heads = new Set<number>([0]);
  let first = 0;
  let cost = 0;
  for (const [i, { op }] of body.instructions.entries()) {
    if (op !== OP.end && op !== OP.else && op !== OP.block && op !== OP.loop && op !== OP.nop) cost++;
    if (!endsBlock(op)) continue;
    if (cost > 0) costs.set(first, cost);
    cost = 0;
    first = i + 1;
    if (op === OP.loop) heads.add(first);
  }
  return { costs, heads };
}

function endsBlock(op: number): boolean {
  return op === OP.unreachable || (op >= OP.loop && op <= OP.else) || op === OP.end || (op >= OP.br && op <= OP.return);
}

/** Which length on top of the stack an instruction is billed by. */
function chargeOf(op: number, sub: number): Exclude<Charge, 'growth'> | undefined {
  if (op === OP.memoryGrow) return 'pages';
  if (op !== OP.extended) return undefined;
  if (sub === 8 || sub === 10 || sub === 11) return 'bytes';
  return sub === 12 || sub === 14 || sub === 15 || sub === 17 ? 'elements' : undefined;
}

/** Width of the float that an instruction computes, if it may be a NaN with bits of the host's choice. */
function canonicalWidth(op: number): 32 | 64 | undefined {
  // ceil, floor, trunc, nearest, sqrt, add, sub, mul, div, min, max; abs, neg and copysign only move the sign bit.
  if ((op >= 0x8d && op <= 0x97) || op === 0xb6) return 32;
  if ((op >= 0x9b && op <= 0xa5) || op === 0xbb) return 64;
  return undefined;
}

function canonicaliseNaN(out: ByteWriter, width: 32 | 64, scratch: number): void {
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

function declareLocals(module: ModuleShape, body: Body, floats: boolean): Uint8Array {
  const { start, end } = body.declarations;
  if (!floats) return module.bytes.subarray(start, end);
  const out = new ByteWriter(end - start + 8);
  out.u32(body.localGroups + 2);
  // The count may be written longer than need be, so its end is found, not computed.
  const groups = new Cursor(module.bytes, start);
  groups.u32();
  out.bytes(module.bytes.subarray(groups.offset, end));
  out.push(1, F32, 1, F64);
  return out.view();
}

function subtractFuel(out: ByteWriter, layout: Layout, cost: number): void {
  getGlobal(out, layout.fuel);
  out.push(OP.i64Const);
  out.signed(cost);
  out.push(OP.i64Sub);
  setGlobal(out, layout.fuel);
}

function checkFuel(out: ByteWriter, layout: Layout): void {
  getGlobal(out, layout.fuel);
  out.push(OP.i64Const, 0, OP.i64LtS, OP.if, EMPTY_BLOCK, OP.unreachable, OP.end);
}

function enterFrame(out: ByteWriter, layout: Layout, frame: number): void {
  getGlobal(out, layout.depth);
  out.push(OP.i32Const);
  out.signed(frame);
  out.push(OP.i32Sub);
  setGlobal(out, layout.depth);
  getGlobal(out, layout.depth);
  out.push(OP.i32Const, 0, OP.i32LtS, OP.if, EMPTY_BLOCK, OP.unreachable, OP.end);
}

function addDepth(out: ByteWriter, layout: Layout, frame: number): void {
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

function writeBlockType(out: ByteWriter, layout: Layout, module: ModuleShape, results: readonly number[]): void {
  if (results.length === 0) {
    out.push(EMPTY_BLOCK);
  } else if (results.length === 1) {
    out.push(...results);
  } else {
    const key = results.join();
    let type = layout.blockTypes.get(key);
    if (type === undefined) {
      type = module.types.length + layout.newTypes.length;
      layout.newTypes.push({ params: [], results });
      layout.blockTypes.set(key, type);
    }
    out.signed(type);
  }
}

/** `(length) -> (length)`: subtracts the price of a length, in 64 bits, and checks. */
function chargeBody(layout: Layout, charge: Charge): Uint8Array {
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

type Extend = (id: number, added: number, write: (section: ByteWriter) => void) => Uint8Array;

function assemble(module: ModuleShape, layout: Layout, code: Uint8Array): Uint8Array {
  const out = new ByteWriter(code.length + module.bytes.length);
  out.bytes(module.bytes.subarray(0, 8));
  const extend: Extend = (id, added, write) => {
    const section = new ByteWriter(1024);
    const extent = module.sections.get(id);
    const cursor = new Cursor(module.bytes, extent?.start ?? 0);
    const count = extent === undefined ? 0 : cursor.u32();
    section.u32(count + added);
    if (extent !== undefined) section.bytes(module.bytes.subarray(cursor.offset, extent.end));
    write(section);
    return section.view();
  };
  for (const id of SECTION_ORDER) {
    const content = sectionContent(module, layout, code, id, extend);
    if (content === undefined) continue;
    out.push(id);
    out.sized(content);
  }
  return out.view().slice();
}

function sectionContent(
  module: ModuleShape,
  layout: Layout,
  code: Uint8Array,
  id: number,
  extend: Extend,
): Uint8Array | undefined {
  switch (id) {
    case 1:
      return extend(id, layout.newTypes.length, (section) => {
        for (const type of layout.newTypes) {
          section.push(0x60);
          section.sized(Uint8Array.from(type.params));
          section.sized(Uint8Array.from(type.results));
        }
      });
    case 3:
      return extend(id, layout.added.length, (section) => {
        for (const _ of layout.added) section.u32(layout.chargeType);
      });
    case 6:
      return extend(id, layout.growth === undefined ? 2 : 3, (section) => {
        section.push(I64, 1, OP.i64Const);
        section.signed(INITIAL_FUEL);
        section.push(OP.end, I32, 1, OP.i32Const);
        section.signed(INITIAL_DEPTH);
        section.push(OP.end);
        if (layout.growth !== undefined) section.push(I32, 1, OP.i32Const, 0, OP.end);
      });
    case 7:
      return extend(id, layout.reserved.length, (section) => exportAdded(section, layout));
    case 10:
      return code;
    default: {
      const limited = limitedSection(module, layout, id);
      if (limited !== undefined) return limited;
      const extent = id === 8 && !layout.keepsStart ? undefined : module.sections.get(id);
      return extent && module.bytes.subarray(extent.start, extent.end);
    }
  }
}

function exportAdded(section: ByteWriter, layout: Layout): void {
  const add = (name: string, kind: number, index: number): void => {
    section.name(name);
    section.push(kind);
    section.u32(index);
  };
  add(FUEL_EXPORT, 3, layout.fuel);
  add(DEPTH_EXPORT, 3, layout.depth);
  if (layout.growth !== undefined) add(REFUSED_EXPORT, 3, layout.growth.refused);
  if (layout.start !== undefined) add(START_EXPORT, 0, layout.start);
}

/** The table or memory section with the limits of the options in it, where there are any. */
function limitedSection(module: ModuleShape, layout: Layout, id: number): Uint8Array | undefined {
  const section = new ByteWriter();
  if (id === 4 && layout.tableElements !== undefined && module.tables.length > 0) {
    section.u32(module.tables.length);
    for (const table of module.tables) {
      section.push(table.type);
      writeLimits(section, table, layout.tableElements);
    }
    return section.view();
  }
  if (id === 5 && layout.growth !== undefined && module.memory !== undefined) {
    section.u32(1);
    writeLimits(section, module.memory, layout.growth.most);
    return section.view();
  }
  return undefined;
}

function writeLimits(out: ByteWriter, limits: Limits, most: number): void {
  const { minimum, maximum = most } = limits;
  out.push(1);
  out.u32(minimum);
  // A minimum above the limit stays what it is: the module cannot grow.
  out.u32(Math.max(minimum, Math.min(maximum, most)));
}
