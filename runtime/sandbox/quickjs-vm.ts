/**
 * The sandbox on QuickJS compiled to WebAssembly and metered by `meter.ts`; every session in a fresh instance, in a
 * process behind the second wall.
 *
 * Spec: `runtime/spec/sandbox.md#engine`.
 *
 * @module
 */

import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { type Hex, toHex, utf8 } from '../../attest/core/bytes.ts';
import { RuntimeError } from '../../attest/core/error.ts';
import { sha256 } from '../../attest/core/hash.ts';
import { canonicalBytes, type Json } from '../../attest/encoding/canonical-json.ts';
import { GUEST_PRELUDE } from './guest-prelude.ts';
import { ENVIRONMENT_VERSION } from './guest-session.ts';
import { COST_TABLE_VERSION, meterModule, REWRITER_VERSION } from './meter.ts';
import { openProcessPool, type PooledProcess, type ProcessPool, type SandboxProgram } from './process-pool.ts';
import { bundleProgram } from './program.ts';
import { C_STACK_BYTES, DEPTH_BUDGET, QUICKJS_SHA256 } from './quickjs-instance.ts';
import { assertValue } from './values.ts';
import { type Delivery, HostFault, type Vm, type VmOptions, type VmSession, type VmState, VmUsageError } from './vm.ts';
import { findWall, type Wall } from './wall.ts';
import { WASI_VERSION } from './wasi.ts';
import { encodeCommand, maxAnswerBytes, parseAnswer, type SandboxCommand } from './wire.ts';

type Engine = { readonly program: SandboxProgram; readonly digest: Hex };

let engine: Promise<Engine> | undefined;

/**
 * Opens the engine: meters QuickJS on the first call of a process (a fifth of a second), then keeps it.
 *
 * @throws {@link HostFault} `HOST_INTERNAL` if the installed QuickJS is not the pinned one
 */
export async function openQuickJsVm(options: openQuickJsVm.Options = {}): Promise<Vm> {
  engine ??= makeEngine();
  const [wall, { program, digest }] = await Promise.all([options.wall ?? findWall(), engine]);
  const pool = openProcessPool(wall, program, options);
  let closed = false;
  return {
    engine: digest,
    secondWall: wall.kind,
    wallReason: wall.reason,
    async open(options) {
      if (closed) throw new VmUsageError('CLOSED', 'sandbox is closed');
      assertOptions(options);
      return new QuickJsSession(pool, options);
    },
    async close() {
      closed = true;
      await pool.close();
    },
  };
}

export declare namespace openQuickJsVm {
  type Options = Pick<openProcessPool.Options, 'idleProcesses' | 'nodeOptions'> & {
    /** The second wall; the best there is unless told. */
    readonly wall?: Wall;
  };
}

async function makeEngine(): Promise<Engine> {
  const path = createRequire(import.meta.url).resolve('@jitl/quickjs-wasmfile-release-sync/wasm');
  const source = await readFile(path);
  const sourceHash = toHex(sha256(source));
  if (sourceHash !== `0x${QUICKJS_SHA256}`) {
    throw new HostFault('HOST_INTERNAL', `QuickJS has the hash ${sourceHash}, expected 0x${QUICKJS_SHA256}`);
  }
  const { bytes } = meterModule(source);
  const identity = {
    source: sourceHash,
    rewriter: REWRITER_VERSION,
    costTable: COST_TABLE_VERSION,
    module: toHex(sha256(bytes)),
    prelude: toHex(sha256(utf8(GUEST_PRELUDE))),
    environment: ENVIRONMENT_VERSION,
    wasiVersion: WASI_VERSION,
    cStackBytes: C_STACK_BYTES,
    depthBudget: DEPTH_BUDGET,
  };
  return { program: { ...bundleProgram(), engine: bytes }, digest: toHex(sha256(canonicalBytes(identity))) };
}

/** A session, from the host's side. */
class QuickJsSession implements VmSession {
  readonly #pool: ProcessPool;
  readonly #options: VmOptions;
  readonly #open = new Set<number>();
  readonly #log: string[] = [];
  #process: PooledProcess | undefined;
  #phase: 'new' | 'running' | 'waiting' | 'over' = 'new';
  #closed = false;
  #spentMs = 0;

  constructor(pool: ProcessPool, options: VmOptions) {
    this.#pool = pool;
    this.#options = options;
  }

  get log(): readonly string[] {
    return this.#log;
  }

