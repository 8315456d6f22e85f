import { describe, expect, it } from 'vitest';
import type { ExactModel } from '../../../../inference/exact/exact-model.ts';
import { loadableModel } from '../../../../inference/exact/model-bytes.ts';
import { loadNodeProducts } from '../../../../inference/exact/ort/node-products.ts';
import type { OpenProduct } from '../../../../inference/exact/ort/products.ts';
import { openReference } from '../../../../inference/exact/reference/reference-decoder.ts';
import { loadKernels } from '../../../../inference/exact/wasm/threads.ts';
import { openWasmDecoder } from '../../../../inference/exact/wasm/wasm-decoder.ts';
import { bundledOrtThread } from '../../../support/bundled.ts';
import { exactDecoderSuite, expectSameBits, transcriptOf } from '../../../support/exact-decoder-suite.ts';
import { seededRandom } from '../../../support/random.ts';
import { EXACT_FAMILIES, randomExactModel, randomTokens } from '../../../support/random-exact-model.ts';

const module = await loadKernels();
const startOrtThread = bundledOrtThread();
const products = loadNodeProducts();

type Options = { readonly maxRows?: number; readonly threads?: number; readonly from?: number; open?: OpenProduct };

/** Every product of `from` rows and more goes through ONNX Runtime, one row too unless it says otherwise. */
function open(model: ExactModel, { from = 1, open = products, ...options }: Options = {}) {
  return openWasmDecoder(loadableModel(model), {
    module,
    startThread: startOrtThread,
    maxRows: 128,
    products: { from, open },
    ...options,
  });
}

exactDecoderSuite('ort', (model, options) => open(model, options));

describe('ort against the reference', () => {
  describe.each(EXACT_FAMILIES)('$name', ({ options }) => {
    const model = randomExactModel(options);
    const tokens = randomTokens(seededRandom(7), model.shape.vocabulary, (options.embedding ?? 0) > 1000 ? 10 : 72);

    it.each([1, 3])('gives the same hidden states, caches and logits on %i threads', async (threads) => {
      const expected = transcriptOf(openReference(model, { maxRows: 128 }), tokens, tokens.length);
      const decoder = await open(model, { threads });
      try {
        expect(decoder.name).toBe('ort');
        for (const chunk of [tokens.length, 7, 1]) expectSameBits(transcriptOf(decoder, tokens, chunk), expected);
      } finally {
        await decoder.close();
      }
    });
  });

  it.each([
    { heads: 1, kvHeads: 1, headSize: 2, embedding: 5 },
    { heads: 3, kvHeads: 1, headSize: 6, embedding: 45, feedForward: 35 },
    { heads: 5, kvHeads: 5, headSize: 10, embedding: 46, feedForward: 33 },
  ])('gives the same bits with biases where no matrix has a multiple of four rows: %j', async (shape) => {
    const model = randomExactModel({ ...shape, biases: true });
    const tokens = randomTokens(seededRandom(7), model.shape.vocabulary, 40);
    const expected = transcriptOf(openReference(model, { maxRows: 128 }), tokens, tokens.length);
    for (const threads of [1, 2]) {
      const decoder = await open(model, { threads });
      for (const chunk of [40, 7]) expectSameBits(transcriptOf(decoder, tokens, chunk), expected);
      await decoder.close();
    }
  });

  it('gives the same bits where the sums of a batch come in several calls, none of which fits exactly', async () => {
    // three parts of 1,536 rows beside each other: 21 1/3 rows of a batch fit, and 64 go in three calls
    const model = randomExactModel({ heads: 6, kvHeads: 6, headSize: 256, embedding: 33, layers: 1 });
    const tokens = randomTokens(seededRandom(7), model.shape.vocabulary, 65);
    const expected = transcriptOf(openReference(model, { maxRows: 128 }), tokens, tokens.length);
    const decoder = await open(model);
    for (const chunk of [65, 64, 43, 22, 21]) expectSameBits(transcriptOf(decoder, tokens, chunk), expected);
    await decoder.close();
  });

  it.each([false, true])('hands out limbs of 7 bits, of which all are met: extreme %s', async (extreme) => {
    const model = randomExactModel({ extreme, biases: true });
    const met = new Set<number>();
    const watching: OpenProduct = (...graph) => {
      const session = products(...graph);
      return {
        run(activations, ...rest) {
          for (const limb of activations) met.add(limb);
          session.run(activations, ...rest);
        },
        close: () => session.close(),
      };
    };
    const decoder = await open(model, { open: watching });
    transcriptOf(decoder, randomTokens(seededRandom(5), model.shape.vocabulary, 90), 90);
    await decoder.close();
    // pairs of products of more bits would not fit the 16 bits in which some CPUs add them
    expect([...met].sort((a, b) => a - b)).toEqual([...Array(128).keys()]);
  });

  it('gives the same bits whichever batches go through the runtime', async () => {
    const model = randomExactModel({ biases: true });
    const tokens = randomTokens(seededRandom(3), model.shape.vocabulary, 60);
    const expected = transcriptOf(openReference(model, { maxRows: 128 }), tokens, tokens.length);
    for (const from of [2, 7, 8, 61]) {
      let runs = 0;
      const counting: OpenProduct = (...graph) => {
        const session = products(...graph);
        return {
          run(...call) {
            runs += 1;
            session.run(...call);
          },
          close: () => session.close(),
        };
      };
      const decoder = await open(model, { from, open: counting });
      for (const chunk of [7, 1]) expectSameBits(transcriptOf(decoder, tokens, chunk), expected);
      expect(runs > 0).toBe(from <= 7);
      await decoder.close();
    }
  });

  it('is closed for every later call when the runtime fails, with its cause', async () => {
    let isBroken = false;
    const failing: OpenProduct = (...graph) => {
      const session = products(...graph);
      return {
        run(...call) {
          if (isBroken) throw new Error('no memory');
          session.run(...call);
        },
        close: () => session.close(),
      };
    };
    const decoder = await open(randomExactModel({}), { open: failing });
    const sequence = decoder.openSequence(8);
    decoder.forward([{ sequence, token: 1 }], [0]);
    isBroken = true;
    const closed = expect.objectContaining({ code: 'ENGINE_CLOSED', cause: new Error('no memory') });
    expect(() => decoder.forward([{ sequence, token: 1 }], [0])).toThrow(closed);
    isBroken = false;
    expect(() => decoder.forward([{ sequence, token: 1 }], [0])).toThrow(closed);
    await decoder.close();
  });

  it('opens nothing, and leaves no thread behind, where the runtime refuses a graph', async () => {
    let closed = 0;
    let opened = 0;
    const refusing: OpenProduct = (...graph) => {
      if (opened === 3) throw new Error('refused');
      opened += 1;
      const session = products(...graph);
      return {
        run: (...call) => session.run(...call),
        close() {
          closed += 1;
          session.close();
        },
      };
    };
    await expect(open(randomExactModel({}), { open: refusing, threads: 2 })).rejects.toThrow('refused');
    expect([opened, closed]).toEqual([3, 3]);
  });
});
