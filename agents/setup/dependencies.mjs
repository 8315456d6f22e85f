/**
 * The npm packages of a source checkout: installed when they are not those of `package-lock.json`.
 *
 * npm writes what it installed to `node_modules/.package-lock.json` at the end of an installation. That file is compared
 * with the lock, and each package's folder is looked at; then the lock's SHA-256 is left in a stamp of our own, which
 * says that what was missing (optional packages for other platforms) was missing after a whole installation too.
 *
 * @module
 */

import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { withLock } from './lock.mjs';
import { SetupError, toFileError } from './setup-error.mjs';

const STAMP = 'node_modules/.tracebond-lock';

/**
 * Why the installed packages are not those of the lock; an empty text when they are.
 *
 * @param {string} root - folder of `package-lock.json`
 * @param {{ platform?: string, arch?: string }} [host]
 * @returns {string}
 */
export function dependencyFault(root, host = {}) {
  const lockText = readText(join(root, 'package-lock.json'));
  if (lockText === undefined) throw new SetupError('NO_LOCK', `no package-lock.json in ${root}: not a source checkout`);
  const installedText = readText(join(root, 'node_modules/.package-lock.json'));
  if (installedText === undefined) return 'not installed yet';
  const { platform = process.platform, arch = process.arch } = host;
  const stamped = readText(join(root, STAMP)) === stampOf(lockText, platform, arch);
  const wanted = readPackages(lockText);
  const installed = readPackages(installedText);
  if (wanted === undefined) throw new SetupError('BAD_LOCK', 'package-lock.json is not a lock file of npm 7 or newer');
  if (installed === undefined) return 'the record of the last installation is damaged';

  for (const [path, entry] of Object.entries(wanted)) {
    if (path === '') continue;
    const there = installed[path];
    if (there === undefined) {
      if (!entry.optional) return `${path} is missing`;
      if (!stamped && isNative(entry, platform, arch)) return `${path} is missing`;
    } else if (there.version !== entry.version) {
      return `${path} has version ${there.version}, expected ${entry.version}`;
    } else if (entry.integrity !== undefined && there.integrity !== entry.integrity) {
      return `${path} has another content than ${entry.version} in the lock`;
    } else if (!isFor(there, platform, arch)) {
      return `${path} is for another platform`;
    } else if (!existsSync(join(root, path, 'package.json'))) {
      return `${path} is damaged`;
    }
  }
  return '';
}

/**
 * Runs `npm ci` when it is needed. npm's output goes to standard error.
 *
 * @param {string} root
 * @param {{ env: Record<string, string | undefined>, progress: ReturnType<import('./progress.mjs').createProgress>,
 *   runNpm?: typeof runNpm }} setup - `runNpm` installs what the lock names
 * @returns {Promise<boolean>} whether packages were installed
 * @throws {SetupError} `NPM_MISSING`, `NPM_FAILED`, `INCOMPLETE_INSTALL`, `NOT_WRITABLE`
 */
export async function ensureDependencies(root, setup) {
  if (dependencyFault(root) === '') return false;
  const folder = join(root, '.cache');
  await mkdir(folder, { recursive: true }).catch((error) => {
    throw toFileError(error, folder);
  });
  const onWait = (pid) =>
    setup.progress.note(`Waiting for another set-up (process ${pid}) that is installing packages.`);
  const install = async () => {
    const fault = dependencyFault(root);
    if (fault === '') return false;
    setup.progress.note(`Installing npm packages (${fault}) ...`);
    const startedAt = performance.now();
    const stop = setup.progress.waiting('npm ci');
    try {
      await (setup.runNpm ?? runNpm)(root, setup.env);
    } finally {
      stop();
    }
    stamp(root);
    const left = dependencyFault(root);
    if (left !== '') throw new SetupError('INCOMPLETE_INSTALL', `npm ci ended well, and yet ${left}`);
    setup.progress.note(`Packages installed in ${Math.round((performance.now() - startedAt) / 1000)} s.`);
    return true;
  };
  return await withLock(join(folder, 'setup.lock'), install, { onWait });
}

function stamp(root) {
  const text = stampOf(readFileSync(join(root, 'package-lock.json'), 'utf8'), process.platform, process.arch);
  try {
    writeFileSync(join(root, STAMP), text);
  } catch (error) {
    throw toFileError(error, join(root, STAMP));
  }
}

function stampOf(lockText, platform, arch) {
  return `${createHash('sha256').update(lockText).digest('hex')} ${platform} ${arch}\n`;
}

/** Whether an optional package is made for this very platform, so that npm installs it here. */
function isNative(entry, platform, arch) {
  if (entry.os === undefined && entry.cpu === undefined) return false;
  return isFor(entry, platform, arch) && (entry.libc === undefined || entry.libc.includes('glibc'));
}

/** Whether an entry's platforms, a list of names or of refused `!names`, take this one in. */
function isFor(entry, platform, arch) {
  const fits = (list, name) =>
    list === undefined ||
    (!list.includes(`!${name}`) && (list.includes(name) || list.every((item) => item[0] === '!')));
  return fits(entry.os, platform) && fits(entry.cpu, arch);
}

function readPackages(text) {
  try {
    const packages = JSON.parse(text)?.packages;
    return typeof packages === 'object' && packages !== null ? packages : undefined;
  } catch {
    return undefined;
  }
}

function readText(path) {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return undefined;
    throw toFileError(error, path);
  }
}

function runNpm(root, env) {
  // The npm that runs us, if one does; otherwise the one on the PATH.
  const own = env.npm_execpath?.endsWith('npm-cli.js') ? [process.execPath, env.npm_execpath] : ['npm'];
  const [command = 'npm', ...head] = own;
  // Install scripts stay out: no dependency needs one (ONNX Runtime's would fetch CUDA libraries).
  const flags = [
    '--ignore-scripts',
    '--include=dev',
    '--include=optional',
    '--no-audit',
    '--no-fund',
    '--loglevel=error',
  ];
  return new Promise((resolve, reject) => {
    const child = spawn(command, [...head, 'ci', ...flags], { cwd: root, env, stdio: ['ignore', 2, 2] });
    child.on('error', (error) => {
      const message = error.code === 'ENOENT' ? 'no npm on the PATH; it comes with Node' : `npm: ${error.message}`;
      reject(new SetupError('NPM_MISSING', message, { cause: error }));
    });
    child.on('close', (code, signal) => {
      if (code === 0) resolve(undefined);
      else
        reject(
          new SetupError('NPM_FAILED', `npm ci failed (${signal ?? `exit code ${code}`}); its own words stand above`),
        );
    });
  });
}