  async start(): Promise<VmState> {
    if (this.#closed) throw new VmUsageError('CLOSED', 'session is closed');
    if (this.#phase !== 'new') throw new VmUsageError('ALREADY_STARTED', 'session was started before');
    this.#phase = 'running';
    const refused = refusal(this.#options.input);
    if (refused !== undefined) {
      this.#phase = 'over';
      return { status: 'failed', error: { code: 'INPUT_INVALID', message: refused }, calls: [], fuelUsed: 0n };
    }
    this.#process = await this.#pool.acquire();
    return this.#ask({ type: 'start', options: this.#options });
  }

  async deliver(delivery: Delivery, timeMs?: number): Promise<VmState> {
    if (this.#closed) throw new VmUsageError('CLOSED', 'session is closed');
    if (this.#phase !== 'waiting') throw new VmUsageError('NOT_WAITING', `session is ${this.#phase}`);
    if (!this.#open.has(delivery.id)) {
      throw new VmUsageError('UNKNOWN_CALL', `no call ${delivery.id} is open`, { at: { id: delivery.id } });
    }
    const refused = refusal(delivery.ok ? delivery.value : { ...delivery.error });
    if (refused !== undefined) throw new VmUsageError('MALFORMED_DELIVERY', refused, { at: { id: delivery.id } });
    if (timeMs !== undefined && !isTime(timeMs)) {
      throw new VmUsageError('MALFORMED_DELIVERY', 'time is no whole number of milliseconds');
    }
    this.#open.delete(delivery.id);
    this.#phase = 'running';
    return this.#ask({ type: 'deliver', delivery, timeMs });
  }

  async close(): Promise<void> {
    this.#closed = true;
    const held = this.#process;
    this.#process = undefined;
    // A process between two answers is free at once; one in the middle of a guest is killed.
    await held?.release(this.#phase !== 'running');
    this.#phase = 'over';
  }

  async #ask(command: SandboxCommand): Promise<VmState> {
    const held = this.#process;
    if (held === undefined) throw new VmUsageError('CLOSED', 'session is closed');
    const began = performance.now();
    try {
      const leftMs = Math.max(1, this.#options.wallMs - this.#spentMs);
      const bytes = await held.ask(encodeCommand(command), maxAnswerBytes(this.#options), leftMs);
      this.#spentMs += performance.now() - began;
      const answer = parseAnswer(bytes, this.#options);
      if (answer.type === 'fault') throw new HostFault(answer.code, answer.message);
      if (answer.type !== 'state') throw new HostFault('HOST_INTERNAL', 'sandbox process answers out of order');
      this.#log.push(...answer.lines);
      for (const call of answer.state.calls) this.#open.add(call.id);
      this.#phase = answer.state.status === 'waiting' ? 'waiting' : 'over';
      if (this.#phase === 'over') await this.#letGo(true);
      return answer.state;
    } catch (error) {
      this.#phase = 'over';
      await this.#letGo(false);
      throw error;
    }
  }

  async #letGo(healthy: boolean): Promise<void> {
    const held = this.#process;
    this.#process = undefined;
    await held?.release(healthy);
  }
}

function refusal(value: Json): string | undefined {
  try {
    assertValue(value);
    return undefined;
  } catch (error) {
    if (RuntimeError.is(error)) return error.message;
    throw error;
  }
}

function assertOptions(options: VmOptions): void {
  const refuse = (what: string): never => {
    throw new VmUsageError('MALFORMED_OPTIONS', what);
  };
  const { language = 'javascript', entry } = options;
  if (language !== 'javascript' && language !== 'wasm') refuse('language must be javascript or wasm');
  if (language === 'wasm' && typeof entry === 'string') refuse(`a wasm source has tools only, entry is ${entry}`);
  if (options.fuel < 1n || options.fuel > BigInt(Number.MAX_SAFE_INTEGER)) refuse('fuel must be 1 to 2^53 - 1');
  const { memoryBytes, wallMs, outputBytes } = options;
  if (!Number.isSafeInteger(memoryBytes) || memoryBytes < 1 << 20 || memoryBytes > 1 << 30) {
    refuse('memoryBytes must be 1 MiB to 1 GiB');
  }
  // 2^31 - 1 is the longest timer of the host.
  if (!(wallMs >= 1 && wallMs <= 0x7fff_ffff)) refuse('wallMs must be 1 to 2^31 - 1');
  if (!Number.isSafeInteger(outputBytes) || outputBytes < 1 || outputBytes > 1 << 28) {
    refuse('outputBytes must be 1 to 256 MiB');
  }
  if (options.seed.length !== 32) refuse('seed must be 32 bytes');
  if (!isTime(options.startTimeMs)) refuse('startTimeMs must be a whole number of milliseconds');
}

/** Whether a number is a time that JavaScript's dates can hold. */
function isTime(timeMs: number): boolean {
  return Number.isInteger(timeMs) && timeMs >= 0 && timeMs <= 8.64e15;
}
