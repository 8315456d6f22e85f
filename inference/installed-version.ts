/**
 * Versions of the packages whose code decides tokens or bits.
 *
 * @module
 */

import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { ModelError } from './errors.ts';

/**
 * Version of an installed package. The manifest is looked for in the folders where Node would look, because not every
 * package exports it.
 *
 * @param path - package names: each is looked for from the one before, the first from here
 * @throws {@link ModelError} `GRAPH_REFUSED` if one is not installed
 */
export function installedVersion(path: readonly string[]): string {
  let manifest = import.meta.url;
  for (const name of path) {
    const folders = createRequire(manifest).resolve.paths(name) ?? [];
    const found = folders.map((folder) => `${folder}/${name}/package.json`).find((file) => existsSync(file));
    if (found === undefined) throw new ModelError('GRAPH_REFUSED', `package ${name} is not installed`);
    manifest = found;
  }
  return String((JSON.parse(readFileSync(manifest, 'utf8')) as { version: unknown }).version);
}
