/**
 * WASI preview 1 as a WASM tool sees it: three streams, arguments, a clock that stands still, seeded random bytes. No
 * environment, no files, no sockets; their functions exist, so that programs link, and answer with an error number.
 *
 * W1. Nothing of the host is seen: every answer follows from the session's options and from what the tool did.
 * W2. Every call is billed before it is done, by what it does: {@link CALL_FUEL}, {@link VECTOR_FUEL} for an element of a
 *     vector of buffers, 1 for each whole 8 bytes moved.
 * W3. Every pointer is checked against the memory as it is at that moment; beyond it the answer is `EFAULT`.
 *
 * Spec: `runtime/spec/sandbox.md#wasm-tools`.
 *
 * @module
 * @see WASI snapshot preview 1 (`wasi_snapshot_preview1.witx`)
 */

import type { WasmMemory } from '../../attest/core/webassembly.ts';

/** Version of what this file answers and bills. Part of the engine's identity. */
export const WASI_VERSION = 1;
/** Module name of the imports. */
export const WASI_MODULE = 'wasi_snapshot_preview1';
/** Fuel of any call. */
export const CALL_FUEL = 64;
/** Fuel of an element of a vector of buffers. */
export const VECTOR_FUEL = 16;
/** Greatest number of elements of a vector of buffers, as on Linux; more are `EINVAL`. */
export const MAX_VECTOR = 1024;

const SUCCESS = 0;
const EBADF = 8;
const EFAULT = 21;
const EINVAL = 28;
const ENOSYS = 52;
const EOVERFLOW = 61;
const ESPIPE = 70;

const RIGHT_READ = 1n << 1n;
const RIGHT_WRITE = 1n << 6n;
const NANOSECONDS = 1_000_000n;
const ARGUMENT = Uint8Array.of(0x74, 0x6f, 0x6f, 0x6c, 0); // "tool"

/** What the functions act on. */
export type WasiHost = {
  /** The tool's memory as it is now. */
  readonly memory: () => WasmMemory;
  /** Takes fuel; throws through the guest when there is not enough. */
  readonly bill: (fuel: number) => void;
  readonly stdin: Uint8Array;
  /** Takes a copy of what is written to descriptor 1 or 2; may throw through the guest. */
  readonly write: (descriptor: 1 | 2, bytes: Uint8Array) => void;
  readonly random: (length: number) => Uint8Array;
  /** Milliseconds since 1970, of every clock. */
  readonly timeMs: number;
};

/** Thrown through the guest by `proc_exit`. */
export class WasiExit extends Error {
  readonly exitCode: number;

  /** @param exitCode - unsigned, 32 bits */
  constructor(exitCode: number) {
    super(`exit code ${exitCode}`);
    this.exitCode = exitCode;
  }
}

/** Parameters of every function of preview 1: `i` is an i32, `I` an i64. All but `proc_exit` return an i32. */
const SIGNATURES: Readonly<Record<string, string>> = {
  args_get: 'ii',
  args_sizes_get: 'ii',
  clock_res_get: 'ii',
  clock_time_get: 'iIi',
  environ_get: 'ii',
  environ_sizes_get: 'ii',
  fd_advise: 'iIIi',
  fd_allocate: 'iII',
  fd_close: 'i',
  fd_datasync: 'i',
  fd_fdstat_get: 'ii',
  fd_fdstat_set_flags: 'ii',
  fd_fdstat_set_rights: 'iII',
  fd_filestat_get: 'ii',
  fd_filestat_set_size: 'iI',
  fd_filestat_set_times: 'iIIi',
  fd_pread: 'iiiIi',
  fd_prestat_dir_name: 'iii',
  fd_prestat_get: 'ii',
  fd_pwrite: 'iiiIi',
  fd_read: 'iiii',
  fd_readdir: 'iiiIi',
  fd_renumber: 'ii',
  fd_seek: 'iIii',
  fd_sync: 'i',
  fd_tell: 'ii',
  fd_write: 'iiii',
  path_create_directory: 'iii',
  path_filestat_get: 'iiiii',
  path_filestat_set_times: 'iiiiIIi',
  path_link: 'iiiiiii',
  path_open: 'iiiiiIIii',
  path_readlink: 'iiiiii',
  path_remove_directory: 'iii',
  path_rename: 'iiiiii',
  path_symlink: 'iiiii',
  path_unlink_file: 'iii',
  poll_oneoff: 'iiii',
  proc_exit: 'i',
  proc_raise: 'i',
  random_get: 'ii',
  sched_yield: '',
  sock_accept: 'iii',
  sock_recv: 'iiiiii',
  sock_send: 'iiiii',
  sock_shutdown: 'ii',
};

