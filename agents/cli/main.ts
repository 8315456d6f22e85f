/**
 * The program behind the `tracebond` command: the composition root, which alone reads the environment, opens files and
 * wires adapters to ports.
 *
 * @module
 */

import { readFileSync } from 'node:fs';
import { Command, CommanderError } from 'commander';

/**
 * Runs the command line to its end.
 *
 * @param argv - as `process.argv`: Node, script, arguments
 * @returns the exit code
 */
export async function main(argv: readonly string[]): Promise<number> {
  const program = new Command('tracebond')
    .description('A verifiable AI-agent runtime: run agents, verify their traces, dispute false steps.')
    .version(readVersion())
    .exitOverride();
  try {
    await program.parseAsync([...argv]);
    return 0;
  } catch (error) {
    // Commander has already printed its message; help and version are no failure.
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
    throw error;
  }
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
