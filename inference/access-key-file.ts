/**
 * The file of access keys, read again when it changes: a key that is revoked opens nothing from then on, without a restart.
 *
 * K1. What cannot be read lets nobody in: a missing, damaged or unsafe file refuses every key.
 * K2. Lines are only appended, each in one write, by whoever holds the file's owner rights.
 *
 * @module
 */

import {
  closeSync,
  constants,
  fstatSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readSync,
  statSync,
  writeSync,
} from 'node:fs';
import { dirname } from 'node:path';
import {
  type AccessKey,
  AccessKeyError,
  type AccessKeyLimits,
  accessKeyLine,
  findAccessKey,
  makeAccessKey,
  parseAccessKeys,
} from './access-keys.ts';

/** Largest file, in bytes: some 50,000 keys. */
const MAX_BYTES = 16 * 2 ** 20;

/** Keys of a server. */
export type AccessKeys = {
  /**
   * Whose secret it is; undefined for a stranger's.
   *
   * @param secret - untrusted
   * @throws {@link AccessKeyError} `KEYS_UNREADABLE`, `KEYS_UNSAFE`, `KEYS_MALFORMED`
   */
  authenticate(secret: string): Pick<AccessKey, 'id' | 'limits'> | undefined;
};

/**
 * Opens a file of keys.
 *
 * @throws {@link AccessKeyError} `KEYS_UNREADABLE`, `KEYS_UNSAFE`, `KEYS_MALFORMED`
 */
export function openAccessKeys(path: string): AccessKeys {
  let version = '';
  let keys: readonly AccessKey[] = [];
  const refresh = () => {
    const now = versionOf(path);
    if (now === version) return;
    // Not before it was read: what fails once fails until it is mended.
    const read = readAccessKeys(path);
    version = now;
    keys = read;
  };
  refresh();
  return {
    authenticate(secret) {
      refresh();
      return findAccessKey(keys, secret);
    },
  };
}

/**
 * The keys in force.
 *
 * @throws {@link AccessKeyError} `KEYS_UNREADABLE`, `KEYS_UNSAFE`, `KEYS_MALFORMED`
 */
export function readAccessKeys(path: string): AccessKey[] {
  return parseAccessKeys(readText(path) ?? absent(path), path);
}

/**
 * Makes a key and adds it to the file, which is made if missing, readable by its owner alone.
 *
 * @returns as {@link makeAccessKey}
 * @throws {@link AccessKeyError} `NAME_MALFORMED`, `NAME_TAKEN`, `LIMIT_MALFORMED`, and as {@link readAccessKeys}
 */
export function addAccessKey(
  path: string,
  name: string,
  limits: Partial<AccessKeyLimits>,
  ports: Parameters<typeof makeAccessKey>[2],
): ReturnType<typeof makeAccessKey> {
  const made = makeAccessKey(name, limits, ports);
  const known = parseAccessKeys(readText(path) ?? '', path).find((key) => key.name === name);
  if (known !== undefined) {
    throw new AccessKeyError('NAME_TAKEN', `key ${known.id} has that name`, { at: { id: known.id } });
  }
  append(path, accessKeyLine(made.key));
  return made;
}

/**
 * Ends a key.
 *
 * @throws {@link AccessKeyError} `KEY_UNKNOWN`, and as {@link readAccessKeys}
 */
export function revokeAccessKey(path: string, id: string, now: () => number): AccessKey {
  const key = readAccessKeys(path).find((one) => one.id === id);
  if (key === undefined) throw new AccessKeyError('KEY_UNKNOWN', `no key ${JSON.stringify(id)}`, { at: { id } });
  append(path, accessKeyLine({ revoked: id, at: new Date(now()).toISOString() }));
  return key;
}

/** What changes with a file, without reading it. */
function versionOf(path: string): string {
  try {
    const { dev, ino, size, mtimeNs, ctimeNs } = statSync(path, { bigint: true });
    return [dev, ino, size, mtimeNs, ctimeNs].join();
  } catch (cause) {
    throw unreadable(path, cause);
  }
}

/** Undefined where there is no file. */
function readText(path: string): string | undefined {
  let descriptor: number;
  try {
    // A pipe would hold up everything until somebody writes to it.
    descriptor = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw unreadable(path, cause);
  }
  try {
    const found = fstatSync(descriptor);
    if (!found.isFile()) {
      throw new AccessKeyError('KEYS_UNREADABLE', `${path} is no file`, { at: { file: path } });
    }
    const { size, mode } = found;
    // Whoever writes to it lets himself in.
    if ((mode & 0o022) !== 0) {
      throw new AccessKeyError('KEYS_UNSAFE', `others than its owner may write to ${path}: chmod 600 it`, {
        at: { file: path },
      });
    }
    if (size > MAX_BYTES) {
      throw new AccessKeyError('KEYS_UNREADABLE', `${path} has ${size} bytes, at most ${MAX_BYTES}`, {
        at: { file: path },
      });
    }
    const bytes = Buffer.alloc(size);
    let length = 0;
    for (let read = -1; length < size && read !== 0; length += read) {
      read = readSync(descriptor, bytes, length, size - length, length);
    }
    return bytes.toString('utf8', 0, length);
  } catch (cause) {
    if (cause instanceof AccessKeyError) throw cause;
    throw unreadable(path, cause);
  } finally {
    closeSync(descriptor);
  }
}

function append(path: string, line: string): void {
  try {
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    const descriptor = openSync(path, 'a', 0o600);
    try {
      // A line before it that was never finished stays a line of its own.
      writeSync(descriptor, `${isEnded(path) ? '' : '\n'}${line}\n`);
      fsyncSync(descriptor);
    } finally {
      closeSync(descriptor);
    }
  } catch (cause) {
    throw new AccessKeyError('KEYS_UNREADABLE', `${path} cannot be written`, { at: { file: path }, cause });
  }
}

/** Whether the file is empty or ends with a line break. */
function isEnded(path: string, { size } = statSync(path)): boolean {
  if (size === 0) return true;
  const descriptor = openSync(path, 'r');
  try {
    const last = Buffer.alloc(1);
    readSync(descriptor, last, 0, 1, size - 1);
    return last[0] === 0x0a;
  } finally {
    closeSync(descriptor);
  }
}

function absent(path: string): never {
  throw new AccessKeyError(
    'KEYS_UNREADABLE',
    `there is no file ${path}: \`tracebond access-keys create NAME --file ${path}\` makes one`,
    { at: { file: path } },
  );
}

function unreadable(path: string, cause: unknown): AccessKeyError {
  const { code = 'unknown' } = cause as NodeJS.ErrnoException;
  return new AccessKeyError('KEYS_UNREADABLE', `${path} cannot be read: ${code}`, { at: { file: path }, cause });
}
