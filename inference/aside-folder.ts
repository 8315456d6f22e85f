/**
 * Folders that are written aside and renamed when they are whole, so that a cache folder is complete or absent.
 *
 * @module
 */

import { mkdir, mkdtemp, readdir, rename, rm, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';

/** Milliseconds after which a folder aside belongs to nobody: the process that wrote it was killed. */
const ABANDONED_MS = 3_600_000;

/** How often a folder is tried to be put in place: each failure means that another maker was quicker. */
const MOST_TRIES = 8;

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

/**
 * Puts a folder that was written aside where it belongs, or removes it where a whole one lies already: other makers may put theirs in place
 * at the same time, and readers may be reading one. What lies there and is not whole is moved away before it is removed, so that no maker takes
 * apart what another has just put in place.
 *
 * @param aside - of {@link makeAside}
 * @param isWhole - whether `folder` is a result
 */
export async function putInPlace(
  aside: string,
  folder: string,
  isWhole: () => boolean | Promise<boolean>,
): Promise<void> {
  for (let tries = 1; ; tries++) {
    if (await isWhole()) return rm(aside, { recursive: true, force: true });
    try {
      return await rename(aside, folder);
    } catch (fault) {
      if (!isTaken(fault) || tries === MOST_TRIES) throw fault;
    }
    if (await isWhole()) continue;
    const old = await mkdtemp(`${folder}.new-`);
    try {
      await rename(folder, join(old, 'old'));
    } catch (fault) {
      // Another maker has moved it away.
      if ((fault as NodeJS.ErrnoException).code !== 'ENOENT') throw fault;
    } finally {
      await rm(old, { recursive: true, force: true });
    }
  }
}

/** Something lies where a folder should go. */
function isTaken(fault: unknown): boolean {
  return ['ENOTEMPTY', 'EEXIST', 'ENOTDIR'].includes(String((fault as NodeJS.ErrnoException).code));
}
