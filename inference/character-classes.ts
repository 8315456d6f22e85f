/**
 * Patterns of pre-tokenizers without the engine's Unicode tables: `\p{L}`, `\p{N}`, `\s` and their like become explicit
 * ranges of code points, taken from `spec/unicode-classes.json`. The ranges are then part of the tokenizer's description
 * and so of the model's commitment, and a JavaScript engine with newer tables makes the same tokens.
 *
 * What is left in a pattern means the same in every version of Unicode: literals, ranges, groups, quantifiers. Letters
 * inside `(?i:...)` are folded within ASCII by the tokenizer library (`s` does not match U+017F, as in llama.cpp).
 *
 * @module
 */

import { ModelError } from './errors.ts';
import table from './spec/unicode-classes.json' with { type: 'json' };

/** Version of Unicode of the classes, such as `17.0`. */
export const CLASSES_UNICODE: string = table.unicode;

/** The most characters of a pattern before and after its classes are spelled out. */
export const PATTERN_LIMITS = { length: 1 << 20, depth: 64 } as const;

/** Escapes of one letter that stand for a class. */
const SHORTHANDS: Readonly<Record<string, string>> = { s: 'White_Space', d: 'Nd' };

/** Letters after a backslash whose meaning no version of Unicode moves; `x` and `u` begin the number of a code point. */
const FIXED_ESCAPES = 'rntfvaexuAzZhH';

const GROUPS = ['(?:', '(?=', '(?!', '(?<=', '(?<!'];
const FOLDING_GROUP = '(?i:';

/** A class's ranges, spelled for the inside of brackets; made when first asked for. */
const spelled = new Map<string, string>();

/**
 * Spells out every class of a pattern. Giving it its own result changes nothing.
 *
 * @param pattern - in the dialect of `tokenizer.json` (Oniguruma), untrusted
 * @throws {@link ModelError} `UNSUPPORTED_TOKENIZER` for a class that has no table here (`\w`, `\b`, scripts, POSIX
 * brackets), classes under `(?i:`, intersections and sets as ends of a range, other flags, and patterns that are too long
 */
export function pinPattern(pattern: string): string {
  const scan = new Scan(pattern);
  if (pattern.length > PATTERN_LIMITS.length) throw scan.refuse('pattern is too long');
  let out = '';
  // Whether letters fold in each group that is open.
  const folding: boolean[] = [];
  while (scan.at < pattern.length) {
    const folds = folding.at(-1) ?? false;
    const char = scan.peek();
    if (char === '[') {
      out += pinBrackets(scan, folds);
    } else if (char === '\\') {
      const { text, members } = scan.escape(folds);
      out += members === null ? text : `[${members}]`;
    } else {
      if (char === '(') {
        const prefix = scan.group();
        folding.push(folds || prefix === FOLDING_GROUP);
        if (folding.length > PATTERN_LIMITS.depth) throw scan.refuse('groups are nested too deep');
        out += scan.take(prefix.length);
        continue;
      }
      if (char === ')') folding.pop();
      if (folds && char > '\x7f') throw scan.refuse('a letter beyond ASCII under (?i:');
      out += scan.take(1);
    }
    if (out.length > PATTERN_LIMITS.length) throw scan.refuse('pattern is too long');
  }
  return out;
}

/** The code points of a class or, negated, all others; `41-5a` as `\u{41}-\u{5a}`. */
function spell(name: string, negated: boolean): string | undefined {
  const key = negated ? `^${name}` : name;
  const known = spelled.get(key);
  const ranges = Object.hasOwn(table.classes, name) ? table.classes[name as keyof typeof table.classes] : undefined;
  if (known !== undefined || ranges === undefined) return known;
  const pairs = ranges.split(' ').map((range): [number, number] => {
    const [first = '', last = first] = range.split('-');
    return [Number.parseInt(first, 16), Number.parseInt(last, 16)];
  });
  const wanted = negated ? complement(pairs) : pairs;
  const point = (value: number) => `\\u{${value.toString(16)}}`;
  const text = wanted.map(([a, b]) => (a === b ? point(a) : `${point(a)}-${point(b)}`)).join('');
  spelled.set(key, text);
  return text;
}

