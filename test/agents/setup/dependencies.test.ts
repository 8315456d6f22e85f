import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { dependencyFault, ensureDependencies } from '../../../agents/setup/dependencies.mjs';
import { createProgress } from '../../../agents/setup/progress.mjs';
import { temporaryFolder } from '../../support/temporary.ts';

type Entry = { version: string; integrity: string; optional?: true; os?: string[]; cpu?: string[]; libc?: string[] };
type Lock = Record<string, Entry>;

const HOST = { platform: 'linux', arch: 'x64' };
const NATIVE = { optional: true, os: [process.platform], cpu: [process.arch] } as const;

function entry(version: string, more: object = {}): Entry {
  return { version, integrity: `sha512-${version}`, ...more };
}

const LOCK: Lock = {
  'node_modules/a': entry('1.0.0'),
  'node_modules/a/node_modules/b': entry('2.0.0'),
  'node_modules/@n/linux-x64': entry('1.0.0', { optional: true, os: ['linux'], cpu: ['x64'] }),
  'node_modules/@n/linux-x64-musl': entry('1.0.0', { optional: true, os: ['linux'], cpu: ['x64'], libc: ['musl'] }),
  'node_modules/@n/linux-arm64': entry('1.0.0', { optional: true, os: ['linux'], cpu: ['arm64'] }),
  'node_modules/@n/wasm': entry('1.0.0', { optional: true }),
  'node_modules/not-windows': entry('1.0.0', { os: ['!win32'] }),
};
const INSTALLED = [
  'node_modules/a',
  'node_modules/a/node_modules/b',
  'node_modules/@n/linux-x64',
  'node_modules/not-windows',
];

function writeLock(root: string, lock: Lock): void {
  const packages = { '': { name: 'x' }, ...lock };
  writeFileSync(join(root, 'package-lock.json'), JSON.stringify({ lockfileVersion: 3, packages }));
}

function install(root: string, lock: Lock, paths: readonly string[]): void {
  for (const path of paths) {
    mkdirSync(join(root, path), { recursive: true });
    writeFileSync(join(root, path, 'package.json'), '{}');
  }
  const packages = Object.fromEntries(paths.map((path) => [path, lock[path]]));
  writeFileSync(join(root, 'node_modules/.package-lock.json'), JSON.stringify({ lockfileVersion: 3, packages }));
}

function tree(installed: readonly string[] = INSTALLED): string {
  const root = temporaryFolder();
  writeLock(root, LOCK);
  install(root, LOCK, installed);
  return root;
}

describe('dependencyFault', () => {
  it('finds no fault with what npm ci leaves, without other platforms, C libraries and fall-backs', () => {
    expect(dependencyFault(tree(), HOST)).toBe('');
  });

  it('sees that nothing is installed', () => {
    const root = temporaryFolder();
    writeLock(root, LOCK);
    expect(dependencyFault(root, HOST)).toBe('not installed yet');
  });

  it('sees an interrupted installation, which has no record', () => {
    const root = tree();
    rmSync(join(root, 'node_modules/.package-lock.json'));
    expect(dependencyFault(root, HOST)).toBe('not installed yet');
  });

  it('sees a damaged record', () => {
    const root = tree();
    writeFileSync(join(root, 'node_modules/.package-lock.json'), '{"packages":');
    expect(dependencyFault(root, HOST)).toMatch(/damaged/);
  });

  it('sees a package that is missing', () => {
    expect(dependencyFault(tree(INSTALLED.slice(1)), HOST)).toBe('node_modules/a is missing');
  });

  it("sees that this platform's own optional package is missing", () => {
    const left = INSTALLED.filter((path) => !path.includes('linux-x64'));
    expect(dependencyFault(tree(left), HOST)).toBe('node_modules/@n/linux-x64 is missing');
  });

  it('sees packages brought from a machine of another kind', () => {
    expect(dependencyFault(tree(), { platform: 'linux', arch: 'arm64' })).toMatch(
      /another platform|linux-arm64 is missing/,
    );
    expect(dependencyFault(tree(), { platform: 'win32', arch: 'x64' })).toMatch(/another platform/);
  });

  it('sees another version, and the same version with other content', () => {
    const root = tree();
    writeLock(root, { ...LOCK, 'node_modules/a': entry('1.0.1') });
    expect(dependencyFault(root, HOST)).toBe('node_modules/a has version 1.0.0, expected 1.0.1');
    writeLock(root, { ...LOCK, 'node_modules/a': { ...entry('1.0.0'), integrity: 'sha512-other' } });
    expect(dependencyFault(root, HOST)).toBe('node_modules/a has another content than 1.0.0 in the lock');
  });

  it('sees a folder that somebody removed', () => {
    const root = tree();
    rmSync(join(root, 'node_modules/a/node_modules/b'), { recursive: true });
    expect(dependencyFault(root, HOST)).toBe('node_modules/a/node_modules/b is damaged');
  });

  it('refuses a folder without a usable lock', () => {
    expect(() => dependencyFault(temporaryFolder(), HOST)).toThrow(expect.objectContaining({ code: 'NO_LOCK' }));
    const root = tree();
    writeFileSync(join(root, 'package-lock.json'), 'not JSON');
    expect(() => dependencyFault(root, HOST)).toThrow(expect.objectContaining({ code: 'BAD_LOCK' }));
  });
});

