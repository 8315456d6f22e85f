/**
 * Keys of secp256k1 that a command takes from its environment or from a file of its own.
 *
 * @module
 */

import { randomBytes } from 'node:crypto';
import { closeSync, constants, fstatSync, fsyncSync, mkdirSync, openSync, readFileSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { fromHex, toHex } from '../../attest/core/bytes.ts';
import { RuntimeError } from '../../attest/core/error.ts';
import { EncodingError } from '../../attest/encoding/errors.ts';
import { addressOf } from '../../attest/sign/secp256k1.ts';

/**
 * Reads a key of 32 bytes in hexadecimal, `0x` or not.
 *
 * @param refuse - makes the command's own error; the reason does not quote the value
 */
export function readSecretKey(text: string, refuse: (reason: string) => Error): Uint8Array {
  try {
    const key = fromHex(text.startsWith('0x') ? text : `0x${text}`, 32);
    addressOf(key);
    return key;
  } catch (error) {
    if (!RuntimeError.is(error)) throw error;
    // The cause may quote the value.
    throw refuse(
      error instanceof EncodingError ? 'expected 32 bytes in lower-case hexadecimal' : 'no key of secp256k1',
    );
  }
}

/** 32 random bytes that are a key; all but one in 2^128 are. */
export function randomSecretKey(): Uint8Array {
  const key = new Uint8Array(randomBytes(32));
  addressOf(key);
  return key;
}

/**
 * The key of a file, which is made, with a fresh key, if it is not there; readable by its owner alone.
 *
 * @returns the key, and whether it was made now
 * @param refuse - makes the command's own error of a file that others can read, or that holds no key
 */
export function keyOfFile(
  path: string,
  refuse: (reason: string) => Error,
): { readonly key: Uint8Array; readonly isNew: boolean } {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  let file: number;
  try {
    file = openSync(path, constants.O_CREAT | constants.O_EXCL | constants.O_WRONLY, 0o600);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    return { key: readKeyFile(path, refuse), isNew: false };
  }
  try {
    const key = randomSecretKey();
    writeSync(file, `${toHex(key)}\n`);
    fsyncSync(file);
    return { key, isNew: true };
  } finally {
    closeSync(file);
  }
}

function readKeyFile(path: string, refuse: (reason: string) => Error): Uint8Array {
  const file = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    if ((fstatSync(file).mode & 0o077) !== 0) throw refuse(`others than its owner may read ${path}: chmod 600 it`);
    return readSecretKey(readFileSync(file, 'utf8').trim(), (reason) => refuse(`${path}: ${reason}`));
  } finally {
    closeSync(file);
  }
}
