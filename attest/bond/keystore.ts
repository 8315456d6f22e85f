/**
 * Keys of operators, challengers and re-executors: one encrypted file each in a folder of the user (Web3 Secret Storage,
 * version 3, scrypt), so that other Ethereum tools read them too.
 *
 * @module
 */

import { randomBytes } from 'node:crypto';
import { link, mkdir, open, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { decryptKeystoreJson, encryptKeystoreJson, isKeystoreJson } from 'ethers';
import { fromHex, type Hex, toHex } from '../core/bytes.ts';
import { addressOf } from '../sign/secp256k1.ts';
import { KeystoreError } from './errors.ts';

/** What of a key is not secret. */
export type KeyEntry = { readonly name: string; readonly address: Hex };

const EXTENSION = '.json';
const NAME = /^[a-z0-9](?:[a-z0-9_-]{0,62}[a-z0-9])?$/;
const MAX_FILE_BYTES = 64 * 1024;
/** Work that a file may ask of us: N * r at most 2^21 (about 256 MiB, a few seconds). attacker-controlled. */
const MAX_SCRYPT_WORK = 2 ** 21;

/**
 * Makes a key and stores it, readable by its owner alone.
 *
 * @param folder - made if missing
 * @param name - lower-case letters, digits, `-` and `_`, 1 to 64, a letter or digit first and last
 * @param options.scryptLog2N - cost of a guess, 17 by default (128 MiB, about half a second)
 * @throws {@link KeystoreError} `MALFORMED_NAME`, `PASSWORD_EMPTY`, `KEY_EXISTS`, `KEYSTORE_UNWRITABLE`
 */
export async function createKey(
  folder: string,
  name: string,
  password: string,
  options: { readonly privateKey?: Uint8Array; readonly scryptLog2N?: number } = {},
): Promise<KeyEntry> {
  const path = keyPath(folder, name);
  assertPassword(password);
  const privateKey = options.privateKey ?? randomBytes(32);
  const address = addressOf(privateKey);
  const json = await encryptKeystoreJson({ address, privateKey: toHex(privateKey) }, password, {
    scrypt: { N: 2 ** (options.scryptLog2N ?? 17), r: 8, p: 1 },
  });
  try {
    await mkdir(folder, { recursive: true, mode: 0o700 });
    await writeNew(path, `${json}\n`);
  } catch (cause) {
    if (cause instanceof KeystoreError) throw cause;
    throw new KeystoreError('KEYSTORE_UNWRITABLE', `key ${name} cannot be written`, { at: { name }, cause });
  }
  return { name, address };
}

/**
 * Opens a key.
 *
 * @returns its 32 bytes
 * @throws {@link KeystoreError} `MALFORMED_NAME`, `PASSWORD_EMPTY`, `KEY_NOT_FOUND`, `MALFORMED_KEY_FILE`,
 * `PASSWORD_WRONG`, `KEYSTORE_UNREADABLE`
 */
export async function openKey(folder: string, name: string, password: string): Promise<Uint8Array> {
  const { text, address } = await readKeyFile(folder, name);
  assertPassword(password);
  let privateKey: Uint8Array;
  try {
    privateKey = fromHex((await decryptKeystoreJson(text, password)).privateKey, 32);
  } catch (cause) {
    // ethers says "incorrect password" in the message alone; its errors hold the argument's name, not its value.
    if (cause instanceof Error && /incorrect password/.test(cause.message)) {
      throw new KeystoreError('PASSWORD_WRONG', `wrong password for key ${name}`, { at: { name } });
    }
    throw new KeystoreError('MALFORMED_KEY_FILE', `key ${name}: file cannot be decrypted`, { at: { name }, cause });
  }
  if (addressOf(privateKey) !== address) {
    throw new KeystoreError('MALFORMED_KEY_FILE', `key ${name}: file names another address`, { at: { name } });
  }
  return privateKey;
}

/**
 * The address that a key file names; unproved until {@link openKey}.
 *
 * @throws {@link KeystoreError} `MALFORMED_NAME`, `KEY_NOT_FOUND`, `MALFORMED_KEY_FILE`, `KEYSTORE_UNREADABLE`
 */
export async function readKey(folder: string, name: string): Promise<KeyEntry> {
  return { name, address: (await readKeyFile(folder, name)).address };
}

/**
 * Every key of a folder, by name; none if there is no folder.
 *
 * @throws {@link KeystoreError} `MALFORMED_KEY_FILE`, `KEYSTORE_UNREADABLE`
 */
export async function listKeys(folder: string): Promise<KeyEntry[]> {
  let files: string[];
  try {
    files = await readdir(folder);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw new KeystoreError('KEYSTORE_UNREADABLE', 'folder of keys cannot be read', { at: { folder }, cause });
  }
  const names = files
    .filter((file) => file.endsWith(EXTENSION))
    .map((file) => file.slice(0, -EXTENSION.length))
    .filter((name) => NAME.test(name))
    .sort();
  return Promise.all(names.map((name) => readKey(folder, name)));
}

/** @throws {@link KeystoreError} `PASSWORD_EMPTY` */
export function assertPassword(password: string): void {
  if (password.length === 0) throw new KeystoreError('PASSWORD_EMPTY', 'password is empty');
}

function keyPath(folder: string, name: string): string {
  if (!NAME.test(name)) {
    throw new KeystoreError('MALFORMED_NAME', 'name of a key has 1 to 64 lower-case letters, digits, - and _');
  }
  return join(folder, `${name}${EXTENSION}`);
}

/** Writes a file whole or not at all, and never over another one. */
async function writeNew(path: string, text: string): Promise<void> {
  const next = `${path}.${randomBytes(6).toString('hex')}.next`;
  const file = await open(next, 'wx', 0o600);
  try {
    await file.writeFile(text);
    await file.sync();
    // Unlike a rename, a link never replaces a file that is there.
    await link(next, path);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== 'EEXIST') throw cause;
    throw new KeystoreError('KEY_EXISTS', 'a key of this name exists already', { at: { file: path } });
  } finally {
    await file.close();
    await rm(next, { force: true });
  }
}

