/**
 * The store of models on this computer: a folder for each, with its files and a manifest. A folder is whole or absent: it is
 * made under another name and renamed. Nothing here downloads.
 *
 * Layout, in the folder of fetched models: `ID/tracebond-model.json`, `ID/FILE`…; names that start with a dot are work in
 * progress. The shipped model's file lies beside the folders and is the set-up's.
 *
 * @module
 */

import { randomUUID } from 'node:crypto';
import { lstatSync, readdirSync, type Stats, statSync } from 'node:fs';
import { rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { ModelStoreError } from './errors.ts';
import { checkModelId, isModelId, MANIFEST_FILE, type ModelManifest, readModelManifest } from './manifest.ts';

/** A model of the store. */
export type StoredModel = {
  readonly id: string;
  /** Its folder in the store. */
  readonly folder: string;
  /** Null where it is damaged. */
  readonly manifest: ModelManifest | null;
  /** The GGUF file, or the folder of a model in safetensors. */
  readonly path: string | null;
  /** Why it cannot be used; null for a whole one. */
  readonly fault: string | null;
};

/** Every model of the store, by id. A folder without a manifest is none. */
export function listStore(folder: string): StoredModel[] {
  let names: string[];
  try {
    names = readdirSync(folder);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
  return names
    .filter(isModelId)
    .sort()
    .flatMap((id) => findStored(folder, id) ?? []);
}

/**
 * A model of the store; undefined if there is none of that id. Its files are there and have their lengths, else `fault`
 * says what is wrong; their hashes are not computed.
 *
 * @param id - untrusted
 */
export function findStored(folder: string, id: string): StoredModel | undefined {
  if (!isModelId(id)) return undefined;
  const own = join(folder, id);
  if (!statOf(own, lstatSync)?.isDirectory()) return undefined;
  try {
    const manifest = readModelManifest(own);
    if (manifest === undefined) return undefined;
    if (manifest.id !== id) return damaged(id, own, `its ${MANIFEST_FILE} is that of ${manifest.id}`);
    return { id, folder: own, manifest, path: pathOf(own, manifest), fault: faultOf(own, manifest) };
  } catch (error) {
    if (error instanceof ModelStoreError) return damaged(id, own, error.message);
    throw error;
  }
}

/**
 * Removes a model from the store: all of its folder, and nothing outside. Files that are used where they lie stay.
 *
 * @param id - untrusted
 * @throws {@link ModelStoreError} `BAD_MODEL_ID`, `NOT_IN_STORE`; `STORE_UNSAFE` if a link is in its place
 */
export async function removeStored(folder: string, id: string): Promise<void> {
  const own = join(folder, checkModelId(id));
  const found = statOf(own, lstatSync);
  if (found?.isSymbolicLink()) {
    throw new ModelStoreError('STORE_UNSAFE', `${own} is a link, which this store never makes: remove it by hand`, {
      at: { path: own },
    });
  }
  // A damaged manifest is removed with its folder, a folder without one is not ours.
  if (!found?.isDirectory() || statOf(join(own, MANIFEST_FILE), lstatSync) === undefined) {
    throw new ModelStoreError('NOT_IN_STORE', `there is no model ${id} in ${folder}`, { at: { model: id } });
  }
  const aside = join(folder, `.removed-${randomUUID()}`);
  await rename(own, aside);
  await rm(aside, { recursive: true, force: true });
}

/** Where the files that a manifest names lie. */
export function filesFolder(folder: string, { origin, format }: ModelManifest): string {
  if (origin.kind !== 'path') return folder;
  return format === 'gguf' ? join(origin.path, '..') : origin.path;
}

function pathOf(folder: string, manifest: ModelManifest): string {
  const { origin, format, files } = manifest;
  if (origin.kind === 'path') return origin.path;
  return format === 'gguf' ? join(folder, files[0]?.name ?? '') : folder;
}

function faultOf(folder: string, manifest: ModelManifest): string | null {
  const { origin, files } = manifest;
  // The name in the manifest is a plain one; a registered file is found by its path.
  const lone = origin.kind === 'path' && manifest.format === 'gguf' ? origin.path : undefined;
  for (const { name, sizeBytes } of files) {
    const path = lone ?? join(filesFolder(folder, manifest), name);
    const found = statOf(path, statSync);
    if (!found?.isFile()) return `${path} is missing`;
    if (found.size !== sizeBytes) return `${path} has ${found.size} bytes, expected ${sizeBytes}`;
  }
  return null;
}

function damaged(id: string, folder: string, fault: string): StoredModel {
  return { id, folder, manifest: null, path: null, fault };
}

/** Undefined for what is not there or cannot be looked at. */
function statOf(path: string, stat: (path: string) => Stats): Stats | undefined {
  try {
    return stat(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).syscall !== undefined) return undefined;
    throw error;
  }
}
