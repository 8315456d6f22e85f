/**
 * Fetches the files of a model into a folder, each whole and verified or not there.
 *
 * @module
 */

import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readdir, rm, stat, statfs } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { type DownloadOptions, downloadFile, hashFile, partPath } from '../../agents/setup/download.mjs';
import { megabytes, type Progress } from '../../agents/setup/progress.mjs';
import { ModelPullError, toPullError } from './errors.ts';
import type { RemoteFile } from './remote-files.ts';
import { checkAddress } from './spec.ts';

/** A file that lies there, with its SHA-256 in lower-case hexadecimal. */
export type FetchedFile = { readonly name: string; readonly sizeBytes: number; readonly sha256: string };

/** What fetching needs from outside. */
export type FetchOptions = {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly progress: Progress;
  /** Throws when another process took over the folder. */
  readonly assertHeld: () => Promise<void>;
  readonly signal?: AbortSignal;
  /** Ports and limits of the downloads. */
  readonly download?: Pick<DownloadOptions, 'sleep' | 'stallMs'>;
};

/**
 * Fetches files; what an earlier attempt left is used where it is right, and everything else in the folder is removed.
 *
 * @throws {@link ModelPullError}
 */
export async function fetchFiles(
  files: readonly RemoteFile[],
  folder: string,
  options: FetchOptions,
): Promise<FetchedFile[]> {
  const wanted = new Set(files.flatMap((file) => [file.name, basename(partOf(file, folder))]));
  let have = 0;
  for (const name of await readdir(folder)) {
    if (wanted.has(name)) have += (await stat(join(folder, name))).size;
    else await rm(join(folder, name), { recursive: true, force: true });
  }
  await checkSpace(folder, files.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0) - have);
  const fetched: FetchedFile[] = [];
  for (const file of files) {
    options.signal?.throwIfAborted();
    const sha256 = (await verifiedBefore(file, folder)) ?? (await fetchOne(file, folder, options));
    fetched.push({ name: file.name, sizeBytes: file.sizeBytes, sha256 });
  }
  return fetched;
}

/**
 * Refuses a disk that has not so many bytes left.
 *
 * @throws {@link ModelPullError} `DISK_FULL`
 */
export async function checkSpace(folder: string, neededBytes: number): Promise<void> {
  const { bavail, bsize } = await statfs(folder);
  const free = bavail * bsize;
  if (free >= neededBytes) return;
  const room = 'make room, or name another folder in TRACEBOND_CACHE';
  throw new ModelPullError(
    'DISK_FULL',
    `not enough space in ${folder}: ${megabytes(neededBytes)} needed, ${megabytes(free)} free; ${room}`,
  );
}

async function fetchOne(file: RemoteFile, folder: string, options: FetchOptions): Promise<string> {
  const { env, progress, assertHeld, signal, download } = options;
  const target = join(folder, file.name);
  const bar = progress.bar(file.name, Math.max(1, file.sizeBytes));
  try {
    const sha256 = await downloadFile(
      { ...pinOf(file), url: file.url, target, sizeBytes: file.sizeBytes },
      {
        ...download,
        http: { env, check: checkAddress },
        assertHeld,
        onProgress: (size) => {
          signal?.throwIfAborted();
          bar.at(size);
        },
      },
    );
    if (file.gitBlob !== undefined && (await gitBlob(target, file.sizeBytes)) !== file.gitBlob) {
      await rm(target, { force: true });
      throw new ModelPullError(
        'CHECKSUM_MISMATCH',
        `${file.name}: what came is not what the hub has under this version`,
      );
    }
    return sha256;
  } catch (error) {
    throw toPullError(error, file.name);
  } finally {
    bar.end();
  }
}

/** The SHA-256 of a file that an earlier attempt fetched whole, where its content is known beforehand. */
async function verifiedBefore(file: RemoteFile, folder: string): Promise<string | undefined> {
  const path = join(folder, file.name);
  const found = await stat(path).catch(() => undefined);
  if (found === undefined) return undefined;
  const isSame = found.isFile() && found.size === file.sizeBytes;
  if (isSame && file.sha256 !== undefined && (await hashFile(path)) === file.sha256) return file.sha256;
  if (isSame && file.gitBlob !== undefined && (await gitBlob(path, found.size)) === file.gitBlob) return hashFile(path);
  await rm(path, { recursive: true, force: true });
  return undefined;
}

function partOf(file: RemoteFile, folder: string): string {
  return partPath({ ...pinOf(file), target: join(folder, file.name) });
}

function pinOf({ sha256, etag }: RemoteFile): { readonly sha256?: string; readonly etag?: string } {
  if (sha256 !== undefined) return { sha256 };
  return etag === undefined ? {} : { etag };
}

/** Git's name of a content: SHA-1 behind a header with its length. */
async function gitBlob(path: string, sizeBytes: number): Promise<string> {
  const hash = createHash('sha1').update(`blob ${sizeBytes}\0`);
  for await (const chunk of createReadStream(path)) hash.update(chunk);
  return hash.digest('hex');
}
