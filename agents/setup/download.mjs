/**
 * Download of one file whose size is known before, and in most cases its SHA-256: it resumes a broken download, and the
 * target appears only whole and verified, by a rename. Whatever the server says or does, the file is right or absent.
 *
 * D1. Bytes go to `PART` at the offset the server confirmed; `PART` is never longer than the file.
 * D2. The target is made by renaming a `PART` whose size and hash were just checked, under the caller's lock.
 * D3. A `PART` that is complete and wrong is removed, and the file is fetched from its start once more, no oftener.
 * D4. Without a SHA-256 all bytes come from one version of the file: a `PART` is resumed only where the server promises,
 *     by a strong ETag, that it still has the version the `PART` is of.
 *
 * @module
 */

import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import * as nodeFs from 'node:fs/promises';
import { httpGet } from './http-get.mjs';
import { describeFault, SetupError, toFileError } from './setup-error.mjs';

const MAX_TRIES = 40;
const MAX_TRIES_WITHOUT_PROGRESS = 4;
const STALL_MS = 30_000;

/**
 * A file whose content is known beforehand: `target` is the path it appears under (its folder exists), `sha256` is
 * lower-case hexadecimal. Without `sha256`, `etag` is the strong one of the version that is wanted, with its quotes; a
 * file with neither is never resumed.
 *
 * @typedef {{ url: string, target: string, sizeBytes: number, sha256?: string, etag?: string }} DownloadFile
 */

/**
 * `onProgress` gets the length of the unfinished file; `assertHeld` throws when the caller's lock is lost; `stallMs` of
 * silence end a connection; `http` goes to {@link httpGet}; `fs` (`open`, `lstat`, `rename`, `rm`) and `sleep` are ports.
 *
 * @typedef {{ onProgress?: (sizeBytes: number) => void, assertHeld?: () => Promise<void>, stallMs?: number,
 *   http?: Parameters<typeof httpGet>[1], fs?: typeof nodeFs, sleep?: (ms: number) => Promise<void> }} DownloadOptions
 */

/** Name of the unfinished file; bound to the content, so that another version never resumes it. */
export function partPath(file) {
  const version =
    file.sha256 ??
    createHash('sha256')
      .update(file.etag ?? '')
      .digest('hex');
  return `${file.target}.${version.slice(0, 8)}.part`;
}

/**
 * Fetches a file into `file.target`.
 *
 * @param {DownloadFile} file
 * @param {DownloadOptions} [options]
 * @returns {Promise<string>} its SHA-256
 * @throws {SetupError} `HTTP_STATUS`, `WRONG_SIZE`, `WRONG_ENCODING`, `CHECKSUM_MISMATCH`, `DOWNLOAD_BROKEN`, codes of
 *   {@link httpGet}; `DISK_FULL` and `NOT_WRITABLE` with `fatal`
 */
export async function downloadFile(file, options = {}) {
  const part = partPath(file);
  const fs = options.fs ?? nodeFs;
  const sleep = options.sleep ?? ((ms) => new Promise((resolve) => setTimeout(resolve, ms)));
  const canResume = file.sha256 !== undefined || file.etag !== undefined;
  let fromStart = false;
  let wrongFiles = 0;
  let idle = 0;
  let fault;
  for (let tries = 0; tries < MAX_TRIES && idle < MAX_TRIES_WITHOUT_PROGRESS; tries++) {
    if (idle > 0) await sleep(500 * 2 ** (idle - 1));
    const have = fromStart || !canResume ? 0 : await usablePart(fs, part, file.sizeBytes);
    fromStart = false;
    if (have < file.sizeBytes) {
      const outcome = await fetchRest(fs, part, have, file, options);
      fault = outcome.fault ?? fault;
      fromStart = outcome.rangeRefused;
      idle = outcome.size > have ? 0 : idle + 1;
      if (outcome.size < file.sizeBytes) continue;
    }
    const sha256 = await hashFile(part);
    if (sha256 === (file.sha256 ?? sha256)) {
      await options.assertHeld?.();
      await fs.rename(part, file.target).catch((error) => rethrow(error, file.target));
      return sha256;
    }
    await fs.rm(part, { force: true });
    if (++wrongFiles === 2) throw new SetupError('CHECKSUM_MISMATCH', 'the file that came has another SHA-256');
    fault = undefined;
  }
  throw new SetupError('DOWNLOAD_BROKEN', fault === undefined ? 'too many interruptions' : describeFault(fault), {
    cause: fault,
  });
}

/**
 * SHA-256 of a file, lower-case hexadecimal.
 *
 * @param {string} path
 * @returns {Promise<string>}
 */
export async function hashFile(path) {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(path, { highWaterMark: 1 << 20 })) hash.update(chunk);
  return hash.digest('hex');
}

/** Bytes of an earlier try that may be kept. */
async function usablePart(fs, part, sizeBytes) {
  try {
    const found = await fs.lstat(part);
    if (found.isFile() && found.size <= sizeBytes) return found.size;
    await fs.rm(part, { force: true, recursive: true });
    return 0;
  } catch (error) {
    if (error.code === 'ENOENT') return 0;
    throw toFileError(error, part);
  }
}

