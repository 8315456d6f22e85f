/**
 * ECMAScript regular expressions with the `u` flag, as a tree. Read are: characters and their escapes, classes, groups,
 * quantifiers, alternation, `^`, `$` and lookahead. Back references, lookbehind, word boundaries, flags and properties
 * without a table are refused. As browsers do without `u`, a backslash before ASCII punctuation stands for that sign.
 *
 * @module
 */

import {
  type CodePoints,
  codePoints,
  complement,
  DIGITS,
  LINE_ENDS,
  propertyCodePoints,
  SPACE,
  union,
  WORD,
} from './code-points.ts';
import { GRAMMAR_LIMITS } from './limits.ts';

/** A pattern's tree. `max` of a repetition may be infinite. */
export type PatternNode =
  | { readonly kind: 'set'; readonly set: CodePoints }
  | { readonly kind: 'sequence'; readonly parts: readonly PatternNode[] }
  | { readonly kind: 'choice'; readonly parts: readonly PatternNode[] }
  | { readonly kind: 'repeat'; readonly part: PatternNode; readonly min: number; readonly max: number }
  | { readonly kind: 'start' }
  | { readonly kind: 'end' }
  | { readonly kind: 'look'; readonly part: PatternNode; readonly negative: boolean };

/** What is wrong with a pattern; {@link parsePattern} throws it, and its caller knows the place in the schema. */
export class PatternFault extends Error {
  readonly code: 'SCHEMA_UNSUPPORTED' | 'SCHEMA_MALFORMED' | 'SCHEMA_TOO_LARGE';

  constructor(code: PatternFault['code'], message: string) {
    super(message);
    this.code = code;
  }
}

type Scan = { readonly points: readonly string[]; at: number; depth: number };

const CONTROLS: Readonly<Record<string, number>> = { t: 9, n: 10, v: 11, f: 12, r: 13 };

/**
 * Reads a pattern.
 *
 * @param pattern - untrusted
 * @throws {@link PatternFault}
 */
export function parsePattern(pattern: string): PatternNode {
  if (pattern.length > GRAMMAR_LIMITS.patternLength) {
    throw new PatternFault('SCHEMA_TOO_LARGE', `pattern of ${pattern.length} characters`);
  }
  const scan: Scan = { points: [...pattern], at: 0, depth: 0 };
  const node = readChoice(scan);
  if (scan.at < scan.points.length) throw malformed(scan, 'unmatched )');
  return node;
}

function readChoice(scan: Scan): PatternNode {
  // attacker-controlled: the depth of groups, which is the depth of this recursion
  if (++scan.depth > GRAMMAR_LIMITS.patternDepth) throw new PatternFault('SCHEMA_TOO_LARGE', 'groups nested too deep');
  const parts = [readSequence(scan)];
  while (take(scan, '|')) parts.push(readSequence(scan));
  scan.depth--;
  return parts.length === 1 ? (parts[0] as PatternNode) : { kind: 'choice', parts };
}

function readSequence(scan: Scan): PatternNode {
  const parts: PatternNode[] = [];
  for (;;) {
    const char = scan.points[scan.at];
    if (char === undefined || char === '|' || char === ')') break;
    parts.push(readQuantified(scan));
  }
  return parts.length === 1 ? (parts[0] as PatternNode) : { kind: 'sequence', parts };
}

function readQuantified(scan: Scan): PatternNode {
  const part = readAtom(scan);
  const bounds = readBounds(scan);
  if (bounds === undefined) return part;
  if (part.kind === 'start' || part.kind === 'end' || part.kind === 'look') throw malformed(scan, 'nothing to repeat');
  // Whether it takes few or many changes no match of the whole.
  take(scan, '?');
  if (/^[*+?]$/.test(scan.points[scan.at] ?? '')) throw malformed(scan, 'nothing to repeat');
  return { kind: 'repeat', part, ...bounds };
}

