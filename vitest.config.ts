import { defineConfig } from 'vitest/config';
import { LongestFirst } from './test/support/longest-first.ts';

const ALL = ['test/**/*.test.ts', 'test/**/*.fuzz.ts'];

/**
 * Files whose tests neither change their process (its environment, console, clock, listeners) nor measure it, and leave nothing
 * running: one process runs many of them and loads every module once. All others have a process of their own.
 */
const SHARING = [
  'test/agents/{description,guest-policy,zod-namespace}.test.ts',
  'test/agents/cli/{access-keys,conformance-ssrf,keys,wallet,wallet-config}.test.ts',
  'test/agents/models/spec.test.ts',
  'test/agents/sdk/{adapters,answer,context,definitions,mcp,tool-loop,types,wallet}.test.ts',
  'test/agents/setup/{dependencies,download,http-get,lock,lockfile,platform,progress,zip}.test.ts',
  'test/attest/{core,dispute,encoding,merkle,sign,trace,verify}/**/*.test.ts',
  'test/attest/bond/keystore.test.ts',
  'test/attest/bond/contracts/artifact.test.ts',
  'test/attest/inspector/{attacks,bundle-check,claims,evidence,line-map,report,search,server,summary,visible-text}.test.ts',
  'test/fuzz/*.fuzz.ts',
  'test/inference/!(child|check-campaign|main|model|scheduler|served-model|server|tokenizer-pinning).test.ts',
  'test/inference/{model-path,server}.test.ts',
  'test/inference/api/!(sse).test.ts',
  'test/inference/{float,models,onnx,openapi,receipts,routes,structured,tools}/*.test.ts',
  'test/inference/{gguf,safetensors}/!(hostile).test.ts',
  'test/inference/exact/!(batch-loop|engines|open-exact|quality|smollm2*).test.ts',
  'test/inference/exact/{reference,wasm}/*.test.ts',
  'test/inference/exact/ort/{graph-linter,parts,product-cases,product-graph}.test.ts',
  'test/image/dockerfile.test.ts',
  'test/package/contents.test.ts',
  'test/pins/readme-errors.test.ts',
  'test/readme/pages.test.ts',
  'test/runtime/api/{create,document,mcp-route}.test.ts',
  'test/runtime/mcp/!(runs).test.ts',
  'test/runtime/net/{address,destination}.test.ts',
  'test/runtime/sandbox/{frames,meter,meter-suite,metering-page,values,wasi,wire}.test.ts',
  'test/runtime/{journal,retention,secrets}.test.ts',
  'test/runtime/queue/metrics.test.ts',
  'test/runtime/telemetry/spans.test.ts',
  'test/runtime/wallet/{key,wallet}.test.ts',
  'test/runtime/!(http-fetch|journal*|manager*|metrics*|queue*|resume|retention*|secrets*).test.ts',
  'test/support/{bench,bfcl,gguf-requantise,openai-document}.test.ts',
];

export default defineConfig({
  test: {
    pool: 'forks',
    // One more than the two cores that the time limit is for: some tests wait most of their time, for processes, clocks and servers.
    maxWorkers: 3,
    testTimeout: 60_000,
    hookTimeout: 120_000,
    sequence: { sequencer: LongestFirst },
    projects: [
      { extends: true, test: { name: 'alone', include: ALL, exclude: SHARING } },
      { extends: true, test: { name: 'sharing', include: SHARING, isolate: false } },
    ],
  },
});
