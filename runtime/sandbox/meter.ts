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
import { assemble } from './meter-assembly.ts';
import { addDepth, canonicaliseNaN, chargeBody, checkFuel, enterFrame, subtractFuel } from './meter-code.ts';
import { type Charge, F32, F64, type Layout, type MeterOptions, planLayout, writeBlockType } from './meter-layout.ts';
import { type Body, OP, readBody } from './wasm-body.ts';
import { Cursor, type FunctionType, MeterError, type ModuleShape, readModule } from './wasm-reader.ts';
import { ByteWriter } from './wasm-writer.ts';

export { DEPTH_EXPORT, FUEL_EXPORT, REFUSED_EXPORT, START_EXPORT } from './meter-layout.ts';

/** Version of the rewriting; any change of its output changes it. */
export const REWRITER_VERSION = 1;
/** Version of the costs: 1 for an instruction, 0 for block, loop, end, else, nop; lengths as {@link meterModule} says. */
export const COST_TABLE_VERSION = 1;
/** Greatest number of parameters, locals and operands of one function. */
export const MAX_FRAME_SLOTS = 1000;

/** Greatest function, in bytes: as it comes, and rewritten; engines bound it at 7,654,321. */
const MAX_BODY_BYTES = { source: 1 << 20, rewritten: 7_000_000 } as const;
/** Greatest rewritten code, in bytes. */
const MAX_CODE_BYTES = 1 << 27;
/** Modelled bytes of a frame without its slots of 8 bytes. */
const FRAME_BASE = 48;

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
  type Options = MeterOptions;
}

function tooLarge(index: number, size: number, most: number): MeterError {
  return new MeterError('MODULE_TOO_LARGE', `function ${index} of ${size} bytes, at most ${most}`, {
    at: { function: index },
  });
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
