/**
 * Runs a script of the WebAssembly test suite twice, side by side: its modules as they are, and rewritten by the meter.
 * Both must do what the script asserts.
 *
 * @module
 */

import { type WasmGlobal, wasm } from '../../attest/core/webassembly.ts';
import { DEPTH_EXPORT, FUEL_EXPORT, meterModule } from '../../runtime/sandbox/meter.ts';
import { type FunctionType, MeterError, type ModuleShape, readModule } from '../../runtime/sandbox/wasm-reader.ts';
import { buildModule } from './wasm-builder.ts';
import { assembleText } from './wasm-text.ts';
import {
  headOf,
  itemsOf,
  readScript,
  type Sexp,
  stringBytes,
  stringText,
  ValueReader,
  type WastValue,
} from './wast.ts';

/** What came of a script: how many commands of each kind ran, were not run (by reason), and which failed. */
export type WastOutcome = {
  readonly run: Map<string, number>;
  readonly skipped: Map<string, number>;
  readonly failures: string[];
};

type Exports = Readonly<Record<string, unknown>>;
export type Callable = (...args: readonly unknown[]) => unknown;

/** A module with its two instances; absent where the meter or the assembler does not take it. */
type Pair = { readonly shape: ModuleShape; readonly plain: Exports; readonly metered: Exports };

/** Why a command is not run. */
class NotRun extends Error {}

const { LinkError, Table, Global } = Reflect.get(globalThis, 'WebAssembly') as {
  LinkError: new () => Error;
  Table: new (limits: object) => unknown;
  Global: new (type: object, value: unknown) => unknown;
};

/** Depth of a rewritten instance: enough for the suite, and met before the stack of the test's thread. */
const DEPTH = 1 << 18;
const FUEL = 1n << 50n;

/** Runs a script. */
export function runWast(source: string): WastOutcome {
  return new Runner(source).run();
}

class Runner {
  readonly #script: readonly Sexp[];
  readonly #values: ValueReader;
  readonly #worlds: readonly [World, World] = [new World(), new World()];
  readonly #named = new Map<string, Pair | NotRun>();
  readonly #definitions = new Map<string, Uint8Array>();
  readonly #outcome: WastOutcome = { run: new Map(), skipped: new Map(), failures: [] };
  #current: Pair | NotRun = new NotRun('no module');

  constructor(source: string) {
    this.#script = readScript(source);
    this.#values = new ValueReader(this.#script);
  }

  run(): WastOutcome {
    for (const command of this.#script) {
      const kind = headOf(command);
      try {
        this.#command(kind, command);
        add(this.#outcome.run, kind);
      } catch (error) {
        if (error instanceof NotRun) add(this.#outcome.skipped, `${kind}: ${error.message}`);
        else this.#outcome.failures.push(`${textOf(command).slice(0, 200)}: ${String(error)}`);
      }
    }
    return this.#outcome;
  }

  #command(kind: string, command: Sexp): void {
    const items = itemsOf(command);
    if (kind === 'module') this.#module(command);
    else if (kind === 'register') this.#register(items);
    else if (kind === 'invoke' || kind === 'get') same(...this.#act(command));
    else if (kind === 'assert_return') this.#assertReturn(items);
    else if (kind === 'assert_trap') this.#assertTrap(items);
    else if (kind === 'assert_exhaustion') this.#assertExhaustion(items);
    else if (kind === 'assert_unlinkable') this.#assertUnlinkable(items);
    else if (kind === 'assert_invalid' || kind === 'assert_malformed') this.#assertRefused(items);
    else throw new NotRun('unknown command');
  }

  #module(command: Sexp): void {
    const items = itemsOf(command);
    const words = items.slice(1, 3).filter((item): item is string => typeof item === 'string');
    const name = words.find((word) => word.startsWith('$'));
    try {
      if (words[0] === 'definition') {
        this.#definitions.set(name ?? '', moduleBytes(command));
        return;
      }
      const bytes = words[0] === 'instance' ? this.#definitions.get(String(items.at(-1))) : moduleBytes(command);
      if (bytes === undefined) throw new NotRun('unknown module definition');
      this.#current = this.#instantiate(bytes);
    } catch (error) {
      this.#current = error instanceof NotRun ? error : new NotRun('module failed');
      throw error;
    } finally {
      const bound = words[0] === 'instance' ? words[1] : name;
      if (bound !== undefined && words[0] !== 'definition') this.#named.set(bound, this.#current);
    }
  }

  #instantiate(bytes: Uint8Array): Pair {
    const [shape, rewritten] = meter(bytes);
    const [plain, metered] = this.#worlds;
    const pair = { shape, plain: plain.instantiate(bytes), metered: metered.instantiate(rewritten) };
    (pair.metered[FUEL_EXPORT] as WasmGlobal<bigint>).value = FUEL;
    (pair.metered[DEPTH_EXPORT] as WasmGlobal<number>).value = DEPTH;
    return pair;
  }

