/**
 * Verification of a bundle. Start reading here: this file only puts the parts in order.
 *
 * 1. structure: encoding, order, hashes, tree, states, signatures (`structure.ts`), one record at a time
 * 2. receipts of the inference server (`receipts.ts`)
 * 3. re-execution of every recomputable record (`reexecution.ts`), unless structure alone is asked for
 * 4. trust: who the operator is (`trust.ts`), never asked of the bundle
 * 5. the verdict: the worst of all
 *
 * @module
 */

import { toHex } from '../core/bytes.ts';
import { RuntimeError } from '../core/error.ts';
import type { RunOpenBody } from '../trace/bodies.ts';
import { fieldError, TraceError } from '../trace/errors.ts';
import { hashBody } from '../trace/state.ts';
import type { ChildRuns } from './child-runs.ts';
import type { Executor } from './executor.ts';
import { type Outcome, toStepReport } from './outcome.ts';
import { ReceiptChecks } from './receipts.ts';
import { Reexecution } from './reexecution.ts';
import { type SoundRecord, StructureReader } from './structure.ts';
import { noTrust, type Standing, type Trust } from './trust.ts';
import { CANNOT_CODES, faultOf, type StepReport, type Verdict, type VerifyReport, worseVerdict } from './verdict.ts';

/** What a verification takes from outside. */
export type VerifyPorts = {
  /** Executes steps again; without it the structure alone is checked. */
  readonly executor?: Executor;
  readonly trust?: Trust;
  /** Finds the bundles of child runs, see `child-bundles.ts`; without it their steps are not checked. */
  readonly children?: ChildRuns;
  /** Milliseconds of a monotonic clock. */
  readonly now: () => number;
};

/** What is reported of each record as soon as it is checked. */
export type VerifyOptions = { readonly onStep?: (step: StepReport, record: SoundRecord) => void };

type Fault = { readonly step: number; readonly error: RuntimeError };

/**
 * Verifies a bundle from a stream of its bytes, in memory that does not grow with the bundle (the step list apart).
 * A faulty bundle is a report, never an exception; what is thrown is a fault of the reader's own machine.
 */
export async function verifyBundle(
  ports: VerifyPorts,
  source: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  options: VerifyOptions = {},
): Promise<VerifyReport> {
  const began = ports.now();
  const reader = new StructureReader();
  const receipts = new ReceiptChecks();
  const { executor } = ports;
  const reexecution = executor === undefined ? undefined : new Reexecution(executor, ports.children);
  const steps: StepReport[] = [];
  let open: RunOpenBody | undefined;
  let status: VerifyReport['status'] = null;
  let withheld = false;
  let lost = 0;
  let fault: Fault | undefined;
  let worst: StepReport | undefined;
  let busy = 0;
  try {
    for await (const sound of reader.read(source)) {
      const state = reader.state as NonNullable<typeof reader.state>;
      if (sound.record.kind === 'run.open') open = sound.record.body;
      if (sound.record.kind === 'run.close') status = sound.record.body.status;
      if (sound.head.kind.endsWith('.lost')) lost += 1;
      withheld ||= sound.withheld;
      receipts.take(sound, state);
      const from = ports.now();
      let outcome: Outcome;
      if (worst?.verdict === 'DIVERGED') outcome = { verdict: 'CANNOT_RECOMPUTE', code: 'AFTER_DIVERGENCE' };
      else if (reexecution === undefined) outcome = structureOnly(sound);
      else outcome = await reexecution.check(sound, state);
      busy += ports.now() - from;
      let step = toStepReport(sound, outcome);
      try {
        reader.rules.checkLimits(state);
      } catch (error) {
        if (!(error instanceof TraceError)) throw error;
        step = { ...step, verdict: 'DIVERGED', ...faultOf(error) };
      }
      steps.push(step);
      options.onStep?.(step, sound);
      if (step.verdict === 'DIVERGED' && worst === undefined) worst = step;
    }
    fault = reader.fault;
  } catch (error) {
    if (!RuntimeError.is(error)) throw error;
    fault = { step: typeof error.at['step'] === 'number' ? error.at['step'] : steps.length, error };
  } finally {
    await reexecution?.close();
  }
  let standing: Standing = { trusted: false, opened: null, bonded: null };
  if (open !== undefined && fault === undefined) {
    try {
      standing = await (ports.trust ?? noTrust).standingOf(open, toHex((reader.state as { run: Uint8Array }).run));
    } catch (error) {
      if (!(error instanceof TraceError)) throw error;
      fault = { step: 0, error };
    }
    fault ??= compareWithChain(open, standing, reader);
  }
  return {
    ...conclude(reader, steps, fault, worst, standing, { structure: executor === undefined, withheld }),
    run: reader.state === undefined ? null : toHex(reader.state.run),
    size: Number(reader.end.size),
    root: reader.end.root === undefined ? null : toHex(reader.end.root),
    // Without a checkpoint nobody signed: the name in run.open is only a claim.
    signer: reader.end.root === undefined ? null : (open?.operator ?? null),
    opened: standing.opened,
    bonded: standing.bonded,
    seedFrom: open?.seedFrom ?? null,
    status,
    lost,
    classes: {
      recomputable: Number(reader.rules.coverage.recomputable),
      attested: Number(reader.rules.coverage.attested),
      opaque: Number(reader.rules.coverage.opaque),
    },
    checked: steps.filter((step) => step.verdict === 'MATCH').length,
    steps,
    timing: { totalMs: Math.round(ports.now() - began), reexecutionMs: Math.round(busy) },
  };
}

