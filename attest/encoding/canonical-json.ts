/**
 * JSON as this project reads and writes it: strict RFC 8259 in, RFC 8785 (JCS) out, and the canonical body of a record,
 * of which every value has one encoding only.
 *
 * Spec: `attest/spec/encoding.md`.
 *
 * @module
 */

import canonicalize from 'canonicalize';
import { utf8 } from '../core/bytes.ts';
import { EncodingError } from './errors.ts';
import { type JsonOf, scanJson } from './json-scanner.ts';

/** A JSON value; numbers are binary64. */
export type Json = JsonOf<number>;

/** A JSON object. */
export type JsonObject = { readonly [key: string]: Json };

/** A JSON value whose integers are exact: `bigint` for a token without fraction and exponent, else `number`. */
export type LosslessJson = JsonOf<number | bigint>;

/** What a reader accepts at most. */
export type JsonLimits = {
  /** Greatest length in bytes; 64 MiB by default. */
  readonly maxBytes?: number;
  /** Greatest nesting, an outermost container counting as 1; 1,000 by default. */
  readonly maxDepth?: number;
};

/** Nesting that {@link parseJson} and {@link canonicalJson} bear by default. */
export const MAX_JSON_DEPTH = 1000;
/** Length in bytes that {@link parseJson} bears by default. */
const MAX_JSON_BYTES = 64 * 1024 * 1024;
/** Nesting of a record body. */
export const MAX_BODY_DEPTH = 32;

/**
 * Reads JSON: RFC 8259 exactly, strict UTF-8 without byte order mark, no duplicate keys, no lone surrogates.
 *
 * @param bytes - untrusted
 * @throws {@link EncodingError} `TOO_LARGE`, `MALFORMED_UTF8`, `MALFORMED_JSON`, `DUPLICATE_KEY`, `LONE_SURROGATE`,
 *   `TOO_DEEP`, or `NUMBER_OUT_OF_RANGE` for a number that binary64 holds only as infinity
 */
export function parseJson(bytes: Uint8Array, limits: JsonLimits = {}): Json {
  return scanJson(decode(bytes, limits), { maxDepth: limits.maxDepth ?? MAX_JSON_DEPTH, number: binary64 });
}

/** {@link parseJson} of a text, which may hold lone surrogates (`LONE_SURROGATE`); `maxBytes` counts UTF-16 units. */
export function parseJsonText(text: string, limits: JsonLimits = {}): Json {
  const most = limits.maxBytes ?? MAX_JSON_BYTES;
  if (text.length > most) throw new EncodingError('TOO_LARGE', `JSON has ${text.length} units, at most ${most}`);
  if (hasLoneSurrogate(text)) throw new EncodingError('LONE_SURROGATE', 'JSON text holds half a character');
  return scanJson(text, { maxDepth: limits.maxDepth ?? MAX_JSON_DEPTH, number: binary64 });
}

/** {@link parseJson} that keeps every integer exactly, whatever its size. */
export function parseLosslessJson(bytes: Uint8Array, limits: JsonLimits = {}): LosslessJson {
  return scanJson<number | bigint>(decode(bytes, limits), {
    maxDepth: limits.maxDepth ?? MAX_JSON_DEPTH,
    number: (token, offset) => {
      // attacker-controlled: a finite binary64 has at most 309 digits, so the bigint stays small
      const value = binary64(token, offset);
      return INTEGER.test(token) ? BigInt(token) : value;
    },
  });
}

/**
 * Writes a value in the JSON Canonicalization Scheme.
 *
 * @throws {@link EncodingError} `NOT_JSON` for `undefined`, functions, symbols, bigints, non-finite numbers, holes and
 *   objects of a class; `LONE_SURROGATE` in a text or key; `TOO_DEEP` beyond 1,000 levels, which a cycle is too
 * @see RFC 8785 §3
 */
export function canonicalJson(value: Json): string {
  assertJson(value);
  return canonicalize(value) as string;
}

/** UTF-8 of {@link canonicalJson}: the bytes that are hashed. */
export function canonicalBytes(value: Json): Uint8Array {
  return utf8(canonicalJson(value));
}

