/**
 * The safetensors files of a model folder: `model.safetensors`, or those that `model.safetensors.index.json` names.
 *
 * @module
 */

import { type Stats, statSync } from 'node:fs';
import { join } from 'node:path';
import { isJsonObject, type JsonObject } from '../../attest/encoding/canonical-json.ts';
import { ModelError } from '../errors.ts';
import { type ByteSource, openFileSource } from '../gguf/source.ts';
import { parseJsonObject } from './json-file.ts';
import { parseSafetensors, type TensorEntry } from './reader.ts';

/** A tensor and the file it lies in. */
export type PlacedTensor = TensorEntry & { readonly source: ByteSource };

/** All files with tensors, open. */
export type Shards = {
  readonly tensors: ReadonlyMap<string, PlacedTensor>;
  readonly files: readonly { readonly name: string; readonly source: ByteSource }[];
  close(): void;
};

const SINGLE = 'model.safetensors';
export const INDEX_FILE = 'model.safetensors.index.json';

const MAX_SHARDS = 512;
const MAX_INDEX_BYTES = 1 << 24;

/**
 * Opens a file of the folder; undefined if there is none of that name.
 *
 * @throws {@link ModelError} `FILE_UNREADABLE` if it is no regular file (links are followed)
 */
export function openInFolder(folder: string, name: string): ByteSource | undefined {
  const path = join(folder, name);
  // Opening a pipe would wait for its writer.
  const stat = statOf(path, name);
  if (stat === undefined) return undefined;
  if (!stat.isFile()) throw new ModelError('FILE_UNREADABLE', `${path} is no regular file`, { at: { file: name } });
  return openFileSource(path);
}

/**
 * Opens all files with tensors and reads their headers. The caller closes them.
 *
 * @param index - bytes of the index, untrusted; read only where there is no single file
 * @throws {@link ModelError} as `parseSafetensors`; `FILE_UNREADABLE` if a file is absent; `MALFORMED_METADATA` for a
 *   faulty index; `DUPLICATE_TENSOR`, `MISSING_TENSOR`, `UNEXPECTED_TENSOR` if the index and the files do not agree
 */
export function openShards(folder: string, index: Uint8Array | undefined): Shards {
  const files: { readonly name: string; readonly source: ByteSource }[] = [];
  const close = () => {
    for (const { source } of files) source.close();
  };
  try {
    const places =
      index === undefined || statOf(join(folder, SINGLE), SINGLE) !== undefined ? undefined : readIndex(index);
    const names = places === undefined ? [SINGLE] : [...new Set(places.values())].sort();
    if (names.length > MAX_SHARDS) malformedIndex(`names ${names.length} files, at most ${MAX_SHARDS}`);
    const tensors = new Map<string, PlacedTensor>();
    for (const name of names) {
      const source = openInFolder(folder, name);
      if (source === undefined) {
        throw new ModelError('FILE_UNREADABLE', `the folder has no ${name}`, { at: { file: name } });
      }
      files.push({ name, source });
      for (const [tensor, entry] of parseSafetensors(source, name)) {
        if (tensors.has(tensor)) fail('DUPLICATE_TENSOR', tensor, 'lies in two files');
        if (places !== undefined && places.get(tensor) !== name) {
          fail('UNEXPECTED_TENSOR', tensor, `lies in ${name}, which the index does not say`);
        }
        tensors.set(tensor, { ...entry, source });
      }
    }
    for (const [tensor, name] of places ?? []) {
      if (!tensors.has(tensor)) fail('MISSING_TENSOR', tensor, `is missing in ${name}`);
    }
    return { tensors, files, close };
  } catch (error) {
    close();
    throw error;
  }
}

function statOf(path: string, name: string): Stats | undefined {
  try {
    return statSync(path, { throwIfNoEntry: false });
  } catch (cause) {
    throw new ModelError('FILE_UNREADABLE', `cannot look at ${path}`, { at: { file: name }, cause });
  }
}

/** The file of each tensor. */
function readIndex(bytes: Uint8Array): ReadonlyMap<string, string> {
  const index = parseJsonObject(bytes, INDEX_FILE, { maxBytes: MAX_INDEX_BYTES, maxValues: 1 << 18, maxDepth: 8 });
  const map: JsonObject = isJsonObject(index['weight_map'] ?? null)
    ? (index['weight_map'] as JsonObject)
    : malformedIndex('has no weight_map');
  const places = new Map<string, string>();
  for (const [tensor, name] of Object.entries(map)) {
    // attacker-controlled: a name must not lead out of the folder
    if (typeof name !== 'string' || name.length > 200 || !/^[\w-][\w.-]*\.safetensors$/.test(name)) {
      malformedIndex('names a file that is no plain name of a safetensors file');
    }
    places.set(tensor, name as string);
  }
  if (places.size === 0) malformedIndex('names no tensors');
  return places;
}

function malformedIndex(message: string): never {
  throw new ModelError('MALFORMED_METADATA', `${INDEX_FILE} ${message}`, {
    at: { file: INDEX_FILE, key: 'weight_map' },
  });
}

function fail(code: ModelError['code'], tensor: string, message: string): never {
  const name = tensor.slice(0, 200);
  throw new ModelError(code, `tensor ${name} ${message}`, { at: { tensor: name } });
}
