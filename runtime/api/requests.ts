/**
 * The book of requests: which run a request began, and whose it is. It is what makes `Idempotency-Key` hold across a crash.
 *
 * B1. An entry is on disk before its run is begun: a request that comes again after a crash finds the run that the first one named, and
 *     begins that one if it was never begun.
 * B2. A name is taken once, by whichever process links its file first.
 * B3. An entry holds no payload. What could tell one (salts, and the digest of the body under one) goes when the run's payloads go.
 *
 * Files: `NAME.json`, NAME the SHA-256 of owner and key, or the run id of a request without a key.
 *
 * @module
 */

import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { type FileHandle, link, mkdir, open, readdir, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { fromHex, type Hex, toHex, utf8 } from '../../attest/core/bytes.ts';
import { sha256 } from '../../attest/core/hash.ts';
import { canonicalBytes, type Json } from '../../attest/encoding/canonical-json.ts';
import { RunApiError } from './errors.ts';

const hex = (bytes: number) =>
  z
    .string()
    .regex(new RegExp(`^0x[0-9a-f]{${2 * bytes}}$`))
    .transform((text) => text as Hex);

const entrySchema = z.strictObject({
  version: z.literal(1),
  run: hex(32),
  /** Id of an access key; empty where none is asked for. */
  owner: z.string(),
  /** Whether an `Idempotency-Key` names it. */
  keyed: z.boolean(),
  /** Null once the payloads of the run are gone. */
  made: z
    .strictObject({
      /** SHA-256 of salt and canonical body. */
      digest: hex(32),
      salt: hex(32),
      inputSalt: hex(32),
      request: z.strictObject({
        agent: hex(32),
        caller: hex(20),
        expiry: z.string(),
        input: hex(32),
        limits: hex(32),
        nonce: hex(32),
      }),
      limits: z.strictObject({
        bytes: z.string(),
        fuel: z.string(),
        steps: z.string(),
        tokens: z.string(),
        wallMs: z.string(),
      }),
      signature: hex(65).nullable(),
    })
    .nullable(),
});

/** A request that was made. */
export type RequestEntry = z.output<typeof entrySchema>;

/** The requests of one folder of runs. */
export type RequestBook = {
  /** The entry of an owner's key. */
  find(owner: string, key: string): RequestEntry | undefined;
  /** Whose access key began a run; undefined for a run that no entry names. */
  ownerOf(run: Hex): string | undefined;
  /**
   * Adds an entry, durably.
   *
   * @returns the entry that stands: another process's, if that was quicker
   */
  add(entry: RequestEntry, key: string | undefined): Promise<RequestEntry>;
  /** Puts another entry in the place of one whose run was never begun. */
  replace(entry: RequestEntry, key: string): Promise<void>;
  /** Takes back an entry whose run was never begun. */
  remove(entry: RequestEntry, key: string | undefined): Promise<void>;
  /** Forgets all that could tell a payload. */
  forget(run: Hex): Promise<void>;
};

/**
 * Opens the book of a folder, which is made.
 *
 * @throws {@link RunApiError} `REQUESTS_MALFORMED`
 */
export async function openRequestBook(folder: string): Promise<RequestBook> {
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const entries = new Map<string, RequestEntry>();
  const byRun = new Map<Hex, string>();
  const keep = (name: string, entry: RequestEntry) => {
    entries.set(name, entry);
    byRun.set(entry.run, name);
  };
  const drop = (name: string) => {
    const known = entries.get(name);
    entries.delete(name);
    if (known !== undefined && byRun.get(known.run) === name) byRun.delete(known.run);
  };
  const pathOf = (name: string) => join(folder, `${name}.json`);
  for (const file of await readdir(folder)) {
    const name = /^([0-9a-f]{64})\.json$/.exec(file)?.[1];
    if (name !== undefined) keep(name, await readEntry(pathOf(name)));
  }
  return {
    find: (owner, key) => entries.get(nameOf(owner, key)),
    ownerOf(run) {
      const name = byRun.get(run);
      return name === undefined ? undefined : entries.get(name)?.owner;
    },
    async add(entry, key) {
      const name = key === undefined ? entry.run.slice(2) : nameOf(entry.owner, key);
      const path = pathOf(name);
      const isFirst = await writeAside(path, entry, async (aside) => {
        try {
          await link(aside, path);
          return true;
        } catch (error) {
          if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
          throw error;
        }
      });
      const standing = isFirst ? entry : await readEntry(path);
      keep(name, standing);
      return standing;
    },
    async replace(entry, key) {
      const name = nameOf(entry.owner, key);
      await overwrite(pathOf(name), entry);
      drop(name);
      keep(name, entry);
    },
    async remove(entry, key) {
      const name = key === undefined ? entry.run.slice(2) : nameOf(entry.owner, key);
      drop(name);
      await rm(pathOf(name), { force: true });
    },
    async forget(run) {
      const name = byRun.get(run);
      const entry = name === undefined ? undefined : entries.get(name);
      if (name === undefined || entry === undefined || entry.made === null) return;
      const forgotten = { ...entry, made: null };
      await overwrite(pathOf(name), forgotten);
      keep(name, forgotten);
    },
  };
}

/** Digest of a request's body under a salt, by which the same one is known again. */
export function digestBody(body: Json, salt: Hex): Hex {
  return toHex(sha256(fromHex(salt), canonicalBytes(body)));
}

function nameOf(owner: string, key: string): string {
  return toHex(sha256(utf8(`tracebond/idempotency-key/1\0${owner}\0${key}`))).slice(2);
}

async function readEntry(path: string): Promise<RequestEntry> {
  const text = await readFile(path, 'utf8');
  try {
    return entrySchema.parse(JSON.parse(text));
  } catch (cause) {
    throw new RunApiError('REQUESTS_MALFORMED', `${path} is no request of this program`, { at: { path }, cause });
  }
}

function overwrite(path: string, entry: RequestEntry): Promise<void> {
  return writeAside(path, entry, (aside) => rename(aside, path));
}

/** Writes an entry beside its place, has it put there, and makes the name durable. */
async function writeAside<T>(path: string, entry: RequestEntry, place: (aside: string) => Promise<T>): Promise<T> {
  const aside = `${path}.${randomBytes(6).toString('hex')}.tmp`;
  try {
    const file = await open(aside, 'wx', 0o600);
    await synced(file, () => file.writeFile(`${JSON.stringify(entry)}\n`));
    const placed = await place(aside);
    const folder = await open(join(path, '..'), constants.O_RDONLY);
    await synced(folder, async () => {});
    return placed;
  } finally {
    await rm(aside, { force: true });
  }
}

async function synced(file: FileHandle, work: () => Promise<void>): Promise<void> {
  try {
    await work();
    await file.sync();
  } finally {
    await file.close();
  }
}
