#!/usr/bin/env node
/**
 * Takes out of installed npm packages what the program never reads when it runs: ONNX Runtime's libraries for other platforms, its build
 * for browsers, and source maps. For an image; a checkout keeps all of it.
 *
 * Usage: `node agents/setup/prune-packages.mjs [NODE_MODULES]`. Plain Node without a dependency. One line on standard output.
 *
 * @module
 */

import { existsSync, lstatSync, readdirSync, realpathSync, rmSync, statSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const LIBRARIES = 'onnxruntime-node/bin';

/** transformers.js brings it into its own bundle, and opens the one for Node. */
const FOR_BROWSERS = 'onnxruntime-web';

/**
 * Prunes a folder of packages. What is pruned already stays as it is.
 *
 * @param {string} modules - path of `node_modules`
 * @param {{ platform?: string, arch?: string }} [host] - whose libraries stay; this computer by default
 * @returns {{ part: string, bytes: number }[]} what was taken out, in bytes
 * @throws {Error} before anything is taken out, if ONNX Runtime has no library for `host`, or lies elsewhere than it did
 */
export function prunePackages(modules, { platform = process.platform, arch = process.arch } = {}) {
  const others = otherPlatforms(join(modules, LIBRARIES), platform, arch);
  const takeOut = (part, paths) => {
    const bytes = paths.reduce((sum, path) => sum + sizeOf(path), 0);
    for (const path of paths) rmSync(path, { recursive: true });
    return { part, bytes };
  };
  const browser = join(modules, FOR_BROWSERS);
  return [
    takeOut(`${LIBRARIES} of other platforms than ${platform}/${arch}`, others),
    takeOut(FOR_BROWSERS, existsSync(browser) ? [browser] : []),
    takeOut('source maps', sourceMaps(modules)),
  ];
}

/** Folders `bin/napi-vN/PLATFORM/ARCH` that are not this platform's. */
function otherPlatforms(folder, platform, arch) {
  const found = children(folder).flatMap(children).flatMap(children);
  const isOwn = (path) => path.endsWith(`/${platform}/${arch}`);
  const own = found.filter((path) => isOwn(path) && existsSync(join(path, 'onnxruntime_binding.node')));
  if (own.length === 0) throw new Error(`${folder} has no library for ${platform}/${arch}`);
  return found.filter((path) => !isOwn(path));
}

function children(folder) {
  return readdirSync(folder, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map(({ name }) => join(folder, name));
}

function sourceMaps(folder) {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && /\.(?:[cm]?js|css|ts)\.map$/.test(entry.name))
    .map((entry) => join(entry.parentPath, entry.name));
}

function sizeOf(path) {
  const status = lstatSync(path);
  if (!status.isDirectory()) return status.size;
  return readdirSync(path, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .reduce((sum, entry) => sum + lstatSync(join(entry.parentPath, entry.name)).size, 0);
}

if (process.argv[1] !== undefined && realpathSync(process.argv[1]) === fileURLToPath(import.meta.url)) {
  const modules = resolve(process.argv[2] ?? 'node_modules');
  if (!statSync(modules).isDirectory()) throw new Error(`${modules} is no folder`);
  const said = prunePackages(modules).map(({ part, bytes }) => `${part} (${Math.round(bytes / (1 << 20))} MiB)`);
  console.log(`taken out: ${said.join(', ')}`);
}
