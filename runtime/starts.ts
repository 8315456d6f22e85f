/**
 * The start that records a call before its effect.
 *
 * @module
 */

import { type Hex, toHex } from '../attest/core/bytes.ts';
import type { Json } from '../attest/encoding/canonical-json.ts';
import type { Bodies, Limits, RequestFields, RunOpenBody } from '../attest/trace/bodies.ts';
import { hashLimits } from '../attest/trace/facts.ts';
import type { ParsedCall } from '../attest/trace/guest.ts';
import { startRequestOf } from '../attest/trace/inference-call.ts';
import { childGrant, coveredSend, type PolicyRules } from '../attest/trace/policy.ts';
import { computeKey } from '../attest/trace/rules.ts';
import { childNonce } from '../attest/trace/run-seed.ts';
import type { RunState } from '../attest/trace/state.ts';
import type { PayloadSet } from '../attest/trace/writer.ts';

/** A start with its kind. */
export type StartRecord = {
  [K in 'inference.start' | 'tool.start' | 'host.start' | 'run.child.start']: {
    readonly kind: K;
    readonly body: Bodies[K];
  };
}[keyof Bodies & ('inference.start' | 'tool.start' | 'host.start' | 'run.child.start')];

/** Where a call stands, and who makes it. */
export type StartPlace = {
  /** Index of the `tool.start` whose guest calls, or null for the agent. */
  readonly by: bigint | null;
  /** Name of that tool. */
  readonly tool: string | null;
  readonly call: number;
  readonly state: RunState;
};

/**
 * Makes the start of an allowed call at the next place of a run.
 *
 * @param payloads - takes the call's texts
 */
export function startOf(
  parsed: ParsedCall,
  place: StartPlace,
  plan: { readonly openBody: RunOpenBody; readonly policy: PolicyRules },
  payloads: PayloadSet,
): StartRecord {
  const { state } = place;
  const base = {
    by: place.by === null ? null : place.by.toString(),
    call: place.call,
    key: toHex(computeKey(state.run, state.size)),
  };
  switch (parsed.method) {
    case 'inference': {
      const request = startRequestOf(parsed.args, payloads);
      return { kind: 'inference.start', body: { ...base, bytes: payloads.bytes, request } };
    }
    case 'tool': {
      const input = payloads.json(parsed.args.input);
      return { kind: 'tool.start', body: { ...base, bytes: payloads.bytes, input, tool: parsed.args.name } };
    }
    case 'run.child': {
      const { agent } = parsed.args;
      const grant = childGrant(plan.policy, agent);
      if (grant === undefined) throw new TypeError(`policy grants the agent ${agent}, which it does not list`);
      const input = payloads.json(parsed.args.input);
      const request = childRequest(grant, input, state, plan.openBody);
      return {
        kind: 'run.child.start',
        body: { ...base, agent, bytes: payloads.bytes, input, request, signature: null },
      };
    }
    default: {
      const request = payloads.json(parsed.args as Json);
      const sent = parsed.method === 'wallet.send' ? coveredSend(plan.policy, place.tool, parsed.target) : undefined;
      const amount = (sent?.amount ?? 0n).toString();
      return {
        kind: 'host.start',
        body: { ...base, amount, bytes: payloads.bytes, capability: parsed.method, request },
      };
    }
  }
}

/** The request of a child run: asked for by the operator of its parent, with a nonce that nobody chooses. */
function childRequest(
  grant: { readonly digest: Hex; readonly limits: Limits },
  input: Hex,
  state: RunState,
  open: RunOpenBody,
): RequestFields {
  return {
    agent: grant.digest,
    caller: open.operator,
    expiry: open.request.expiry,
    input,
    limits: toHex(hashLimits(grant.limits)),
    nonce: childNonce(state.run, state.size),
  };
}
