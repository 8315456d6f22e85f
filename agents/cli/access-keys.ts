/**
 * `tracebond access-keys create|list|revoke`: keys of the inference server's API, kept as hashes in `$TRACEBOND_HOME/access-keys.jsonl`.
 *
 * @module
 */

import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { type Command, InvalidArgumentError } from 'commander';
import { addAccessKey, readAccessKeys, revokeAccessKey } from '../../inference/access-key-file.ts';
import { ACCESS_KEY_LIMITS, type AccessKey, type AccessKeyLimits } from '../../inference/access-keys.ts';
import { type Environment, readEnvironment } from './environment.ts';

/** What the commands need from outside. */
export type AccessKeysIo = {
  readonly environment: Environment;
  /** Writes one line to standard output. */
  print(line: string): void;
  /** Writes one line to standard error. */
  note(line: string): void;
  /** Milliseconds since 1970. */
  now(): number;
  /** So many unpredictable bytes. */
  random(bytes: number): Uint8Array;
};

/** The user's file of access keys. */
export function accessKeysPath({ tracebondHome }: Environment): string {
  return join(tracebondHome, 'access-keys.jsonl');
}

type Options = Partial<AccessKeyLimits> & { readonly file?: string; readonly json?: boolean };

/** Adds the commands. */
export function registerAccessKeys(program: Command, io: AccessKeysIo = terminal()): void {
  const keys = program.command('access-keys').description('make, list and end keys of the inference server’s API');
  const pathOf = ({ file }: Options) => file ?? accessKeysPath(io.environment);
  const create = keys
    .command('create')
    .argument('<name>', 'whose it is, for people')
    .option('--file <path>', 'file of keys')
    .option('--json', 'print one JSON object')
    .description('make a key and print it; it is kept as a hash and cannot be printed again');
  create
    .option('--active <n>', 'requests in the engine at once', wholeNumber)
    .option('--waiting <n>', 'requests that wait besides', wholeNumber)
    .option('--requests-per-minute <n>', 'requests in a minute', wholeNumber)
    .option('--tokens-per-minute <n>', 'tokens of prompts and answers in a minute', wholeNumber)
    .action((name: string, options: Options) => {
      const { key, secret } = addAccessKey(pathOf(options), name, options, io);
      if (options.json === true) {
        const { id, limits, created } = key;
        io.print(JSON.stringify({ id, name, limits, created, key: secret }));
        return;
      }
      io.print(secret);
      io.note(`key ${key.id} of ${name}: keep it, it is not shown again`);
    });
  keys
    .command('list')
    .option('--file <path>', 'file of keys')
    .option('--json', 'print one JSON array')
    .description('ids, names and limits of the keys in force')
    .action((options: Options) => {
      const path = pathOf(options);
      // No key has been made yet.
      const all = options.file === undefined && !existsSync(path) ? [] : readAccessKeys(path);
      if (options.json === true) {
        io.print(JSON.stringify(all.map(({ id, name, limits, created }) => ({ id, name, limits, created }))));
      } else for (const key of all) io.print(describe(key));
    });
  keys
    .command('revoke')
    .argument('<id>', 'id of the key, as `list` prints it')
    .option('--file <path>', 'file of keys')
    .description('end a key; a running server refuses it from its next request on')
    .action((id: string, options: Options) => {
      io.print(`revoked ${describe(revokeAccessKey(pathOf(options), id, io.now))}`);
    });
}

function describe({ id, name, limits, created }: AccessKey): string {
  const own = ACCESS_KEY_LIMITS.flatMap((which) => (limits[which] === null ? [] : [`${which}=${limits[which]}`]));
  return [id, created, ...own, name].join(' ');
}

function wholeNumber(text: string): number {
  const value = Number(text);
  if (!/^\d{1,15}$/.test(text) || value < 1) throw new InvalidArgumentError('expected a whole number from 1 on');
  return value;
}

function terminal(): AccessKeysIo {
  return {
    environment: readEnvironment(),
    print: (line) => console.log(line),
    note: (line) => console.error(line),
    now: Date.now,
    random: randomBytes,
  };
}
