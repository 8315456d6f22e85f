/**
 * `tracebond verify`: one bundle or a folder of them, four verdicts, four exit codes.
 *
 * @module
 */

import { createReadStream } from 'node:fs';
import { open, readdir, readFile, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { type Command, Option } from 'commander';
import type { Hex } from '../../attest/core/bytes.ts';
import { RuntimeError } from '../../attest/core/error.ts';
import { verifyChildren } from '../../attest/verify/child-bundles.ts';
import { noTrust, parseTrustFile, type Trust, trustOperators, trustSigner } from '../../attest/verify/trust.ts';
import { EXIT_CODES, type Verdict, type VerifyReport, worseVerdict } from '../../attest/verify/verdict.ts';
import { verifyBundle } from '../../attest/verify/verifier.ts';
import type { ProfileName } from '../../inference/engine.ts';
import { type ChainTrust, openChainTrust } from './chain-trust.ts';
import { type Environment, readEnvironment, trustPath } from './environment.ts';
import { type OpenExecutor, openExecutor } from './executor.ts';
import { printReport } from './verify-report.ts';

export type VerifyUsageCode = 'NO_SUCH_BUNDLE' | 'NO_BUNDLES' | 'BAD_OPTION';

/** The command was called wrongly; exit code 1. */
export class VerifyUsageError extends RuntimeError<VerifyUsageCode> {
  override readonly name = 'VerifyUsageError';
}

type Options = {
  readonly structure?: true;
  readonly signer?: string;
  readonly rpc?: string;
  readonly contract?: string;
  readonly model?: string;
  readonly profile: ProfileName;
  readonly json?: true;
};

/** Adds `verify` to a program. `exit` receives the exit code of the worst verdict. */
export function registerVerify(program: Command, exit: (code: number) => void): void {
  program
    .command('verify')
    .description('check a trace: structure, signatures, and every recomputable step by executing it again')
    .argument('<bundle>', 'a .trace file, or a folder of them')
    .option('--structure', 'check encoding, order, hashes and signatures only; at best CANNOT_RECOMPUTE')
    .option('--signer <address>', 'trust this operator')
    .option('--rpc <url>', 'read the operator from a chain; "embedded" starts the local one from its state')
    .option('--contract <address>', 'the bond contract on that chain')
    .option('--model <name>', 'model id or GGUF file to recompute inferences with')
    .addOption(
      new Option('--profile <name>', 'numerics of the runs to verify')
        .choices(['exact', 'float-same-isa'])
        .default('exact'),
    )
    .option('--json', 'one JSON object per bundle on standard output')
    .action(async (path: string, options: Options) => {
      exit(EXIT_CODES[await verifyPaths(path, options)]);
    });
}

async function verifyPaths(path: string, options: Options): Promise<Verdict> {
  const environment = readEnvironment();
  const files = await listBundles(path);
  const { trust, close } = await openTrust(environment, options);
  let opened: OpenExecutor | undefined;
  let worst: Verdict = 'MATCH';
  try {
    if (options.structure !== true) {
      opened = await openExecutor(environment, options.model, (message) => console.error(message), options.profile);
    }
    for (const file of files) {
      const report = await verifyFile(file, trust, opened);
      if (options.json === true) console.log(JSON.stringify({ file, ...report }));
      else printReport(file, report);
      worst = worseVerdict(worst, report.verdict);
    }
  } finally {
    await opened?.close();
    await close();
  }
  return worst;
}

/**
 * Verifies one file.
 *
 * @throws {@link VerifyUsageError} `NO_SUCH_BUNDLE`: the file cannot be read
 */
export async function verifyFile(file: string, trust: Trust, opened: OpenExecutor | undefined): Promise<VerifyReport> {
  const now = () => performance.now();
  const ports = opened === undefined ? { trust, now } : { trust, now, executor: opened.executor };
  const children = verifyChildren(ports, (run) => findBeside(file, run));
  const source = createReadStream(file, { highWaterMark: 1 << 18 });
  try {
    return await verifyBundle({ ...ports, children }, source);
  } catch (cause) {
    if (source.errored === null) throw cause;
    throw new VerifyUsageError(
      'NO_SUCH_BUNDLE',
      `${file} cannot be read (${(source.errored as NodeJS.ErrnoException).code})`,
      { at: { path: file }, cause },
    );
  }
}

/** The bundle of a child run, `ID.trace` beside that of its parent, where it is. */
async function findBeside(file: string, run: Hex): Promise<AsyncIterable<Uint8Array> | undefined> {
  const path = join(dirname(file), `${run.slice(2)}.trace`);
  try {
    const opened = await open(path, 'r');
    return opened.createReadStream({ highWaterMark: 1 << 18 });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

async function listBundles(path: string): Promise<readonly string[]> {
  const found = await stat(path).catch((cause: NodeJS.ErrnoException) => {
    throw new VerifyUsageError('NO_SUCH_BUNDLE', `${path} cannot be read (${cause.code})`, { at: { path }, cause });
  });
  if (!found.isDirectory()) return [path];
  const names = (await readdir(path)).filter((name) => name.endsWith('.trace')).sort();
  if (names.length === 0) throw new VerifyUsageError('NO_BUNDLES', `${path} holds no .trace file`, { at: { path } });
  return names.map((name) => join(path, name));
}

async function openTrust(
  environment: Environment,
  options: Options,
): Promise<{ readonly trust: Trust; close(): Promise<void> }> {
  const none = async () => {};
  if (options.rpc !== undefined || options.contract !== undefined) {
    if (options.signer !== undefined) {
      throw new VerifyUsageError('BAD_OPTION', '--signer and --rpc each say whom to trust: give one of them');
    }
    if (options.rpc === undefined) throw new VerifyUsageError('BAD_OPTION', '--contract needs --rpc');
    if (options.rpc !== 'embedded' && options.contract === undefined) {
      throw new VerifyUsageError('BAD_OPTION', '--rpc needs --contract');
    }
    const contract = options.contract === undefined ? undefined : readAddress('--contract', options.contract);
    const chain: ChainTrust = await openChainTrust(environment, options.rpc, contract);
    return { trust: chain.trust, close: () => chain.close() };
  }
  if (options.signer !== undefined) return { trust: trustSigner(readAddress('--signer', options.signer)), close: none };
  const file = trustPath(environment);
  try {
    return { trust: trustOperators(parseTrustFile(await readFile(file))), close: none };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return { trust: noTrust, close: none };
    throw error;
  }
}

function readAddress(option: string, value: string): Hex {
  const address = value.toLowerCase();
  if (!/^0x[0-9a-f]{40}$/.test(address)) {
    throw new VerifyUsageError('BAD_OPTION', `${option}: expected an address of 20 bytes in hexadecimal, got ${value}`);
  }
  return address as Hex;
}
