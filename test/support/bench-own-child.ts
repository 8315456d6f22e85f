/**
 * Our own engines in a bench: the model is opened as the server opens it, and computed through one sequence.
 *
 * @module
 */

import { argmax } from '../../inference/decode.ts';
import { openModel } from '../../inference/model.ts';
import { SHIPPED_MODEL } from '../../inference/model-path.ts';
import { answerBench, type BenchEngine, type BenchModel, EngineAbsent, twoGreatest } from './bench-engine.ts';

/** Positions of the one sequence. */
const CAPACITY = 512;

answerBench(openOwn);

async function openOwn({ path, cacheDir, threads, profile = 'exact' }: BenchModel): Promise<BenchEngine> {
  const { sequences, threads: taken } = await openModel({ path, id: SHIPPED_MODEL.id, cacheDir, profile, threads });
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
    topTwo: async (ids) => twoGreatest(await sequence.feed(ids)),
  };
}
