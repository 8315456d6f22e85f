import { defineConfig } from 'vitest/config';
import { LongestFirst } from './test/support/longest-first.ts';

const ALL = ['test/**/*.test.ts', 'test/**/*.fuzz.ts'];

/**
 * Files whose tests neither change their process (its environment, console, clock, listeners) nor measure it, and leave nothing
 * running: one process runs many of them and loads every module once. All others have a process of their own.
 */
const SHARING = [
  'test/attest/{dispute,encoding,merkle,sign,trace,verify}/**/*.test.ts',
  'test/fuzz/*.fuzz.ts',
  'test/inference/!(child|check-campaign|main|model|scheduler|served-model|server|tokenizer-pinning).test.ts',
  'test/inference/api/!(sse).test.ts',
  'test/inference/{openapi,receipts,structured}/*.test.ts',
  'test/inference/{gguf,safetensors}/!(hostile).test.ts',
  'test/inference/exact/!(batch-loop|engines|exact-sequences|mean-hidden|open-exact|prefix-cache|quality|smollm2*).test.ts',
  'test/inference/exact/{reference,wasm}/*.test.ts',
  'test/runtime/mcp/!(runs).test.ts',
  'test/runtime/api/mcp-route.test.ts',
  'test/runtime/!(http-fetch|journal*|manager*|metrics*|queue*|resume|retention*|secrets*).test.ts',
];

export default defineConfig({
  test: {
    pool: 'forks',
    maxWorkers: 2,
    testTimeout: 60_000,
    hookTimeout: 120_000,
    sequence: { sequencer: LongestFirst },
    projects: [
      { extends: true, test: { name: 'alone', include: ALL, exclude: SHARING } },
      { extends: true, test: { name: 'sharing', include: SHARING, isolate: false } },
    ],
  },
});
