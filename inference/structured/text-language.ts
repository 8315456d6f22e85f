/**
 * The contents of JSON strings that an automaton accepts and whose length in characters lies within bounds, together with
 * the shortest way to end from everywhere.
 *
 * @module
 */

import { GRAMMAR_LIMITS } from './limits.ts';
import { PatternFault } from './pattern-syntax.ts';
import { type CharacterBytes, characterBytes } from './string-bytes.ts';
import { endlessStates, type TextDfa } from './text-dfa.ts';

/** A place inside a text: state of the automaton, node inside a character, characters still to come. */
export type TextPlace = {
  readonly state: number;
  readonly node: number;
  /** Fewest and most characters that are still to come after the one being written; `high` may be infinite. */
  readonly low: number;
  readonly high: number;
};

export type TextLanguage = {
  readonly start: TextPlace;
  /** Whether every character keeps every place with the same bounds: nothing but length is limited. */
  readonly isFree: boolean;
  /** After one byte; undefined where no text goes on. */
  step(place: TextPlace, byte: number): TextPlace | undefined;
  /** Whether a text may end here. */
  isWhole(place: TextPlace): boolean;
  /** Bytes of the shortest end; infinite where there is none. */
  length(place: TextPlace): number;
  /** Appends the bytes of the shortest end, the smallest among equals. */
  close(place: TextPlace, out: number[]): void;
  /** Whether infinitely many texts go on from here. */
  isEndless(place: TextPlace): boolean;
};

/** Longer than any text that is written. */
const NEVER = 0x3fffffff;

/**
 * Opens the language of an automaton.
 *
 * @param bytes - of the automaton's partition
 * @throws {@link PatternFault} `SCHEMA_TOO_LARGE` if the bounds need too large a table
 */
