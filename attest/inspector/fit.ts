/**
 * Whether a verifier's report is about the bytes that were checked in this place. A report is untrusted: one about another run, another
 * history or other bytes, or one that contradicts itself or what was computed here, is not used.
 *
 * Spec: `attest/spec/inspector.md#reports`.
 *
 * @module
 */

import type { VerifyReport } from '../verify/verdict.ts';
import type { BundleCheck } from './bundle-check.ts';

/** Why a report is not about what was checked here; undefined where it is. */
export function mismatchOf(check: BundleCheck, report: VerifyReport): string | undefined {
  if (report.run !== check.run) return `it is about run ${report.run ?? 'unknown'}`;
  if (!isSameHistory(check, report)) {
    return 'it is about another history of this run: size or root of the last checkpoint differ';
  }
  const isInvalid = report.verdict === 'INVALID';
  if (check.fault !== undefined && !(isInvalid && (report.step ?? 0) <= check.fault.step)) {
    return 'it is about other bytes: they had no such fault as these have';
  }
  const differs = isInvalid ? signerOf(check, report) : (signerOf(check, report) ?? countOf(check, report));
  return differs === undefined ? contradictionOf(check, report) : `it says otherwise than these bytes: ${differs}`;
}

/** An INVALID stops reading: its last checkpoint may be any that holds here. */
function isSameHistory(check: BundleCheck, { verdict, size, root }: VerifyReport): boolean {
  if (size === check.size && root === check.root) return true;
  if (verdict !== 'INVALID') return false;
  return size === 0 ? root === null : root !== null && check.roots.get(size) === root;
}

function signerOf(check: BundleCheck, { signer, root }: VerifyReport): string | undefined {
  return signer === (root === null ? null : (check.open?.operator ?? null)) ? undefined : 'who signed';
}

function countOf(check: BundleCheck, report: VerifyReport): string | undefined {
  const { classes } = report;
  if (report.steps.length !== check.sound) return 'the number of records';
  if (report.steps.some(({ index }, i) => index !== i)) return 'the order of records';
  if (report.lost !== check.lost) return 'effects that were lost';
  if (report.status !== (check.close?.status ?? null)) return 'how the run ended';
  if (report.seedFrom !== (check.open?.seedFrom ?? null)) return 'who chose the randomness';
  const names = ['recomputable', 'attested', 'opaque'] as const;
  return names.every((name) => classes[name] === check.classes[name]) ? undefined : 'the classes of records';
}

function contradictionOf(check: BundleCheck, report: VerifyReport): string | undefined {
  const { verdict, steps, step, checked, classes } = report;
  if (checked > classes.recomputable || checked !== steps.filter((one) => one.verdict === 'MATCH').length) {
    return 'it contradicts itself: the number of records that were executed again';
  }
  const isFalse = check.beyondLimit !== undefined || check.falsehood !== undefined;
  if (isFalse && (verdict === 'MATCH' || verdict === 'CANNOT_RECOMPUTE')) {
    return 'it does not know of a record that is false here';
  }
  if (verdict === 'DIVERGED' && (step === undefined || steps[step]?.verdict !== 'DIVERGED')) {
    return 'it contradicts itself: the false record is not among its records';
  }
  if (verdict === 'CANNOT_RECOMPUTE' && steps.some((one) => one.verdict === 'DIVERGED' || one.verdict === 'INVALID')) {
    return 'it contradicts itself: a false record is among its records';
  }
  if (verdict !== 'MATCH') return undefined;
  const isWhole = check.closed && !check.truncated && check.withheld === 0 && check.size === check.records;
  if (!isWhole) return 'it says MATCH of a run that is not all there';
  return checked === classes.recomputable ? undefined : 'it contradicts itself: MATCH, and not all of it was executed';
}
