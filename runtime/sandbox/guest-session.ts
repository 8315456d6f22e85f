/**
 * One guest, synchronously: evaluates the script, carries host calls out and completions in, and names every way to end.
 * Runs in the worker; nothing that guest code says is trusted.
 *
 * @module
 */

import { utf8 } from '../../attest/core/bytes.ts';
import { RuntimeError } from '../../attest/core/error.ts';
import { sha256 } from '../../attest/core/hash.ts';
import { type WasmModule, wasm } from '../../attest/core/webassembly.ts';
import { canonicalJson, isJsonObject, type Json, parseJsonText } from '../../attest/encoding/canonical-json.ts';
import { GUEST_PRELUDE } from './guest-prelude.ts';
import { type Completion, GuestAbort, GuestOutOfMemory, type Handle, QuickJsInstance } from './quickjs-instance.ts';
import { parseCompletion, parseValue } from './values.ts';
import {
  type Delivery,
  type GuestError,
  type GuestErrorCode,
  type HostCall,
  HostFault,
  type VmOptions,
  type VmState,
} from './vm.ts';
import { MAX_MESSAGE_BYTES, METHOD_NAME } from './wire.ts';

/** Version of what the host's side adds: imports, order of evaluation, counts and names of ends. Part of the engine's identity. */
export const ENVIRONMENT_VERSION = 2;
/** What each thing that leaves counts beside its own bytes. */
const OUTPUT_OVERHEAD_BYTES = 64;
/** File name of the script in the guest's own stack traces. */
const SCRIPT_NAME = 'bundle.js';

/** Codes that guest code can bring about with an exception; any other it claims is `TOOL_ERROR`. */
const THROWN_CODES: readonly GuestErrorCode[] = [
  'TOOL_ERROR',
  'INPUT_INVALID',
  'OUTPUT_INVALID',
  'MEMORY_LIMIT',
  'STACK_EXHAUSTED',
];

/** Thrown through the guest to stop it; what it stands for is latched in the session. */
class GuestStopped extends Error {}

/** A guest from its first to its last instruction. After `done` or `failed` only {@link GuestSession.fuelUsed} is left. */
export class GuestSession {
  readonly #options: VmOptions;
  readonly #instance: QuickJsInstance;
  readonly #drive: Handle;
  readonly #open = new Set<number>();
  #next = 0;
  #calls: HostCall[] = [];
  #lines: string[] = [];
  /** Bytes that left since the last state. */
  #output = 0;
  #logBytes = 0;
  #result: { readonly value: Json } | undefined;
  #failure: GuestError | undefined;