function complement(pairs: readonly (readonly [number, number])[]): [number, number][] {
  const bounds = [-1, ...pairs.flat(), 0x110000];
  const gaps: [number, number][] = [];
  for (let i = 0; i < bounds.length; i += 2) {
    const first = (bounds[i] as number) + 1;
    const last = (bounds[i + 1] as number) - 1;
    if (first <= last) gaps.push([first, last]);
  }
  return gaps;
}

function pinBrackets(scan: Scan, folds: boolean): string {
  let out = scan.take(1);
  if (scan.peek() === '^') out += scan.take(1);
  // A bracket right at the start is a literal in Oniguruma.
  if (scan.peek() === ']') out += scan.take(1);
  // Whether a range cannot start after what was read last: at the start, or after a class.
  let after: 'start' | 'scalar' | 'class' = 'start';
  for (;;) {
    const char = scan.peek();
    if (char === '') throw scan.refuse('brackets are not closed');
    if (char === ']') return out + scan.take(1);
    if (char === '[' || scan.pattern.startsWith('&&', scan.at)) {
      throw scan.refuse('brackets within brackets and intersections are not read here');
    }
    if (folds && char > '\x7f') throw scan.refuse('a letter beyond ASCII under (?i:');
    if (char === '-') {
      const last = scan.pattern[scan.at + 1] === ']';
      if (after === 'class' && !last) throw scan.refuse('a class as an end of a range');
      out += scan.take(1);
      if (after !== 'start' && !last && scan.peek() === '\\') {
        const end = scan.escape(folds);
        if (end.members !== null) throw scan.refuse('a class as an end of a range');
        out += end.text;
      }
      continue;
    }
    if (char !== '\\') {
      out += scan.take(1);
      after = 'scalar';
      continue;
    }
    const { text, members } = scan.escape(folds);
    out += text;
    after = members === null ? 'scalar' : 'class';
  }
}

/** A place in a pattern. */
class Scan {
  at = 0;
  readonly pattern: string;

  constructor(pattern: string) {
    this.pattern = pattern;
  }

  peek(): string {
    return this.pattern[this.at] ?? '';
  }

  take(count: number): string {
    this.at += count;
    return this.pattern.slice(this.at - count, this.at);
  }

  /** The opening of a group: `(` or `(?` with what belongs to it; not taken. */
  group(): string {
    if (!this.pattern.startsWith('(?', this.at)) return '(';
    const prefix = [...GROUPS, FOLDING_GROUP].find((one) => this.pattern.startsWith(one, this.at));
    if (prefix === undefined) throw this.refuse('a flag or a group of another kind');
    return prefix;
  }

  /** Takes an escape: as it stands, or as members of a class, which are `text` too. */
  escape(folds: boolean): { readonly text: string; readonly members: string | null } {
    const letter = this.pattern[this.at + 1] ?? '';
    if (letter === '') throw this.refuse('pattern ends in a backslash');
    const braces = /^\\[pP]\{([A-Za-z_]{1,32})\}/.exec(this.pattern.slice(this.at, this.at + 40));
    const name = braces?.[1] ?? SHORTHANDS[letter.toLowerCase()];
    if (name === undefined) {
      if (/[A-Za-z]/.test(letter) && !FIXED_ESCAPES.includes(letter)) throw this.refuse(`\\${letter} is not read here`);
      return { text: this.take(2), members: null };
    }
    const found = spell(name, letter === letter.toUpperCase());
    if (found === undefined) throw this.refuse(`no table of the class ${name}`);
    if (folds) throw this.refuse('a class under (?i:');
    this.at += braces?.[0].length ?? 2;
    return { text: found, members: found };
  }

  refuse(reason: string): ModelError {
    return new ModelError('UNSUPPORTED_TOKENIZER', `pattern of a pre-tokenizer: ${reason}`, {
      at: { offset: this.at },
    });
  }
}