export function textLanguage(
  dfa: TextDfa,
  min: number,
  max: number,
  bytes: CharacterBytes = characterBytes(dfa.partition),
): TextLanguage {
  const { next, width, accepts } = dfa;
  const states = accepts.length;
  const weights = Array.from({ length: width }, (_, k) => bytes.bytesTo(0)[k]?.length ?? NEVER);
  // attacker-controlled: both bounds
  if (min > GRAMMAR_LIMITS.shortest) throw new PatternFault('SCHEMA_TOO_LARGE', `texts of ${min} characters at least`);
  // Without an upper bound one row is enough: that of any number of characters.
  const slack = max === Number.POSITIVE_INFINITY ? 0 : Math.min(max - min, states);
  if ((min + slack + 2) * states > GRAMMAR_LIMITS.lengthTable) {
    throw new PatternFault('SCHEMA_TOO_LARGE', 'bounds on the length of a pattern need too large a table');
  }
  const before = (row: Int32Array): Int32Array => {
    const out = new Int32Array(states).fill(NEVER);
    for (let state = 0; state < states; state++) {
      for (let k = 0; k < width; k++) {
        const to = next[state * width + k] as number;
        if (to >= 0) out[state] = Math.min(out[state] as number, (row[to] as number) + (weights[k] as number));
      }
    }
    return out;
  };
  // `most[r]`: at most r characters. One more than there are states changes nothing: a shortest text visits none twice.
  const most: Int32Array[] = [Int32Array.from(accepts, (isWhole) => (isWhole ? 0 : NEVER))];
  if (max === Number.POSITIVE_INFINITY) most[0] = shortest(dfa, weights);
  while (most.length <= slack) {
    const last = most.at(-1) as Int32Array;
    const row = before(last);
    for (let state = 0; state < states; state++) {
      row[state] = Math.min(row[state] as number, accepts[state] === true ? 0 : NEVER);
    }
    if (row.every((value, state) => value === last[state])) break;
    most.push(row);
  }
  // `least[l]`: l characters at least, and at most l + max - min.
  const least: Int32Array[] = [most[Math.min(slack, most.length - 1)] as Int32Array];
  while (least.length <= min) least.push(before(least.at(-1) as Int32Array));

  const rest = (state: number, low: number, high: number): number => {
    if (state < 0 || high < 0) return NEVER;
    const row = low > 0 ? least[low] : most[Math.min(high, most.length - 1)];
    return row?.[state] ?? NEVER;
  };
  const options = (
    place: TextPlace,
  ): { readonly length: number; readonly k: number; readonly path: readonly number[] } => {
    let best = { length: NEVER, k: -1, path: [] as readonly number[] };
    bytes.bytesTo(place.node).forEach((path, k) => {
      if (path === undefined) return;
      const to = next[place.state * width + k] as number;
      const low = place.node === 0 ? Math.max(place.low - 1, 0) : place.low;
      const high = place.node === 0 ? place.high - 1 : place.high;
      const length = path.length + rest(to, low, high);
      if (length < best.length || (length === best.length && length < NEVER && isSmaller(path, best.path))) {
        best = { length, k, path };
      }
    });
    return best;
  };
  const length = (place: TextPlace): number => {
    const found = place.node === 0 ? rest(place.state, place.low, place.high) : options(place).length;
    return found >= NEVER ? Number.POSITIVE_INFINITY : found;
  };
  const after = (place: TextPlace, k: number): TextPlace => ({
    state: next[place.state * width + k] as number,
    node: 0,
    low: place.low,
    high: place.high,
  });
  let endless: readonly boolean[] | undefined;
  const mayEnd = (place: TextPlace) => place.node === 0 && place.low === 0 && accepts[place.state] === true;
  return {
    start: { state: dfa.start, node: 0, low: min, high: max },
    isFree: states === 1 && accepts[0] === true && next.every((to) => to === 0),
    isWhole: mayEnd,
    length,
    step(place, byte) {
      const value = bytes.next[256 * place.node + byte] as number;
      if (value === 0) return undefined;
      // A character counts from its first byte on.
      const isFirst = place.node === 0;
      const low = isFirst ? Math.max(place.low - 1, 0) : place.low;
      const high = isFirst ? place.high - 1 : place.high;
      if (high < 0) return undefined;
      const inside = { state: place.state, node: Math.max(value, 0), low, high };
      const reached = value < 0 ? after(inside, -1 - value) : inside;
      return reached.state >= 0 && length(reached) < NEVER ? reached : undefined;
    },
    close(from, out) {
      let place = from;
      while (!mayEnd(place)) {
        const { k, path } = options(place);
        if (k < 0) throw new RangeError('no text ends here');
        out.push(...path);
        const isFirst = place.node === 0;
        place = after(
          {
            ...place,
            low: isFirst ? Math.max(place.low - 1, 0) : place.low,
            high: isFirst ? place.high - 1 : place.high,
          },
          k,
        );
      }
    },
    isEndless(place) {
      endless ??= endlessStates(dfa);
      const known = endless;
      return bytes.bytesTo(place.node).some((path, k) => {
        const to = path === undefined ? -1 : (next[place.state * width + k] as number);
        return to >= 0 && known[to] === true;
      });
    },
  };
}

function isSmaller(a: readonly number[], b: readonly number[]): boolean {
  for (let i = 0; i < Math.min(a.length, b.length); i++) {
    if (a[i] !== b[i]) return (a[i] as number) < (b[i] as number);
  }
  return a.length < b.length;
}

/** Bytes of the shortest end from each state, whatever its number of characters. */
function shortest({ next, width, accepts }: TextDfa, weights: readonly number[]): Int32Array {
  const before: { readonly from: number; readonly weight: number }[][] = accepts.map(() => []);
  next.forEach((to, at) => {
    if (to >= 0) before[to]?.push({ from: Math.floor(at / width), weight: weights[at % width] as number });
  });
  const length = Int32Array.from(accepts, (isWhole) => (isWhole ? 0 : NEVER));
  const queue = accepts.flatMap((isWhole, state) => (isWhole ? [state] : []));
  for (let at = 0; at < queue.length; at++) {
    const state = queue[at] as number;
    for (const { from, weight } of before[state] ?? []) {
      if ((length[from] as number) <= (length[state] as number) + weight) continue;
      length[from] = (length[state] as number) + weight;
      queue.push(from);
    }
  }
  return length;
}