function readBounds(scan: Scan): { min: number; max: number } | undefined {
  if (take(scan, '*')) return { min: 0, max: Number.POSITIVE_INFINITY };
  if (take(scan, '+')) return { min: 1, max: Number.POSITIVE_INFINITY };
  if (take(scan, '?')) return { min: 0, max: 1 };
  if (scan.points[scan.at] !== '{') return undefined;
  const match = /^\{(\d+)(?:(,)(\d*))?\}/.exec(scan.points.slice(scan.at, scan.at + 40).join(''));
  if (match === null) throw malformed(scan, 'incomplete quantifier');
  scan.at += match[0].length;
  const min = Number(match[1]);
  const max = match[2] === undefined ? min : match[3] === '' ? Number.POSITIVE_INFINITY : Number(match[3]);
  if (max < min) throw malformed(scan, 'quantifier out of order');
  return { min, max };
}

function readAtom(scan: Scan): PatternNode {
  const char = scan.points[scan.at] as string;
  if (char === '(') return readGroup(scan);
  if (char === '[') return { kind: 'set', set: readClass(scan) };
  if (char === '\\') return { kind: 'set', set: readEscape(scan, false).set };
  if (/^[*+?{}\]]$/.test(char)) throw malformed(scan, `${char} without its beginning`);
  scan.at++;
  if (char === '^') return { kind: 'start' };
  if (char === '$') return { kind: 'end' };
  if (char === '.') return { kind: 'set', set: complement(LINE_ENDS) };
  return { kind: 'set', set: single(char.codePointAt(0) as number) };
}

function readGroup(scan: Scan): PatternNode {
  scan.at++;
  let look: boolean | undefined;
  if (take(scan, '?')) {
    if (take(scan, '=')) look = false;
    else if (take(scan, '!')) look = true;
    else if (take(scan, '<')) {
      const next = scan.points[scan.at];
      if (next === '=' || next === '!') throw unsupported('lookbehind');
      const close = scan.points.indexOf('>', scan.at);
      const name = scan.points.slice(scan.at, close === -1 ? scan.at : close).join('');
      if (!/^[A-Za-z_$][\w$]*$/.test(name)) throw malformed(scan, 'group name');
      scan.at = close + 1;
    } else if (!take(scan, ':')) throw unsupported('a group with flags');
  }
  const part = readChoice(scan);
  if (!take(scan, ')')) throw malformed(scan, 'group is not closed');
  return look === undefined ? part : { kind: 'look', part, negative: look };
}

function readClass(scan: Scan): CodePoints {
  scan.at++;
  const negative = take(scan, '^');
  const ranges: [number, number][] = [];
  let sets: CodePoints = [];
  for (;;) {
    if (scan.at >= scan.points.length) throw malformed(scan, 'class is not closed');
    if (take(scan, ']')) break;
    const first = readClassAtom(scan);
    const dash = scan.points[scan.at] === '-' && scan.points[scan.at + 1] !== ']' && scan.at + 1 < scan.points.length;
    if (!dash) {
      if (first.point === undefined) sets = union(sets, first.set);
      else ranges.push([first.point, first.point]);
      continue;
    }
    scan.at++;
    const last = readClassAtom(scan);
    if (first.point === undefined || last.point === undefined || first.point > last.point) {
      throw malformed(scan, 'range of a class');
    }
    ranges.push([first.point, last.point]);
  }
  const set = union(sets, codePoints(ranges));
  return negative ? complement(set) : set;
}

type Atom = { readonly set: CodePoints; readonly point: number | undefined };

function readClassAtom(scan: Scan): Atom {
  const char = scan.points[scan.at] as string;
  if (char === '\\') return readEscape(scan, true);
  scan.at++;
  const point = char.codePointAt(0) as number;
  return { set: single(point), point };
}

