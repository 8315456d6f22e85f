#!/usr/bin/env node
/**
 * The `tracebond` command. In a source checkout it runs `main.ts` through tsx, so that no stale build is in the way; in an
 * installed package it runs the compiled program.
 *
 * @module
 */

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
process.exitCode = existsSync(join(root, 'agents/cli/main.ts')) ? await runSource() : await runBuild();

async function runSource() {
  if (!existsSync(join(root, 'node_modules/.package-lock.json')) && !(await installPackages())) return 1;
  const { register } = await import('tsx/esm/api');
  register();
  const { main } = await import('./main.ts');
  return await main(process.argv);
}

async function runBuild() {
  const program = new URL('../../dist/agents/cli/main.js', import.meta.url);
  const { main } = await import(program.href);
  return await main(process.argv);
}

/** On a fresh clone, `npx tracebond` comes before any `npm ci`. */
async function installPackages() {
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
