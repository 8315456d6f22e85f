/**
 * Folders that are written aside and renamed when they are whole, so that a cache folder is complete or absent.
 *
 * @module
 */

import { mkdir, mkdtemp, readdir, rm, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';

/** Milliseconds after which a folder aside belongs to nobody: the process that wrote it was killed. */
const ABANDONED_MS = 3_600_000;

/**
 * Makes an empty folder beside `folder`, and removes those that killed processes left there.
 *
 * @param folder - where the result is to come; its parent is made if absent
 */
export async function makeAside(folder: string, now: () => number = Date.now): Promise<string> {
  const parent = dirname(folder);
  await mkdir(parent, { recursive: true });
  const prefix = `${basename(folder)}.new-`;
  for (const name of await readdir(parent)) {
    if (!name.startsWith(prefix)) continue;
    const path = join(parent, name);
    // Another process may have renamed or removed it meanwhile.
    const found = await stat(path).catch(() => undefined);
    if (found !== undefined && now() - found.mtimeMs > ABANDONED_MS) await rm(path, { recursive: true, force: true });
  }
  return mkdtemp(`${folder}.new-`);
}
