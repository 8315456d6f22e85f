/**
 * Programs found by name in a folder: `campaign -- NAME` and `bench -- NAME` run the file `NAME.ts` beside their `main.ts`.
 *
 * @module
 */

import { readdirSync } from 'node:fs';

/** The names of a folder's programs, sorted. */
export function listPrograms(folder: URL): string[] {
  return readdirSync(folder)
    .filter((file) => file.endsWith('.ts') && !file.endsWith('.test.ts') && file !== 'main.ts')
    .map((file) => file.slice(0, -3))
    .sort();
}

/**
 * Loads a program's `run`.
 *
 * @returns undefined for a name that is not in the folder
 * @throws TypeError if the file exports no function `run`
 */
export async function loadProgram<Run extends (...args: never[]) => unknown>(
  folder: URL,
  name: string,
): Promise<Run | undefined> {
  if (!listPrograms(folder).includes(name)) return undefined;
  const loaded: { run?: Run } = await import(new URL(`${name}.ts`, folder).href);
  if (typeof loaded.run !== 'function') throw new TypeError(`${name}.ts exports no function run`);
  return loaded.run;
}
