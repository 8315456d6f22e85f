/**
 * Where the things that the meter adds to a module lie, and under which names they leave it.
 *
 * @module
 */

import type { FunctionType, ModuleShape } from './wasm-reader.ts';
import type { ByteWriter } from './wasm-writer.ts';

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
/** Greatest memory of 32 bits, in pages. */
const MOST_PAGES = 65_536;

/** Value types. */
export const I32 = 0x7f;
export const I64 = 0x7e;
export const F32 = 0x7d;
export const F64 = 0x7c;
/** Type of a block without parameters and results. */
export const EMPTY_BLOCK = 0x40;

/** Limits beside the module; none unless given. */
export type MeterOptions = {
  /** Greatest size of a memory of the module's own, in pages; its maximum becomes at most this. */
  readonly memoryPages?: number;
  /** Greatest size of tables of the module's own; their maximum becomes at most this. */
  readonly tableElements?: number;
  /** Makes the start function an export, so that the host sets the fuel before it runs. */
  readonly deferStart?: boolean;
};

/** Added functions: they bill a length, in units of their name. `growth` bills pages and grows the memory itself. */
export type Charge = 'bytes' | 'elements' | 'pages' | 'growth';

/** Indexes of what is added to the module. */
export type Layout = {
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

/** Gives everything that is added its place, behind what is there. */
export function planLayout(module: ModuleShape, options: MeterOptions): Layout {
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

/** Writes the type of a block around a body; one with several results needs a type of the module. */
export function writeBlockType(out: ByteWriter, layout: Layout, module: ModuleShape, results: readonly number[]): void {
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
