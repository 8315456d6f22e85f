import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { makeAside } from '../../inference/aside-folder.ts';

it('removes what killed processes left beside a folder, and nothing else', async () => {
  const root = mkdtempSync(join(tmpdir(), 'tracebond-aside-'));
  onTestFinished(() => rmSync(root, { recursive: true, force: true }));
  const parent = join(root, 'cache');
  const old = new Date(Date.now() - 2 * 3_600_000);
  for (const name of ['model.new-old', 'model.new-now', 'other.new-old', 'model']) {
    mkdirSync(join(parent, name), { recursive: true });
    writeFileSync(join(parent, name, 'weights.bin'), 'x');
    if (name !== 'model.new-now') utimesSync(join(parent, name), old, old);
  }
  const aside = await makeAside(join(parent, 'model'));
  expect(readdirSync(aside)).toEqual([]);
  expect(aside.startsWith(join(parent, 'model.new-'))).toBe(true);
  expect(existsSync(join(parent, 'model.new-old'))).toBe(false);
  for (const name of ['model.new-now', 'other.new-old', 'model']) expect(existsSync(join(parent, name))).toBe(true);
});

it('makes the parent', async () => {
  const root = mkdtempSync(join(tmpdir(), 'tracebond-aside-'));
  onTestFinished(() => rmSync(root, { recursive: true, force: true }));
  expect(existsSync(await makeAside(join(root, 'a', 'b', 'model')))).toBe(true);
});
