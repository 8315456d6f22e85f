/**
 * Where a model lies: the shipped model by its id, one of the store by its own, any other by the path of its GGUF file or
 * folder.
 *
 * The shipped model is fetched by the set-up (`agents/setup/`), others by `tracebond models pull`; nothing here downloads. `TRACEBOND_MODEL` names a copy
 * of it elsewhere, else it lies in the user's cache folder. Its hash is checked where it is loaded.
 *
 * @module
 */

import { statSync } from 'node:fs';
import { basename, isAbsolute, join, resolve } from 'node:path';
import { RuntimeError } from '../attest/core/error.ts';
import { findStored, listStore, type StoredModel } from './models/store.ts';
import shippedModel from './spec/shipped-model.json' with { type: 'json' };

/** The model that the set-up fetches: id, file name, length in bytes, SHA-256 (lower-case hexadecimal) and sources. */
export const SHIPPED_MODEL: {
  readonly id: string;
  readonly name: string;
  readonly file: string;
  readonly sizeBytes: number;
  readonly sha256: string;
  readonly hub: { readonly endpoint: string };
} = shippedModel;

export type ModelPathErrorCode = 'UNKNOWN_MODEL' | 'MODEL_MISSING' | 'MODEL_DAMAGED';

/** A model whose file cannot be named; the message says what to do. */
export class ModelPathError extends RuntimeError<ModelPathErrorCode> {
  override readonly name = 'ModelPathError';
}

const PULL = `\`tracebond models pull ${SHIPPED_MODEL.id}\` fetches it`;

/**
 * Finds a model's file, or the folder of a model in safetensors, which holds a `config.json`.
 *
 * @param nameOrPath - the id of the shipped model or of one in the store, or a path (it holds a `/` or ends in `.gguf`)
 * @param env - `TRACEBOND_MODEL`, `TRACEBOND_CACHE` and `XDG_CACHE_HOME` count
 * @param home - the user's home folder
 * @returns the id by which the model is served (of a path the name of its file, without `.gguf`, or folder), and its
 *   absolute path
 * @throws {@link ModelPathError} `UNKNOWN_MODEL` for any other name
 * @throws {@link ModelPathError} `MODEL_MISSING` if there is no such file or folder
 * @throws {@link ModelPathError} `MODEL_DAMAGED` if a file of the shipped model or of the store is missing or has another length
 */
export function resolveModelPath(
  nameOrPath: string,
  env: resolveModelPath.Env,
  home: string,
): { readonly id: string; readonly path: string } {
  if (nameOrPath === SHIPPED_MODEL.id) return { id: nameOrPath, path: findShipped(env, home) };
  if (!nameOrPath.includes('/') && !nameOrPath.endsWith('.gguf')) {
    const folder = modelFolder(env, home);
    const stored = findStored(folder, nameOrPath);
    if (stored !== undefined) return { id: nameOrPath, path: pathOf(stored) };
    const ids = [SHIPPED_MODEL.id, ...listStore(folder).map(({ id }) => id)].join(', ');
    const known = `expected ${ids}, or a path to a GGUF file or model folder`;
    throw new ModelPathError('UNKNOWN_MODEL', `unknown model ${JSON.stringify(nameOrPath)}: ${known}`);
  }
  const path = resolve(nameOrPath);
  if (sizeOf(path) === undefined && sizeOf(join(path, 'config.json')) === undefined) {
    throw new ModelPathError('MODEL_MISSING', `no model file or folder ${path}`, { at: { path } });
  }
  return { id: basename(path).replace(/\.gguf$/, ''), path };
}

export declare namespace resolveModelPath {
  type Env = Readonly<Record<string, string | undefined>>;
}

/** The folder of fetched models; the same rule as in `agents/setup/model.mjs`, which must run without a compiler. */
export function modelFolder(env: resolveModelPath.Env, home: string): string {
  const own = env['TRACEBOND_CACHE'];
  if (own) return join(resolve(own), 'models');
  const xdg = env['XDG_CACHE_HOME'];
  // A relative XDG_CACHE_HOME counts as unset, by the XDG Base Directory Specification.
  return join(xdg !== undefined && isAbsolute(xdg) ? xdg : join(home, '.cache'), 'tracebond', 'models');
}

function pathOf({ id, path, fault }: StoredModel): string {
  if (path !== null && fault === null) return path;
  const hint = `\`tracebond models rm ${id}\` removes it, \`tracebond models pull\` fetches it again`;
  throw new ModelPathError('MODEL_DAMAGED', `model ${id}: ${fault ?? 'it has no files'}; ${hint}`, {
    at: { model: id },
  });
}

function findShipped(env: resolveModelPath.Env, home: string): string {
  const named = env['TRACEBOND_MODEL'];
  const path = named ? resolve(named) : join(modelFolder(env, home), SHIPPED_MODEL.file);
  const hint = named ? 'mend or unset TRACEBOND_MODEL' : PULL;
  const size = sizeOf(path);
  if (size === undefined) {
    throw new ModelPathError('MODEL_MISSING', `model ${SHIPPED_MODEL.id} is not at ${path}: ${hint}`, { at: { path } });
  }
  if (size !== SHIPPED_MODEL.sizeBytes) {
    const sizes = `has ${size} bytes, expected ${SHIPPED_MODEL.sizeBytes}`;
    throw new ModelPathError('MODEL_DAMAGED', `model file ${path} ${sizes}: ${hint}`, { at: { path } });
  }
  return path;
}

/** Length of a file in bytes; undefined for anything that is not a file. */
function sizeOf(path: string): number | undefined {
  const found = statSync(path, { throwIfNoEntry: false });
  return found?.isFile() ? found.size : undefined;
}
