import { describe, expect, it } from 'vitest';
import type { Json } from '../../../attest/encoding/canonical-json.ts';
import {
  computeVectorsDigest,
  type EmbeddingFacts,
  signEmbeddingReceipt,
} from '../../../attest/sign/embedding-receipt.ts';
import { NO_CONTRACT } from '../../../attest/sign/receipt.ts';
import { addressOf } from '../../../attest/sign/secp256k1.ts';
import {
  parseEmbeddingDocument,
  toEmbeddingDocument,
  verifyEmbeddingDocument,
  verifyVectors,
} from '../../../inference/receipts/embedding-document.ts';
import { TEST_KEY } from '../../support/receipt-facts.ts';
import { TOY_IDENTITY } from '../../support/toy-engine.ts';

const { model, profile, engine } = TOY_IDENTITY;
const FACTS: EmbeddingFacts = {
  chainId: 0n,
  contract: NO_CONTRACT,
  request: { model, profile, engine, input: ['one', 'two'] },
  ids: [[1, 2], [3]],
  vectors: [
    [1, 0],
    [0, -0.5],
  ],
};
const documentOf = (changes: Partial<EmbeddingFacts> = {}) =>
  toEmbeddingDocument(FACTS, signEmbeddingReceipt({ ...FACTS, ...changes }, TEST_KEY));
const DOCUMENT = documentOf();
const json = (value: unknown) => JSON.parse(JSON.stringify(value)) as Json;

describe('a receipt of embeddings', () => {
  it('is read back and passes', () => {
    const read = parseEmbeddingDocument(json(DOCUMENT));
    expect(read).toEqual(DOCUMENT);
    expect(verifyEmbeddingDocument(read)).toBe(addressOf(TEST_KEY));
    verifyEmbeddingDocument(read, addressOf(TEST_KEY));
    verifyVectors(read, FACTS.vectors);
  });

  it.each([
    ['request', { request: { ...FACTS.request, input: ['one', 'twp'] } }, 'REQUEST_MISMATCH'],
    ['model', { request: { ...FACTS.request, model: profile } }, 'MODEL_MISMATCH'],
    ['profile', { request: { ...FACTS.request, profile: model } }, 'PROFILE_MISMATCH'],
    ['engine', { request: { ...FACTS.request, engine: model } }, 'ENGINE_MISMATCH'],
    ['ids', { ids: [[1], [2, 3]] }, 'PROMPT_IDS_MISMATCH'],
  ])('refuses a receipt for another %s', (_, changes, code) => {
    expect(() => verifyEmbeddingDocument(documentOf(changes))).toThrow(expect.objectContaining({ code }));
  });

  it('refuses other vectors, another signer, another signature and another id', () => {
    const code = (expected: string) => expect.objectContaining({ code: expected });
    expect(() =>
      verifyVectors(DOCUMENT, [
        [1, 0],
        [0, 0.5],
      ]),
    ).toThrow(code('VECTORS_MISMATCH'));
    expect(() => verifyEmbeddingDocument(DOCUMENT, NO_CONTRACT)).toThrow(code('SIGNER_MISMATCH'));
    expect(() => verifyEmbeddingDocument({ ...DOCUMENT, id: 'rcpt_0' })).toThrow(code('ID_MISMATCH'));
    const receipt = { ...DOCUMENT.receipt, chainId: '5' };
    expect(verifyEmbeddingDocument({ ...DOCUMENT, receipt })).not.toBe(addressOf(TEST_KEY));
  });

  it.each([
    ['format', { format: 'tracebond/receipt@1' }],
    ['id', { id: 7 }],
    ['receipt.vectors', { receipt: { ...DOCUMENT.receipt, vectors: '0x' } }],
    ['request.input', { request: { ...DOCUMENT.request, input: [] } }],
    ['request.input.0', { request: { ...DOCUMENT.request, input: [''] } }],
    ['ids', { ids: [[1]] }],
    ['ids.1.0', { ids: [[1], [-1]] }],
    ['more', { more: 1 }],
  ])('refuses a wrong %s', (field, changes) => {
    expect(() => parseEmbeddingDocument(json({ ...DOCUMENT, ...changes }))).toThrow(
      expect.objectContaining({ code: 'MALFORMED_DOCUMENT', at: expect.objectContaining({ field }) }),
    );
  });

  it('refuses what is no object', () => {
    for (const value of [null, [], 'x', 1]) expect(() => parseEmbeddingDocument(value)).toThrow();
  });
});

describe('computeVectorsDigest', () => {
  it('tells where one vector ends and the next begins', () => {
    expect(computeVectorsDigest([[1, 2], [3]])).not.toEqual(computeVectorsDigest([[1], [2, 3]]));
    expect(computeVectorsDigest([[]])).not.toEqual(computeVectorsDigest([]));
  });

  it('refuses what is no finite binary32', () => {
    for (const value of [0.1, Number.NaN, Number.POSITIVE_INFINITY, 1e39]) {
      expect(() => computeVectorsDigest([[value]])).toThrow(RangeError);
    }
  });
});
