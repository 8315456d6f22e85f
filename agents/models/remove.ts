/**
 * Removes a model from this computer, with what was made from it.
 *
 * @module
 */

import { existsSync } from 'node:fs';
import { lstat, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { withLock } from '../../agents/setup/lock.mjs';
import type { Hex } from '../../attest/core/bytes.ts';
import { modelFolder, SHIPPED_MODEL } from '../../inference/model-path.ts';
import { derivedFolders } from '../../inference/models/derived.ts';
import { ModelStoreError } from '../../inference/models/errors.ts';
import { checkModelId } from '../../inference/models/manifest.ts';
import { findStored, listStore, removeStored } from '../../inference/models/store.ts';
import { usersOf } from '../../inference/models/use-marks.ts';
import { toPullError } from './errors.ts';

const SHIPPED_DIGEST: Hex = `0x${SHIPPED_MODEL.sha256}`;

/** What was removed: paths, and bytes of all together. */
export type RemovedModel = {
  readonly paths: readonly string[];
  readonly sizeBytes: number;
  readonly kept: string | null;
};

export type RemoveOptions = {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly home: string;
  /** Folder of what was made from models. */
  readonly cache: string;
};

/**
 * Removes a model. What was made from it goes too, unless another model has the same files. Nothing outside of the folders
 * of fetched models and of the cache is touched.
 *
 * @param id - untrusted
 * @throws {@link ModelStoreError} `BAD_MODEL_ID`, `NOT_IN_STORE`, `STORE_UNSAFE`; `MODEL_IN_USE` if a process serves or
 *   fetches it
 */
export async function removeModel(id: string, options: RemoveOptions): Promise<RemovedModel> {
  const folder = modelFolder(options.env, options.home);
  checkModelId(id);
  const isShipped = id === SHIPPED_MODEL.id;
  const lock = isShipped ? join(folder, `${SHIPPED_MODEL.file}.lock`) : join(folder, `.${id}.lock`);
  // Of nothing there is no lock: its folder may be absent.
  if (isShipped ? !(await exists(join(folder, SHIPPED_MODEL.file))) : !(await exists(join(folder, id)))) {
    throw new ModelStoreError('NOT_IN_STORE', `there is no model ${id} in ${folder}`, { at: { model: id } });
  }
  const onWait = (pid: number) => {
    throw inUse(id, `process ${pid} is fetching it`, pid);
  };
  try {
    return await withLock(lock, () => (isShipped ? removeShipped(folder, options) : removeOne(folder, id, options)), {
      onWait,
    });
  } catch (error) {
    throw toPullError(error, id);
  }
}

async function removeOne(folder: string, id: string, options: RemoveOptions): Promise<RemovedModel> {
  refuseUsed(folder, id);
  const known = findStored(folder, id);
  const own = join(folder, id);
  const sizeBytes = await sizeOf(own);
  await removeStored(folder, id);
  const staging = join(folder, `.pull-${id}`);
  const rest = await removeAll([staging, ...derivedOf(known?.manifest?.digest, folder, options)]);
  const origin = known?.manifest?.origin;
  return {
    paths: [own, ...rest.paths],
    sizeBytes: sizeBytes + rest.sizeBytes,
    kept: origin?.kind === 'path' ? origin.path : null,
  };
}

async function removeShipped(folder: string, options: RemoveOptions): Promise<RemovedModel> {
  refuseUsed(folder, SHIPPED_MODEL.id);
  const parts = (await readdir(folder)).filter(
    (name) => name.startsWith(`${SHIPPED_MODEL.file}.`) && name.endsWith('.part'),
  );
  const own = [join(folder, SHIPPED_MODEL.file), ...parts.map((name) => join(folder, name))];
  const file = await removeAll(own);
  const elsewhere = options.env['TRACEBOND_MODEL'] || null;
  const rest = await removeAll(derivedOf(SHIPPED_DIGEST, folder, options));
  return { paths: [...file.paths, ...rest.paths], sizeBytes: file.sizeBytes + rest.sizeBytes, kept: elsewhere };
}

/** What was made from files that no model has any more: none of the store, nor the shipped one here or elsewhere. */
function derivedOf(digest: Hex | undefined, folder: string, { env, cache }: RemoveOptions): string[] {
  if (digest === undefined || listStore(folder).some(({ manifest }) => manifest?.digest === digest)) return [];
  const hasShipped = Boolean(env['TRACEBOND_MODEL']) || existsSync(join(folder, SHIPPED_MODEL.file));
  if (digest === SHIPPED_DIGEST && hasShipped) return [];
  return derivedFolders(cache, digest);
}

function refuseUsed(folder: string, id: string): void {
  const [user] = usersOf(folder, id);
  if (user !== undefined) throw inUse(id, `process ${user.pid} on ${user.host} serves it`, user.pid);
}

function inUse(id: string, by: string, pid: number): ModelStoreError {
  return new ModelStoreError('MODEL_IN_USE', `${id} is in use: ${by}`, { at: { model: id, pid } });
}

async function removeAll(paths: readonly string[]): Promise<{ paths: string[]; sizeBytes: number }> {
  const removed = { paths: [] as string[], sizeBytes: 0 };
  for (const path of paths) {
    if (!(await exists(path))) continue;
    removed.sizeBytes += await sizeOf(path);
    await rm(path, { recursive: true, force: true });
    removed.paths.push(path);
  }
  return removed;
}

async function exists(path: string): Promise<boolean> {
  return (await lstat(path).catch(() => undefined)) !== undefined;
}

/** Bytes of a file, or of all files in a folder. */
async function sizeOf(path: string): Promise<number> {
  const found = await lstat(path);
  if (!found.isDirectory()) return found.size;
  let size = 0;
  for (const entry of await readdir(path, { recursive: true, withFileTypes: true })) {
    if (entry.isFile()) size += (await lstat(join(entry.parentPath, entry.name))).size;
  }
  return size;
}
