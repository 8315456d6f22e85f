#!/usr/bin/env node
/**
 * The `tracebond` command: runs the compiled program. In a source checkout it first compiles what has changed since the last
 * time; an installed package comes compiled.
 *
 * @module
 */

import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { checkPlatform, thisHost } from '../setup/platform.mjs';

const { refusal } = checkPlatform(thisHost());
if (refusal !== '') {
  console.error(refusal);
  process.exit(1);
}

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const isCheckout = existsSync(join(root, 'agents/cli/main.ts'));
process.exitCode = !isCheckout || ((await installPackages()) && (await build())) ? await run() : 1;

async function run() {
  const program = new URL('../../dist/agents/cli/main.js', import.meta.url);
  const { main } = await import(program.href);
  return await main(process.argv);
}

/** Compiles in another process, whose memory is gone when the program starts; it says itself what went wrong. */
async function build() {
  const { BUILD_FAILED, planBuild } = await import('../setup/build-files.mjs');
  if (planBuild(root).isFresh) return true;
  const builder = fileURLToPath(new URL('../setup/build.mjs', import.meta.url));
  const { status, stderr } = spawnSync(process.execPath, [builder, root], { stdio: ['ignore', 2, 'pipe'] });
  if (status === 0 || status === BUILD_FAILED) {
    process.stderr.write(stderr);
    return status === 0;
  }
  // Under another CPU's emulation this program cannot start itself once more: compiled here instead.
  const { runBuild } = await import('../setup/build.mjs');
  return runBuild(root);
}

/** On a fresh clone, `npx tracebond` comes before any `npm ci`. */
async function installPackages() {
  if (existsSync(join(root, 'node_modules/.package-lock.json'))) return true;
  const { ensureDependencies } = await import('../setup/dependencies.mjs');
  const { createProgress } = await import('../setup/progress.mjs');
  const { SetupError } = await import('../setup/setup-error.mjs');
  const progress = createProgress(process.stderr);
  try {
    await ensureDependencies(root, { env: process.env, progress });
    return true;
  } catch (error) {
    if (!(error instanceof SetupError)) throw error;
    progress.note(`Set-up failed (${error.code}): ${error.message}`);
    return false;
  }
}
