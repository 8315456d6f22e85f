import { describe, expect, it } from 'vitest';
import { type WasmGlobal, wasm } from '../../../attest/core/webassembly.ts';
import {
  DEPTH_EXPORT,
  FUEL_EXPORT,
  meterModule,
  REFUSED_EXPORT,
  START_EXPORT,
} from '../../../runtime/sandbox/meter.ts';
import { MeterError } from '../../../runtime/sandbox/wasm-reader.ts';
import { ByteWriter } from '../../../runtime/sandbox/wasm-writer.ts';
import { seededRandom } from '../../support/random.ts';
import { buildModule, I32, I64, type TestModule } from '../../support/wasm-builder.ts';
import { generateModule } from '../../support/wasm-generator.ts';
import { assembleText } from '../../support/wasm-text.ts';

const codeOf = (bytes: Uint8Array, options?: meterModule.Options): string => {
  try {
    const rewritten = meterModule(bytes, options).bytes;
    return wasm.validate(Uint8Array.from(rewritten)) ? 'accepted' : 'not valid';
  } catch (error) {
    if (error instanceof MeterError) return error.code;
    throw error;
  }
};

type Exports = Readonly<Record<string, unknown>>;
const start = (bytes: Uint8Array, imports: Record<string, unknown> = {}): Exports =>
  new wasm.Instance(new wasm.Module(Uint8Array.from(bytes)), { env: imports }).exports;
const call = (exports: Exports, name: string, ...args: readonly unknown[]): unknown =>
  (exports[name] as (...values: readonly unknown[]) => unknown)(...args);
const globalOf = <T extends number | bigint>(exports: Exports, name: string): WasmGlobal<T> =>
  exports[name] as WasmGlobal<T>;

const build = (code: readonly number[], more: Partial<TestModule> = {}): Uint8Array =>
  buildModule({ functions: [{ name: 'f', code }], ...more });

/** A module of raw sections. */
function raw(...sections: readonly (readonly [id: number, content: readonly number[]])[]): Uint8Array {
  const out = new ByteWriter();
  out.push(0, 0x61, 0x73, 0x6d, 1, 0, 0, 0);
  for (const [id, content] of sections) {
    out.push(id);
    out.sized(Uint8Array.from(content));
  }
  return out.view().slice();
}

const repeat = (count: number, ...bytes: readonly number[]): number[] =>
  Array.from({ length: count }, () => bytes).flat();
const MAX_U32 = [0xff, 0xff, 0xff, 0xff, 0x0f] as const;
const TYPE = [1, [1, 0x60, 0, 0]] as const;
const FUNCTION = [3, [1, 0]] as const;

