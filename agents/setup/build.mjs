/**
 * Compiles a source checkout into `dist/` for the `tracebond` command: module by module, without types (`npm run types` and
 * the build of the package check them), and only what is not fresh. Each file is written aside and renamed, so that
 * processes that build at once, or run what is built, see whole files only.
 *
 * Usage: `node agents/setup/build.mjs [ROOT]`. The command runs it as a process of its own: the compiler's memory is not
 * the program's.
 *
 * @module
 */

import { existsSync, mkdirSync, realpathSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { BUILD_FAILED, FOLDERS, hash, planBuild, RECORD, walk } from './build-files.mjs';
import { SetupError, toFileError } from './setup-error.mjs';

/** Below this number of modules a build is over before anybody asks what is going on. */
const WORTH_SAYING = 20;
/** Age in milliseconds at which a file written aside belongs to nobody any more. */
const ABANDONED_MS = 60_000;

/**
 * Brings `dist/` up to date. Declarations that `npm run build` left there stay, unless their source is gone.
 *
 * @param {string} root - absolute path of a checkout
 * @param {{ log?: (line: string) => void }} [options]
 * @returns {Promise<boolean>} whether anything was not fresh
 * @throws {SetupError} `SYNTAX_ERROR` with a line `file:line:column: what` for each, and `dist/` as it was;
 *   `COMPILER_MISSING`; `DISK_FULL` and `NOT_WRITABLE`
 */
export async function ensureBuild(root, options = {}) {
  const { stale, record, isFresh } = planBuild(root);
  if (isFresh) return false;
  const modules = stale.filter(({ isAsset }) => !isAsset).length;
  if (modules >= WORTH_SAYING) options.log?.(`Compiling ${modules} modules ...`);
  const compile = modules === 0 ? undefined : await openCompiler(root);
  const faults = [];
  const made = stale.map(({ source, target, isAsset, content }) => {
    const output = isAsset || compile === undefined ? content : compile(source, content.toString('utf8'), faults);
    record.files[source] = [hash(content), hash(output)];
    return { path: join(root, target), output };
  });
  if (faults.length > 0) throw new SetupError('SYNTAX_ERROR', faults.join('\n'));
  try {
    for (const { path, output } of made) writeAside(path, output);
    removeGone(root);
    writeAside(join(root, RECORD), `${JSON.stringify(record)}\n`);
  } catch (error) {
    throw toFileError(error, join(root, 'dist'), '');
  }
  return true;
}

/**
 * Loads the compiler with the options of `tsconfig.build.json`.
 *
 * @param {string} root
 * @returns {Promise<(source: string, text: string, faults: string[]) => string>}
 */
async function openCompiler(root) {
  const { default: ts } = await import('typescript').catch((cause) => {
    if (cause.code !== 'ERR_MODULE_NOT_FOUND') throw cause;
    throw new SetupError('COMPILER_MISSING', 'package typescript is not installed; run npm ci', { cause });
  });
  const file = join(root, 'tsconfig.build.json');
  const { config, error } = ts.readConfigFile(file, ts.sys.readFile);
  if (error !== undefined) throw new SetupError('SYNTAX_ERROR', describe(ts, error, 'tsconfig.build.json'));
  // The files of the program are not asked for: each module is compiled by itself.
  const host = { ...ts.sys, readDirectory: () => [] };
  const { options } = ts.parseJsonConfigFileContent(config, host, root, undefined, file);
  const compilerOptions = {
    ...options,
    declaration: false,
    // Places are ours: the compiler writes nothing.
    rootDir: undefined,
    outDir: undefined,
    // `nodenext` means ES modules here by package.json, which a module by itself cannot see.
    module: ts.ModuleKind.ESNext,
    moduleResolution: ts.ModuleResolutionKind.Bundler,
  };
  return (source, text, faults) => {
    const result = ts.transpileModule(text, { compilerOptions, fileName: source, reportDiagnostics: true });
    for (const fault of result.diagnostics ?? []) faults.push(describe(ts, fault, source));
    return result.outputText;
  };
}

function describe(ts, fault, source) {
  const what = ts.flattenDiagnosticMessageText(fault.messageText, ' ');
  if (fault.file === undefined || fault.start === undefined) return `${source}: ${what}`;
  const { line, character } = fault.file.getLineAndCharacterOfPosition(fault.start);
  return `${source}:${line + 1}:${character + 1}: ${what}`;
}

function writeAside(path, content) {
  const aside = `${path}.${process.pid}.tmp`;
  mkdirSync(dirname(path), { recursive: true });
  try {
    writeFileSync(aside, content);
    renameSync(aside, path);
  } catch (error) {
    rmSync(aside, { force: true });
    throw error;
  }
}

/** Removes what came from sources that are no more, and what killed processes left aside. @param {string} root */
export function removeGone(root) {
  for (const folder of FOLDERS) {
    walk(root, `dist/${folder}`, (path) => {
      if (path.endsWith('.tmp') ? isAbandoned(join(root, path)) : !hasSource(root, path.slice('dist/'.length))) {
        rmSync(join(root, path), { force: true });
      }
    });
  }
}

function hasSource(root, path) {
  return existsSync(join(root, path)) || existsSync(join(root, path.replace(/(\.d\.ts|\.js)$/, '.ts')));
}

function isAbandoned(path) {
  const age = Date.now() - (statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? Date.now());
  return age > ABANDONED_MS;
}

/**
 * Brings `dist` up to date and says on standard error what is done and what went wrong.
 *
 * @param {string} root - root of the checkout
 * @returns {Promise<boolean>} whether it is up to date
 */
export async function runBuild(root) {
  try {
    await ensureBuild(root, { log: (line) => console.error(line) });
    return true;
  } catch (error) {
    if (!(error instanceof SetupError)) throw error;
    console.error(`Build failed (${error.code}): ${error.message}`);
    return false;
  }
}

if (process.argv[1] !== undefined && realpathSync(process.argv[1]) === fileURLToPath(import.meta.url)) {
  const root = process.argv[2] ?? dirname(dirname(dirname(fileURLToPath(import.meta.url))));
  if (!(await runBuild(root))) process.exitCode = BUILD_FAILED;
}
