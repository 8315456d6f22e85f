/**
 * Normalization Form C by a table of our own (`spec/unicode-normal-form.json`), so that the tokens of a text do not depend
 * on the JavaScript engine's Unicode version. Code points that the table's version does not assign are left where they
 * are, in every engine; the text around them is normalised.
 *
 * The table: `combining` lists the marks with a combining class as `first-last:rank`, ranks in the order of the classes;
 * `decompositions` lists `whole=first+last` where the pair composes again, and `whole=one,two,...` in full where it does
 * not. Hangul syllables follow from arithmetic.
 *
 * @see Unicode Standard, section 3.11 (D117) and 3.12; Unicode Standard Annex #15
 * @module
 */

import { createHash } from 'node:crypto';
import { type Hex, toHex } from '../attest/core/bytes.ts';
import table from './spec/unicode-normal-form.json' with { type: 'json' };

/** Names the table in what is committed to: SHA-256 of its three fields, each followed by a newline. */
export const NORMAL_FORM_TABLE: { readonly unicode: string; readonly digest: Hex } = {
  unicode: table.unicode,
  digest: toHex(
    createHash('sha256').update(`${table.unicode}\n${table.combining}\n${table.decompositions}\n`).digest(),
  ),
};

/** Nothing below U+0300 combines with what stands before it. */
const PLAIN = /^[\0-\u02ff]*$/;

const HANGUL = { syllable: 0xac00, leading: 0x1100, vowel: 0x1161, trailing: 0x11a7 } as const;
const LEADINGS = 19;
const VOWELS = 21;
/** One more than there are trailing consonants: a syllable may have none. */
const TRAILINGS = 28;
const SYLLABLES = LEADINGS * VOWELS * TRAILINGS;

type Table = {
  /** Rank of a mark's combining class, from 1; every other code point is of class 0. */
  readonly ranks: ReadonlyMap<number, number>;
  /** Full decompositions. */
  readonly apart: ReadonlyMap<number, readonly number[]>;
  /** What a pair composes to, by {@link pairKey}. */
  readonly together: ReadonlyMap<number, number>;
};

let read: Table | undefined;

/** Text in Normalization Form C; single surrogates stay what they are. */
export function toNormalFormC(text: string): string {
  if (PLAIN.test(text)) return text;
  read ??= readTable();
  const points: number[] = [];
  for (const char of text) decompose(char.codePointAt(0) as number, read.apart, points);
  order(points, read.ranks);
  return compose(points, read)
    .map((point) => String.fromCodePoint(point))
    .join('');
}

function decompose(point: number, apart: Table['apart'], out: number[]): void {
  const index = point - HANGUL.syllable;
  if (index >= 0 && index < SYLLABLES) {
    const trailing = index % TRAILINGS;
    const vowel = Math.floor(index / TRAILINGS) % VOWELS;
    out.push(HANGUL.leading + Math.floor(index / (VOWELS * TRAILINGS)), HANGUL.vowel + vowel);
    if (trailing > 0) out.push(HANGUL.trailing + trailing);
    return;
  }
  out.push(...(apart.get(point) ?? [point]));
}

/** Sorts every run of marks by class, equal ones as they stood. */
function order(points: number[], ranks: Table['ranks']): void {
  for (let start = 0; start < points.length; start++) {
    let end = start;
    while (end < points.length && ranks.has(points[end] as number)) end++;
    if (end - start > 1) {
      const run = points.slice(start, end).sort((a, b) => (ranks.get(a) as number) - (ranks.get(b) as number));
      for (const [i, mark] of run.entries()) points[start + i] = mark;
    }
    start = end;
  }
}

function compose(points: readonly number[], { ranks, together }: Table): number[] {
  const out: number[] = [];
  // Place in `out` of the last code point of class 0, and rank of what was last left standing after it.
  let starter = -1;
  let standing = 0;
  for (const point of points) {
    const rank = ranks.get(point) ?? 0;
    const blocked = starter < out.length - 1 && standing >= rank;
    const whole = starter >= 0 && !blocked ? pair(out[starter] as number, point, together) : undefined;
    if (whole !== undefined) {
      out[starter] = whole;
      continue;
    }
    if (rank === 0) starter = out.length;
    standing = rank;
    out.push(point);
  }
  return out;
}

function pair(first: number, last: number, together: Table['together']): number | undefined {
  const leading = first - HANGUL.leading;
  const vowel = last - HANGUL.vowel;
  if (leading >= 0 && leading < LEADINGS && vowel >= 0 && vowel < VOWELS) {
    return HANGUL.syllable + (leading * VOWELS + vowel) * TRAILINGS;
  }
  const syllable = first - HANGUL.syllable;
  const trailing = last - HANGUL.trailing;
  if (syllable >= 0 && syllable < SYLLABLES && syllable % TRAILINGS === 0 && trailing > 0 && trailing < TRAILINGS) {
    return first + trailing;
  }
  return together.get(pairKey(first, last));
}

/** Code points have 21 bits, so two of them fit a number exactly. */
function pairKey(first: number, last: number): number {
  return first * 0x200000 + last;
}

function readTable(): Table {
  const ranks = new Map<number, number>();
  for (const entry of table.combining.split(' ')) {
    const [range = '', rank = ''] = entry.split(':');
    const [first = '', last = first] = range.split('-');
    for (let point = fromHex(first); point <= fromHex(last); point++) ranks.set(point, Number(rank));
  }
  const pairs = new Map<number, readonly number[]>();
  const apart = new Map<number, readonly number[]>();
  const together = new Map<number, number>();
  for (const entry of table.decompositions.split(' ')) {
    const [whole = '', parts = ''] = entry.split('=');
    const point = fromHex(whole);
    if (!parts.includes('+')) {
      apart.set(point, parts.split(',').map(fromHex));
      continue;
    }
    const [first, last] = parts.split('+').map(fromHex) as [number, number];
    pairs.set(point, [first, last]);
    together.set(pairKey(first, last), point);
  }
  const full = (point: number): readonly number[] => apart.get(point) ?? pairs.get(point)?.flatMap(full) ?? [point];
  for (const point of pairs.keys()) apart.set(point, full(point));
  return { ranks, apart, together };
}

function fromHex(digits: string): number {
  return Number.parseInt(digits, 16);
}
