import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { makeAside, putInPlace } from '../../inference/aside-folder.ts';

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

describe('a folder that is put in place', () => {
  const setUp = () => {
    const root = mkdtempSync(join(tmpdir(), 'tracebond-aside-'));
    onTestFinished(() => rmSync(root, { recursive: true, force: true }));
    const folder = join(root, 'model');
    const isWhole = () => existsSync(join(folder, 'whole'));
    const make = async (name: string) => {
      const aside = await makeAside(folder);
      writeFileSync(join(aside, 'whole'), name);
      return aside;
    };
    return { root, folder, isWhole, make };
  };

  it('is there, and nothing is left beside it', async () => {
    const { root, folder, isWhole, make } = setUp();
    await putInPlace(await make('a'), folder, isWhole);
    expect(readFileSync(join(folder, 'whole'), 'utf8')).toBe('a');
    expect(readdirSync(root)).toEqual(['model']);
  });

  it('gives way to one that is whole', async () => {
    const { root, folder, isWhole, make } = setUp();
    await putInPlace(await make('a'), folder, isWhole);
    await putInPlace(await make('b'), folder, isWhole);
    expect(readFileSync(join(folder, 'whole'), 'utf8')).toBe('a');
    expect(readdirSync(root)).toEqual(['model']);
  });

  it.each([
    [
      'a damaged folder',
      (folder: string) => {
        mkdirSync(folder);
        writeFileSync(join(folder, 'part'), 'x');
      },
    ],
    ['a file', (folder: string) => writeFileSync(folder, 'x')],
  ])('takes the place of %s', async (_, spoil) => {
    const { root, folder, isWhole, make } = setUp();
    spoil(folder);
    await putInPlace(await make('a'), folder, isWhole);
    expect(readdirSync(folder)).toEqual(['whole']);
    expect(readdirSync(root)).toEqual(['model']);
  });

  it('is put there by one of many makers, though each may have seen a damaged one', async () => {
    for (let round = 0; round < 20; round++) {
      const { root, folder, isWhole, make } = setUp();
      mkdirSync(folder);
      writeFileSync(join(folder, 'part'), 'x');
      const asides = await Promise.all(['a', 'b', 'c', 'd', 'e'].map(make));
      await Promise.all(asides.map((aside) => putInPlace(aside, folder, async () => isWhole())));
      expect(readdirSync(folder)).toEqual(['whole']);
      expect(readdirSync(root)).toEqual(['model']);
    }
  });

  it('fails where nothing can be put', async () => {
    const { root, isWhole, make } = setUp();
    const aside = await make('a');
    await expect(putInPlace(aside, join(root, 'absent', 'model'), isWhole)).rejects.toMatchObject({ code: 'ENOENT' });
  });
});
