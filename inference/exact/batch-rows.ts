/**
 * How the rows of one batch are dealt to the feeds that wait.
 *
 * @module
 */

/** Rows of a feed that are still to be computed, and whether somebody waits for the logits of each: of a text that grows, not of a prompt. */
export type Need = { readonly rows: number; readonly isDecoding: boolean };

/** Where texts grow, so many rows of prompts and of what is computed ahead come into their batches at most: a batch of more makes every text wait. */
export const MOST_BESIDE = 64;

/**
 * Deals rows: first one to each, so that no text waits for a prompt; half of what is left by age, so that the oldest is served soon; the other half
 * in equal shares, so that a long prompt holds up no short one.
 *
 * @param needs - oldest first, each of at least one row
 * @param most - rows of a batch, at least 1
 * @returns rows for each, in the same order; all but those beyond the first `most` get at least one
 */
export function dealRows(needs: readonly Need[], most: number): number[] {
  const served = needs.slice(0, most);
  const dealt: number[] = needs.map((_, i) => (i < most ? 1 : 0));
  const want = (i: number) => (needs[i]?.rows ?? 0) - (dealt[i] ?? 0);
  const give = (i: number, rows: number) => {
    dealt[i] = (dealt[i] ?? 0) + rows;
    return rows;
  };
  let room = most - served.length;
  if (served.some(({ isDecoding }) => isDecoding)) room = Math.min(room, MOST_BESIDE);
  const byAge = (rows: number) => {
    let left = rows;
    for (let i = 0; i < served.length && left > 0; i++) left -= give(i, Math.min(left, want(i)));
    return rows - left;
  };
  room -= byAge(Math.ceil(room / 2));
  const hungry = served.map((_, i) => i).filter((i) => want(i) > 0);
  // Those that need least come first: what they leave of their share is the others'.
  hungry.sort((a, b) => want(a) - want(b) || a - b);
  hungry.forEach((i, done) => {
    room -= give(i, Math.min(want(i), Math.floor(room / (hungry.length - done))));
  });
  return dealt;
}
