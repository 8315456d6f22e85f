/**
 * What was made from a model: folders of the cache that are named by the digest of its files.
 *
 * @module
 */

import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Hex } from '../../attest/core/bytes.ts';
import { readExactFacts } from '../exact/exact-file.ts';

/** The commitment of a model under the profile `exact`, if it was converted before; as the cache says, not recomputed. */
export function cachedCommitment(cacheDir: string, digest: Hex): Hex | null {
  return readExactFacts(cacheDir, digest)?.commitment ?? null;
}

/** The folders of the cache that were made from a model. */
export function derivedFolders(cacheDir: string, digest: Hex): string[] {
  let names: string[];
  try {
    names = readdirSync(cacheDir);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
  return names.filter((name) => name.startsWith(`${digest.slice(2)}-`)).map((name) => join(cacheDir, name));
}
