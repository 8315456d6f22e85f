/**
 * The receipt of embeddings: the engine's signature over the texts, their tokens and their vectors, and over the model that made them.
 * It is a type of its own, so that it can be taken for no receipt of an answer.
 *
 * Spec: `inference/spec/embeddings.md`.
 *
 * @module
 */

import { fromHex, type Hex, toHex, uintBytes, utf8 } from '../core/bytes.ts';
import { type Digest, sha256 } from '../core/hash.ts';
import { canonicalBytes, type Json } from '../encoding/canonical-json.ts';
import { TraceError } from '../trace/errors.ts';
import { address, decimal256, hex32, object, signature as signatureShape } from '../trace/shape.ts';
import { hashTypedData } from './eip712.ts';
import { computeIdsDigest } from './receipt.ts';
import { ReceiptError, type ReceiptErrorCode } from './receipt-errors.ts';
import { recoverAddress, signDigest } from './secp256k1.ts';

/** Everything that decides the vectors. */
export type EmbeddingRequest = {
  readonly model: Hex;
  readonly profile: Hex;
  readonly engine: Hex;
  /** At least one text, none empty. */
  readonly input: readonly string[];
};

/** All that the receipt is about. */
export type EmbeddingFacts = {
  /** Zero off chain. */
  readonly chainId: bigint;
  /** Zero address off chain. */
  readonly contract: Hex;
  readonly request: EmbeddingRequest;
  /** Tokens of each text, uint32. */
  readonly ids: readonly (readonly number[])[];
  /** Vector of each text, binary32. */
  readonly vectors: readonly (readonly number[])[];
};

/** The signed fields, as the JSON values of a receipt. */
export type EmbeddingReceiptFields = {
  /** Decimal. */
  readonly chainId: string;
  readonly contract: Hex;
  readonly request: Hex;
  readonly ids: Hex;
  readonly vectors: Hex;
  readonly model: Hex;
  readonly profile: Hex;
  readonly engine: Hex;
};

/** A receipt as it is sent. */
export type EmbeddingReceipt = EmbeddingReceiptFields & {
  /** 65 bytes r || s || v. */
  readonly signature: Hex;
};

const TYPES = {
  EmbeddingReceipt: [
    { name: 'request', type: 'bytes32' },
    { name: 'ids', type: 'bytes32' },
    { name: 'vectors', type: 'bytes32' },
    { name: 'model', type: 'bytes32' },
    { name: 'profile', type: 'bytes32' },
    { name: 'engine', type: 'bytes32' },
  ],
} as const;

/** Fields in the order in which they are compared. */
const CODES: { readonly [F in keyof EmbeddingReceiptFields]: ReceiptErrorCode } = {
  chainId: 'CHAIN_MISMATCH',
  contract: 'CONTRACT_MISMATCH',
  model: 'MODEL_MISMATCH',
  profile: 'PROFILE_MISMATCH',
  engine: 'ENGINE_MISMATCH',
  request: 'REQUEST_MISMATCH',
  ids: 'PROMPT_IDS_MISMATCH',
  vectors: 'VECTORS_MISMATCH',
};

const shape = object({
  chainId: decimal256,
  contract: address,
  request: hex32,
  ids: hex32,
  vectors: hex32,
  model: hex32,
  profile: hex32,
  engine: hex32,
  signature: signatureShape,
});

/**
 * Digest of vectors: SHA-256("tracebond/vectors/1" || number of vectors 4 || for each its length 4 and its elements as big-endian binary32).
 *
 * @throws RangeError if an element is no finite binary32
 */
export function computeVectorsDigest(vectors: readonly (readonly number[])[]): Digest {
  const parts = vectors.map((vector) => {
    const bytes = new Uint8Array(4 + 4 * vector.length);
    const view = new DataView(bytes.buffer);
    view.setUint32(0, vector.length);
    for (const [i, value] of vector.entries()) {
      if (!Number.isFinite(value) || Math.fround(value) !== value) throw new RangeError(`${value} is no binary32`);
      view.setFloat32(4 + 4 * i, value);
    }
    return bytes;
  });
  return sha256(utf8('tracebond/vectors/1'), uintBytes(vectors.length, 4), ...parts);
}

/** The fields that a receipt for these facts must have. */
export function computeEmbeddingReceiptFields(facts: EmbeddingFacts): EmbeddingReceiptFields {
  const { request } = facts;
  return {
    chainId: facts.chainId.toString(),
    contract: facts.contract,
    request: toHex(sha256(utf8('tracebond/embedding/1'), canonicalBytes(request as unknown as Json))),
    ids: toHex(sha256(utf8('tracebond/id-lists/1'), ...facts.ids.map(computeIdsDigest))),
    vectors: toHex(computeVectorsDigest(facts.vectors)),
    model: request.model,
    profile: request.profile,
    engine: request.engine,
  };
}

/** Signs what was asked and answered. */
export function signEmbeddingReceipt(facts: EmbeddingFacts, privateKey: Uint8Array): EmbeddingReceipt {
  const fields = computeEmbeddingReceiptFields(facts);
  return { ...fields, signature: toHex(signDigest(computeDigest(fields), privateKey)) };
}

/**
 * Reads a receipt: exactly its fields, shape only.
 *
 * @param value - untrusted
 * @throws {@link ReceiptError} `MALFORMED_RECEIPT` with the dotted path in `at.field`
 */
export function parseEmbeddingReceipt(value: Json): EmbeddingReceipt {
  try {
    return shape(value, 'receipt');
  } catch (error) {
    if (error instanceof TraceError) throw new ReceiptError('MALFORMED_RECEIPT', error.message, { at: error.at });
    throw error;
  }
}

/**
 * Compares a receipt with those of its fields that are known.
 *
 * @throws {@link ReceiptError} one `*_MISMATCH` for the first field that differs
 */
export function verifyEmbeddingReceiptFields(
  receipt: EmbeddingReceipt,
  expected: Partial<EmbeddingReceiptFields>,
): void {
  for (const name of Object.keys(CODES) as (keyof EmbeddingReceiptFields)[]) {
    const want = expected[name];
    if (want === undefined || receipt[name] === want) continue;
    const at = { field: `receipt.${name}` };
    throw new ReceiptError(CODES[name], `receipt.${name}: expected ${want}, got ${receipt[name]}`, { at });
  }
}

/**
 * The address whose key signed the receipt's own fields, whatever they say.
 *
 * @throws {@link ReceiptError} `MALFORMED_SIGNATURE`
 */
export function recoverEmbeddingSigner(receipt: EmbeddingReceipt): Hex {
  try {
    return recoverAddress(computeDigest(receipt), fromHex(receipt.signature, 65));
  } catch (cause) {
    const at = { field: 'receipt.signature' };
    throw new ReceiptError('MALFORMED_SIGNATURE', 'receipt.signature recovers to no key', { at, cause });
  }
}

function computeDigest(fields: EmbeddingReceiptFields): Digest {
  const { chainId, contract, request, ids, vectors, model, profile, engine } = fields;
  return hashTypedData({
    domain: { name: 'Tracebond', version: '1', chainId: BigInt(chainId), verifyingContract: contract },
    types: TYPES,
    primaryType: 'EmbeddingReceipt',
    message: { request, ids, vectors, model, profile, engine },
  });
}
