/**
 * Child runs: a `run.child.end` says what another run came to; that run's own bundle shows it.
 *
 * @module
 */

import { hashRequest } from '../bond/run-id.ts';
import { type Hex, toHex } from '../core/bytes.ts';
import type { Json } from '../encoding/canonical-json.ts';
import type { Bodies, ChildStartBody, RunOpenBody } from '../trace/bodies.ts';
import { parseCheckpoint, verifyCheckpoint } from '../trace/checkpoint.ts';
import { TraceError } from '../trace/errors.ts';
import type { OpenStart } from '../trace/state.ts';
import { deploymentOf } from './identity.ts';
import { cannot, compare, diverged, MATCH, type Outcome } from './outcome.ts';
import type { VerifyReport } from './verdict.ts';

/** A child run that was verified by its own bundle. */
export type ChildReport = {
  readonly report: VerifyReport;
  readonly open: RunOpenBody | undefined;
  /** State after its `run.close`. */
  readonly state: Hex | undefined;
  /** Output or error of its `run.close`, where they are shown. */
  readonly output: Json | undefined;
  readonly error: { readonly code: string; readonly message: string } | undefined;
};

/** Finds and verifies the bundle of a child run of the same operator; undefined when it is not at hand. */
export type ChildRuns = (run: Hex, operator: Hex) => Promise<ChildReport | undefined>;

/** Whether the operator signed the checkpoint that a `run.child.end` names; undefined when it did. */
export function checkChildSignature(body: Bodies['run.child.end'], open: RunOpenBody): Outcome | undefined {
  try {
    verifyCheckpoint(parseCheckpoint({ ...body.checkpoint, run: body.run }), deploymentOf(open), open.operator);
    return undefined;
  } catch (error) {
    if (!(error instanceof TraceError)) throw error;
    return diverged('body.checkpoint.signature', body.checkpoint.signature, `one of ${open.operator}`);
  }
}

/**
 * Holds a `run.child.end` against the child run's own bundle.
 *
 * @param parent - id of the run that asked
 */
export function compareChild(
  child: ChildReport,
  parent: Hex,
  start: OpenStart,
  body: Bodies['run.child.end'],
  shown: {
    readonly output: Json | undefined;
    readonly error: { readonly code: string; readonly message: string } | undefined;
  },
): Outcome {
  const { report, open } = child;
  if (report.verdict === 'INVALID' || report.verdict === 'DIVERGED') {
    return diverged('body.run', 'a run that holds', `${report.verdict} at its record ${report.step ?? '?'}`);
  }
  if (open === undefined) return cannot('CHILD_RUN');
  const request = (start.body as ChildStartBody).request;
  const differs =
    compare('body.run', body.run, report.run) ??
    compare('body.request', toHex(hashRequest(request)), toHex(hashRequest(open.request))) ??
    compare('body.checkpoint.size', body.checkpoint.size, report.size.toString()) ??
    compare('body.checkpoint.root', body.checkpoint.root, report.root) ??
    compare('body.status', body.status, report.status) ??
    compare('body.checkpoint.state', body.checkpoint.state, child.state ?? null) ??
    compare('body.parent', { index: start.index.toString(), run: parent }, open.parent);
  if (differs !== undefined) return differs;
  if (report.verdict === 'CANNOT_RECOMPUTE') return cannot('CHILD_RUN');
  if (body.status === 'done') {
    if (shown.output === undefined || child.output === undefined) return cannot('PAYLOAD_WITHHELD');
    return compare('body.output', shown.output, child.output) ?? MATCH;
  }
  if (body.status !== 'failed') return MATCH;
  if (shown.error === undefined || child.error === undefined) return cannot('PAYLOAD_WITHHELD');
  return compare('body.error', shown.error, child.error) ?? MATCH;
}
