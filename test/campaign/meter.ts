/**
 * The meter: generated modules do the same before and after it, and metered ones the same to the unit of fuel, also where it
 * ends, under each of V8's compilers. `count` modules.
 *
 * @module
 */

import type { CampaignOptions, CampaignResult } from '../support/campaign.ts';
import { COMPILERS, tryModules } from '../support/meter-tiers.ts';

export async function run({ seed, count }: CampaignOptions): Promise<CampaignResult> {
  const { failures, traps, stopped } = await tryModules(seed, count);
  const summary = `modules before and after, and under ${COMPILERS.join(' and ')}; ${traps} calls trapped, ${stopped} modules ran out of fuel`;
  return { cases: count, failures, summary };
}
