/**
 * llama.cpp for benches: installed on demand, pinned, into the cache folder; never a dependency of this project. The GGUF
 * files that it is given lie there too.
 *
 * @module
 */

import { execFile } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { EngineAbsent } from './bench-engine.ts';
import { type RequantiseTarget, requantiseGguf } from './gguf-requantise.ts';

/** Version of the binding and of the libraries built for it, llama.cpp among them. */
export const LLAMA_VERSION = '3.22.1';

/** The only computer for which a built library is asked. */
const PLATFORM = 'linux-x64';

const PACKAGES = { 'node-llama-cpp': LLAMA_VERSION, [`@node-llama-cpp/${PLATFORM}`]: LLAMA_VERSION };

/** Changes when a written GGUF would have other bytes. */
const GGUF_VERSION = 1;

/** Longest that the installation may take. */
const INSTALL_MS = 300_000;

/** Folder of everything that benches keep. */
export function benchFolder(cache: string): string {
  return join(cache, 'bench');
}

/**
 * Finds or installs the binding; install scripts do not run.
 *
 * @param cache - the project's cache folder
 * @returns the folder that holds its `node_modules`
 * @throws {@link EngineAbsent} why it cannot be installed
 */
export async function ensureLlama(cache: string, onProgress: (message: string) => void): Promise<string> {
  const platform = `${process.platform}-${process.arch}`;
  if (platform !== PLATFORM) throw new EngineAbsent(`llama.cpp is measured on ${PLATFORM}, this is ${platform}`);
  const folder = join(benchFolder(cache), `llama-cpp-${LLAMA_VERSION}`);
  if (isInstalled(folder)) return folder;
  onProgress(`installing node-llama-cpp ${LLAMA_VERSION} (once)`);
  const aside = `${folder}.${process.pid}.new`;
  mkdirSync(aside, { recursive: true });
  try {
    writeFileSync(join(aside, 'package.json'), JSON.stringify({ private: true, dependencies: PACKAGES }));
    const args = ['install', '--omit=optional', '--ignore-scripts', '--no-audit', '--no-fund'];
    await promisify(execFile)('npm', args, { cwd: aside, timeout: INSTALL_MS });
    if (!isInstalled(aside)) throw new Error('its files are not where they were expected');
    rmSync(folder, { recursive: true, force: true });
    renameSync(aside, folder);
  } catch (cause) {
    rmSync(aside, { recursive: true, force: true });
    throw new EngineAbsent(`llama.cpp cannot be installed: ${cause instanceof Error ? cause.message : cause}`, {
      cause,
    });
  }
  return folder;
}

function isInstalled(folder: string): boolean {
  return Object.entries(PACKAGES).every(([name, version]) => {
    const manifest = join(folder, 'node_modules', name, 'package.json');
    return existsSync(manifest) && JSON.parse(readFileSync(manifest, 'utf8')).version === version;
  });
}

/**
 * Finds or writes the same model with other weights.
 *
 * @param path - GGUF file
 * @param name - names the model in the cache: other bytes, another name
 */
export function ensureGguf(
  path: string,
  name: string,
  target: RequantiseTarget,
  cache: string,
  onProgress: (message: string) => void,
): string {
  const file = join(benchFolder(cache), `${name}-${GGUF_VERSION}.${target}.gguf`);
  if (existsSync(file)) return file;
  onProgress(`writing a ${target} GGUF of the model (once)`);
  mkdirSync(benchFolder(cache), { recursive: true });
  requantiseGguf(path, file, target);
  return file;
}
