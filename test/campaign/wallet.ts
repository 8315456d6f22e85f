/**
 * Wallets: `count` runs that pay on a real chain (anvil), in processes that are killed (-9) between intent, checkpoint, log, send and
 * receipt, and at random moments, twice a run. Two processes at a time pay from the same wallets. At the end the chain itself is read,
 * block by block: every payment that was due happened once, none that a limit or a person forbade, nothing else; every bundle matches.
 *
 * @module
 */

import type { CampaignOptions, CampaignResult } from '../support/campaign.ts';
import {
  emptyWalletReport,
  findStrangers,
  openWalletBench,
  runWalletGroup,
  type WalletGroup,
} from '../support/wallet-trials.ts';

/** Runs of one folder. */
const RUNS = 10;
const KILLS_A_RUN = 2;
/** Folders at a time. */
const LANES = 2;

export async function run({ seed, count }: CampaignOptions): Promise<CampaignResult> {
  const report = emptyWalletReport();
  const groups: WalletGroup[] = [];
  for (let left = count; left > 0; left -= RUNS) {
    const runs = Math.min(left, RUNS);
    groups.push({ seed: (seed * 100_003 + groups.length) >>> 0, kills: runs * KILLS_A_RUN, runs });
  }
  const bench = await openWalletBench();
  try {
    const rest = [...groups];
    const lane = async (): Promise<void> => {
      for (let group = rest.shift(); group !== undefined; group = rest.shift()) {
        await runWalletGroup(bench, group, report);
      }
    };
    await Promise.all(Array.from({ length: LANES }, lane));
    const strangers = await findStrangers(bench, groups);
    report.beyond += strangers.length;
    report.failures.push(...strangers);
  } finally {
    await bench.close();
  }
  const after = [...report.after].sort((a, b) => b[1] - a[1]).map(([stage, times]) => `${stage} ${times}`);
  const summary =
    `${report.kills} kills (after ${after.join(', ')}), ${report.expected} payments due, ${report.forbidden} forbidden, ` +
    `${report.approvals} asked of a person, doubled ${report.doubled}, lost ${report.lost}, beyond a limit ${report.beyond}, ` +
    `${report.matches} of ${report.bundles} bundles MATCH`;
  return { cases: report.runs, failures: report.failures, summary };
}
