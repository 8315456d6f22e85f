/**
 * The journal: a trace file that is written ahead. What `append` was given is on disk when it returns.
 *
 * @module
 */

import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { dirname } from 'node:path';
import { RuntimeError } from '../attest/core/error.ts';
import type { TraceSink } from '../attest/trace/writer.ts';

export type JournalErrorCode =
  | 'JOURNAL_EXISTS'
  | 'JOURNAL_MISSING'
  /** Another process, or this one, writes it already: two writers would sign two histories. */
  | 'JOURNAL_IN_USE'
  /** Another worker has claimed the run meanwhile. */
  | 'JOURNAL_FENCED'
  /** The store cannot be reached; whether the last piece was written is known when the journal is read again. */
  | 'JOURNAL_UNREACHABLE'
  | 'JOURNAL_FULL'
  | 'JOURNAL_UNWRITABLE';

/** The journal could not be made or continued; what was appended before is safe. */
export class JournalError extends RuntimeError<JournalErrorCode> {
  override readonly name = 'JournalError';
}

/** The part of a file handle that a journal uses. */
export type JournalFile = {
  write(bytes: Uint8Array, offset: number, length: number): Promise<{ readonly bytesWritten: number }>;
  datasync(): Promise<void>;
  close(): Promise<void>;
};

/** An open journal; close it when the run is over. */
export type Journal = TraceSink & { close(): Promise<void> };

/**
 * Creates a journal file. An existing file is never continued or overwritten.
 *
 * @param create - opens the file; replaced in tests of failing disks
 * @throws {@link JournalError} `JOURNAL_EXISTS`, `JOURNAL_UNWRITABLE`; from `append` also `JOURNAL_FULL`
 */
export async function openJournal(
  path: string,
  create: (path: string) => Promise<JournalFile> = createFile,
): Promise<Journal> {
  let file: JournalFile;
  try {
    file = await create(path);
  } catch (cause) {
    throw journalError(path, cause);
  }
  return {
    async append(bytes) {
      try {
        for (let at = 0; at < bytes.length; ) {
          const { bytesWritten } = await file.write(bytes, at, bytes.length - at);
          at += bytesWritten;
        }
        await file.datasync();
      } catch (cause) {
        throw journalError(path, cause);
      }
    },
    close: () => file.close(),
  };
}

/**
 * Opens a journal to go on with it, cut to what is whole. Nobody else can write it until it is closed.
 *
 * @param keepBytes - length of the whole part, from `readJournal`
 * @throws {@link JournalError} `JOURNAL_MISSING`, `JOURNAL_UNWRITABLE`
 */
export async function continueJournal(path: string, keepBytes: number): Promise<Journal> {
  return openJournal(path, async () => {
    const file = await open(path, constants.O_APPEND | constants.O_WRONLY);
    try {
      if ((await file.stat()).size > keepBytes) {
        await file.truncate(keepBytes);
        await file.datasync();
      }
    } catch (error) {
      await file.close();
      throw error;
    }
    return file;
  });
}

async function createFile(path: string): Promise<JournalFile> {
  const file = await open(path, constants.O_CREAT | constants.O_EXCL | constants.O_APPEND | constants.O_WRONLY, 0o644);
  // The name of a new file is durable only with its folder.
  const folder = await open(dirname(path), constants.O_RDONLY);
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
  return file;
}

function journalError(path: string, cause: unknown): JournalError {
  const code = (cause as NodeJS.ErrnoException).code ?? 'unknown';
  const at = { path, errno: code };
  if (code === 'EEXIST') return new JournalError('JOURNAL_EXISTS', `${path} already exists`, { at, cause });
  if (code === 'ENOENT') return new JournalError('JOURNAL_MISSING', `${path} does not exist`, { at, cause });
  if (code === 'ENOSPC' || code === 'EDQUOT') {
    return new JournalError('JOURNAL_FULL', `no space left for ${path}`, { at, cause });
  }
  return new JournalError('JOURNAL_UNWRITABLE', `${path} cannot be written (${code})`, { at, cause });
}
