/**
 * The models that a command serves: where they lie, the shipped one fetched if it is not here.
 *
 * @module
 */

import type { Progress } from '../../agents/setup/progress.mjs';
import type { ProfileName } from '../../inference/engine.ts';
import type { serveInference } from '../../inference/main.ts';
import { ModelPathError, resolveModelPath, SHIPPED_MODEL } from '../../inference/model-path.ts';
import { knownIdentity } from '../../inference/models/known-identity.ts';
import { pullModel } from '../models/pull.ts';
import type { Environment } from './environment.ts';

type ModelPath = ReturnType<typeof resolveModelPath>;

/** Where the models lie. Fetches the shipped one as the set-up does, unless somebody named a copy that is not to be had. */
export async function findModels(
  names: readonly string[],
  { env, home }: Environment,
  progress: Progress,
): Promise<readonly ModelPath[]> {
  const find = (name: string) => resolveModelPath(name, env, home);
  // A wrong name is told before anything is fetched.
  for (const name of names) if (name !== SHIPPED_MODEL.id) find(name);
  try {
    return names.map(find);
  } catch (error) {
    if (!(error instanceof ModelPathError) || env['TRACEBOND_MODEL']) throw error;
    await pullModel(SHIPPED_MODEL.id, { env, home, progress });
    return names.map(find);
  }
}

/** A model, with the digests that it had when it was converted, so that it is found by them before it is opened. */
export function withKnownIdentity(
  model: { readonly id: string; readonly path: string },
  profile: ProfileName,
  { env, home, cache }: Environment,
): serveInference.Options['models'][number] {
  const identity =
    profile === 'exact' ? knownIdentity(model.id, model.path, { cacheDir: cache, env, home }) : undefined;
  return identity === undefined ? model : { ...model, identity };
}
