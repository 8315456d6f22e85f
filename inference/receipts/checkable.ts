/**
 * A receipt of either kind, of an answer or of embeddings, as who checks it sees it: the same questions in the same order.
 *
 * @module
 */

import type { Hex } from '../../attest/core/bytes.ts';
import { isJsonObject } from '../../attest/encoding/canonical-json.ts';
import { diverged, type Outcome } from '../../attest/verify/outcome.ts';
import type { CheckingEngine } from '../engine.ts';
import { type Carried, compareAnswer } from './carrier.ts';
import { compareEmbeddingAnswer, compareSignedVectors, sumOf } from './embedding-answer.ts';
import {
  EMBEDDING_FORMAT,
  type EmbeddingDocument,
  parseEmbeddingDocument,
  verifyEmbeddingDocument,
} from './embedding-document.ts';
import { parseReceiptDocument, type ReceiptDocument, verifyReceiptDocument } from './receipt-document.ts';
import { recomputeReceipt } from './recheck.ts';
import { locateVector, recomputeEmbeddings } from './recheck-embeddings.ts';

/** What computes again. */
export type RecheckEngine = Pick<CheckingEngine, 'identity' | 'check' | 'embed'>;

/** What an answer says and its receipt does not. */
export type AnswerDifference = {
  readonly outcome: Outcome;
  /** Finds the place with a model, where the receipt alone cannot tell it; undefined if the model cannot either. */
  readonly locate: ((engine: RecheckEngine) => Promise<Outcome | undefined>) | null;
};

/** A receipt of either kind. Nothing of it is trusted, and `compareAround` and `recompute` want it verified first. */
export type Checkable = {
  readonly kind: 'output' | 'vectors';
  readonly id: string;
  readonly request: { readonly model: Hex; readonly profile: Hex; readonly engine: Hex };
  readonly promptTokens: number;
  readonly outputTokens: number;
  /** As `verifyReceiptDocument` and `verifyEmbeddingDocument`. */
  verify(signer?: Hex): Hex;
  /** The first thing that the answer around it says otherwise; undefined if there is none, or no answer. */
  compareAround(): AnswerDifference | undefined;
  /** As `recomputeReceipt` and `recomputeEmbeddings`. */
  recompute(engine: RecheckEngine, signal?: AbortSignal): Promise<Outcome>;
};

/**
 * Reads the document that a file carries, by its format.
 *
 * @param carried - untrusted
 * @throws {@link ReceiptDocumentError} `UNSUPPORTED_FORMAT`, `MALFORMED_DOCUMENT`
 */
export function readCheckable({ document, answer }: Carried): Checkable {
  const isEmbedding = isJsonObject(document) && document['format'] === EMBEDDING_FORMAT;
  return isEmbedding
    ? ofEmbeddings(parseEmbeddingDocument(document), answer)
    : ofAnswer(parseReceiptDocument(document), answer);
}

function ofAnswer(document: ReceiptDocument, answer: Carried['answer']): Checkable {
  const { id, request, promptIds, outputIds } = document;
  return {
    kind: 'output',
    id,
    request,
    promptTokens: promptIds.length,
    outputTokens: outputIds.length,
    verify: (signer) => verifyReceiptDocument(document, signer),
    compareAround() {
      if (answer === null) return undefined;
      if (answer.surface === 'embeddings') return plain(diverged('object', answer.surface, 'an answer of words'));
      return plain(compareAnswer(answer, document));
    },
    recompute: (engine, signal) => recomputeReceipt(engine, document, signal),
  };
}

function ofEmbeddings(document: EmbeddingDocument, answer: Carried['answer']): Checkable {
  const { id, request, ids } = document;
  const vectors = answer?.surface === 'embeddings' ? answer.vectors : null;
  return {
    kind: 'vectors',
    id,
    request,
    promptTokens: sumOf(ids),
    outputTokens: 0,
    verify: (signer) => verifyEmbeddingDocument(document, signer),
    compareAround() {
      if (answer === null) return undefined;
      if (answer.surface !== 'embeddings') return plain(diverged('object', answer.surface, 'embeddings'));
      const differs = compareEmbeddingAnswer(answer, document);
      if (differs !== undefined) return plain(differs);
      const outcome = compareSignedVectors(answer, document);
      if (outcome === undefined) return undefined;
      return { outcome, locate: (engine) => locateVector(engine, document, answer.vectors) };
    },
    recompute: (engine, signal) => recomputeEmbeddings(engine, document, vectors, signal),
  };
}

function plain(outcome: Outcome | undefined): AnswerDifference | undefined {
  return outcome === undefined ? undefined : { outcome, locate: null };
}
