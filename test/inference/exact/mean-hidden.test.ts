import { describe, expect, it, vi } from 'vitest';
import type { ExactDecoder } from '../../../inference/exact/exact-decoder.ts';
import { embeddingsOf } from '../../../inference/exact/mean-hidden.ts';
import { loadableModel } from '../../../inference/exact/model-bytes.ts';
import { openReference } from '../../../inference/exact/reference/reference-decoder.ts';
import { normalise } from '../../../inference/exact/reference/row-operations.ts';
import { loadKernels, startNodeThread } from '../../../inference/exact/wasm/threads.ts';
import { openWasmDecoder } from '../../../inference/exact/wasm/wasm-decoder.ts';
import { randomExactModel } from '../../support/random-exact-model.ts';

const model = randomExactModel({});
const gain = Float32Array.from({ length: model.shape.embedding }, (_, i) => 0.5 + i / 100);
const ids = [1, 2, 3, 4, 5, 6, 7];

/** The mean by its definition, one token at a time. */
function meanOneByOne(decoder: ExactDecoder): Float32Array {
  const { layers, embedding, epsilon } = model.shape;
  const sequence = decoder.openSequence(ids.length);
  const sums = new Float64Array(embedding);
  for (const token of ids) {
    decoder.forward([{ sequence, token }], [], (layer, hidden) => {
      if (layer !== layers - 1) return;
      normalise(hidden.slice(), gain, epsilon).forEach((value, k) => {
        sums[k] = (sums[k] as number) + value;
      });
    });
  }
  decoder.closeSequence(sequence);
  return Float32Array.from(sums, (sum) => sum / ids.length);
}

describe('the mean hidden state', () => {
  it('is the same in parts of any size, and of any engine', async () => {
    const expected = meanOneByOne(openReference(model));
    for (const maxRows of [1, 2, 5, 64]) {
      const { embed } = embeddingsOf(openReference(model, { maxRows }), gain);
      expect(await embed(ids)).toEqual(expected);
    }
    const module = await loadKernels();
    const kernels = { module, startThread: startNodeThread, threads: 2, maxRows: 4 };
    const decoder = await openWasmDecoder(loadableModel(model), kernels);
    try {
      expect(await embeddingsOf(decoder, gain).embed(ids)).toEqual(expected);
      expect(await embeddingsOf(decoder, gain).embed([...ids].reverse())).not.toEqual(expected);
    } finally {
      await decoder.close();
    }
  });

  it('lets the event loop have its turn before each part', async () => {
    const decoder = openReference(model, { maxRows: 1 });
    const forward = vi.spyOn(decoder, 'forward');
    const turns = new Set<number>();
    let isDone = false;
    const watch = () => {
      turns.add(forward.mock.calls.length);
      if (!isDone) setImmediate(watch);
    };
    setImmediate(watch);
    await embeddingsOf(decoder, gain).embed(ids);
    isDone = true;
    expect(turns.size).toBeGreaterThanOrEqual(ids.length);
  });

  it('gives its room back, also where it was cancelled', async () => {
    const decoder = openReference(model, { maxRows: 2 });
    const open = vi.spyOn(decoder, 'openSequence');
    const { embed } = embeddingsOf(decoder, gain);
    await embed(ids);
    await expect(embed(ids, AbortSignal.abort())).rejects.toMatchObject({ code: 'CANCELLED' });
    const handles = open.mock.results.map(({ value }) => value as number);
    expect(handles).toHaveLength(2);
    for (const handle of handles) expect(() => decoder.lengthOf(handle)).toThrow();
  });
});
