#!/usr/bin/env node
/**
 * Set-up before `npm test` and `npm run demo`: checks the platform, installs the npm packages and fetches the model, each
 * only when needed. Plain Node without a dependency, since it runs on a fresh clone. Everything it says goes to standard
 * error.
 *
 * Usage: `node agents/setup/bootstrap.mjs [--packages | --model]` (one part only).
 *
 * @module
 */

import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { checkPlatform, thisHost } from './platform.mjs';

const { refusal, warnings } = checkPlatform(thisHost());
for (const warning of warnings) console.error(`Warning: ${warning}`);
if (refusal !== '') {
  console.error(refusal);
  process.exit(1);
}

// Loaded only now: an old Node could not read these files.
const { existsSync } = await import('node:fs');
const { SetupError } = await import('./setup-error.mjs');
const { createProgress } = await import('./progress.mjs');
const { ensureDependencies } = await import('./dependencies.mjs');
const { ensureModel, readManifest } = await import('./model.mjs');

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const [part = 'all', ...rest] = process.argv.slice(2);
if (rest.length > 0 || !['all', '--packages', '--model'].includes(part)) {
  console.error('Usage: node agents/setup/bootstrap.mjs [--packages | --model]');
  process.exit(2);
}

const progress = createProgress(process.stderr);
const env = process.env;
try {
  // An installed package has no lock file: its packages are npm's business.
  if (part !== '--model' && existsSync(join(root, 'package-lock.json')))
    await ensureDependencies(root, { env, progress });
  if (part !== '--packages') await ensureModel({ manifest: readManifest(), env, home: homedir(), progress });
} catch (error) {
  if (!(error instanceof SetupError)) throw error;
  progress.note(`Set-up failed (${error.code}): ${error.message}`);
  process.exitCode = 1;
}
