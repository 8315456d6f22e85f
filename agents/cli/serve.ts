/**
 * `tracebond serve inference`: the model behind its HTTP API until the process is told to stop.
 *
 * Standard output gets one line, when the server answers; progress and warnings go to standard error.
 *
 * @module
 */

import { randomBytes } from 'node:crypto';
import { type Command, Option } from 'commander';
import { fromHex } from '../../attest/core/bytes.ts';
import { RuntimeError } from '../../attest/core/error.ts';
import { EncodingError } from '../../attest/encoding/errors.ts';
import { addressOf } from '../../attest/sign/secp256k1.ts';
import type { ProfileName } from '../../inference/engine.ts';
import { type InferenceServer, isLoopback, serveInference } from '../../inference/main.ts';
import { resolveModelPath, SHIPPED_MODEL } from '../../inference/model-path.ts';
import { type Environment, readEnvironment } from './environment.ts';

export type ServeUsageCode = 'BAD_PORT' | 'BAD_THREADS' | 'HOST_REFUSED' | 'BAD_SIGNING_KEY';

/** The command was called wrongly. */
export class ServeUsageError extends RuntimeError<ServeUsageCode> {
  override readonly name = 'ServeUsageError';
}

type Options = {
  readonly host: string;
  readonly port: string;
  readonly model: string;
  readonly profile: ProfileName;
  readonly threads?: string;
  readonly insecure?: true;
};

/** Adds `serve inference` to a program. The command ends on SIGINT or SIGTERM, with everything closed. */
export function registerServe(program: Command): void {
  const serve = program.command('serve').description('run a server of this package');
  serve
    .command('inference')
    .description('serve a model over an OpenAI-compatible API, every answer with a signed receipt')
    .option('--port <number>', 'port to listen on; 0 picks a free one', '8080')
    .option('--host <address>', 'address to listen on', '127.0.0.1')
    .option('--model <name>', 'model id or GGUF file', SHIPPED_MODEL.id)
    .addOption(new Option('--profile <name>', 'numerics').choices(['exact', 'float-same-isa']).default('exact'))
    .option('--threads <number>', 'threads of the exact engine; all of the computer, at most 8, by default')
    .addOption(new Option('--insecure', 'listen on an address that others can reach, without any access control'))
    .action(async (options: Options) => {
      const server = await startInference(options, readEnvironment());
      const stopped = nextStopSignal();
      process.stdout.write(`listening ${server.url}\n`);
      await stopped;
      await server.close();
    });
}

/**
 * Starts the server that the options describe.
 *
 * @throws {@link ServeUsageError} before anything is opened
 * @throws {@link ModelPathError}, {@link ModelError}, {@link ServerError}
 */
export async function startInference(options: Options, environment: Environment): Promise<InferenceServer> {
  const port = parsePort(options.port);
  const threads = parseThreads(options.threads);
  if (!isLoopback(options.host)) {
    if (options.insecure === undefined) {
      throw new ServeUsageError(
        'HOST_REFUSED',
        `${options.host} can be reached by others, and this server has no access keys yet: everybody who reaches it may ` +
          'use the model and have receipts signed. Listen on 127.0.0.1, or say --insecure if that is what you want',
        { at: { host: options.host } },
      );
    }
    console.error(`WARNING: no access control: everybody who reaches ${options.host}:${port} may use this server`);
  }
  const { id, path } = resolveModelPath(options.model, environment.env, environment.home);
  const server = await serveInference({
    host: options.host,
    port,
    path,
    id,
    cacheDir: environment.cache,
    profile: options.profile,
    ...(threads === undefined ? {} : { threads }),
    privateKey: signingKey(environment),
    onProgress: (message) => console.error(message),
    onFault: (error) => console.error(error),
  });
  console.error(
    `model ${server.identity.id}, profile ${server.identity.profileName}, receipts signed by ${server.signer}`,
  );
  return server;
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

function nextStopSignal(): Promise<void> {
  return new Promise((resolve) => {
    const stop = () => {
      process.off('SIGINT', stop).off('SIGTERM', stop);
      resolve();
    };
    process.on('SIGINT', stop).on('SIGTERM', stop);
  });
}
