/**
 * encodeType and hashStruct of values that were checked before, by ethers. It refuses recursive structs, so of these it encodes
 * the members, one struct at a time.
 *
 * The inspector's page, for which ethers is too large, has `attest/inspector/struct-encoder.ts` in the place of this file; a test
 * holds the two equal.
 *
 * @module
 */

import { keccak_256 } from '@noble/hashes/sha3.js';
import { TypedDataEncoder } from 'ethers/hash';
import { concatBytes, fromHex, utf8 } from '../core/bytes.ts';
import type { Digest } from '../core/hash.ts';
import { isPlain, isPrimitive, isRecursive, membersOf, plainTypes, type Schema, typeText } from './eip712-types.ts';

/** A struct's value, each member exactly of its type: bytes as `Uint8Array`, integers as `bigint`, addresses in lower case. */
export type CheckedStruct = Record<string, unknown>;

/** How values of a struct are hashed. */
export type StructEncoder = {
  /** Whether members that are structs are given as values; else as their hashes. */
  readonly isWhole: boolean;
  /** Whether such a value may end with `null`. */
  readonly isRecursive: boolean;
  /** hashStruct of a checked value. */
  readonly hash: (value: CheckedStruct) => Digest;
};

/** The encoder of one struct. @throws {@link TypedDataError} `UNKNOWN_TYPE`, `TOO_LARGE` */
export function structEncoder(schema: Schema, struct: string): StructEncoder {
  return isPlain(schema, struct) ? wholeEncoder(schema, struct) : memberEncoder(schema, struct);
}

/** encodeType of a struct. @throws {@link TypedDataError} `UNKNOWN_TYPE`, `TOO_LARGE` */
export function structText(schema: Schema, struct: string): string {
  if (!isPlain(schema, struct)) return typeText(schema, struct);
  return TypedDataEncoder.from(plainTypes(schema, struct)).encodeType(struct);
}

function wholeEncoder(schema: Schema, struct: string): StructEncoder {
  const library = TypedDataEncoder.from(plainTypes(schema, struct));
  return { isWhole: true, isRecursive: false, hash: (value) => fromHex(library.hashStruct(struct, value)) };
}

/** Members that are structs are hashes to ethers; their real names are in the type hash, which is put in afterwards. */
function memberEncoder(schema: Schema, struct: string): StructEncoder {
  const library = TypedDataEncoder.from({
    Struct: membersOf(schema, struct).map(({ name, type, base }) => ({
      name,
      type: isPrimitive(base) ? type : `bytes32${type.slice(base.length)}`,
    })),
  });
  const typeHash = keccak_256(utf8(typeText(schema, struct)));
  return {
    isWhole: false,
    isRecursive: isRecursive(schema, struct),
    hash: (value) =>
      keccak_256(concatBytes(typeHash, fromHex(library.encodeData('Struct', value)).subarray(typeHash.length))),
  };
}
