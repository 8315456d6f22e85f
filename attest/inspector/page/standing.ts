/**
 * What was found out about each record, for its line in the list.
 *
 * @module
 */

import type { StepReport } from '../../verify/verdict.ts';
import type { BundleCheck } from '../bundle-check.ts';
import type { AnswerCheck } from '../evidence.ts';
import { mismatchOf } from '../fit.ts';
import type { SourcedReport } from '../report.ts';
import type { Row } from '../row.ts';
import type { Level } from './text.tsx';

/** A record's level, in a word. */
export type Standing = { readonly level: Level; readonly word: string };

/** What a verifier says of single records. */
export type StepReports = ReadonlyMap<number, StepReport>;

/** The steps of a report that is about these bytes. */
export function stepsOf(check: BundleCheck | undefined, sourced: SourcedReport | undefined): StepReports {
  if (check === undefined || sourced === undefined) return new Map();
  const { report } = sourced;
  if (mismatchOf(check, report) !== undefined) return new Map();
  const steps = new Map(report.steps.map((step) => [step.index, step]));
  const { step, verdict, code, field, claimed, recomputed } = report;
  // The record that decides the verdict, where only the report as a whole names it.
  if (step !== undefined && (verdict === 'INVALID' || verdict === 'DIVERGED')) {
    const before = steps.get(step) ?? { index: step, kind: 'agent', class: 'recomputable' };
    const own = { ...(field && { field }), ...(claimed && { claimed }), ...(recomputed && { recomputed }) };
    steps.set(step, { ...before, verdict, ...(code && { code }), ...own });
  }
  return steps;
}

/** The first record that a verifier calls false. */
export function divergedOf(steps: StepReports): number | undefined {
  for (const { index, verdict } of steps.values()) if (verdict === 'DIVERGED') return index;
  return undefined;
}

/** What is known of one record. `source` is that of the steps: only what was executed on this computer is called equal. */
export function standingOf(
  row: Row,
  check: BundleCheck | undefined,
  steps: StepReports,
  source: SourcedReport['source'] | undefined,
): Standing {
  const { index } = row;
  // While the bundle is being read, nothing is known of its signatures.
  if (check === undefined) return { level: 'none', word: 'reading' };
  if (check.fault?.step === index) return { level: 'bad', word: 'does not fit' };
  if (check.fault !== undefined && index >= check.sound) return { level: 'none', word: 'not checked' };
  if (check.beyondLimit?.step === index) return { level: 'bad', word: 'beyond a limit' };
  const step = steps.get(index);
  if (check.falsehood?.step === index || step?.verdict === 'DIVERGED') return { level: 'bad', word: 'false' };
  if (step?.verdict === 'INVALID') return { level: 'bad', word: 'no evidence' };
  if (index >= check.size) return { level: 'part', word: 'unsigned' };
  if (row.withheld) return { level: 'part', word: 'withheld' };
  if (row.class === 'opaque') return { level: 'part', word: 'only recorded' };
  if (step?.verdict === 'MATCH' && source === 'here') return { level: 'good', word: 'equal' };
  const answer = row.answer === undefined ? undefined : ANSWERS[row.answer];
  if (answer !== undefined) return answer;
  if (row.class === 'attested') return { level: 'part', word: 'with evidence' };
  return { level: 'good', word: 'fits' };
}

const ANSWERS: Readonly<Record<AnswerCheck, Standing>> = {
  approval: { level: 'good', word: 'signed by a person' },
  transaction: { level: 'part', word: 'signed by the wallet' },
  computed: { level: 'good', word: 'computed here' },
  unchecked: { level: 'part', word: 'answer not checked' },
};
