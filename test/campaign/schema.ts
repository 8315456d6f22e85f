/**
 * Structured output: for every supported keyword, texts written by chance through the masks of schemas by chance satisfy
 * those schemas, within any budget that the shortest text fits. `count` texts for each keyword; one in four over the
 * vocabulary of SmolLM2 where it is here, the others over bytes.
 *
 * @module
 */

import type { CampaignOptions, CampaignResult } from '../support/campaign.ts';
import { seededRandom } from '../support/random.ts';
import { SCHEMAS_BY_KEYWORD } from '../support/random-schemas.ts';
import { tryKeyword, type Vocabulary } from '../support/schema-trials.ts';
import { openSmolLM2Vocabulary } from '../support/smollm2-vocabulary.ts';
import { byteMasks } from '../support/structured-generation.ts';

export async function run({ seed, count }: CampaignOptions): Promise<CampaignResult> {
  const bytes: Vocabulary = { masks: byteMasks(), tokens: (id) => (id < 256 ? Uint8Array.of(id) : null) };
  const model = openSmolLM2Vocabulary();
  const failures: string[] = [];
  const short: string[] = [];
  let cases = 0;
  const keywords = Object.keys(SCHEMAS_BY_KEYWORD);
  keywords.forEach((keyword, i) => {
    const random = seededRandom(seed * 1000 + i);
    const result = tryKeyword(keyword, count, random, model === undefined ? [bytes] : [bytes, bytes, bytes, model]);
    cases += result.cases;
    failures.push(...result.failures);
    if (result.cases < count) short.push(keyword);
  });
  for (const keyword of short) failures.push(`${keyword}: fewer than ${count} schemas that something satisfies`);
  const vocabulary = model === undefined ? 'bytes alone (the model is not here)' : 'bytes and SmolLM2';
  return { cases, failures, summary: `${keywords.length} keywords, ${count} texts each, over ${vocabulary}` };
}
