/**
 * A lock file: one set-up at a time works on a folder. The holder touches the file every few seconds; a file whose
 * process is gone, or that nobody touched for a minute, is stale and may be taken over.
 *
 * @module
 */

import { randomUUID } from 'node:crypto';
import { readFile, stat, unlink, utimes, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { SetupError, toFileError } from './setup-error.mjs';

const POLL_MS = 250;
const TAKEOVER_POLL_MS = 20;
const BEAT_MS = 5_000;
const STALE_MS = 60_000;

/**
 * Runs `work` while holding the lock, waiting for another holder first.
 *
 * @template T
 * @param {string} path - the lock file; its folder exists
 * @param {(assertHeld: () => Promise<void>) => Promise<T>} work - calls `assertHeld` before a step that must not be done
 *   twice; it throws `LOCK_LOST` when the lock was taken over (this process had slept for longer than a minute)
 * @param {{ onWait?: (pid: number) => void, staleMs?: number }} [options]
 * @returns {Promise<T>}
 */
export async function withLock(path, work, options = {}) {
  const id = randomUUID();
  const content = JSON.stringify({ id, pid: process.pid, host: hostname() });
  let told = false;
  while (!(await tryCreate(path, content))) {
    const holder = await readHolder(path);
    if (holder === undefined) continue;
    if (isStale(holder, options.staleMs ?? STALE_MS)) {
      const done = await removeStale(path, holder.content, options.staleMs);
      if (!done) await new Promise((resolve) => setTimeout(resolve, TAKEOVER_POLL_MS));
      continue;
    }
    if (!told) options.onWait?.(holder.pid);
    told = true;
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }

  const held = async () => (await readHolder(path))?.content === content;
  const beat = setInterval(() => {
    const time = new Date();
    // A beat that fails needs no word: assertHeld decides before anything that counts.
    held()
      .then((mine) => (mine ? utimes(path, time, time) : undefined))
      .then(undefined, () => undefined);
  }, BEAT_MS);
  beat.unref();
  try {
    return await work(async () => {
      if (!(await held()))
        throw new SetupError('LOCK_LOST', `another set-up took over ${path}; start again`, { fatal: true });
    });
  } finally {
    clearInterval(beat);
    if (await held()) await unlink(path);
  }
}

async function tryCreate(path, content) {
  try {
    await writeFile(path, content, { flag: 'wx' });
    return true;
  } catch (error) {
    if (error.code === 'EEXIST') return false;
    throw toFileError(error, path);
  }
}

async function readHolder(path) {
  try {
    const [content, { mtimeMs }] = await Promise.all([readFile(path, 'utf8'), stat(path)]);
    const { pid, host } = parseHolder(content);
    return { content, mtimeMs, pid, host };
  } catch (error) {
    if (error.code === 'ENOENT') return undefined;
    throw toFileError(error, path);
  }
}

/** A file caught between its creation and its first byte, or damaged, belongs to nobody known: its age decides. */
function parseHolder(content) {
  try {
    const { pid, host } = JSON.parse(content);
    return { pid: Number(pid), host: String(host) };
  } catch {
    return { pid: 0, host: '' };
  }
}

function isStale(holder, staleMs) {
  if (Date.now() - holder.mtimeMs > staleMs) return true;
  return holder.host === hostname() && holder.pid > 0 && !isAlive(holder.pid);
}

function isAlive(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error.code === 'EPERM';
  }
}

/**
 * Takes a stale lock away. Many may see that it is stale, and one that acts late would take the lock that somebody made
 * meanwhile: one at a time looks again and removes, holding a second file. What that file's own holder left behind (it
 * died within the few milliseconds) is removed when it is as old as a stale lock.
 *
 * @param {string} path
 * @param {string} content - of the lock that was found stale
 * @param {number} [staleMs]
 * @returns {Promise<boolean>} false if another is doing it at the moment
 */
export async function removeStale(path, content, staleMs = STALE_MS) {
  const guard = `${path}.takeover`;
  if (!(await tryCreate(guard, ''))) {
    const made = await stat(guard).catch(ignoreMissing);
    if (made !== undefined && Date.now() - made.mtimeMs > staleMs) await unlink(guard).catch(ignoreMissing);
    return false;
  }
  try {
    if ((await readHolder(path))?.content === content) await unlink(path).catch(ignoreMissing);
    return true;
  } finally {
    await unlink(guard).catch(ignoreMissing);
  }
}

function ignoreMissing(error) {
  if (error.code !== 'ENOENT') throw error;
}
