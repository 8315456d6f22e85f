/**
 * What a compiled build consists of, and whether the one in `dist/` was made from the sources that lie here now.
 *
 * B1. `dist/.build.json` holds pairs of SHA-256: a source, and what was compiled from it under the named settings. Each
 *     pair is true by itself, whichever process wrote it last.
 * B2. A compiled file is fresh if the source and the file itself have the two hashes of its pair. Times are not looked at:
 *     a checkout of another commit sets them back, and another build may have written the file in between.
 *
 * @module
 */

import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';

/** Exit code of a build that said itself what is wrong. */
export const BUILD_FAILED = 3;

/** Folders of the product, each mirrored below `dist/`. */
export const FOLDERS = ['attest', 'inference', 'runtime', 'agents'];

/** File that says what `dist/` was made from, relative to the root. */
export const RECORD = 'dist/.build.json';

/** Written in AssemblyScript, no TypeScript though it is named so; and the page, which `build-page.mjs` builds. */
const NOT_OURS = /(^|\/)(wasm\/assembly|inspector\/page(\.[^/]*)?)$/;

/** Its content stands for the rules of the build, so that a change of them compiles everything again. */
const RULES = ['tsconfig.json', 'tsconfig.build.json', 'agents/setup/build.mjs'];

/**
 * One file of a build: `source` and `target` are relative to the root, with slashes; an asset is copied as it is.
 *
 * @typedef {{ source: string, target: string, isAsset: boolean }} BuildFile
 */

/**
 * `settings` is the hash of all that decides what a source is compiled to; `files` has, by source, the pair of B1.
 *
 * @typedef {{ settings: string, files: Record<string, [source: string, target: string]> }} BuildRecord
 */

/**
 * The files of a build, in the order of their paths.
 *
 * @param {string} root
 * @returns {BuildFile[]}
 */
export function listBuildFiles(root) {
  const found = [];
  for (const folder of FOLDERS) {
    walk(root, folder, (source) => {
      const isAsset = isAssetPath(source);
      if (!isAsset && !isSourcePath(source)) return;
      found.push({ source, target: `dist/${isAsset ? source : source.replace(/\.ts$/, '.js')}`, isAsset });
    });
  }
  return found;
}

/**
 * What must be made anew for a build of what lies here now.
 *
 * @param {string} root
 * @returns {{ stale: (BuildFile & { content: Buffer })[], record: BuildRecord, isFresh: boolean }} `stale`: the files to
 *   make, as they were read; `record`: the pairs of the others
 */
export function planBuild(root) {
  const settings = settingsOf(root);
  const old = readRecord(root);
  const known = old.settings === settings ? old.files : {};
  const stale = [];
  /** @type {BuildRecord['files']} */
  const files = {};
  for (const file of listBuildFiles(root)) {
    const content = readOr(() => readFileSync(join(root, file.source)));
    if (content === undefined) continue;
    const pair = Object.hasOwn(known, file.source) ? known[file.source] : undefined;
    if (pair?.[0] === hash(content) && pair[1] === hashOfFile(join(root, file.target))) {
      files[file.source] = pair;
    } else {
      stale.push({ ...file, content });
    }
  }
  const isComplete = stale.length === 0 && Object.keys(old.files).length === Object.keys(files).length;
  return { stale, record: { settings, files }, isFresh: isComplete && old.settings === settings };
}

/** SHA-256 in lower-case hexadecimal. @param {string | Uint8Array} content */
export function hash(content) {
  return createHash('sha256').update(content).digest('hex');
}

/**
 * Calls `visit` with every file below a folder; a folder that does not exist has none.
 *
 * @param {string} root
 * @param {string} folder - relative to the root, as the paths that `visit` gets
 * @param {(path: string) => void} visit
 */
export function walk(root, folder, visit) {
  if (NOT_OURS.test(folder)) return;
  for (const entry of readOr(() => readdirSync(join(root, folder), { withFileTypes: true })) ?? []) {
    const path = `${folder}/${entry.name}`;
    if (entry.isDirectory()) walk(root, path, visit);
    else if (entry.isFile()) visit(path);
  }
}

/** @param {string} path */
function isSourcePath(path) {
  return path.endsWith('.ts') && !/\.(d|test|fuzz)\.ts$/.test(path);
}

/** Data that compiled modules import or read beside themselves. @param {string} path */
function isAssetPath(path) {
  if (path.startsWith('agents/examples/')) return !path.endsWith('.ts');
  // `tracebond models pull` fetches with the parts of the set-up.
  if (path.startsWith('agents/setup/')) return path.endsWith('.mjs');
  return /(\/spec\/[^/]+|\.artifact)\.json$|\.wasm$/.test(path);
}

/** @param {string} root */
function settingsOf(root) {
  return hash([compilerVersion(), ...RULES.map((path) => hashOfFile(join(root, path)))].join('\n'));
}

/** Empty where there is none: nothing is fresh then, and the build says what is missing. */
function compilerVersion() {
  try {
    const manifest = createRequire(import.meta.url).resolve('typescript/package.json');
    return JSON.parse(readFileSync(manifest, 'utf8')).version;
  } catch (error) {
    if (error.code === 'MODULE_NOT_FOUND') return '';
    throw error;
  }
}

/** @param {string} root @returns {BuildRecord} */
function readRecord(root) {
  try {
    const record = JSON.parse(readOr(() => readFileSync(join(root, RECORD), 'utf8')) ?? '{}');
    if (typeof record?.settings === 'string' && typeof record.files === 'object' && record.files !== null)
      return record;
  } catch (error) {
    // Damaged: nothing is known of the build, and the next one writes it anew.
    if (!(error instanceof SyntaxError)) throw error;
  }
  return { settings: '', files: {} };
}

function hashOfFile(path) {
  const content = readOr(() => readFileSync(path));
  return content === undefined ? undefined : hash(content);
}

/** What `read` gives, or undefined where nothing is. */
function readOr(read) {
  try {
    return read();
  } catch (error) {
    if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return undefined;
    throw error;
  }
}
