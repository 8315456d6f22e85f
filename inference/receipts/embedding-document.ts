/**
 * A receipt of embeddings with the texts and tokens that it is about. The vectors stay out: whoever has the model makes them again, and the
 * receipt has their digest.
 *
 * Spec: `inference/spec/embeddings.md`.
 *
 * @module
 */

import { fromHex, type Hex, toHex } from '../../attest/core/bytes.ts';
import { sha256 } from '../../attest/core/hash.ts';
import type { Json } from '../../attest/encoding/canonical-json.ts';
import {
  computeEmbeddingReceiptFields,
  type EmbeddingReceipt,
  type EmbeddingRequest,
  parseEmbeddingReceipt,
  recoverEmbeddingSigner,
  verifyEmbeddingReceiptFields,
} from '../../attest/sign/embedding-receipt.ts';
import { ReceiptError } from '../../attest/sign/receipt-errors.ts';
import { fieldError, TraceError } from '../../attest/trace/errors.ts';
import { array, exactObject, hex32, integer, object, type Shape, text } from '../../attest/trace/shape.ts';
import { ReceiptDocumentError } from './receipt-document.ts';

export const EMBEDDING_FORMAT = 'tracebond/embedding-receipt@1';

/** What responses with embeddings carry as `tracebond`, and `GET /v1/receipts/{id}` gives. */
export type EmbeddingDocument = {
  readonly format: typeof EMBEDDING_FORMAT;
  /** As that of an answer's receipt. */
  readonly id: string;
  readonly receipt: EmbeddingReceipt;
  readonly request: EmbeddingRequest;
  /** Tokens of each text. */
  readonly ids: readonly (readonly number[])[];
};

/** Bounds of a request for embeddings. */
export const EMBEDDING_LIMITS = {
  /** Texts of one request. */
  texts: 2048,
  /** UTF-16 units of one text. */
  text: 1 << 20,
} as const;

/** The document of a signed receipt. */
export function toEmbeddingDocument(
  facts: Pick<EmbeddingDocument, 'request' | 'ids'>,
  receipt: EmbeddingReceipt,
): EmbeddingDocument {
  const { request, ids } = facts;
  return { format: EMBEDDING_FORMAT, id: idOf(receipt), receipt, request, ids };
}

const notEmpty: Shape<string> = (value, path, code = 'MALFORMED_BODY') => {
  const found = text(EMBEDDING_LIMITS.text)(value, path, code);
  if (found === '') throw fieldError(code, path, 'expected a text that is not empty');
  return found;
};

const request = object({
  model: hex32,
  profile: hex32,
  engine: hex32,
  input: array(notEmpty, EMBEDDING_LIMITS.texts),
});
const idLists = array(array(integer(0, 0xffffffff), 1 << 20), EMBEDDING_LIMITS.texts);

/**
 * Reads a document: exactly its fields, each in its form.
 *
 * @param value - untrusted
 * @throws {@link ReceiptDocumentError} `MALFORMED_DOCUMENT` with the dotted path in `at.field`
 */
export function parseEmbeddingDocument(value: Json): EmbeddingDocument {
  try {
    const found = exactObject(value, 'document', ['format', 'id', 'receipt', 'request', 'ids']);
    const of = <T>(name: string, shape: Shape<T>): T =>
      shape(found[name] as Json, `document.${name}`, 'MALFORMED_BODY');
    if (found['format'] !== EMBEDDING_FORMAT) {
      throw fieldError('MALFORMED_BODY', 'document.format', `expected ${EMBEDDING_FORMAT}`);
    }
    const document: EmbeddingDocument = {
      format: EMBEDDING_FORMAT,
      id: of('id', text(64)),
      receipt: parseEmbeddingReceipt(found['receipt'] as Json),
      request: of('request', request),
      ids: of('ids', idLists),
    };
    if (document.request.input.length === 0) {
      throw fieldError('MALFORMED_BODY', 'document.request.input', 'expected at least one text');
    }
    if (document.ids.length !== document.request.input.length) {
      throw fieldError('MALFORMED_BODY', 'document.ids', 'expected one list for each text');
    }
    return document;
  } catch (error) {
    if (!(error instanceof TraceError) && !(error instanceof ReceiptError)) throw error;
    const field = String(error.at['field']).replace(/^document\.?/, '');
    const message = error.message.replace(/^document\.?/, '');
    throw new ReceiptDocumentError('MALFORMED_DOCUMENT', message, { at: { field }, cause: error });
  }
}

/**
 * Checks that a document is of one piece: its receipt is for its own texts and tokens, and signed. Whether the vectors are right is found by
 * making them again, see {@link verifyVectors}.
 *
 * @param document - untrusted, of {@link parseEmbeddingDocument}'s form
 * @param signer - trusted: address of the engine's key; undefined where it is not known
 * @returns the address that signed
 * @throws {@link ReceiptDocumentError} `ID_MISMATCH`
 * @throws {@link ReceiptError} one `*_MISMATCH` for the first field that differs, `MALFORMED_SIGNATURE`, `SIGNER_MISMATCH`
 */
export function verifyEmbeddingDocument(document: EmbeddingDocument, signer?: Hex): Hex {
  const { receipt, id } = document;
  if (id !== idOf(receipt)) {
    throw new ReceiptDocumentError('ID_MISMATCH', `id: expected ${idOf(receipt)}, got ${id}`, { at: { field: 'id' } });
  }
  const { vectors: _unknown, ...known } = fieldsOf(document, []);
  verifyEmbeddingReceiptFields(receipt, known);
  const found = recoverEmbeddingSigner(receipt);
  if (signer !== undefined && found.toLowerCase() !== signer.toLowerCase()) {
    throw new ReceiptError('SIGNER_MISMATCH', `receipt.signature: expected ${signer}, got ${found}`, {
      at: { field: 'receipt.signature' },
    });
  }
  return found;
}

/**
 * Checks that a receipt is for these vectors.
 *
 * @throws {@link ReceiptError} `VECTORS_MISMATCH`
 */
export function verifyVectors(document: EmbeddingDocument, vectors: readonly (readonly number[])[]): void {
  verifyEmbeddingReceiptFields(document.receipt, { vectors: fieldsOf(document, vectors).vectors });
}

function fieldsOf({ receipt, request: asked, ids }: EmbeddingDocument, vectors: readonly (readonly number[])[]) {
  const { contract } = receipt;
  return computeEmbeddingReceiptFields({ chainId: BigInt(receipt.chainId), contract, request: asked, ids, vectors });
}

function idOf({ signature }: EmbeddingReceipt): string {
  return `rcpt_${toHex(sha256(fromHex(signature))).slice(2, 26)}`;
}
