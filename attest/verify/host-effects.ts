/**
 * What host calls must have answered, as far as the trace itself says: the run's store, its random bytes, the decisions of
 * people whom the policy names, and what its wallet signed.
 *
 * @module
 */

import { toHex } from '../core/bytes.ts';
import { RuntimeError } from '../core/error.ts';
import type { Json } from '../encoding/canonical-json.ts';
import { parseApproval, recoverApprover } from '../trace/approval.ts';
import type { Bodies, HostStartBody } from '../trace/bodies.ts';
import { randomValue } from '../trace/guest.ts';
import { grantOf, type PolicyRules } from '../trace/policy.ts';
import type { OpenStart, RunState } from '../trace/state.ts';
import { approvedSend, WalletBook } from '../trace/wallet.ts';
import { deploymentOf } from './identity.ts';
import { cannot, compare, diverged, MATCH, type Outcome } from './outcome.ts';
import { checkSend } from './wallet-sends.ts';

/** A host call at its end. */
export type EndedHostCall = {
  readonly start: OpenStart | undefined;
  /** Tool that called, or null for the agent. */
  readonly tool: string | null;
  readonly body: Bodies['host.end'];
  /** Undefined when it is withheld, or an error stands for it. */
  readonly response: Json | undefined;
};

/** The effects of one run's host calls, in order. */
export class HostEffects {
  readonly #requests = new Map<bigint, Json | undefined>();
  readonly #kv = new Map<string, string | undefined>();
  /** What the run has spent, and what people have approved. */
  readonly wallet = new WalletBook();

  /** Keeps the request of a start; undefined when it is withheld. */
  take(index: bigint, request: Json | undefined): void {
    this.#requests.set(index, request);
  }

  /** Drops what is held of a start. */
  forget(index: bigint): void {
    this.#requests.delete(index);
  }

  /** Holds an end against what the store, the run's seed or the policy's people give. */
  check(ended: EndedHostCall, state: RunState, policy: PolicyRules | undefined): Outcome {
    const { start, body, response } = ended;
    const index = start?.index ?? 0n;
    const { capability } = (start?.body ?? {}) as Partial<HostStartBody>;
    const request = this.#requests.get(index) as { readonly [key: string]: Json } | undefined;
    this.#requests.delete(index);
    if (capability === 'human.approve') {
      const outcome = checkApproval(ended, state, policy);
      this.#takeApproval(ended, request);
      return outcome;
    }
    if (capability === 'wallet.send') return checkSend(ended, policy);
    if (capability !== 'kv.put' && capability !== 'kv.get' && capability !== 'random.bytes') return MATCH;
    if (body.error !== null) return diverged('body.error', body.error, `${capability} does not fail`);
    const key = start?.policy?.request.target ?? '';
    let expected: Json | undefined;
    if (capability === 'kv.put') {
      this.#kv.set(key, request === undefined ? undefined : (request['value'] as string));
      expected = null;
    } else if (capability === 'kv.get') {
      expected = this.#kv.has(key) ? this.#kv.get(key) : null;
    } else if (request !== undefined) {
      expected = randomValue(state.runSeed, index, request['length'] as number);
    }
    if (response === undefined || expected === undefined) return cannot('PAYLOAD_WITHHELD');
    return compare('body.response', response, expected) ?? MATCH;
  }

  /** Takes a yes to a send; where it cannot be seen what was answered to what, any send may have been approved. */
  #takeApproval({ tool, body, response }: EndedHostCall, request: { readonly [key: string]: Json } | undefined): void {
    if (body.error !== null) return;
    if (request === undefined || response === undefined) {
      this.wallet.hidden = true;
      return;
    }
    const send = approvedSend(request['details']);
    if (send !== undefined && parseApproval(response, 'body.response').approved) this.wallet.approve(tool, send);
  }
}

/** A decision is signed by a person of the policy, wherever the policy names any. */
function checkApproval(
  { start, tool, body, response }: EndedHostCall,
  state: RunState,
  policy: PolicyRules | undefined,
): Outcome {
  const open = state.runOpen;
  if (body.error !== null) return MATCH;
  if (response === undefined || policy === undefined || open === undefined || start === undefined) {
    return cannot('PAYLOAD_WITHHELD');
  }
  const found = parseApproval(response, 'body.response');
  const approvers = grantOf(policy, tool, 'human.approve')?.approvers ?? [];
  if (body.evidence === 'none') {
    if (approvers.length > 0) return diverged('body.evidence', 'none', 'the signature of an approver of the policy');
    return compare('body.response.signature', found.signature, null) ?? MATCH;
  }
  const { approver, signature } = found;
  if (signature === null || approver === null) return diverged('body.response.signature', 'none', 'a signature');
  if (!approvers.includes(approver)) return diverged('body.response.approver', approver, 'an approver of the policy');
  const place = { run: state.run, index: start.index, request: (start.body as HostStartBody).request };
  let signer: string;
  try {
    signer = recoverApprover(found, place, deploymentOf(open), signature);
  } catch (error) {
    if (!RuntimeError.is(error)) throw error;
    return diverged('body.response.signature', signature, `no key recovers at run ${toHex(state.run)}`);
  }
  return compare('body.response.approver', approver, signer) ?? MATCH;
}
