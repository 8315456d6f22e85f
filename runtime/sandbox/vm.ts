/**
 * The port to the sandbox: guest code as a script, run to idle, one completion at a time.
 *
 * V1. A session does the same, to the unit of fuel, for the same options and the same deliveries in the same order.
 * V2. What guest code causes is a result ({@link VmState}); what the host causes is a thrown {@link HostFault} and never a result.
 * V3. Guest code acts only by host calls. Between two states exactly one completion is delivered, so their order is recorded
 *     and `Promise.race` replays.
 *
 * Spec: `runtime/spec/sandbox.md`.
 *
 * @module
 */

import type { Hex } from '../../attest/core/bytes.ts';
import { RuntimeError } from '../../attest/core/error.ts';
import type { Json } from '../../attest/encoding/canonical-json.ts';
import type { WallKind } from './wall.ts';

/**
 * Why guest code failed. `OUT_OF_FUEL`, `STACK_EXHAUSTED`, `TRAP`, `DEADLOCK` and `OUTPUT_TOO_LARGE` end the session
 * whatever guest code does; the others are exceptions that it did not catch.
 */
export type GuestErrorCode =
  | 'OUT_OF_FUEL'
  | 'STACK_EXHAUSTED'
  | 'TRAP'
  | 'DEADLOCK'
  | 'OUTPUT_TOO_LARGE'
  | 'MEMORY_LIMIT'
  | 'TOOL_ERROR'
  | 'OUTPUT_INVALID'
  | 'INPUT_INVALID';

/** Failure of guest code; `message` is at most 2 KiB of UTF-8 and names no file of the host. */
export type GuestError = { readonly code: GuestErrorCode; readonly message: string };

/** A wish of guest code; `id` counts from 0 within the session. `args` holds safe integers and well-formed text only. */
export type HostCall = { readonly id: number; readonly method: string; readonly args: Json };

/** The completion of one host call; a failed one is an `Error` with that `code` in the guest. */
export type Delivery =
  | { readonly id: number; readonly ok: true; readonly value: Json }
  | { readonly id: number; readonly ok: false; readonly error: { readonly code: string; readonly message: string } };

/**
 * A session at rest. `calls` are those made since the last state, in order; `fuelUsed` is the total of the session, and
 * the whole allowance after `OUT_OF_FUEL`.
 */
export type VmState =
  | { readonly status: 'waiting'; readonly calls: readonly HostCall[]; readonly fuelUsed: bigint }
  | {
      readonly status: 'done';
      readonly value: Json;
      readonly calls: readonly HostCall[];
      readonly fuelUsed: bigint;
    }
  | {
      readonly status: 'failed';
      readonly error: GuestError;
      readonly calls: readonly HostCall[];
      readonly fuelUsed: bigint;
    };

export type VmOptions = {
  /** What `source` is; `javascript` unless told. */
  readonly language?: 'javascript' | 'wasm';
  /**
   * Bundled script that sets `globalThis.__tracebond`, see `runtime/spec/sandbox.md#bundle`; for `wasm` a module in base64,
   * see `runtime/spec/sandbox.md#wasm-tools`.
   */
  readonly source: string;
  /**
   * What of the bundle to run; `manifest` asks for its description. A `wasm` source has tools only. With `completion` the
   * script need be no bundle, and its completion value is the result, see `runtime/spec/sandbox.md#completion-values`.
   */
  readonly entry: 'agent' | 'manifest' | 'completion' | { readonly tool: string };
  readonly input: Json;
  /** Fuel for everything from the evaluation of the script on; 1 to 2^53 - 1. */
  readonly fuel: bigint;
  /** Bytes the guest may hold; 1 MiB to 1 GiB. */
  readonly memoryBytes: number;
  /** Milliseconds of running, waits for deliveries not counted; beyond them the session is a {@link HostFault}. */
  readonly wallMs: number;
  /** 32 bytes, seed of the guest's `Math.random`. */
  readonly seed: Uint8Array;
  /** `Date.now()` in the guest until a delivery moves it. */
  readonly startTimeMs: number;
  /**
   * UTF-8 bytes that may leave between two states: arguments, result and console lines, and 64 for each; the console
   * lines of a session are bounded by the same number.
   */
  readonly outputBytes: number;
};

/** One run of one entry, in an instance of its own. */
export type VmSession = {
  /**
   * Evaluates the script and runs the entry to idle. Once.
   *
   * @throws {@link HostFault} when the host, not the guest, failed
   * @throws {@link VmUsageError} `ALREADY_STARTED`, `CLOSED`
   */
  start(): Promise<VmState>;
  /**
   * Settles one open call and runs to idle.
   *
   * @param timeMs - new `Date.now()` of the guest; a time before the present one leaves it
   * @throws {@link HostFault} when the host, not the guest, failed
   * @throws {@link VmUsageError} `NOT_WAITING`, `UNKNOWN_CALL`, `MALFORMED_DELIVERY`, `CLOSED`
   */
  deliver(delivery: Delivery, timeMs?: number): Promise<VmState>;
  /** Console lines of the guest so far, each at most 4,096 characters. */
  readonly log: readonly string[];
  close(): Promise<void>;
};

/** A sandbox engine. */
export type Vm = {
  /** Identity of engine, metering and guest environment; equal digests run equal sessions equally. */
  readonly engine: Hex;
  /** The wall around the engine besides WebAssembly; the composition root says so to the user where it is `none`. */
  readonly secondWall: WallKind;
  /** What of a wall is not to be had here, and why; empty for `bubblewrap`. */
  readonly wallReason: string;
  /** @throws {@link VmUsageError} `MALFORMED_OPTIONS`, `CLOSED` */
  open(options: VmOptions): Promise<VmSession>;
  close(): Promise<void>;
};

export type HostFaultCode = 'WALL_TIME' | 'HOST_OUT_OF_MEMORY' | 'HOST_STACK' | 'WORKER_LOST' | 'HOST_INTERNAL';

/** The host could not run a session: nothing about the guest follows from it. Retry, or abandon the run; never sign it. */
export class HostFault extends RuntimeError<HostFaultCode> {
  override readonly name = 'HostFault';
}

export type VmUsageErrorCode =
  | 'MALFORMED_OPTIONS'
  | 'MALFORMED_DELIVERY'
  | 'ALREADY_STARTED'
  | 'NOT_WAITING'
  | 'UNKNOWN_CALL'
  | 'CLOSED';

/** The caller of a session broke its contract. */
export class VmUsageError extends RuntimeError<VmUsageErrorCode> {
  override readonly name = 'VmUsageError';
}
