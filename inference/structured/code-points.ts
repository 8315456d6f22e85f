/**
 * Sets of Unicode scalar values, as sorted disjoint ranges, and the few sets that patterns name.
 *
 * @module
 */

import table from '../spec/unicode-classes.json' with { type: 'json' };

/** Flat list `first, last, first, last, …`, ascending, no two ranges touching. */
export type CodePoints = readonly number[];

const LAST = 0x10ffff;

/**
 * All characters that a text may hold: every scalar value but those of planes 4 to 13, which are unassigned and whose
 * UTF-8 bytes vocabularies lack.
 */
export const ALL_CODE_POINTS: CodePoints = [0, 0xd7ff, 0xe000, 0x3ffff, 0xe0000, LAST];

/** Sorts and joins ranges given in any order, within {@link ALL_CODE_POINTS}. */
export function codePoints(ranges: readonly (readonly [number, number])[]): CodePoints {
  const sorted = [...ranges].sort((a, b) => a[0] - b[0]);
  const out: number[] = [];
  for (const [first, last] of sorted) {
    const end = out.length - 1;
    if (end > 0 && first <= (out[end] as number) + 1) out[end] = Math.max(out[end] as number, last);
    else out.push(first, last);
  }
  return intersection(out, ALL_CODE_POINTS);
}

/** Characters in either set. */
export function union(a: CodePoints, b: CodePoints): CodePoints {
  return codePoints([...pairs(a), ...pairs(b)]);
}

/** Characters in both sets. */
export function intersection(a: CodePoints, b: CodePoints): CodePoints {
  const out: number[] = [];
  for (let i = 0, j = 0; i < a.length && j < b.length; ) {
    const first = Math.max(a[i] as number, b[j] as number);
    const last = Math.min(a[i + 1] as number, b[j + 1] as number);
    if (first <= last) out.push(first, last);
    if ((a[i + 1] as number) < (b[j + 1] as number)) i += 2;
    else j += 2;
  }
  return out;
}

/** Characters that are not in the set. */
export function complement(set: CodePoints): CodePoints {
  const out: number[] = [];
  let from = 0;
  for (const [first, last] of pairs(set)) {
    if (first > from) out.push(from, first - 1);
    from = last + 1;
  }
  if (from <= LAST) out.push(from, LAST);
  return intersection(out, ALL_CODE_POINTS);
}

/** Whether a character is in the set. */
export function hasCodePoint(set: CodePoints, point: number): boolean {
  for (let i = 0; i < set.length; i += 2) {
    if (point < (set[i] as number)) return false;
    if (point <= (set[i + 1] as number)) return true;
  }
  return false;
}

/** Ranges as pairs. */
export function pairs(set: CodePoints): [number, number][] {
  const out: [number, number][] = [];
  for (let i = 0; i < set.length; i += 2) out.push([set[i] as number, set[i + 1] as number]);
  return out;
}

/** Splits all characters so that each given set is a union of classes. */
export type Partition = {
  /** First character of each stretch, ascending; the first is 0. */
  readonly starts: readonly number[];
  /** Class of each stretch; -1 where no text may go. */
  readonly classes: readonly number[];
  /** One character of each class. */
  readonly samples: readonly number[];
};

/** The coarsest partition for the sets. */
export function partition(sets: readonly CodePoints[]): Partition {
  const edges = new Set<number>([0]);
  for (const set of [ALL_CODE_POINTS, ...sets]) {
    for (const [first, last] of pairs(set)) {
      edges.add(first);
      if (last < LAST) edges.add(last + 1);
    }
  }
  const starts = [...edges].sort((a, b) => a - b);
  const cursors = sets.map(() => 0);
  const known = new Map<string, number>();
  const samples: number[] = [];
  const classes = starts.map((point) => {
    if (!hasCodePoint(ALL_CODE_POINTS, point)) return -1;
    let signature = '';
    sets.forEach((set, index) => {
      let at = cursors[index] as number;
      while (at < set.length && (set[at + 1] as number) < point) at += 2;
      cursors[index] = at;
      if (at < set.length && (set[at] as number) <= point) signature += `${index},`;
    });
    const found = known.get(signature);
    if (found !== undefined) return found;
    known.set(signature, samples.length);
    samples.push(point);
    return samples.length - 1;
  });
  return { starts, classes, samples };
}

/** Index of the stretch that holds a character. */
export function stretchOf({ starts }: Partition, point: number): number {
  let low = 0;
  let high = starts.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if ((starts[middle] as number) <= point) low = middle;
    else high = middle - 1;
  }
  return low;
}

export const DIGITS: CodePoints = [0x30, 0x39];
export const WORD: CodePoints = [0x30, 0x39, 0x41, 0x5a, 0x5f, 0x5f, 0x61, 0x7a];
export const LINE_ENDS: CodePoints = [0x0a, 0x0a, 0x0d, 0x0d, 0x2028, 0x2029];
/** `\s` of ECMAScript: white space and line ends. */
export const SPACE: CodePoints = codePoints([
  [0x09, 0x0d],
  [0x20, 0x20],
  [0xa0, 0xa0],
  [0x1680, 0x1680],
  [0x2000, 0x200a],
  [0x2028, 0x2029],
  [0x202f, 0x202f],
  [0x205f, 0x205f],
  [0x3000, 0x3000],
  [0xfeff, 0xfeff],
]);

const LONG_NAMES: Readonly<Record<string, string>> = {
  Letter: 'L',
  Uppercase_Letter: 'Lu',
  Lowercase_Letter: 'Ll',
  Titlecase_Letter: 'Lt',
  Modifier_Letter: 'Lm',
  Other_Letter: 'Lo',
  Mark: 'M',
  Combining_Mark: 'M',
  Number: 'N',
  Decimal_Number: 'Nd',
  Punctuation: 'P',
  punct: 'P',
  digit: 'Nd',
  Symbol: 'S',
  space: 'White_Space',
};

const tabled = new Map<string, CodePoints>();

/**
 * Characters with a Unicode property, from the table that tokenizers are pinned to (`spec/unicode-classes.json`), so that
 * the engine's own version of Unicode decides nothing.
 *
 * @param property - inside of `\p{…}`
 * @returns undefined for a property without a table
 */
export function propertyCodePoints(property: string): CodePoints | undefined {
  const bare = property.replace(/^(?:gc|General_Category)=/, '');
  const name = Object.hasOwn(LONG_NAMES, bare) ? (LONG_NAMES[bare] as string) : bare;
  if (bare !== property && name === 'White_Space') return undefined;
  if (name === 'Any') return ALL_CODE_POINTS;
  if (name === 'ASCII') return [0, 0x7f];
  const known = tabled.get(name);
  if (known !== undefined) return known;
  if (!Object.hasOwn(table.classes, name)) return undefined;
  const set = codePoints(
    table.classes[name as keyof typeof table.classes].split(' ').map((range): [number, number] => {
      const [first = '', last = first] = range.split('-');
      return [Number.parseInt(first, 16), Number.parseInt(last, 16)];
    }),
  );
  tabled.set(name, set);
  return set;
}
