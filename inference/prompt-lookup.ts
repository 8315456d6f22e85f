/**
 * Proposes what followed the last time the text was as it is now: prompts that are quoted, lists, code and JSON repeat themselves.
 *
 * How often such a continuation comes is learned for each length of match as the text grows, whether it was proposed or not, so a text
 * without copies costs next to nothing and a copy is found again at once. So many ids are proposed as make the expected gain greatest
 * at the costs of batches on this computer.
 *
 * D1. However a text goes, what wrong proposals cost beyond what right ones saved is at most the time of 4 rows and 5 % of its ids.
 *
 * @module
 */

import { type AheadSource, aheadSource, type Drafter } from './ahead.ts';
import type { Sequence } from './sequences.ts';

/** Shortest match: ids that must be the same before a continuation is believed. */
const SHORTEST = 2;

/** Matches are compared so far back; a longer one is as good. */
const LONGEST = 24;

/** Earlier places that are compared for each id. */
const CANDIDATES = 32;

/** A batch is made larger only where it is expected to give so many times the ids of one row in its time. */
const LEAST_GAIN = 1.1;

/** What may be lost (D1): rows, and rows for each id of the text after the prompt. */
const LOSS = 4;
const LOSS_SHARE = 0.05;

/** How often a continuation comes before anything was seen, by the length of its match from `from` on. */
const PRIORS: readonly { readonly from: number; readonly chance: number }[] = [
  { from: 2, chance: 0.1 },
  { from: 3, chance: 0.25 },
  { from: 4, chance: 0.4 },
  { from: 6, chance: 0.6 },
  { from: 9, chance: 0.8 },
  { from: 16, chance: 0.93 },
];

/** What a prior counts, in observations. */
const PRIOR_WEIGHT = 3;

/** What an observation still counts after the next one of its length. */
const MEMORY = 0.9;

/** An earlier place of the text: the id that followed there, and how many ids before it are the same as now. */
type Match = { readonly at: number; readonly length: number };

/**
 * Logits over a sequence that was opened for the prompt fed first; ids that the text has shown are computed ahead where that saves time.
 *
 * @param capacity - positions of the sequence
 * @param speculate - whether anything is computed ahead; true by default
 */
export function lookupSource(sequence: Sequence, capacity: number, speculate = true): AheadSource {
  const { rows } = sequence;
  if (rows === undefined || !speculate) return aheadSource(sequence);
  return aheadSource(sequence, { capacity, drafter: promptLookup((count) => rows.costOf(count)) });
}

/**
 * A drafter for one sequence.
 *
 * @param costOf - time of a batch of so many rows, all with logits, where that of one row is 1 (`RowAccess.costOf`)
 */
export function promptLookup(costOf: (rows: number) => number): Drafter {
  const ids: number[] = [];
  const places = new Places();
  const chances = new Chances();
  const account = new Account(costOf);
  let match: Match | undefined;

  const append = (id: number, isPrompt: boolean) => {
    const wasRight = match !== undefined && ids[match.at] === id;
    if (match !== undefined && !isPrompt) chances.observe(match.length, wasRight);
    ids.push(id);
    places.append(ids);
    if (isPrompt) match = undefined;
    // A copy is followed as long as it goes on.
    else if (match !== undefined && wasRight) match = { at: match.at + 1, length: match.length + 1 };
    else match = places.longest(ids);
  };
  return {
    propose(all, most) {
      const isPrompt = ids.length === 0;
      while (ids.length < all.length) append(all[ids.length] as number, isPrompt);
      if (isPrompt) match = places.longest(ids);
      account.settle(ids.length);
      if (match === undefined) return [];
      const { at, length } = match;
      const affordable = (rows: number) => costOf(rows) - 1 <= account.left;
      const count = bestCount((step) => chances.of(length + step), most, costOf, affordable);
      account.open(count);
      // Where the earlier place reaches up to the end, its continuation is what is being proposed: the text goes round.
      const proposed: number[] = [];
      while (proposed.length < count) {
        const next = at + proposed.length;
        proposed.push((next < ids.length ? ids[next] : proposed[next - ids.length]) as number);
      }
      return proposed;
    },
  };
}

