/**
 * The order in which the files of tests are started: the longest first, so that no core waits at the end for a long file that began
 * last. The order is the same in a fresh clone as after any run.
 *
 * Only the order depends on the figures: a file that is missing here runs after those that are named, one that is gone harms nothing.
 *
 * @module
 */

import { relative } from 'node:path';
import { BaseSequencer, type TestSpecification } from 'vitest/node';

/** Seconds of the files that take more than four, on two busy cores; by path below `test/`, without the ending. */
const SECONDS: Readonly<Record<string, number>> = {
  'clients/libraries.test': 70,
  'attest/inspector/page.test': 50,
  'e2e/demo.test': 40,
  'inference/exact/smollm2.test': 25,
  'clients/hostile.test': 25,
  'e2e/browser.test': 22,
  'agents/setup/build.test': 20,
  'isa/isa.test': 20,
  'inference/exact/quality.test': 18,
  'support/kill-trials.test': 16,
  'runtime/resume.test': 16,
  'runtime/queue/commands.test': 16,
  'support/wallet-trials.test': 15,
  'runtime/mcp/conformance.test': 15,
  'agents/bundle.test': 15,
  'agents/cli/serve-runtime.test': 15,
  'inference/gguf/hostile.test': 14,
  'runtime/queue/redis-faults.test': 14,
  'runtime/sandbox/determinism.test': 12,
  'support/redis-trials.test': 11,
  'agents/sdk/runs.test': 11,
  'runtime/sandbox/process-pool.test': 11,
  'attest/bond/contracts/faults.test': 10,
  'inference/main.test': 10,
  'agents/examples/examples.test': 10,
  'attest/verify/verifier.test': 10,
  'inference/exact/ort/ort-decoder.test': 10,
  'inference/exact/batch-loop.test': 9,
  'agents/cli/check.test': 9,
  'inference/exact/engines.test': 9,
  'inference/tokenizer-pinning.test': 9,
  'e2e/prompt-injection.test': 9,
  'inference/completion-engine.test': 9,
  'inference/exact/request-batch.test': 8,
  'agents/cli/verify-embeddings.test': 8,
  'inference/exact/ort/web-partner.test': 8,
  'agents/cli/generate.test': 7,
  'inference/child.test': 7,
  'runtime/control.test': 7,
  'attest/bond/contracts/runs.test': 7,
  'inference/exact/self-test.test': 7,
  'runtime/wallet/runs.test': 7,
  'agents/cli/verify-receipt.test': 6,
  'inference/exact/reference/reference-decoder.test': 6,
  'inference/exact/wasm/wasm-decoder.test': 6,
  'inference/structured/trials.test': 6,
  'runtime/sandbox/meter-generated.test': 6,
  'agents/cli/conformance-guest.test': 6,
  'inference/model.test': 5,
  'inference/served-model.test': 5,
  'attest/verify/tamper.test': 5,
  'inference/structured/grammar.test': 5,
  'attest/bond/embedded.test': 5,
  'inference/exact/ort/product-test.test': 5,
  'attest/bond/contracts/bond.test': 5,
  'runtime/api/runs.test': 5,
};

/** Those that stand alone before those that share a process, then by {@link SECONDS}, then by name. */
export class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const keyed = files.map((file) => {
      const name = relative(this.ctx.config.root, file.moduleId).replaceAll('\\', '/');
      const seconds = SECONDS[name.replace(/^test\//, '').replace(/\.ts$/, '')] ?? 0;
      return { file, name, seconds, shares: file.project.config.isolate ? 0 : 1 };
    });
    keyed.sort((a, b) => a.shares - b.shares || b.seconds - a.seconds || (a.name < b.name ? -1 : 1));
    return keyed.map(({ file }) => file);
  }
}
