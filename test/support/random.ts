/**
 * Seeded randomness for campaigns: the same seed gives the same cases on every machine.
 *
 * @module
 */

/** A stream of choices; no two draws are independent of the seed. */
export type Random = {
  /** A whole number in `[0, limit)`. */
  readonly below: (limit: number) => number;
  readonly bytes: (length: number) => Uint8Array;
  readonly pick: <T>(list: readonly [T, ...T[]]) => T;
  /** True in `percent` of 100 draws. */
  readonly chance: (percent: number) => boolean;
};

/** Mulberry32 (Tommy Ettinger, public domain): 32 bits of state, good enough to choose test cases. */
export function seededRandom(seed: number): Random {
  let state = seed >>> 0;
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    let word = state;
    word = Math.imul(word ^ (word >>> 15), word | 1);
    word ^= word + Math.imul(word ^ (word >>> 7), word | 61);
    return (word ^ (word >>> 14)) >>> 0;
  };
  const below = (limit: number): number => Math.floor((next() / 2 ** 32) * limit);
  return {
    below,
    bytes: (length) => Uint8Array.from({ length }, () => next() & 0xff),
    pick: (list) => list[below(list.length)] ?? list[0],
    chance: (percent) => below(100) < percent,
  };
}