describe('shapes that could hurt the meter', () => {
  it.each([
    ['blocks', 0x02],
    ['loops', 0x03],
  ])('takes %s nested 50,000 deep', (_name, op) => {
    expect(codeOf(build([...repeat(50_000, op, 0x40), ...repeat(50_000, 0x0b)]))).toBe('accepted');
  });

  it('takes ifs nested 20,000 deep, each with a value', () => {
    const code = [0x41, 1, ...repeat(20_000, 0x04, 0x40, 0x41, 1), 0x1a, ...repeat(20_000, 0x0b)];
    expect(codeOf(build(code))).toBe('accepted');
  });

  it('bounds the targets of a br_table', () => {
    const table = (count: number): Uint8Array => {
      const size = new ByteWriter(8);
      size.u32(count);
      return build([0x41, 0, 0x0e, ...size.view(), ...repeat(count + 1, 0)]);
    };
    expect(codeOf(table(65_000))).toBe('accepted');
    expect(codeOf(table(65_001))).toBe('MODULE_TOO_LARGE');
    expect(codeOf(build([0x41, 0, 0x0e, ...MAX_U32, 0]))).toBe('MODULE_TOO_LARGE');
  });

  it('bounds a function as it comes and as it is rewritten', () => {
    expect(codeOf(build(repeat(1_048_576, 0x01)))).toBe('MODULE_TOO_LARGE');
    // One byte each that becomes 25 with the check for NaN.
    const roots = (count: number): number[] => [0x44, 0, 0, 0, 0, 0, 0, 0, 0, ...repeat(count, 0x9f), 0x1a];
    expect(codeOf(build(roots(100_000)))).toBe('accepted');
    expect(codeOf(build(roots(1_000_000)))).toBe('MODULE_TOO_LARGE');
  });

  it('counts locals that it could never hold', () => {
    const locals = (...groups: readonly (readonly [number, number])[]): Uint8Array =>
      buildModule({ functions: [{ locals: groups, code: [] }] });
    expect(codeOf(locals([0xffff_ffff, I64]))).toBe('FRAME_TOO_LARGE');
    expect(codeOf(locals([0xffff_ffff, I64], [0xffff_ffff, I32], [1000, I32]))).toBe('FRAME_TOO_LARGE');
    expect(codeOf(locals(...Array.from({ length: 50_000 }, () => [0, I32] as const)))).toBe('accepted');
  });

  it.each([
    ['types', [[1, [...MAX_U32]]]],
    ['parameters', [[1, [1, 0x60, ...MAX_U32]]]],
    ['results', [[1, [1, 0x60, 0, 0xe9, 0x07, ...repeat(1001, I32)]]]],
    ['imports', [[2, [...MAX_U32]]]],
    ['bytes of a name', [[2, [1, ...MAX_U32]]]],
    ['functions', [TYPE, [3, [...MAX_U32]]]],
    ['bodies', [TYPE, FUNCTION, [10, [...MAX_U32]]]],
    ['exports', [[7, [...MAX_U32]]]],
    ['element segments', [[9, [...MAX_U32]]]],
    ['elements', [[9, [1, 1, 0, ...MAX_U32]]]],
    ['data segments', [[11, [...MAX_U32]]]],
  ] as const)('refuses 2^32 - 1 %s, or too many, before it makes room', (_name, sections) => {
    expect(codeOf(raw(...sections))).toBe('MODULE_TOO_LARGE');
  });

  it('refuses a module of more than 16 MiB', () => {
    expect(codeOf(new Uint8Array((1 << 24) + 1))).toBe('MODULE_TOO_LARGE');
  });
});

describe('integers written otherwise', () => {
  const memory = { memory: [1, 1] as const };
  it.each([
    ['an offset of six bytes', [0x41, 0, 0x28, 0, 0x80, 0x80, 0x80, 0x80, 0x80, 0, 0x1a], 'MALFORMED_WASM'],
    ['an offset beyond 32 bits', [0x41, 0, 0x28, 0, 0x80, 0x80, 0x80, 0x80, 0x10, 0x1a], 'MALFORMED_WASM'],
    ['an i64 of eleven bytes', [0x42, ...repeat(10, 0x80), 0, 0x1a], 'MALFORMED_WASM'],
    ['an i32 of six bytes', [0x41, ...repeat(5, 0x80), 0, 0x1a], 'MALFORMED_WASM'],
    ['a block type of six bytes', [0x02, ...repeat(5, 0x80), 0, 0x0b], 'MALFORMED_WASM'],
    ['a label of six bytes', [0x0c, ...repeat(5, 0x80), 0], 'MALFORMED_WASM'],
    ['a memory index of two bytes', [0x3f, 0x80, 0, 0x1a], 'UNSUPPORTED_WASM'],
    ['a memory index 1', [0x41, 0, 0x40, 1, 0x1a], 'UNSUPPORTED_WASM'],
    ['memory.copy between memories', [0x41, 0, 0x41, 0, 0x41, 0, 0xfc, 0x0a, 0, 1], 'UNSUPPORTED_WASM'],
    ['an alignment that names a memory', [0x41, 0, 0x28, 0x42, 0, 0, 0x1a], 'UNSUPPORTED_WASM'],
  ] as const)('%s', (_name, code, expected) => {
    expect(codeOf(build(code, memory))).toBe(expected);
  });

  it('takes those that the standard allows, and does what they say', () => {
    // i64.const 1 in ten bytes, an offset of five, opcodes of two bytes in three.
    const code = [0x42, 0x81, ...repeat(8, 0x80), 0, 0x1a, 0x41, 0, 0x28, 0, 0x84, 0x80, 0x80, 0x80, 0];
    const module: TestModule = { functions: [{ name: 'f', results: [I32], code }], memory: [1, 1] };
    const exports = start(meterModule(buildModule(module)).bytes);
    new DataView((exports['memory'] as { buffer: ArrayBuffer }).buffer).setInt32(4, 77, true);
    expect(call(exports, 'f')).toBe(77);
    const long = build([0x43, 0, 0, 0, 0, 0xfc, 0x80, 0x80, 0, 0x1a]);
    expect(codeOf(long)).toBe('accepted');
  });

  it('finds the end of a count of locals that is longer than need be', () => {
    // Body: 2 groups in three bytes, then a float operation, so that locals are added.
    const body = [0x82, 0x80, 0, 1, I32, 1, I64, 0x43, 0, 0, 0, 0, 0x91, 0x1a, 0x0b];
    expect(codeOf(raw(TYPE, FUNCTION, [10, [1, body.length, ...body]]))).toBe('accepted');
  });
});

