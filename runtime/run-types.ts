/**
 * What a run is given, and what becomes of it.
 *
 * @module
 */

import type { Hex } from '../attest/core/bytes.ts';
import type { Json } from '../attest/encoding/canonical-json.ts';
import type { RunCloseBody, RunOpenBody } from '../attest/trace/bodies.ts';
import type { SignedCheckpoint } from '../attest/trace/checkpoint.ts';
import type { GuestCode } from '../attest/trace/guest.ts';
import type { PolicyRules } from '../attest/trace/policy.ts';
import type { PayloadSet, TraceWriter } from '../attest/trace/writer.ts';
import type { RunControl } from './control.ts';
import type { EffectPorts } from './effects.ts';
import type { RecordSeen } from './ledger.ts';
import type { Vm } from './sandbox/vm.ts';

/** What a run takes from outside. */
export type RunPorts = EffectPorts & {
  readonly vm: Vm;
  /** With a past, the run goes on from there. */
  readonly writer: TraceWriter;
  /** Milliseconds since 1970, for `clock.now` and deadlines. */
  readonly now: () => number;
  readonly control?: RunControl;
  /** Called after each durable record, and for each of the past. */
  readonly onRecord?: (seen: RecordSeen) => void;
};

/** What is run: the body of `run.open` with its payloads, and what it names by digest. */
export type RunPlan = {
  readonly openBody: RunOpenBody;
  readonly openPayloads: PayloadSet;
  readonly agent: GuestCode;
  readonly tools: ReadonlyMap<string, GuestCode>;
  readonly policy: PolicyRules;
  readonly input: Json;
};

/** How a run ended. */
export type RunResult = {
  readonly run: Hex;
  readonly status: RunCloseBody['status'];
  readonly output: Json | null;
  readonly error: { readonly code: string; readonly message: string } | null;
  readonly checkpoint: SignedCheckpoint;
  readonly records: bigint;
};

/** One start that waits for somebody. */
export type Waiting = {
  readonly index: bigint;
  /** Time of its record, milliseconds since 1970. */
  readonly at: bigint;
  readonly for: 'approval' | 'reconciliation' | 'child';
  readonly capability: string;
  readonly target: string;
  readonly request: Json;
};

/** A run that was put aside: nothing of it is held, and it goes on from its journal. */
export type Suspension = {
  readonly run: Hex;
  readonly status: 'suspended';
  /** `left`: nobody waits for anything; the run was left as it stood. */
  readonly reason: Waiting['for'] | 'paused' | 'left';
  readonly waiting: readonly Waiting[];
  /** Time at which it must go on by itself, milliseconds since 1970. */
  readonly wakeAt: number;
};
