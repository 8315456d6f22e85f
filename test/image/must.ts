/**
 * A command of this computer that must end well.
 *
 * @module
 */

import { execFile } from 'node:child_process';

const MAX_OUTPUT = 1 << 26;

/** @returns its standard output @throws Error with the end of what it wrote */
export function must(command: string, args: readonly string[], limitMs: number): Promise<string> {
  return new Promise((done, failed) => {
    execFile(command, [...args], { timeout: limitMs, maxBuffer: MAX_OUTPUT }, (error, stdout, stderr) => {
      if (error === null) done(stdout);
      else
        failed(
          new Error(`${command} ${args.join(' ')}: ${error.message.slice(0, 200)}\n${(stdout + stderr).slice(-2000)}`),
        );
    });
  });
}
