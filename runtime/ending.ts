/**
 * How a run ends: why, what is written as its last record, and what its caller gets.
 *
 * @module
 */

import { toHex } from '../attest/core/bytes.ts';
import type { Json } from '../attest/encoding/canonical-json.ts';
import type { GuestFailure, RunCloseBody } from '../attest/trace/bodies.ts';
import { readJsonPayload, readTextPayload } from '../attest/trace/payload.ts';
import type { PayloadSet, TraceWriter } from '../attest/trace/writer.ts';
import { OutOfBudget } from './budget.ts';
import type { Ledger } from './ledger.ts';
import type { Past } from './past.ts';
import type { RunResult } from './run-types.ts';
import { HostFault, type VmState } from './sandbox/vm.ts';

/** Why a run ends, with what its agent gave. */
export type Ending = {
  readonly status: RunCloseBody['status'];
  readonly output?: Json;
  readonly error?: { readonly code: string; readonly message: string };
};

/** The run ends before its agent does. */
export class Stopped extends Error {
  readonly status: 'cancelled' | 'out-of-budget' | 'abandoned';

  constructor(status: Stopped['status']) {
    super(status);
    this.status = status;
  }
}

/** The run is left as it stands. */
export class Left extends Error {}

/**
 * The end that an error means for a run.
 *
 * @param error - what ended it; rethrown if it says nothing about the run
 * @param cancelled - whether somebody cancelled the run
 */
export function endingOf(error: unknown, cancelled: boolean): Ending {
  if (error instanceof OutOfBudget) {
    return { status: 'out-of-budget', error: { code: 'OUT_OF_BUDGET', message: error.message } };
  }
  if (error instanceof Stopped) return { status: error.status };
  if (error instanceof HostFault) {
    // A guest that was ended because the run is cancelled is no fault.
    if (cancelled) return { status: 'cancelled' };
    return { status: 'abandoned', error: { code: error.code, message: error.message } };
  }
  throw error;
}

/** Writes the last record and its checkpoint. @throws {@link JournalError} when they cannot be written */
export async function closeRun(ledger: Ledger, writer: TraceWriter, ending: Ending): Promise<RunResult> {
  const payloads = writer.payloads();
  const output = ending.output === undefined ? null : payloads.json(ending.output);
  const failed = ending.status === 'failed' && ending.error !== undefined;
  const error = failed ? { code: ending.error?.code ?? '', message: payloads.text(ending.error?.message ?? '') } : null;
  // It repeats what was counted, so no limit holds it up.
  await ledger.appendClose(
    { ...writer.closing, bytes: payloads.bytes, error, output, status: ending.status },
    payloads,
  );
  return resultOf(writer, ending.status, ending.output ?? null, ending.error ?? null);
}

/** What a run came to whose journal holds its end already. */
export function readEnd(writer: TraceWriter, { body, payloads }: NonNullable<Past['closed']>): Promise<RunResult> {
  const output = payloads.get('body.output');
  const message = payloads.get('body.error.message');
  const error =
    body.error === null || message === undefined
      ? null
      : { code: body.error.code, message: readTextPayload(message, 'body.error.message') };
  return resultOf(writer, body.status, output === undefined ? null : readJsonPayload(output, 'body.output'), error);
}

/** The failure of a guest as a record holds it, or null. */
export function failureOf(state: VmState, payloads: PayloadSet): GuestFailure | null {
  if (state.status !== 'failed') return null;
  return { code: state.error.code, message: payloads.text(state.error.message) };
}

async function resultOf(
  writer: TraceWriter,
  status: RunResult['status'],
  output: Json | null,
  error: RunResult['error'],
): Promise<RunResult> {
  const checkpoint = await writer.checkpoint();
  const { run, size } = writer.state;
  return { run: toHex(run), status, output, error, checkpoint, records: size };
}