/**
 * How many ids to propose so that ids for time are most: with chances `c0, c1, …` that each is right after those before it, a batch of
 * `k + 1` rows gives `1 + c0 + c0 c1 + …` ids.
 */
function bestCount(
  chanceOf: (step: number) => number,
  most: number,
  costOf: (rows: number) => number,
  affordable: (rows: number) => boolean,
): number {
  let best = 0;
  let bestGain = LEAST_GAIN;
  let reached = 1;
  let expected = 1;
  for (let count = 1; count <= most; count++) {
    reached *= chanceOf(count - 1);
    expected += reached;
    const gain = expected / costOf(count + 1);
    if (gain > bestGain && affordable(count + 1)) {
      best = count;
      bestGain = gain;
    }
  }
  return best;
}

/** What proposals cost and saved, in rows (D1). */
class Account {
  readonly #costOf: (rows: number) => number;
  /** Ids of the prompt; none before the first proposal. */
  #start: number | undefined;
  #end = 0;
  #proposed = 0;
  /** Of the batch with those that are proposed, when it was decided: it may change meanwhile. */
  #cost = 1;
  #lost = 0;

  constructor(costOf: (rows: number) => number) {
    this.#costOf = costOf;
  }

  /** What a proposal may lose now. */
  get left(): number {
    return LOSS + LOSS_SHARE * (this.#end - (this.#start ?? this.#end)) - this.#lost;
  }

  /** A batch with so many proposed ids is computed next. */
  open(proposed: number): void {
    this.#proposed = proposed;
    if (proposed > 0) this.#cost = this.#costOf(proposed + 1);
  }

  /** The text has come to so many ids: one from the logits of the last batch, and those that were proposed and right. */
  settle(end: number): void {
    this.#start ??= end;
    if (this.#proposed > 0) {
      const right = Math.min(this.#proposed, end - this.#end - 1);
      this.#lost += this.#cost - 1 - right;
      this.#proposed = 0;
    }
    this.#end = end;
  }
}

/** Where every pair of neighbours occurs in a text. */
class Places {
  /** Index of the last id of the latest occurrence of each pair. */
  readonly #latest = new Map<number, number>();
  /** That of the occurrence before, by index; -1 for none. */
  readonly #before: number[] = [];

  append(ids: readonly number[]): void {
    const at = ids.length - 1;
    const pair = pairAt(ids, at);
    this.#before.push(at < 1 ? -1 : (this.#latest.get(pair) ?? -1));
    if (at >= 1) this.#latest.set(pair, at);
  }

  /** The earlier place with the longest match before it, the latest among equals. */
  longest(ids: readonly number[]): Match | undefined {
    const last = ids.length - 1;
    let best: Match | undefined;
    let place = this.#before[last] ?? -1;
    for (let tried = 0; place >= 0 && tried < CANDIDATES; tried++) {
      let length = SHORTEST;
      while (length < LONGEST && place >= length && ids[place - length] === ids[last - length]) length++;
      if (best === undefined || length > best.length) best = { at: place + 1, length };
      if (length === LONGEST) break;
      place = this.#before[place] ?? -1;
    }
    return best;
  }
}

/** A number for two neighbouring ids; ids are far below 2^26. */
function pairAt(ids: readonly number[], at: number): number {
  return (ids[at - 1] ?? 0) * 2 ** 26 + (ids[at] ?? 0);
}

/** How often continuations came, by length of match. */
class Chances {
  readonly #seen = PRIORS.map(({ chance }) => ({ right: PRIOR_WEIGHT * chance, all: PRIOR_WEIGHT }));

  of(length: number): number {
    const { right, all } = this.#at(length);
    return right / all;
  }

  observe(length: number, wasRight: boolean): void {
    const seen = this.#at(length);
    seen.right = MEMORY * seen.right + (wasRight ? 1 : 0);
    seen.all = MEMORY * seen.all + 1;
  }

  #at(length: number): { right: number; all: number } {
    const index = PRIORS.findLastIndex(({ from }) => from <= length);
    return this.#seen[index] ?? { right: 0, all: 1 };
  }
}
