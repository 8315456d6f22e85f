import { describe, expect, it } from 'vitest';
import type { Embeddings } from '../../../inference/engine.ts';
import { InferenceError } from '../../../inference/errors.ts';
import {
  type EmbeddingEngine,
  locateVector,
  recomputeEmbeddings,
} from '../../../inference/receipts/recheck-embeddings.ts';
import { EMBEDDING_FACTS, embeddingDocumentOf } from '../../support/embedding-facts.ts';
import { TOY_IDENTITY } from '../../support/toy-engine.ts';

const { ids, vectors, request } = EMBEDDING_FACTS;
const GOOD = embeddingDocumentOf();
const other = `0x${'a'.repeat(64)}` as const;

/** An engine that knows the vectors of the facts' texts, or says what it is told. */
function engineOf(found: Partial<Embeddings> | Error = {}, identity = TOY_IDENTITY) {
  const asked: (readonly string[])[] = [];
  const engine: EmbeddingEngine = {
    identity,
    async embed(texts) {
      asked.push(texts);
      if (found instanceof Error) throw found;
      return { ids, vectors, ...found };
    },
  };
  return Object.assign(engine, { asked });
}
const changed = (at: number, vector: readonly number[]) => vectors.map((old, i) => (i === at ? vector : old));

describe('a receipt of embeddings', () => {
  it('of what the model gives matches; the model is asked for its texts', async () => {
    const engine = engineOf();
    expect(await recomputeEmbeddings(engine, GOOD, null)).toEqual({ verdict: 'MATCH' });
    expect(await recomputeEmbeddings(engine, GOOD, vectors)).toEqual({ verdict: 'MATCH' });
    expect(engine.asked).toEqual([request.input, request.input]);
  });

  it.each([
    ['another token', { ids: [[1, 2], [7], [4, 5, 6]] }, 'ids.1.0', '7', '3'],
    ['a token less', { ids: [[1, 2], [3], [4, 5]] }, 'ids.2.2', 'none', '6'],
    [
      'a token more',
      {
        ids: [
          [1, 2],
          [3, 9],
          [4, 5, 6],
        ],
      },
      'ids.1.1',
      '9',
      'none',
    ],
    ['tokens of another text', { ids: [[1], [2, 3], [4, 5, 6]] }, 'ids.0.1', 'none', '2'],
    ['no tokens', { ids: [[], [3], [4, 5, 6]] }, 'ids.0.0', 'none', '1'],
  ] as const)('with %s diverges', async (_, lie, field, claimed, recomputed) => {
    const found = await recomputeEmbeddings(engineOf(), embeddingDocumentOf(lie), null);
    expect(found).toEqual({ verdict: 'DIVERGED', field, claimed, recomputed });
  });

  it('with other vectors diverges, and names the element where somebody has them', async () => {
    for (const lie of [changed(1, [0, 0.5]), changed(1, [0]), changed(1, [0, -0.5, 0]), [[1, 0]], []]) {
      const document = embeddingDocumentOf({ vectors: lie });
      expect(await recomputeEmbeddings(engineOf(), document, null)).toEqual({
        verdict: 'DIVERGED',
        field: 'receipt.vectors',
        claimed: document.receipt.vectors,
        recomputed: GOOD.receipt.vectors,
      });
    }
    const lie = changed(1, [0, 0.5]);
    const named = await recomputeEmbeddings(engineOf(), embeddingDocumentOf({ vectors: lie }), lie);
    expect(named).toEqual({ verdict: 'DIVERGED', field: 'data.1.embedding.1', claimed: '0.5', recomputed: '-0.5' });
    const short = changed(2, []);
    const shorter = await recomputeEmbeddings(engineOf(), embeddingDocumentOf({ vectors: short }), short);
    expect(shorter).toMatchObject({ field: 'data.2.embedding.0', claimed: 'none' });
  });

  it('with a zero of the other sign diverges, though no element is told', async () => {
    const lie = changed(1, [-0, -0.5]);
    const found = await recomputeEmbeddings(engineOf(), embeddingDocumentOf({ vectors: lie }), lie);
    expect(found).toMatchObject({ verdict: 'DIVERGED', field: 'receipt.vectors' });
  });

  it('of texts that have no vectors diverges; of ones that this computer cannot compute it is not known', async () => {
    for (const code of ['PROMPT_EMPTY', 'PROMPT_TOO_LONG', 'REQUEST_MALFORMED'] as const) {
      const found = await recomputeEmbeddings(engineOf(new InferenceError(code, '')), GOOD, null);
      expect(found).toMatchObject({ verdict: 'DIVERGED', field: 'receipt.vectors', recomputed: code });
    }
    const infinite = engineOf({ vectors: changed(0, [Number.NaN, 0]) });
    expect(await recomputeEmbeddings(infinite, GOOD, null)).toMatchObject({
      verdict: 'DIVERGED',
      recomputed: 'no finite vector',
    });
    for (const code of ['OUT_OF_MEMORY', 'NUMERIC_FAULT', 'ENGINE_CLOSED', 'GRAPH_FAILED'] as const) {
      const found = await recomputeEmbeddings(engineOf(new InferenceError(code, '')), GOOD, null);
      expect(found).toEqual({ verdict: 'CANNOT_RECOMPUTE', code: 'HOST_FAULT' });
    }
    const cancelled = engineOf(new InferenceError('CANCELLED', ''));
    await expect(recomputeEmbeddings(cancelled, GOOD, null)).rejects.toMatchObject({ code: 'CANCELLED' });
    await expect(recomputeEmbeddings(engineOf(new TypeError()), GOOD, null)).rejects.toThrow(TypeError);
  });

  it.each([
    ['model', 'MODEL_NOT_AT_HAND'],
    ['profile', 'OTHER_NUMERICS'],
    ['engine', 'ENGINE_MISMATCH'],
  ] as const)('of another %s asks nothing', async (field, code) => {
    const engine = engineOf({}, { ...TOY_IDENTITY, [field]: other });
    expect(await recomputeEmbeddings(engine, GOOD, null)).toEqual({ verdict: 'CANNOT_RECOMPUTE', code });
    expect(await locateVector(engine, GOOD, changed(0, [0, 0]))).toBeUndefined();
    expect(engine.asked).toEqual([]);
  });
});

describe('the vector of an answer that was not signed', () => {
  it('is named by a model that gives the signed ones', async () => {
    const found = await locateVector(engineOf(), GOOD, changed(2, [Math.fround(0.6), 0]));
    expect(found).toMatchObject({ field: 'data.2.embedding.1', claimed: '0', recomputed: String(Math.fround(0.8)) });
    expect(await locateVector(engineOf(), GOOD, changed(0, []))).toMatchObject({ field: 'data.0.embedding.0' });
  });

  it('is not named by a model that gives others, or none', async () => {
    const lie = changed(0, [0, 1]);
    expect(await locateVector(engineOf({ vectors: lie }), GOOD, lie)).toBeUndefined();
    expect(await locateVector(engineOf({ vectors: changed(2, [1, 0]) }), GOOD, lie)).toBeUndefined();
    expect(await locateVector(engineOf(new InferenceError('OUT_OF_MEMORY', '')), GOOD, lie)).toBeUndefined();
  });
});
