/**
 * The inference receipt: the engine's signature over everything that decided an output, the output itself, and the one
 * place of one run where it belongs, so that it can be moved to no other request, record, run or chain.
 *
 * Spec: `inference/spec/receipt.md`. EIP-712; every text and list goes in as a digest of its own, so no two different
 * inputs meet in one signed message.
 *
 * @module
 */

import { fromHex, type Hex, toHex, utf8 } from '../core/bytes.ts';
import { type Digest, sha256, ZERO_DIGEST } from '../core/hash.ts';
import type { Json } from '../encoding/canonical-json.ts';
import { MerkleAccumulator } from '../merkle/tree.ts';
import { TraceError } from '../trace/errors.ts';
import { computeRequestDigest, type InferenceRequest } from '../trace/inference-request.ts';
import { computeInferenceSeed } from '../trace/run-seed.ts';
import { address, decimal64, decimal256, hex32, object, oneOf, signature as signatureShape } from '../trace/shape.ts';
import { hashTypedData } from './eip712.ts';
import { ReceiptError, type ReceiptErrorCode } from './receipt-errors.ts';
import { recoverAddress, signDigest } from './secp256k1.ts';

/** Why an output ended. */
export type FinishReason = 'stop' | 'length' | 'choice';

/** What the model answered, as far as a receipt covers it. */
export type AnsweredCompletion = {
  /** Token ids of the whole prompt, uint32. */
  readonly promptIds: readonly number[];
  /** Token ids of the output, uint32. */
  readonly outputIds: readonly number[];
  readonly text: string;
  readonly finishReason: FinishReason;
  /** Root over what was allowed at each place of the output, see {@link computeMasksRoot}; null where all was. */
  readonly masks: Hex | null;
};

/** Where an inference stands: its run, the index of its start record, and the chain that the run was opened on. */
export type InferencePlace = {
  /** Zero off chain. */
  readonly chainId: bigint;
  /** Zero address off chain. */
  readonly contract: Hex;
  /** Run id; zero outside a run. */
  readonly run: Digest;
  /** Index of the `inference.start` record, uint64; zero outside a run. */
  readonly index: bigint;
  /** Zero outside a run. */
  readonly runSeed: Digest;
};

/** All that a receipt is about, from the hands of whoever signs or checks it. */
export type ReceiptFacts = InferencePlace & {
  readonly request: InferenceRequest;
  readonly completion: AnsweredCompletion;
};

/** The signed fields, as the JSON values of a receipt. */
export type ReceiptFields = {
  /** Decimal. */
  readonly chainId: string;
  readonly contract: Hex;
  readonly run: Hex;
  /** Decimal. */
  readonly index: string;
  readonly request: Hex;
  readonly seed: Hex;
  readonly promptIds: Hex;
  readonly outputIds: Hex;
  /** Zero where the output was free. */
  readonly masks: Hex;
  readonly text: Hex;
  readonly finish: FinishReason;
  readonly model: Hex;
  readonly profile: Hex;
  readonly engine: Hex;
};

/** A receipt as it is sent and recorded. */
export type Receipt = ReceiptFields & {
  /** 65 bytes r || s || v. */
  readonly signature: Hex;
};

/** The zero address: no contract. */
export const NO_CONTRACT: Hex = `0x${'00'.repeat(20)}`;

/** The place of an inference that belongs to no run. */
export const NO_PLACE: InferencePlace = {
  chainId: 0n,
  contract: NO_CONTRACT,
  run: ZERO_DIGEST,
  index: 0n,
  runSeed: ZERO_DIGEST,
};

/** EIP-712 types of a receipt. */
export const RECEIPT_TYPES = {
  InferenceReceipt: [
    { name: 'run', type: 'bytes32' },
    { name: 'index', type: 'uint64' },
    { name: 'request', type: 'bytes32' },
    { name: 'seed', type: 'bytes32' },
    { name: 'promptIds', type: 'bytes32' },
    { name: 'outputIds', type: 'bytes32' },
    { name: 'masks', type: 'bytes32' },
    { name: 'text', type: 'bytes32' },
    { name: 'finish', type: 'string' },
    { name: 'model', type: 'bytes32' },
    { name: 'profile', type: 'bytes32' },
    { name: 'engine', type: 'bytes32' },
  ],
} as const;

