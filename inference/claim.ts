/**
 * Decoding along a claimed output: the claim's ids are computed together with the prompt, as many rows at once as the engine
 * takes, and what decoding asks for after each row is compared with them.
 *
 * L1. The claim never decides a token: the same rule chooses from the same logits as without it.
 * L2. Decoding ends at the first id that is not the claim's, so a false claim costs no more than a true one, and at most the rest
 *     of one batch is computed in vain.
 * L3. A claim is attacker-controlled: ids that are no tokens and ids beyond the longest answer never reach the model.
 *
 * @module
 */

import type { Decoding } from './decode.ts';
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
 * Decodes along a claim.
 *
 * An answer that is complete before it leaves the claim comes back whole: it may still differ in its last id, or the claim may go
 * on after it; {@link firstDifference} tells.
 *
 * @param sequence - as it was opened for the prompt. Without `rows` the answer is decoded id by id
 * @param decoding - not started; asks for the prompt's ids first
 * @throws {@link InferenceError} `CANCELLED`, and what `decoding` throws
 */
export async function followClaim<T>(
  sequence: Sequence,
  claim: Claim,
  decoding: Decoding<T>,
  signal?: AbortSignal,
): Promise<T | ClaimBreak> {
  const follower = new Follower(claim, decoding);
  while (follower.end === undefined) {
    const { asked } = follower;
    const { rows } = sequence;
    // A known beginning of the prompt, or what was computed and is right: always less than what is asked.
    const start = sequence.length;
    const first = asked.length - 1 - start;
    const ids = [...asked.slice(start), ...(rows === undefined ? [] : follower.ahead(rows.vocabulary))];
    if (rows === undefined) follower.take(await sequence.feed(ids, signal));
    else {
      const visit = (logits: Float32Array, index: number) =>
        // Between them lie ids that decoding took without looking at logits.
        start + index < asked.length - 1 || follower.take(logits);
      await rows.feedRows(ids, ids.length - first, visit, signal);
    }
  }
  return follower.end.value;
}

/** What decoding asked for so far, all of it as claimed. */
class Follower<T> {
  /** Ids from the beginning of the sequence on. */
  readonly asked: number[] = [];
  end: { readonly value: T | ClaimBreak } | undefined;
  readonly #claim: Claim;
  readonly #decoding: Decoding<T>;

  constructor(claim: Claim, decoding: Decoding<T>) {
    this.#claim = claim;
    this.#decoding = decoding;
    this.#step(decoding.next());
  }

  /** Takes the logits after the last asked id; whether there is more to ask. */
  take(logits: Float32Array): boolean {
    this.#step(this.#decoding.next(logits));
    return this.end === undefined;
  }

  /** Claimed ids that may come next; the row of an answer's last id decides nothing. */
  ahead(vocabulary: number): readonly number[] {
    const { ids, promptLength, maxTokens } = this.#claim;
    const next = ids.slice(
      Math.max(0, this.asked.length - promptLength),
      Math.max(0, Math.min(ids.length, maxTokens) - 1),
    );
    const isId = (id: number) => Number.isSafeInteger(id) && id >= 0 && id < vocabulary;
    const end = next.findIndex((id) => !isId(id));
    return end < 0 ? next : next.slice(0, end);
  }

  #step(step: IteratorResult<readonly number[], T>): void {
    if (step.done === true) {
      this.end = { value: step.value };
      return;
    }
    const { ids, promptLength } = this.#claim;
    for (const id of step.value) {
      const index = this.asked.length - promptLength;
      if (index >= 0 && id !== ids[index]) {
        this.end = { value: new ClaimBreak([...ids.slice(0, index), id]) };
        return;
      }
      this.asked.push(id);
    }
  }
}

/** Index of the first difference of two lists of ids, or undefined if they are equal. */
export function firstDifference(claimed: readonly number[], correct: readonly number[]): number | undefined {
  const end = Math.min(claimed.length, correct.length);
  for (let index = 0; index < end; index++) if (claimed[index] !== correct[index]) return index;
  return claimed.length === correct.length ? undefined : end;
}
