/**
 * The suite `guest` of `tracebond conformance`: scripts run in the sandbox, each in a fresh instance with a fixed seed and a
 * fixed clock.
 *
 * `{source, fuel, memoryMb}` is answered `{result, fuelUsed}`, where `result` is the script's completion value as JSON, or
 * `{error, fuelUsed}`. What the host could not run has no `fuelUsed`, because nothing about the script follows from it.
 *
 * Spec: `runtime/spec/sandbox.md#completion-values`.
 *
 * @module
 */

import { RuntimeError } from '../../attest/core/error.ts';
import { isJsonObject, type Json, parseJson } from '../../attest/encoding/canonical-json.ts';
import { openQuickJsVm } from '../../runtime/sandbox/quickjs-vm.ts';
import { HostFault, type Vm, type VmState } from '../../runtime/sandbox/vm.ts';
import { wallWarning } from '../../runtime/sandbox/wall.ts';
import { CaseError } from './conformance-suites.ts';

/** `fuelUsed` is a safe integer. */
export type GuestResult =
  | { readonly result: Json; readonly fuelUsed: number }
  | { readonly error: string; readonly fuelUsed: number }
  | { readonly error: string };

/** A suite that holds processes. */
export type GuestSuite = {
  /**
   * Evaluates one case; every fault of the line, the script or the host is a result.
   *
   * @param line - untrusted: one JSON object in UTF-8
   */
  evaluate(line: Uint8Array): Promise<GuestResult>;
  close(): Promise<void>;
};

type Case = { readonly source: string; readonly fuel: bigint; readonly memoryBytes: number };

const SEED = new Uint8Array(32);
/** 2023-11-14T22:13:20Z */
const START_TIME_MS = 1_700_000_000_000;
const MIB = 1 << 20;
const MAX_MEMORY_MIB = 1024;
/** Bytes that may leave a script: its result and console lines. */
const OUTPUT_BYTES = 16 * MIB;
/** A script that runs so long has no result, whatever its fuel. */
const WALL_MS = 300_000;
/** A process that was killed by somebody else says nothing about its script: once more. */
const ATTEMPTS = 2;

/**
 * Opens the suite.
 *
 * @param warn - told if there is no second wall
 */
export async function openGuestSuite(warn: (message: string) => void): Promise<GuestSuite> {
  const vm = await openQuickJsVm();
  const warning = wallWarning(vm);
  if (warning !== undefined) warn(warning);
  return {
    async evaluate(line) {
      try {
        const state = await runCase(vm, readCase(line));
        const fuelUsed = Number(state.fuelUsed);
        if (state.status === 'done') return { result: state.value, fuelUsed };
        // A script has no way to call the host, so one that waits does not exist.
        return { error: state.status === 'failed' ? state.error.code : 'DEADLOCK', fuelUsed };
      } catch (error) {
        if (RuntimeError.is(error)) return { error: error.code };
        throw error;
      }
    },
    close: () => vm.close(),
  };
}

async function runCase(vm: Vm, { source, fuel, memoryBytes }: Case): Promise<VmState> {
  for (let attempt = 1; ; attempt++) {
    const session = await vm.open({
      source,
      entry: 'completion',
      input: null,
      fuel,
      memoryBytes,
      wallMs: WALL_MS,
      seed: SEED,
      startTimeMs: START_TIME_MS,
      outputBytes: OUTPUT_BYTES,
    });
    try {
      return await session.start();
    } catch (error) {
      if (!(error instanceof HostFault) || error.code !== 'WORKER_LOST' || attempt >= ATTEMPTS) throw error;
    } finally {
      await session.close();
    }
  }
}

/**
 * Reads a case.
 *
 * @throws {@link EncodingError} if the line is no JSON
 * @throws {@link CaseError} `MALFORMED_CASE` if it is no object, `source` no text, `fuel` none of 1 to 2^53 - 1, or
 *   `memoryMb` none of 1 to 1,024
 */
function readCase(line: Uint8Array): Case {
  const fields = parseJson(line);
  if (!isJsonObject(fields)) throw new CaseError('MALFORMED_CASE', 'case is no object');
  const { source } = fields;
  if (typeof source !== 'string')
    throw new CaseError('MALFORMED_CASE', 'source is no text', { at: { field: 'source' } });
  const fuel = integer(fields, 'fuel', Number.MAX_SAFE_INTEGER);
  return { source, fuel: BigInt(fuel), memoryBytes: integer(fields, 'memoryMb', MAX_MEMORY_MIB) * MIB };
}

function integer(fields: { readonly [field: string]: Json }, name: 'fuel' | 'memoryMb', most: number): number {
  const value = fields[name];
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 1 && value <= most) return value;
  throw new CaseError('MALFORMED_CASE', `${name} is no integer of 1 to ${most}`, { at: { field: name } });
}