describe('what newer engines take and older ones do not', () => {
  it.each([
    ['a longer constant expression', [[6, [1, I32, 0, 0x41, 1, 0x41, 1, 0x6a, 0x0b]]]],
    ['a global that begins as another', [[6, [2, I32, 0, 0x41, 1, 0x0b, I32, 0, 0x23, 0, 0x0b]]]],
    ['a table with a value', [[4, [1, 0x40, 0, 0x70, 0, 1, 0xd0, 0x70, 0x0b]]]],
    ['a typed reference', [[1, [1, 0x60, 1, 0x63, 0x70, 0]]]],
    ['a recursive type', [[1, [1, 0x4e, 1, 0x60, 0, 0]]]],
    ['a structure', [[1, [1, 0x5f, 0]]]],
    ['two memories', [[5, [2, 0, 1, 0, 1]]]],
    ['a memory of 64 bits', [[5, [1, 4, 1]]]],
    ['a shared memory', [[5, [1, 3, 1, 1]]]],
    ['a memory with pages of another size', [[5, [1, 8, 1, 0]]]],
    ['a table of 64 bits', [[4, [1, 0x70, 4, 1]]]],
    ['a tag', [TYPE, [13, [1, 0, 0]]]],
    ['an imported tag', [TYPE, [2, [1, 0, 0, 4, 0, 0]]]],
    ['a shared global', [[6, [1, I32, 2, 0x41, 0, 0x0b]]]],
    ['data for another memory', [[11, [1, 2, 1, 0x41, 0, 0x0b, 0]]]],
    ['an element segment of another kind', [[9, [1, 8, 0]]]],
    ['references as elements of another kind', [[9, [1, 1, 1, 0]]]],
  ] as const)('%s', (_name, sections) => {
    expect(codeOf(raw(...sections))).toBe('UNSUPPORTED_WASM');
  });

  it.each([
    ['try_table', [0x1f, 0x40, 0, 0x0b]],
    ['throw_ref', [0xd0, 0x69, 0x0a]],
    ['return_call', [0x12, 0]],
    ['call_ref', [0x14, 0]],
    ['ref.as_non_null', [0xd0, 0x70, 0xd4, 0x1a]],
    ['ref.eq', [0xd3]],
    ['struct.new', [0xfb, 0, 0]],
    ['a vector', [0xfd, 12, ...repeat(16, 0), 0x1a]],
    ['an atomic fence', [0xfe, 3, 0]],
    ['wide arithmetic', [0xfc, 19]],
  ] as const)('%s', (_name, code) => {
    expect(codeOf(build(code))).toBe('UNSUPPORTED_WASM');
  });

  it.each([
    ['a section twice', [TYPE, TYPE]],
    ['sections in another order', [FUNCTION, TYPE]],
    ['a rest at the end of a section', [[1, [0, 0]]]],
    ['fewer bodies than functions', [TYPE, FUNCTION, [10, [0]]]],
    ['a body that runs out', [TYPE, FUNCTION, [10, [1, 5, 0, 0x0b]]]],
    ['instructions after the end', [TYPE, FUNCTION, [10, [1, 4, 0, 0x0b, 0x01, 0x0b]]]],
    ['an export of nothing', [[7, [1, 1, 0x66, 0, 9]]]],
  ] as const)('%s', (_name, sections) => {
    expect(codeOf(raw(...sections))).toBe('MALFORMED_WASM');
  });
});

