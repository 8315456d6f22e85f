/**
 * The host's WebAssembly, typed: the compiler's library knows it only together with the browser's globals.
 *
 * @module
 */

/** A compiled module; structured cloning shares its code between workers. */
export type WasmModule = { readonly wasmModule: unique symbol };

/** A linear memory. */
export type WasmMemory = { readonly buffer: ArrayBuffer };

/** A linear memory of several threads: it grows in place, and every view of it stays valid. */
export type SharedWasmMemory = {
  readonly buffer: SharedArrayBuffer;
  /** Adds pages of 64 KiB; throws a RangeError beyond the maximum. */
  grow(pages: number): number;
};

/** A global that the host can read and write. */
export type WasmGlobal<T extends number | bigint> = { value: T };

type WasmApi = {
  readonly Module: new (bytes: Uint8Array) => WasmModule;
  readonly Instance: new (
    module: WasmModule,
    imports: Readonly<Record<string, Readonly<Record<string, unknown>>>>,
  ) => { readonly exports: Readonly<Record<string, unknown>> };
  readonly Memory: {
    new (limits: { readonly initial: number; readonly maximum: number }): WasmMemory;
    new (limits: { readonly initial: number; readonly maximum: number; readonly shared: true }): SharedWasmMemory;
  };
  /** A trap. */
  readonly RuntimeError: new (
    message?: string,
  ) => Error;
  readonly compile: (bytes: Uint8Array) => Promise<WasmModule>;
  readonly validate: (bytes: Uint8Array) => boolean;
};

/** The global `WebAssembly`. */
export const wasm = Reflect.get(globalThis, 'WebAssembly') as WasmApi;
