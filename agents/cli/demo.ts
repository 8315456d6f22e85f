/**
 * `tracebond demo`: the whole product once, on this computer.
 *
 * @module
 */

import type { Command } from 'commander';
import { playDemo } from '../demo/demo.ts';
import { readEnvironment } from './environment.ts';

/** Adds `demo` to a program. */
export function registerDemo(program: Command): void {
  program
    .command('demo')
    .description('run an agent, verify it, catch four lies and take a bond, all on this computer')
    .option('--json', 'one JSON object on standard output, progress on standard error')
    .action(async (options: { readonly json?: true }) => {
      const say = options.json === true ? (line: string) => console.error(line) : (line: string) => console.log(line);
      const report = await playDemo({ environment: readEnvironment(), say });
      if (options.json === true) console.log(JSON.stringify(report));
    });
}
