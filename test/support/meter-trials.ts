/**
 * Generated modules before and after the meter: the same results, traps and memory; and after it, everything down to the
 * last unit of fuel as a digest, which must be the same under every compiler.
 *
 * @module
 */

import { toHex, utf8 } from '../../attest/core/bytes.ts';
import { sha256 } from '../../attest/core/hash.ts';
import { type WasmGlobal, type WasmMemory, wasm } from '../../attest/core/webassembly.ts';
import { DEPTH_EXPORT, FUEL_EXPORT, meterModule } from '../../runtime/sandbox/meter.ts';
import { type Random, seededRandom } from './random.ts';
import { F32, F64, I32, I64 } from './wasm-builder.ts';
import { type GeneratedModule, generateModule, STEPS } from './wasm-generator.ts';
import { bitwise, type Callable } from './wast-runner.ts';

const PLENTY = 1n << 50n;
const DEPTH = 1 << 20;
/** Calls made into one instance. */
const CALLS = 3;

/** What one call did; `fuel` is what it used, and `stop` the limit of the meter that it met. */
type Observation = {
  readonly results: readonly string[];
  readonly trap: string;
  readonly memory: string;
  readonly fuel: string;
  readonly stop: '' | 'fuel' | 'depth';
};

type Trial = { readonly failures: string[]; readonly digest: string; readonly traps: number; readonly stopped: number };

/**
 * Makes module `index` and runs it: plain and metered side by side where its NaNs are canonical (even ones), then metered
 * with fuel that ends somewhere.
 */
export function tryModule(seed: number, index: number): Trial {
  const random = seededRandom((seed * 1_000_003 + index) >>> 0);
  const isCanonical = index % 2 === 0;
  const module = generateModule(random, isCanonical);
  const { bytes } = meterModule(module.bytes);
  const calls = planCalls(module, random);
  const failures: string[] = [];
  const full = observe(bytes, module, calls, PLENTY);
  if (isCanonical) {
    for (const [i, plain] of observe(module.bytes, module, calls).entries()) {
      const { results, trap, memory, stop } = full[i] ?? plain;
      const fault = stop === '' && JSON.stringify([results, trap, memory]) === asShown(plain);
      if (!fault) failures.push(`module ${index}, call ${i}: ${asShown(plain)} became ${JSON.stringify(full[i])}`);
    }
  }
  const total = full.reduce((sum, { fuel }) => sum + BigInt(fuel), 0n);
  const fuel = BigInt(random.below(Number(total) + 1));
  const cut = observe(bytes, module, calls, fuel);
  const stopped = cut.some(({ stop }) => stop === 'fuel');
  if (!stopped && fuel < total - 1000n) failures.push(`module ${index}: ${fuel} of ${total} fuel do not run out`);
  const digest = toHex(sha256(utf8(JSON.stringify([full, cut]))));
  return { failures, digest, traps: full.filter(({ trap }) => trap !== '').length, stopped: stopped ? 1 : 0 };
}

function asShown({ results, trap, memory }: Observation): string {
  return JSON.stringify([results, trap, memory]);
}

type Call = { readonly callee: number; readonly args: readonly (number | bigint)[] };

function planCalls(module: GeneratedModule, random: Random): Call[] {
  return Array.from({ length: CALLS }, () => {
    const callee = random.below(module.functions.length);
    const args = (module.functions[callee]?.params ?? []).map((type) => {
      const bytes = random.chance(50) ? random.bytes(8) : Uint8Array.of(random.below(256), 0, 0, 0, 0, 0, 0, 0);
      const view = new DataView(bytes.buffer);
      return type === I64 || type === F64 ? view.getBigInt64(0, true) : view.getInt32(0, true);
    });
    return { callee, args };
  });
}

/** Runs the calls in a new instance; a metered one with fuel for all of them, up to the end of the fuel. */
function observe(bytes: Uint8Array, module: GeneratedModule, calls: readonly Call[], fuel?: bigint): Observation[] {
  const imports = { f0: (a: number, b: bigint) => BigInt.asIntN(64, b * 31n + BigInt(a)) };
  const { exports } = new wasm.Instance(new wasm.Module(bytes), { env: imports });
  const steps = exports['steps'] as WasmGlobal<number>;
  const memory = exports['memory'] as WasmMemory;
  const left = fuel === undefined ? undefined : (exports[FUEL_EXPORT] as WasmGlobal<bigint>);
  const depth = fuel === undefined ? undefined : (exports[DEPTH_EXPORT] as WasmGlobal<number>);
  if (left !== undefined) left.value = fuel ?? 0n;
  const seen: Observation[] = [];
  for (const { callee, args } of calls) {
    const type = module.functions[callee] ?? { params: [], results: [] };
    const call = bitwise(exports[`f${callee}`] as Callable, type);
    steps.value = STEPS;
    if (depth !== undefined) depth.value = DEPTH;
    const before = left?.value ?? 0n;
    let results: string[] = [];
    let trap = '';
    try {
      const value = call(...args);
      results = (Array.isArray(value) ? value : [value]).map((bits, i) => showBits(type.results[i], bits));
    } catch (error) {
      if (!(error instanceof wasm.RuntimeError)) throw error;
      trap = error.message;
    }
    const after = left?.value ?? 0n;
    const stop = after < 0n ? 'fuel' : (depth?.value ?? 0) < 0 ? 'depth' : '';
    const hash = toHex(sha256(new Uint8Array(memory.buffer)));
    seen.push({ results, trap, memory: `${memory.buffer.byteLength} ${hash}`, fuel: String(before - after), stop });
    if (stop === 'fuel') break;
  }
  return seen;
}

/** Bits of a result; all NaNs alike, since a plain module's differ from host to host. */
function showBits(type: number | undefined, bits: unknown): string {
  if (type === F32 && (Number(bits) & 0x7fff_ffff) > 0x7f80_0000) return 'nan';
  if (type === F64 && (BigInt(bits as bigint) & 0x7fff_ffff_ffff_ffffn) > 0x7ff0_0000_0000_0000n) return 'nan';
  return type === undefined || type === I32 || type === I64 || type === F32 || type === F64 ? String(bits) : '';
}
