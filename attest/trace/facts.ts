/**
 * Facts: the few values of a record that a contract may need, as a small tree whose root stands in the head.
 *
 * Leaf i of the facts of a kind = SHA-256(0x05 || kind code || i || value), values 32 bytes, order fixed by kind.
 *
 * Spec: `attest/spec/trace.md#facts`.
 *
 * @module
 */

import { fromHex, toHex, uintBytes, utf8 } from '../core/bytes.ts';
import { type Digest, sha256, taggedHash, ZERO_DIGEST } from '../core/hash.ts';
import { canonicalBytes } from '../encoding/canonical-json.ts';
import { MerkleAccumulator } from '../merkle/tree.ts';
import type { InferenceEndBody, Limits, PolicyBody, RunCloseBody, RunOpenBody } from './bodies.ts';
import { KIND_CODES, type Kind } from './kinds.ts';

/** Root of the facts of a record; zero when the kind has none. */
export function computeFactsRoot(kind: Kind, values: readonly Digest[]): Digest {
  if (values.length === 0) return ZERO_DIGEST;
  const tree = new MerkleAccumulator();
  values.forEach((value, i) => {
    tree.append(taggedHash('state', Uint8Array.of(KIND_CODES[kind], i), value));
  });
  return tree.root();
}

/** Digest of the limits of a run, as the caller's request names it: SHA-256 of their canonical JSON. */
export function hashLimits(limits: Limits): Digest {
  return sha256(canonicalBytes(limits));
}

/** Everything that `run.open` names by digest and a later `subject` may be, sorted and without repetition. */
export function listSubjects(open: RunOpenBody, requestDigest: Digest): readonly string[] {
  const digests = [
    open.agent.digest,
    open.engine,
    open.inference.model,
    open.policy.digest,
    ...open.tools.map((tool) => tool.digest),
    toHex(requestDigest),
  ];
  return [...new Set(digests)].sort();
}

/** Facts of `run.open`: subjects root, limits, kv root, policy, exposure, deadline. */
export function openFacts(open: RunOpenBody, requestDigest: Digest): readonly Digest[] {
  const subjects = new MerkleAccumulator();
  for (const digest of listSubjects(open, requestDigest)) subjects.append(taggedHash('state', fromHex(digest)));
  return [
    subjects.root(),
    hashLimits(open.limits),
    fromHex(open.kv.root),
    fromHex(open.policy.digest),
    uintBytes(BigInt(open.exposure), 32),
    uintBytes(BigInt(open.deadline), 32),
  ];
}

/** Facts of `inference.end`: seed, prompt ids, output ids, masks, finish reason. */
export function inferenceFacts(body: InferenceEndBody, seed: Digest): readonly Digest[] {
  return [
    seed,
    fromHex(body.prompt.root),
    fromHex(body.output.root),
    body.masks === null ? ZERO_DIGEST : fromHex(body.masks),
    sha256(utf8(body.finish)),
  ];
}

/** Facts of `policy`: form, decision. */
export function policyFacts(body: PolicyBody): readonly Digest[] {
  return [sha256(utf8(body.form)), sha256(utf8(body.decision))];
}

/** Facts of `run.close`: status, number of records. */
export function closeFacts(body: RunCloseBody): readonly Digest[] {
  return [sha256(utf8(body.status)), uintBytes(BigInt(body.records), 32)];
}

/** Facts of `host.*` outside the key-value store: capability, amount in wei (zero where no value moves). */
export function hostFacts(capability: string, amount: string): readonly Digest[] {
  return [sha256(utf8(capability)), uintBytes(BigInt(amount), 32)];
}
