/**
 * `npm run campaign -- NAME [--seed N] [--count N]`: runs `test/campaign/NAME.ts`. One summary line on standard output,
 * failures on standard error; exit code 1 on a failure or when no case ran, 2 on wrong use.
 *
 * @module
 */

import { parseArgs } from 'node:util';
import type { Campaign } from '../support/campaign.ts';
import { listPrograms, loadProgram } from '../support/registry.ts';

const FOLDER = new URL('.', import.meta.url);
const MAX_SHOWN = 20;
/** Cases of a campaign that names no other number. */
const COUNT = 1_000;
/** Campaigns whose cases are whole runs. */
const COUNTS: Readonly<Record<string, number>> = { redis: 100, wallet: 200 };

process.exitCode = await main(process.argv.slice(2));

async function main(args: string[]): Promise<number> {
  const options = readOptions(args);
  const campaign = options && (await loadProgram<Campaign>(FOLDER, options.name));
  if (options === undefined || campaign === undefined) {
    if (options?.name) console.error(`no campaign ${JSON.stringify(options.name)}`);
    console.error('usage: npm run campaign -- NAME [--seed N] [--count N]');
    console.error(`campaigns: ${listPrograms(FOLDER).join(', ')}`);
    return 2;
  }
  const startedAt = performance.now();
  const { cases, failures, summary } = await campaign(options);
  for (const failure of failures.slice(0, MAX_SHOWN)) console.error(`FAILED ${failure}`);
  if (failures.length > MAX_SHOWN) console.error(`... and ${failures.length - MAX_SHOWN} more`);
  const seconds = ((performance.now() - startedAt) / 1000).toFixed(1);
  console.log(
    `campaign ${options.name}: ${cases} cases, ${failures.length} failures, seed ${options.seed}, ${seconds} s: ${summary}`,
  );
  return cases > 0 && failures.length === 0 ? 0 : 1;
}

function readOptions(args: string[]): { name: string; seed: number; count: number } | undefined {
  try {
    const { values, positionals } = parseArgs({
      args,
      allowPositionals: true,
      options: { seed: { type: 'string', default: '1' }, count: { type: 'string' } },
    });
    const name = positionals[0] ?? '';
    const [seed, count] = [Number(values.seed), Number(values.count ?? COUNTS[name] ?? COUNT)];
    if (positionals.length > 1 || !Number.isSafeInteger(seed) || !Number.isSafeInteger(count) || count < 1) {
      return undefined;
    }
    return { name, seed, count };
  } catch (error) {
    console.error(error instanceof Error ? error.message : String(error));
    return undefined;
  }
}
