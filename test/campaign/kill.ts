/**
 * Durability: `kill -9` at `count` random moments over `count / 10` runs whose requests change a server that counts and
 * honours Idempotency-Key. Every run is done, no effect happened twice or never, every bundle matches with its child runs.
 *
 * Runs go five to a folder and process; agents with requests one after the other and side by side, tools that fail and that
 * run out of fuel, child runs, approvals that are answered from outside, races. One process in five has its guests behind
 * the wall of sandbox processes, the others in itself, on the same engine.
 *
 * @module
 */

import type { CampaignOptions, CampaignResult } from '../support/campaign.ts';
import { emptyReport, openKillBench, runKillGroup } from '../support/kill-trials.ts';

/** Runs of one folder. */
const RUNS = 5;
const KILLS_A_RUN = 10;
/** Requests of one run. */
const EFFECTS = 24;
/** Folders at a time. */
const LANES = 2;

export async function run({ seed, count }: CampaignOptions): Promise<CampaignResult> {
  const report = emptyReport();
  const bench = await openKillBench();
  try {
    const groups: { seed: number; kills: number; runs: number; effects: number }[] = [];
    for (let left = count; left > 0; left -= RUNS * KILLS_A_RUN) {
      const kills = Math.min(left, RUNS * KILLS_A_RUN);
      const runs = Math.max(1, Math.round(kills / KILLS_A_RUN));
      groups.push({ seed: (seed * 100_003 + groups.length) >>> 0, kills, runs, effects: EFFECTS });
    }
    const lane = async (): Promise<void> => {
      for (let group = groups.shift(); group !== undefined; group = groups.shift()) {
        await runKillGroup(bench, group, report);
      }
    };
    await Promise.all(Array.from({ length: LANES }, lane));
  } finally {
    await bench.close();
  }
  const after = [...report.after].sort((a, b) => b[1] - a[1]).map(([kind, times]) => `${kind} ${times}`);
  const summary =
    `${report.kills} kills (${report.walled} with sandbox processes; after ${after.join(', ')}), ${report.runs} runs, ` +
    `${report.effects} effects, doubled ${report.doubled}, lost ${report.lost}, sent again ${report.repeated}, ` +
    `${report.matches} of ${report.bundles} bundles MATCH`;
  return { cases: report.kills, failures: report.failures, summary };
}