describe('names and indexes that meet those of the meter', () => {
  it.each([FUEL_EXPORT, DEPTH_EXPORT])('refuses an export %s of the module', (name) => {
    expect(codeOf(buildModule({ functions: [{ name, code: [] }] }))).toBe('RESERVED_EXPORT');
  });

  it('refuses the other names where the meter would add them, and only there', () => {
    const started = (name: string): Uint8Array =>
      assembleText(`(module (memory 1) (func $s) (start $s) (func (export "${name}")))`);
    for (const name of [REFUSED_EXPORT, START_EXPORT]) {
      expect(codeOf(started(name))).toBe('accepted');
      expect(codeOf(started(name), { memoryPages: 4, deferStart: true })).toBe('RESERVED_EXPORT');
    }
  });

  it('gives guest code no way to its globals', () => {
    // One global of its own: 1 and 2 would be fuel and depth.
    for (const index of [1, 2]) {
      const module: TestModule = { functions: [{ code: [0x23, index, 0x1a] }], global: 5 };
      expect(codeOf(buildModule(module))).toBe('MALFORMED_WASM');
    }
    expect(codeOf(build([0x10, 1]))).toBe('MALFORMED_WASM');
  });

  it('leaves imported globals, functions and memories where they are', () => {
    const bytes = assembleText(`(module
      (import "env" "a" (global $a i32))
      (import "env" "b" (global $b (mut i64)))
      (import "env" "memory" (memory 1 2))
      (import "env" "f" (func $f (result i32)))
      (global $c i32 (global.get $a))
      (func (export "sum") (result i64)
        (global.set $b (i64.add (global.get $b) (i64.const 1)))
        (i64.add (global.get $b) (i64.extend_i32_s (i32.add (call $f) (i32.add (global.get $c) (i32.load (i32.const 8))))))))`);
    const { Global } = Reflect.get(globalThis, 'WebAssembly') as {
      Global: new (type: { value: string; mutable?: boolean }, value: number | bigint) => { value: unknown };
    };
    const memory = new wasm.Memory({ initial: 1, maximum: 2 });
    new DataView(memory.buffer).setInt32(8, 1000, true);
    const b = new Global({ value: 'i64', mutable: true }, 7n);
    const imports = { a: new Global({ value: 'i32' }, 100), b, memory, f: () => 10_000 };
    const exports = start(meterModule(bytes, { memoryPages: 1 }).bytes, imports);
    expect(call(exports, 'sum')).toBe(11_108n);
    expect(b.value).toBe(8n);
  });

  it('defers a start function, and else runs it with the fuel that is there at first', () => {
    const bytes = assembleText(`(module (global $n (mut i32) (i32.const 0))
      (func $s (global.set $n (i32.const 5))) (start $s)
      (func (export "n") (result i32) (global.get $n)))`);
    const atOnce = start(meterModule(bytes).bytes);
    expect(call(atOnce, 'n')).toBe(5);
    const deferred = start(meterModule(bytes, { deferStart: true }).bytes);
    expect(call(deferred, 'n')).toBe(0);
    globalOf<bigint>(deferred, FUEL_EXPORT).value = 1n;
    expect(() => call(deferred, START_EXPORT)).toThrow(wasm.RuntimeError);
    globalOf<bigint>(deferred, FUEL_EXPORT).value = 2n;
    call(deferred, START_EXPORT);
    globalOf<bigint>(deferred, FUEL_EXPORT).value = 100n;
    expect(call(deferred, 'n')).toBe(5);
  });
});

