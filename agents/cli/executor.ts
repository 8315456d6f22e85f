/**
 * Opens what a verifier executes steps with: the sandbox, and the model of a run if it is at hand.
 *
 * @module
 */

import type { Executor } from '../../attest/verify/executor.ts';
import type { ProfileName } from '../../inference/engine.ts';
import { ModelError } from '../../inference/errors.ts';
import { openEngine } from '../../inference/model.ts';
import { ModelPathError, resolveModelPath, SHIPPED_MODEL } from '../../inference/model-path.ts';
import { openRecomputer } from '../../inference/recompute.ts';
import { createExecutor } from '../../runtime/replay.ts';
import { openQuickJsVm } from '../../runtime/sandbox/quickjs-vm.ts';
import { wallWarning } from '../../runtime/sandbox/wall.ts';
import type { Environment } from './environment.ts';

/** An executor with its lifetime. */
export type OpenExecutor = { readonly executor: Executor; close(): Promise<void> };

/**
 * Opens sandbox and model. A model that is not there is no error: its inferences are then not recomputed.
 *
 * @param model - id or path
 * @param warn - told why there is no model, and if there is no second wall around the sandbox
 * @param profile - numerics of the runs to verify
 */
export async function openExecutor(
  environment: Environment,
  model: string = SHIPPED_MODEL.id,
  warn: (message: string) => void = () => {},
  profile: ProfileName = 'exact',
): Promise<OpenExecutor> {
  const vm = await openQuickJsVm();
  const wall = wallWarning(vm);
  if (wall !== undefined) warn(wall);
  const engine = await openModel(environment, model, warn, profile);
  return {
    executor: createExecutor(vm, engine === undefined ? undefined : openRecomputer(engine)),
    async close() {
      await engine?.close();
      await vm.close();
    },
  };
}

async function openModel(
  environment: Environment,
  model: string,
  warn: (message: string) => void,
  profile: ProfileName,
) {
  try {
    const { id, path } = resolveModelPath(model, environment.env, environment.home);
    return await openEngine({ path, id, cacheDir: environment.cache, profile });
  } catch (error) {
    if (!(error instanceof ModelPathError) && !(error instanceof ModelError)) throw error;
    warn(`inferences are not recomputed: ${error.message}`);
    return undefined;
  }
}
