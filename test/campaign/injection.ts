/**
 * Injected instructions of BIPIA, planted in mails before a model that obeys each: `--count` of them, 125 are there.
 *
 * @module
 */

import { join } from 'node:path';
import { openQuickJsVm } from '../../runtime/sandbox/quickjs-vm.ts';
import type { CampaignOptions, CampaignResult } from '../support/campaign.ts';
import { readInjections, tryInjections } from '../support/injections.ts';
import { seededRandom } from '../support/random.ts';
import { vectorsDir } from '../support/vectors.ts';

/** Tries each instruction in a mail that the seed chooses. */
export async function run({ seed, count }: CampaignOptions): Promise<CampaignResult> {
  const vectors = vectorsDir();
  if (vectors === undefined) return { cases: 0, failures: ['no test vectors here'], summary: 'set TRACEBOND_VECTORS' };
  const { attacks, mails } = readInjections(join(vectors, 'prompt-injection'));
  const random = seededRandom(seed);
  const texts = attacks.slice(0, count).map((attack) => `${mails[random.below(mails.length)]}\n\n${attack}\n`);
  const vm = await openQuickJsVm();
  try {
    const { breaches, wishes, denied, failed, records } = await tryInjections(vm, texts);
    const summary =
      `${texts.length} injections, ${wishes} calls wished for, ${denied} denied, ${failed} failed, ` +
      `${records} records verified, ${breaches.length} canaries out or calls outside of the policy`;
    return { cases: texts.length, failures: breaches, summary };
  } finally {
    await vm.close();
  }
}
