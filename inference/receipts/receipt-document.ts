/**
 * A receipt with everything that it is about, in one JSON object: who holds it needs nothing else but the model to check it.
 *
 * Spec: `inference/spec/receipt.md#the-receipt-document`.
 *
 * @module
 */

import { fromHex, type Hex, toHex } from '../../attest/core/bytes.ts';
import { RuntimeError } from '../../attest/core/error.ts';
import { sha256, ZERO_DIGEST } from '../../attest/core/hash.ts';
import { hasLoneSurrogate, type Json } from '../../attest/encoding/canonical-json.ts';
import {
  computeReceiptDigest,
  computeReceiptFields,
  parseReceipt,
  type Receipt,
  type ReceiptFacts,
  verifyReceiptFields,
  verifyReceiptSignature,
} from '../../attest/sign/receipt.ts';
import { ReceiptError } from '../../attest/sign/receipt-errors.ts';
import { recoverAddress } from '../../attest/sign/secp256k1.ts';
import { fieldError, TraceError } from '../../attest/trace/errors.ts';
import { type InferenceRequest, parseInferenceRequest } from '../../attest/trace/inference-request.ts';
import { array, exactObject, hex32, integer, nullable, type Shape, text } from '../../attest/trace/shape.ts';

/** What responses carry as `tracebond`, and `GET /v1/receipts/{id}` gives. */
export type ReceiptDocument = {
  readonly format: 'tracebond/receipt@1';
  /** Hexadecimal digits of the receipt's signature's SHA-256, 24 of them, after `rcpt_`: one signed receipt has one id. */
  readonly id: string;
  readonly receipt: Receipt;
  readonly request: InferenceRequest;
  /** Zero outside a run. */
  readonly runSeed: Hex;
  readonly promptIds: readonly number[];
  readonly outputIds: readonly number[];
  readonly masks: Hex | null;
  /** The output, before it is read as content and calls. */
  readonly text: string;
};

/** The format that this version writes and reads. */
export const RECEIPT_FORMAT = 'tracebond/receipt@1';

export type ReceiptDocumentErrorCode =
  /** A field is missing, unknown or not in its form; `at.field`. */
  | 'MALFORMED_DOCUMENT'
  /** Another format, perhaps of a later version; `at.format`. */
  | 'UNSUPPORTED_FORMAT'
  /** The id is not that of the signature. */
  | 'ID_MISMATCH';

/** A document that is none, or whose id is not its own. What contradicts the receipt is a {@link ReceiptError}. */
export class ReceiptDocumentError extends RuntimeError<ReceiptDocumentErrorCode> {
  override readonly name = 'ReceiptDocumentError';
}

/** Bounds of a document. */
export const DOCUMENT_LIMITS = {
  /** Ids of prompt, and of output: four times the longest context that models have. */
  ids: 1 << 22,
  /** UTF-16 units of the output. */
  text: 1 << 24,
} as const;

const ZERO: Hex = toHex(ZERO_DIGEST);

/** The document of a signed receipt and the facts that it was signed for. */
export function toReceiptDocument(facts: ReceiptFacts, receipt: Receipt): ReceiptDocument {
  const { promptIds, outputIds, masks, text: output } = facts.completion;
  return {
    format: RECEIPT_FORMAT,
    id: receiptId(receipt),
    receipt,
    request: facts.request,
    runSeed: toHex(facts.runSeed),
    promptIds,
    outputIds,
    masks,
    text: output,
  };
}

/** The id of a signed receipt. */
export function receiptId({ signature }: Pick<Receipt, 'signature'>): string {
  return `rcpt_${toHex(sha256(fromHex(signature))).slice(2, 26)}`;
}

const ids = array(integer(0, 0xffffffff), DOCUMENT_LIMITS.ids);
const output: Shape<string> = (value, path, code = 'MALFORMED_BODY') => {
  const found = text(DOCUMENT_LIMITS.text)(value, path, code);
  if (hasLoneSurrogate(found)) throw fieldError(code, path, 'holds a lone surrogate');
  return found;
};
const root: Shape<Hex | null> = (value, path, code = 'MALFORMED_BODY') => {
  const found = nullable(hex32)(value, path, code);
  // A receipt writes both as zero: the document has one form for each.
  if (found === ZERO) throw fieldError(code, path, 'expected null where all was allowed');
  return found;
};

