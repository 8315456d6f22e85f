import { describe, expect, it } from 'vitest';
import type { ExactModel } from '../../../../inference/exact/exact-model.ts';
import { loadableModel } from '../../../../inference/exact/model-bytes.ts';
import { openReference } from '../../../../inference/exact/reference/reference-decoder.ts';
import { loadKernels, startNodeThread } from '../../../../inference/exact/wasm/threads.ts';
import { openWasmDecoder } from '../../../../inference/exact/wasm/wasm-decoder.ts';
import { exactDecoderSuite, expectSameBits, transcriptOf } from '../../../support/exact-decoder-suite.ts';
import { seededRandom } from '../../../support/random.ts';
import { EXACT_FAMILIES, randomExactModel, randomTokens } from '../../../support/random-exact-model.ts';

const module = await loadKernels();

function open(model: ExactModel, options: { readonly maxRows?: number; readonly threads?: number } = {}) {
  return openWasmDecoder(loadableModel(model), { module, startThread: startNodeThread, maxRows: 128, ...options });
}

exactDecoderSuite('wasm', (model, options) => open(model, options));

describe('wasm against the reference', () => {
  describe.each(EXACT_FAMILIES)('$name', ({ options }) => {
    const model = randomExactModel(options);
    const tokens = randomTokens(seededRandom(7), model.shape.vocabulary, (options.embedding ?? 0) > 1000 ? 10 : 72);

    it.each([1, 2, 4])('gives the same hidden states, caches and logits on %i threads', async (threads) => {
      const expected = transcriptOf(openReference(model, { maxRows: 128 }), tokens, tokens.length);
      const decoder = await open(model, { threads });
      try {
        for (const chunk of [tokens.length, 7, 1]) expectSameBits(transcriptOf(decoder, tokens, chunk), expected);
      } finally {
        await decoder.close();
      }
    });
  });

  it('refuses no threads, and more than it can number', async () => {
    const model = randomExactModel({});
    for (const threads of [0, 65, 1.5]) await expect(open(model, { threads })).rejects.toThrow(RangeError);
  });
});
