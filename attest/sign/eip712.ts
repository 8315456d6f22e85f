/**
 * EIP-712: the digest of typed structured data, whatever its types. A value that is not exactly of its type has no
 * digest; it is never padded, cut, coerced or defaulted into one.
 *
 * ethers encodes and hashes (`struct-encoder.ts`). It is laxer than that on values, so these are checked here first.
 *
 * Spec: `attest/spec/encoding.md#typed-data`.
 *
 * @module
 */

import { keccak_256 } from '@noble/hashes/sha3.js';
import { concatBytes, fromHex } from '../core/bytes.ts';
import { type Digest, ZERO_DIGEST } from '../core/hash.ts';
import { hasLoneSurrogate } from '../encoding/canonical-json.ts';
import { EncodingError } from '../encoding/errors.ts';
import { parseAddress } from './address.ts';
import {
  isPrimitive,
  isRecord,
  type Member,
  membersOf,
  type Schema,
  type TypedDataField,
  type TypedDataTypes,
  toSchema,
} from './eip712-types.ts';
import { TypedDataError } from './errors.ts';
import { type CheckedStruct, type StructEncoder, structEncoder, structText } from './struct-encoder.ts';

export type { TypedDataField, TypedDataTypes } from './eip712-types.ts';

/**
 * A struct's value, by member. Integers are `bigint`, safe `number`, or decimal or `0x` text; `bytes` are `Uint8Array` or
 * `0x` text; addresses are `0x` text.
 */
export type TypedDataValue = { readonly [member: string]: unknown };

/** What a wallet is asked to sign (`eth_signTypedData_v4`). */
export type TypedData = {
  /** Value of `EIP712Domain`; if `types` has no such struct, it is made of the standard fields that are here. */
  readonly domain: TypedDataValue;
  readonly types: TypedDataTypes;
  readonly primaryType: string;
  /** Value of the primary type; left out only where that is `EIP712Domain`. */
  readonly message?: TypedDataValue;
};

/**
 * The digest that is signed: keccak256(0x19 || 0x01 || domain separator || hashStruct(message)).
 *
 * Where the primary type is `EIP712Domain`, the domain is all there is, and the digest ends with its separator, as
 * wallets do it; the message is then absent, empty, or the domain again.
 *
 * @param data - untrusted
 * @returns 32 bytes
 * @throws {@link TypedDataError} one code for each fault, `at.path` where it lies
 */
export function hashTypedData(data: TypedData): Digest {
  const { domain, types, primaryType, message }: Partial<Record<keyof TypedData, unknown>> = data;
  if (typeof primaryType !== 'string') throw new TypedDataError('MALFORMED_TYPES', 'primary type is no text');
  if (!isRecord(types)) throw new TypedDataError('MALFORMED_TYPES', 'types are no object');
  const separator = hashDomain(domain as TypedDataValue, types as TypedDataTypes);
  const prefix = Uint8Array.of(0x19, 0x01);
  if (primaryType === DOMAIN) {
    if (message !== undefined && !(isRecord(message) && Object.keys(message).length === 0)) {
      const again = hashDomain(message as TypedDataValue, types as TypedDataTypes);
      if (again.some((byte, i) => byte !== separator[i])) {
        throw new TypedDataError('MALFORMED_VALUE', 'message of primary type EIP712Domain is not the domain');
      }
    }
    return keccak_256(concatBytes(prefix, separator));
  }
  return keccak_256(
    concatBytes(prefix, separator, hashStruct(types as TypedDataTypes, primaryType, message as TypedDataValue)),
  );
}

/**
 * The domain separator: hashStruct of the domain.
 *
 * @param domain - untrusted
 * @param types - untrusted; their `EIP712Domain` is binding, and where they have none it is made of the fields present
 * @throws {@link TypedDataError} as {@link hashTypedData}; `UNKNOWN_FIELD` for a field that is not of the standard
 */
export function hashDomain(domain: TypedDataValue, types: TypedDataTypes = {}): Digest {
  if (Object.hasOwn(types, DOMAIN)) return hashStruct(types, DOMAIN, domain);
  if (!isRecord(domain)) throw new TypedDataError('MALFORMED_VALUE', 'domain is no object', { at: { path: DOMAIN } });
  const fields = DOMAIN_FIELDS.filter(({ name }) => Object.hasOwn(domain, name));
  return hashStruct({ [DOMAIN]: fields }, DOMAIN, domain);
}

/**
 * hashStruct: keccak256(typeHash || encodeData).
 *
 * @param message - untrusted
 * @throws {@link TypedDataError} as {@link hashTypedData}
 */
export function hashStruct(types: TypedDataTypes, primaryType: string, message: TypedDataValue): Digest {
  return structHash({ schema: toSchema(types), encoders: new Map(), path: [primaryType] }, primaryType, message);
}

/**
 * encodeType of a struct, such as `Mail(Person from,string contents)Person(string name)`.
 *
 * @throws {@link TypedDataError} `MALFORMED_TYPES`, `UNKNOWN_TYPE`, `TOO_LARGE`
 */
export function encodeType(types: TypedDataTypes, primaryType: string): string {
  return structText(toSchema(types), primaryType);
}

const DOMAIN = 'EIP712Domain';
const DOMAIN_FIELDS: readonly TypedDataField[] = [
  { name: 'name', type: 'string' },
  { name: 'version', type: 'string' },
  { name: 'chainId', type: 'uint256' },
  { name: 'verifyingContract', type: 'address' },
  { name: 'salt', type: 'bytes32' },
];

/** Members and indices around a value; a recursive type can nest values without end. */
const MAX_DEPTH = 128;

type Context = {
  readonly schema: Schema;
  /** Of the structs met so far. */
  readonly encoders: Map<string, StructEncoder>;
  readonly path: (string | number)[];
};