/**
 * Reads a document: exactly its fields, each in its form. Whether they belong together says {@link verifyReceiptDocument}.
 *
 * @param value - untrusted
 * @throws {@link ReceiptDocumentError} `UNSUPPORTED_FORMAT`, or `MALFORMED_DOCUMENT` with the dotted path in `at.field`
 */
export function parseReceiptDocument(value: Json): ReceiptDocument {
  const format = typeof value === 'object' && value !== null && 'format' in value ? value['format'] : undefined;
  if (typeof format === 'string' && format !== RECEIPT_FORMAT) {
    const named = format.slice(0, 64);
    throw new ReceiptDocumentError('UNSUPPORTED_FORMAT', `format: expected ${RECEIPT_FORMAT}, got ${named}`, {
      at: { field: 'format', format: named },
    });
  }
  try {
    const found = exactObject(value, 'document', FIELDS);
    if (format !== RECEIPT_FORMAT) throw fieldError('MALFORMED_BODY', 'document.format', 'expected a text');
    const of = <T>(name: string, shape: Shape<T>): T =>
      shape(found[name] as Json, `document.${name}`, 'MALFORMED_BODY');
    return {
      format: RECEIPT_FORMAT,
      id: of('id', text(64)),
      receipt: parseReceipt(found['receipt'] as Json),
      request: of('request', parseInferenceRequest),
      runSeed: of('runSeed', hex32),
      promptIds: of('promptIds', ids),
      outputIds: of('outputIds', ids),
      masks: of('masks', root),
      text: of('text', output),
    };
  } catch (error) {
    if (!(error instanceof TraceError) && !(error instanceof ReceiptError)) throw error;
    const field = String(error.at['field']).replace(/^document\.?/, '');
    const message = error.message.replace(/^document\.?/, '');
    throw new ReceiptDocumentError('MALFORMED_DOCUMENT', message, { at: { field }, cause: error });
  }
}

const FIELDS = ['format', 'id', 'receipt', 'request', 'runSeed', 'promptIds', 'outputIds', 'masks', 'text'] as const;

/** The facts that a document claims. */
export function factsOf(document: ReceiptDocument): ReceiptFacts {
  const { receipt, request, runSeed, promptIds, outputIds, masks, text: answer } = document;
  return {
    chainId: BigInt(receipt.chainId),
    contract: receipt.contract,
    run: fromHex(receipt.run, 32),
    index: BigInt(receipt.index),
    runSeed: fromHex(runSeed, 32),
    request,
    completion: { promptIds, outputIds, text: answer, finishReason: receipt.finish, masks },
  };
}

/**
 * Checks that a document is of one piece: its receipt is for its own fields, and signed.
 *
 * @param document - untrusted, of {@link parseReceiptDocument}'s form
 * @param signer - trusted: address of the engine's key; undefined where it is not known, and then whoever signed is only told
 * @returns the address that signed
 * @throws {@link ReceiptDocumentError} `ID_MISMATCH`
 * @throws {@link ReceiptError} one `*_MISMATCH` for the first field that differs, `MALFORMED_SIGNATURE`, `SIGNER_MISMATCH`
 */
export function verifyReceiptDocument(document: ReceiptDocument, signer?: Hex): Hex {
  const { receipt, id } = document;
  if (id !== receiptId(receipt)) {
    throw new ReceiptDocumentError('ID_MISMATCH', `id: expected ${receiptId(receipt)}, got ${id}`, {
      at: { field: 'id' },
    });
  }
  verifyReceiptFields(receipt, computeReceiptFields(factsOf(document)));
  const found = signerOf(receipt);
  verifyReceiptSignature(receipt, signer ?? found);
  return found;
}

/** @throws {@link ReceiptError} `MALFORMED_SIGNATURE` */
function signerOf(receipt: Receipt): Hex {
  try {
    return recoverAddress(computeReceiptDigest(receipt), fromHex(receipt.signature, 65));
  } catch (cause) {
    const at = { field: 'receipt.signature' };
    throw new ReceiptError('MALFORMED_SIGNATURE', 'receipt.signature recovers to no key', { at, cause });
  }
}
