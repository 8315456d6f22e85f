/**
 * Builds the inspector's page (`attest/inspector/page`) into `dist/attest/inspector/page`, unless what lies there was made from the
 * sources that lie here now: `.inputs.json` beside the page holds the hash of each of them. The page is written aside and renamed.
 *
 * Usage: `node agents/setup/build-page.mjs [ROOT]`. `npm run build` does it for the package; in a checkout `tracebond inspect` does.
 *
 * @module
 */

import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { BUILD_FAILED, hash } from './build-files.mjs';
import { SetupError, toFileError } from './setup-error.mjs';

const SOURCE = 'attest/inspector/page';
const TARGET = 'dist/attest/inspector/page';
const INPUTS = '.inputs.json';

/** What decides the page besides its modules. */
const RULES = ['agents/setup/build-page.mjs', `${SOURCE}/index.html`];

/**
 * Brings the page up to date.
 *
 * @param {string} root - absolute path of a checkout
 * @returns {Promise<boolean>} whether it was not fresh
 * @throws {SetupError} `SYNTAX_ERROR`, `COMPILER_MISSING`, `DISK_FULL`, `NOT_WRITABLE`
 */
export async function ensurePage(root) {
  if (isFresh(root)) return false;
  const { build } = await import('vite').catch((cause) => {
    if (cause.code !== 'ERR_MODULE_NOT_FOUND') throw cause;
    throw new SetupError('COMPILER_MISSING', 'package vite is not installed; run npm ci', { cause });
  });
  const modules = new Set(RULES.map((path) => join(root, path)));
  const aside = join(root, `${TARGET}.${process.pid}.tmp`);
  try {
    await forProduction(() => build(configOf(root, aside, modules))).catch((cause) => {
      if (cause.code === 'ENOSPC' || cause.code === 'EACCES') throw toFileError(cause, aside, '');
      throw new SetupError('SYNTAX_ERROR', cause.message, { cause });
    });
    const files = Object.fromEntries(
      [...modules].sort().map((path) => [relative(root, path), hash(readFileSync(path))]),
    );
    mkdirSync(aside, { recursive: true });
    writeFileSync(join(aside, 'LICENSES.txt'), licencesOf([...modules].sort()));
    writeFileSync(join(aside, INPUTS), `${JSON.stringify({ tools: tools(), files })}\n`);
    rmSync(join(root, TARGET), { recursive: true, force: true });
    renameSync(aside, join(root, TARGET));
  } finally {
    rmSync(aside, { recursive: true, force: true });
  }
  return true;
}

/**
 * The same page whatever the environment says: for development the compiler would put this computer's paths into it.
 *
 * @template T
 * @param {() => Promise<T>} work
 * @returns {Promise<T>}
 */
async function forProduction(work) {
  const before = process.env.NODE_ENV;
  process.env.NODE_ENV = 'production';
  try {
    return await work();
  } finally {
    if (before === undefined) delete process.env.NODE_ENV;
    else process.env.NODE_ENV = before;
  }
}

function configOf(root, outDir, modules) {
  const plugin = () => ({
    name: 'tracebond',
    enforce: 'pre',
    // ethers is many times as large as the page: its place has an encoder that a test holds equal to it.
    resolveId(source, importer) {
      if (source === './struct-encoder.ts' && importer?.endsWith('/attest/sign/eip712.ts')) {
        return join(root, 'attest/inspector/struct-encoder.ts');
      }
      // The bundler would put an empty module in its place.
      if (/^(node:|ethers\b)/.test(source)) throw new Error(`${importer} imports ${source}: the page cannot have it`);
      return null;
    },
    generateBundle() {
      for (const id of this.getModuleIds()) {
        const [path] = id.split('?', 1);
        if (existsSync(path)) modules.add(path);
      }
    },
  });
  return {
    configFile: false,
    envDir: false,
    root: join(root, SOURCE),
    base: './',
    logLevel: 'silent',
    publicDir: false,
    oxc: { jsx: { runtime: 'automatic', importSource: 'preact' } },
    plugins: [plugin()],
    worker: { format: 'es', plugins: () => [plugin()] },
    build: {
      outDir,
      emptyOutDir: true,
      target: 'es2022',
      // Every file is asked for by its own address: inline data is nothing that the page's policy allows.
      assetsInlineLimit: 0,
      modulePreload: { polyfill: false },
      reportCompressedSize: false,
    },
  };
}

function isFresh(root) {
  const target = join(root, TARGET);
  if (!existsSync(join(target, 'index.html')) || !existsSync(join(target, INPUTS))) return false;
  try {
    const record = JSON.parse(readFileSync(join(target, INPUTS), 'utf8'));
    return (
      record.tools === tools() &&
      Object.entries(record.files).every(([path, digest]) => hash(readFileSync(join(root, path))) === digest)
    );
  } catch (error) {
    // Damaged, or a source is gone: built anew.
    if (error instanceof SyntaxError || error instanceof TypeError || error.code === 'ENOENT') return false;
    throw error;
  }
}

/** The licences of the packages that are built in, as each asks for. @param {string[]} modules - paths */
function licencesOf(modules) {
  const folders = modules.flatMap((path) => /^.*\/node_modules\/(?:@[^/]+\/)?[^/]+/.exec(path) ?? []);
  return [...new Set(folders)]
    .map((folder) => {
      const { name, version } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));
      const file = readdirSync(folder).find((entry) => /^licen[cs]e/i.test(entry));
      if (file === undefined)
        throw new SetupError('SYNTAX_ERROR', `${folder} has no licence, and is built into the page`);
      return `${name} ${version}\n\n${readFileSync(join(folder, file), 'utf8').trim()}\n`;
    })
    .join('\n----\n\n');
}

/** Versions of what builds the page and is built into it. */
function tools() {
  const { resolve } = createRequire(import.meta.url);
  return ['vite', 'preact']
    .map((name) => {
      try {
        return `${name} ${JSON.parse(readFileSync(resolve(`${name}/package.json`), 'utf8')).version}`;
      } catch (error) {
        if (error.code === 'MODULE_NOT_FOUND') return `${name} missing`;
        throw error;
      }
    })
    .join(', ');
}

if (process.argv[1] !== undefined && realpathSync(process.argv[1]) === fileURLToPath(import.meta.url)) {
  const root = process.argv[2] ?? dirname(dirname(dirname(fileURLToPath(import.meta.url))));
  try {
    await ensurePage(root);
  } catch (error) {
    if (!(error instanceof SetupError)) throw error;
    console.error(`Build of the page failed (${error.code}): ${error.message}`);
    process.exitCode = BUILD_FAILED;
  }
}
