/**
 * Many machines: `count` runs on two worker processes that share a real Redis server, which is killed and started again, while workers are
 * stopped past their lock and woken, and killed. Every run is done, every bundle matches with its child runs, every effect happened once, and
 * no record is of a worker that had lost its claim.
 *
 * @module
 */

import type { CampaignOptions, CampaignResult } from '../support/campaign.ts';
import { runRedisTrial } from '../support/redis-trials.ts';

/** Runs of one trial: more would be no other. */
const MOST = 200;

export async function run({ seed, count }: CampaignOptions): Promise<CampaignResult> {
  const sums = new Map<string, number>();
  const failures: string[] = [];
  let cases = 0;
  for (let round = 0; cases < count; round++) {
    const runs = Math.min(MOST, count - cases);
    const often = Math.max(1, Math.round(runs / 30));
    const trial = { runs, effects: 12, restarts: often, stops: often, kills: often, lockMs: 1_500 };
    const { failures: failed, ...numbers } = await runRedisTrial({ ...trial, seed: (seed * 1_009 + round) >>> 0 });
    for (const [name, value] of Object.entries(numbers)) sums.set(name, (sums.get(name) ?? 0) + value);
    failures.push(...failed.map((failure) => `seed ${seed}, round ${round}: ${failure}`));
    cases += runs;
  }
  const of = (name: string) => sums.get(name) ?? 0;
  const summary =
    `${of('done')} of ${of('runs')} runs done over ${of('claims')} claims, Redis restarted ${of('restarts')} times, ` +
    `workers stopped ${of('stops')} (${of('taken')} runs taken from them, ${of('fenced')} writes refused) and killed ${of('kills')} times; ` +
    `${of('entries')} entries, ${of('late')} of a worker without its claim; ${of('effects')} effects, doubled ${of('doubled')}, ` +
    `lost ${of('lost')}, sent again ${of('repeated')}; ${of('matches')} of ${of('bundles')} bundles MATCH`;
  return { cases, failures, summary };
}
