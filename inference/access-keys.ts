/**
 * Access keys of the API: who may ask, and how much. A server keeps their hashes alone.
 *
 * A key has 256 random bits, so a plain SHA-256 of it tells nobody more than its length: there are no guesses that a slow, salted hash
 * would have to make dear, as with passwords, and a hash that is computed for every request has to be quick.
 *
 * The file has one JSON object a line and only grows: a key, or the end of one, so that two commands at a time lose nothing.
 *
 * @module
 */

import { createHash, timingSafeEqual } from 'node:crypto';
import { z } from 'zod';
import { RuntimeError } from '../attest/core/error.ts';

export type AccessKeyErrorCode =
  /** Not a line of the file; `at.line`, `at.file`. */
  | 'KEYS_MALFORMED'
  /** The file cannot be read or written; `at.file`. */
  | 'KEYS_UNREADABLE'
  /** Others than its owner may write to the file; `at.file`. */
  | 'KEYS_UNSAFE'
  /** A name that no key can have. */
  | 'NAME_MALFORMED'
  /** Another key has the name; `at.id`. */
  | 'NAME_TAKEN'
  /** No key has the id; `at.id`. */
  | 'KEY_UNKNOWN'
  /** A limit that is no whole number from 1 on; `at.limit`. */
  | 'LIMIT_MALFORMED';

/** Faults of access keys themselves, as opposed to requests without a right one. */
export class AccessKeyError extends RuntimeError<AccessKeyErrorCode> {
  override readonly name = 'AccessKeyError';
}

/** Most of one key; null for no limit of its own. */
export type AccessKeyLimits = {
  /** Requests in the engine at once. */
  readonly active: number | null;
  /** Requests that wait besides. */
  readonly waiting: number | null;
  readonly requestsPerMinute: number | null;
  /** Tokens of prompts and answers. */
  readonly tokensPerMinute: number | null;
};

/** A key as it is kept. */
export type AccessKey = {
  /** `ak-` and 12 hexadecimal digits. */
  readonly id: string;
  /** For people. */
  readonly name: string;
  /** Of the whole key, `tb-` included; 64 hexadecimal digits. */
  readonly sha256: string;
  readonly limits: AccessKeyLimits;
  /** ISO 8601, UTC. */
  readonly created: string;
};

/** Limits by name, in the order of the help. */
export const ACCESS_KEY_LIMITS = ['active', 'waiting', 'requestsPerMinute', 'tokensPerMinute'] as const;

/** Key bytes: 256 bits, so that none is ever guessed. */
const SECRET_BYTES = 32;
const SECRET = /^tb-[A-Za-z0-9_-]{43}$/;
const ID_BYTES = 6;

/** Longest line, in characters. */
const MAX_LINE = 4096;

const limit = z.int().min(1).nullable();
const keyLine = z.strictObject({
  id: z.string().regex(/^ak-[0-9a-f]{12}$/),
  name: z.string().refine(isName, 'expected 1 to 64 characters, none of them a control character'),
  sha256: z.string().regex(/^[0-9a-f]{64}$/),
  limits: z.strictObject({ active: limit, waiting: limit, requestsPerMinute: limit, tokensPerMinute: limit }),
  created: z.iso.datetime(),
});
const endLine = z.strictObject({ revoked: z.string(), at: z.iso.datetime() });

/**
 * Makes a key.
 *
 * @param limits - those that are absent are null
 * @param ports.random - so many unpredictable bytes
 * @param ports.now - milliseconds since 1970
 * @returns the key as it is kept, and the secret, which nobody can tell again
 * @throws {@link AccessKeyError} `NAME_MALFORMED`, `LIMIT_MALFORMED`
 */
export function makeAccessKey(
  name: string,
  limits: Partial<AccessKeyLimits>,
  ports: { readonly random: (bytes: number) => Uint8Array; readonly now: () => number },
): { readonly key: AccessKey; readonly secret: string } {
  if (!isName(name)) {
    throw new AccessKeyError(
      'NAME_MALFORMED',
      'expected a name of 1 to 64 characters, none of them a control character',
    );
  }
  for (const which of ACCESS_KEY_LIMITS) {
    const value = limits[which] ?? null;
    if (value !== null && !(Number.isSafeInteger(value) && value >= 1)) {
      throw new AccessKeyError('LIMIT_MALFORMED', `expected ${which} to be a whole number from 1 on`, {
        at: { limit: which },
      });
    }
  }
  const secret = `tb-${Buffer.from(ports.random(SECRET_BYTES)).toString('base64url')}`;
  const { active = null, waiting = null, requestsPerMinute = null, tokensPerMinute = null } = limits;
  const key: AccessKey = {
    id: `ak-${Buffer.from(ports.random(ID_BYTES)).toString('hex')}`,
    name,
    sha256: hashOf(secret).toString('hex'),
    limits: { active, waiting, requestsPerMinute, tokensPerMinute },
    created: new Date(ports.now()).toISOString(),
  };
  return { key, secret };
}

/**
 * Reads the keys that are in force.
 *
 * @param text - untrusted
 * @param file - named in errors
 * @throws {@link AccessKeyError} `KEYS_MALFORMED` with the number of the line, from 1 on
 */
export function parseAccessKeys(text: string, file: string): AccessKey[] {
  const keys = new Map<string, AccessKey>();
  text.split('\n').forEach((line, index) => {
    if (line.trim() === '') return;
    const malformed = (reason: string, cause?: unknown) =>
      new AccessKeyError('KEYS_MALFORMED', `${file}, line ${index + 1}: ${reason}`, {
        at: { file, line: index + 1 },
        cause,
      });
    if (line.length > MAX_LINE) throw malformed(`more than ${MAX_LINE} characters`);
    let value: unknown;
    try {
      value = JSON.parse(line);
    } catch (cause) {
      throw malformed('not JSON', cause);
    }
    const isEnd = typeof value === 'object' && value !== null && 'revoked' in value;
    if (isEnd) {
      const end = endLine.safeParse(value);
      if (!end.success) throw malformed(reasonOf(end.error));
      if (!keys.delete(end.data.revoked)) throw malformed('the end of a key that is not in force');
      return;
    }
    const read = keyLine.safeParse(value);
    if (!read.success) throw malformed(reasonOf(read.error));
    if (keys.has(read.data.id)) throw malformed(`a second key ${read.data.id}`);
    keys.set(read.data.id, read.data);
  });
  return [...keys.values()];
}

/** The line of a key, or of its end; without a line break. */
export function accessKeyLine(entry: AccessKey | { readonly revoked: string; readonly at: string }): string {
  return JSON.stringify(entry);
}

/**
 * The key whose secret somebody gave. The time that it takes depends on the number of keys alone.
 *
 * @param secret - untrusted; what follows `Bearer ` in a request
 */
export function findAccessKey(keys: readonly AccessKey[], secret: string): AccessKey | undefined {
  if (!SECRET.test(secret)) return undefined;
  const hash = hashOf(secret);
  let found: AccessKey | undefined;
  for (const key of keys) if (timingSafeEqual(hash, Buffer.from(key.sha256, 'hex'))) found = key;
  return found;
}

function hashOf(secret: string): Buffer {
  return createHash('sha256').update(secret, 'utf8').digest();
}

function isName(name: string): boolean {
  return name.length >= 1 && name.length <= 64 && name.trim() === name && !/\p{C}/u.test(name);
}

/** The first thing that is wrong. */
function reasonOf({ issues }: z.ZodError): string {
  const [issue] = issues;
  return issue === undefined ? 'not a key' : [...issue.path.map(String), issue.message].join(': ');
}
