/**
 * A verification report in words.
 *
 * @module
 */

import type { VerifyReport } from '../../attest/verify/verdict.ts';

const MEANINGS: Readonly<Record<string, string>> = {
  TRUNCATED: 'the file is cut off; it was checked up to its last checkpoint',
  NOT_CLOSED: 'the run has no closed checkpoint',
  PAYLOAD_WITHHELD: 'a payload that a step needs is left out',
  SIGNER_UNKNOWN:
    'nobody told this verifier to trust the operator (--signer, --rpc with --contract, or the trust file)',
  STRUCTURE_ONLY: 'only the structure was checked, nothing was executed',
  MODEL_NOT_AT_HAND: 'the model of the run is not on this computer',
  ENGINE_MISMATCH: 'the run used another version of the sandbox or engine',
  OTHER_NUMERICS:
    'the run used another numerics profile: exact with other packages, or float-same-isa, which holds on one class of CPU (--profile)',
  CHILD_RUN: 'a child run is checked by its own bundle',
  HOST_FAULT: 'this computer could not execute a step',
};

/** What a trace never proves, printed with every report. */
export const NOT_PROVED =
  'not proved: what came from outside (opaque steps), the recorded time, that no other run happened, that the model is wise';

/** Prints a report to standard output. */
export function printReport(file: string, report: VerifyReport): void {
  const { classes, verdict } = report;
  console.log(`${verdict}  ${file}`);
  if (report.code !== undefined) console.log(`  why        ${report.code}${explain(report.code)}`);
  if (report.step !== undefined)
    console.log(`  record     ${report.step}${report.field === undefined ? '' : `, ${report.field}`}`);
  if (report.message !== undefined) console.log(`  fault      ${report.message}`);
  if (report.claimed !== undefined) console.log(`  claimed    ${report.claimed}`);
  if (report.recomputed !== undefined) console.log(`  recomputed ${report.recomputed}`);
  console.log(`  run        ${report.run ?? 'unknown'}`);
  console.log(`  operator   ${report.signer ?? 'unknown'}`);
  console.log(
    `  opened     ${tell(report.opened)}, bonded ${report.bonded ?? 'not asked'}, seed from the ${report.seedFrom ?? '?'}`,
  );
  console.log(
    `  records    ${classes.recomputable} recomputable (${report.checked} executed again and equal), ${classes.attested} attested, ${classes.opaque} opaque`,
  );
  console.log(`  ended      ${report.status ?? 'not closed'}, ${report.lost} started effects lost`);
  console.log(`  time       ${report.timing.totalMs} ms`);
  console.log(`  ${NOT_PROVED}`);
}

function explain(code: string): string {
  return MEANINGS[code] === undefined ? '' : `: ${MEANINGS[code]}`;
}

function tell(value: boolean | null): string {
  if (value === null) return 'not asked';
  return value ? 'yes' : 'no';
}
