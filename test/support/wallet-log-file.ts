/**
 * Lines of a file, durable when they are acknowledged: the plainest store of what a run has signed.
 *
 * @module
 */

import { constants } from 'node:fs';
import { open, readFile } from 'node:fs/promises';
import type { SignedLog } from '../../runtime/queue/ports.ts';

/** The lines of a file, which is made with the first of them. */
export function fileLog(path: string): SignedLog {
  return {
    async read() {
      try {
        return await readFile(path);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
        return new Uint8Array();
      }
    },
    async append(bytes) {
      const file = await open(path, constants.O_CREAT | constants.O_APPEND | constants.O_WRONLY, 0o600);
      try {
        await file.appendFile(bytes);
        await file.datasync();
      } finally {
        await file.close();
      }
    },
  };
}
