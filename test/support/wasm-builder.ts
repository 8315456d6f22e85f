/**
 * Small WebAssembly modules from bytes, for tests of the meter.
 *
 * @module
 */

import { ByteWriter } from '../../runtime/sandbox/wasm-writer.ts';

export const I32 = 0x7f;
export const I64 = 0x7e;
export const F32 = 0x7d;
export const F64 = 0x7c;

export type TestFunction = {
  readonly params?: readonly number[];
  readonly results?: readonly number[];
  /** Groups of [count, type]. */
  readonly locals?: readonly (readonly [number, number])[];
  /** Instructions, without the last `end`. */
  readonly code: readonly number[];
  readonly name?: string;
};

export type TestModule = {
  readonly functions: readonly TestFunction[];
  /** Pages, [initial, maximum]; the memory is exported as `memory`. */
  readonly memory?: readonly [number, number];
  /** Parameters and results of imports `env.f0`, `env.f1` …, which come first in the index space. */
  readonly imports?: readonly { readonly params: readonly number[]; readonly results: readonly number[] }[];
  /** Initial value of a mutable i32 global. */
  readonly global?: number;
};

/** Assembles a module. */
export function buildModule(module: TestModule): Uint8Array {
  const out = new ByteWriter();
  out.push(0, 0x61, 0x73, 0x6d, 1, 0, 0, 0);
  const imports = module.imports ?? [];
  section(out, 1, [
    ...imports.map(({ params, results }) => functionType(params, results)),
    ...module.functions.map(({ params = [], results = [] }) => functionType(params, results)),
  ]);
  if (imports.length > 0) {
    section(
      out,
      2,
      imports.map((_, i) =>
        bytes((w) => {
          w.name('env');
          w.name(`f${i}`);
          w.push(0);
          w.u32(i);
        }),
      ),
    );
  }
  section(
    out,
    3,
    module.functions.map((_, i) => bytes((w) => w.u32(imports.length + i))),
  );
  const { memory, global } = module;
  if (memory !== undefined) {
    section(out, 5, [
      bytes((w) => {
        w.push(1);
        w.u32(memory[0]);
        w.u32(memory[1]);
      }),
    ]);
  }
  if (global !== undefined) {
    section(out, 6, [
      bytes((w) => {
        w.push(I32, 1, 0x41);
        w.signed(global);
        w.push(0x0b);
      }),
    ]);
  }
  const exported = module.functions.flatMap(({ name }, i) =>
    name === undefined
      ? []
      : [
          bytes((w) => {
            w.name(name);
            w.push(0);
            w.u32(imports.length + i);
          }),
        ],
  );
  if (memory !== undefined) {
    exported.push(
      bytes((w) => {
        w.name('memory');
        w.push(2, 0);
      }),
    );
  }
  section(out, 7, exported);
  section(
    out,
    10,
    module.functions.map(({ locals = [], code }) =>
      bytes((w) => {
        const body = bytes((b) => {
          b.u32(locals.length);
          for (const [count, type] of locals) {
            b.u32(count);
            b.push(type);
          }
          b.bytes(Uint8Array.from(code));
          b.push(0x0b);
        });
        w.sized(body);
      }),
    ),
  );
  return out.view().slice();
}

/** Signed LEB128, as constants are written. */
export function sleb(value: number): number[] {
  return [...bytes((w) => w.signed(value))];
}

function functionType(params: readonly number[], results: readonly number[]): Uint8Array {
  return bytes((w) => {
    w.push(0x60);
    w.sized(Uint8Array.from(params));
    w.sized(Uint8Array.from(results));
  });
}

function section(out: ByteWriter, id: number, items: readonly Uint8Array[]): void {
  const content = bytes((w) => {
    w.u32(items.length);
    for (const item of items) w.bytes(item);
  });
  out.push(id);
  out.sized(content);
}

function bytes(write: (writer: ByteWriter) => void): Uint8Array {
  const writer = new ByteWriter();
  write(writer);
  return writer.view().slice();
}
