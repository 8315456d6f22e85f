import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import {
  checkModelId,
  MANIFEST_FILE,
  type ModelManifest,
  originText,
  readModelManifest,
  writeModelManifest,
} from '../../../inference/models/manifest.ts';
import { findStored, listStore, removeStored } from '../../../inference/models/store.ts';
import { markInUse, usersOf } from '../../../inference/models/use-marks.ts';
import { temporaryFolder } from '../../support/temporary.ts';

const MANIFEST: ModelManifest = {
  version: 1,
  id: 'tiny',
  origin: { kind: 'url', url: 'https://models.example/Tiny.gguf' },
  format: 'gguf',
  files: [{ name: 'Tiny.gguf', sizeBytes: 5, sha256: 'a'.repeat(64) }],
  digest: `0x${'a'.repeat(64)}`,
  commitment: null,
  pulledAt: '2026-11-21T00:00:00.000Z',
};

/** A store with one model, whose manifest `change` may spoil. */
async function storeWith(change: object = {}, id = 'tiny'): Promise<string> {
  const store = temporaryFolder();
  const folder = join(store, id);
  mkdirSync(folder);
  writeFileSync(join(folder, 'Tiny.gguf'), '12345');
  writeFileSync(join(folder, MANIFEST_FILE), JSON.stringify({ ...MANIFEST, id, ...change }));
  return store;
}

describe('ids', () => {
  it.each(['a', 'qwen3-0.6b', 'a_b.c-d9', 'x'.repeat(64), 'a..b'])('%j is one', (id) => {
    expect(checkModelId(id)).toBe(id);
  });

  it.each([
    '',
    '.',
    '..',
    '.a',
    'a.',
    '-a',
    'A',
    'a/b',
    '../a',
    'a\\b',
    'a b',
    'a\n',
    'é',
    'x.gguf',
    'x'.repeat(65),
    '\0',
  ])('%j is none, and nothing is looked for under it', async (id) => {
    const store = await storeWith();
    expect(() => checkModelId(id)).toThrow(expect.objectContaining({ code: 'BAD_MODEL_ID' }));
    expect(findStored(store, id)).toBeUndefined();
    await expect(removeStored(store, id)).rejects.toMatchObject({ code: 'BAD_MODEL_ID' });
    expect(readdirSync(store)).toEqual(['tiny']);
  });
});

describe('findStored and listStore', () => {
  it('find a whole model', async () => {
    const store = await storeWith();
    const found = findStored(store, 'tiny');
    expect(found).toEqual({
      id: 'tiny',
      folder: join(store, 'tiny'),
      manifest: MANIFEST,
      path: join(store, 'tiny/Tiny.gguf'),
      fault: null,
    });
    expect(listStore(store)).toEqual([found]);
  });

  it('pass over what is no model: work in progress, files, folders of others, links', async () => {
    const store = await storeWith();
    mkdirSync(join(store, '.pull-other'));
    writeFileSync(join(store, '.pull-other', MANIFEST_FILE), JSON.stringify({ ...MANIFEST, id: 'other' }));
    mkdirSync(join(store, 'folder'));
    writeFileSync(join(store, 'verified.json'), '{}');
    symlinkSync(join(store, 'tiny'), join(store, 'link'));
    expect(listStore(store).map(({ id }) => id)).toEqual(['tiny']);
    expect(findStored(store, 'link')).toBeUndefined();
    expect(listStore(join(store, 'gone'))).toEqual([]);
  });

  it.each<[string, object | string, RegExp]>([
    ['no JSON', '{"version":', /is no JSON/],
    ['no UTF-8', '\xff', /is no JSON/],
    ['a list', '[]', /expected object/],
    ['another version', { version: 2 }, /version/],
    ['the id of another', { id: 'other' }, /is that of other/],
    ['a file name that leads out', { files: [{ ...MANIFEST.files[0], name: '../x' }] }, /files\.0\.name/],
    ['an absolute file name', { files: [{ ...MANIFEST.files[0], name: '/etc/passwd' }] }, /files\.0\.name/],
    ['no files', { files: [] }, /files/],
    ['a relative path', { origin: { kind: 'path', path: 'x' } }, /origin\.path/],
    ['an unknown origin', { origin: { kind: 'disk' } }, /origin/],
    ['an unknown field', { more: 1 }, /more/],
    ['a hash of another form', { digest: 'a'.repeat(64) }, /digest/],
    ['a file of another length', { files: [{ ...MANIFEST.files[0], sizeBytes: 6 }] }, /has 5 bytes, expected 6/],
    ['a file that is missing', { files: [{ ...MANIFEST.files[0], name: 'Gone.gguf' }] }, /Gone\.gguf is missing/],
  ])('say what is wrong with a manifest with %s', async (_, change, why) => {
    const store = await storeWith();
    const text = typeof change === 'string' ? change : JSON.stringify({ ...MANIFEST, ...change });
    writeFileSync(join(store, 'tiny', MANIFEST_FILE), Buffer.from(Array.isArray(change) ? '[]' : text, 'latin1'));
    const found = findStored(store, 'tiny');
    expect(found?.fault).toMatch(why);
    // What is damaged can be removed.
    await removeStored(store, 'tiny');
    expect(readdirSync(store)).toEqual([]);
  });

  it('take no folder for a file, whatever its size', async () => {
    const store = await storeWith({ files: [{ name: 'sub', sizeBytes: 5, sha256: 'a'.repeat(64) }] });
    mkdirSync(join(store, 'tiny', 'sub'));
    const sizeBytes = statSync(join(store, 'tiny', 'sub')).size;
    const files = [{ name: 'sub', sizeBytes, sha256: 'a'.repeat(64) }];
    writeFileSync(join(store, 'tiny', MANIFEST_FILE), JSON.stringify({ ...MANIFEST, files }));
    expect(findStored(store, 'tiny')?.fault).toMatch(/sub is missing/);
  });

  it('refuse a manifest that is too long without reading it as JSON', async () => {
    const store = await storeWith();
    writeFileSync(join(store, 'tiny', MANIFEST_FILE), ' '.repeat((1 << 20) + 1));
    expect(findStored(store, 'tiny')?.fault).toMatch(/at most 1048576/);
  });
});

