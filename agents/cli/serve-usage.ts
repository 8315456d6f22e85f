/**
 * What the commands that serve something share: their usage errors, access keys, ports and counts, and how they are told to stop.
 *
 * @module
 */

import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { RuntimeError } from '../../attest/core/error.ts';
import { type AccessKeys, openAccessKeys, readAccessKeys } from '../../inference/access-key-file.ts';
import { isLoopback } from '../../inference/main.ts';
import { accessKeysPath } from './access-keys.ts';
import type { Environment } from './environment.ts';

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

/** Options of access. */
type KeyOptions = {
  readonly host: string;
  readonly port: string;
  readonly keys?: string;
  readonly insecure?: true;
};

/**
 * The access keys in force: those of the option, else those of the user's file if it holds any. An address that others can reach needs them.
 *
 * @param what - what everybody could do without
 * @throws {@link ServeUsageError} `HOST_REFUSED`, `NO_ACCESS_KEYS`
 * @throws {@link AccessKeyError} if the file cannot be used
 */
export function findKeys(
  { keys, host, insecure, port }: KeyOptions,
  what: string,
  environment: Environment,
): AccessKeys | undefined {
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
      `${host} can be reached by others, and there are no access keys: everybody who reaches it might ${what}. ` +
        'Make a key with `tracebond access-keys create NAME`, listen on 127.0.0.1, or say ' +
        '--insecure if that is what you want',
      { at: { host } },
    );
  }
  console.error(`WARNING: no access control: everybody who reaches ${host}:${port} may use this server`);
  return undefined;
}

/** @throws {@link ServeUsageError} `BAD_PORT` */
export function parsePort(text: string): number {
  const port = Number(text);
  if (!/^\d{1,5}$/.test(text) || port > 65535) {
    throw new ServeUsageError('BAD_PORT', `--port: expected a number in [0, 65535], got ${JSON.stringify(text)}`);
  }
  return port;
}

/** @throws {@link ServeUsageError} `BAD_COUNT` */
export function parseCount(option: string, text: string | undefined, min: number, max = 100_000): number | undefined {
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

/** Resolves on SIGINT or SIGTERM. */
export function nextStopSignal(): Promise<void> {
  return new Promise((settle) => {
    const stop = () => {
      process.off('SIGINT', stop).off('SIGTERM', stop);
      settle();
    };
    process.on('SIGINT', stop).on('SIGTERM', stop);
  });
}
