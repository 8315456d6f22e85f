/**
 * A protocol buffer message read strictly: every field must be known, of the right wire type and no more frequent than allowed, every
 * number written in its shortest form. What other parsers settle in silence (unknown fields, the last of two values, merged messages,
 * packed lists) is refused, so that no two parsers can see different graphs in the same bytes. Nothing is copied.
 *
 * Source: protobuf.dev, "Encoding".
 *
 * @module
 */

import type { ErrorPlace } from '../../../attest/core/error.ts';
import { ModelError } from '../../errors.ts';

/** Bytes `[start, end)` of the file. */
export type Region = { readonly start: number; readonly end: number };

/** A field that may occur: how its value is written, and how often at most. */
export type FieldRule = { readonly name: string; readonly wire: 'int' | 'bytes'; readonly most: number };

/** What a message may hold, and the names of what it may not, by field number. */
export type MessageRules = {
  readonly allowed: Readonly<Record<number, FieldRule>>;
  readonly refused: Readonly<Record<number, string>>;
};

const LONGEST_NAME = 256;

const WIRES: readonly string[] = ['a varint', '64 bits', 'a length', 'a group', 'a group', '32 bits'];

/** A message whose fields were all checked; reading one that the rules do not name is a bug of the caller. */
export class StrictMessage {
  readonly #bytes: Uint8Array;
  readonly #where: string;
  readonly #ints = new Map<string, number[]>();
  readonly #regions = new Map<string, Region[]>();

  /**
   * @param bytes - the whole file, untrusted; kept by reference
   * @param region - of the message, inside the file
   * @param where - path of the message, for errors
   * @throws {@link ModelError} `GRAPH_NOT_EXACT`
   */
  constructor(bytes: Uint8Array, region: Region, where: string, rules: MessageRules) {
    this.#bytes = bytes;
    this.#where = where;
    for (const rule of Object.values(rules.allowed)) {
      if (rule.wire === 'int') this.#ints.set(rule.name, []);
      else this.#regions.set(rule.name, []);
    }
    let at = region.start;
    while (at < region.end) {
      const tag = this.#varint(at, region.end);
      const field = Math.floor(tag.value / 8);
      const wire = tag.value % 8;
      const rule = rules.allowed[field];
      if (rule === undefined) {
        const name = rules.refused[field];
        this.fail(name === undefined ? `unknown field ${field}` : `${name} is not allowed`, { offset: at });
      }
      if (wire !== (rule.wire === 'int' ? 0 : 2)) {
        this.fail(`${rule.name} is written as ${WIRES[wire] ?? 'nothing known'}`, { offset: at });
      }
      const { value, next } = this.#varint(tag.next, region.end);
      const list = (rule.wire === 'int' ? this.#ints : this.#regions).get(rule.name) ?? [];
      if (list.length === rule.most) this.fail(`more than ${rule.most} ${rule.name}`, { offset: at });
      if (rule.wire === 'int') {
        (list as number[]).push(value);
        at = next;
      } else {
        if (value > region.end - next) this.fail(`${rule.name} is cut off`, { offset: at });
        (list as Region[]).push({ start: next, end: next + value });
        at = next + value;
      }
    }
  }

  /** All values of a field, in order. */
  ints(name: string): readonly number[] {
    return found(this.#ints, name);
  }

  /** All values of a field, in order. */
  regions(name: string): readonly Region[] {
    return found(this.#regions, name);
  }

  /** The only value of a field that must be there. */
  int(name: string): number {
    const [value, ...more] = this.ints(name);
    if (value === undefined || more.length > 0) this.fail(`expected one ${name}, got ${this.ints(name).length}`);
    return value;
  }

  /** The only value of a field that must be there. */
  region(name: string): Region {
    const [value, ...more] = this.regions(name);
    if (value === undefined || more.length > 0) this.fail(`expected one ${name}, got ${this.regions(name).length}`);
    return value;
  }

  /** All values of a field as names: 1 to 256 printable characters of ASCII. */
  names(name: string): readonly string[] {
    return this.regions(name).map(({ start, end }) => {
      let text = '';
      if (start === end || end - start > LONGEST_NAME) this.fail(`${name} of ${end - start} bytes`, { offset: start });
      for (const code of this.#bytes.subarray(start, end)) {
        if (code < 0x21 || code > 0x7e) this.fail(`${name} with the byte ${code}`, { offset: start });
        text += String.fromCharCode(code);
      }
      return text;
    });
  }

  /** The only value of a field that must be there, as a name. */
  name(name: string): string {
    this.region(name);
    return this.names(name)[0] as string;
  }

  /** Refuses the message. */
  fail(reason: string, at: ErrorPlace = {}): never {
    refuse(this.#where, reason, at);
  }

  /** A number in `[0, 2^53)`. */
  #varint(at: number, end: number): { value: number; next: number } {
    let value = 0;
    let scale = 1;
    for (let next = at; next < end; ) {
      const byte = this.#bytes[next++] as number;
      value += (byte & 127) * scale;
      if (!Number.isSafeInteger(value)) this.fail('a number of 2^53 or more', { offset: at });
      if (byte < 128) {
        if (byte === 0 && scale > 1) this.fail('a number longer than it has to be', { offset: at });
        return { value, next };
      }
      if (scale > 2 ** 49) this.fail('a number of 2^53 or more', { offset: at });
      scale *= 128;
    }
    this.fail('cut off inside a number', { offset: at });
  }
}

/** Refuses the graph. */
export function refuse(where: string, reason: string, at: ErrorPlace = {}): never {
  throw new ModelError('GRAPH_NOT_EXACT', `the graph is not of the exact profile: ${where}: ${reason}`, {
    at: { where, ...at },
  });
}

function found<T>(fields: ReadonlyMap<string, readonly T[]>, name: string): readonly T[] {
  const list = fields.get(name);
  if (list === undefined) throw new TypeError(`the rules of the message do not name ${name}`);
  return list;
}