describe('removeStored', () => {
  it('removes the folder and nothing else', async () => {
    const store = await storeWith();
    mkdirSync(join(store, 'other'));
    await removeStored(store, 'tiny');
    expect(readdirSync(store)).toEqual(['other']);
  });

  it('keeps files that are used where they lie', async () => {
    const outside = temporaryFolder();
    writeFileSync(join(outside, 'Own.gguf'), '12345');
    const store = await storeWith({ origin: { kind: 'path', path: join(outside, 'Own.gguf') } });
    expect(findStored(store, 'tiny')).toMatchObject({ path: join(outside, 'Own.gguf'), fault: null });
    await removeStored(store, 'tiny');
    expect(existsSync(join(outside, 'Own.gguf'))).toBe(true);
  });

  it('refuses links, and folders that are no model', async () => {
    const store = await storeWith();
    const outside = await storeWith({}, 'link');
    symlinkSync(join(outside, 'link'), join(store, 'link'));
    mkdirSync(join(store, 'precious'));
    await expect(removeStored(store, 'link')).rejects.toMatchObject({ code: 'STORE_UNSAFE' });
    await expect(removeStored(store, 'precious')).rejects.toMatchObject({ code: 'NOT_IN_STORE' });
    await expect(removeStored(store, 'gone')).rejects.toMatchObject({ code: 'NOT_IN_STORE' });
    expect(readdirSync(join(outside, 'link')).sort()).toEqual(['Tiny.gguf', MANIFEST_FILE]);
    expect(readdirSync(store).sort()).toEqual(['link', 'precious', 'tiny']);
  });

  it('does not follow a link inside of the folder', async () => {
    const store = await storeWith();
    const outside = temporaryFolder();
    writeFileSync(join(outside, 'precious'), 'mine');
    symlinkSync(outside, join(store, 'tiny/link'));
    await removeStored(store, 'tiny');
    expect(readFileSync(join(outside, 'precious'), 'utf8')).toBe('mine');
  });
});

it('a manifest is written whole, and read back the same', async () => {
  const folder = temporaryFolder();
  expect(readModelManifest(folder)).toBeUndefined();
  await writeModelManifest(folder, MANIFEST);
  expect(readModelManifest(folder)).toEqual(MANIFEST);
  await expect(writeModelManifest(folder, { ...MANIFEST, id: '../x' })).rejects.toThrow(/id/);
  expect(readModelManifest(folder)).toEqual(MANIFEST);
  expect(readdirSync(folder)).toEqual([MANIFEST_FILE]);
});

it.each<[ModelManifest['origin'], string]>([
  [{ kind: 'hub', repository: 'a/b', revision: 'c0', file: null }, 'hf:a/b@c0'],
  [{ kind: 'hub', repository: 'a/b', revision: 'c0', file: 'x/y.gguf' }, 'hf:a/b@c0:x/y.gguf'],
  [{ kind: 'wheel', package: 'p', version: '1', entry: 'p/x.gguf' }, 'wheel:p==1:p/x.gguf'],
  [{ kind: 'path', path: '/x.gguf' }, '/x.gguf'],
])('%o is pulled by %s', (origin, text) => {
  expect(originText(origin)).toBe(text);
});

describe('marks of use', () => {
  it('name the processes that live, of the model that is asked for', () => {
    const store = temporaryFolder();
    expect(usersOf(store, 'tiny')).toEqual([]);
    const unmark = markInUse(store, 'tiny');
    expect(usersOf(store, 'tiny')).toEqual([{ pid: process.pid, host: hostname() }]);
    expect(usersOf(store, 'tin')).toEqual([]);
    unmark();
    unmark();
    expect(usersOf(store, 'tiny')).toEqual([]);
  });

  it('forget processes of this computer that are gone, and keep those of others', () => {
    const store = temporaryFolder();
    mkdirSync(join(store, '.in-use'));
    for (const name of [`tiny@${hostname()}@4194999`, `tiny@${hostname()}@x`, 'tiny@elsewhere@7', 'junk']) {
      writeFileSync(join(store, '.in-use', name), '');
    }
    expect(usersOf(store, 'tiny')).toEqual([{ pid: 7, host: 'elsewhere' }]);
    expect(readdirSync(join(store, '.in-use')).sort()).toEqual(['junk', 'tiny@elsewhere@7']);
  });
});
