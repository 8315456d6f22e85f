import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { describe, expect, it } from 'vitest';
import { type WasmGlobal, wasm } from '../../../attest/core/webassembly.ts';
import { DEPTH_EXPORT, FUEL_EXPORT, meterModule } from '../../../runtime/sandbox/meter.ts';
import { MeterError } from '../../../runtime/sandbox/wasm-reader.ts';
import { seededRandom } from '../../support/random.ts';
import { buildModule, F32, F64, I32, I64, sleb, type TestModule } from '../../support/wasm-builder.ts';

type Instance = {
  readonly call: (name: string, ...args: readonly (number | bigint)[]) => unknown;
  readonly fuel: WasmGlobal<bigint>;
  readonly depth: WasmGlobal<number>;
  readonly memory: { readonly buffer: ArrayBuffer };
};

function start(bytes: Uint8Array, imports: Record<string, unknown> = {}): Instance {
  const { exports } = new wasm.Instance(new wasm.Module(bytes), { env: imports });
  return {
    call: (name, ...args) => (exports[name] as (...values: readonly (number | bigint)[]) => unknown)(...args),
    fuel: exports[FUEL_EXPORT] as WasmGlobal<bigint>,
    depth: exports[DEPTH_EXPORT] as WasmGlobal<number>,
    memory: exports['memory'] as { readonly buffer: ArrayBuffer },
  };
}

const metered = (module: TestModule, imports?: Record<string, unknown>): Instance =>
  start(meterModule(buildModule(module)).bytes, imports);

/** Fuel that a call uses. */
function cost(instance: Instance, name: string, ...args: readonly (number | bigint)[]): bigint {
  const before = instance.fuel.value;
  instance.call(name, ...args);
  return before - instance.fuel.value;
}

const codeOf = (run: () => unknown): string => {
  try {
    run();
  } catch (error) {
    if (error instanceof MeterError) return error.code;
    throw error;
  }
  return 'accepted';
};

// for (;;) { if (--n == 0) break; }
const countdown = {
  name: 'countdown',
  params: [I32],
  code: [0x03, 0x40, 0x20, 0, 0x41, 1, 0x6b, 0x22, 0, 0x0d, 0, 0x0b],
};
const forever = { name: 'forever', code: [0x03, 0x40, 0x0c, 0, 0x0b] };
const nop = { name: 'nop', code: [0x01] };

