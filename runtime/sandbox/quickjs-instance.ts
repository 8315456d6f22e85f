/**
 * A thin binding to QuickJS compiled to WebAssembly: one instance, one runtime, one context, and the imports that would
 * let the host's clock, zone, environment or streams in, replaced by fixed ones.
 *
 * Names of imports and exports are the minified ones of `@jitl/quickjs-wasmfile-release-sync` 0.32.0, whose hash
 * {@link QUICKJS_SHA256} pins. Nothing but integers and memory crosses, but for the clock, which is a whole number of
 * milliseconds.
 *
 * @module
 */

import { type WasmGlobal, type WasmMemory, type WasmModule, wasm } from '../../attest/core/webassembly.ts';
import { DEPTH_EXPORT, FUEL_EXPORT } from './meter.ts';

/** SHA-256 of the source module that the names below belong to. */
export const QUICKJS_SHA256 = '105c3bed22d457e43e3d1c3c1c6959fda62a8fe06f0fc8a985303c3a2be72232';
/** Modelled bytes of WebAssembly call frames; the host's stack of 16 MiB bears far more. */
export const DEPTH_BUDGET = 524_288;
/** QuickJS's own limit for its stack in linear memory, of which 5 MiB exist. */
export const C_STACK_BYTES = 256 * 1024;
/** Where the heap begins: static data and the C stack lie below. */
const HEAP_BASE = 5_333_088;
const PAGE_BYTES = 65_536;
/** Pages that the module demands at least. */
const LEAST_PAGES = 256;
/** Fuel while the host prepares the guest, not the guest's. */
const BOOT_FUEL = 1n << 60n;

/** A pointer into linear memory; 0 is none. */
type Pointer = number;

/** The exports used, by their minified names. */
type Exports = {
  readonly [FUEL_EXPORT]: WasmGlobal<bigint>;
  readonly [DEPTH_EXPORT]: WasmGlobal<number>;
  /** Static constructors. */
  u(): void;
  /** malloc */
  v(size: number): Pointer;
  /** free */
  M(pointer: Pointer): void;
  /** QTS_RuntimeSetMemoryLimit */
  y(runtime: Pointer, bytes: number): void;
  /** QTS_RuntimeSetMaxStackSize */
  D(runtime: Pointer, bytes: number): void;
  /** QTS_GetUndefined */
  E(): Pointer;
  /** QTS_NewRuntime */
  K(): Pointer;
  /** QTS_NewContext; intrinsics 0 are the default ones */
  N(runtime: Pointer, intrinsics: number): Pointer;
  /** QTS_FreeValuePointer */
  P(context: Pointer, value: Pointer): void;
  /** QTS_FreeCString */
  S(context: Pointer, text: Pointer): void;
  /** QTS_GetFloat64 */
  Z(context: Pointer, value: Pointer): number;
  /** QTS_NewString */
  _(context: Pointer, text: Pointer): Pointer;
  /** QTS_GetString */
  $(context: Pointer, value: Pointer): Pointer;
  /** QTS_IsJobPending */
  fa(runtime: Pointer): number;
  /** QTS_ExecutePendingJob */
  ga(runtime: Pointer, most: number, lastContext: Pointer): Pointer;
  /** QTS_Call */
  ma(context: Pointer, callee: Pointer, self: Pointer, count: number, values: Pointer): Pointer;
  /** QTS_ResolveException */
  na(context: Pointer, maybe: Pointer): Pointer;
  /** QTS_Eval */
  pa(context: Pointer, code: Pointer, length: number, file: Pointer, detectModule: number, flags: number): Pointer;
  /** QTS_NewFunction */
  Da(context: Pointer, name: Pointer, length: number, isConstructor: number, id: number): Pointer;
  /** QTS_ArgvGetJSValueConstPointer */
  Ea(values: Pointer, index: number): Pointer;
};

/** A JavaScript value held by the host. */
export type Handle = { readonly pointer: Pointer };

/** Outcome of guest code: a value, or what it threw. */
export type Completion =
  | { readonly ok: true; readonly value: Handle }
  | { readonly ok: false; readonly thrown: Handle };

/** A function of the host that guest code may call with texts; it returns nothing. */
export type HostFunction = (args: readonly string[]) => void;

/** QuickJS gave up by itself (`abort`, a failed assertion): a deterministic trap. */
export class GuestAbort extends Error {}

/** The guest's memory cannot hold what the host has to give it. */
export class GuestOutOfMemory extends Error {}

