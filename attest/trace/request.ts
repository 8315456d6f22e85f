/**
 * The caller's request: what starts a run, signed by whoever asked for it.
 *
 * Spec: `attest/spec/trace.md#run-identity`. EIP-712 `Request`, see `attest/bond/run-id.ts` for its digest.
 *
 * @module
 */

import { REQUEST_TYPES } from '../bond/run-id.ts';
import { fromHex, type Hex } from '../core/bytes.ts';
import type { Digest } from '../core/hash.ts';
import { hashTypedData } from '../sign/eip712.ts';
import { recoverAddress, signDigest } from '../sign/secp256k1.ts';
import type { RequestFields } from './bodies.ts';
import { type Deployment, signingDomain } from './checkpoint.ts';

/** The digest that the caller signs: EIP-712 over the deployment's domain. */
export function hashRequestForSigning(request: RequestFields, deployment: Deployment): Digest {
  return hashTypedData({
    domain: signingDomain(deployment),
    types: REQUEST_TYPES,
    primaryType: 'Request',
    message: { ...request },
  });
}

/** Signs a request with the caller's key (32 bytes); 65 bytes r || s || v. */
export function signRequest(request: RequestFields, deployment: Deployment, privateKey: Uint8Array): Uint8Array {
  return signDigest(hashRequestForSigning(request, deployment), privateKey);
}

/** Address whose key signed a request. @throws SignatureError when no key recovers */
export function recoverRequestSigner(request: RequestFields, signature: Hex, deployment: Deployment): Hex {
  return recoverAddress(hashRequestForSigning(request, deployment), fromHex(signature));
}