/** Fields in the order in which they are compared, each with the code of its fault: the place first. */
const CODES: { readonly [F in keyof ReceiptFields]: ReceiptErrorCode } = {
  chainId: 'CHAIN_MISMATCH',
  contract: 'CONTRACT_MISMATCH',
  run: 'RUN_MISMATCH',
  index: 'INDEX_MISMATCH',
  model: 'MODEL_MISMATCH',
  profile: 'PROFILE_MISMATCH',
  engine: 'ENGINE_MISMATCH',
  request: 'REQUEST_MISMATCH',
  seed: 'SEED_MISMATCH',
  promptIds: 'PROMPT_IDS_MISMATCH',
  outputIds: 'OUTPUT_IDS_MISMATCH',
  masks: 'MASKS_MISMATCH',
  text: 'TEXT_MISMATCH',
  finish: 'FINISH_MISMATCH',
};

const receiptShape = object({
  chainId: decimal256,
  contract: address,
  run: hex32,
  index: decimal64,
  request: hex32,
  seed: hex32,
  promptIds: hex32,
  outputIds: hex32,
  masks: hex32,
  text: hex32,
  finish: oneOf('stop', 'length', 'choice'),
  model: hex32,
  profile: hex32,
  engine: hex32,
  signature: signatureShape,
});

/**
 * Digest of a list of token ids: SHA-256("tracebond/ids/1" || each id as four big-endian bytes).
 *
 * @throws RangeError if an id is not a uint32
 */
export function computeIdsDigest(ids: readonly number[]): Digest {
  const bytes = new Uint8Array(4 * ids.length);
  const view = new DataView(bytes.buffer);
  ids.forEach((id, i) => {
    if (!Number.isInteger(id) || id < 0 || id > 0xffffffff) throw new RangeError(`token id ${id} is not a uint32`);
    view.setUint32(4 * i, id);
  });
  return sha256(utf8('tracebond/ids/1'), bytes);
}

/**
 * Root over the masks of an output: leaf i is SHA-256("tracebond/mask/1" || SHA-256(mask i)). A mask has one bit for each id of the vocabulary,
 * id t at bit t mod 8 of byte floor(t / 8), padded to whole words of 32 bits.
 *
 * @param masks - SHA-256 of the mask of each place, in order
 */
export function computeMasksRoot(masks: readonly Digest[]): Digest {
  const tree = new MerkleAccumulator();
  for (const mask of masks) tree.append(sha256(utf8('tracebond/mask/1'), mask));
  return tree.root();
}

/** The fields that a receipt for these facts must have. */
export function computeReceiptFields(facts: ReceiptFacts): ReceiptFields {
  const { request, completion } = facts;
  return {
    chainId: facts.chainId.toString(),
    contract: facts.contract,
    run: toHex(facts.run),
    index: facts.index.toString(),
    request: toHex(computeRequestDigest(request)),
    seed: toHex(computeInferenceSeed(facts.runSeed, facts.index, BigInt(request.seed))),
    promptIds: toHex(computeIdsDigest(completion.promptIds)),
    outputIds: toHex(computeIdsDigest(completion.outputIds)),
    masks: completion.masks ?? toHex(ZERO_DIGEST),
    text: toHex(sha256(utf8(completion.text))),
    finish: completion.finishReason,
    model: request.model,
    profile: request.profile,
    engine: request.engine,
  };
}

