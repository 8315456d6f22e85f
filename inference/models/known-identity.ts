/**
 * What is known of a model before it is opened.
 *
 * @module
 */

import type { Hex } from '../../attest/core/bytes.ts';
import type { ModelIdentity } from '../engine.ts';
import { readExactFacts } from '../exact/exact-file.ts';
import { exactIdentity } from '../exact/open-exact.ts';
import { modelFolder, type resolveModelPath, SHIPPED_MODEL } from '../model-path.ts';
import { listStore } from './store.ts';

/**
 * The identity that a model had under the profile `exact` when it was converted: for lists of models, before it is opened.
 * Receipts speak of what was opened.
 *
 * @param path - of its file or folder, as `resolveModelPath` gives it
 * @returns undefined if its digest is not known without reading it, or it was never converted
 */
export function knownIdentity(
  id: string,
  path: string,
  options: { readonly cacheDir: string; readonly env: resolveModelPath.Env; readonly home: string },
): ModelIdentity | undefined {
  const digest = knownDigest(id, path, modelFolder(options.env, options.home));
  const facts = digest === undefined ? undefined : readExactFacts(options.cacheDir, digest);
  return facts === undefined ? undefined : exactIdentity(id, facts);
}

function knownDigest(id: string, path: string, folder: string): Hex | undefined {
  if (id === SHIPPED_MODEL.id) return `0x${SHIPPED_MODEL.sha256}`;
  return listStore(folder).find((model) => model.path === path)?.manifest?.digest;
}
