/**
 * `tracebond serve inference`: models behind their HTTP API until the process is told to stop.
 *
 * Standard output gets one line, when the server answers; progress and warnings go to standard error.
 *
 * @module
 */

import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { type Command, Option } from 'commander';
import { createProgress, type Progress } from '../../agents/setup/progress.mjs';
import { fromHex } from '../../attest/core/bytes.ts';
import { defined } from '../../attest/core/defined.ts';
import { RuntimeError } from '../../attest/core/error.ts';
import { EncodingError } from '../../attest/encoding/errors.ts';
import { addressOf } from '../../attest/sign/secp256k1.ts';
import { type AccessKeys, openAccessKeys, readAccessKeys } from '../../inference/access-key-file.ts';
import type { ProfileName } from '../../inference/engine.ts';
import { type InferenceServer, isLoopback, serveInference } from '../../inference/main.ts';
import { ModelPathError, modelFolder, resolveModelPath, SHIPPED_MODEL } from '../../inference/model-path.ts';
import { knownIdentity } from '../../inference/models/known-identity.ts';
import { markInUse } from '../../inference/models/use-marks.ts';
import { pullModel } from '../models/pull.ts';
import { accessKeysPath } from './access-keys.ts';
import { type Environment, readEnvironment } from './environment.ts';

export type ServeUsageCode =
  | 'BAD_PORT'
  | 'BAD_THREADS'
  | 'BAD_COUNT'
  | 'BAD_SIZE'
  | 'HOST_REFUSED'
  | 'NO_ACCESS_KEYS'
  | 'BAD_SIGNING_KEY';

/** The command was called wrongly. */
export class ServeUsageError extends RuntimeError<ServeUsageCode> {
  override readonly name = 'ServeUsageError';
}

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
  const accessKeys = findKeys(options, environment);
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

/**
 * The access keys in force: those of the option, else those of the user's file if it holds any. An address that others can reach needs them.
 *
 * @throws {@link ServeUsageError} `HOST_REFUSED`, `NO_ACCESS_KEYS`
 * @throws {@link AccessKeyError} if the file cannot be used
 */
function findKeys({ keys, host, insecure, port }: Options, environment: Environment): AccessKeys | undefined {
  const path = keys === undefined ? accessKeysPath(environment) : resolve(keys);
  if (keys !== undefined || existsSync(path)) {
    const count = readAccessKeys(path).length;
    if (count > 0) return openAccessKeys(path);
    // Whoever names a file wants keys to be asked for; one without keys would let nobody in, or everybody.
    if (keys !== undefined) {
      throw new ServeUsageError(
        'NO_ACCESS_KEYS',
        `${path} holds no key in force: make one with \`tracebond access-keys create NAME --file ${path}\``,
        { at: { file: path } },
      );
    }
  }
  if (isLoopback(host)) return undefined;
  if (insecure === undefined) {
    throw new ServeUsageError(
      'HOST_REFUSED',
      `${host} can be reached by others, and there are no access keys: everybody who reaches it might use the models and ` +
        'have receipts signed. Make a key with `tracebond access-keys create NAME`, listen on 127.0.0.1, or say ' +
        '--insecure if that is what you want',
      { at: { host } },
    );
  }
  console.error(`WARNING: no access control: everybody who reaches ${host}:${port} may use this server`);
  return undefined;
}

type ModelPath = ReturnType<typeof resolveModelPath>;

/** Where the models lie. Fetches the shipped one as the set-up does, unless somebody named a copy that is not to be had. */
async function findModels(
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
function withKnownIdentity(
  model: { readonly id: string; readonly path: string },
  profile: ProfileName,
  { env, home, cache }: Environment,
): serveInference.Options['models'][number] {
  const identity =
    profile === 'exact' ? knownIdentity(model.id, model.path, { cacheDir: cache, env, home }) : undefined;
  return identity === undefined ? model : { ...model, identity };
}

/** The key of the environment, or a fresh one that is gone with the process. */
function signingKey({ env }: Environment): Uint8Array {
  const given = env['TRACEBOND_SIGNING_KEY'];
  if (!given) {
    console.error('SIMULATED signing key: made for this process alone; set TRACEBOND_SIGNING_KEY for one that stays');
    return randomPrivateKey();
  }
  try {
    const key = fromHex(given.startsWith('0x') ? given : `0x${given}`, 32);
    addressOf(key);
    return key;
  } catch (error) {
    if (!RuntimeError.is(error)) throw error;
    // The cause may quote the value.
    const reason =
      error instanceof EncodingError ? 'expected 32 bytes in lower-case hexadecimal' : 'no key of secp256k1';
    throw new ServeUsageError('BAD_SIGNING_KEY', `TRACEBOND_SIGNING_KEY: ${reason}`);
  }
}

/** 32 random bytes that are a key; all but one in 2^128 are. */
function randomPrivateKey(): Uint8Array {
  const key = new Uint8Array(randomBytes(32));
  addressOf(key);
  return key;
}

function parsePort(text: string): number {
  const port = Number(text);
  if (!/^\d{1,5}$/.test(text) || port > 65535) {
    throw new ServeUsageError('BAD_PORT', `--port: expected a number in [0, 65535], got ${JSON.stringify(text)}`);
  }
  return port;
}

function parseThreads(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const threads = Number(text);
  if (!/^\d{1,2}$/.test(text) || threads < 1 || threads > 64) {
    throw new ServeUsageError('BAD_THREADS', `--threads: expected a number in [1, 64], got ${JSON.stringify(text)}`);
  }
  return threads;
}

function parseCount(option: string, text: string | undefined, min: number, max = 100_000): number | undefined {
  if (text === undefined) return undefined;
  const count = Number(text);
  if (!/^\d{1,6}$/.test(text) || count < min || count > max) {
    throw new ServeUsageError(
      'BAD_COUNT',
      `${option}: expected a whole number in [${min}, ${max}], got ${JSON.stringify(text)}`,
      { at: { option } },
    );
  }
  return count;
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

function nextStopSignal(): Promise<void> {
  return new Promise((settle) => {
    const stop = () => {
      process.off('SIGINT', stop).off('SIGTERM', stop);
      settle();
    };
    process.on('SIGINT', stop).on('SIGTERM', stop);
  });
}
