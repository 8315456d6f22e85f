/**
 * `npm run test:isa [-- --allow-missing] [--no-generate]`: the same digests by every engine, on every CPU and by every compiler of V8, one line each.
 *
 * Exit code 0 if all gave the golden digests, 1 if one did not, 2 for wrong options, 3 if all that ran did but some could not be run (0 with
 * `--allow-missing`).
 *
 * @module
 */

import { homedir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { readEnvironment } from '../../agents/cli/environment.ts';
import { RuntimeError } from '../../attest/core/error.ts';
import { resolveModelPath, SHIPPED_MODEL } from '../../inference/model-path.ts';
import {
  bundleProgram,
  ensureBuild,
  GOLDEN,
  type IsaResult,
  ProgramFailed,
  runGenerate,
  runLibrary,
  runProgram,
  writeGenerate,
} from '../support/isa-program.ts';
import { findMachine, type Machine, TIERS, type Tier, TierAbsent } from '../support/isa-tiers.ts';

process.exitCode = await main(process.argv.slice(2));

/** How one line ended. */
type Verdict = 'right' | 'wrong' | 'missing';

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
  const program = await bundleProgram(join(cache, 'program'));
  const generate = options['no-generate'] ? undefined : await prepareGenerate(cache, progress);
  console.log(`golden: program ${GOLDEN.program}${generate === undefined ? '' : `, generate ${GOLDEN.generate}`}`);
  const verdicts: Verdict[] = generate === undefined && !options['no-generate'] ? ['missing'] : [];
  for (const tier of TIERS) {
    const say = async (what: string, body: () => Promise<{ readonly line: string; readonly isRight: boolean }>) => {
      const [line, verdict] = await body().then(
        ({ line, isRight }) => [line, isRight ? 'right' : 'wrong'] as const,
        told,
      );
      console.log(`${tier.name}: ${what}${line}`);
      verdicts.push(verdict);
    };
    let machine: Machine;
    try {
      machine = await findMachine(tier, cache, progress);
    } catch (fault) {
      await say('', () => Promise.reject(fault));
      continue;
    }
    if (tier.isOnlyProducts !== true) {
      const run = () => runProgram(machine, program, 'kernels').then((own) => ofArchitecture(own, tier));
      await say('reference and wasm: program ', async () => judged(await run(), GOLDEN.program));
      if (generate !== undefined) {
        const command = () => runGenerate(machine, generate, 'wasm');
        await say('wasm: generate ', async () => judged(await command(), GOLDEN.generate));
      }
    }
    const library = await runLibrary(machine, program).catch((fault: unknown) => fault);
    if (typeof library !== 'string') {
      await say('ort: ', () => Promise.reject(library));
      continue;
    }
    await say(`ort (${library}): program `, () => runProducts(machine, program, tier));
    // What does not compute right is left out, and then the kernels answer.
    const engine = tier.isRefused === true ? 'auto' : 'ort';
    if (generate !== undefined && (tier.isOnlyProducts !== true || tier.isRefused === true)) {
      const command = () => runGenerate(machine, generate, engine);
      await say(`${engine}: generate `, async () => judged(await command(), GOLDEN.generate));
    }
  }
  if (verdicts.includes('wrong')) return 1;
  return verdicts.includes('missing') && !options['allow-missing'] ? 3 : 0;
}

/** The golden digest, or where ONNX Runtime is known to compute wrong sums the self-test's refusal. */
async function runProducts(
  machine: Machine,
  program: string,
  tier: Tier,
): Promise<{ readonly line: string; readonly isRight: boolean }> {
  try {
    return judged(ofArchitecture(await runProgram(machine, program, 'ort'), tier), GOLDEN.program);
  } catch (fault) {
    if (tier.isRefused === true && fault instanceof ProgramFailed && fault.message.includes('SELF_TEST_FAILED')) {
      return { line: `LEFT OUT by its self-test, which must not serve here: ${fault.message}`, isRight: true };
    }
    throw fault;
  }
}

function judged({ digest, seconds }: Omit<IsaResult, 'arch'>, golden: string) {
  const isRight = digest === golden;
  return { line: `${digest} ${isRight ? 'equal' : 'DIFFERENT'}, ${seconds.toFixed(1)} s`, isRight };
}

function ofArchitecture(result: IsaResult, { arch }: Tier): IsaResult {
  if (arch !== undefined && result.arch !== arch) throw new Error(`ran on ${result.arch}`);
  return result;
}

function told(fault: unknown): readonly [string, Verdict] {
  const isAbsent = fault instanceof TierAbsent;
  return [
    `${isAbsent ? 'NOT RUN' : 'FAILED'}: ${fault instanceof Error ? fault.message : fault}`,
    isAbsent ? 'missing' : 'wrong',
  ];
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
