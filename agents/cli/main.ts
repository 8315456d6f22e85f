/**
 * The program behind the `tracebond` command: the composition root, which alone reads the environment, opens files and
 * wires adapters to ports.
 *
 * @module
 */

import { readFileSync } from 'node:fs';
import { Command, CommanderError } from 'commander';
import { RuntimeError } from '../../attest/core/error.ts';
import { registerConformance } from './conformance.ts';
import { registerDemo } from './demo.ts';
import { registerGenerate } from './generate.ts';
import { registerKeys } from './keys.ts';
import { registerModels } from './models.ts';
import { registerServe } from './serve.ts';
import { registerVerify } from './verify.ts';

/**
 * Runs the command line to its end.
 *
 * @param argv - as `process.argv`: Node, script, arguments
 * @returns the exit code: that of the verdict for `verify`, 1 for usage and expected errors
 */
export async function main(argv: readonly string[]): Promise<number> {
  const program = new Command('tracebond')
    .description('A verifiable AI-agent runtime: run agents, verify their traces, dispute false steps.')
    .version(readVersion())
    .exitOverride();
  let code = 0;
  // A reader that has seen enough (`| head`) is no failure.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error;
    process.exit(code);
  });
  registerDemo(program);
  registerVerify(program, (verdict) => {
    code = verdict;
  });
  registerGenerate(program);
  registerServe(program);
  registerConformance(program);
  registerKeys(program);
  registerModels(program);
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

/** The version of the nearest `package.json` above, which is the package's own from source and from `dist`. */
function readVersion(): string {
  for (let folder = new URL('.', import.meta.url); ; folder = new URL('..', folder)) {
    try {
      const { name, version } = JSON.parse(readFileSync(new URL('package.json', folder), 'utf8'));
      if (name === 'tracebond') return String(version);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT' || folder.pathname === '/') throw error;
    }
  }
}
