/**
 * Seeds that nobody chooses: the run's follows from the caller's request, an inference's from the run's and its place.
 *
 * Spec: `attest/spec/trace.md#run-identity`.
 *
 * @module
 */

import { type Hex, toHex, uintBytes, utf8 } from '../core/bytes.ts';
import { type Digest, sha256 } from '../core/hash.ts';

/**
 * Seed of a run: SHA-256("tracebond/seed/1" || request digest).
 *
 * @param requestDigest - EIP-712 struct hash of the caller's `Request`, 32 bytes
 * @throws RangeError if the digest is not 32 bytes
 */
export function computeRunSeed(requestDigest: Digest): Digest {
  return sha256(utf8('tracebond/seed/1'), digest(requestDigest));
}

/**
 * Seed of one inference: SHA-256("tracebond/draw/1" || run seed 32 || index of its start 8 || own seed 8), big-endian.
 *
 * @param runSeed - 32 bytes; zero outside a run
 * @param startIndex - index of the `inference.start` record, uint64; zero outside a run
 * @param ownSeed - the seed that the request itself carries, uint64; zero where it has none
 * @throws RangeError if a value does not fit its width
 */
export function computeInferenceSeed(runSeed: Digest, startIndex: bigint, ownSeed: bigint): Digest {
  return sha256(utf8('tracebond/draw/1'), digest(runSeed), uintBytes(startIndex, 8), uintBytes(ownSeed, 8));
}

/**
 * Nonce of the request of a child run: SHA-256("tracebond/child/1" || run 32 || index of its start 8), so that the operator chooses none.
 *
 * @param run - id of the parent, 32 bytes
 * @param startIndex - index of the `run.child.start` record, uint64
 */
export function childNonce(run: Digest, startIndex: bigint): Hex {
  return toHex(sha256(utf8('tracebond/child/1'), digest(run), uintBytes(startIndex, 8)));
}

function digest(value: Digest): Digest {
  if (value.length !== 32) throw new RangeError(`expected a digest of 32 bytes, got ${value.length}`);
  return value;
}
