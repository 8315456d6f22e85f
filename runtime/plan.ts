/**
 * From a caller's request to a run: everything that `run.open` names, put together.
 *
 * @module
 */

import { computeRunId, hashRequest } from '../attest/bond/run-id.ts';
import { fromHex, type Hex, toHex } from '../attest/core/bytes.ts';
import { sha256, ZERO_DIGEST } from '../attest/core/hash.ts';
import { canonicalBytes, type Json } from '../attest/encoding/canonical-json.ts';
import { addressOf } from '../attest/sign/secp256k1.ts';
import type { InferenceIdentity, Limits, RequestFields, RunOpenBody } from '../attest/trace/bodies.ts';
import type { Deployment } from '../attest/trace/checkpoint.ts';
import { hashLimits } from '../attest/trace/facts.ts';
import { type GuestCode, guestCodeJson, hashGuestCode } from '../attest/trace/guest.ts';
import { commitPayload, jsonPayload, type Payload } from '../attest/trace/payload.ts';
import type { PolicyRules } from '../attest/trace/policy.ts';
import { signRequest } from '../attest/trace/request.ts';
import { EMPTY_KV, PayloadSet } from '../attest/trace/writer.ts';
import type { RunPlan } from './run-types.ts';

/** A request with what its commitments open to. */
export type CallerRequest = {
  readonly request: RequestFields;
  /** The caller's signature, or null when the operator made the request itself. */
  readonly signature: Hex | null;
  readonly input: Json;
  readonly inputPayload: Payload;
  readonly limits: Limits;
};

/** What a caller asks for. */
export type RequestParts = {
  readonly agent: Hex;
  readonly input: Json;
  readonly limits: Limits;
  /** Unix seconds after which the request may not be opened. */
  readonly expiry: bigint;
  /** The caller's key, 32 bytes; undefined: the operator asks, and every screen says that it could choose the seed. */
  readonly callerKey?: Uint8Array;
  readonly deployment: Deployment;
  /** 32 random bytes each. */
  readonly random: () => Uint8Array;
};

/** Makes a caller's request and signs it. */
export function createRequest(parts: RequestParts): CallerRequest {
  const inputPayload = jsonPayload(parts.input, parts.random());
  const request: RequestFields = {
    agent: parts.agent,
    caller: parts.callerKey === undefined ? toHex(new Uint8Array(20)) : addressOf(parts.callerKey),
    expiry: parts.expiry.toString(),
    input: toHex(commitPayload(inputPayload)),
    limits: toHex(hashLimits(parts.limits)),
    nonce: toHex(parts.random()),
  };
  const signature =
    parts.callerKey === undefined ? null : toHex(signRequest(request, parts.deployment, parts.callerKey));
  return { request, signature, input: parts.input, inputPayload, limits: parts.limits };
}

/** With what an operator answers a request. */
export type RunParts = {
  readonly caller: CallerRequest;
  readonly agent: GuestCode;
  readonly tools: ReadonlyMap<string, GuestCode>;
  readonly policy: PolicyRules;
  readonly operator: Hex;
  /** The contract with its salt; {@link OFF_CHAIN} without a chain. */
  readonly deployment: Deployment & { readonly salt: Uint8Array };
  readonly attempt: bigint;
  /** Unix seconds until which the run must be closed. */
  readonly deadline: bigint;
  /** Value at risk in the token's smallest unit. */
  readonly exposure: bigint;
  /** Identity of the sandbox engine. */
  readonly engine: Hex;
  readonly inference: InferenceIdentity;
  /** The run that asks for this one, and the index of its `run.child.start`. */
  readonly parent?: { readonly run: Hex; readonly index: string };
  /** 32 random bytes each. */
  readonly random: () => Uint8Array;
};

/** No chain: run ids and signatures over zeros. */
export const OFF_CHAIN = { chainId: 0n, contract: toHex(new Uint8Array(20)), salt: ZERO_DIGEST } as const;

/** Puts a run together. Returns its id, 32 bytes, and the plan for `runAgent`. */
export function planRun(parts: RunParts): { readonly run: Uint8Array; readonly plan: RunPlan } {
  const payloads = new PayloadSet(parts.random);
  const { caller, deployment } = parts;
  const code = payloads.json(guestCodeJson(parts.agent));
  const input = payloads.add(caller.inputPayload);
  const rules = payloads.json(parts.policy as Json);
  const names = [...parts.tools.keys()].sort();
  const tools = names.map((name) => {
    const tool = parts.tools.get(name) as GuestCode;
    return { code: payloads.json(guestCodeJson(tool)), digest: hashGuestCode(tool), name };
  });
  const openBody: RunOpenBody = {
    agent: { code, digest: hashGuestCode(parts.agent) },
    attempt: parts.attempt.toString(),
    bytes: payloads.bytes,
    chain: deployment.chainId.toString(),
    contract: deployment.contract,
    deadline: parts.deadline.toString(),
    engine: parts.engine,
    exposure: parts.exposure.toString(),
    inference: parts.inference,
    input,
    kv: { from: null, root: EMPTY_KV },
    limits: caller.limits,
    modes: { default: 'public' },
    operator: parts.operator,
    parent: parts.parent ?? null,
    policy: { digest: toHex(sha256(canonicalBytes({ value: parts.policy as Json }))), rules },
    request: caller.request,
    salt: toHex(deployment.salt),
    seedFrom: caller.signature === null ? 'operator' : 'caller',
    signature: caller.signature,
    tools,
  };
  const run = computeRunId({
    chainId: deployment.chainId,
    salt: fromHex(openBody.salt),
    contract: deployment.contract,
    operator: parts.operator,
    requestDigest: hashRequest(caller.request),
    attempt: parts.attempt,
  });
  return {
    run,
    plan: {
      openBody,
      openPayloads: payloads,
      agent: parts.agent,
      tools: parts.tools,
      policy: parts.policy,
      input: caller.input,
    },
  };
}
