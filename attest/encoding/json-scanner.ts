/**
 * The JSON grammar of RFC 8259, exactly, with duplicate keys and lone surrogates refused, without recursion: nesting
 * costs heap, never stack. What a number becomes is the caller's choice, because binary64 loses 64-bit integers.
 *
 * Spec: `attest/spec/encoding.md#json`.
 *
 * @module
 */

import { EncodingError } from './errors.ts';

/** JSON whose numbers are read as `N`. */
export type JsonOf<N> = null | boolean | string | N | readonly JsonOf<N>[] | { readonly [key: string]: JsonOf<N> };

/**
 * Reads one JSON text.
 *
 * Objects are plain objects; a key `__proto__` is an own property like any other.
 *
 * @param text - untrusted, but already without lone surrogates (as decoded UTF-8 is)
 * @throws {@link EncodingError} `MALFORMED_JSON`, `DUPLICATE_KEY`, `LONE_SURROGATE` (from `\u` escapes) or `TOO_DEEP`,
 *   each with the `offset` in UTF-16 units; and whatever `options.number` throws
 * @see RFC 8259 §2-§7
 */
export function scanJson<N>(text: string, options: scanJson.Options<N>): JsonOf<N> {
  const cursor: Cursor = { text, pos: 0 };
  const stack: Frame<N>[] = [];
  for (;;) {
    skipSpace(cursor);
    let value: JsonOf<N>;
    const first = text.charCodeAt(cursor.pos);
    if (first === OPEN_BRACE || first === OPEN_BRACKET) {
      // attacker-controlled: the depth, so it is bounded before the container exists
      if (stack.length >= options.maxDepth) fail('TOO_DEEP', `nesting beyond ${options.maxDepth}`, cursor.pos);
      cursor.pos++;
      skipSpace(cursor);
      if (first === OPEN_BRACE) {
        const object: Record<string, JsonOf<N>> = {};
        if (text.charCodeAt(cursor.pos) !== CLOSE_BRACE) {
          stack.push({ object, key: readKey(cursor, object) });
          continue;
        }
        value = object;
      } else {
        const array: JsonOf<N>[] = [];
        if (text.charCodeAt(cursor.pos) !== CLOSE_BRACKET) {
          stack.push({ array });
          continue;
        }
        value = array;
      }
      cursor.pos++;
    } else {
      value = readScalar(cursor, first, options.number);
    }

    // A value is complete: put it where it belongs, and close every container that ends here.
    for (;;) {
      skipSpace(cursor);
      const next = text.charCodeAt(cursor.pos);
      const frame = stack.at(-1);
      if (frame === undefined) {
        if (cursor.pos < text.length) fail('MALFORMED_JSON', 'text after the value', cursor.pos);
        return value;
      }
      if ('array' in frame) {
        frame.array.push(value);
        if (next !== COMMA && next !== CLOSE_BRACKET) fail('MALFORMED_JSON', 'expected , or ]', cursor.pos);
        cursor.pos++;
        if (next === COMMA) break;
        value = frame.array;
      } else {
        setOwn(frame.object, frame.key, value);
        if (next !== COMMA && next !== CLOSE_BRACE) fail('MALFORMED_JSON', 'expected , or }', cursor.pos);
        cursor.pos++;
        if (next === COMMA) {
          skipSpace(cursor);
          frame.key = readKey(cursor, frame.object);
          break;
        }
        value = frame.object;
      }
      stack.pop();
    }
  }
}

export declare namespace scanJson {
  type Options<N> = {
    /** Greatest number of containers around a value, counting an outermost one as 1. */
    readonly maxDepth: number;
    /** Reads a number token, which is already in the grammar of RFC 8259 §6. */
    readonly number: (token: string, offset: number) => N;
  };
}

type Cursor = { readonly text: string; pos: number };
type Frame<N> = { readonly array: JsonOf<N>[] } | { readonly object: Record<string, JsonOf<N>>; key: string };

const QUOTE = 0x22;
const COMMA = 0x2c;
const MINUS = 0x2d;
const COLON = 0x3a;
const OPEN_BRACKET = 0x5b;
const BACKSLASH = 0x5c;
const CLOSE_BRACKET = 0x5d;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;

const ESCAPES: Readonly<Record<string, string>> = {
  '"': '"',
  '\\': '\\',
  '/': '/',
  b: '\b',
  f: '\f',
  n: '\n',
  r: '\r',
  t: '\t',
};

function skipSpace(cursor: Cursor): void {
  const { text } = cursor;
  let pos = cursor.pos;
  for (; ; pos++) {
    const unit = text.charCodeAt(pos);
    if (unit !== 0x20 && unit !== 0x0a && unit !== 0x0d && unit !== 0x09) break;
  }
  cursor.pos = pos;
}

