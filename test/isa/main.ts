/**
 * `npm run test:isa [-- --allow-missing] [--no-generate]`: the same digests on every CPU and by every compiler of V8, one line each.
 *
 * Exit code 0 if all tiers gave the golden digests, 1 if one did not, 2 for wrong options, 3 if all that ran did but some could not be run
 * (0 with `--allow-missing`).
 *
 * @module
 */

import { homedir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { readEnvironment } from '../../agents/cli/environment.ts';
import { RuntimeError } from '../../attest/core/error.ts';
import { resolveModelPath, SHIPPED_MODEL } from '../../inference/model-path.ts';
import { bundleProgram, ensureBuild, GOLDEN, runGenerate, runProgram, writeGenerate } from '../support/isa-program.ts';
import { findMachine, TIERS, type Tier, TierAbsent } from '../support/isa-tiers.ts';

process.exitCode = await main(process.argv.slice(2));

async function main(args: string[]): Promise<number> {
  let options: { readonly 'allow-missing': boolean; readonly 'no-generate': boolean };
  try {
    const boolean = { type: 'boolean', default: false } as const;
    options = parseArgs({ args, options: { 'allow-missing': boolean, 'no-generate': boolean } }).values;
  } catch (error) {
    console.error(error instanceof Error ? error.message : String(error));
    console.error('usage: npm run test:isa [-- --allow-missing] [--no-generate]');
    return 2;
  }
  const progress = (message: string) => console.error(message);
  const cache = join(readEnvironment().cache, 'isa');
  const program = await bundleProgram(cache);
  const generate = options['no-generate'] ? undefined : await prepareGenerate(cache, progress);
  console.log(`golden: program ${GOLDEN.program}${generate === undefined ? '' : `, generate ${GOLDEN.generate}`}`);
  let [isMissing, isWrong] = [generate === undefined && !options['no-generate'], false];
  for (const tier of TIERS) {
    try {
      const { line, isRight } = await runTier(tier, program, generate, cache, progress);
      console.log(`${tier.name}: ${line}`);
      isWrong ||= !isRight;
    } catch (fault) {
      const isAbsent = fault instanceof TierAbsent;
      console.log(
        `${tier.name}: ${isAbsent ? 'NOT RUN' : 'FAILED'}: ${fault instanceof Error ? fault.message : fault}`,
      );
      isMissing ||= isAbsent;
      isWrong ||= !isAbsent;
    }
  }
  if (isWrong) return 1;
  return isMissing && !options['allow-missing'] ? 3 : 0;
}

/** One line of what a tier gave. */
async function runTier(
  tier: Tier,
  program: string,
  generate: string | undefined,
  cache: string,
  progress: (message: string) => void,
): Promise<{ readonly line: string; readonly isRight: boolean }> {
  const machine = await findMachine(tier, cache, progress);
  const own = await runProgram(machine, program);
  if (tier.arch !== undefined && own.arch !== tier.arch) throw new Error(`ran on ${own.arch}`);
  const parts = [{ name: 'program', golden: GOLDEN.program as string, ...own }];
  if (generate !== undefined)
    parts.push({
      name: 'generate',
      golden: GOLDEN.generate,
      arch: own.arch,
      ...(await runGenerate(machine, generate)),
    });
  const lines = parts.map(({ name, golden, digest, seconds }) => {
    const verdict = digest === golden ? 'equal' : 'DIFFERENT';
    return `${name} ${digest} ${verdict}, ${seconds.toFixed(1)} s`;
  });
  return { line: lines.join('; '), isRight: parts.every(({ digest, golden }) => digest === golden) };
}

/** Builds the command; undefined, with a word about it, where the model is not here. */
async function prepareGenerate(cache: string, progress: (message: string) => void): Promise<string | undefined> {
  try {
    resolveModelPath(SHIPPED_MODEL.id, process.env, homedir());
  } catch (fault) {
    if (!RuntimeError.is(fault)) throw fault;
    console.log(`generate: NOT RUN: ${fault.message}`);
    return undefined;
  }
  await ensureBuild(progress);
  return writeGenerate(cache);
}
