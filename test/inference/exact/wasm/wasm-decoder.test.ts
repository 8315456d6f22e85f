import { describe, expect, it } from 'vitest';
import { wasm } from '../../../../attest/core/webassembly.ts';
import type { ExactModel } from '../../../../inference/exact/exact-model.ts';
import { loadableModel } from '../../../../inference/exact/model-bytes.ts';
import { openReference } from '../../../../inference/exact/reference/reference-decoder.ts';
import { planMemory } from '../../../../inference/exact/wasm/memory-plan.ts';
import {
  type KernelThread,
  loadKernels,
  type StartThread,
  startNodeThread,
} from '../../../../inference/exact/wasm/threads.ts';
import { type LoadableModel, openWasmDecoder } from '../../../../inference/exact/wasm/wasm-decoder.ts';
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

describe('wasm at the limits of its memory', () => {
  // The file of this shape has 130 MiB, nearly all of them tables that nothing here reads.
  const shape = { ...randomExactModel({}).shape, layers: 1, embedding: 1, feedForward: 1 };
  const wide = { ...shape, heads: 64, kvHeads: 64, headSize: 256, vocabulary: 2, context: 131_072 };

  it('refuses caches whose bytes are beyond 2^32, and serves on', async () => {
    const decoder = await openWasmDecoder({ shape: wide, load() {} }, { module, startThread: startNodeThread });
    try {
      for (const capacity of [131_072, 65_536, 63_000]) {
        expect(() => decoder.openSequence(capacity)).toThrow(expect.objectContaining({ code: 'OUT_OF_MEMORY' }));
      }
      const sequence = decoder.openSequence(100);
      expect(decoder.forward([{ sequence, token: 1 }], [0])).toHaveLength(2);
    } finally {
      await decoder.close();
    }
  });
});

describe('wasm when a thread fails', () => {
  const model = randomExactModel({});

  it('is closed for every later call after a trap, with its cause', async () => {
    let memory: Uint8Array = new Uint8Array(0);
    const load: LoadableModel['load'] = (into, offset) => {
      memory = into;
      loadableModel(model).load(into, offset);
    };
    const options = { threads: 1, maxRows: 8, logitRows: 16, hostRows: 0 };
    const decoder = await openWasmDecoder(
      { shape: model.shape, load },
      { module, startThread: startNodeThread, ...options },
    );
    const sequence = decoder.openSequence(8);
    // Every matrix now lies outside the memory.
    const { command, rowTokens } = planMemory(model.shape, options);
    memory.fill(0xff, command + 320, rowTokens);
    const closed = expect.objectContaining({ code: 'ENGINE_CLOSED', cause: expect.any(wasm.RuntimeError) });
    expect(() => decoder.forward([{ sequence, token: 1 }], [0])).toThrow(closed);
    expect(() => decoder.forward([{ sequence, token: 1 }], [0])).toThrow(closed);
    expect(() => decoder.openSequence(8)).toThrow(closed);
    await decoder.close();
  });

  it('is closed at once where a thread has ended', async () => {
    const started: KernelThread[] = [];
    const startThread: StartThread = async (start) => {
      const thread = await startNodeThread(start);
      started.push(thread);
      return thread;
    };
    const decoder = await openWasmDecoder(loadableModel(model), { module, startThread, threads: 3 });
    const sequence = decoder.openSequence(8);
    decoder.forward([{ sequence, token: 1 }], [0]);
    await started[1]?.terminate();
    expect(() => decoder.forward([{ sequence, token: 1 }], [0])).toThrow(
      expect.objectContaining({ code: 'ENGINE_CLOSED' }),
    );
    await decoder.close();
  });

  it('ends the threads that did start where one does not', async () => {
    const ended: number[] = [];
    const startThread: StartThread = async (start) => {
      if (start.thread === 2) throw new Error('no such thread');
      return {
        terminate: async () => {
          ended.push(start.thread);
        },
      };
    };
    const opening = openWasmDecoder(loadableModel(model), { module, startThread, threads: 4 });
    await expect(opening).rejects.toThrow('no such thread');
    expect(ended).toEqual([1, 3]);
  });
});
