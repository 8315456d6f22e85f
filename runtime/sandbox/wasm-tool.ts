/**
 * A tool that is a WebAssembly program (WASI preview 1 command), synchronously: metered, instantiated with fixed imports
 * only, its input on stdin and its result on stdout. It makes no host calls, so it never waits. Runs in the worker.
 *
 * Spec: `runtime/spec/sandbox.md#wasm-tools`.
 *
 * @module
 */

import { utf8 } from '../../attest/core/bytes.ts';
import { RuntimeError } from '../../attest/core/error.ts';
import { type WasmGlobal, type WasmMemory, type WasmModule, wasm } from '../../attest/core/webassembly.ts';
import { fromBase64 } from '../../attest/encoding/base64.ts';
import { canonicalJson } from '../../attest/encoding/canonical-json.ts';
import { EncodingError } from '../../attest/encoding/errors.ts';
import { asHostFault } from './guest-session.ts';
import { DEPTH_EXPORT, FUEL_EXPORT, meterModule, REFUSED_EXPORT, START_EXPORT } from './meter.ts';
import { DEPTH_BUDGET } from './quickjs-instance.ts';
import { parseValue } from './values.ts';
import { type GuestError, type GuestErrorCode, HostFault, type VmOptions, type VmState } from './vm.ts';
import { makeWasiImports, WASI_MODULE, WasiExit, wasiSignature } from './wasi.ts';
import { openGuestRandom } from './wasi-random.ts';
import { MeterError, type ModuleShape, readModule } from './wasm-reader.ts';
import { WasmToolOutput } from './wasm-tool-output.ts';

/** Greatest number of tables of a tool. */
const MAX_TABLES = 16;
/** Greatest number of elements of a table of a tool; more are not given to `table.grow`. */
export const MAX_TABLE_ELEMENTS = 131_072;
/** Rewritten modules kept for the next session. */
const MOST_KEPT = 4;
const PAGE_BYTES = 65_536;

/** A tool's module, ready to be instantiated, or why it cannot be; the same for the same source and memory. */
type Prepared = { readonly module: WasmModule } | { readonly error: GuestError };

const prepared = new Map<string, Prepared>();

type Exports = {
  readonly [FUEL_EXPORT]: WasmGlobal<bigint>;
  readonly [DEPTH_EXPORT]: WasmGlobal<number>;
  /** 1 after a `memory.grow` beyond the limit, 2 after one within it that the host refused. */
  readonly [REFUSED_EXPORT]: WasmGlobal<number>;
  readonly [START_EXPORT]?: () => void;
  readonly memory: WasmMemory;
  _start(): void;
};

/** Thrown through the tool to stop it; what it stands for is latched in the session. */
class ToolStopped extends Error {}

/** A tool from its first to its last instruction: the surface of `GuestSession`, for a guest that never waits. */
export class WasmToolSession {
  readonly #options: VmOptions;
  readonly #output: WasmToolOutput;
  #exports: Exports | undefined;
  #failure: GuestError | undefined;

  constructor(options: VmOptions) {
    this.#options = options;
    this.#output = new WasmToolOutput(options.outputBytes);
  }

  /** Fuel used so far; all of it when it ran out, nothing before the module runs. */
  get fuelUsed(): bigint {
    const left = this.#exports?.[FUEL_EXPORT].value ?? this.#options.fuel;
    return this.#options.fuel - (left < 0n ? 0n : left);
  }

  /** Lines written to stderr since the last time. */
  takeLines(): readonly string[] {
    return this.#output.takeLines();
  }

  /**
   * Runs the tool to its end.
   *
   * @throws {@link HostFault} when the host, not the tool, failed
   */
  start(): VmState {
    try {
      const ready = prepare(this.#options);
      if ('error' in ready) this.#failure = ready.error;
      else this.#run(ready.module);
    } catch (error) {
      this.#trap(error);
    }
    if (this.#exports !== undefined && this.#exports[FUEL_EXPORT].value < 0n) this.#fail('OUT_OF_FUEL', 'out of fuel');
    // Only now is what stands behind the last line feed a line.
    if (!this.#output.end()) this.#failOutput();
    return this.#state();
  }

  /** Never called: a tool without host calls has nothing to be delivered. */
  deliver(): never {
    throw new HostFault('HOST_INTERNAL', 'a WASM tool waits for nothing');
  }

  #run(module: WasmModule): void {
    const { input, seed, startTimeMs, fuel } = this.#options;
    const exportsOf = (): Exports => {
      if (this.#exports === undefined)
        throw new HostFault('HOST_INTERNAL', 'import called before the instance is there');
      return this.#exports;
    };
    const imports = makeWasiImports({
      memory: () => exportsOf().memory,
      bill: (units) => {
        const { [FUEL_EXPORT]: left } = exportsOf();
        left.value -= BigInt(units);
        if (left.value < 0n) this.#stop('OUT_OF_FUEL', 'out of fuel');
      },
      stdin: utf8(canonicalJson(input)),
      write: (descriptor, bytes) => {
        if (!this.#output.write(descriptor, bytes)) {
          this.#failOutput();
          throw new ToolStopped();
        }
      },
      random: openGuestRandom(seed),
      timeMs: startTimeMs,
    });
    const { exports } = new wasm.Instance(module, { [WASI_MODULE]: imports });
    const tool = exports as unknown as Exports;
    tool[FUEL_EXPORT].value = fuel;
    tool[DEPTH_EXPORT].value = DEPTH_BUDGET;
    this.#exports = tool;
    tool[START_EXPORT]?.();
    tool._start();
  }

  /** Tells what left the tool by an exception: its exit, a latched stop, a trap, or a fault of the host. */
  #trap(error: unknown): void {
    if (error instanceof ToolStopped) return;
    if (error instanceof WasiExit) {
      if (error.exitCode !== 0) this.#fail('TOOL_ERROR', error.message);
    } else if (!(error instanceof wasm.RuntimeError)) {
      throw asHostFault(error);
    } else if (this.#exports === undefined) {
      this.#fail('TRAP', 'a segment lies beyond its memory or table');
    } else if (this.#exports[REFUSED_EXPORT].value === 2) {
      throw new HostFault('HOST_OUT_OF_MEMORY', 'the host refused memory within the limit', { cause: error });
    } else if (this.#exports[FUEL_EXPORT].value < 0n) {
      this.#fail('OUT_OF_FUEL', 'out of fuel');
    } else if (this.#exports[DEPTH_EXPORT].value < 0) {
      this.#fail('STACK_EXHAUSTED', 'call depth exhausted');
    } else {
      this.#fail('TRAP', 'the tool trapped');
    }
  }

  #state(): VmState {
    const seen = { calls: [], fuelUsed: this.fuelUsed };
    if (this.#failure !== undefined) return { status: 'failed', error: this.#failure, ...seen };
    try {
      const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(this.#output.result());
      return { status: 'done', value: parseValue(text), ...seen };
    } catch (error) {
      // Not UTF-8 is the decoder's TypeError.
      if (!RuntimeError.is(error) && !(error instanceof TypeError)) throw error;
      const message = RuntimeError.is(error) ? wellFormed(error.message) : 'the result is not UTF-8';
      return { status: 'failed', error: { code: 'OUTPUT_INVALID', message }, ...seen };
    }
  }

  #stop(code: GuestErrorCode, message: string): never {
    this.#fail(code, message);
    throw new ToolStopped(message);
  }

  #failOutput(): void {
    this.#failure = {
      code: 'OUTPUT_TOO_LARGE',
      message: `more than ${this.#options.outputBytes} bytes leave the guest`,
    };
  }

