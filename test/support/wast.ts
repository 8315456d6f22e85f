/**
 * Scripts of the WebAssembly test suite (`.wast`): their s-expressions, and the values in them.
 *
 * @module
 * @see WebAssembly/spec, `interpreter/README.md#scripts`
 */

import { assembleText } from './wasm-text.ts';

/** An s-expression: a list, or a word as it is written; a string is a word that begins with a quote. */
export type Sexp = { readonly list: readonly Sexp[]; readonly text: string } | string;

/** A value of a script: bits of a number, a reference, or what a NaN must be like. */
export type WastValue =
  | { readonly type: 'i32' | 'i64' | 'f32' | 'f64'; readonly bits: bigint }
  | { readonly type: 'f32' | 'f64'; readonly nan: 'canonical' | 'arithmetic' }
  | { readonly type: 'extern'; readonly id: number | undefined }
  | { readonly type: 'null' }
  | { readonly type: 'func' };

/** Reads a whole script. */
export function readScript(source: string): Sexp[] {
  const stack: { items: Sexp[]; start: number }[] = [{ items: [], start: 0 }];
  const token = /\(;|;;[^\n]*|[()]|"(?:[^"\\]|\\.)*"|[^\s()";]+|;|\s+/gsy;
  while (token.lastIndex < source.length) {
    const start = token.lastIndex;
    const [word] = token.exec(source) ?? [];
    if (word === undefined) throw new TypeError(`no token at ${start}: ${source.slice(start, start + 20)}`);
    const top = stack.at(-1);
    if (top === undefined) throw new TypeError(`surplus parenthesis at ${start}`);
    if (word === '(;') {
      token.lastIndex = endOfComment(source, start);
    } else if (word === '(') {
      stack.push({ items: [], start });
    } else if (word === ')') {
      stack.pop();
      stack.at(-1)?.items.push({ list: top.items, text: source.slice(top.start, token.lastIndex) });
    } else if (!word.startsWith(';;') && word.trim() !== '') {
      top.items.push(word);
    }
  }
  const [root, ...open] = stack;
  if (root === undefined || open.length > 0) throw new TypeError('parentheses do not match');
  return root.items;
}

function endOfComment(source: string, start: number): number {
  let depth = 0;
  for (let at = start; at < source.length; at++) {
    const pair = source.slice(at, at + 2);
    if (pair === '(;') depth++;
    else if (pair === ';)') depth--;
    else continue;
    at++;
    if (depth === 0) return at + 1;
  }
  throw new TypeError('comment without end');
}

/** Words and lists of a list; none of a word. */
export function itemsOf(sexp: Sexp | undefined): readonly Sexp[] {
  return typeof sexp === 'object' ? sexp.list : [];
}

/** First word of a list, or the word itself. */
export function headOf(sexp: Sexp | undefined): string {
  const head = typeof sexp === 'object' ? sexp.list[0] : sexp;
  return typeof head === 'string' ? head : '';
}

/** Bytes of a string as it is written. */
export function stringBytes(word: Sexp | undefined): Uint8Array {
  if (typeof word !== 'string' || !word.startsWith('"')) throw new TypeError('a string is expected');
  const escapes: Record<string, number> = { t: 9, n: 10, r: 13, '"': 34, "'": 39, '\\': 92 };
  const parts: Uint8Array[] = [];
  for (const [whole, unicode, hex, letter] of word
    .slice(1, -1)
    .matchAll(/\\u\{([^}]*)\}|\\([0-9a-fA-F]{2})|\\(.)|[^\\]+/gs)) {
    if (unicode !== undefined) parts.push(Buffer.from(String.fromCodePoint(Number.parseInt(unicode, 16))));
    else if (hex !== undefined) parts.push(Uint8Array.of(Number.parseInt(hex, 16)));
    else if (letter !== undefined) parts.push(Uint8Array.of(escapes[letter] ?? 0));
    else parts.push(Buffer.from(whole));
  }
  return Uint8Array.from(Buffer.concat(parts));
}

/** Text of a string as it is written. */
export function stringText(word: Sexp | undefined): string {
  return new TextDecoder('utf-8', { ignoreBOM: true }).decode(stringBytes(word));
}

/** Reads values; floats are read by the assembler, all of a script at once, because their rounding is the assembler's art. */
export class ValueReader {
  readonly #floats: ReadonlyMap<string, bigint>;

  constructor(script: readonly Sexp[]) {
    const words = new Set<string>();
    const collect = (sexp: Sexp): void => {
      if (typeof sexp === 'string') return;
      const [head, value] = sexp.list;
      if ((head === 'f32.const' || head === 'f64.const') && typeof value === 'string') {
        if (!isNaNClass(value)) words.add(`${head} ${value}`);
      } else if (head !== 'module') {
        for (const item of sexp.list) collect(item);
      }
    };
    for (const command of script) collect(command);
    this.#floats = readFloats([...words]);
  }

  /** A value, or undefined for one of a feature that is not supported (vectors, GC references). */
  read(sexp: Sexp): WastValue | undefined {
    const [head, value] = itemsOf(sexp);
    if (head === 'i32.const' || head === 'i64.const') {
      const width = head === 'i32.const' ? 32 : 64;
      return { type: width === 32 ? 'i32' : 'i64', bits: BigInt.asUintN(width, readInteger(String(value))) };
    }
    if (head === 'f32.const' || head === 'f64.const') {
      const type = head === 'f32.const' ? 'f32' : 'f64';
      if (isNaNClass(String(value))) return { type, nan: value === 'nan:canonical' ? 'canonical' : 'arithmetic' };
      const bits = this.#floats.get(`${head} ${String(value)}`);
      if (bits === undefined) throw new TypeError(`float ${String(value)} was not read`);
      return { type, bits };
    }
    if (head === 'ref.extern') return { type: 'extern', id: value === undefined ? undefined : Number(value) };
    if (head === 'ref.null') return { type: 'null' };
    return head === 'ref.func' ? { type: 'func' } : undefined;
  }
}

function isNaNClass(word: string): boolean {
  return word === 'nan:canonical' || word === 'nan:arithmetic';
}

function readInteger(word: string): bigint {
  const digits = word.replaceAll('_', '').replace(/^[+-]/, '');
  return word.startsWith('-') ? -BigInt(digits) : BigInt(digits);
}

/** Assembles one function of all the constants and reads its code. */
function readFloats(words: readonly string[]): Map<string, bigint> {
  const bits = new Map<string, bigint>();
  if (words.length === 0) return bits;
  const bytes = assembleText(`(module (func ${words.map((word) => `(drop (${word}))`).join(' ')}))`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  // The body ends with the module: from its end, 0x1a follows each constant.
  let at = bytes.length - 1;
  for (const word of words.toReversed()) {
    const width = word.startsWith('f32') ? 4 : 8;
    at -= width + 2;
    if (bytes[at] !== (width === 4 ? 0x43 : 0x44)) throw new TypeError('constants are not where they should be');
    bits.set(word, width === 4 ? BigInt(view.getUint32(at + 1, true)) : view.getBigUint64(at + 1, true));
  }
  return bits;
}
