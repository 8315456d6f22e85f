/**
 * Exact shapes of JSON values: each field has one type for ever, unknown and missing fields are refused.
 *
 * A shape is a function `(value, path, code) -> typed value` that throws a {@link TraceError} naming the dotted path.
 *
 * @module
 */

import type { Hex } from '../core/bytes.ts';
import type { Json } from '../encoding/canonical-json.ts';
import { fieldError, type TraceErrorCode } from './errors.ts';

/** Checks `value` (untrusted) and gives it its type; throws a TraceError `code` (default `MALFORMED_BODY`) at `path`. */
export type Shape<T> = (value: Json, path: string, code?: TraceErrorCode) => T;

/** The type that a shape gives. */
export type ShapeOf<S> = S extends Shape<infer T> ? T : never;

const DEFAULT: TraceErrorCode = 'MALFORMED_BODY';

/** A JSON object with exactly these keys, values unchecked. */
export function exactObject(
  value: Json,
  path: string,
  keys: readonly string[],
  code: TraceErrorCode = DEFAULT,
): { readonly [key: string]: Json } {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw fieldError(code, path, 'expected an object');
  }
  for (const key of keys) {
    if (!Object.hasOwn(value, key)) throw fieldError(code, `${path}.${key}`, 'missing field');
  }
  const known = new Set(keys);
  for (const key of Object.keys(value)) {
    if (!known.has(key)) throw fieldError(code, `${path}.${key.slice(0, 64)}`, 'unknown field');
  }
  return value as { readonly [key: string]: Json };
}

/** An object of exactly the given fields, each with its own shape. */
export function object<F extends { readonly [name: string]: Shape<unknown> }>(
  fields: F,
): Shape<{ readonly [N in keyof F]: ShapeOf<F[N]> }> {
  const keys = Object.keys(fields);
  return (value, path, code = DEFAULT) => {
    const found = exactObject(value, path, keys, code);
    for (const key of keys) (fields[key] as Shape<unknown>)(found[key] as Json, `${path}.${key}`, code);
    return found as { readonly [N in keyof F]: ShapeOf<F[N]> };
  };
}

/** An array of at most `max` items of one shape. */
export function array<T>(item: Shape<T>, max: number): Shape<readonly T[]> {
  return (value, path, code = DEFAULT) => {
    if (!Array.isArray(value)) throw fieldError(code, path, 'expected an array');
    if (value.length > max) throw fieldError(code, path, `expected at most ${max} items, got ${value.length}`);
    value.forEach((entry, i) => {
      item(entry, `${path}.${i}`, code);
    });
    return value as readonly T[];
  };
}

/** Null, or a value of the shape. */
export function nullable<T>(shape: Shape<T>): Shape<T | null> {
  return (value, path, code = DEFAULT) => (value === null ? null : shape(value, path, code));
}

/** One of the listed values. */
export function oneOf<const V extends string | number | boolean>(...values: readonly V[]): Shape<V> {
  return (value, path, code = DEFAULT) => {
    if (!values.includes(value as V)) throw fieldError(code, path, `expected one of ${JSON.stringify(values)}`);
    return value as V;
  };
}

/** An object whose field `tag` selects its shape. */
export function tagged<V extends { readonly [name: string]: Shape<unknown> }>(
  tag: string,
  variants: V,
): Shape<{ [N in keyof V]: ShapeOf<V[N]> }[keyof V]> {
  return (value, path, code = DEFAULT) => {
    const name =
      typeof value === 'object' && value !== null && !Array.isArray(value)
        ? (value as { readonly [key: string]: Json })[tag]
        : undefined;
    if (typeof name !== 'string' || !Object.hasOwn(variants, name)) {
      throw fieldError(code, `${path}.${tag}`, `expected one of ${JSON.stringify(Object.keys(variants))}`);
    }
    return (variants[name] as Shape<unknown>)(value, path, code) as { [N in keyof V]: ShapeOf<V[N]> }[keyof V];
  };
}

/** A text of at most `max` UTF-16 units. */
export function text(max: number): Shape<string> {
  return (value, path, code = DEFAULT) => {
    if (typeof value !== 'string') throw fieldError(code, path, 'expected a string');
    if (value.length > max) throw fieldError(code, path, `expected at most ${max} characters`);
    return value;
  };
}

/** A name without white space: `[A-Za-z0-9._-]`, 1 to `max` characters. */
export function name(max: number): Shape<string> {
  const pattern = new RegExp(`^[A-Za-z0-9._-]{1,${max}}$`);
  return (value, path, code = DEFAULT) => {
    if (typeof value !== 'string' || !pattern.test(value)) {
      throw fieldError(code, path, `expected 1 to ${max} of A-Z, a-z, 0-9, ".", "_", "-"`);
    }
    return value;
  };
}

/** An integer of `[min, max]` as a JSON number. */
export function integer(min: number, max: number): Shape<number> {
  return (value, path, code = DEFAULT) => {
    if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < min || value > max) {
      throw fieldError(code, path, `expected an integer in [${min}, ${max}]`);
    }
    return value;
  };
}

/** True or false. */
export const flag: Shape<boolean> = (value, path, code = DEFAULT) => {
  if (typeof value !== 'boolean') throw fieldError(code, path, 'expected true or false');
  return value;
};

/** Lower-case 0x hexadecimal of exactly `length` bytes. */
export function hexOf(length: number): Shape<Hex> {
  const pattern = new RegExp(`^0x[0-9a-f]{${2 * length}}$`);
  return (value, path, code = DEFAULT) => {
    if (typeof value !== 'string' || !pattern.test(value)) {
      throw fieldError(code, path, `expected ${length} bytes as lower-case 0x hexadecimal`);
    }
    return value as Hex;
  };
}

/** The selector of a contract's method, or `0x` for a call without data. */
export const selector: Shape<Hex> = (value, path, code = DEFAULT) => {
  if (typeof value !== 'string' || !/^0x(?:[0-9a-f]{8})?$/.test(value)) {
    throw fieldError(code, path, 'expected 4 bytes as lower-case 0x hexadecimal, or 0x');
  }
  return value as Hex;
};

/** A 32-byte digest as hexadecimal. */
export const hex32 = hexOf(32);

/** A 20-byte address as lower-case hexadecimal. */
export const address = hexOf(20);

/** A 65-byte signature r || s || v as hexadecimal. */
export const signature = hexOf(65);

function decimalBelow(bits: bigint): Shape<string> {
  const limit = 1n << bits;
  const digits = (limit - 1n).toString().length;
  return (value, path, code = DEFAULT) => {
    const sound = typeof value === 'string' && value.length <= digits && /^(?:0|[1-9][0-9]*)$/.test(value);
    if (!sound || BigInt(value) >= limit) {
      throw fieldError(code, path, `expected a decimal string below 2^${bits} without leading zeros`);
    }
    return value;
  };
}

/** A uint64 as a decimal string without leading zeros. */
export const decimal64 = decimalBelow(64n);

/** A uint256 as a decimal string without leading zeros. */
export const decimal256 = decimalBelow(256n);