function readEscape(scan: Scan, inClass: boolean): Atom {
  const letter = scan.points[scan.at + 1];
  if (letter === undefined) throw malformed(scan, 'ends in a backslash');
  scan.at += 2;
  const set = (value: CodePoints): Atom => ({ set: value, point: undefined });
  const point = (value: number): Atom => ({ set: single(value), point: value });
  switch (letter) {
    case 'd':
      return set(DIGITS);
    case 'D':
      return set(complement(DIGITS));
    case 'w':
      return set(WORD);
    case 'W':
      return set(complement(WORD));
    case 's':
      return set(SPACE);
    case 'S':
      return set(complement(SPACE));
    case 'p':
    case 'P':
      return set(readProperty(scan, letter === 'P'));
    case 'x':
      return point(readHex(scan, 2));
    case 'u':
      return point(readUnicode(scan));
    case 'c': {
      const control = scan.points[scan.at++] ?? '';
      if (!/^[A-Za-z]$/.test(control)) throw malformed(scan, 'control escape');
      return point(control.charCodeAt(0) % 32);
    }
    case 'b':
    case 'B':
      if (inClass && letter === 'b') return point(8);
      throw unsupported('a word boundary');
    case 'k':
      throw unsupported('a back reference');
  }
  const control = Object.hasOwn(CONTROLS, letter) ? CONTROLS[letter] : undefined;
  if (control !== undefined) return point(control);
  if (letter === '0' && !/^\d$/.test(scan.points[scan.at] ?? '')) return point(0);
  if (/^\d$/.test(letter)) throw unsupported('a back reference');
  if (!/^[!-/:-@[-`{-~]$/.test(letter) || letter === '_') throw malformed(scan, `escape of ${letter}`);
  return point(letter.charCodeAt(0));
}

function readProperty(scan: Scan, negative: boolean): CodePoints {
  const match = /^\{([\w=]{1,64})\}/.exec(scan.points.slice(scan.at, scan.at + 70).join(''));
  if (match === null) throw malformed(scan, 'property escape');
  scan.at += match[0].length;
  const set = propertyCodePoints(match[1] as string);
  if (set === undefined) throw unsupported(`the property ${match[1]}`);
  return negative ? complement(set) : set;
}

function readHex(scan: Scan, digits: number): number {
  const text = scan.points.slice(scan.at, scan.at + digits).join('');
  if (text.length !== digits || !/^[0-9A-Fa-f]+$/.test(text)) throw malformed(scan, 'hexadecimal escape');
  scan.at += digits;
  return Number.parseInt(text, 16);
}

function readUnicode(scan: Scan): number {
  const braces = /^\{([0-9A-Fa-f]{1,8})\}/.exec(scan.points.slice(scan.at, scan.at + 12).join(''));
  if (braces !== null) {
    const value = Number.parseInt(braces[1] as string, 16);
    if (value > 0x10ffff) throw malformed(scan, 'code point');
    scan.at += braces[0].length;
    return value;
  }
  const high = readHex(scan, 4);
  const follows = scan.points[scan.at] === '\\' && scan.points[scan.at + 1] === 'u';
  if (high < 0xd800 || high > 0xdbff || !follows || scan.points[scan.at + 2] === '{') return high;
  const before = scan.at;
  scan.at += 2;
  const low = readHex(scan, 4);
  if (low >= 0xdc00 && low <= 0xdfff) return 0x10000 + (high - 0xd800) * 0x400 + (low - 0xdc00);
  scan.at = before;
  return high;
}

function single(point: number): CodePoints {
  return point <= 0x7f ? [point, point] : codePoints([[point, point]]);
}

function take(scan: Scan, char: string): boolean {
  if (scan.points[scan.at] !== char) return false;
  scan.at++;
  return true;
}

function malformed(scan: Scan, reason: string): PatternFault {
  return new PatternFault('SCHEMA_MALFORMED', `${reason} at character ${scan.at}`);
}

function unsupported(what: string): PatternFault {
  return new PatternFault('SCHEMA_UNSUPPORTED', `${what} is not read here`);
}