/** One WebAssembly instance with one JavaScript context. Not usable any more after anything it throws. */
export class QuickJsInstance {
  /** `Date.now()` of the guest. */
  timeMs: number;
  readonly #memory: WasmMemory;
  readonly #exports: Exports;
  readonly #runtime: Pointer;
  readonly #context: Pointer;
  readonly #functions: HostFunction[] = [];
  #exhausted = false;

  /**
   * @param module - the metered module
   * @param memoryBytes - heap of the guest; linear memory is reserved whole, so that it never grows
   * @throws RangeError if the host has no such memory
   */
  constructor(module: WasmModule, memoryBytes: number, timeMs: number) {
    this.timeMs = timeMs;
    const pages = Math.max(LEAST_PAGES, Math.ceil((HEAP_BASE + memoryBytes) / PAGE_BYTES));
    this.#memory = new wasm.Memory({ initial: pages, maximum: pages });
    const instance = new wasm.Instance(module, { a: { a: this.#memory, ...this.#imports() } });
    this.#exports = instance.exports as unknown as Exports;
    this.setFuel(BOOT_FUEL);
    this.#exports.u();
    // QuickJS's own limit sees only single allocations here (this build has no malloc_usable_size), so the end of linear
    // memory is the limit; where the least memory is more than was asked for, the rest is taken out of use.
    const surplus = pages * PAGE_BYTES - HEAP_BASE - memoryBytes;
    if (surplus >= PAGE_BYTES) this.#allocate(surplus);
    this.#runtime = this.#exports.K();
    this.#exports.D(this.#runtime, C_STACK_BYTES);
    this.#exports.y(this.#runtime, memoryBytes);
    this.#context = this.#exports.N(this.#runtime, 0);
    if (this.#context === 0) throw new GuestOutOfMemory('no room for a context');
    this.#exports[DEPTH_EXPORT].value = DEPTH_BUDGET;
  }

  /** Whether an allocation has failed for want of memory. QuickJS's own report of it may be lost: it needs memory too. */
  get exhausted(): boolean {
    return this.#exhausted;
  }

  /** Fuel left; below zero when it ran out. */
  get fuel(): bigint {
    return this.#exports[FUEL_EXPORT].value;
  }

  /** Bytes of call depth left; below zero when they ran out. */
  get depth(): number {
    return this.#exports[DEPTH_EXPORT].value;
  }

  /** Sets the fuel left; a negative one stops the guest at its next check. */
  setFuel(fuel: bigint): void {
    this.#exports[FUEL_EXPORT].value = fuel;
  }

  /** Evaluates a script in the global scope. */
  evaluate(source: string, fileName: string): Completion {
    const bytes = new TextEncoder().encode(source);
    const code = this.#copyIn(bytes);
    const file = this.#copyIn(new TextEncoder().encode(fileName));
    const result = this.#exports.pa(this.#context, code, bytes.length, file, 0, 0);
    this.#exports.M(code);
    this.#exports.M(file);
    return this.#complete(result);
  }

  /** Calls a function without a receiver. */
  call(callee: Handle, args: readonly Handle[]): Completion {
    const values = this.#allocate(args.length * 4 || 4);
    const view = new DataView(this.#memory.buffer);
    for (const [i, arg] of args.entries()) view.setUint32(values + 4 * i, arg.pointer, true);
    const result = this.#exports.ma(this.#context, callee.pointer, this.#exports.E(), args.length, values);
    this.#exports.M(values);
    return this.#complete(result);
  }

  /** Makes a string. */
  text(text: string): Handle {
    const bytes = this.#copyIn(new TextEncoder().encode(text));
    const pointer = this.#exports._(this.#context, bytes);
    this.#exports.M(bytes);
    const made = this.#complete(pointer);
    if (!made.ok) throw new GuestOutOfMemory('no room for a text');
    return made.value;
  }

  /** Makes a function that calls the host. */
  hostFunction(name: string, length: number, body: HostFunction): Handle {
    const bytes = this.#copyIn(new TextEncoder().encode(name));
    const pointer = this.#exports.Da(this.#context, bytes, length, 0, this.#functions.push(body) - 1);
    this.#exports.M(bytes);
    return { pointer };
  }

  /** Gives a value back. */
  free(handle: Handle): void {
    this.#exports.P(this.#context, handle.pointer);
  }

  /** Runs jobs (promise reactions) until none is left; returns what a job threw, if one did. */
  runJobs(): Handle | undefined {
    const last = this.#allocate(4);
    while (this.#exports.fa(this.#runtime) > 0) {
      const pointer = this.#exports.ga(this.#runtime, -1, last);
      // The number of jobs run; anything else is an exception.
      if (Number.isNaN(this.#exports.Z(this.#context, pointer))) return { pointer };
      this.#exports.P(this.#context, pointer);
      if (this.fuel < 0n) break;
    }
    this.#exports.M(last);
    return undefined;
  }

  #complete(pointer: Pointer): Completion {
    const thrown = this.#exports.na(this.#context, pointer);
    return thrown === 0 ? { ok: true, value: { pointer } } : { ok: false, thrown: { pointer: thrown } };
  }

  #allocate(size: number): Pointer {
    const pointer = this.#exports.v(size);
    if (pointer === 0) throw new GuestOutOfMemory(`no room for ${size} bytes`);
    return pointer;
  }

  /** Copies bytes and a closing zero into the guest. */
  #copyIn(bytes: Uint8Array): Pointer {
    const pointer = this.#allocate(bytes.length + 1);
    const memory = new Uint8Array(this.#memory.buffer);
    memory.set(bytes, pointer);
    memory[pointer + bytes.length] = 0;
    return pointer;
  }

  #copyOut(value: Pointer): string {
    const pointer = this.#exports.$(this.#context, value);
    if (pointer === 0) throw new GuestOutOfMemory('no room for a copy of a text');
    const memory = new Uint8Array(this.#memory.buffer);
    const text = new TextDecoder().decode(memory.subarray(pointer, memory.indexOf(0, pointer)));
    this.#exports.S(this.#context, pointer);
    return text;
  }

  #imports(): Record<string, (...args: never[]) => unknown> {
    const abort = (): never => {
      throw new GuestAbort('QuickJS aborted');
    };
    const view = (): DataView => new DataView(this.#memory.buffer);
    return {
      b: abort, // assertion failed
      q: abort, // abort
      r: abort, // exit
      // fd_write: everything counts as written
      c: (_descriptor: number, vectors: number, count: number, written: number): number => {
        let total = 0;
        for (let i = 0; i < count; i++) total += view().getUint32(vectors + 8 * i + 4, true);
        view().setUint32(written, total, true);
        return 0;
      },
      d: () => 52, // fd_close: not supported
      o: () => 70, // fd_seek: not seekable
      e: () => 0, // environ_get: no variables
      f: (count: number, size: number): number => {
        view().setUint32(count, 0, true);
        view().setUint32(size, 0, true);
        return 0;
      },
      j: () => 0, // setitimer
      // resize of linear memory: it is reserved whole, so whoever asks has found it full
      k: (): number => {
        this.#exhausted = true;
        return 0;
      },
      l: () => undefined, // keep-alive
      m: (time: bigint, to: number) => writeUtc(view(), Number(time), to),
      // time zone: UTC, no summer time
      n: (zone: number, daylight: number, standardName: number, daylightName: number): void => {
        view().setInt32(zone, 0, true);
        view().setInt32(daylight, 0, true);
        for (const name of [standardName, daylightName]) {
          for (const [i, code] of [0x55, 0x54, 0x43, 0].entries()) view().setUint8(name + i, code);
        }
      },
      p: () => this.timeMs,
      g: () => 0, // module names: no loader
      h: () => 0, // module sources: no loader
      i: () => 0, // interrupt handler: none, fuel is the limit
      s: (_context: number, _self: number, count: number, values: number, id: number): number => {
        const args: string[] = [];
        for (let i = 0; i < count; i++) args.push(this.#copyOut(this.#exports.Ea(values, i)));
        this.#functions[id]?.(args);
        return 0; // undefined
      },
      t: () => undefined, // a host function was collected
    };
  }
}

/** Writes a `struct tm` of a time in seconds, UTC. */
function writeUtc(view: DataView, seconds: number, to: number): void {
  const date = new Date(seconds * 1000);
  const valid = Number.isFinite(date.getTime());
  const firstDay = valid ? Date.UTC(date.getUTCFullYear(), 0, 1) : 0;
  const fields = valid
    ? [
        date.getUTCSeconds(),
        date.getUTCMinutes(),
        date.getUTCHours(),
        date.getUTCDate(),
        date.getUTCMonth(),
        date.getUTCFullYear() - 1900,
        date.getUTCDay(),
        Math.floor((date.getTime() - firstDay) / 86_400_000),
      ]
    : [0, 0, 0, 1, 0, 70, 4, 0];
  for (const [i, field] of [...fields, 0, 0].entries()) view.setInt32(to + 4 * i, field, true);
}
