/**
 * The types of EIP-712: which texts are types, which structs they name, and which of those ethers takes. ethers refuses
 * recursive structs, which the standard allows, loses a struct named `__proto__`, and needs time by the number of paths
 * through the types; the type text of such structs is written here.
 *
 * Spec: `attest/spec/encoding.md#typed-data`.
 *
 * @module
 */

import { TypedDataError } from './errors.ts';

/** A member of a struct: `type` is atomic, `bytes`, `string`, a struct's name, or an array `T[]`, `T[n]` of one. */
export type TypedDataField = { readonly name: string; readonly type: string };

/** Structs by name, members in order. */
export type TypedDataTypes = { readonly [struct: string]: readonly TypedDataField[] };

/** A checked member: `dimensions` from the inside out, `undefined` for `[]`. */
export type Member = TypedDataField & { readonly base: string; readonly dimensions: readonly (number | undefined)[] };

/** Checked structs; every type that they mention exists. */
export type Schema = {
  readonly structs: ReadonlyMap<string, readonly Member[]>;
  /** Characters of `encodeType` that this schema may still produce. */
  readonly budget: { characters: number };
};

// attacker-controlled: `encodeType` of n structs that name each other is n times as long as the types.
const MAX_ENCODED_CHARACTERS = 4 * 1024 * 1024;
/** Characters of types, along every path, up to which ethers is given a struct whole; types in use have some hundred. */
const MAX_PLAIN_CHARACTERS = 2048;
const MAX_NAME_LENGTH = 1024;
const MAX_DIMENSIONS = 32;

/**
 * Checks types, all of them, used or not.
 *
 * @param types - untrusted
 * @throws {@link TypedDataError} `MALFORMED_TYPES` if a struct or member has no valid name, a name twice, or the name of
 *   an atomic type; `UNKNOWN_TYPE` if a member's type is none (`uint` and `int` are none)
 */
export function toSchema(types: unknown): Schema {
  if (!isRecord(types)) throw new TypedDataError('MALFORMED_TYPES', 'types are no object');
  const structs = new Map<string, readonly Member[]>();
  for (const [name, members] of Object.entries(types)) {
    if (!isName(name) || isReserved(name) || !Array.isArray(members)) throw malformed(name);
    structs.set(name, toMembers(name, members));
  }
  for (const [name, members] of structs) {
    for (const member of members) {
      if (!isPrimitive(member.base) && !structs.has(member.base)) {
        throw new TypedDataError('UNKNOWN_TYPE', `type ${shorten(member.type)} is not defined`, {
          at: { path: `${name}.${member.name}` },
        });
      }
    }
  }
  return { structs, budget: { characters: MAX_ENCODED_CHARACTERS } };
}

/**
 * The members of a struct.
 *
 * @throws {@link TypedDataError} `UNKNOWN_TYPE` if there is no such struct
 */
export function membersOf(schema: Schema, struct: string): readonly Member[] {
  const members = schema.structs.get(struct);
  if (members === undefined) throw new TypedDataError('UNKNOWN_TYPE', `struct ${shorten(struct)} is not defined`);
  return members;
}

/**
 * Whether ethers takes a struct with all that it reaches: no cycle, no `__proto__`, not too many paths.
 *
 * @throws {@link TypedDataError} `UNKNOWN_TYPE` if there is no such struct
 */
export function isPlain(schema: Schema, struct: string): boolean {
  return plainCharactersLeft(schema, struct, [], MAX_PLAIN_CHARACTERS) >= 0;
}

/** The struct and those that it reaches, as ethers takes them. */
export function plainTypes(schema: Schema, struct: string): Record<string, TypedDataField[]> {
  const names = [struct, ...reachedFrom(schema, struct)];
  // ethers writes the text of each of them.
  spend(schema, names.length * MAX_PLAIN_CHARACTERS);
  return Object.fromEntries(names.map((name) => [name, [...membersOf(schema, name)]]));
}

/**
 * `encodeType` of a struct that ethers does not take: the struct, then the structs that it reaches, by name.
 *
 * @throws {@link TypedDataError} `UNKNOWN_TYPE`; `TOO_LARGE` if the texts of one schema come to more than 4 Mi characters
 * @see EIP-712, "Definition of encodeType"
 */
export function typeText(schema: Schema, struct: string): string {
  const reached = reachedFrom(schema, struct);
  reached.delete(struct);
  let text = '';
  for (const name of [struct, ...[...reached].sort()]) {
    const part = `${name}(${membersOf(schema, name)
      .map((member) => `${member.type} ${member.name}`)
      .join(',')})`;
    spend(schema, part.length);
    text += part;
  }
  return text;
}