  #register(items: readonly Sexp[]): void {
    const pair = this.#pair(items[2]);
    const name = stringText(items[1]);
    this.#worlds[0].register(name, pair.plain);
    this.#worlds[1].register(name, pair.metered);
  }

  #pair(name: Sexp | undefined): Pair {
    const pair = typeof name === 'string' ? this.#named.get(name) : this.#current;
    if (pair === undefined) throw new TypeError(`no module ${String(name)}`);
    if (pair instanceof NotRun) throw new NotRun(`its module: ${pair.message}`);
    return pair;
  }

  /** Performs an action in both worlds; an exception is an outcome too. */
  #act(action: Sexp): [Outcome, Outcome] {
    const [kind, ...rest] = itemsOf(action);
    const name = typeof rest[0] === 'string' && rest[0].startsWith('$') ? rest.shift() : undefined;
    const { shape, plain, metered } = this.#pair(name);
    const field = stringText(rest.shift());
    const exported = shape.exports.get(field);
    if (exported === undefined) throw new NotRun('its function is not known to the assembler');
    if (kind === 'get') {
      return [plain, metered].map((world) => attempt(() => [(world[field] as WasmGlobal<number>).value], world)) as [
        Outcome,
        Outcome,
      ];
    }
    const type = shape.types[shape.functions[exported.index] ?? -1];
    if (type === undefined) throw new TypeError(`no type of ${field}`);
    const args = rest.map((sexp) => {
      const value = this.#values.read(sexp);
      if (value === undefined) throw new NotRun(`argument ${headOf(sexp)}`);
      return valueToHost(value);
    });
    return [plain, metered].map((world) => {
      const call = bitwise(world[field] as Callable, type);
      return attempt(() => call(...args), world);
    }) as [Outcome, Outcome];
  }

  #assertReturn(items: readonly Sexp[]): void {
    const expected = items.slice(2).map((sexp) => {
      const value = this.#values.read(sexp);
      if (value === undefined) throw new NotRun(`result ${headOf(sexp)}`);
      return value;
    });
    const isGet = headOf(items[1]) === 'get';
    for (const [world, outcome] of this.#act(items[1] ?? '').entries()) {
      if (outcome.thrown !== undefined) throw new TypeError(`${WORLDS[world]} threw ${String(outcome.thrown)}`);
      if (outcome.values.length !== expected.length) throw new TypeError(`${outcome.values.length} results`);
      for (const [i, value] of expected.entries()) {
        const ok = isGet ? matchesNumber(outcome.values[i], value) : matches(outcome.values[i], value);
        if (!ok) throw new TypeError(`${WORLDS[world]} gave ${String(outcome.values[i])}`);
      }
    }
  }

  #assertTrap(items: readonly Sexp[]): void {
    const wanted = stringText(items[2]);
    const [plain, metered] =
      headOf(items[1]) === 'module' ? this.#trapModule(items[1] ?? '') : this.#act(items[1] ?? '');
    for (const [world, { thrown, exhausted }] of [plain, metered].entries()) {
      if (exhausted !== undefined) throw new TypeError(`the meter stopped it: ${exhausted}`);
      if (!isTrap(thrown, wanted)) throw new TypeError(`${WORLDS[world]}: ${String(thrown)}, not ${wanted}`);
    }
    if (String(plain.thrown) !== String(metered.thrown)) throw new TypeError(`metered: ${String(metered.thrown)}`);
  }

  #trapModule(module: Sexp): [Outcome, Outcome] {
    const bytes = moduleBytes(module, { whole: true });
    const [, rewritten] = meter(bytes);
    const [plain, metered] = this.#worlds;
    return [attempt(() => [plain.instantiate(bytes)], {}), attempt(() => [metered.instantiate(rewritten)], {})];
  }

  #assertExhaustion(items: readonly Sexp[]): void {
    const [plain, metered] = this.#act(items[1] ?? '');
    if (!(plain.thrown instanceof RangeError)) throw new TypeError(`plain: ${String(plain.thrown)}`);
    if (metered.exhausted !== 'depth') throw new TypeError(`metered: ${String(metered.thrown)}`);
    const { metered: world } = this.#pair(
      itemsOf(items[1])[1]?.toString().startsWith('$') ? itemsOf(items[1])[1] : undefined,
    );
    (world[DEPTH_EXPORT] as WasmGlobal<number>).value = DEPTH;
  }

  #assertUnlinkable(items: readonly Sexp[]): void {
    const [plain, metered] = this.#trapModule(items[1] ?? '');
    for (const [world, { thrown }] of [plain, metered].entries()) {
      // The API of JavaScript calls a module name that nobody gave a TypeError.
      if (!(thrown instanceof LinkError || thrown instanceof TypeError)) {
        throw new TypeError(`${WORLDS[world]} linked, or ${String(thrown)}`);
      }
    }
  }

  #assertRefused(items: readonly Sexp[]): void {
    const [, form] = itemsOf(items[1]);
    if (form === 'quote') throw new NotRun('a matter of the text format');
    const bytes = moduleBytes(items[1] ?? '', { whole: true, check: false });
    try {
      meterModule(bytes);
    } catch (error) {
      if (error instanceof MeterError) return;
      throw error;
    }
    throw new TypeError('the meter took it');
  }
}

