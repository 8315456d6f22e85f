/**
 * Checkpoints: the operator's signature over a prefix of a run, recoverable by a contract.
 *
 * Spec: `attest/spec/trace.md#checkpoints`. EIP-712 `Checkpoint(bytes32 run,uint64 size,bytes32 root,bytes32 state,bool closed)`.
 *
 * @module
 */

import { fromHex, type Hex, toHex } from '../core/bytes.ts';
import type { Digest } from '../core/hash.ts';
import type { Json } from '../encoding/canonical-json.ts';
import { hashTypedData } from '../sign/eip712.ts';
import { recoverAddress, signDigest } from '../sign/secp256k1.ts';
import { fieldError } from './errors.ts';
import { decimal64, flag, hex32, object, signature } from './shape.ts';

/** A prefix of a run. */
export type Checkpoint = {
  readonly run: Digest;
  /** Number of records. */
  readonly size: bigint;
  /** RFC 9162 root over the leaf hashes of the records. */
  readonly root: Digest;
  /** `post` of the last record. */
  readonly state: Digest;
  /** True exactly when the last record is `run.close`. */
  readonly closed: boolean;
};

/** A checkpoint with its 65-byte signature r || s || v. */
export type SignedCheckpoint = Checkpoint & { readonly signature: Uint8Array };

/** Where signatures of a run are valid: a contract on a chain, or zero and zero off chain. */
export type Deployment = { readonly chainId: bigint; readonly contract: Hex };

/** The EIP-712 domain of a deployment. */
export function signingDomain(deployment: Deployment) {
  return {
    name: 'Tracebond',
    version: '1',
    chainId: deployment.chainId.toString(),
    verifyingContract: deployment.contract,
  } as const;
}

/** The digest that the operator signs. */
export function hashCheckpoint(checkpoint: Checkpoint, deployment: Deployment): Digest {
  return hashTypedData({
    domain: signingDomain(deployment),
    types: {
      Checkpoint: [
        { name: 'run', type: 'bytes32' },
        { name: 'size', type: 'uint64' },
        { name: 'root', type: 'bytes32' },
        { name: 'state', type: 'bytes32' },
        { name: 'closed', type: 'bool' },
      ],
    },
    primaryType: 'Checkpoint',
    message: {
      run: toHex(checkpoint.run),
      size: checkpoint.size.toString(),
      root: toHex(checkpoint.root),
      state: toHex(checkpoint.state),
      closed: checkpoint.closed,
    },
  });
}

/** Signs a checkpoint with the operator's key (32 bytes). */
export function signCheckpoint(
  checkpoint: Checkpoint,
  deployment: Deployment,
  privateKey: Uint8Array,
): SignedCheckpoint {
  return { ...checkpoint, signature: signDigest(hashCheckpoint(checkpoint, deployment), privateKey) };
}

/**
 * Checks that the operator signed a checkpoint for this deployment.
 *
 * @throws {@link TraceError} `SIGNATURE_MISMATCH` when the signature is malformed or of another key
 */
export function verifyCheckpoint(checkpoint: SignedCheckpoint, deployment: Deployment, operator: Hex): void {
  let signer: Hex;
  try {
    signer = recoverAddress(hashCheckpoint(checkpoint, deployment), checkpoint.signature);
  } catch (cause) {
    throw fieldError('SIGNATURE_MISMATCH', 'checkpoint.signature', 'no key recovers from this signature', cause);
  }
  if (signer !== operator) {
    throw fieldError('SIGNATURE_MISMATCH', 'checkpoint.signature', `expected ${operator}, recovered ${signer}`);
  }
}

const checkpointShape = object({
  closed: flag,
  root: hex32,
  run: hex32,
  signature,
  size: decimal64,
  state: hex32,
});

/** Reads the JSON of a checkpoint line; shape only. @throws {@link TraceError} `MALFORMED_CHECKPOINT` */
export function parseCheckpoint(value: Json): SignedCheckpoint {
  const line = checkpointShape(value, 'checkpoint', 'MALFORMED_CHECKPOINT');
  return {
    closed: line.closed,
    root: fromHex(line.root),
    run: fromHex(line.run),
    signature: fromHex(line.signature),
    size: BigInt(line.size),
    state: fromHex(line.state),
  };
}

/** A signed checkpoint as the JSON of its bundle line. */
export function checkpointToJson(checkpoint: SignedCheckpoint): { [field: string]: Json } {
  return {
    closed: checkpoint.closed,
    root: toHex(checkpoint.root),
    run: toHex(checkpoint.run),
    signature: toHex(checkpoint.signature),
    size: checkpoint.size.toString(),
    state: toHex(checkpoint.state),
  };
}
