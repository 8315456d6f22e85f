import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { readEnvironment } from '../../../agents/cli/environment.ts';
import { ensureExactFile } from '../../../inference/exact/exact-file.ts';
import { loadKernels, startNodeThread } from '../../../inference/exact/wasm/threads.ts';
import { openWasmDecoder } from '../../../inference/exact/wasm/wasm-decoder.ts';
import { openGgufSource } from '../../../inference/gguf/gguf-source.ts';
import { openTokenizer } from '../../../inference/tokenizer.ts';

import { openGraph } from '../../support/open-graph.ts';
import {
  compareReaders,
  exactReader,
  floatReader,
  qualityText,
  type Reader,
  windowsOf,
} from '../../support/quality.ts';
import { describeSmolLM2 } from '../../support/smollm2.ts';
import { temporaryFolder } from '../../support/temporary.ts';

const TOKENS = 192;

/** Gives the same rows of logits after the same ids, whatever they are. */
function fixedReader(rows: readonly (readonly number[])[]): Reader {
  let at = 0;
  return {
    start() {
      at = 0;
    },
    async feed(ids) {
      at += ids.length;
      return rows.slice(at - ids.length, at).map((row) => Float32Array.from(row));
    },
  };
}

describe('compareReaders', () => {
  const half = Math.log(0.5);
  const quarter = Math.log(0.25);

  it('computes what a hand computes', async () => {
    const engine = fixedReader([
      [half, quarter, quarter],
      [quarter, half, quarter],
    ]);
    const reference = fixedReader([
      [half, quarter, quarter],
      [half, quarter, quarter],
    ]);
    const { perplexity, referencePerplexity, divergence, ...counts } = await compareReaders(
      [[1, 0, 0]],
      engine,
      reference,
    );
    expect(counts).toEqual({
      positions: 2,
      agreeing: 1,
      gapOfDifferent: expect.closeTo(Math.LN2),
      gapOfAll: expect.closeTo(Math.LN2),
    });
    expect(perplexity).toBeCloseTo(Math.sqrt(2 * 4));
    expect(referencePerplexity).toBeCloseTo(2);
    expect(divergence).toBeCloseTo((Math.LN2 / 2 - Math.LN2 / 4) / 2);
  });

  it('starts each window anew and reports it', async () => {
    const rows = [[0, quarter]];
    const done: number[] = [];
    const quality = await compareReaders(
      [
        [0, 0],
        [1, 0],
      ],
      fixedReader(rows),
      fixedReader(rows),
      (count) => done.push(count),
    );
    expect(done).toEqual([1, 2]);
    expect(quality).toMatchObject({ positions: 2, agreeing: 2, divergence: 0 });
    expect(quality.perplexity).toBe(quality.referencePerplexity);
  });

  it('leaves out a window of one id', () => {
    expect(windowsOf([1, 2, 3, 4, 5], 2)).toEqual([
      [1, 2],
      [3, 4],
    ]);
    expect(windowsOf([1, 2, 3, 4, 5], 3)).toEqual([
      [1, 2, 3],
      [4, 5],
    ]);
  });
});

describeSmolLM2('the exact form of SmolLM2', (path) => {
  it('foretells the text as well as the binary32 graph, or at most 1 % worse', async () => {
    const source = openGgufSource(path);
    const file = await ensureExactFile(source, readEnvironment().cache);
    const ids = openTokenizer(source.tokenizer).encodeText(qualityText()).slice(0, TOKENS);
    source.close();
    const decoder = await openWasmDecoder(file, { module: await loadKernels(), startThread: startNodeThread });
    file.close();
    const graph = await openGraph(readFileSync(path), temporaryFolder());
    try {
      const quality = await compareReaders(
        windowsOf(ids, TOKENS),
        exactReader(decoder, TOKENS),
        floatReader(() => graph.start()),
      );
      expect(quality.positions).toBe(TOKENS - 1);
      // Over so few positions chance alone moves the ratio by several percent: it is 0.970, and 1.00 over the whole text.
      expect(quality.perplexity / quality.referencePerplexity).toBeGreaterThan(0.95);
      expect(quality.perplexity / quality.referencePerplexity).toBeLessThan(1.01);
      expect(quality.agreeing / quality.positions).toBeGreaterThanOrEqual(0.9);
      expect(quality.divergence).toBeLessThan(0.01);
    } finally {
      await decoder.close();
      await graph.close();
    }
  }, 240_000);
});
