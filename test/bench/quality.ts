/**
 * What the exact form costs in quality: its logits beside those of the binary32 graph of the same file, on the text that the
 * project ships, in windows of 512 tokens that start empty. Both read the text; neither reads what it would have written.
 *
 * Nothing is kept between runs: the binary32 graph gives logits of one position at a time, which takes minutes.
 *
 * @module
 */

import { readFileSync } from 'node:fs';
import { ensureExactFile } from '../../inference/exact/exact-file.ts';
import { loadKernels, startNodeThread } from '../../inference/exact/wasm/threads.ts';
import { openWasmDecoder } from '../../inference/exact/wasm/wasm-decoder.ts';
import { openGgufSource } from '../../inference/gguf/gguf-source.ts';
import type { BenchResult } from '../support/bench.ts';
import { say, shippedModel } from '../support/bench-model.ts';
import { openGraph } from '../support/open-graph.ts';
import { compareReaders, exactReader, floatReader, qualityText, windowsOf } from '../support/quality.ts';

const WINDOW = 512;
const THREADS = 2;
const ROWS = 64;

export async function run(): Promise<BenchResult> {
  const model = shippedModel();
  const ids = model.encode(qualityText());
  const windows = windowsOf(ids, WINDOW);
  const source = openGgufSource(model.path);
  const file = await ensureExactFile(source, model.cache, say).finally(() => source.close());
  const decoder = await openWasmDecoder(file, {
    module: await loadKernels(),
    startThread: startNodeThread,
    threads: THREADS,
    maxRows: ROWS,
  });
  const graph = await openGraph(readFileSync(model.path), model.cache);
  try {
    const quality = await compareReaders(
      windows,
      exactReader(decoder, WINDOW),
      floatReader(() => graph.start()),
      (done) => say(`window ${done} of ${windows.length}`),
    );
    const { positions, perplexity, referencePerplexity, agreeing } = quality;
    return {
      measures: [
        { name: 'tokens of the text', value: ids.length, unit: 'tokens' },
        { name: 'positions compared', value: positions, unit: 'positions' },
        { name: 'exact, perplexity', value: perplexity, unit: 'a token' },
        { name: 'float-same-isa, perplexity', value: referencePerplexity, unit: 'a token' },
        { name: 'equal best token', value: agreeing, unit: `of ${positions} positions` },
        { name: 'equal best token, part', value: (100 * agreeing) / positions, unit: '%' },
        { name: 'mean KL(float-same-isa || exact)', value: quality.divergence, unit: 'nats' },
        { name: 'where they differ, median gap in float-same-isa', value: quality.gapOfDifferent, unit: 'logits' },
        { name: 'everywhere, median gap of its two best', value: quality.gapOfAll, unit: 'logits' },
      ],
      ratios: { perplexity: perplexity / referencePerplexity, agreement: agreeing / positions },
    };
  } finally {
    await decoder.close();
    await graph.close();
    file.close();
  }
}
