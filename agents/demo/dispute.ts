/**
 * The chain's part of the demo: a false step by vote of re-executors, and two histories by the contract alone.
 *
 * @module
 */

import type { Slash } from '../../attest/bond/chain.ts';
import { utf8 } from '../../attest/core/bytes.ts';
import { type Digest, sha256 } from '../../attest/core/hash.ts';
import { canonicalBytes } from '../../attest/encoding/canonical-json.ts';
import { encodeHead, type Head } from '../../attest/trace/head.ts';
import type { VerifyReport } from '../../attest/verify/verdict.ts';
import type { Forgery } from './forge.ts';
import { advanceTime, type Parties, VOTING_SECONDS } from './parties.ts';

/** How a challenge ended. */
export type Judgement = {
  readonly outcome: string;
  readonly slash: Slash | undefined;
  readonly votes: readonly boolean[];
};

/** Digest of what a re-executor computed for a step: the first field that differs and its true value. */
export function hashAnswer(report: VerifyReport): Digest {
  return sha256(
    utf8('tracebond/answer/1'),
    canonicalBytes({ field: report.field ?? '', recomputed: report.recomputed ?? '', step: report.step ?? 0 }),
  );
}

/**
 * Challenges a step, has each re-executor execute it again and vote, and resolves.
 *
 * @param report - what the challenger found
 * @param reexecute - one re-executor's own verification of the bundle
 */
export async function disputeStep(
  parties: Parties,
  rpcUrl: string,
  forgery: Forgery,
  report: VerifyReport,
  reexecute: () => Promise<VerifyReport>,
): Promise<Judgement> {
  const step = report.step ?? 0;
  const proof = {
    index: BigInt(step),
    head: encodeHead(forgery.heads[step] as Head),
    path: forgery.tree.inclusion(BigInt(step), forgery.checkpoint.size),
  };
  const { challengeId } = await parties.challenger.account.challenge(forgery.checkpoint, proof, hashAnswer(report));
  const votes: boolean[] = [];
  for (const voter of parties.voters) {
    const own = await reexecute();
    const guilty = own.verdict === 'DIVERGED' && own.step === step;
    await voter.account.vote(challengeId, guilty);
    votes.push(guilty);
  }
  await advanceTime(rpcUrl, VOTING_SECONDS + 1n);
  const { outcome, slash } = await parties.challenger.account.resolve(challengeId);
  return { outcome, slash, votes };
}
