/**
 * `tracebond keys new|list|address`: encrypted keys in `$TRACEBOND_HOME/keys`.
 *
 * @module
 */

import { join } from 'node:path';
import type { Command } from 'commander';
import { KeystoreError } from '../../attest/bond/errors.ts';
import { assertPassword, createKey, listKeys, openKey, readKey } from '../../attest/bond/keystore.ts';
import { type Environment, readEnvironment } from './environment.ts';
import { readPassword } from './password.ts';

/** What the commands need from outside. */
export type KeysIo = {
  readonly environment: Environment;
  /** Writes one line to standard output. */
  print(line: string): void;
  /** Asks on the terminal without echo. @throws {@link KeystoreError} `PASSWORD_EMPTY` where there is no terminal */
  ask(question: string): Promise<string>;
};

/** Folder of the user's keys. */
export function keysFolder({ tracebondHome }: Environment): string {
  return join(tracebondHome, 'keys');
}

/**
 * Opens a key of the user with the password from `TRACEBOND_PASSWORD` or the terminal.
 *
 * @throws {@link KeystoreError} as `openKey`
 */
export async function openUserKey(name: string, io: KeysIo = terminal()): Promise<Uint8Array> {
  const folder = keysFolder(io.environment);
  await readKey(folder, name);
  return openKey(folder, name, await passwordFor(`Password of key ${name}: `, io));
}

/** Adds the commands. */
export function registerKeys(program: Command, io: KeysIo = terminal()): void {
  const keys = program.command('keys').description('make and list encrypted signing keys');
  keys
    .command('new')
    .argument('<name>', 'lower-case letters, digits, - and _')
    .option('--json', 'print one JSON object')
    .description('make a key, encrypted with TRACEBOND_PASSWORD or a password from the terminal')
    .action(async (name: string, options: { json?: boolean }) => {
      const fromTerminal = io.environment.env['TRACEBOND_PASSWORD'] === undefined;
      const password = await passwordFor(`Password for the new key ${name}: `, io);
      assertPassword(password);
      if (fromTerminal && (await io.ask('Once more: ')) !== password) {
        throw new KeystoreError('PASSWORD_WRONG', 'the two passwords differ');
      }
      const key = await createKey(keysFolder(io.environment), name, password);
      io.print(options.json === true ? JSON.stringify(key) : `${key.name} ${key.address}`);
    });
  keys
    .command('list')
    .option('--json', 'print one JSON array')
    .description('names and addresses')
    .action(async (options: { json?: boolean }) => {
      const entries = await listKeys(keysFolder(io.environment));
      if (options.json === true) io.print(JSON.stringify(entries));
      else for (const entry of entries) io.print(`${entry.name} ${entry.address}`);
    });
  keys
    .command('address')
    .argument('<name>', 'name of the key')
    .option('--json', 'print one JSON object')
    .description('address of a key, without its password')
    .action(async (name: string, options: { json?: boolean }) => {
      const key = await readKey(keysFolder(io.environment), name);
      io.print(options.json === true ? JSON.stringify(key) : key.address);
    });
}

function terminal(): KeysIo {
  return { environment: readEnvironment(), print: (line) => console.log(line), ask: readPassword };
}

async function passwordFor(question: string, io: KeysIo): Promise<string> {
  return io.environment.env['TRACEBOND_PASSWORD'] ?? (await io.ask(question));
}
