/**
 * llama.cpp in a bench, through the token API of its binding for Node: no GPU, no flash attention, batches of 512.
 *
 * The binding is no dependency of this project (see `llama-cpp.ts`), so the few of its types that are used are written
 * here.
 *
 * @module
 */

import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { answerBench, type BenchEngine, type BenchModel, EngineAbsent, type Logit } from './bench-engine.ts';

const CONTEXT = 512;

type Token = number;

type Binding = { getLlama(options: object): Promise<Llama> };
type Llama = { loadModel(options: object): Promise<Model> };
type Model = { createContext(options: object): Promise<Context> };
type Context = { readonly currentThreads: number; getSequence(): Sequence };
type Sequence = {
  clearHistory(): Promise<void>;
  evaluateWithoutGeneratingNewTokens(tokens: Token[]): Promise<void>;
  evaluate(tokens: Token[], options: object): AsyncIterable<Token>;
  controlledEvaluate(
    input: (Token | [Token, object])[],
  ): Promise<({ next: { logits?: ReadonlyMap<Token, number> } } | undefined)[]>;
};

answerBench(openLlama);

async function openLlama({ path, threads, packages, wideCache = false }: BenchModel): Promise<BenchEngine> {
  if (packages === undefined) throw new EngineAbsent('llama.cpp is not installed');
  const entry = join(packages, 'node_modules', 'node-llama-cpp', 'dist', 'index.js');
  const { getLlama } = (await import(pathToFileURL(entry).href)) as Binding;
  const llama = await getLlama({
    gpu: false,
    build: 'never',
    skipDownload: true,
    maxThreads: threads,
    logLevel: 'error',
  });
  const model = await llama.loadModel({ modelPath: path, gpuLayers: 0 });
  const cacheType = wideCache ? 'F32' : 'F16';
  const context = await model.createContext({
    contextSize: CONTEXT,
    batchSize: CONTEXT,
    sequences: 1,
    threads: { ideal: threads, min: threads },
    flashAttention: false,
    experimentalKvCacheKeyType: cacheType,
    experimentalKvCacheValueType: cacheType,
  });
  const sequence = context.getSequence();
  return {
    threads,
    async prefill(ids) {
      await sequence.clearHistory();
      await sequence.evaluateWithoutGeneratingNewTokens([...ids]);
      if (context.currentThreads !== threads) throw new Error(`llama.cpp took ${context.currentThreads} threads`);
    },
    async decodeGreedy(ids, count) {
      const found: number[] = [];
      for await (const id of sequence.evaluate([...ids], { temperature: 0, yieldEogToken: true })) {
        found.push(id);
        if (found.length === count) break;
      }
      if (found.length !== count) throw new Error(`llama.cpp gave ${found.length} tokens of ${count}`);
      return found;
    },
    async topTwo(ids) {
      const wanted = { generateNext: { logits: { filter: { tokens: [], includeTop: 2 } } } };
      const last = ids.length - 1;
      const output = await sequence.controlledEvaluate(ids.map((id, at) => (at === last ? [id, wanted] : id)));
      const [first, second] = [...(output[last]?.next.logits ?? [])]
        .map(([id, logit]): Logit => ({ id, logit }))
        .sort((a, b) => b.logit - a.logit);
      if (first === undefined || second === undefined) throw new Error('llama.cpp gave no logits');
      return [first, second];
    },
  };
}