/** Whether values of a struct can hold values of the same struct. */
export function isRecursive(schema: Schema, struct: string): boolean {
  return reachedFrom(schema, struct).has(struct);
}

/** Whether `base` is an atomic type, `bytes` or `string`. */
export function isPrimitive(base: string): boolean {
  return PRIMITIVE.test(base);
}

/** Whether a value is an object with members: no array, no bytes. */
export function isRecord(value: unknown): value is { readonly [key: string]: unknown } {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !ArrayBuffer.isView(value);
}

/** Structs that the members of `struct` name, directly or not; `struct` itself only if it is recursive. */
function reachedFrom(schema: Schema, struct: string): Set<string> {
  const reached = new Set<string>();
  const open = [struct];
  for (let name = open.pop(); name !== undefined; name = open.pop()) {
    for (const { base } of membersOf(schema, name)) {
      if (isPrimitive(base) || reached.has(base)) continue;
      reached.add(base);
      open.push(base);
    }
  }
  return reached;
}

/** What is left of `left` after the texts of `struct` and of all below it, once for each path; below zero is too much. */
function plainCharactersLeft(schema: Schema, struct: string, above: readonly string[], left: number): number {
  if (above.includes(struct) || struct === '__proto__') return -1;
  let rest = left - struct.length - 2;
  for (const { base, name, type } of membersOf(schema, struct)) {
    if (rest < 0) break;
    rest -= type.length + name.length + 2;
    if (rest >= 0 && !isPrimitive(base)) rest = plainCharactersLeft(schema, base, [...above, struct], rest);
  }
  return rest;
}

function spend(schema: Schema, characters: number): void {
  schema.budget.characters -= characters;
  if (schema.budget.characters < 0) throw new TypedDataError('TOO_LARGE', 'types are too large together');
}

function toMembers(struct: string, members: readonly unknown[]): Member[] {
  const names = new Set<string>();
  return members.map((member) => {
    if (!isRecord(member)) throw malformed(struct);
    const { name, type } = member;
    if (typeof name !== 'string' || typeof type !== 'string' || !isName(name) || names.has(name)) {
      throw malformed(struct);
    }
    names.add(name);
    return { name, type, ...parseType(type, `${struct}.${name}`) };
  });
}

function parseType(type: string, path: string): Pick<Member, 'base' | 'dimensions'> {
  const unknown = (): TypedDataError =>
    new TypedDataError('UNKNOWN_TYPE', `${shorten(type)} is no type`, { at: { path: shorten(path) } });
  if (type.length > 2 * MAX_NAME_LENGTH) throw unknown();
  const end = type.indexOf('[');
  const base = end < 0 ? type : type.slice(0, end);
  const suffix = end < 0 ? '' : type.slice(end);
  if (!isPrimitive(base) && (!isName(base) || isReserved(base))) throw unknown();
  if (!/^(?:\[(?:0|[1-9]\d{0,8})?\])*$/.test(suffix)) throw unknown();
  const dimensions = [...suffix.matchAll(/\[(\d*)\]/g)].map(([, count]) => (count ? Number(count) : undefined));
  if (dimensions.length > MAX_DIMENSIONS) throw unknown();
  return { base, dimensions };
}

const PRIMITIVE =
  /^(?:bool|address|string|bytes(?:[1-9]|[12]\d|3[0-2])?|u?int(?:8|16|24|32|40|48|56|64|72|80|88|96|104|112|120|128|136|144|152|160|168|176|184|192|200|208|216|224|232|240|248|256))$/;

/** Names that are, or look like, atomic types; a struct called so could pass for one in `encodeType`. */
function isReserved(name: string): boolean {
  return /^(?:bool|address|string|(?:bytes|u?int)\d*)$/.test(name);
}

/** A Solidity identifier, so that no name can hold the punctuation of `encodeType`. */
function isName(name: string): boolean {
  return name.length <= MAX_NAME_LENGTH && /^[A-Za-z_$][A-Za-z0-9_$]*$/.test(name);
}

function malformed(struct: string): TypedDataError {
  return new TypedDataError('MALFORMED_TYPES', `struct ${shorten(struct)} is malformed`, {
    at: { path: shorten(struct) },
  });
}

function shorten(text: string): string {
  return text.length > 80 ? `${text.slice(0, 80)}…` : text;
}
