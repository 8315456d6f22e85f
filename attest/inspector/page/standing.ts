/**
 * What was found out about each record, for its line in the list.
 *
 * @module
 */

import type { StepReport } from '../../verify/verdict.ts';
import type { BundleCheck } from '../bundle-check.ts';
import { mismatchOf } from '../claims.ts';
import type { SourcedReport } from '../report.ts';
import type { Row } from '../row.ts';
import type { Level } from './text.tsx';

/** A record's level, in a word. */
export type Standing = { readonly level: Level; readonly word: string };

/** What a verifier says of single records. */
export type StepReports = ReadonlyMap<number, StepReport>;

/** The steps of a report that is about this history. */
export function stepsOf(check: BundleCheck | undefined, sourced: SourcedReport | undefined): StepReports {
  if (check === undefined || sourced === undefined) return new Map();
  const { report } = sourced;
  if (report.run !== check.run) return new Map();
  const isSame = mismatchOf(check, report) === undefined;
  const steps = new Map(isSame ? report.steps.map((step) => [step.index, step]) : []);
  const { step, verdict, code, field, claimed, recomputed } = report;
  // The record that decides the verdict, where only the report as a whole names it.
  if (step !== undefined && (verdict === 'INVALID' || (verdict === 'DIVERGED' && isSame))) {
    const before = steps.get(step) ?? { index: step, kind: 'agent', class: 'recomputable' };
    const own = { ...(field && { field }), ...(claimed && { claimed }), ...(recomputed && { recomputed }) };
    steps.set(step, { ...before, verdict, ...(code && { code }), ...own });
  }
  return steps;
}

/** What is known of one record. */
export function standingOf(row: Row, check: BundleCheck | undefined, steps: StepReports): Standing {
  const { index } = row;
  if (check?.fault?.step === index) return { level: 'bad', word: 'does not fit' };
  if (check?.fault !== undefined && index >= check.sound) return { level: 'none', word: 'not checked' };
  if (check?.beyondLimit?.step === index) return { level: 'bad', word: 'beyond a limit' };
  const step = steps.get(index);
  if (step?.verdict === 'DIVERGED') return { level: 'bad', word: 'false' };
  if (step?.verdict === 'INVALID') return { level: 'bad', word: 'no evidence' };
  if (row.withheld) return { level: 'part', word: 'withheld' };
  if (row.class === 'opaque') return { level: 'part', word: 'only recorded' };
  if (step?.verdict === 'MATCH') return { level: 'good', word: 'equal' };
  if (row.class === 'attested') return { level: 'part', word: 'with evidence' };
  return { level: 'good', word: 'fits' };
}
