/**
 * An inference server for one runtime alone: on a free port of this computer, with a key that only this process holds.
 *
 * @module
 */

import { randomBytes, timingSafeEqual } from 'node:crypto';
import { join } from 'node:path';
import { createProgress } from '../../agents/setup/progress.mjs';
import type { ProfileName } from '../../inference/engine.ts';
import { type InferenceServer, serveInference } from '../../inference/main.ts';
import { modelFolder, SHIPPED_MODEL } from '../../inference/model-path.ts';
import { markInUse } from '../../inference/models/use-marks.ts';
import type { Environment } from './environment.ts';
import { findModels, withKnownIdentity } from './served-models.ts';

/** A server with the key that it asks for. */
export type OwnInference = Pick<InferenceServer, 'url' | 'close'> & { readonly accessKey: string };

const UNLIMITED = { active: null, waiting: null, requestsPerMinute: null, tokensPerMinute: null } as const;

/**
 * Starts it. The shipped model is fetched if it is not here.
 *
 * @param signingKey - 32 bytes; the same after a restart, since runs name it in their first record
 * @throws {@link ModelPathError}, {@link ModelPullError}, {@link ModelError}, {@link ServerError}
 */
export async function startOwnInference(
  { model = SHIPPED_MODEL.id, profile }: { readonly model?: string | undefined; readonly profile: ProfileName },
  signingKey: Uint8Array,
  environment: Environment,
): Promise<OwnInference> {
  const { env, home, cache } = environment;
  const models = (await findModels([model], environment, createProgress(process.stderr))).map((path) =>
    withKnownIdentity(path, profile, environment),
  );
  const marks = models.map(({ id }) => markInUse(modelFolder(env, home), id));
  const unmark = () => {
    for (const end of marks) end();
  };
  const accessKey = `tb-${randomBytes(32).toString('base64url')}`;
  const authenticate = (secret: string) => {
    const [given, own] = [Buffer.from(secret), Buffer.from(accessKey)];
    return given.length === own.length && timingSafeEqual(given, own)
      ? { id: 'ak-runtime', limits: UNLIMITED }
      : undefined;
  };
  try {
    const server = await serveInference({
      port: 0,
      models,
      cacheDir: cache,
      profile,
      privateKey: signingKey,
      accessKeys: { authenticate },
      receiptsDir: join(cache, 'receipts'),
      onProgress: (message) => console.error(message),
      onFault: (error) => console.error(error),
    });
    return {
      url: server.url,
      accessKey,
      async close() {
        await server.close();
        unmark();
      },
    };
  } catch (error) {
    unmark();
    throw error;
  }
}