describe('fuel', () => {
  it('costs one unit an instruction, each time a block runs', () => {
    const instance = metered({ functions: [countdown, nop] });
    expect(cost(instance, 'countdown', 1)).toBe(5n);
    expect(cost(instance, 'countdown', 1000)).toBe(5000n);
    expect(cost(instance, 'nop')).toBe(0n);
  });

  it('bills the branch that is taken and not the other', () => {
    const code = [0x20, 0, 0x04, I32, 0x41, 1, 0x05, 0x41, 1, 0x41, 1, 0x6a, 0x41, 1, 0x6a, 0x0b];
    const instance = metered({ functions: [{ name: 'pick', params: [I32], results: [I32], code }] });
    expect(cost(instance, 'pick', 1)).toBe(3n);
    expect(cost(instance, 'pick', 0)).toBe(7n);
  });

  it('stops an endless loop at the same place whatever it is given', () => {
    const instance = metered({ functions: [forever] });
    for (const fuel of [0n, 1n, 1000n]) {
      instance.fuel.value = fuel;
      expect(() => instance.call('forever')).toThrow(wasm.RuntimeError);
      expect(instance.fuel.value).toBe(-1n);
    }
  });

  it('stops a function at its entry when nothing is left', () => {
    const instance = metered({ functions: [{ name: 'f', code: [0x41, 1, 0x1a] }] });
    instance.fuel.value = 1n;
    expect(() => instance.call('f')).toThrow(wasm.RuntimeError);
    instance.fuel.value = 2n;
    instance.call('f');
    expect(instance.fuel.value).toBe(0n);
  });

  it('bills bulk memory by its length before it is done', () => {
    const fill = { name: 'fill', params: [I32], code: [0x41, 0, 0x41, 7, 0x20, 0, 0xfc, 0x0b, 0] };
    const copy = { name: 'copy', params: [I32], code: [0x41, 0, 0x41, 1, 0x20, 0, 0xfc, 0x0a, 0, 0] };
    const instance = metered({ functions: [fill, copy], memory: [1, 1] });
    expect(cost(instance, 'fill', 0)).toBe(4n);
    expect(cost(instance, 'fill', 65536)).toBe(4n + 8192n);
    expect(cost(instance, 'copy', 65535)).toBe(4n + 8191n);
    new Uint8Array(instance.memory.buffer).fill(1);
    instance.fuel.value = 100n;
    expect(() => instance.call('fill', 65536)).toThrow(wasm.RuntimeError);
    expect(new Uint8Array(instance.memory.buffer)[0]).toBe(1);
    expect(instance.fuel.value).toBe(100n - 4n - 8192n);
  });

  it('bills memory.grow in 64 bits and hands its operand on untouched', () => {
    const grow = { name: 'grow', params: [I32], results: [I32], code: [0x20, 0, 0x40, 0] };
    const instance = metered({ functions: [grow], memory: [1, 4] });
    expect(cost(instance, 'grow', 2)).toBe(2n + 2n * 8192n);
    expect(instance.memory.buffer.byteLength).toBe(3 * 65536);
    instance.fuel.value = 1n << 60n;
    // The prototype shifted the operand and answered 1 here.
    expect(instance.call('grow', 0x80001)).toBe(-1);
    expect(instance.call('grow', 0x80000001 | 0)).toBe(-1);
    expect(instance.call('grow', -1)).toBe(-1);
    expect(instance.memory.buffer.byteLength).toBe(3 * 65536);
    instance.fuel.value = 10_000n;
    expect(() => instance.call('grow', -1)).toThrow(wasm.RuntimeError);
    expect(instance.fuel.value).toBe(10_000n - 2n - 0xffffffffn * 8192n);
  });
});

describe('depth', () => {
  // f(n) = n == 0 ? 0 : 1 + f(n - 1)
  const recurse = {
    name: 'recurse',
    params: [I32],
    results: [I32],
    code: [0x20, 0, 0x45, 0x04, 0x40, 0x41, 0, 0x0f, 0x0b, 0x41, 1, 0x20, 0, 0x41, 1, 0x6b, 0x10, 0, 0x6a],
  };

  it('weighs a frame by parameters, locals and greatest operand height', () => {
    // One parameter, no local, three operands at most: 48 + 8 * 4.
    const instance = metered({ functions: [recurse] });
    instance.depth.value = 80 * 11;
    expect(instance.call('recurse', 10)).toBe(10);
    expect(instance.depth.value).toBe(80 * 11);
    expect(() => instance.call('recurse', 11)).toThrow(wasm.RuntimeError);
    expect(instance.depth.value).toBe(-80);
  });

  it('counts operands alone too', () => {
    const height = 300;
    const push = Array.from({ length: height }, () => [0x41, 1]).flat();
    const drop = Array.from({ length: height }, () => 0x1a);
    const instance = metered({ functions: [nop, { name: 'tall', code: [...push, 0x10, 0, ...drop] }] });
    instance.depth.value = 48 + 8 * height - 1;
    expect(() => instance.call('tall')).toThrow(wasm.RuntimeError);
    instance.depth.value = 48 + 8 * height;
    instance.call('tall');
    expect(instance.depth.value).toBe(48 + 8 * height);
  });

  it('gives the frame back on return, branch out and several results', () => {
    const results = [I32, I64];
    const functions = [
      nop,
      {
        name: 'early',
        params: [I32],
        results: [I32],
        code: [0x10, 0, 0x20, 0, 0x04, 0x40, 0x41, 7, 0x0f, 0x0b, 0x41, 9],
      },
      { name: 'branch', params: [I32], results: [I32], code: [0x10, 0, 0x02, 0x40, 0x41, 5, 0x0c, 1, 0x0b, 0x41, 6] },
      { name: 'pair', results, code: [0x10, 0, 0x41, 3, 0x42, 4, 0x0f] },
    ];
    const instance = metered({ functions });
    const depth = instance.depth.value;
    expect(instance.call('early', 1)).toBe(7);
    expect(instance.call('early', 0)).toBe(9);
    expect(instance.call('branch', 0)).toBe(5);
    expect(instance.call('pair')).toEqual([3, 4n]);
    expect(instance.depth.value).toBe(depth);
  });

  it('refuses a function of more than 1,000 slots and takes one of 1,000', () => {
    const withLocals = (count: number) => buildModule({ functions: [{ locals: [[count, I32]], code: [] }] });
    expect(codeOf(() => meterModule(withLocals(1000)))).toBe('accepted');
    expect(codeOf(() => meterModule(withLocals(1001)))).toBe('FRAME_TOO_LARGE');
    const operands = Array.from({ length: 600 }, () => [0x41, 1]).flat();
    const drops = Array.from({ length: 600 }, () => 0x1a);
    const both = buildModule({ functions: [{ locals: [[401, I64]], code: [...operands, ...drops] }] });
    expect(codeOf(() => meterModule(both))).toBe('FRAME_TOO_LARGE');
  });
});

