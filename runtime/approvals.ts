/**
 * A person's decision, held against the policy before it enters a record.
 *
 * @module
 */

import { RuntimeError } from '../attest/core/error.ts';
import { type Approval, type ApprovalPlace, recoverApprover } from '../attest/trace/approval.ts';
import type { Bodies } from '../attest/trace/bodies.ts';
import type { Deployment } from '../attest/trace/checkpoint.ts';
import { ControlError } from './control.ts';

/**
 * What evidence a decision carries.
 *
 * @param approvers - addresses that the policy names; with any, one of them must have signed
 * @throws {@link ControlError} `APPROVAL_INVALID`
 */
export function judgeApproval(
  approval: Approval,
  approvers: readonly string[],
  place: ApprovalPlace,
  deployment: Deployment,
): Bodies['host.end']['evidence'] {
  const { approver, signature } = approval;
  if (signature === null) {
    if (approvers.length > 0) throw refuse('the policy names approvers, and none has signed');
    return 'none';
  }
  if (approver === null || !approvers.includes(approver)) throw refuse(`${approver} is no approver of the policy`);
  let signer: string;
  try {
    signer = recoverApprover(approval, place, deployment, signature);
  } catch (cause) {
    if (!RuntimeError.is(cause)) throw cause;
    throw refuse('no key recovers from this signature');
  }
  if (signer !== approver) throw refuse(`signed by ${signer}, not by ${approver}`);
  return 'approval';
}

function refuse(message: string): ControlError {
  return new ControlError('APPROVAL_INVALID', message);
}
