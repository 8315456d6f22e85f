/**
 * Generated modules here and under each of V8's compilers alone.
 *
 * @module
 */

import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { childEntry } from '../../attest/core/entry.ts';
import { tryModule } from './meter-trials.ts';

/** Flags of Node for each compiler alone. */
export const COMPILERS = ['--liftoff-only', '--no-liftoff'] as const;
/** Modules for one process. */
const CHUNK = 1000;

export type MeterTrials = {
  readonly failures: readonly string[];
  /** Calls that trapped by themselves, and modules that ran out of fuel where it was cut. */
  readonly traps: number;
  readonly stopped: number;
};

/** Runs `count` modules of a seed; every failure names the module, which `tryModule(seed, index)` makes again. */
export async function tryModules(seed: number, count: number): Promise<MeterTrials> {
  const failures: string[] = [];
  let traps = 0;
  let stopped = 0;
  for (let first = 0; first < count; first += CHUNK) {
    const size = Math.min(CHUNK, count - first);
    const here: string[] = [];
    for (let index = first; index < first + size; index++) {
      const trial = tryModule(seed, index);
      failures.push(...trial.failures);
      traps += trial.traps;
      stopped += trial.stopped;
      here.push(trial.digest);
    }
    for (const compiler of COMPILERS) {
      const there = await inChild(compiler, seed, first, size);
      for (const [i, digest] of here.entries()) {
        if (there[i] !== digest) failures.push(`module ${first + i} differs under ${compiler}`);
      }
    }
  }
  return { failures, traps, stopped };
}

async function inChild(flag: string, ...numbers: readonly number[]): Promise<string[]> {
  const { url, execArgv } = childEntry(import.meta.url, './meter-child.ts');
  const args = [flag, ...execArgv, fileURLToPath(url), ...numbers.map(String)];
  const { stdout } = await promisify(execFile)(process.execPath, args, {
    env: { ...process.env, NODE_OPTIONS: '' },
    maxBuffer: 1 << 24,
  });
  return JSON.parse(stdout) as string[];
}
