/**
 * Our own engines in a bench: the model is opened as the server opens it, and computed through one sequence.
 *
 * @module
 */

import { checkCompletion } from '../../inference/check.ts';
import { argmax, decodeFree } from '../../inference/decode.ts';
import { openModel } from '../../inference/model.ts';
import { SHIPPED_MODEL } from '../../inference/model-path.ts';
import { answerBench, type BenchEngine, type BenchModel, EngineAbsent, twoGreatest } from './bench-engine.ts';

/** Positions of the one sequence. */
const CAPACITY = 512;

answerBench(openOwn);

async function openOwn({ path, cacheDir, threads, profile = 'exact' }: BenchModel): Promise<BenchEngine> {
  // Every prompt is computed: nothing is kept of the one before.
  const options = { path, id: SHIPPED_MODEL.id, cacheDir, profile, threads, prefixCache: false };
  const model = await openModel(options);
  const { sequences, threads: taken } = model;
  const { description, decode } = model.tokenizer;
  const endless = { decode, description: { ...description, endIds: [] } };
  if (taken !== threads) throw new EngineAbsent(`${profile} computes with ${taken} threads, not with ${threads}`);
  let sequence = sequences.open(CAPACITY);
  return {
    threads,
    async prefill(ids) {
      sequence.close();
      sequence = sequences.open(CAPACITY);
      await sequence.feed(ids);
    },
    async decodeGreedy(ids, count) {
      const found: number[] = [];
      let next = ids;
      while (found.length < count) {
        const id = argmax(await sequence.feed(next));
        found.push(id);
        next = [id];
      }
      return found;
    },
    async make(prompt, count) {
      const own = sequences.open(prompt.length + count);
      try {
        return (await decodeFree(own, prompt, { maxTokens: count, endIds: [] })).ids;
      } finally {
        own.close();
      }
    },
    async check(promptIds, outputIds) {
      const claim = { promptIds, outputIds, maxTokens: outputIds.length, hashLogits: false };
      const { firstWrong } = await checkCompletion({ ...model, tokenizer: endless }, claim);
      if (firstWrong !== null) throw new Error(`token ${firstWrong.index} of the output is wrong`);
    },
    topTwo: async (ids) => twoGreatest(await sequence.feed(ids)),
  };
}
