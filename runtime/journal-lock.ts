/**
 * One writer for one journal: a name in the kernel that is free again when its holder ends, however it ends.
 *
 * On Linux it is a socket in the abstract namespace, which leaves no file behind; elsewhere a socket file.
 *
 * @module
 * @see unix(7), abstract sockets
 */

import { realpath, unlink } from 'node:fs/promises';
import { connect, createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { toHex, utf8 } from '../attest/core/bytes.ts';
import { sha256 } from '../attest/core/hash.ts';
import { JournalError } from './journal.ts';

/** A lock that is held. */
export type JournalLock = { release(): Promise<void> };

/**
 * Takes the lock of a journal, which need not exist.
 *
 * @throws {@link JournalError} `JOURNAL_IN_USE` while anybody on this computer holds it; `JOURNAL_MISSING` without its folder
 */
export async function lockJournal(path: string): Promise<JournalLock> {
  let folder: string;
  try {
    folder = await realpath(dirname(path));
  } catch (cause) {
    throw new JournalError('JOURNAL_MISSING', `${dirname(path)} does not exist`, { at: { path }, cause });
  }
  const name = `tracebond-${toHex(sha256(utf8(join(folder, basename(path))))).slice(2, 42)}`;
  const address = process.platform === 'linux' ? `\0${name}` : join(tmpdir(), `${name}.sock`);
  for (let attempt = 0; ; attempt++) {
    try {
      const server = await listen(address);
      return {
        release: () => new Promise((resolve) => server.close(() => resolve())),
      };
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code !== 'EADDRINUSE') throw cause;
      // The file of a holder that was killed stays behind; nobody answers at it.
      const isStale = process.platform !== 'linux' && !(await answers(address));
      if (!isStale || attempt > 0) {
        throw new JournalError('JOURNAL_IN_USE', `${path} is written by another run of this program`, { at: { path } });
      }
      await unlink(address);
    }
  }
}

function listen(address: string): Promise<Server> {
  const server = createServer((socket) => socket.destroy());
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen({ path: address, exclusive: true }, () => {
      server.unref();
      resolve(server);
    });
  });
}

function answers(address: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(address);
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}
