/**
 * Run ids: derived from the caller's request, so that an operator cannot choose among runs. The contract computes the
 * same bytes.
 *
 * Spec: `attest/spec/trace.md#run-identity`.
 *
 * @module
 */

import { fromHex, type Hex, uintBytes, utf8 } from '../core/bytes.ts';
import { type Digest, sha256 } from '../core/hash.ts';
import { hashStruct } from '../sign/eip712.ts';

/** EIP-712 types of a request. */
export const REQUEST_TYPES = {
  Request: [
    { name: 'agent', type: 'bytes32' },
    { name: 'input', type: 'bytes32' },
    { name: 'limits', type: 'bytes32' },
    { name: 'caller', type: 'address' },
    { name: 'nonce', type: 'bytes32' },
    { name: 'expiry', type: 'uint64' },
  ],
} as const;

/** What a caller asks for; digests and nonce 32 bytes, expiry in unix seconds as a decimal string. */
export type RequestStruct = {
  readonly agent: Hex;
  readonly input: Hex;
  readonly limits: Hex;
  readonly caller: Hex;
  readonly nonce: Hex;
  readonly expiry: string;
};

/** Request digest: the EIP-712 struct hash of `Request`. */
export function hashRequest(request: RequestStruct): Digest {
  return hashStruct(REQUEST_TYPES, 'Request', { ...request });
}

/** Everything a run id is made of. */
export type RunIdParts = {
  readonly chainId: bigint;
  /** 32 random bytes fixed at the deployment of the contract; zero off chain. */
  readonly salt: Uint8Array;
  readonly contract: Hex;
  readonly operator: Hex;
  readonly requestDigest: Digest;
  /** 0 for the first try. */
  readonly attempt: bigint;
};

/**
 * Run id: SHA-256("tracebond/run/1" || chain id 32 || salt 32 || contract 20 || operator 20 || request digest 32 ||
 * attempt 8), big-endian.
 */
export function computeRunId(parts: RunIdParts): Digest {
  return sha256(
    utf8('tracebond/run/1'),
    uintBytes(parts.chainId, 32),
    parts.salt,
    fromHex(parts.contract, 20),
    fromHex(parts.operator, 20),
    parts.requestDigest,
    uintBytes(parts.attempt, 8),
  );
}