function conclude(
  reader: StructureReader,
  steps: readonly StepReport[],
  fault: Fault | undefined,
  worst: StepReport | undefined,
  standing: Standing,
  { structure, withheld }: { readonly structure: boolean; readonly withheld: boolean },
): Pick<VerifyReport, 'verdict' | 'code' | 'step' | 'field' | 'message' | 'claimed' | 'recomputed'> {
  if (fault !== undefined) return { verdict: 'INVALID', step: fault.step, ...faultOf(fault.error) };
  if (worst !== undefined) {
    const { code, field, claimed, recomputed } = worst;
    // Anybody can write records after a checkpoint: what no signature covers accuses nobody.
    const signed = BigInt(worst.index) < reader.end.size;
    return {
      verdict: signed ? 'DIVERGED' : 'INVALID',
      code: signed ? (code ?? 'STEP_DIVERGED') : 'UNSIGNED_RECORD',
      step: worst.index,
      ...(field === undefined ? {} : { field }),
      ...(claimed === undefined ? {} : { claimed }),
      ...(recomputed === undefined ? {} : { recomputed }),
    };
  }
  const reasons = new Set<string>();
  if (reader.end.truncated) reasons.add('TRUNCATED');
  if (!reader.end.closed) reasons.add('NOT_CLOSED');
  if (!standing.trusted) reasons.add('SIGNER_UNKNOWN');
  if (withheld) reasons.add('PAYLOAD_WITHHELD');
  if (structure) reasons.add('STRUCTURE_ONLY');
  let verdict: Verdict = reasons.size > 0 ? 'CANNOT_RECOMPUTE' : 'MATCH';
  for (const step of steps) {
    if (step.verdict === undefined) continue;
    verdict = worseVerdict(verdict, step.verdict);
    if (step.code !== undefined) reasons.add(step.code);
  }
  const code = CANNOT_CODES.find((candidate) => reasons.has(candidate));
  return code === undefined ? { verdict } : { verdict, code };
}

/** A bundle that is not the history which the chain holds of this run. */
function compareWithChain(open: RunOpenBody, { onChain }: Standing, reader: StructureReader): Fault | undefined {
  if (onChain === undefined) return undefined;
  const body = toHex(hashBody(open));
  if (body !== onChain.body) {
    return {
      step: 0,
      error: fieldError('CHECKPOINT_MISMATCH', 'head.body', `the chain has ${onChain.body}, got ${body}`),
    };
  }
  for (const name of ['deadline', 'exposure'] as const) {
    if (onChain[name].toString() === open[name]) continue;
    const message = `the chain has ${onChain[name]}, got ${open[name]}`;
    return { step: 0, error: fieldError('CHECKPOINT_MISMATCH', `body.${name}`, message) };
  }
  const { closed } = onChain;
  const { root, size } = reader.end;
  if (closed === undefined || !reader.end.closed || root === undefined) return undefined;
  if (closed.size === size && closed.root === toHex(root)) return undefined;
  const message = `the chain has ${closed.root} over ${closed.size} records, got ${toHex(root)} over ${size}`;
  return { step: Number(size) - 1, error: fieldError('CHECKPOINT_MISMATCH', 'checkpoint.root', message) };
}

function structureOnly(sound: SoundRecord): Outcome {
  return { verdict: 'CANNOT_RECOMPUTE', code: sound.withheld ? 'PAYLOAD_WITHHELD' : 'STRUCTURE_ONLY' };
}
