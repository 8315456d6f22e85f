/**
 * A request that a caller made and signed itself: everything that it commits to is opened and held against it.
 *
 * @module
 */

import { fromHex, type Hex, toHex } from '../../attest/core/bytes.ts';
import { RuntimeError } from '../../attest/core/error.ts';
import type { Json } from '../../attest/encoding/canonical-json.ts';
import type { Limits, RequestFields } from '../../attest/trace/bodies.ts';
import type { Deployment } from '../../attest/trace/checkpoint.ts';
import { hashLimits } from '../../attest/trace/facts.ts';
import { commitPayload, jsonPayload } from '../../attest/trace/payload.ts';
import { recoverRequestSigner } from '../../attest/trace/request.ts';
import type { CallerRequest } from '../plan.ts';
import { RunApiError } from './errors.ts';

/** A request with what its commitments are said to open to; untrusted. */
export type SignedParts = {
  readonly request: RequestFields;
  readonly signature: Hex;
  readonly input: Json;
  readonly inputSalt: Hex;
  readonly limits: Limits;
};

/**
 * Checks a signed request.
 *
 * @param expected - the agent's digest, the domain of signatures, and the time in milliseconds since 1970
 * @throws {@link RunApiError} `AGENT_MISMATCH`, `INPUT_MISMATCH`, `LIMITS_MISMATCH`, `REQUEST_EXPIRED`, `SIGNATURE_INVALID`
 */
export function verifyCallerRequest(
  { request, signature, input, inputSalt, limits }: SignedParts,
  expected: { readonly agent: Hex; readonly deployment: Deployment; readonly now: number },
): CallerRequest {
  if (request.agent !== expected.agent) {
    throw new RunApiError('AGENT_MISMATCH', `request.agent: the agent here is ${expected.agent}`);
  }
  const inputPayload = jsonPayload(input, fromHex(inputSalt, 32));
  const committed = toHex(commitPayload(inputPayload));
  if (request.input !== committed) {
    throw new RunApiError('INPUT_MISMATCH', `request.input: input under inputSalt has the commitment ${committed}`);
  }
  const hashed = toHex(hashLimits(limits));
  if (request.limits !== hashed) {
    throw new RunApiError('LIMITS_MISMATCH', `request.limits: limits have the digest ${hashed}`);
  }
  if (1000n * BigInt(request.expiry) < BigInt(Math.floor(expected.now))) {
    throw new RunApiError('REQUEST_EXPIRED', 'request.expiry: the request has expired');
  }
  const signer = recover(request, signature, expected.deployment);
  if (signer !== request.caller) {
    throw new RunApiError('SIGNATURE_INVALID', `signature: signed by ${signer}, not by request.caller`);
  }
  return { request, signature, input, inputPayload, limits };
}

function recover(request: RequestFields, signature: Hex, deployment: Deployment): Hex {
  try {
    return recoverRequestSigner(request, signature, deployment);
  } catch (cause) {
    if (!RuntimeError.is(cause)) throw cause;
    throw new RunApiError('SIGNATURE_INVALID', 'signature: no key recovers from it');
  }
}
