/**
 * `tracebond serve inference`: models behind their HTTP API until the process is told to stop.
 *
 * Standard output gets one line, when the server answers; progress and warnings go to standard error.
 *
 * @module
 */

import { join, resolve } from 'node:path';
import { type Command, Option } from 'commander';
import { createProgress, type Progress } from '../../agents/setup/progress.mjs';
import { defined } from '../../attest/core/defined.ts';
import type { ProfileName } from '../../inference/engine.ts';
import { type InferenceServer, serveInference } from '../../inference/main.ts';
import { modelFolder, SHIPPED_MODEL } from '../../inference/model-path.ts';
import { markInUse } from '../../inference/models/use-marks.ts';
import { type Environment, readEnvironment } from './environment.ts';
import { randomSecretKey, readSecretKey } from './secret-key.ts';
import { registerServeMcp } from './serve-mcp.ts';
import { registerServeRuntime } from './serve-runtime.ts';
import { findKeys, nextStopSignal, parseCount, parsePort, ServeUsageError } from './serve-usage.ts';
import { registerServeWorker } from './serve-worker.ts';
import { findModels, withKnownIdentity } from './served-models.ts';

type Options = {
  readonly host: string;
  readonly port: string;
  readonly model?: readonly string[];
  readonly profile: ProfileName;
  readonly threads?: string;
  readonly maxActive?: string;
  readonly maxWaiting?: string;
  readonly memory?: string;
  readonly keys?: string;
  readonly receipts?: string;
  readonly bodyLimit?: string;
  readonly insecure?: true;
};

const MIB = 1 << 20;
const UNITS: Readonly<Record<string, number>> = { '': 1, KiB: 1 << 10, MiB: MIB, GiB: 1 << 30 };

/** Largest body that may be allowed, in MiB. */
const MAX_BODY_MIB = 1024;

/** Adds `serve inference` to a program. The command ends on SIGINT or SIGTERM, with everything closed. */
export function registerServe(program: Command): void {
  const serve = program.command('serve').description('run a server of this package');
  serve
    .command('inference')
    .description('serve models over an OpenAI-compatible API, every answer with a signed receipt')
    .option('--port <number>', 'port to listen on; 0 picks a free one', '8080')
    .option('--host <address>', 'address to listen on', '127.0.0.1')
    .addOption(
      new Option(
        '--model <name>',
        `model id, GGUF file or model folder (default: ${SHIPPED_MODEL.id}); may be given several times, the first is opened at once, others when they are asked for`,
      ).argParser((name: string, names: readonly string[] = []) => [...names, name]),
    )
    .addOption(new Option('--profile <name>', 'numerics').choices(['exact', 'float-same-isa']).default('exact'))
    .option('--threads <number>', 'threads of each exact engine; all of the computer, at most 8, by default')
    .option('--max-active <number>', 'requests of a model that are computed at once', '32')
    .option('--max-waiting <number>', 'requests of a model that wait besides; beyond that 429', '256')
    .option('--memory <size>', 'memory of all open models, such as 8GiB; half of the computer’s by default')
    .option('--keys <file>', 'file of access keys, made by `access-keys create`; the user’s own file by default')
    .option('--receipts <folder>', 'where receipts are kept; in the cache folder by default')
    .option('--body-limit <MiB>', 'largest request', '4')
    .addOption(new Option('--insecure', 'listen on an address that others can reach, without access keys'))
    .action(async (options: Options) => {
      const server = await startInference(options, readEnvironment());
      const stopped = nextStopSignal();
      process.stdout.write(`listening ${server.url}\n`);
      await stopped;
      await server.close();
    });
  registerServeRuntime(serve);
  registerServeMcp(serve);
  registerServeWorker(serve);
}

/**
 * Starts the server that the options describe. The shipped model is fetched if it is asked for and not here.
 *
 * @param progress - of that download; by default on standard error
 * @throws {@link ServeUsageError} before anything is opened
 * @throws {@link AccessKeyError}, {@link ModelPathError}, {@link ModelPullError}, {@link ModelError}, {@link ServerError}
 */
export async function startInference(
  options: Options,
  environment: Environment,
  progress: Progress = createProgress(process.stderr),
): Promise<InferenceServer> {
  const { env, home, cache } = environment;
  const port = parsePort(options.port);
  const threads = parseThreads(options.threads);
  const maxActive = parseCount('--max-active', options.maxActive, 1);
  const maxWaiting = parseCount('--max-waiting', options.maxWaiting, 0);
  const maxMemoryBytes = parseMemory(options.memory);
  const bodyLimit = parseCount('--body-limit', options.bodyLimit, 1, MAX_BODY_MIB);
  const accessKeys = findKeys(options, 'use the models and have receipts signed', environment);
  const paths = await findModels(options.model ?? [SHIPPED_MODEL.id], environment, progress);
  const models = paths.map((model) => withKnownIdentity(model, options.profile, environment));
  // A model is not removed while its process may have to start again from its files.
  const marks = models.map(({ id }) => markInUse(modelFolder(env, home), id));
  const unmark = () => {
    for (const end of marks) end();
  };
  try {
    const server = await serveInference({
      host: options.host,
      port,
      models,
      cacheDir: cache,
      profile: options.profile,
      privateKey: signingKey(environment),
      onProgress: (message) => console.error(message),
      onFault: (error) => console.error(error),
      receiptsDir: options.receipts === undefined ? join(cache, 'receipts') : resolve(options.receipts),
      ...defined({ threads, maxActive, maxWaiting, maxMemoryBytes, accessKeys }),
      ...(bodyLimit === undefined ? {} : { bodyLimitBytes: bodyLimit * MIB }),
    });
    const served = models.map(({ id }) => id).join(', ');
    console.error(
      `model ${served}, profile ${server.identity.profileName}, receipts signed by ${server.signer}, ` +
        (accessKeys === undefined ? 'no access keys' : 'access keys required'),
    );
    return {
      ...server,
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

/** The key of the environment, or a fresh one that is gone with the process. */
function signingKey({ env }: Environment): Uint8Array {
  const given = env['TRACEBOND_SIGNING_KEY'];
  if (given) {
    return readSecretKey(given, (reason) => new ServeUsageError('BAD_SIGNING_KEY', `TRACEBOND_SIGNING_KEY: ${reason}`));
  }
  console.error('SIMULATED signing key: made for this process alone; set TRACEBOND_SIGNING_KEY for one that stays');
  return randomSecretKey();
}

function parseThreads(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const threads = Number(text);
  if (!/^\d{1,2}$/.test(text) || threads < 1 || threads > 64) {
    throw new ServeUsageError('BAD_THREADS', `--threads: expected a number in [1, 64], got ${JSON.stringify(text)}`);
  }
  return threads;
}

function parseMemory(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const [, digits, unit = ''] = /^(\d{1,16}(?:\.\d{1,3})?)(KiB|MiB|GiB)?$/.exec(text) ?? [];
  const bytes = Math.floor(Number(digits) * (UNITS[unit] ?? 1));
  if (digits === undefined || !Number.isSafeInteger(bytes) || bytes < 1) {
    throw new ServeUsageError(
      'BAD_SIZE',
      `--memory: expected bytes, or a size such as 8GiB, got ${JSON.stringify(text)}`,
    );
  }
  return bytes;
}
