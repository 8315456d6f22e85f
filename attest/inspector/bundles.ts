/**
 * The bundles that an inspector may show: one file, or the `.trace` files of one folder. Nothing else of the disk can be asked for.
 *
 * @module
 */

import { readdir, realpath, stat } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import { InspectorError } from './errors.ts';

/** A bundle in the list. */
export type BundleEntry = {
  /** Name of the file, without `.trace` unless it begins with a dot; what links name. */
  readonly id: string;
  readonly name: string;
  readonly bytes: number;
  /** Milliseconds since 1970 of the last change of the file. */
  readonly modified: number;
};

/** A bundle with the path of its file, which never leaves the server. */
export type BundlePath = BundleEntry & { readonly path: string };

/** Most files of a folder that are listed. */
const MAX_BUNDLES = 10_000;

const SUFFIX = '.trace';

/** Lists what a path holds, anew at each call: a run that is going on adds files. */
export type ListBundles = () => Promise<readonly BundlePath[]>;

/**
 * Opens a file or folder for an inspector.
 *
 * @throws {@link InspectorError} `NO_SUCH_BUNDLE`, `NO_BUNDLES`
 */
export async function openBundles(path: string): Promise<ListBundles> {
  const found = await stat(path).catch((cause: NodeJS.ErrnoException) => {
    throw new InspectorError('NO_SUCH_BUNDLE', `${path} cannot be read (${cause.code})`, { at: { path }, cause });
  });
  const list = found.isDirectory()
    ? async () => await listFolder(resolve(path))
    : async () => await listFile(resolve(path));
  if ((await list()).length === 0) {
    throw new InspectorError('NO_BUNDLES', `${path} holds no ${SUFFIX} file`, { at: { path } });
  }
  return list;
}

async function listFile(path: string): Promise<readonly BundlePath[]> {
  const entry = await entryOf(path);
  return entry === undefined ? [] : [entry];
}

async function listFolder(folder: string): Promise<readonly BundlePath[]> {
  const inside = await realpath(folder);
  const names = (await readdir(folder)).filter((name) => name.endsWith(SUFFIX)).sort();
  const entries: BundlePath[] = [];
  for (const name of names.slice(0, MAX_BUNDLES)) {
    const path = join(folder, name);
    // A link that leads out of the folder shows a file that nobody meant to show.
    const real = await realpath(path).catch(() => undefined);
    if (real === undefined || !real.startsWith(join(inside, '/'))) continue;
    const entry = await entryOf(path);
    if (entry !== undefined) entries.push(entry);
  }
  return entries;
}

async function entryOf(path: string): Promise<BundlePath | undefined> {
  const found = await stat(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined;
    throw error;
  });
  if (found === undefined || !found.isFile()) return undefined;
  const name = basename(path);
  // A name that begins with a dot is kept whole: `.` and `..` are no names in an address.
  const id = name.endsWith(SUFFIX) && !name.startsWith('.') ? name.slice(0, -SUFFIX.length) : name;
  return { id, name, bytes: found.size, modified: Math.round(found.mtimeMs), path };
}
