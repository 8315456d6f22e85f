/**
 * encodeType and hashStruct of checked values without ethers: what the page has in the place of `attest/sign/struct-encoder.ts`,
 * with the same exports and the same results.
 *
 * @module
 * @see EIP-712, "Definition of encodeData"
 */

import { keccak_256 } from '@noble/hashes/sha3.js';
import { concatBytes, fromHex, uintBytes, utf8 } from '../core/bytes.ts';
import type { Digest } from '../core/hash.ts';
import { isPrimitive, isRecursive, type Member, membersOf, type Schema, typeText } from '../sign/eip712-types.ts';
import type { CheckedStruct, StructEncoder } from '../sign/struct-encoder.ts';

/** The encoder of one struct. @throws {@link TypedDataError} `UNKNOWN_TYPE`, `TOO_LARGE` */
export function structEncoder(schema: Schema, struct: string): StructEncoder {
  const members = membersOf(schema, struct);
  const typeHash = keccak_256(utf8(typeText(schema, struct)));
  return {
    isWhole: false,
    isRecursive: isRecursive(schema, struct),
    hash: (value: CheckedStruct) =>
      keccak_256(concatBytes(typeHash, ...members.map((member) => encodeMember(member, value[member.name])))),
  };
}

/** encodeType of a struct. @throws {@link TypedDataError} `UNKNOWN_TYPE`, `TOO_LARGE` */
export function structText(schema: Schema, struct: string): string {
  return typeText(schema, struct);
}

/** 32 bytes; `left` dimensions of an array are still to be opened. */
function encodeMember(member: Member, value: unknown, left = member.dimensions.length): Uint8Array {
  if (left > 0) {
    const items = value as readonly unknown[];
    return keccak_256(concatBytes(...items.map((item) => encodeMember(member, item, left - 1))));
  }
  const { base } = member;
  if (!isPrimitive(base)) return value as Digest;
  if (base === 'string') return keccak_256(utf8(value as string));
  if (base === 'bytes') return keccak_256(value as Uint8Array);
  if (base === 'bool') return uintBytes(value === true ? 1 : 0, 32);
  if (base === 'address') return concatBytes(new Uint8Array(12), fromHex(value as string));
  if (base.startsWith('bytes'))
    return concatBytes(value as Uint8Array, new Uint8Array(32 - (value as Uint8Array).length));
  return uintBytes(BigInt.asUintN(256, value as bigint), 32);
}