  #fail(code: GuestErrorCode, message: string): void {
    // Programs answer a refused memory.grow with a trap (Rust) or with an exit code of their own (C).
    const starved = this.#exports?.[REFUSED_EXPORT].value === 1 && (code === 'TOOL_ERROR' || code === 'TRAP');
    this.#failure = starved ? { code: 'MEMORY_LIMIT', message: 'out of memory' } : { code, message };
  }
}

/** A message without half a character, which one that was cut may end in. */
function wellFormed(message: string): string {
  return new TextDecoder().decode(utf8(message));
}

/** Meters and compiles the module, or finds it in what was kept of earlier sessions. */
function prepare({ source, memoryBytes }: VmOptions): Prepared {
  const key = `${memoryBytes} ${source}`;
  const known = prepared.get(key);
  const made = known ?? prepareNew(source, Math.floor(memoryBytes / PAGE_BYTES));
  prepared.delete(key);
  prepared.set(key, made);
  if (prepared.size > MOST_KEPT) {
    const [oldest = ''] = prepared.keys();
    prepared.delete(oldest);
  }
  return made;
}

function prepareNew(source: string, memoryPages: number): Prepared {
  let rewritten: Uint8Array;
  try {
    const bytes = fromBase64(source);
    const refused = refusal(readModule(bytes), memoryPages);
    if (refused !== undefined) return { error: refused };
    rewritten = meterModule(bytes, { memoryPages, tableElements: MAX_TABLE_ELEMENTS, deferStart: true }).bytes;
  } catch (error) {
    if (!(error instanceof MeterError || error instanceof EncodingError)) throw error;
    return { error: { code: 'TOOL_ERROR', message: `the module is refused: ${error.code}: ${error.message}` } };
  }
  // What the meter let through is valid and within every engine's limits: an error here is the host's.
  return { module: new wasm.Module(Uint8Array.from(rewritten)) };
}

/** What a tool may not have although it can be metered. */
function refusal(module: ModuleShape, memoryPages: number): GuestError | undefined {
  const refuse = (message: string): GuestError => ({ code: 'TOOL_ERROR', message });
  for (const { module: from, name, kind, type } of module.imports) {
    const at = `import ${JSON.stringify(from.slice(0, 100))} ${JSON.stringify(name.slice(0, 100))}`;
    const expected = from === WASI_MODULE ? wasiSignature(name) : undefined;
    if (kind !== 'function' || expected === undefined) return refuse(`${at} does not exist`);
    const { params, results } = module.types[type] ?? { params: [-1], results: [] };
    if (params.join() !== expected.params.join() || results.join() !== expected.results.join()) {
      return refuse(`${at} has another signature`);
    }
  }
  const start = module.exports.get('_start');
  const type = start?.kind === 'function' ? module.types[module.functions[start.index] ?? -1] : undefined;
  if (type === undefined || type.params.length > 0 || type.results.length > 0) {
    return refuse('the module does not export a function _start without parameters and results');
  }
  if (module.exports.get('memory')?.kind !== 'memory') return refuse('the module does not export its memory as memory');
  if (module.tables.length > MAX_TABLES) return refuse(`the module has more than ${MAX_TABLES} tables`);
  if (module.tables.some(({ minimum }) => minimum > MAX_TABLE_ELEMENTS)) {
    return refuse(`the module has a table of more than ${MAX_TABLE_ELEMENTS} elements`);
  }
  if ((module.memory?.minimum ?? 0) > memoryPages) return { code: 'MEMORY_LIMIT', message: 'out of memory' };
  return undefined;
}