describe('NaN', () => {
  it('is canonical after arithmetic on 64 bits', () => {
    // bits(a + b)
    const code = [0x20, 0, 0xbf, 0x20, 1, 0xbf, 0xa0, 0xbd];
    const instance = metered({ functions: [{ name: 'add', params: [I64, I64], results: [I64], code }] });
    expect(instance.call('add', 0x7ff8_0000_0000_1234n, 0n)).toBe(0x7ff8_0000_0000_0000n);
    expect(instance.call('add', 0x7ff0_0000_0000_0000n, -(0x10n << 48n))).toBe(0x7ff8_0000_0000_0000n);
    expect(instance.call('add', 0x3ff0_0000_0000_0000n, 0x3ff0_0000_0000_0000n)).toBe(0x4000_0000_0000_0000n);
  });

  it('is canonical after arithmetic on 32 bits, promotion and demotion', () => {
    const sqrt = { name: 'sqrt', params: [I32], results: [I32], code: [0x20, 0, 0xbe, 0x91, 0xbc] };
    const demote = { name: 'demote', params: [I64], results: [I32], code: [0x20, 0, 0xbf, 0xb6, 0xbc] };
    const promote = { name: 'promote', params: [I32], results: [I64], code: [0x20, 0, 0xbe, 0xbb, 0xbd] };
    const instance = metered({ functions: [sqrt, demote, promote] });
    expect(instance.call('sqrt', 0x7fc0_1234)).toBe(0x7fc0_0000);
    expect(instance.call('sqrt', 0xbf80_0000 | 0)).toBe(0x7fc0_0000);
    expect(instance.call('demote', 0x7ff8_1234_0000_0000n)).toBe(0x7fc0_0000);
    expect(instance.call('promote', 0x7fc0_1234)).toBe(0x7ff8_0000_0000_0000n);
  });

  it('keeps its bits where no arithmetic is done', () => {
    const code = [0x20, 0, 0xbf, 0x9a, 0xbd];
    const instance = metered({ functions: [{ name: 'negate', params: [I64], results: [I64], code }] });
    expect(instance.call('negate', 0x7ff8_0000_0000_1234n)).toBe(BigInt.asIntN(64, 0xfff8_0000_0000_1234n));
  });
});

