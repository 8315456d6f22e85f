/**
 * Greedy text of `float-same-isa` beside llama.cpp on a binary32 GGUF of the same weights: how many of 64 tokens are equal
 * on each of three prompts, and at the first difference how near the two best tokens were in each engine.
 *
 * llama.cpp holds keys and values in binary32 here. Gaps are those of one prefill of prompt and common tokens, which may
 * differ in the last digits from those of the token by token run.
 *
 * @module
 */

import type { BenchResult, Measure } from '../support/bench.ts';
import { EngineAbsent } from '../support/bench-engine.ts';
import { say, shippedModel } from '../support/bench-model.ts';
import { BenchProcess } from '../support/bench-process.ts';
import { ensureGguf, ensureLlama } from '../support/llama-cpp.ts';

const TOKENS = 64;

const PROMPTS = [
  'The capital of France is',
  'Once upon a time, in a village by the sea, there lived a fisherman who',
  '<|im_start|>user\nExplain in three sentences why the sky is blue.<|im_end|>\n<|im_start|>assistant\n',
] as const;

export async function run(): Promise<readonly Measure[] | BenchResult> {
  const model = shippedModel();
  let packages: string;
  try {
    packages = await ensureLlama(model.cache, say);
  } catch (error) {
    if (!(error instanceof EngineAbsent)) throw error;
    say(`not measured: ${error.message}`);
    return [];
  }
  const wide = ensureGguf(model.path, model.name, 'F32', model.cache, say);
  const common = { cacheDir: model.cache };
  const float = await BenchProcess.start('own', { ...common, path: model.path, threads: 2, profile: 'float-same-isa' });
  try {
    const llama = await BenchProcess.start('llama', { ...common, path: wide, threads: 1, packages, wideCache: true });
    try {
      const measures: Measure[] = [];
      for (const [index, text] of PROMPTS.entries()) {
        const prompt = model.encode(text);
        const ours = (await float.decode(prompt, TOKENS)).ids;
        const theirs = (await llama.decode(prompt, TOKENS)).ids;
        const found = ours.findIndex((id, at) => id !== theirs[at]);
        const equal = found === -1 ? TOKENS : found;
        const name = `prompt ${index + 1} (${prompt.length} tokens)`;
        say(`${name}: ${JSON.stringify(model.decode(ours))}`);
        measures.push({ name: `${name}, equal tokens of ${TOKENS}`, value: equal, unit: 'tokens' });
        const path = [...prompt, ...ours.slice(0, found === -1 ? 0 : equal)];
        const where = found === -1 ? 'after the prompt' : 'at the first difference';
        for (const [engine, side] of [['float-same-isa', float] as const, ['llama.cpp', llama] as const]) {
          const [first, second] = await side.topTwo(path);
          say(`${name}, ${engine} ${where}: ${JSON.stringify([first, second])}`);
          measures.push({
            name: `${name}, ${engine}, gap ${where}`,
            value: first.logit - second.logit,
            unit: 'logits',
          });
        }
      }
      return measures;
    } finally {
      llama.close();
    }
  } finally {
    float.close();
  }
}