describe('ensureDependencies', () => {
  const here: Lock = { 'node_modules/a': entry('1.0.0'), 'node_modules/native': entry('1.0.0', NATIVE) };

  function setup(installs: readonly string[] = Object.keys(here)) {
    const root = temporaryFolder();
    writeLock(root, here);
    const said: string[] = [];
    let runs = 0;
    const runNpm = async (folder: string): Promise<void> => {
      runs++;
      await new Promise((resolve) => setTimeout(resolve, 20));
      install(folder, here, installs);
    };
    const progress = createProgress({ write: (text) => said.push(text) });
    return { root, said, runs: () => runs, ensure: () => ensureDependencies(root, { env: {}, progress, runNpm }) };
  }

  it('installs once, then finds nothing to do and says nothing', async () => {
    const { root, said, runs, ensure } = setup();
    expect(await ensure()).toBe(true);
    expect(said.join('')).toMatch(/Installing npm packages \(not installed yet\)/);
    said.length = 0;
    expect(await ensure()).toBe(false);
    expect(runs()).toBe(1);
    expect(said).toEqual([]);
    expect(existsSync(join(root, '.cache/setup.lock'))).toBe(false);
  });

  it('installs again when the lock changes or the stamp is for another one', async () => {
    const { root, runs, ensure } = setup();
    await ensure();
    writeLock(root, { ...here, 'node_modules/a': entry('1.0.1') });
    await expect(ensure()).rejects.toMatchObject({ code: 'INCOMPLETE_INSTALL' });
    expect(runs()).toBe(2);
  });

  it('accepts that npm leaves out an optional package, but not a needed one', async () => {
    const { runs, ensure } = setup(['node_modules/a']);
    await ensure();
    expect(await ensure()).toBe(false);
    expect(runs()).toBe(1);
    await expect(setup(['node_modules/native']).ensure()).rejects.toMatchObject({ code: 'INCOMPLETE_INSTALL' });
  });

  it('two at once install once', async () => {
    const { runs, ensure } = setup();
    expect((await Promise.all([ensure(), ensure()])).sort()).toEqual([false, true]);
    expect(runs()).toBe(1);
  });

  it('says that npm is missing or failed', async () => {
    const root = temporaryFolder();
    writeLock(root, here);
    const progress = createProgress({ write: () => undefined });
    await expect(ensureDependencies(root, { env: { PATH: root }, progress })).rejects.toMatchObject({
      code: 'NPM_MISSING',
      message: expect.stringMatching(/no npm on the PATH/),
    });
    writeFileSync(join(root, 'npm'), '#!/bin/sh\nexit 7\n', { mode: 0o755 });
    await expect(ensureDependencies(root, { env: { PATH: root }, progress })).rejects.toMatchObject({
      code: 'NPM_FAILED',
      message: expect.stringMatching(/exit code 7/),
    });
  });
});

it('the packages of this checkout are those of its lock, and the check takes less than 0.3 s', () => {
  const root = join(import.meta.dirname, '../../..');
  const startedAt = performance.now();
  expect(dependencyFault(root)).toBe('');
  expect(performance.now() - startedAt).toBeLessThan(300);
});
