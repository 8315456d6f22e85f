/**
 * How characters are written inside a JSON string: UTF-8 as it is, but `\" \\ \b \f \n \r \t` and `\u00xx` (lower case) for
 * other control characters. Every character has one way only.
 *
 * @module
 */

import { utf8 } from '../../attest/core/bytes.ts';
import { type Partition, stretchOf } from './code-points.ts';

/**
 * An automaton that reads the bytes of one character and ends in its class. `next[256 * node + byte]` is a node if it is
 * positive, class `-1 - value` if it is negative, and nothing if it is 0. Node 0 stands before a character.
 */
export type CharacterBytes = {
  readonly next: Int32Array;
  /** The shortest bytes (the smallest among equals) from a node to each class; undefined where the class is not reached. */
  bytesTo(node: number): readonly (readonly number[] | undefined)[];
};

const SHORT_ESCAPES: readonly (readonly [number, number])[] = [
  [0x22, 0x22],
  [0x5c, 0x5c],
  [0x08, 0x62],
  [0x0c, 0x66],
  [0x0a, 0x6e],
  [0x0d, 0x72],
  [0x09, 0x74],
];

const HEX = utf8('0123456789abcdef');

/**
 * Makes the automaton of a partition.
 *
 * @param isPlain - for text outside of JSON: nothing is escaped
 */
export function characterBytes(split: Partition, isPlain = false): CharacterBytes {
  const rows: Int32Array[] = [];
  const add = (): number => rows.push(new Int32Array(256)) - 1;
  const put = (node: number, byte: number, value: number) => {
    (rows[node] as Int32Array)[byte] = value;
  };
  const classOf = (point: number) => split.classes[stretchOf(split, point)] as number;

  const root = add();
  const backslash = add();
  for (let point = isPlain ? 0 : 0x20; point < 0x80; point++) {
    if (isPlain || (point !== 0x22 && point !== 0x5c)) put(root, point, -1 - classOf(point));
  }
  if (!isPlain) put(root, 0x5c, backslash);
  for (const [point, letter] of SHORT_ESCAPES) put(backslash, letter, -1 - classOf(point));
  const [u, zero, high] = [add(), add(), [add(), add()] as const];
  put(backslash, 0x75, u);
  put(u, 0x30, zero);
  // `\u0` is followed by `0` and then by the two digits.
  const third = add();
  put(zero, 0x30, third);
  high.forEach((node, index) => {
    put(third, HEX[index] as number, node);
    for (let low = 0; low < 16; low++) {
      const point = 16 * index + low;
      if (!SHORT_ESCAPES.some(([escaped]) => escaped === point)) put(node, HEX[low] as number, -1 - classOf(point));
    }
  });

  // Stretches of one class share their nodes: most of Unicode is a handful of them.
  const uniform = new Map<string, number>();
  /** Value of an entry after which `depth` bytes follow, for characters from `first` on; 0 where there are none. */
  const entry = (first: number, depth: number): number => {
    const last = first + 64 ** depth - 1;
    const stretch = stretchOf(split, first);
    const isUniform = stretch === stretchOf(split, last);
    const k = split.classes[stretch] as number;
    if (depth === 0) return k < 0 ? 0 : -1 - k;
    if (isUniform && k < 0) return 0;
    const key = `${depth}:${k}`;
    const known = isUniform ? uniform.get(key) : undefined;
    if (known !== undefined) return known;
    const values = Array.from({ length: 64 }, (_, i) => entry(first + i * 64 ** (depth - 1), depth - 1));
    if (values.every((value) => value === 0)) return 0;
    const node = add();
    values.forEach((value, i) => {
      put(node, 0x80 + i, value);
    });
    if (isUniform) uniform.set(key, node);
    return node;
  };
  for (let lead = 0xc2; lead <= 0xdf; lead++) put(root, lead, entry((lead & 0x1f) << 6, 1));
  for (let lead = 0xe1; lead <= 0xef; lead++) put(root, lead, entry((lead & 0x0f) << 12, 2));
  for (let lead = 0xf1; lead <= 0xf3; lead++) put(root, lead, entry((lead & 0x07) << 18, 3));
  // The first characters of three and four bytes would be written shorter, the last of four are beyond Unicode.
  const partial = (lead: number, from: number, to: number, depth: number, base: number) => {
    const node = add();
    let any = false;
    for (let byte = from; byte <= to; byte++) {
      const value = entry(base + (byte - 0x80) * 64 ** depth, depth);
      put(node, byte, value);
      any ||= value !== 0;
    }
    if (any) put(root, lead, node);
  };
  partial(0xe0, 0xa0, 0xbf, 1, 0);
  partial(0xf0, 0x90, 0xbf, 2, 0);
  partial(0xf4, 0x80, 0x8f, 2, 0x100000);

  const next = new Int32Array(256 * rows.length);
  rows.forEach((row, node) => {
    next.set(row, 256 * node);
  });
  const memo: (readonly (readonly number[] | undefined)[] | undefined)[] = [];
  const bytesTo = (node: number): readonly (readonly number[] | undefined)[] => {
    const known = memo[node];
    if (known !== undefined) return known;
    const best: (readonly number[] | undefined)[] = [];
    for (let byte = 0; byte < 256; byte++) {
      const value = next[256 * node + byte] as number;
      if (value === 0) continue;
      const offer = (k: number, rest: readonly number[]) => {
        const held = best[k];
        if (held === undefined || rest.length + 1 < held.length) best[k] = [byte, ...rest];
      };
      if (value < 0) offer(-1 - value, []);
      else
        bytesTo(value).forEach((rest, k) => {
          if (rest !== undefined) offer(k, rest);
        });
    }
    memo[node] = best;
    return best;
  };
  return { next, bytesTo };
}

/** The text of a JSON string without its quotes, in the one way that is written. */
export function escapedBytes(text: string): Uint8Array {
  return utf8(JSON.stringify(text).slice(1, -1));
}