  /**
   * @param module - the metered engine
   * @throws {@link HostFault} if the host cannot hold the guest
   */
  constructor(module: WasmModule, options: VmOptions) {
    this.#options = options;
    try {
      this.#instance = new QuickJsInstance(module, options.memoryBytes, options.startTimeMs);
      const prelude = this.#instance.evaluate(GUEST_PRELUDE, 'prelude.js');
      if (!prelude.ok) throw new HostFault('HOST_INTERNAL', 'the prelude does not evaluate');
      const made = this.#instance.call(prelude.value, [
        this.#instance.hostFunction('sys', 3, ([id, method, args]) => this.#sys(id, method, args)),
        this.#instance.hostFunction('emit', 2, ([kind, text]) => this.#emit(kind, text)),
        this.#instance.text(JSON.stringify(randomWords(options.seed))),
      ]);
      if (!made.ok) throw new HostFault('HOST_INTERNAL', 'the prelude does not run');
      this.#drive = made.value;
    } catch (error) {
      throw asHostFault(error);
    }
    this.#instance.setFuel(options.fuel);
  }

  /** Fuel used so far; all of it when it ran out. */
  get fuelUsed(): bigint {
    const left = this.#instance.fuel;
    return this.#options.fuel - (left < 0n ? 0n : left);
  }

  /** Console lines since the last time. */
  takeLines(): readonly string[] {
    const lines = this.#lines;
    this.#lines = [];
    return lines;
  }

  /** Evaluates the script and runs its entry to idle. */
  start(): VmState {
    const { entry, input, source } = this.#options;
    return this.#activate(() => {
      const script = this.#instance.evaluate(source, SCRIPT_NAME);
      if (!script.ok) {
        this.#describe(script.thrown);
        return;
      }
      if (entry === 'completion') {
        this.#driveCall(['complete'], script.value);
      } else {
        this.#instance.free(script.value);
        this.#driveCall(['start', JSON.stringify(entry), canonicalJson(input)]);
      }
    });
  }

  /** Settles the open call `delivery.id`, which the caller has checked to be open, and runs to idle. */
  deliver(delivery: Delivery, timeMs: number | undefined): VmState {
    if (timeMs !== undefined && timeMs > this.#instance.timeMs) this.#instance.timeMs = timeMs;
    this.#open.delete(delivery.id);
    const text = delivery.ok ? canonicalJson(delivery.value) : canonicalJson({ ...delivery.error });
    return this.#activate(() => this.#driveCall(['deliver', String(delivery.id), delivery.ok ? 'ok' : 'failed', text]));
  }

  #driveCall(texts: readonly string[], value?: Handle): void {
    const args = texts.map((text) => this.#instance.text(text));
    if (value !== undefined) args.push(value);
    const completion: Completion = this.#instance.call(this.#drive, args);
    for (const arg of args) this.#instance.free(arg);
    if (completion.ok) this.#instance.free(completion.value);
    else this.#describe(completion.thrown);
  }

  /** Has the guest's end describe an exception; one that cannot even be described is for want of memory. */
  #describe(thrown: Handle): void {
    const described = this.#instance.call(this.#drive, [this.#instance.text('describe'), thrown]);
    if (!described.ok) throw new GuestOutOfMemory('no room to describe an exception');
  }

  /** Runs the guest to idle and names the state it is in. */
  #activate(run: () => void): VmState {
    this.#calls = [];
    this.#output = 0;
    try {
      run();
      // A failure of the script itself ends the session; jobs it left behind do not run.
      if (this.#failure === undefined) {
        const thrown = this.#instance.runJobs();
        if (thrown !== undefined) this.#describe(thrown);
      }
      if (this.#instance.fuel < 0n) this.#fail('OUT_OF_FUEL', 'out of fuel');
    } catch (error) {
      this.#trap(error);
    }
    return this.#state();
  }

  #state(): VmState {
    const seen = { calls: this.#calls, fuelUsed: this.fuelUsed };
    if (this.#failure !== undefined) return { status: 'failed', error: this.#failure, ...seen };
    if (this.#result !== undefined) return { status: 'done', value: this.#result.value, ...seen };
    if (this.#open.size > 0) return { status: 'waiting', ...seen };
    // A job that found no memory is gone without a trace.
    const error: GuestError = this.#instance.exhausted
      ? { code: 'MEMORY_LIMIT', message: 'out of memory' }
      : { code: 'DEADLOCK', message: 'the guest waits, and no host call is open' };
    return { status: 'failed', error, ...seen };
  }

  /** Tells what left the guest by an exception of the host: a latched stop, a limit, a trap, or a fault of the host. */
  #trap(error: unknown): void {
    if (error instanceof GuestStopped) return;
    if (error instanceof GuestOutOfMemory) {
      this.#fail('MEMORY_LIMIT', 'out of memory');
    } else if (error instanceof GuestAbort) {
      this.#fail('TRAP', 'the engine aborted');
    } else if (!(error instanceof wasm.RuntimeError)) {
      throw asHostFault(error);
    } else if (this.#instance.fuel < 0n) {
      this.#fail('OUT_OF_FUEL', 'out of fuel');
    } else if (this.#instance.depth < 0) {
      this.#fail('STACK_EXHAUSTED', 'call depth exhausted');
    } else {
      this.#fail('TRAP', 'the engine trapped');
    }
  }

  #sys(id: string | undefined, method: string | undefined, args: string | undefined): void {
    if (id !== String(this.#next) || method === undefined || args === undefined || !METHOD_NAME.test(method)) {
      this.#stop('TOOL_ERROR', 'malformed host call');
    }
    this.#count(args);
    let value: Json;
    try {
      value = parseValue(args);
    } catch (error) {
      if (!RuntimeError.is(error)) throw error;
      this.#stop('INPUT_INVALID', error.message);
    }
    this.#open.add(this.#next);
    this.#calls.push({ id: this.#next++, method, args: value });
  }

  #emit(kind: string | undefined, text: string | undefined): void {
    if (text === undefined) this.#stop('TOOL_ERROR', 'malformed report');
    this.#count(text);
    if (kind === 'log') {
      this.#logBytes += Buffer.byteLength(text) + OUTPUT_OVERHEAD_BYTES;
      if (this.#logBytes > this.#options.outputBytes) this.#stop('OUTPUT_TOO_LARGE', 'too many console lines');
      this.#lines.push(String(parseJsonText(text)));
    } else if (this.#result !== undefined || this.#failure !== undefined) {
      return;
    } else if (kind === 'done') {
      try {
        this.#result = { value: this.#options.entry === 'completion' ? parseCompletion(text) : parseValue(text) };
      } catch (error) {
        if (!RuntimeError.is(error)) throw error;
        this.#fail('OUTPUT_INVALID', error.message);
      }
    } else {
      const error = parseJsonText(text);
      const code = isJsonObject(error) ? THROWN_CODES.find((known) => known === error['code']) : undefined;
      const message = isJsonObject(error) ? error['message'] : undefined;
      this.#fail(code ?? 'TOOL_ERROR', typeof message === 'string' ? message : 'no message');
    }
  }

  #count(text: string): void {
    this.#output += Buffer.byteLength(text) + OUTPUT_OVERHEAD_BYTES;
    if (this.#output > this.#options.outputBytes) {
      this.#stop('OUTPUT_TOO_LARGE', `more than ${this.#options.outputBytes} bytes leave the guest`);
    }
  }

  /** Stops the guest where it stands: no WebAssembly frame can catch this. */
  #stop(code: GuestErrorCode, message: string): never {
    this.#fail(code, message);
    throw new GuestStopped(message);
  }

  #fail(code: GuestErrorCode, message: string): void {
    // QuickJS throws null, or steps on it, where it has no room for an error: what fails after memory ran out failed by that.
    if (this.#instance.exhausted && (code === 'TOOL_ERROR' || code === 'TRAP')) {
      this.#failure = { code: 'MEMORY_LIMIT', message: 'out of memory' };
      return;
    }
    this.#failure = { code, message: cutUtf8(message, MAX_MESSAGE_BYTES) };
  }
}

/** The text, or as many whole characters of it as have `most` bytes. */
export function cutUtf8(text: string, most: number): string {
  const bytes = utf8(text);
  if (bytes.length <= most) return text;
  let end = most;
  while (end > 0 && ((bytes[end] ?? 0) & 0xc0) === 0x80) end--;
  return new TextDecoder().decode(bytes.subarray(0, end));
}

function randomWords(seed: Uint8Array): number[] {
  const digest = sha256(utf8('tracebond/guest-random/1'), seed);
  const view = new DataView(digest.buffer, digest.byteOffset);
  return [0, 4, 8, 12].map((offset) => view.getUint32(offset));
}

/** What an exception that is not the guest's doing says about the host. */
export function asHostFault(error: unknown): HostFault {
  if (error instanceof HostFault) return error;
  if (error instanceof RangeError) {
    const stack = /call stack/i.test(error.message);
    return new HostFault(stack ? 'HOST_STACK' : 'HOST_OUT_OF_MEMORY', error.message, { cause: error });
  }
  return new HostFault('HOST_INTERNAL', error instanceof Error ? error.message : 'unknown failure', { cause: error });
}
