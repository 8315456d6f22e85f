/**
 * What was made from a model: folders of the cache that are named by the digest of its files.
 *
 * @module
 */

import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Hex } from '../../attest/core/bytes.ts';
import type { ModelIdentity } from '../engine.ts';
import { readExactFacts } from '../exact/exact-file.ts';
import { exactIdentity } from '../exact/open-exact.ts';

/** The commitment of a model under the profile `exact`, if it was converted before; as the cache says, not recomputed. */
export function cachedCommitment(cacheDir: string, digest: Hex): Hex | null {
  return readExactFacts(cacheDir, digest)?.commitment ?? null;
}

/**
 * The identity that a model had when it was converted: for lists of models, before it is opened. Receipts speak of what was
 * opened.
 *
 * @param digest - of the model's files
 */
export function knownIdentity(id: string, cacheDir: string, digest: Hex): ModelIdentity | undefined {
  const facts = readExactFacts(cacheDir, digest);
  return facts === undefined ? undefined : exactIdentity(id, facts);
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
