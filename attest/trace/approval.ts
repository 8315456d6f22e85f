/**
 * A person's decision on a `human.approve`: what is signed, so that an operator cannot approve in another's name.
 *
 * Spec: `attest/spec/trace.md#approvals`.
 *
 * @module
 * @see EIP-712
 */

import { fromHex, type Hex, toHex, utf8 } from '../core/bytes.ts';
import { type Digest, sha256 } from '../core/hash.ts';
import type { Json } from '../encoding/canonical-json.ts';
import { hashTypedData } from '../sign/eip712.ts';
import { recoverAddress, signDigest } from '../sign/secp256k1.ts';
import { type Deployment, signingDomain } from './checkpoint.ts';
import { address, flag, nullable, object, type ShapeOf, signature, text } from './shape.ts';

const APPROVAL_TYPES = {
  Approval: [
    { name: 'run', type: 'bytes32' },
    { name: 'index', type: 'uint64' },
    { name: 'request', type: 'bytes32' },
    { name: 'approved', type: 'bool' },
    { name: 'note', type: 'bytes32' },
  ],
} as const;

/** What is decided, and where. */
export type ApprovalPlace = {
  /** Run id, 32 bytes. */
  readonly run: Digest;
  /** Index of the `host.start`. */
  readonly index: bigint;
  /** Commitment of its request. */
  readonly request: Hex;
};

const approval = object({
  approved: flag,
  approver: nullable(address),
  note: text(2000),
  signature: nullable(signature),
});

/** The response of a `human.approve`: a decision, and who signed it (null: nobody did, the operator says so). */
export type Approval = ShapeOf<typeof approval>;

/** Reads the response of a `human.approve`. @throws {@link TraceError} `MALFORMED_PAYLOAD` with the dotted path */
export function parseApproval(value: Json, path: string): Approval {
  return approval(value, path, 'MALFORMED_PAYLOAD');
}

/** The digest that an approver signs; `note` goes in as SHA-256 of its UTF-8. */
export function hashApproval(
  decision: Pick<Approval, 'approved' | 'note'>,
  place: ApprovalPlace,
  deployment: Deployment,
): Digest {
  return hashTypedData({
    domain: signingDomain(deployment),
    types: APPROVAL_TYPES,
    primaryType: 'Approval',
    message: {
      run: toHex(place.run),
      index: place.index.toString(),
      request: place.request,
      approved: decision.approved,
      note: toHex(sha256(utf8(decision.note))),
    },
  });
}

/** Signs a decision with an approver's key of 32 bytes; r || s || v. */
export function signApproval(
  decision: Pick<Approval, 'approved' | 'note'>,
  place: ApprovalPlace,
  deployment: Deployment,
  privateKey: Uint8Array,
): Hex {
  return toHex(signDigest(hashApproval(decision, place, deployment), privateKey));
}

/**
 * The address whose key signed a decision.
 *
 * @throws {@link SignatureError} when no key recovers
 */
export function recoverApprover(
  decision: Pick<Approval, 'approved' | 'note'>,
  place: ApprovalPlace,
  deployment: Deployment,
  signed: Hex,
): Hex {
  return recoverAddress(hashApproval(decision, place, deployment), fromHex(signed));
}
