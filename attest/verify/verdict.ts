/**
 * The four verdicts, the same everywhere: command, API, page, contract events.
 *
 * Spec: `attest/spec/trace.md#verdicts`.
 *
 * @module
 */

import type { RuntimeError } from '../core/error.ts';
import type { RunCloseBody } from '../trace/bodies.ts';
import type { Kind, RecordClass } from '../trace/kinds.ts';

/** `INVALID` is no evidence, `DIVERGED` is well formed and false, `CANNOT_RECOMPUTE` was not checked. */
export type Verdict = 'MATCH' | 'INVALID' | 'DIVERGED' | 'CANNOT_RECOMPUTE';

/** Exit code of the command for each verdict. */
export const EXIT_CODES: Readonly<Record<Verdict, number>> = { MATCH: 0, INVALID: 2, DIVERGED: 3, CANNOT_RECOMPUTE: 4 };

const BADNESS: Readonly<Record<Verdict, number>> = { MATCH: 0, CANNOT_RECOMPUTE: 1, DIVERGED: 2, INVALID: 3 };

/** The worse of two verdicts: INVALID > DIVERGED > CANNOT_RECOMPUTE > MATCH. */
export function worseVerdict(a: Verdict, b: Verdict): Verdict {
  return BADNESS[a] >= BADNESS[b] ? a : b;
}

/** Why a step or a bundle was not checked; of several, the first in this order is told. */
export const CANNOT_CODES = [
  'TRUNCATED',
  'NOT_CLOSED',
  'PAYLOAD_WITHHELD',
  'SIGNER_UNKNOWN',
  'STRUCTURE_ONLY',
  'MODEL_NOT_AT_HAND',
  'ENGINE_MISMATCH',
  'OTHER_NUMERICS',
  'CHILD_RUN',
  'HOST_FAULT',
  'AFTER_DIVERGENCE',
] as const;

/** Why something was not checked. */
export type CannotCode = (typeof CANNOT_CODES)[number];

/** What was found out about one record. */
export type StepReport = {
  readonly index: number;
  readonly kind: Kind;
  readonly class: RecordClass;
  /** Absent for attested and opaque records: there is nothing to compute. */
  readonly verdict?: Verdict;
  readonly code?: string;
  /** Dotted path of the first field that differs. */
  readonly field?: string;
  readonly claimed?: string;
  readonly recomputed?: string;
};

/** What was found out about a bundle. */
export type VerifyReport = {
  readonly verdict: Verdict;
  readonly code?: string;
  /** Index of the record that decides a verdict of INVALID or DIVERGED. */
  readonly step?: number;
  readonly field?: string;
  /** One sentence for people. */
  readonly message?: string;
  readonly claimed?: string;
  readonly recomputed?: string;
  readonly run: string | null;
  /** Number of records covered by the last good checkpoint. */
  readonly size: number;
  readonly root: string | null;
  readonly signer: string | null;
  /** Whether the run was opened on the chain; null when no chain was asked. */
  readonly opened: boolean | null;
  /** The operator's bond in the token's smallest unit, decimal; null when no chain was asked. */
  readonly bonded: string | null;
  readonly seedFrom: 'caller' | 'operator' | null;
  /** How the run ended, from `run.close`; null when it was not closed. `MATCH` of a run that is not `done` shows no output. */
  readonly status: RunCloseBody['status'] | null;
  /** Effects whose result the operator did not give (`*.lost`). */
  readonly lost: number;
  readonly classes: { readonly recomputable: number; readonly attested: number; readonly opaque: number };
  /** Recomputable records that were computed again and are equal. */
  readonly checked: number;
  readonly steps: readonly StepReport[];
  readonly timing: { readonly totalMs: number; readonly reexecutionMs: number };
};

/** Code, field and place of a fault, as a report names them. */
export function faultOf(error: RuntimeError): {
  readonly code: string;
  readonly field?: string;
  readonly message: string;
} {
  const { field } = error.at;
  return { code: error.code, message: error.message, ...(typeof field === 'string' ? { field } : {}) };
}
