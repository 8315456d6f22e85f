import { expect, it } from 'vitest';
import { emptyReport, openKillBench, runKillGroup } from './kill-trials.ts';

it('runs go on after kill -9 with every effect done once (small form of the campaign `kill`)', async () => {
  const report = emptyReport();
  const bench = await openKillBench();
  try {
    await runKillGroup(bench, { seed: 20_261, kills: 10, runs: 5, effects: 9 }, report);
  } finally {
    await bench.close();
  }
  expect(report.failures).toEqual([]);
  expect(report).toMatchObject({ kills: 10, doubled: 0, lost: 0 });
  // A parent with two child runs is among them.
  expect(report.bundles).toBeGreaterThanOrEqual(7);
  expect(report.matches).toBe(report.bundles);
});
