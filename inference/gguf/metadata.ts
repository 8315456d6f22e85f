/**
 * Typed access to the key-values of a GGUF: a missing or mistyped key is an error that names it.
 *
 * @module
 */

import { ModelError } from '../errors.ts';
import type { GgufValue } from './types.ts';

/** Getters that throw {@link ModelError} `MISSING_METADATA` or `MALFORMED_METADATA` with `at.key`. */
export type Metadata = {
  has(key: string): boolean;
  text(key: string): string;
  optionalText(key: string): string | undefined;
  optionalFlag(key: string): boolean | undefined;
  /** A positive integer up to `limit`. */
  count(key: string, limit: number): number;
  optionalCount(key: string, limit: number): number | undefined;
  /** A token id: an integer in `[0, vocabulary)`. */
  tokenId(key: string, vocabulary: number): number;
  optionalTokenId(key: string, vocabulary: number): number | undefined;
  /** A finite number above zero. */
  positive(key: string): number;
  optionalPositive(key: string): number | undefined;
  list(key: string): readonly GgufValue[];
  texts(key: string): readonly string[];
  numbers(key: string): readonly number[];
};

/** Wraps the key-values of a file; their values are untrusted. */
export function readMetadata(values: ReadonlyMap<string, GgufValue>): Metadata {
  const get = <T>(key: string, check: (value: GgufValue) => T | undefined, expected: string): T | undefined => {
    const value = values.get(key);
    if (value === undefined) return undefined;
    const checked = check(value);
    if (checked === undefined) {
      throw new ModelError('MALFORMED_METADATA', `${key}: expected ${expected}, got ${describe(value)}`, {
        at: { key },
      });
    }
    return checked;
  };
  const need = <T>(key: string, value: T | undefined): T => {
    if (value === undefined) throw new ModelError('MISSING_METADATA', `the file has no ${key}`, { at: { key } });
    return value;
  };
  const optionalText = (key: string) => get(key, (value) => (typeof value === 'string' ? value : undefined), 'a text');
  const integer = (key: string, low: number, high: number) =>
    get(key, (value) => integerIn(value, low, high), `an integer in [${low}, ${high}]`);
  const optionalPositive = (key: string) =>
    get(
      key,
      (value) => (typeof value === 'number' && value > 0 && value < Infinity ? value : undefined),
      'a number above zero',
    );
  const list = (key: string) =>
    need(
      key,
      get(key, (value) => (Array.isArray(value) ? (value as readonly GgufValue[]) : undefined), 'a list'),
    );
  const listOf = <T extends GgufValue>(key: string, is: (value: GgufValue) => value is T, expected: string) => {
    const values = list(key);
    if (!values.every(is))
      throw new ModelError('MALFORMED_METADATA', `${key}: expected a list of ${expected}`, { at: { key } });
    return values as readonly T[];
  };
  return {
    has: (key) => values.has(key),
    text: (key) => need(key, optionalText(key)),
    optionalText,
    optionalFlag: (key) => get(key, (value) => (typeof value === 'boolean' ? value : undefined), 'a boolean'),
    count: (key, limit) => need(key, integer(key, 1, limit)),
    optionalCount: (key, limit) => integer(key, 1, limit),
    tokenId: (key, vocabulary) => need(key, integer(key, 0, vocabulary - 1)),
    optionalTokenId: (key, vocabulary) => integer(key, 0, vocabulary - 1),
    positive: (key) => need(key, optionalPositive(key)),
    optionalPositive,
    list,
    texts: (key) => listOf(key, (value): value is string => typeof value === 'string', 'texts'),
    numbers: (key) => listOf(key, (value): value is number => typeof value === 'number', 'numbers'),
  };
}

function integerIn(value: GgufValue, low: number, high: number): number | undefined {
  if (typeof value !== 'number' && typeof value !== 'bigint') return undefined;
  const number = Number(value);
  return Number.isSafeInteger(number) && number >= low && number <= high ? number : undefined;
}

function describe(value: GgufValue): string {
  return Array.isArray(value) ? 'a list' : `${typeof value} ${String(value).slice(0, 40)}`;
}
