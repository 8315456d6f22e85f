import { existsSync, readdirSync, readFileSync, utimesSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { removeStale, withLock } from '../../../agents/setup/lock.mjs';
import { temporaryFolder } from '../../support/temporary.ts';

const DEAD = { pid: 2 ** 22 + 1, host: hostname() };

function lockFile(content?: object, ageSeconds = 0): string {
  const path = join(temporaryFolder(), 'x.lock');
  if (content !== undefined) {
    writeFileSync(path, JSON.stringify(content));
    const time = Date.now() / 1000 - ageSeconds;
    utimesSync(path, time, time);
  }
  return path;
}

it('lets one in at a time and leaves nothing behind', async () => {
  const path = lockFile();
  let inside = 0;
  let most = 0;
  const work = async (): Promise<void> => {
    most = Math.max(most, ++inside);
    await new Promise((resolve) => setTimeout(resolve, 20));
    inside--;
  };
  await Promise.all([1, 2, 3].map(() => withLock(path, work)));
  expect(most).toBe(1);
  expect(readdirSync(join(path, '..'))).toEqual([]);
});

it('is given back when the work fails', async () => {
  const path = lockFile();
  const fail = async () => {
    throw new Error('work failed');
  };
  await expect(withLock(path, fail)).rejects.toThrow('work failed');
  expect(existsSync(path)).toBe(false);
});

it.each<[string, object, number]>([
  ['whose process is gone', DEAD, 0],
  ['that nobody touched for a minute', { pid: process.pid, host: hostname() }, 61],
  ['of another machine that nobody touched for a minute', { pid: 1, host: 'elsewhere' }, 61],
  ['that is damaged and old', {}, 61],
])('takes over a lock %s', async (_, content, age) => {
  const path = lockFile(content, age);
  expect(await withLock(path, async () => 'done')).toBe('done');
  expect(readdirSync(join(path, '..'))).toEqual([]);
});

it.each<[string, object]>([
  ['of a living process', { pid: process.pid, host: hostname() }],
  ['of another machine, whose processes cannot be seen', { pid: DEAD.pid, host: 'elsewhere' }],
  ['that is only just being written', {}],
])('waits for a fresh lock %s', async (_, content) => {
  const path = lockFile(content);
  const waited: number[] = [];
  let entered = false;
  const done = withLock(path, async () => (entered = true), { onWait: (pid) => waited.push(pid), staleMs: 700 });
  await new Promise((resolve) => setTimeout(resolve, 300));
  expect(entered).toBe(false);
  expect(waited).toHaveLength(1);
  await done;
  expect(entered).toBe(true);
});

it('many who find the same stale lock do not enter together', async () => {
  const path = lockFile(DEAD);
  let inside = 0;
  let most = 0;
  const work = async (assertHeld: () => Promise<void>): Promise<void> => {
    most = Math.max(most, ++inside);
    await new Promise((resolve) => setTimeout(resolve, 5));
    await assertHeld();
    inside--;
  };
  await Promise.all(Array.from({ length: 8 }, () => withLock(path, work)));
  expect(most).toBe(1);
});

it('does not take away a lock that was made since the stale one was seen', async () => {
  const path = lockFile(DEAD);
  await removeStale(path, 'the stale one');
  expect(JSON.parse(readFileSync(path, 'utf8'))).toEqual(DEAD);
  await removeStale(path, JSON.stringify(DEAD));
  await removeStale(path, 'gone already');
  expect(readdirSync(join(path, '..'))).toEqual([]);
});

it('does not take a lock away while another does, and does not wait for ever for one that died over it', async () => {
  const path = lockFile(DEAD);
  const guard = `${path}.takeover`;
  writeFileSync(guard, '');
  expect(await removeStale(path, JSON.stringify(DEAD))).toBe(false);
  expect(existsSync(path)).toBe(true);
  expect(existsSync(guard)).toBe(true);
  const time = Date.now() / 1000 - 61;
  utimesSync(guard, time, time);
  expect(await withLock(path, async () => 'done')).toBe('done');
  expect(readdirSync(join(path, '..'))).toEqual([]);
});

it('tells its holder that another took it over, and does not remove the lock of the other', async () => {
  const path = lockFile();
  const work = async (assertHeld: () => Promise<void>): Promise<void> => {
    writeFileSync(path, JSON.stringify({ id: 'another', pid: process.pid, host: hostname() }));
    await assertHeld();
  };
  await expect(withLock(path, work)).rejects.toMatchObject({ code: 'LOCK_LOST', fatal: true });
  expect(readFileSync(path, 'utf8')).toContain('another');
});
