import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ExactDecoder } from '../../../inference/exact/exact-decoder.ts';
import type { ExactModel } from '../../../inference/exact/exact-model.ts';
import { loadableModel } from '../../../inference/exact/model-bytes.ts';
import { loadNodeProducts } from '../../../inference/exact/ort/node-products.ts';
import { openReference } from '../../../inference/exact/reference/reference-decoder.ts';
import { loadKernels, startNodeThread } from '../../../inference/exact/wasm/threads.ts';
import { openWasmDecoder } from '../../../inference/exact/wasm/wasm-decoder.ts';
import { bundledOrtThread } from '../../support/bundled.ts';
import { seededRandom } from '../../support/random.ts';
import { randomExactModel } from '../../support/random-exact-model.ts';
import {
  answerAlone,
  answerTogether,
  type BatchAnswer,
  mixedRequests,
  ROW_ORDERS,
} from '../../support/request-batch.ts';

const REQUESTS = 32;
const LONGEST = 24;
/** All of them, padded. */
const MAX_ROWS = REQUESTS * LONGEST;

const module = await loadKernels();
const startOrtThread = bundledOrtThread();
const open = loadNodeProducts();

const wasm = (threads: number) => (model: ExactModel) =>
  openWasmDecoder(loadableModel(model), { module, startThread: startNodeThread, threads, maxRows: MAX_ROWS });
/** As it serves: one row by the kernels, several by ONNX Runtime, so that a short request alone is computed by another engine than in the batch. */
const ort = (threads: number) => (model: ExactModel) =>
  openWasmDecoder(loadableModel(model), {
    module,
    startThread: startOrtThread,
    threads,
    maxRows: MAX_ROWS,
    logitRows: 32,
    products: { from: 2, open },
  });

const ENGINES: readonly (readonly [name: string, (model: ExactModel) => Promise<ExactDecoder>])[] = [
  ['reference', async (model) => openReference(model, { maxRows: MAX_ROWS })],
  ['wasm on 1 thread', wasm(1)],
  ['wasm on 2 threads', wasm(2)],
  ['ort on 1 thread', ort(1)],
  ['ort on 2 threads', ort(2)],
];

const MODELS = [
  { name: 'biases and head norms', options: { biases: true, headNorms: true } },
  { name: 'extreme with everything', options: { extreme: true, biases: true, headNorms: true, separateOutput: true } },
  {
    name: 'heads of 20, odd extents',
    options: { heads: 3, kvHeads: 3, headSize: 20, embedding: 57, feedForward: 101 },
  },
] as const;

describe.each(MODELS)('32 requests of mixed lengths in one batch: $name', ({ options }) => {
  const model = randomExactModel(options);
  const { vocabulary } = model.shape;
  const requests = mixedRequests(seededRandom(23), { count: REQUESTS, longest: LONGEST, vocabulary });
  let expected: BatchAnswer[];
  beforeAll(() => {
    const reference = openReference(model, { maxRows: LONGEST });
    expected = requests.map((request) => answerAlone(reference, request));
  });

  it('have every length, and answers that differ', () => {
    expect(requests).toHaveLength(REQUESTS);
    expect(new Set(requests.map(({ prompt }) => prompt.length)).size).toBe(LONGEST);
    expect(new Set(expected.flatMap(({ logits }) => logits)).size).toBeGreaterThan(300);
    expect(new Set(expected.map(({ caches }) => caches[1])).size).toBe(REQUESTS);
  });

  describe.each(ENGINES)('%s', (_, openEngine) => {
    let decoder: ExactDecoder;
    beforeAll(async () => {
      decoder = await openEngine(model);
    });
    afterAll(() => decoder.close());

    it('gives each what the reference gives it alone', () => {
      expect(requests.map((request) => answerAlone(decoder, request))).toEqual(expected);
    });

    it.each(ROW_ORDERS.flatMap((order) => [0, LONGEST].map((padTo) => ({ order, padTo }))))(
      'gives each what it gets alone: $order, padded to $padTo',
      ({ order, padTo }) => {
        const random = seededRandom(29);
        expect(answerTogether(decoder, requests, { random, order, padTo })).toEqual(expected);
      },
    );
  });
});