const WORLDS = ['plain', 'metered'] as const;

/** Instances that may import from each other. */
class World {
  readonly #modules: Record<string, Exports> = {
    spectest: {
      print: () => undefined,
      print_i32: () => undefined,
      print_i64: () => undefined,
      print_f32: () => undefined,
      print_f64: () => undefined,
      print_i32_f32: () => undefined,
      print_f64_f64: () => undefined,
      global_i32: new Global({ value: 'i32' }, 666),
      global_i64: new Global({ value: 'i64' }, 666n),
      global_f32: new Global({ value: 'f32' }, 666.6),
      global_f64: new Global({ value: 'f64' }, 666.6),
      table: new Table({ element: 'anyfunc', initial: 10, maximum: 20 }),
      memory: new wasm.Memory({ initial: 1, maximum: 2 }),
    },
  };

  register(name: string, exports: Exports): void {
    this.#modules[name] = exports;
  }

  instantiate(bytes: Uint8Array): Exports {
    return new wasm.Instance(new wasm.Module(Uint8Array.from(bytes)), this.#modules).exports;
  }
}

type Outcome = {
  readonly values: readonly unknown[];
  readonly thrown?: unknown;
  /** Which limit of the meter was met. */
  readonly exhausted?: 'fuel' | 'depth';
};

function attempt(run: () => unknown, world: Exports): Outcome {
  try {
    const result = run();
    return { values: Array.isArray(result) ? result : result === undefined ? [] : [result] };
  } catch (thrown) {
    const fuel = world[FUEL_EXPORT] as WasmGlobal<bigint> | undefined;
    const depth = world[DEPTH_EXPORT] as WasmGlobal<number> | undefined;
    if (fuel !== undefined && fuel.value < 0n) return { values: [], thrown, exhausted: 'fuel' };
    if (depth !== undefined && depth.value < 0) return { values: [], thrown, exhausted: 'depth' };
    // A trap leaves the frames that it tore down uncounted; the next call of the script begins anew.
    if (depth !== undefined) depth.value = DEPTH;
    return { values: [], thrown };
  }
}