describe('limits of memory and tables', () => {
  const growing = (limits: string, options: meterModule.Options): Exports =>
    start(
      meterModule(
        assembleText(`(module (memory (export "memory") ${limits}) (table $t (export "t") 2 funcref)
        (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0)))
        (func (export "size") (result i32) (memory.size))
        (func (export "table") (param i32) (result i32) (table.grow $t (ref.null func) (local.get 0))))`),
        options,
      ).bytes,
    );

  it('refuses to grow beyond the limit, tells so, and bills it', () => {
    const exports = growing('1', { memoryPages: 3 });
    const fuel = globalOf<bigint>(exports, FUEL_EXPORT);
    fuel.value = 1n << 60n;
    expect(call(exports, 'grow', 1)).toBe(1);
    expect(globalOf<number>(exports, REFUSED_EXPORT).value).toBe(0);
    const before = fuel.value;
    expect(call(exports, 'grow', 2)).toBe(-1);
    expect(before - fuel.value).toBe(2n + 2n * 8192n);
    expect(globalOf<number>(exports, REFUSED_EXPORT).value).toBe(1);
    for (const pages of [0x80001, 0x8000_0001 | 0, -1, -2]) expect(call(exports, 'grow', pages)).toBe(-1);
    expect(call(exports, 'size')).toBe(2);
    expect(call(exports, 'grow', 1)).toBe(2);
    expect(call(exports, 'grow', 0)).toBe(3);
  });

  it("keeps a module's own maximum where it is less", () => {
    const exports = growing('1 2', { memoryPages: 3 });
    expect(call(exports, 'grow', 2)).toBe(-1);
    expect(call(exports, 'grow', 1)).toBe(1);
    expect(call(exports, 'grow', 1)).toBe(-1);
    expect(globalOf<number>(exports, REFUSED_EXPORT).value).toBe(1);
  });

  it('stops a table at its limit', () => {
    const exports = growing('1', { tableElements: 10 });
    expect(call(exports, 'table', 9)).toBe(-1);
    expect(call(exports, 'table', 8)).toBe(2);
    expect(call(exports, 'table', 1)).toBe(-1);
    globalOf<bigint>(exports, FUEL_EXPORT).value = 1000n;
    expect(() => call(exports, 'table', -1)).toThrow(wasm.RuntimeError);
    expect(globalOf<bigint>(exports, FUEL_EXPORT).value).toBeLessThan(0n);
  });
});

describe('damaged modules', () => {
  it('are refused, or what comes out of the meter is valid', () => {
    const random = seededRandom(11);
    const outcomes = new Map<string, number>();
    for (let i = 0; i < 700; i++) {
      const { bytes } = generateModule(seededRandom(i % 50), true);
      const damaged = Uint8Array.from(bytes);
      for (let flips = 1 + random.below(3); flips > 0; flips--) {
        const at = 8 + random.below(damaged.length - 8);
        damaged[at] = random.chance(50) ? random.below(256) : (damaged[at] ?? 0) ^ (1 << random.below(8));
      }
      const code = codeOf(random.chance(10) ? damaged.subarray(0, random.below(damaged.length)) : damaged, {
        memoryPages: 16,
        deferStart: true,
      });
      outcomes.set(code, (outcomes.get(code) ?? 0) + 1);
    }
    expect(outcomes.get('not valid')).toBeUndefined();
    for (const code of ['accepted', 'MALFORMED_WASM', 'UNSUPPORTED_WASM'])
      expect(outcomes.get(code)).toBeGreaterThan(20);
  });
});
