/**
 * `new URL('./tool.wasm', import.meta.url)`, the way in which modules name files beside them, for programs of `defineWasmTool`. The
 * sandbox has neither URLs nor files, so the bundler writes in its place where the file is, relative to the agent's module.
 *
 * @module
 */

import { dirname, relative, resolve, sep } from 'node:path';

const WASM_URL = /new\s+URL\(\s*(['"])([^'"\n\\]+\.wasm)\1\s*,\s*import\.meta\.url\s*,?\s*\)/g;

/**
 * The module with such expressions rewritten, or undefined if it has none.
 *
 * @param file - path of the module
 * @param folder - folder of the agent's module, which paths are relative to, so that no path of this computer is in a script
 */
export function toWasmPaths(source: string, file: string, folder: string): string | undefined {
  const rewritten = source.replace(WASM_URL, (_whole, _quote, path: string) => {
    const wasmPath = relative(folder, resolve(dirname(file), path))
      .split(sep)
      .join('/');
    return `({ href: '', wasmPath: ${JSON.stringify(wasmPath)} })`;
  });
  return rewritten === source ? undefined : rewritten;
}