describe('what is refused', () => {
  const body = (...code: number[]) => buildModule({ functions: [{ code }], memory: [1, 1] });
  const shared = buildModule({ functions: [nop], memory: [1, 1] });
  // Limits of the memory section: flags 1 -> 3 is shared, 5 is 64-bit.
  const memoryFlags = shared.findIndex((byte, i) => byte === 5 && shared[i + 1] === 4 && shared[i + 3] === 1) + 3;
  const withFlags = (flags: number) => shared.map((byte, i) => (i === memoryFlags ? flags : byte));

  it.each([
    ['vectors', body(0xfd, 12, ...Array.from({ length: 16 }, () => 0), 0x1a)],
    ['atomic fence', body(0xfe, 3, 0)],
    ['tail calls', body(0x12, 0)],
    ['exceptions', body(0x06, 0x40, 0x19, 0x0b)],
    ['shared memory', withFlags(3)],
    ['64-bit memory', withFlags(5)],
  ])('%s', (_name, bytes) => {
    // A host that does not know the proposal says so first.
    expect(['UNSUPPORTED_WASM', 'MALFORMED_WASM']).toContain(codeOf(() => meterModule(bytes)));
  });

  it('tail calls and shared memory by their names, as this host knows them', () => {
    expect(codeOf(() => meterModule(body(0xfd, 12, ...Array.from({ length: 16 }, () => 0), 0x1a)))).toBe(
      'UNSUPPORTED_WASM',
    );
    expect(codeOf(() => meterModule(withFlags(3)))).toBe('UNSUPPORTED_WASM');
  });

  it.each([
    ['nothing', new Uint8Array()],
    ['other bytes', new TextEncoder().encode('not a module at all')],
    ['a stack underflow', body(0x6a, 0x1a)],
    ['a body without end', buildModule({ functions: [nop] }).subarray(0, -1)],
  ])('%s', (_name, bytes) => {
    expect(codeOf(() => meterModule(bytes))).toBe('MALFORMED_WASM');
  });
});

describe('the engine itself', () => {
  const source = readFileSync(createRequire(import.meta.url).resolve('@jitl/quickjs-wasmfile-release-sync/wasm'));

  it('is rewritten to the same bytes each time, and the result is valid', () => {
    const first = meterModule(source);
    expect(wasm.validate(first.bytes)).toBe(true);
    expect(Buffer.compare(first.bytes, meterModule(source).bytes)).toBe(0);
    expect(first.functions).toBe(1321);
    expect(first.greatestFrame).toBe(544);
  });

  it('never crashes on a damaged copy, and what it accepts stays valid', () => {
    const random = seededRandom(7);
    const outcomes = { refused: 0, accepted: 0 };
    for (let i = 0; i < 20; i++) {
      const damaged = Uint8Array.from(source);
      const at = random.below(damaged.length);
      damaged[at] = (damaged[at] ?? 0) ^ (1 << random.below(8));
      try {
        expect(wasm.validate(meterModule(damaged).bytes)).toBe(true);
        outcomes.accepted++;
      } catch (error) {
        expect(error).toBeInstanceOf(MeterError);
        outcomes.refused++;
      }
    }
    expect(outcomes.refused).toBeGreaterThan(0);
  });

  it('keeps other constants, imports and globals where they were', () => {
    const module: TestModule = {
      imports: [{ params: [F32, F64], results: [I32] }],
      functions: [
        { name: 'twice', results: [I32], code: [0x43, 0, 0, 0x80, 0x3f, 0x44, 0, 0, 0, 0, 0, 0, 0, 0x40, 0x10, 0] },
        { name: 'global', results: [I32], code: [0x23, 0, 0x41, ...sleb(-5), 0x6a, 0x24, 0, 0x23, 0] },
      ],
      global: 1_000_000,
    };
    const instance = metered(module, { f0: (a: number, b: number) => 10 * a + b });
    expect(instance.call('twice')).toBe(12);
    expect(instance.call('global')).toBe(999_995);
  });
});
