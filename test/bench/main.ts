/**
 * `npm run bench -- NAME [--json]`: runs `test/bench/NAME.ts` and prints its figures, with the machine they were taken on.
 *
 * @module
 */

import { availableParallelism, cpus } from 'node:os';
import { parseArgs } from 'node:util';
import type { Bench } from '../support/bench.ts';
import { listPrograms, loadProgram } from '../support/registry.ts';

const FOLDER = new URL('.', import.meta.url);

process.exitCode = await main(process.argv.slice(2));

async function main(args: string[]): Promise<number> {
  const options = readOptions(args);
  const bench = options && (await loadProgram<Bench>(FOLDER, options.name));
  if (options === undefined || bench === undefined) {
    if (options?.name) console.error(`no bench ${JSON.stringify(options.name)}`);
    console.error('usage: npm run bench -- NAME [--json]');
    console.error(`benches: ${listPrograms(FOLDER).join(', ')}`);
    return 2;
  }
  const result = await bench();
  const { measures, ratios } = 'measures' in result ? result : { measures: result, ratios: undefined };
  const machine = {
    cpu: cpus()[0]?.model ?? 'unknown',
    cores: availableParallelism(),
    node: process.versions.node,
    platform: `${process.platform} ${process.arch}`,
  };
  if (options.json) {
    console.log(JSON.stringify({ bench: options.name, machine, measures, ratios }));
    return 0;
  }
  console.log(
    `bench ${options.name} on ${machine.cpu}, ${machine.cores} cores, Node ${machine.node}, ${machine.platform}`,
  );
  for (const { name, value, unit } of measures) console.log(`  ${name}: ${Number(value.toPrecision(4))} ${unit}`);
  for (const [name, value] of Object.entries(ratios ?? {})) {
    console.log(`  ratio ${name}: ${value === null ? 'not measured' : Number(value.toPrecision(4))}`);
  }
  return 0;
}

function readOptions(args: string[]): { name: string; json: boolean } | undefined {
  try {
    const options = { json: { type: 'boolean', default: false } } as const;
    const { values, positionals } = parseArgs({ args, allowPositionals: true, options });
    return positionals.length > 1 ? undefined : { name: positionals[0] ?? '', json: values.json };
  } catch (error) {
    console.error(error instanceof Error ? error.message : String(error));
    return undefined;
  }
}
