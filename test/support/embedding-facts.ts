/**
 * Embeddings of three texts by the toy's identity, signed, and the body of an answer with them.
 *
 * @module
 */

import type { Json } from '../../attest/encoding/canonical-json.ts';
import { type EmbeddingFacts, signEmbeddingReceipt } from '../../attest/sign/embedding-receipt.ts';
import { NO_CONTRACT } from '../../attest/sign/receipt.ts';
import { toEmbeddingResponse } from '../../inference/api/embeddings.ts';
import { type EmbeddingDocument, toEmbeddingDocument } from '../../inference/receipts/embedding-document.ts';
import { TEST_KEY } from './receipt-facts.ts';
import { TOY_IDENTITY } from './toy-engine.ts';

const { model, profile, engine } = TOY_IDENTITY;

/** Six tokens and three vectors of two elements, all different. */
export const EMBEDDING_FACTS: EmbeddingFacts = {
  chainId: 0n,
  contract: NO_CONTRACT,
  request: { model, profile, engine, input: ['one', 'two', 'three'] },
  ids: [[1, 2], [3], [4, 5, 6]],
  vectors: [
    [1, 0],
    [0, -0.5],
    [Math.fround(0.6), Math.fround(0.8)],
  ],
};

/** The document of these facts, some of them others, signed with {@link TEST_KEY}. */
export function embeddingDocumentOf(
  changes: Partial<EmbeddingFacts> = {},
  key: Uint8Array = TEST_KEY,
): EmbeddingDocument {
  const facts = { ...EMBEDDING_FACTS, ...changes };
  return toEmbeddingDocument(facts, signEmbeddingReceipt(facts, key));
}

/** The body of an answer with these facts, as the server writes it. */
export function embeddingBodyOf(
  changes: Partial<EmbeddingFacts> = {},
  encoding: 'float' | 'base64' = 'float',
): { readonly [field: string]: Json } {
  const { ids, vectors } = { ...EMBEDDING_FACTS, ...changes };
  const receipt = embeddingDocumentOf(changes);
  return toEmbeddingResponse({ identity: TOY_IDENTITY, embeddings: { ids, vectors }, receipt }, encoding);
}