/** Names of all functions of preview 1. */
export const WASI_FUNCTIONS: readonly string[] = Object.keys(SIGNATURES);

/** Parameter and result types of a function, as value type bytes; undefined for one that preview 1 does not have. */
export function wasiSignature(name: string): { readonly params: number[]; readonly results: number[] } | undefined {
  const params = Object.hasOwn(SIGNATURES, name) ? SIGNATURES[name] : undefined;
  if (params === undefined) return undefined;
  return {
    params: [...params].map((letter) => (letter === 'I' ? 0x7e : 0x7f)),
    results: name === 'proc_exit' ? [] : [0x7f],
  };
}

type WasiFunction = (...args: never[]) => number | undefined;

/** All functions of preview 1, acting on `host`. */
export function makeWasiImports(host: WasiHost): Readonly<Record<string, WasiFunction>> {
  const known = new Wasi(host).functions();
  const imports: Record<string, WasiFunction> = {};
  for (const name of WASI_FUNCTIONS) {
    const act = known[name] ?? (() => (/^(fd|path|sock)_/.test(name) ? EBADF : ENOSYS));
    imports[name] = (...args) => {
      host.bill(CALL_FUEL);
      return act(...args);
    };
  }
  return imports;
}

type Buffers = { readonly slices: readonly Uint8Array[]; readonly total: number };

class Wasi {
  readonly #host: WasiHost;
  readonly #closed = new Set<number>();
  #read = 0;

  constructor(host: WasiHost) {
    this.#host = host;
  }