/** Reads a member's key and its colon; the key must be new to `object`. */
function readKey(cursor: Cursor, object: object): string {
  const start = cursor.pos;
  if (cursor.text.charCodeAt(start) !== QUOTE) fail('MALFORMED_JSON', 'expected a key', start);
  const key = readString(cursor);
  if (Object.hasOwn(object, key)) fail('DUPLICATE_KEY', 'key occurs twice in one object', start);
  skipSpace(cursor);
  if (cursor.text.charCodeAt(cursor.pos) !== COLON) fail('MALFORMED_JSON', 'expected :', cursor.pos);
  cursor.pos++;
  return key;
}

function readScalar<N>(cursor: Cursor, first: number, number: scanJson.Options<N>['number']): JsonOf<N> {
  if (first === QUOTE) return readString(cursor);
  if (first === MINUS || isDigit(first)) {
    const start = cursor.pos;
    return number(readNumber(cursor), start);
  }
  for (const [word, value] of WORDS) {
    if (cursor.text.startsWith(word, cursor.pos)) {
      cursor.pos += word.length;
      return value;
    }
  }
  return fail('MALFORMED_JSON', 'expected a value', cursor.pos);
}

const WORDS: readonly (readonly [string, null | boolean])[] = [
  ['true', true],
  ['false', false],
  ['null', null],
];

/** RFC 8259 §6: `[ minus ] int [ frac ] [ exp ]`. */
function readNumber(cursor: Cursor): string {
  const { text } = cursor;
  const start = cursor.pos;
  let pos = start;
  const digits = (): void => {
    if (!isDigit(text.charCodeAt(pos))) fail('MALFORMED_JSON', 'expected a digit', pos);
    while (isDigit(text.charCodeAt(pos))) pos++;
  };
  if (text.charCodeAt(pos) === MINUS) pos++;
  if (text[pos] === '0') pos++;
  else digits();
  if (text[pos] === '.') {
    pos++;
    digits();
  }
  if (text[pos] === 'e' || text[pos] === 'E') {
    pos++;
    if (text[pos] === '+' || text[pos] === '-') pos++;
    digits();
  }
  cursor.pos = pos;
  return text.slice(start, pos);
}

/** RFC 8259 §7, from the opening quote to past the closing one. */
function readString(cursor: Cursor): string {
  const { text } = cursor;
  let pos = cursor.pos + 1;
  let run = pos;
  let out = '';
  for (;;) {
    const unit = text.charCodeAt(pos);
    if (unit === QUOTE) {
      cursor.pos = pos + 1;
      return out + text.slice(run, pos);
    }
    if (unit === BACKSLASH) {
      out += text.slice(run, pos);
      const letter = text.charAt(pos + 1);
      if (letter === 'u') {
        const high = readUnit(text, pos);
        pos += 6;
        out += String.fromCharCode(high);
        if (isSurrogate(high)) {
          const low = isLow(high) ? 0 : readLow(text, pos);
          if (low === 0) fail('LONE_SURROGATE', 'escape gives half a character', pos - 6);
          out += String.fromCharCode(low);
          pos += 6;
        }
      } else {
        const escaped = ESCAPES[letter];
        if (escaped === undefined) fail('MALFORMED_JSON', 'unknown escape', pos);
        out += escaped;
        pos += 2;
      }
      run = pos;
      continue;
    }
    // `charCodeAt` past the end is NaN, which no comparison below 0x20 catches.
    if (!(unit >= 0x20)) fail('MALFORMED_JSON', 'string without end, or with a control character', pos);
    pos++;
  }
}

/** The four hex digits of the `\u` escape at `pos`. */
function readUnit(text: string, pos: number): number {
  let unit = 0;
  for (let i = pos + 2; i < pos + 6; i++) {
    const digit = HEX.indexOf(text.charAt(i) || ' ');
    if (digit < 0) fail('MALFORMED_JSON', 'expected four hex digits', i);
    unit = unit * 16 + (digit < 16 ? digit : digit - 6);
  }
  return unit;
}

const HEX = '0123456789abcdefABCDEF';

/** The low surrogate that a `\u` escape at `pos` gives, or 0 if there is none. */
function readLow(text: string, pos: number): number {
  if (!text.startsWith('\\u', pos)) return 0;
  const unit = readUnit(text, pos);
  return isLow(unit) ? unit : 0;
}

function isDigit(unit: number): boolean {
  return unit >= 0x30 && unit <= 0x39;
}

function isSurrogate(unit: number): boolean {
  return unit >= 0xd800 && unit <= 0xdfff;
}

function isLow(unit: number): boolean {
  return unit >= 0xdc00 && unit <= 0xdfff;
}

/** Adds an own member, also for the one key that assignment would treat as the prototype. */
function setOwn<V>(object: Record<string, V>, key: string, value: V): void {
  if (key === '__proto__') {
    Object.defineProperty(object, key, { value, writable: true, enumerable: true, configurable: true });
  } else {
    object[key] = value;
  }
}

function fail(code: EncodingError['code'], message: string, offset: number): never {
  throw new EncodingError(code, `JSON at ${offset}: ${message}`, { at: { offset } });
}