/** The 32 bytes that are signed: the EIP-712 digest of the fields. */
export function computeReceiptDigest(fields: ReceiptFields): Digest {
  return hashTypedData({
    domain: {
      name: 'Tracebond',
      version: '1',
      chainId: BigInt(fields.chainId),
      verifyingContract: fields.contract,
    },
    types: RECEIPT_TYPES,
    primaryType: 'InferenceReceipt',
    message: {
      run: fields.run,
      index: BigInt(fields.index),
      request: fields.request,
      seed: fields.seed,
      promptIds: fields.promptIds,
      outputIds: fields.outputIds,
      masks: fields.masks,
      text: fields.text,
      finish: fields.finish,
      model: fields.model,
      profile: fields.profile,
      engine: fields.engine,
    },
  });
}

/**
 * Signs what was asked and answered.
 *
 * @param privateKey - 32 bytes, the engine's key; used for receipts alone
 */
export function signReceipt(facts: ReceiptFacts, privateKey: Uint8Array): Receipt {
  const fields = computeReceiptFields(facts);
  return { ...fields, signature: toHex(signDigest(computeReceiptDigest(fields), privateKey)) };
}

/**
 * Puts a receipt together from facts and a signature that is stored alone, as a trace does. It says nothing about the
 * signature: check the result with {@link verifyReceiptSignature}.
 */
export function toReceipt(facts: ReceiptFacts, signature: Hex): Receipt {
  return { ...computeReceiptFields(facts), signature };
}

/**
 * Reads a receipt: exactly its fields, shape only.
 *
 * @param value - untrusted
 * @throws {@link ReceiptError} `MALFORMED_RECEIPT` with the dotted path in `at.field`
 */
export function parseReceipt(value: Json): Receipt {
  try {
    return receiptShape(value, 'receipt');
  } catch (error) {
    if (error instanceof TraceError) throw new ReceiptError('MALFORMED_RECEIPT', error.message, { at: error.at });
    throw error;
  }
}

/**
 * Checks that a receipt was signed by `signer` for exactly these facts; returns only if so.
 *
 * @param receipt - untrusted, of {@link parseReceipt}'s shape
 * @param facts - trusted: what was asked, where, and what is taken as the answer
 * @param signer - trusted: address of the engine's key
 * @throws {@link ReceiptError} one `*_MISMATCH` for the first field that differs, in the order place, identity, request,
 * answer; `MALFORMED_SIGNATURE` or `SIGNER_MISMATCH` if the fields are equal and the signature is not the signer's
 */
export function verifyReceipt(receipt: Receipt, facts: ReceiptFacts, signer: Hex): void {
  verifyReceiptFields(receipt, computeReceiptFields(facts));
  verifyReceiptSignature(receipt, signer);
}

/**
 * Compares a receipt with those of its fields that are known; for a reader to whom a payload is withheld.
 *
 * @throws {@link ReceiptError} as {@link verifyReceipt}, without the signature's codes
 */
export function verifyReceiptFields(receipt: Receipt, expected: Partial<ReceiptFields>): void {
  for (const name of Object.keys(CODES) as (keyof ReceiptFields)[]) {
    const want = expected[name];
    if (want !== undefined && receipt[name] !== want) {
      throw new ReceiptError(CODES[name], `receipt.${name}: expected ${want}, got ${receipt[name]}`, {
        at: { field: `receipt.${name}` },
      });
    }
  }
}

/**
 * Checks that `signer` signed the receipt's own fields, whatever they say.
 *
 * @throws {@link ReceiptError} `MALFORMED_SIGNATURE`, `SIGNER_MISMATCH`
 */
export function verifyReceiptSignature(receipt: Receipt, signer: Hex): void {
  const at = { field: 'receipt.signature' };
  let found: Hex;
  try {
    found = recoverAddress(computeReceiptDigest(receipt), fromHex(receipt.signature, 65));
  } catch (error) {
    throw new ReceiptError('MALFORMED_SIGNATURE', 'receipt.signature recovers to no key', { at, cause: error });
  }
  if (found.toLowerCase() !== signer.toLowerCase()) {
    throw new ReceiptError('SIGNER_MISMATCH', `receipt.signature: expected ${signer}, got ${found}`, { at });
  }
}