function same(plain: Outcome, metered: Outcome): void {
  if (plain.thrown !== undefined) throw new TypeError(`plain threw ${String(plain.thrown)}`);
  if (metered.thrown !== undefined) throw new TypeError(`metered threw ${String(metered.thrown)}`);
}

function meter(bytes: Uint8Array): [ModuleShape, Uint8Array] {
  try {
    return [readModule(bytes), meterModule(bytes).bytes];
  } catch (error) {
    if (error instanceof MeterError && error.code !== 'MALFORMED_WASM') {
      throw new NotRun(`refused by the meter: ${error.code}: ${error.message}`);
    }
    throw error;
  }
}

/** Bytes of a module in any of its forms. */
function moduleBytes(sexp: Sexp, { check = true, whole = false } = {}): Uint8Array {
  const items = itemsOf(sexp).filter((item) => item !== 'definition');
  const form = items.find((item, i) => i > 0 && i < 3 && (item === 'binary' || item === 'quote'));
  const strings = (): Uint8Array =>
    Buffer.concat(items.filter((item) => typeof item === 'string' && item.startsWith('"')).map(stringBytes));
  if (form === 'binary') return Uint8Array.from(strings());
  let text = textOf(sexp).replace(/^\(\s*module\s+definition/, '(module');
  if (form === 'quote') {
    text = new TextDecoder().decode(strings());
    if (!text.trimStart().startsWith('(module')) text = `(module ${text})`;
  }
  return assembleMost(text, check, whole);
}

/** Assembles a module; fields of features that the assembler does not know are left out, as far as nothing else needs them. */
function assembleMost(text: string, check: boolean, whole: boolean): Uint8Array {
  let rest = text;
  const fields = itemsOf(readScript(text)[0]).slice(1);
  for (let tries = 0; tries <= fields.length; tries++) {
    try {
      return assembleText(rest, check);
    } catch (error) {
      const line = Number(/module\.wat:(\d+):/.exec(String(error))?.[1]);
      const shorter = whole ? undefined : withoutField(rest, fields, line);
      if (shorter === undefined) break;
      rest = shorter;
    }
  }
  throw new NotRun('not known to the assembler');
}

/** Blanks the field of a module that holds a line; undefined where there is none, or nothing is left. */
function withoutField(text: string, fields: readonly Sexp[], line: number): string | undefined {
  const offset =
    text
      .split('\n')
      .slice(0, line - 1)
      .join('\n').length + 1;
  const end = text.indexOf('\n', offset) === -1 ? text.length : text.indexOf('\n', offset);
  for (const field of fields) {
    const at = text.indexOf(textOf(field));
    const to = at + textOf(field).length;
    if (typeof field === 'string' || at === -1 || at >= end || to <= offset) continue;
    // Without these the rest would do something else.
    if (/^(data|elem|memory|start)$/.test(headOf(field))) return undefined;
    const blank = field.text.replaceAll(/[^\n]/g, ' ');
    return text.slice(0, at) + blank + text.slice(to);
  }
  return undefined;
}

function textOf(sexp: Sexp): string {
  return typeof sexp === 'string' ? sexp : sexp.text;
}

const EXTERNS = new Map<number, object>();

function externOf(id: number): object {
  const known = EXTERNS.get(id);
  const made = known ?? { id };
  if (known === undefined) EXTERNS.set(id, made);
  return made;
}

function valueToHost(value: WastValue): unknown {
  if (value.type === 'null') return null;
  if (value.type === 'extern') return externOf(value.id ?? 0);
  if (!('bits' in value)) throw new NotRun(`argument ${value.type}`);
  return value.type === 'i32' || value.type === 'f32'
    ? Number(BigInt.asIntN(32, value.bits))
    : BigInt.asIntN(64, value.bits);
}

/** Whether bits are what a script expects. */
function matches(got: unknown, value: WastValue): boolean {
  if (value.type === 'null') return got === null;
  if (value.type === 'func') return typeof got === 'function';
  if (value.type === 'extern') return value.id === undefined ? got !== null : got === externOf(value.id);
  const width = value.type === 'i32' || value.type === 'f32' ? 32 : 64;
  const bits = BigInt.asUintN(width, BigInt(got as number | bigint));
  if ('bits' in value) return bits === value.bits;
  const quiet = width === 32 ? 0x7fc0_0000n : 0x7ff8_0000_0000_0000n;
  const magnitude = bits & ((1n << BigInt(width - 1)) - 1n);
  return value.nan === 'canonical' ? magnitude === quiet : (magnitude & quiet) === quiet;
}

/** Whether a global has the value that a script expects, as far as the API of JavaScript shows it. */
function matchesNumber(got: unknown, value: WastValue): boolean {
  if (value.type !== 'f32' && value.type !== 'f64') return matches(got, value);
  if (!('bits' in value)) return Number.isNaN(got);
  const view = new DataView(new ArrayBuffer(8));
  if (value.type === 'f32') view.setUint32(0, Number(value.bits));
  else view.setBigUint64(0, value.bits);
  return Object.is(got, value.type === 'f32' ? view.getFloat32(0) : view.getFloat64(0));
}

/** What V8 says for each of the standard's words for a trap; V8 has fewer of them. */
const TRAPS: readonly (readonly [standard: RegExp, v8: RegExp])[] = [
  [/^unreachable$/, /^unreachable$/],
  [/^integer divide by zero$/, /^(divide|remainder) by zero$/],
  [/^integer overflow$/, /^(divide result|float) unrepresentable/],
  [/^invalid conversion to integer$/, /^float unrepresentable/],
  [/^out of bounds memory access$/, /^memory access out of bounds$|^data segment( \d+)? is out of bounds/],
  // Older scripts say no more than this.
  [/^out of bounds$/, /out of bounds/],
  [/^(out of bounds table access|undefined element)/, /^table (index|access)|element segment|^table or segment/],
  [/^(uninitialized element|indirect call type mismatch)/, /^null function or function signature mismatch/],
];

function isTrap(thrown: unknown, wanted: string): boolean {
  const known = TRAPS.find(([standard]) => standard.test(wanted));
  if (!(thrown instanceof wasm.RuntimeError) || known === undefined) return false;
  return known[1].test(thrown.message.replace(/^WebAssembly\.Instance\(\): /, ''));
}

const WRAPPERS = new Map<string, unknown>();

/** A function whose floats cross as the integers of their bits: the API of JavaScript changes the bits of a NaN. */
export function bitwise(target: Callable, { params, results }: FunctionType): Callable {
  const key = `${params.join()}>${results.join()}`;
  let module = WRAPPERS.get(key) as ReturnType<typeof makeWrapper> | undefined;
  if (module === undefined) {
    module = makeWrapper(params, results);
    WRAPPERS.set(key, module);
  }
  return new wasm.Instance(module, { env: { f0: target } }).exports['call'] as Callable;
}

function makeWrapper(params: readonly number[], results: readonly number[]) {
  const asBits = (types: readonly number[]): number[] => types.map((type) => ({ 125: 0x7f, 124: 0x7e })[type] ?? type);
  const code = params.flatMap((type, i) => [0x20, i, ...({ 125: [0xbe], 124: [0xbf] }[type] ?? [])]);
  code.push(0x10, 0);
  const first = params.length;
  for (const i of [...results.keys()].reverse()) code.push(0x21, first + i);
  for (const [i, type] of results.entries()) code.push(0x20, first + i, ...({ 125: [0xbc], 124: [0xbd] }[type] ?? []));
  return new wasm.Module(
    buildModule({
      imports: [{ params, results }],
      functions: [
        {
          name: 'call',
          params: asBits(params),
          results: asBits(results),
          locals: results.map((type) => [1, type] as const),
          code,
        },
      ],
    }),
  );
}

function add(counts: Map<string, number>, key: string): void {
  counts.set(key, (counts.get(key) ?? 0) + 1);
}
