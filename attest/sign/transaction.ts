/**
 * Transactions of an EVM chain with a fee market (EIP-1559, type 2) that call one account, read in the one form in
 * which chains take them: the raw bytes alone say who sent what.
 *
 * @module
 * @see EIP-1559, EIP-2718, EIP-2; RLP: Ethereum Yellow Paper, appendix B
 */

import { keccak_256 } from '@noble/hashes/sha3.js';
import { bytesUint, concatBytes, fromHex, type Hex, toHex, uintBytes } from '../core/bytes.ts';
import { RuntimeError } from '../core/error.ts';
import { recoverAddress } from './secp256k1.ts';

export type TransactionErrorCode =
  /** Not the one form of a signed transaction of type 2 that calls an account, or not signed by any key. */
  'MALFORMED_TRANSACTION';

/** Bytes that are no transaction of the form that is read here. */
export class TransactionError extends RuntimeError<TransactionErrorCode> {
  override readonly name = 'TransactionError';
}

/** What a transaction does; amounts in wei. */
export type Transaction = {
  readonly chainId: bigint;
  readonly nonce: bigint;
  /** Most that the block's maker gets per unit of gas. */
  readonly maxPriorityFeePerGas: bigint;
  /** Most that is paid per unit of gas. */
  readonly maxFeePerGas: bigint;
  readonly gasLimit: bigint;
  /** Account that is called, in lower case. */
  readonly to: Hex;
  readonly value: bigint;
  readonly data: Hex;
};

/** A transaction with its signature. */
export type SignedTransaction = Transaction & {
  /** Who signed, in lower case. */
  readonly from: Hex;
  /** Keccak-256 of `raw`. */
  readonly hash: Hex;
  /** As it is sent, type byte first. */
  readonly raw: Hex;
};

/** Largest raw transaction that is read, in bytes. */
export const MAX_RAW_BYTES = 8192;

const TYPE = Uint8Array.of(2);
/** RLP of the empty access list. */
const NO_ACCESS_LIST = Uint8Array.of(0xc0);
const MAX_UINT64 = (1n << 64n) - 1n;
const MAX_UINT256 = (1n << 256n) - 1n;

/**
 * Reads a signed transaction of type 2 with an empty access list that calls an account, in its one form.
 *
 * @param raw - untrusted, lower-case hexadecimal with `0x`
 * @throws {@link TransactionError} `MALFORMED_TRANSACTION`, also for a signature that no key made, or one with high s
 */
export function parseTransaction(raw: string): SignedTransaction {
  if (raw.length > 2 + 2 * MAX_RAW_BYTES) throw malformed(`more than ${MAX_RAW_BYTES} bytes`);
  let bytes: Uint8Array;
  try {
    bytes = fromHex(raw);
  } catch (cause) {
    throw malformed('no lower-case hexadecimal', cause);
  }
  if (bytes[0] !== TYPE[0]) throw malformed('not of type 2');
  const reader = new ListReader(bytes.subarray(1));
  const transaction: Transaction = {
    chainId: reader.number('chain id', MAX_UINT64),
    nonce: reader.number('nonce', MAX_UINT64),
    maxPriorityFeePerGas: reader.number('priority fee', MAX_UINT256),
    maxFeePerGas: reader.number('fee', MAX_UINT256),
    gasLimit: reader.number('gas limit', MAX_UINT64),
    to: toHex(reader.bytes('recipient', 20)),
    value: reader.number('value', MAX_UINT256),
    data: toHex(reader.bytes('data')),
  };
  const signedEnd = reader.emptyList('access list');
  const parity = reader.number('parity', 1n);
  const r = reader.number('r', MAX_UINT256);
  const s = reader.number('s', MAX_UINT256);
  reader.end();
  const digest = keccak_256(concatBytes(TYPE, listOf(reader.content.subarray(0, signedEnd))));
  const signature = concatBytes(uintBytes(r, 32), uintBytes(s, 32), Uint8Array.of(27 + Number(parity)));
  let from: Hex;
  try {
    from = recoverAddress(digest, signature);
  } catch (cause) {
    if (!RuntimeError.is(cause)) throw cause;
    throw malformed('no key recovers from its signature', cause);
  }
  return { ...transaction, from, hash: toHex(keccak_256(bytes)), raw: raw as Hex };
}

/** Items of one RLP list, read in order; every item must be in its shortest form. */
class ListReader {
  readonly content: Uint8Array;
  #at = 0;

  constructor(bytes: Uint8Array) {
    const head = headAt(bytes, 0);
    if (!head.isList || head.start + head.length !== bytes.length) throw malformed('not one list');
    this.content = bytes.subarray(head.start);
  }

  bytes(name: string, length?: number): Uint8Array {
    const { isList, start, length: size } = headAt(this.content, this.#at);
    if (isList || (length !== undefined && size !== length)) throw malformed(`${name} is malformed`);
    this.#at = start + size;
    return this.content.subarray(start, this.#at);
  }

  number(name: string, max: bigint): bigint {
    const bytes = this.bytes(name);
    // A number has no leading zero, and zero no byte at all.
    if (bytes.length > 32 || bytes[0] === 0) throw malformed(`${name} is malformed`);
    const value = bytesUint(bytes);
    if (value > max) throw malformed(`${name} is too large`);
    return value;
  }

  /** @returns where the item ends */
  emptyList(name: string): number {
    if (this.content[this.#at] !== NO_ACCESS_LIST[0]) throw malformed(`${name} is not empty`);
    this.#at += 1;
    return this.#at;
  }

  end(): void {
    if (this.#at !== this.content.length) throw malformed('more than twelve fields');
  }
}

/** The head of the RLP item at an offset: where its content lies, all of it inside of `bytes`. */
function headAt(bytes: Uint8Array, at: number): { isList: boolean; start: number; length: number } {
  const first = bytes[at];
  if (first === undefined) throw malformed('cut short');
  if (first < 0x80) return { isList: false, start: at, length: 1 };
  const isList = first >= 0xc0;
  const short = first - (isList ? 0xc0 : 0x80);
  const sizeBytes = short > 55 ? short - 55 : 0;
  const start = at + 1 + sizeBytes;
  // attacker-controlled: a size of more than three bytes is beyond any transaction that is read
  if (sizeBytes > 3) throw malformed('an item is too large');
  const length = sizeBytes === 0 ? short : Number(bytesUint(bytes.subarray(at + 1, start)));
  if (sizeBytes > 0 && (length <= 55 || bytes[at + 1] === 0)) throw malformed('a size is not in its shortest form');
  if (start + length > bytes.length) throw malformed('cut short');
  if (!isList && length === 1 && (bytes[start] as number) < 0x80) throw malformed('a byte is not in its shortest form');
  return { isList, start, length };
}

function listOf(content: Uint8Array): Uint8Array {
  const { length } = content;
  if (length <= 55) return concatBytes(Uint8Array.of(0xc0 + length), content);
  const size = uintBytes(length, Math.ceil(length.toString(16).length / 2));
  return concatBytes(Uint8Array.of(0xf7 + size.length), size, content);
}

function malformed(what: string, cause?: unknown): TransactionError {
  return new TransactionError('MALFORMED_TRANSACTION', `transaction is malformed: ${what}`, { cause });
}