/**
 * One request for the bytes from `have` on. Faults that another try may mend come back in `fault`; the others are thrown.
 * `size` is the length of `PART` afterwards.
 */
async function fetchRest(fs, part, have, file, options) {
  const range = have > 0 ? { range: `bytes=${have}-` } : {};
  const version = have > 0 && file.sha256 === undefined ? { 'if-range': file.etag } : {};
  const headers = { 'accept-encoding': 'identity', ...range, ...version };
  let response;
  try {
    response = await httpGet(file.url, { headers, ...options.http });
  } catch (error) {
    if (error instanceof SetupError && ['BAD_URL', 'BAD_REDIRECT', 'CONNECT_TIMEOUT'].includes(error.code)) throw error;
    if (['ENOTFOUND', 'EAI_AGAIN', 'ECONNREFUSED', 'ENETUNREACH', 'EHOSTUNREACH'].includes(error.code)) throw error;
    return { size: have, fault: error, rangeRefused: false };
  }
  try {
    const start = readStart(response, have, file.sizeBytes);
    if (start === undefined) return { size: have, fault: refusal(response), rangeRefused: have > 0 };
    return { ...(await save(fs, part, start, response, file, options)), rangeRefused: false };
  } finally {
    response.destroy();
  }
}

/**
 * The offset at which the body of an answer starts; undefined when the answer is of no use now but another request may be.
 *
 * @throws {SetupError} when no further request can help
 */
function readStart(response, have, sizeBytes) {
  const status = response.statusCode;
  if (status === 200 || status === 206) {
    const encoding = response.headers['content-encoding'] ?? 'identity';
    if (encoding !== 'identity')
      throw new SetupError('WRONG_ENCODING', `the server sends the file encoded as ${encoding}`);
  }
  if (status === 206) {
    const range = /^bytes (\d+)-(\d+)\/(\d+|\*)$/.exec(response.headers['content-range'] ?? '');
    const total = range?.[3] === '*' ? sizeBytes : Number(range?.[3]);
    return have > 0 && Number(range?.[1]) === have && total === sizeBytes ? have : undefined;
  }
  if (status === 200) {
    const length = response.headers['content-length'];
    if (length !== undefined && Number(length) !== sizeBytes) {
      throw new SetupError('WRONG_SIZE', `the server offers ${length} bytes, expected ${sizeBytes}`);
    }
    return 0;
  }
  if (status === 416 || status === 408 || status === 425 || status === 429 || status >= 500) return undefined;
  throw new SetupError('HTTP_STATUS', `HTTP ${status} ${response.statusMessage ?? ''}`.trim());
}

function refusal(response) {
  if (response.statusCode === 206)
    return new SetupError('WRONG_RANGE', 'the server sends another range than asked for');
  return new SetupError('HTTP_STATUS', `HTTP ${response.statusCode} ${response.statusMessage ?? ''}`.trim());
}

async function save(fs, part, start, response, file, options) {
  let handle;
  try {
    handle = await fs.open(part, start > 0 ? 'r+' : 'w', 0o644);
  } catch (error) {
    throw toFileError(error, part);
  }
  let size = start;
  let fault;
  // A connection that stays open and silent must end too.
  const stalled = () =>
    response.destroy(new SetupError('STALLED', `no data for ${(options.stallMs ?? STALL_MS) / 1000} s`));
  const timer = setTimeout(stalled, options.stallMs ?? STALL_MS);
  try {
    options.onProgress?.(size);
    for await (const chunk of guarded(response, (error) => (fault = error))) {
      timer.refresh();
      if (size + chunk.length > file.sizeBytes) {
        throw new SetupError('WRONG_SIZE', `the server sends more than the expected ${file.sizeBytes} bytes`);
      }
      await writeAll(handle, chunk, size);
      size += chunk.length;
      options.onProgress?.(size);
    }
    if (size < file.sizeBytes) fault ??= new SetupError('TRUNCATED', `the answer ended after ${size} bytes`);
    else await handle.sync();
  } catch (error) {
    throw toFileError(error, part);
  } finally {
    clearTimeout(timer);
    await handle.close();
  }
  return { size, fault };
}

/** The chunks of a body; a broken connection ends them and is handed to `onFault`, so that only file faults are thrown. */
async function* guarded(response, onFault) {
  const chunks = response[Symbol.asyncIterator]();
  for (;;) {
    let next;
    try {
      next = await chunks.next();
    } catch (error) {
      onFault(error);
      return;
    }
    if (next.done) return;
    yield next.value;
  }
}

async function writeAll(handle, chunk, position) {
  for (let offset = 0; offset < chunk.length; ) {
    const { bytesWritten } = await handle.write(chunk, offset, chunk.length - offset, position + offset);
    offset += bytesWritten;
  }
}

function rethrow(error, path) {
  throw toFileError(error, path);
}
