import { expect, it } from 'vitest';
import { emptyWalletReport, findStrangers, openWalletBench, runWalletGroup } from './wallet-trials.ts';

it('payments happen once over kill -9 at each of their places (small form of the campaign `wallet`)', async () => {
  const report = emptyWalletReport();
  const bench = await openWalletBench();
  const group = { seed: 20_263, kills: 6, runs: 3 };
  try {
    await runWalletGroup(bench, group, report);
    expect(await findStrangers(bench, [group])).toEqual([]);
  } finally {
    await bench.close();
  }
  expect(report.failures).toEqual([]);
  expect(report).toMatchObject({ kills: 6, runs: 3, doubled: 0, lost: 0, beyond: 0, bundles: 3, matches: 3 });
  expect(report.approvals).toBe(1);
  expect(report.expected).toBeGreaterThanOrEqual(15);
});
