/**
 * Whether a recorded decision is the one that the run's policy gives.
 *
 * @module
 */

import type { PolicyBody } from '../trace/bodies.ts';
import {
  evaluatePolicy,
  type PolicyDecision,
  type PolicyRequest,
  type PolicyRules,
  type RunUse,
} from '../trace/policy.ts';
import type { WalletBook } from '../trace/wallet.ts';
import { cannot, compare, type Outcome } from './outcome.ts';

/** What a run has used up so far, with the book of its payments. */
type VerifiedUse = Omit<RunUse, 'wallet'> & { readonly wallet: WalletBook };

/**
 * Evaluates the policy again and compares decision, form and rule.
 *
 * @param request - what was asked for, as the guest asked or, where nobody knows, as recorded
 * @param use - as it stood before the record
 * @returns undefined if they are equal; `PAYLOAD_WITHHELD` where an approval that this bundle does not show could make them equal
 */
export function compareDecision(
  policy: PolicyRules,
  body: PolicyBody,
  request: PolicyRequest,
  use: VerifiedUse,
): Outcome | undefined {
  const differsFrom = (decided: PolicyDecision) =>
    compare('body.decision', body.decision, decided.decision) ??
    compare('body.form', body.form, decided.form) ??
    compare('body.rule', body.rule, decided.rule);
  const decided = evaluatePolicy(policy, request, use);
  const differs = differsFrom(decided);
  if (!use.wallet.hidden) return differs;
  // An approval that is withheld here may be the one that allows it.
  const approved = evaluatePolicy(policy, request, { ...use, wallet: allApproved(use.wallet) });
  if (approved.decision === decided.decision) return differs;
  return differs === undefined || differsFrom(approved) === undefined ? cannot('PAYLOAD_WITHHELD') : differs;
}

function allApproved(book: WalletBook): Pick<WalletBook, 'spent' | 'spentUnder' | 'isApproved'> {
  return { spent: book.spent, spentUnder: (rule) => book.spentUnder(rule), isApproved: () => true };
}
