/**
 * Where third-party vectors lie, and how a test says that it goes without them.
 *
 * @module
 */

import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, it } from 'vitest';

/** The folder of third-party vectors: `TRACEBOND_VECTORS`, else `../shared/vectors` beside the repository, if it is there. */
export function vectorsDir(): string | undefined {
  const folder = process.env['TRACEBOND_VECTORS'] ?? fileURLToPath(new URL('../../../shared/vectors', import.meta.url));
  return existsSync(folder) ? folder : undefined;
}

/**
 * A group of tests over the vectors in `folder`; without them it is skipped, and says so.
 *
 * @param folder - a folder of {@link vectorsDir}
 * @param tests - gets the folder's path
 */
export function describeVectors(folder: string, tests: (path: string) => void): void {
  const root = vectorsDir();
  const path = root === undefined ? undefined : join(root, folder);
  if (path !== undefined && existsSync(path)) {
    describe(`vectors ${folder}`, () => tests(path));
    return;
  }
  console.warn(`SKIPPED: third-party vectors "${folder}" are not here (set TRACEBOND_VECTORS)`);
  describe(`vectors ${folder}`, () => {
    it.skip('are not here', () => {});
  });
}

/** Paths of all files below a folder, sorted. */
export function filesBelow(folder: string): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .sort();
}

/** A file's bytes as a plain `Uint8Array`. */
export function readBytes(path: string): Uint8Array {
  return new Uint8Array(readFileSync(path));
}
