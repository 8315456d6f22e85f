/**
 * The binary32 engine in a bench. Its number of threads is fixed by its profile.
 *
 * @module
 */

import { readFileSync } from 'node:fs';
import { argmax } from '../../inference/decode.ts';
import { SESSION_SETTINGS } from '../../inference/session.ts';
import { answerBench, type BenchEngine, type BenchModel, EngineAbsent, twoGreatest } from './bench-engine.ts';
import { openGraph } from './open-graph.ts';

answerBench(openFloat);

async function openFloat({ path, cacheDir, threads }: BenchModel): Promise<BenchEngine> {
  if (threads !== SESSION_SETTINGS.threads) {
    throw new EngineAbsent(`float-same-isa computes with ${SESSION_SETTINGS.threads} threads alone`);
  }
  const graph = await openGraph(readFileSync(path), cacheDir);
  let sequence = graph.start();
  return {
    threads,
    async prefill(ids) {
      sequence = graph.start();
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
    close: () => graph.close(),
  };
}
