/**
 * How long the set-up takes when there is nothing left to do: the price of `pretest` and `predemo` on every later run.
 *
 * @module
 */

import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { Measure } from '../support/bench.ts';

const ROUNDS = 9;

export async function run(): Promise<readonly Measure[]> {
  const bootstrap = fileURLToPath(new URL('../../agents/setup/bootstrap.mjs', import.meta.url));
  const times: number[] = [];
  // The first round may still fetch something; it is not counted.
  for (let round = 0; round <= ROUNDS; round++) {
    const startedAt = performance.now();
    const { status } = spawnSync(process.execPath, [bootstrap], { stdio: ['ignore', 'ignore', 'inherit'] });
    if (status !== 0) throw new Error(`set-up failed with exit code ${status}`);
    if (round > 0) times.push(performance.now() - startedAt);
  }
  times.sort((a, b) => a - b);
  return [
    { name: 'set-up with nothing to do, median', value: times[(ROUNDS - 1) / 2] ?? 0, unit: 'ms' },
    { name: 'set-up with nothing to do, slowest', value: times.at(-1) ?? 0, unit: 'ms' },
  ];
}
