/**
 * Who opened the run, for whom, and with what: everything in `run.open` that follows from something else there.
 *
 * @module
 */

import { computeRunId, hashRequest } from '../bond/run-id.ts';
import { fromHex, type Hex, toHex } from '../core/bytes.ts';
import { sha256 } from '../core/hash.ts';
import type { RunOpenBody } from '../trace/bodies.ts';
import type { Deployment } from '../trace/checkpoint.ts';
import { fieldError } from '../trace/errors.ts';
import { hashLimits } from '../trace/facts.ts';
import type { Payload } from '../trace/payload.ts';
import { recoverRequestSigner } from '../trace/request.ts';

/** Chain and contract that a run names. */
export function deploymentOf(open: RunOpenBody): Deployment {
  return { chainId: BigInt(open.chain), contract: open.contract };
}

/**
 * Checks that `run.open` is consistent: run id, request, caller's signature, digests of code and policy.
 *
 * @param run - run id of the heads
 * @param payloads - payloads of the record by field; a withheld one is not checked
 * @throws {@link TraceError} `RUN_ID_MISMATCH`, `IDENTITY_MISMATCH`, `SIGNATURE_MISMATCH`
 */
export function verifyIdentity(open: RunOpenBody, run: Uint8Array, payloads: ReadonlyMap<string, Payload>): void {
  const expected = computeRunId({
    chainId: BigInt(open.chain),
    salt: fromHex(open.salt),
    contract: open.contract,
    operator: open.operator,
    requestDigest: hashRequest(open.request),
    attempt: BigInt(open.attempt),
  });
  if (toHex(expected) !== toHex(run)) throw fieldError('RUN_ID_MISMATCH', 'head.run', `expected ${toHex(expected)}`);
  const same = (field: string, found: Hex, wanted: Hex) => {
    if (found !== wanted) throw fieldError('IDENTITY_MISMATCH', field, `expected ${wanted}, got ${found}`);
  };
  same('body.request.agent', open.request.agent, open.agent.digest);
  same('body.request.input', open.request.input, open.input);
  same('body.request.limits', open.request.limits, toHex(hashLimits(open.limits)));
  const digestOf = (field: string, claimed: Hex) => {
    const payload = payloads.get(field);
    if (payload !== undefined) same(field, toHex(sha256(payload.data)), claimed);
  };
  digestOf('body.agent.code', open.agent.digest);
  digestOf('body.policy.rules', open.policy.digest);
  open.tools.forEach((tool, i) => {
    digestOf(`body.tools.${i}.code`, tool.digest);
    const before = open.tools[i - 1];
    if (before !== undefined && before.name >= tool.name) {
      throw fieldError('IDENTITY_MISMATCH', `body.tools.${i}.name`, 'tools are not sorted by name');
    }
  });
  if ((open.seedFrom === 'caller') !== (open.signature !== null)) {
    throw fieldError('IDENTITY_MISMATCH', 'body.seedFrom', 'the caller gives the seed exactly when the caller signed');
  }
  if (open.signature !== null) verifyCaller(open, open.signature);
}

function verifyCaller(open: RunOpenBody, signature: Hex): void {
  let signer: Hex;
  try {
    signer = recoverRequestSigner(open.request, signature, deploymentOf(open));
  } catch (cause) {
    throw fieldError('SIGNATURE_MISMATCH', 'body.signature', 'no key recovers from this signature', cause);
  }
  if (signer !== open.request.caller) {
    throw fieldError('SIGNATURE_MISMATCH', 'body.signature', `expected ${open.request.caller}, recovered ${signer}`);
  }
}
