/**
 * `npm run image [-- --keep]`: carries out each instruction of the Dockerfile in temporary roots, and starts what comes out of it. No image
 * is made and no container engine takes part: Debian's `debootstrap` with this computer's Node stands in for the base image, a folder
 * for each stage's file system, bubblewrap for the container. One line for each instruction and check; the last one sums up. Exit code 1
 * on a failure, 2 where it cannot run: it needs Linux, root, `debootstrap` and `bwrap`.
 *
 * @module
 */

import { execFileSync } from 'node:child_process';
import {
  accessSync,
  constants,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { readEnvironment } from '../../agents/cli/environment.ts';
import { makeBaseRoot } from './base-root.ts';
import { BuildError, buildStages, type Image } from './build.ts';
import { listContainerChecks } from './containers.ts';
import { type Check, listContentChecks, readLock, readSizes } from './contents.ts';
import { copyContext, readDockerignore } from './context.ts';
import { parseDockerfile, type Stage } from './dockerfile.ts';
import { type Outside, readOutside } from './outside.ts';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const CANARY = 'tracebond-canary';

/** Laid into the context; none may come through. */
const CANARIES = [
  `.env.${CANARY}`,
  `agents/.env.${CANARY}`,
  `agents/setup/${CANARY}.key`,
  `agents/sdk/${CANARY}.pem`,
  `agents/sdk/${CANARY}.log`,
  `inference/spec/.cache/${CANARY}`,
  `node_modules/${CANARY}/index.js`,
  `dist/${CANARY}.js`,
  `test/${CANARY}.ts`,
  `.git/${CANARY}`,
];

const SHOWN = [
  '',
  'usr',
  'app',
  'app/node_modules',
  'app/node_modules/onnxruntime-node',
  'app/dist',
  'usr/lib/python3',
];

process.exitCode = await main(process.argv.slice(2));

async function main(args: readonly string[]): Promise<number> {
  if (args.some((arg) => arg !== '--keep')) {
    console.error('usage: npm run image [-- --keep]');
    return 2;
  }
  const missing = findMissing();
  if (missing.length > 0) {
    console.error(`image: cannot be exercised here without ${missing.join(', ')}`);
    return 2;
  }
  const folder = mkdtempSync(join(tmpdir(), 'tracebond-image-'));
  const clear = () => rmSync(folder, { recursive: true, force: true });
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, () => {
      if (!args.includes('--keep')) clear();
      process.exit(1);
    });
  }
  try {
    return await exercise(folder);
  } catch (error) {
    console.error(`image: FAILED: ${error instanceof BuildError ? error.message : error}`);
    return 1;
  } finally {
    if (args.includes('--keep')) console.error(`kept: ${folder}`);
    else clear();
  }
}

async function exercise(folder: string): Promise<number> {
  const startedAt = performance.now();
  const seconds = () => ((performance.now() - startedAt) / 1000).toFixed(0);
  const stages = parseDockerfile(readFileSync(join(ROOT, 'Dockerfile'), 'utf8'));
  const ignores = readDockerignore(readFileSync(join(ROOT, '.dockerignore'), 'utf8'));
  const outside = await readOutside();
  const context = join(folder, 'context');
  console.log(`context: ${makeContext(folder, context, ignores)} files`);
  const base = join(folder, 'base');
  mkdirSync(base);
  console.log(`SIMULATED base image: ${await makeBaseRoot(base)}; ${seconds()} s`);

  const { image, steps } = await build(stages, { folder, base, context, outside });
  console.log(`built in ${seconds()} s`);
  const sizes = new Map(readSizes(image.root, SHOWN).map(({ folder: path, kib }) => [path, kib]));
  for (const [path, kib] of sizes) console.log(`  ${mib(kib).padStart(6)} MiB  /${path}`);
  const [before] = readSizes(base, ['']);

  const lock = readLock(join(ROOT, 'package-lock.json'));
  const checks = [
    ...listContentChecks(image, ignores, lock, CANARY),
    ...listContainerChecks(image, { folder, cache: readEnvironment().cache, outside }),
  ];
  const failures = await carryOut(checks);
  console.log(
    `image: ${steps} instructions carried out, ${checks.length} checks, ${failures} failures, ${mib(sizes.get('') ?? 0)} MiB ` +
      `(${mib(before?.kib ?? 0)} of them the base), ${seconds()} s; no image was built`,
  );
  return failures === 0 ? 0 : 1;
}

async function build(
  stages: readonly Stage[],
  place: { readonly folder: string; readonly base: string; readonly context: string; readonly outside: Outside },
): Promise<{ readonly image: Image; readonly steps: number }> {
  let steps = 0;
  const image = await buildStages(stages, {
    ...place,
    cacheOf: (target) => {
      // npm's own cache holds what was fetched for the checkout, by content.
      if (target === '/root/.npm') return place.outside.npmCache;
      const path = join(place.folder, 'caches', target);
      mkdirSync(path, { recursive: true });
      return path;
    },
    say: (step, took) => {
      steps++;
      console.log(`${took.toFixed(1).padStart(6)} s  ${String(step.line).padStart(3)}  ${step.text.slice(0, 110)}`);
    },
  });
  return { image, steps };
}

async function carryOut(checks: readonly Check[]): Promise<number> {
  let failures = 0;
  for (const { name, run } of checks) {
    const startedAt = performance.now();
    const faults = await run().catch((error: unknown) => [error instanceof Error ? error.message : String(error)]);
    const took = ((performance.now() - startedAt) / 1000).toFixed(1);
    console.log(`${faults.length === 0 ? 'ok    ' : 'FAILED'}  ${took.padStart(5)} s  ${name}`);
    for (const fault of faults) console.error(`        ${fault}`);
    if (faults.length > 0) failures++;
  }
  return failures;
}

/** The sources as they lie here, with files that must not come through, as a builder would get them. */
function makeContext(folder: string, context: string, ignores: (path: string) => boolean): number {
  const tree = join(folder, 'tree');
  const listed = execFileSync('git', ['ls-files', '-z', '--cached', '--others', '--exclude-standard'], { cwd: ROOT });
  for (const path of listed.toString().split('\0')) {
    if (path === '' || !existsSync(join(ROOT, path))) continue;
    mkdirSync(dirname(join(tree, path)), { recursive: true });
    cpSync(join(ROOT, path), join(tree, path), { verbatimSymlinks: true });
  }
  for (const path of CANARIES) {
    mkdirSync(dirname(join(tree, path)), { recursive: true });
    writeFileSync(join(tree, path), '');
  }
  const { length } = copyContext(tree, context, ignores);
  rmSync(tree, { recursive: true });
  return length;
}

function findMissing(): string[] {
  const folders = (process.env['PATH'] ?? '').split(':');
  const tools = ['debootstrap', 'bwrap', 'setpriv', 'nsenter', 'npm', 'git'].filter(
    (name) => !folders.some((folder) => isProgram(join(folder, name))),
  );
  return [...(process.platform === 'linux' && process.getuid?.() === 0 ? [] : ['root on Linux']), ...tools];
}

function isProgram(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

function mib(kib: number): string {
  return (kib / 1024).toFixed(0);
}