function encoderOf(context: Context, struct: string): StructEncoder {
  let encoder = context.encoders.get(struct);
  if (encoder === undefined) {
    encoder = structEncoder(context.schema, struct);
    context.encoders.set(struct, encoder);
  }
  return encoder;
}

function structHash(context: Context, struct: string, value: unknown): Digest {
  const { isWhole, hash } = encoderOf(context, struct);
  return hash(checkStruct(context, struct, value, isWhole));
}

/** A struct's value as ethers takes it, a new object; `isWhole` as in {@link StructEncoder}. */
function checkStruct(context: Context, struct: string, value: unknown, isWhole: boolean): CheckedStruct {
  const members = membersOf(context.schema, struct);
  if (!isRecord(value)) throw fault(context, 'MALFORMED_VALUE', `expected an object of type ${struct}`);
  const names = new Set(members.map(({ name }) => name));
  for (const key of Object.keys(value)) {
    if (!names.has(key)) throw fault(context, 'UNKNOWN_FIELD', `type ${struct} has no such member`, key.slice(0, 80));
  }
  return Object.fromEntries(
    members.map((member) => {
      const { name, type } = member;
      if (!Object.hasOwn(value, name) || value[name] === undefined) {
        throw fault(context, 'MISSING_FIELD', `member of type ${type} is missing`, name);
      }
      return [name, within(context, name, () => checkMember(context, member, value[name], isWhole))];
    }),
  );
}

/** `left` dimensions of an array are still to be opened. */
function checkMember(
  context: Context,
  member: Member,
  value: unknown,
  isWhole: boolean,
  left = member.dimensions.length,
): unknown {
  if (left === 0) {
    if (isPrimitive(member.base)) return checkPrimitive(context, member.base, value);
    if (isWhole) return checkStruct(context, member.base, value, isWhole);
    // Only with an end can a value of a recursive struct be finite: wallets write null for it and hash it to zeros.
    if (value === null && encoderOf(context, member.base).isRecursive) return ZERO_DIGEST;
    return structHash(context, member.base, value);
  }
  if (!Array.isArray(value)) throw fault(context, 'MALFORMED_VALUE', `expected an array, of type ${member.type}`);
  const length = member.dimensions[left - 1];
  if (length !== undefined && value.length !== length) {
    throw fault(context, 'WRONG_LENGTH', `expected ${length} elements, got ${value.length}`);
  }
  return Array.from({ length: value.length }, (_, i) =>
    within(context, i, () => checkMember(context, member, value[i], isWhole, left - 1)),
  );
}

function checkPrimitive(context: Context, type: string, value: unknown): unknown {
  if (type === 'bool') {
    if (typeof value !== 'boolean') throw fault(context, 'MALFORMED_VALUE', 'expected true or false');
    return value;
  }
  if (type === 'address') {
    if (typeof value !== 'string' || parseAddress(value) === undefined) {
      throw fault(context, 'MALFORMED_ADDRESS', 'expected an address with a right checksum');
    }
    return value.toLowerCase();
  }
  if (type === 'string') {
    if (typeof value !== 'string' || hasLoneSurrogate(value))
      throw fault(context, 'MALFORMED_VALUE', 'expected a text');
    return value;
  }
  if (type === 'bytes') return toBytes(context, value);
  if (type.startsWith('bytes')) {
    const width = Number(type.slice('bytes'.length));
    const bytes = toBytes(context, value);
    if (bytes.length !== width) {
      throw fault(context, 'WRONG_LENGTH', `expected ${width} bytes, got ${bytes.length}`);
    }
    return bytes;
  }
  const isSigned = type.startsWith('int');
  const bits = BigInt(type.slice(isSigned ? 'int'.length : 'uint'.length));
  const integer = toInteger(context, value);
  const [least, most] = isSigned ? [-(1n << (bits - 1n)), (1n << (bits - 1n)) - 1n] : [0n, (1n << bits) - 1n];
  if (integer < least || integer > most) throw fault(context, 'OUT_OF_RANGE', `integer does not fit ${type}`);
  return integer;
}

function toBytes(context: Context, value: unknown): Uint8Array {
  if (value instanceof Uint8Array) return value;
  if (typeof value !== 'string') throw fault(context, 'MALFORMED_VALUE', 'expected 0x hexadecimal');
  try {
    return fromHex(value.toLowerCase());
  } catch (cause) {
    if (!(cause instanceof EncodingError)) throw cause;
    throw fault(context, 'MALFORMED_VALUE', 'expected 0x hexadecimal, two digits a byte');
  }
}

function toInteger(context: Context, value: unknown): bigint {
  if (typeof value === 'bigint') return value;
  if (typeof value === 'number' && Number.isSafeInteger(value)) return BigInt(value);
  // attacker-controlled: the length, since BigInt() of a long text is slow. 78 digits hold 2^256, 64 in hexadecimal.
  if (typeof value === 'string' && /^-?(?:\d{1,80}|0x[0-9a-fA-F]{1,66})$/.test(value)) {
    return value.startsWith('-') ? -BigInt(value.slice(1)) : BigInt(value);
  }
  throw fault(context, 'MALFORMED_VALUE', 'expected an integer');
}

function within<T>(context: Context, step: string | number, run: () => T): T {
  if (context.path.length >= MAX_DEPTH) throw fault(context, 'TOO_DEEP', `value nests beyond ${MAX_DEPTH}`);
  context.path.push(step);
  const result = run();
  context.path.pop();
  return result;
}

function fault(context: Context, code: TypedDataError['code'], message: string, member?: string): TypedDataError {
  const path = [...context.path, ...(member === undefined ? [] : [member])].join('.');
  return new TypedDataError(code, `typed data at ${path}: ${message}`, { at: { path } });
}