/**
 * Reads a canonical record body: a JSON object in JCS byte for byte, its numbers safe integers written without fraction
 * and exponent, nesting at most 32.
 *
 * @param bytes - untrusted
 * @throws {@link EncodingError} as {@link parseJson}; `NOT_AN_INTEGER` for any other number; `NOT_CANONICAL` if
 *   it is no object or JCS would write it otherwise
 */
export function parseCanonical(bytes: Uint8Array, limits: Pick<JsonLimits, 'maxBytes'> = {}): JsonObject {
  const text = decode(bytes, limits);
  const value = scanJson(text, { maxDepth: MAX_BODY_DEPTH, number: safeInteger });
  if (!isJsonObject(value)) throw new EncodingError('NOT_CANONICAL', 'canonical body is no object');
  if (canonicalJson(value) !== text) throw new EncodingError('NOT_CANONICAL', 'body is not in its canonical form');
  return value;
}

/** Whether a JSON value is an object, which an array and null are not. */
export function isJsonObject<N>(value: JsonOf<N>): value is { readonly [key: string]: JsonOf<N> } {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Whether a text holds a surrogate that is not part of a pair. */
export function hasLoneSurrogate(text: string): boolean {
  return LONE_SURROGATE.test(text);
}

// With the `u` flag a pair is one character, so only a half is of this category.
const LONE_SURROGATE = /\p{Surrogate}/u;
const INTEGER = /^-?\d+$/;

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

function decode(bytes: Uint8Array, limits: JsonLimits): string {
  const most = limits.maxBytes ?? MAX_JSON_BYTES;
  if (bytes.length > most) throw new EncodingError('TOO_LARGE', `JSON has ${bytes.length} bytes, at most ${most}`);
  try {
    return decoder.decode(bytes);
  } catch (cause) {
    throw new EncodingError('MALFORMED_UTF8', 'JSON is not UTF-8', { cause });
  }
}

function binary64(token: string, offset: number): number {
  const value = Number(token);
  if (!Number.isFinite(value)) {
    throw new EncodingError('NUMBER_OUT_OF_RANGE', `JSON at ${offset}: number beyond binary64`, { at: { offset } });
  }
  return value;
}

function safeInteger(token: string, offset: number): number {
  const value = Number(token);
  if (!INTEGER.test(token) || !Number.isSafeInteger(value) || Object.is(value, -0)) {
    throw new EncodingError('NOT_AN_INTEGER', `JSON at ${offset}: expected a safe integer`, { at: { offset } });
  }
  return value;
}

/** Refuses what `canonicalize` would drop, call or overflow on; iterative for the same reason. */
function assertJson(root: unknown): void {
  const stack: { readonly value: unknown; readonly depth: number }[] = [{ value: root, depth: 0 }];
  for (let item = stack.pop(); item !== undefined; item = stack.pop()) {
    const { value, depth } = item;
    if (value === null || typeof value === 'boolean') continue;
    if (typeof value === 'string') {
      assertText(value);
    } else if (typeof value === 'number') {
      if (!Number.isFinite(value)) throw new EncodingError('NOT_JSON', 'JSON has no number that is not finite');
    } else if (typeof value !== 'object') {
      throw new EncodingError('NOT_JSON', `JSON has no ${typeof value}`);
    } else {
      if (depth >= MAX_JSON_DEPTH) throw new EncodingError('TOO_DEEP', `value nests beyond ${MAX_JSON_DEPTH}`);
      if (Array.isArray(value)) {
        // A hole reads as undefined here, and is refused with it.
        for (let i = 0; i < value.length; i++) stack.push({ value: value[i], depth: depth + 1 });
      } else {
        pushMembers(stack, value, depth + 1);
      }
    }
  }
}

function pushMembers(stack: { value: unknown; depth: number }[], object: object, depth: number): void {
  const prototype: unknown = Object.getPrototypeOf(object);
  if (prototype !== null && prototype !== Object.prototype) {
    throw new EncodingError('NOT_JSON', 'JSON has no object of a class');
  }
  for (const [key, value] of Object.entries(object)) {
    assertText(key);
    stack.push({ value, depth });
  }
}

function assertText(text: string): void {
  if (hasLoneSurrogate(text)) throw new EncodingError('LONE_SURROGATE', 'text holds half a character');
}
