/**
 * The program behind the `tracebond` command: the composition root, which alone reads the environment, opens files and
 * wires adapters to ports.
 *
 * @module
 */

import { Command, CommanderError } from 'commander';
import { RuntimeError } from '../../attest/core/error.ts';
import { packageVersion } from './package-root.ts';

type Register = (program: Command, setCode: (code: number) => void) => Promise<void>;

/** The commands, in the order of the help. */
const COMMANDS = {
  run: async (program, setCode) => (await import('./run.ts')).registerRun(program, setCode),
  runs: async (program) => (await import('./runs.ts')).registerRuns(program),
  demo: async (program) => (await import('./demo.ts')).registerDemo(program),
  verify: async (program, setCode) => (await import('./verify.ts')).registerVerify(program, setCode),
  inspect: async (program) => (await import('./inspect.ts')).registerInspect(program),
  redact: async (program) => (await import('./redact.ts')).registerRedact(program),
  generate: async (program) => (await import('./generate.ts')).registerGenerate(program),
  check: async (program, setCode) => (await import('./check.ts')).registerCheck(program, setCode),
  'verify-receipt': async (program, setCode) =>
    (await import('./verify-receipt.ts')).registerVerifyReceipt(program, setCode),
  serve: async (program) => (await import('./serve.ts')).registerServe(program),
  conformance: async (program) => (await import('./conformance.ts')).registerConformance(program),
  keys: async (program) => (await import('./keys.ts')).registerKeys(program),
  'access-keys': async (program) => (await import('./access-keys.ts')).registerAccessKeys(program),
  mcp: async (program, setCode) => (await import('./mcp.ts')).registerMcp(program, setCode),
  wallet: async (program) => (await import('./wallet.ts')).registerWallet(program),
  models: async (program) => (await import('./models.ts')).registerModels(program),
} satisfies Readonly<Record<string, Register>>;

const NAMES = Object.keys(COMMANDS) as (keyof typeof COMMANDS)[];

/**
 * Runs the command line to its end.
 *
 * @param argv - as `process.argv`: Node, script, arguments
 * @returns the exit code: that of the verdict for `verify`, `verify-receipt` and `check`, of the run for `run`, 1 for usage and expected errors
 */
export async function main(argv: readonly string[]): Promise<number> {
  const program = new Command('tracebond')
    .description('A verifiable AI-agent runtime: run agents, verify their traces, dispute false steps.')
    .version(packageVersion())
    .exitOverride();
  let code = 0;
  // A reader that has seen enough (`| head`) is no failure.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error;
    process.exit(code);
  });
  const asked = argv[2] ?? '';
  // A command is loaded when it is asked for: the model's memory is not for what others need.
  const wanted = Object.hasOwn(COMMANDS, asked) ? [asked as keyof typeof COMMANDS] : NAMES;
  for (const name of wanted) {
    await COMMANDS[name](program, (verdict) => {
      code = verdict;
    });
  }
  try {
    await program.parseAsync([...argv]);
    return code;
  } catch (error) {
    // Commander has already printed its message; help and version are no failure.
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 1;
    if (!RuntimeError.is(error) && !isSystemError(error)) throw error;
    console.error(`tracebond: ${error.code}: ${error.message}`);
    return 1;
  }
}

/** What this computer refused, such as a file that may not be read: its code is the system's (`EACCES`). */
function isSystemError(error: unknown): error is Error & { readonly code: string } {
  return error instanceof Error && 'syscall' in error && 'code' in error && typeof error.code === 'string';
}
