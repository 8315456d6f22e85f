/**
 * Runs as files of one folder: `ID.trace`, journal and bundle; `ID.status.json`, derived; `ID.signed.jsonl`, what its wallets signed. ID is the
 * run id in hexadecimal without `0x`. One process at a time writes the journal of a run (`journal-lock.ts`).
 *
 * @module
 */

import { constants, createReadStream } from 'node:fs';
import { type FileHandle, mkdir, open, readdir, readFile, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Hex } from '../../attest/core/bytes.ts';
import { continueJournal, type Journal, JournalError, openJournal } from '../journal.ts';
import { lockJournal } from '../journal-lock.ts';
import type { Growth } from '../record-feed.ts';
import { withholdPayloads } from '../retention.ts';
import { isOver, readStatus, removeStatus, writeStatus } from '../run-status.ts';
import type { RunClaim, RunStore, SignedLog } from './ports.ts';

/** Opens a folder of runs; it is made if it is not there. */
export async function openFileStore(folder: string): Promise<RunStore> {
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const path = (run: Hex) => join(folder, `${run.slice(2)}.trace`);
  const statusPath = (run: Hex) => join(folder, `${run.slice(2)}.status.json`);

  const claim = async (run: Hex): Promise<RunClaim> => {
    const lock = await lockJournal(path(run));
    let journal: Journal | undefined;
    const signed = openSignedLog(join(folder, `${run.slice(2)}.signed.jsonl`));
    return {
      read: () => readBundle(path(run)),
      async proceed(keepBytes) {
        journal = await continueJournal(path(run), keepBytes);
        // What it says is no longer so; whoever finds no status asks the journal.
        await removeStatus(statusPath(run));
        return journal;
      },
      async rest(status) {
        // Of a run that is broken nothing is written beside the journal: the next process tries again.
        if (isOver(status) || status.status === 'suspended') await writeStatus(statusPath(run), status);
      },
      async discard() {
        await rm(path(run), { force: true });
      },
      signed,
      async release() {
        await signed.close();
        await journal?.close();
        await lock.release();
      },
    };
  };

  return {
    async open({ status }) {
      const runs = (await readdir(folder)).flatMap((name) => /^([0-9a-f]{64})\.trace$/.exec(name)?.[1] ?? []);
      for (const name of runs) {
        const run = `0x${name}` as Hex;
        const found = await readStatus(statusPath(run));
        status(run, found?.status === 'running' ? undefined : found);
      }
    },
    async create({ run }, bytes) {
      let journal: Journal;
      try {
        journal = await openJournal(path(run));
      } catch (error) {
        if (error instanceof JournalError && error.code === 'JOURNAL_EXISTS') return false;
        throw error;
      }
      try {
        await journal.append(bytes);
      } catch (error) {
        // Nobody was told of it.
        await rm(path(run), { force: true });
        throw error;
      } finally {
        await journal.close();
      }
      return true;
    },
    claim,
    read: (run, growth, signal) => readGrowing(path(run), growth, signal),
    path,
    async fetch(run) {
      try {
        await stat(path(run));
      } catch (cause) {
        throw missing(path(run), cause);
      }
      return path(run);
    },
    async withhold(status) {
      await withholdPayloads(path(status.run));
      await writeStatus(statusPath(status.run), status);
    },
    async close() {},
  };
}

/** A log of lines in a file, made with its first line. */
function openSignedLog(path: string): SignedLog & { close(): Promise<void> } {
  let file: FileHandle | undefined;
  const openIt = async (): Promise<FileHandle> => {
    const flags = constants.O_CREAT | constants.O_APPEND | constants.O_WRONLY;
    const opened = await open(path, flags, 0o600);
    // The name of a new file is durable only with its folder.
    const folder = await open(join(path, '..'), constants.O_RDONLY);
    try {
      await folder.sync();
    } finally {
      await folder.close();
    }
    return opened;
  };
  return {
    read: () => readOrNothing(path),
    async append(bytes) {
      try {
        file ??= await openIt();
        await file.appendFile(bytes);
        await file.datasync();
      } catch (cause) {
        const errno = (cause as NodeJS.ErrnoException).code ?? 'unknown';
        throw new JournalError('JOURNAL_UNWRITABLE', `${path} cannot be written (${errno})`, {
          at: { path, errno },
          cause,
        });
      }
    },
    async close() {
      await file?.close();
      file = undefined;
    },
  };
}

async function readOrNothing(path: string): Promise<Buffer> {
  try {
    return await readFile(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return Buffer.alloc(0);
    throw error;
  }
}

async function* readBundle(path: string): AsyncGenerator<Uint8Array> {
  try {
    yield* createReadStream(path);
  } catch (cause) {
    throw missing(path, cause);
  }
}

async function* readGrowing(
  path: string,
  growth: Growth | undefined,
  signal: AbortSignal | undefined,
): AsyncGenerator<Uint8Array> {
  let file: FileHandle;
  try {
    file = await open(path, 'r');
  } catch (cause) {
    throw missing(path, cause);
  }
  try {
    let position = 0;
    let isLast = growth === undefined;
    for (;;) {
      const piece = Buffer.alloc(64 * 1024);
      const { bytesRead } = await file.read(piece, 0, piece.length, position);
      position += bytesRead;
      if (bytesRead > 0) {
        yield piece.subarray(0, bytesRead);
        continue;
      }
      if (isLast || signal?.aborted === true || growth === undefined) return;
      // What was written before the end was told is still read.
      isLast = !(await growth.next(signal));
    }
  } finally {
    await file.close();
  }
}

function missing(path: string, cause: unknown): unknown {
  if ((cause as NodeJS.ErrnoException).code !== 'ENOENT') return cause;
  return new JournalError('JOURNAL_MISSING', `${path} does not exist`, { at: { path }, cause });
}
