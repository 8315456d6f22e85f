/**
 * Marks of the processes that serve a model, so that its files are not removed under them: a process that dies starts its
 * engine again from the files.
 *
 * @module
 */

import { mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { isModelId } from './manifest.ts';

const FOLDER = '.in-use';

/**
 * Says that this process serves a model, until the returned function is called or the process ends.
 *
 * @param folder - of fetched models
 * @param id - of a model of the store, or of the shipped one
 */
export function markInUse(folder: string, id: string): () => void {
  // Another name than that of a model here is the path of one that nobody removes through the store.
  if (!isModelId(id)) return () => {};
  const marks = join(folder, FOLDER);
  const path = join(marks, `${id}@${hostname()}@${process.pid}`);
  try {
    mkdirSync(marks, { recursive: true });
    writeFileSync(path, '');
  } catch (error) {
    // Nobody can remove a model from a folder that cannot be written, so nothing is lost.
    const { code = '' } = error as NodeJS.ErrnoException;
    if (['EACCES', 'EPERM', 'EROFS'].includes(code)) return () => {};
    throw error;
  }
  return () => rmSync(path, { force: true });
}

/** A process that serves a model. */
export type ModelUser = { readonly pid: number; readonly host: string };

/** The processes that serve a model. Marks of dead processes of this computer are removed; of others nothing is known. */
export function usersOf(folder: string, id: string): ModelUser[] {
  const marks = join(folder, FOLDER);
  return namesIn(marks).flatMap((name) => {
    const [, model, host = '', pid = ''] = /^(.*)@([^@]*)@([^@]*)$/.exec(name) ?? [];
    if (model !== id) return [];
    const user = { pid: Number(pid), host };
    if (host !== hostname() || isAlive(user.pid)) return [user];
    rmSync(join(marks, name), { force: true });
    return [];
  });
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}

function isAlive(pid: number): boolean {
  if (!Number.isInteger(pid) || pid <= 0) return false;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
