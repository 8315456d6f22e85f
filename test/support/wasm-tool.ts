/**
 * WASM tools for tests: from text, or from Rust where its compiler for WASI is here.
 *
 * @module
 */

import type { Json } from '../../attest/encoding/canonical-json.ts';
import type { VmOptions } from '../../runtime/sandbox/vm.ts';
import { assembleText } from './wasm-text.ts';

/** Session options of a tool that gets plenty of everything. */
export function toolOptions(module: Uint8Array | string, input: Json = null, some: Partial<VmOptions> = {}): VmOptions {
  const bytes = typeof module === 'string' ? assembleText(module) : module;
  return {
    language: 'wasm',
    source: Buffer.from(bytes).toString('base64'),
    entry: { tool: 'test' },
    input,
    fuel: 100_000_000n,
    memoryBytes: 4 << 20,
    wallMs: 20_000,
    seed: new Uint8Array(32).fill(7),
    startTimeMs: 1_700_000_000_123,
    outputBytes: 100_000,
    ...some,
  };
}

/** What follows the imports of a tool: `$write` (descriptor, pointer, length) over a memory of one page, and `body` as `_start`. */
export function toolText(body: string, { imports = '', more = '', memory = '1' } = {}): string {
  return `(module
    (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
    ${imports}
    (memory (export "memory") ${memory})
    (func $write (param $fd i32) (param $at i32) (param $length i32)
      (i32.store (i32.const 0) (local.get $at))
      (i32.store (i32.const 4) (local.get $length))
      (drop (call $fd_write (local.get $fd) (i32.const 0) (i32.const 1) (i32.const 8))))
    ${more}
    (func (export "_start") ${body}))`;
}
