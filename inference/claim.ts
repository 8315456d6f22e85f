/**
 * Decoding along a claimed output: the claim's ids are computed together with the prompt, as many rows at once as the engine
 * takes, and what plain decoding gives is compared with them.
 *
 * L1. The claim never decides a token: it is proposed, and the same rule chooses from the same logits as without it.
 * L2. Decoding ends at the first id that is not the claim's, so a false claim costs no more than a true one, and at most the rest
 *     of one batch is computed in vain.
 * L3. A claim is attacker-controlled: ids that are no tokens and ids beyond the longest answer never reach the model.
 *
 * @module
 */

import { aheadSource, claimDrafter } from './ahead.ts';
import type { LogitSource } from './decode.ts';
import type { Sequence } from './sequences.ts';

/** The claim is false, or ends too early: the output ids up to the first that the claim does not have, which is the last one here. */
export class ClaimBreak {
  readonly ids: readonly number[];

  constructor(ids: readonly number[]) {
    this.ids = ids;
  }
}

/** What is claimed, and the room that it has. */
export type Claim = {
  /** Untrusted. */
  readonly ids: readonly number[];
  readonly promptLength: number;
  /** Most ids of an answer. */
  readonly maxTokens: number;
};

/**
 * Answers over a source of logits that runs ahead along the claim.
 *
 * An answer that is complete before it leaves the claim comes back whole: it may still differ in its last id, or the claim may go
 * on after it; {@link firstDifference} tells.
 *
 * @param sequence - as it was opened for the prompt. Without `rows` nothing runs ahead, and the answer is decoded id by id
 * @param answer - decodes; must feed the prompt's ids and then its own
 */
export async function followClaim<T>(
  sequence: Sequence,
  { ids: claimed, promptLength, maxTokens }: Claim,
  answer: (source: LogitSource) => Promise<T>,
): Promise<T | ClaimBreak> {
  // The row of an answer's last id decides nothing.
  const drafter = claimDrafter(promptLength, claimed.slice(0, Math.min(claimed.length, maxTokens) - 1));
  const ahead = aheadSource(sequence, { drafter, capacity: promptLength + maxTokens });
  const right: number[] = [];
  let fed = 0;
  const along: LogitSource = {
    async feed(ids, signal) {
      for (const id of ids) {
        if (fed++ < promptLength) continue;
        right.push(id);
        if (id !== claimed[right.length - 1]) throw new ClaimBreak(right);
      }
      return ahead.feed(ids, signal);
    },
  };
  try {
    return await answer(along);
  } catch (stopped) {
    if (stopped instanceof ClaimBreak) return stopped;
    throw stopped;
  }
}

/** Index of the first difference of two lists of ids, or undefined if they are equal. */
export function firstDifference(claimed: readonly number[], correct: readonly number[]): number | undefined {
  const end = Math.min(claimed.length, correct.length);
  for (let index = 0; index < end; index++) if (claimed[index] !== correct[index]) return index;
  return claimed.length === correct.length ? undefined : end;
}
