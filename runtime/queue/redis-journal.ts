/**
 * A journal in a Redis stream: pieces with their offsets, read as the bytes that they are of.
 *
 * @module
 */

import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { type FileHandle, open, rename, rm, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { Hex } from '../../attest/core/bytes.ts';
import { JournalError } from '../journal.ts';
import { RecoveryError } from '../recovery.ts';
import { QueueError } from './errors.ts';
import type { RedisLink } from './redis-connect.ts';

/** Greatest piece of a stream's entry; an append of more is several entries of one script. */
export const PIECE_BYTES = 1024 * 1024;
/** Greatest append. */
export const MAX_APPEND_BYTES = 128 * 1024 * 1024;
/** Entries that are read at once: 16 MiB at most. */
const PAGE = 16;

/** Cuts bytes into pieces; at least one. */
export function piecesOf(bytes: Uint8Array): Buffer[] {
  const whole = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  const pieces: Buffer[] = [];
  for (let at = 0; at === 0 || at < whole.length; at += PIECE_BYTES) pieces.push(whole.subarray(at, at + PIECE_BYTES));
  return pieces;
}

/** A place in a stream: the last entry that was read, and the bytes before the next. */
export type JournalPlace = { readonly id: string; readonly position: number };

export const JOURNAL_START: JournalPlace = { id: '0-0', position: 0 };

/**
 * Reads what a stream holds after a place; returns the place behind it.
 *
 * @throws {@link RecoveryError} `JOURNAL_CORRUPT` for entries that none of our scripts wrote
 */
export async function* readEntries(
  link: RedisLink,
  key: string,
  run: Hex,
  from: JournalPlace = JOURNAL_START,
): AsyncGenerator<Uint8Array, JournalPlace> {
  let { id, position } = from;
  for (;;) {
    const entries = await storeCall(run, () => link.call('XRANGE', key, `(${id}`, '+', 'COUNT', PAGE));
    if (!Array.isArray(entries) || entries.length === 0) return { id, position };
    for (const entry of entries) {
      const { id: next, offset, bytes } = readEntry(entry, run);
      // An entry that was cut in two: its first part may have been read already.
      if (offset > position) throw corrupt(run, `bytes ${position} to ${offset} are missing`);
      const fresh = bytes.subarray(Math.min(position - offset, bytes.length));
      id = next;
      position += fresh.length;
      if (fresh.length > 0) yield fresh;
    }
  }
}

function readEntry(entry: unknown, run: Hex): { readonly id: string; readonly offset: number; readonly bytes: Buffer } {
  const [id, fields] = Array.isArray(entry) ? entry : [];
  if (!Buffer.isBuffer(id) || !Array.isArray(fields) || fields.length !== 6)
    throw corrupt(run, 'an entry is none of it');
  const [o, offset, of, , b, bytes] = fields;
  const isSound =
    String(o) === 'o' &&
    String(of) === 'of' &&
    String(b) === 'b' &&
    /^\d{1,15}$/.test(String(offset)) &&
    Buffer.isBuffer(bytes);
  if (!isSound) throw corrupt(run, 'an entry is none of it');
  return { id: String(id), offset: Number(String(offset)), bytes };
}

function corrupt(run: Hex, why: string): RecoveryError {
  return new RecoveryError('JOURNAL_CORRUPT', `the journal of ${run}: ${why}`, { at: { run } });
}

/**
 * Calls the server for a run.
 *
 * @throws {@link JournalError} `JOURNAL_UNREACHABLE`; `JOURNAL_FULL` when its memory is, `JOURNAL_UNWRITABLE` for other refusals
 */
export async function storeCall<T>(run: Hex, call: () => Promise<T>): Promise<T> {
  try {
    return await call();
  } catch (error) {
    if (!(error instanceof QueueError)) throw error;
    const at = { ...error.at, run };
    if (error.code !== 'QUEUE_UNSUPPORTED') throw new JournalError('JOURNAL_UNREACHABLE', error.message, { at });
    if (error.at['reply'] === 'OOM') throw new JournalError('JOURNAL_FULL', 'the memory of the server is full', { at });
    throw new JournalError('JOURNAL_UNWRITABLE', error.message, { at });
  }
}

/** Writes a bundle under a path, whole or not at all, and durably. `isCurrent` is asked last: a bundle of nobody's is thrown away. */
export async function writeBundle(
  path: string,
  source: AsyncIterable<Uint8Array>,
  isCurrent: () => Promise<boolean> = async () => true,
): Promise<boolean> {
  const aside = `${path}.${randomBytes(6).toString('hex')}.tmp`;
  try {
    const file = await open(aside, constants.O_CREAT | constants.O_EXCL | constants.O_WRONLY, 0o644);
    try {
      for await (const bytes of source) await writeAll(file, bytes);
      await file.sync();
    } finally {
      await file.close();
    }
    if (!(await isCurrent())) {
      await rm(aside, { force: true });
      return false;
    }
    await rename(aside, path);
    const folder = await open(dirname(path), constants.O_RDONLY);
    try {
      await folder.sync();
    } finally {
      await folder.close();
    }
    return true;
  } catch (error) {
    await rm(aside, { force: true });
    throw error;
  }
}

async function writeAll(file: FileHandle, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length; ) at += (await file.write(bytes, at, bytes.length - at)).bytesWritten;
}

/** Size and time of the last change of a file; undefined where there is none. */
export async function fileFacts(
  path: string,
): Promise<{ readonly size: number; readonly mtimeMs: number } | undefined> {
  try {
    return await stat(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}