  functions(): Record<string, WasiFunction> {
    return {
      args_get: (pointers: number, text: number) =>
        this.#store(text, ARGUMENT) && this.#store32(pointers, text) ? SUCCESS : EFAULT,
      args_sizes_get: (count: number, size: number) =>
        this.#store32(count, 1) && this.#store32(size, ARGUMENT.length) ? SUCCESS : EFAULT,
      environ_get: () => SUCCESS,
      environ_sizes_get: (count: number, size: number) =>
        this.#store32(count, 0) && this.#store32(size, 0) ? SUCCESS : EFAULT,
      clock_res_get: (clock: number, to: number) => this.#time(clock, NANOSECONDS, to),
      clock_time_get: (clock: number, _precision: bigint, to: number) =>
        this.#time(clock, BigInt(this.#host.timeMs) * NANOSECONDS, to),
      random_get: (to: number, length: number) => this.#random(to, length >>> 0),
      sched_yield: () => SUCCESS,
      proc_exit: (code: number) => {
        throw new WasiExit(code >>> 0);
      },
      fd_read: (fd: number, vectors: number, count: number, done: number) => this.#fdRead(fd, vectors, count, done),
      fd_write: (fd: number, vectors: number, count: number, done: number) => this.#fdWrite(fd, vectors, count, done),
      fd_close: (fd: number) => {
        if (!this.#isOpen(fd)) return EBADF;
        this.#closed.add(fd);
        return SUCCESS;
      },
      fd_seek: (fd: number) => (this.#isOpen(fd) ? ESPIPE : EBADF),
      fd_tell: (fd: number) => (this.#isOpen(fd) ? ESPIPE : EBADF),
      fd_fdstat_get: (fd: number, to: number) => {
        if (!this.#isOpen(fd)) return EBADF;
        // File type 0 (unknown), so that no program takes a stream for a terminal; no flags.
        const stat = new DataView(new ArrayBuffer(24));
        stat.setBigUint64(8, fd === 0 ? RIGHT_READ : RIGHT_WRITE, true);
        return this.#store(to, new Uint8Array(stat.buffer)) ? SUCCESS : EFAULT;
      },
      fd_filestat_get: (fd: number, to: number) => {
        if (!this.#isOpen(fd)) return EBADF;
        return this.#store(to, new Uint8Array(64)) ? SUCCESS : EFAULT;
      },
    };
  }

  #isOpen(fd: number): boolean {
    return fd >= 0 && fd <= 2 && !this.#closed.has(fd);
  }

  #time(clock: number, nanoseconds: bigint, to: number): number {
    if (clock < 0 || clock > 3) return EINVAL;
    if (nanoseconds >= 1n << 64n) return EOVERFLOW;
    const bytes = new DataView(new ArrayBuffer(8));
    bytes.setBigUint64(0, nanoseconds, true);
    return this.#store(to, new Uint8Array(bytes.buffer)) ? SUCCESS : EFAULT;
  }

  #random(to: number, length: number): number {
    const target = this.#slice(to, length);
    if (target === undefined) return EFAULT;
    this.#host.bill(length);
    target.set(this.#host.random(length));
    return SUCCESS;
  }

  #fdRead(fd: number, vectors: number, count: number, done: number): number {
    if (fd !== 0 || !this.#isOpen(fd)) return EBADF;
    if (count >>> 0 > MAX_VECTOR) return EINVAL;
    const buffers = this.#buffers(vectors, count >>> 0);
    const read = this.#slice(done, 4);
    if (buffers === undefined || read === undefined) return EFAULT;
    const { stdin } = this.#host;
    const from = this.#read;
    this.#host.bill(Math.floor(Math.min(buffers.total, stdin.length - from) / 8));
    for (const slice of buffers.slices) {
      const part = stdin.subarray(this.#read, this.#read + slice.length);
      slice.set(part);
      this.#read += part.length;
      if (this.#read === stdin.length) break;
    }
    this.#store32(done, this.#read - from);
    return SUCCESS;
  }

  #fdWrite(fd: number, vectors: number, count: number, done: number): number {
    if ((fd !== 1 && fd !== 2) || !this.#isOpen(fd)) return EBADF;
    if (count >>> 0 > MAX_VECTOR) return EINVAL;
    const buffers = this.#buffers(vectors, count >>> 0);
    if (buffers === undefined || this.#slice(done, 4) === undefined) return EFAULT;
    // The buffers may lie over each other, so that their sum is more than a memory.
    if (buffers.total > 0xffff_ffff) return EINVAL;
    this.#host.bill(Math.floor(buffers.total / 8));
    for (const slice of buffers.slices) this.#host.write(fd, slice);
    this.#store32(done, buffers.total);
    return SUCCESS;
  }

  /** Reads a vector of buffers; undefined where anything of it lies beyond the memory. */
  #buffers(vectors: number, count: number): Buffers | undefined {
    const list = this.#slice(vectors, count * 8);
    if (list === undefined) return undefined;
    this.#host.bill(count * VECTOR_FUEL);
    const view = new DataView(list.buffer, list.byteOffset, list.length);
    const slices: Uint8Array[] = [];
    let total = 0;
    for (let at = 0; at < list.length; at += 8) {
      const slice = this.#slice(view.getUint32(at, true), view.getUint32(at + 4, true));
      if (slice === undefined) return undefined;
      total += slice.length;
      slices.push(slice);
    }
    return { slices, total };
  }

  /** A view of the tool's memory, or undefined where it ends before. */
  #slice(pointer: number, length: number): Uint8Array | undefined {
    const { buffer } = this.#host.memory();
    const start = pointer >>> 0;
    return start + length > buffer.byteLength ? undefined : new Uint8Array(buffer, start, length);
  }

  #store(pointer: number, bytes: Uint8Array): boolean {
    const target = this.#slice(pointer, bytes.length);
    target?.set(bytes);
    return target !== undefined;
  }

  #store32(pointer: number, value: number): boolean {
    return this.#store(pointer, Uint8Array.of(value, value >>> 8, value >>> 16, value >>> 24));
  }
}
