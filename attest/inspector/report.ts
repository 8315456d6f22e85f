/**
 * What `tracebond verify --json` says, read as untrusted input: the page shows it beside what it computed itself.
 *
 * @module
 */

import { RuntimeError } from '../core/error.ts';
import type { Verdict, VerifyReport } from '../verify/verdict.ts';
import { fields } from './row.ts';

/** A report, and where it comes from. */
export type SourcedReport = {
  readonly report: VerifyReport;
  /** `file`: somebody gave it; `here`: executed on this computer when the reader asked for it. */
  readonly source: 'file' | 'here';
};

export type ReportErrorCode = 'MALFORMED_REPORT';

/** A text that is no verifier's report. */
export class ReportError extends RuntimeError<ReportErrorCode> {
  override readonly name = 'ReportError';
}

const VERDICTS: readonly string[] = ['MATCH', 'INVALID', 'DIVERGED', 'CANNOT_RECOMPUTE'] satisfies Verdict[];

/** Most steps of a report. */
const MAX_STEPS = 1_000_000;

/**
 * Reads one report.
 *
 * @param value - untrusted JSON
 * @throws {@link ReportError} `MALFORMED_REPORT` with the field
 */
export function parseReport(value: unknown): VerifyReport {
  const report = fields(value);
  const { steps, classes, timing } = report;
  need(VERDICTS.includes(String(report['verdict'])), 'verdict');
  for (const name of ['code', 'field', 'message', 'claimed', 'recomputed']) needOptional(report[name], 'string', name);
  needOptional(report['step'], 'number', 'step');
  for (const name of ['run', 'root', 'signer', 'bonded', 'seedFrom', 'status']) {
    need(report[name] === null || typeof report[name] === 'string', name);
  }
  need(report['opened'] === null || typeof report['opened'] === 'boolean', 'opened');
  for (const name of ['size', 'lost', 'checked']) need(isCount(report[name]), name);
  for (const name of ['recomputable', 'attested', 'opaque']) need(isCount(fields(classes)[name]), `classes.${name}`);
  for (const name of ['totalMs', 'reexecutionMs']) need(isCount(fields(timing)[name]), `timing.${name}`);
  need(Array.isArray(steps) && steps.length <= MAX_STEPS, 'steps');
  for (const [i, step] of (steps as readonly unknown[]).entries()) {
    const one = fields(step);
    need(isCount(one['index']), `steps.${i}.index`);
    for (const name of ['kind', 'class']) need(typeof one[name] === 'string', `steps.${i}.${name}`);
    need(one['verdict'] === undefined || VERDICTS.includes(String(one['verdict'])), `steps.${i}.verdict`);
    for (const name of ['code', 'field', 'claimed', 'recomputed'])
      needOptional(one[name], 'string', `steps.${i}.${name}`);
  }
  return value as VerifyReport;
}

/**
 * Reads what the command prints: one JSON object a line, each of one file.
 *
 * @returns reports with the file that each names, empty if it names none
 * @throws {@link ReportError}
 */
export function parseReports(text: string): readonly { readonly file: string; readonly report: VerifyReport }[] {
  const whole = asJson(text);
  const values =
    whole === undefined
      ? text
          .split('\n')
          .filter((line) => line.trim() !== '')
          .map(asJson)
      : [whole];
  return values.map((value) => {
    const { file } = fields(value);
    return { file: typeof file === 'string' ? file : '', report: parseReport(value) };
  });
}

function asJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    return undefined;
  }
}

function isCount(value: unknown): boolean {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;
}

function needOptional(value: unknown, type: 'string' | 'number', field: string): void {
  need(value === undefined || typeof value === type, field);
}

function need(holds: boolean, field: string): void {
  if (!holds) throw new ReportError('MALFORMED_REPORT', `${field} is missing or not of its type`, { at: { field } });
}
