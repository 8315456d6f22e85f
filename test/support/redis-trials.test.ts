import { expect, it } from 'vitest';
import { runRedisTrial } from './redis-trials.ts';

it('runs on two workers outlive a killed server and a stopped worker (small form of the campaign `redis`)', async () => {
  const trial = { seed: 20_262, runs: 5, effects: 6, restarts: 1, stops: 1, kills: 0, lockMs: 500 };
  const { failures, ...report } = await runRedisTrial(trial);
  expect(failures).toEqual([]);
  expect(report).toMatchObject({ runs: 5, done: 5, doubled: 0, lost: 0, late: 0, restarts: 1, stops: 1 });
  // A parent with two child runs is among them.
  expect(report.bundles).toBeGreaterThanOrEqual(7);
  expect(report.matches).toBe(report.bundles);
  // Somebody else went on with a run.
  expect(report.claims).toBeGreaterThan(report.bundles);
});
