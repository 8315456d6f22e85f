/**
 * The exact engine in a bench.
 *
 * @module
 */

import { argmax } from '../../inference/decode.ts';
import type { ExactDecoder } from '../../inference/exact/exact-decoder.ts';
import { answerBench, type BenchEngine, type BenchModel, EngineAbsent, twoGreatest } from './bench-engine.ts';

/** Positions of the one sequence. */
const CAPACITY = 512;

answerBench(async (model) => decoderEngine(await openDecoder(model), model.threads));

/** Opens the wasm engine on the model's exact form, from the disk cache where it is there. */
async function openDecoder(_model: BenchModel): Promise<ExactDecoder> {
  throw new EngineAbsent('this version opens no exact engine');
}

function decoderEngine(decoder: ExactDecoder, threads: number): BenchEngine {
  const sequence = decoder.openSequence(CAPACITY);
  /** Appends ids, as many rows at once as the engine takes; logits after the last. */
  const feed = (ids: readonly number[]): Float32Array => {
    let logits = new Float32Array(0);
    for (let at = 0; at < ids.length; at += decoder.maxRows) {
      const rows = ids.slice(at, at + decoder.maxRows).map((token) => ({ sequence, token }));
      const isLast = at + rows.length === ids.length;
      logits = Float32Array.from(decoder.forward(rows, isLast ? [rows.length - 1] : []));
    }
    return logits;
  };
  return {
    threads,
    prefill(ids) {
      decoder.truncate(sequence, 0);
      feed(ids);
    },
    async decodeGreedy(ids, count) {
      const found: number[] = [];
      let next = ids;
      while (found.length < count) {
        const id = argmax(feed(next));
        found.push(id);
        next = [id];
      }
      return found;
    },
    topTwo: async (ids) => twoGreatest(feed(ids)),
    close: () => decoder.close(),
  };
}