async function readKeyFile(folder: string, name: string): Promise<{ readonly text: string; readonly address: Hex }> {
  const path = keyPath(folder, name);
  const at = { name };
  let text: string;
  try {
    const file = await open(path, 'r');
    try {
      const { size } = await file.stat();
      if (size > MAX_FILE_BYTES)
        throw new KeystoreError('MALFORMED_KEY_FILE', `key ${name}: file is too large`, { at });
      text = await file.readFile('utf8');
    } finally {
      await file.close();
    }
  } catch (cause) {
    if (cause instanceof KeystoreError) throw cause;
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') {
      throw new KeystoreError('KEY_NOT_FOUND', `no key ${name}`, { at });
    }
    throw new KeystoreError('KEYSTORE_UNREADABLE', `key ${name} cannot be read`, { at, cause });
  }
  const address = parseKeyFile(text);
  if (address === undefined) {
    throw new KeystoreError('MALFORMED_KEY_FILE', `key ${name}: file is no encrypted key of version 3`, { at });
  }
  return { text, address };
}

/** The address of a key file that is safe to decrypt, or undefined. */
function parseKeyFile(text: string): Hex | undefined {
  if (!isKeystoreJson(text)) return undefined;
  const value = JSON.parse(text) as { address?: unknown; Crypto?: unknown; crypto?: unknown };
  const address = typeof value.address === 'string' ? value.address.toLowerCase().replace(/^0x/, '') : '';
  if (!/^[0-9a-f]{40}$/.test(address)) return undefined;
  const section = (value.Crypto ?? value.crypto) as { kdf?: unknown; kdfparams?: unknown } | null | undefined;
  const { n, r, p } = (section?.kdfparams ?? {}) as { n?: unknown; r?: unknown; p?: unknown };
  if (section?.kdf !== 'scrypt' || typeof n !== 'number' || typeof r !== 'number' || typeof p !== 'number')
    return undefined;
  if (!(n > 0 && r > 0 && p > 0 && p <= 8 && n * r <= MAX_SCRYPT_WORK)) return undefined;
  return `0x${address}`;
}
