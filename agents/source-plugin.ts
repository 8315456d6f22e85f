/**
 * An esbuild plugin that rewrites modules of the developer's before they are bundled; those of packages are left as they are.
 *
 * @module
 */

import { readFile } from 'node:fs/promises';
import type { Loader, Plugin } from 'esbuild';
import { toWasmPaths } from './wasm-url.ts';
import { toNamespaceImport } from './zod-namespace.ts';

/**
 * Makes the plugin.
 *
 * @param folder - folder of the agent's module
 */
export function sourcePlugin(folder: string): Plugin {
  return {
    name: 'tracebond-source',
    setup(build) {
      build.onLoad({ filter: /\.[cm]?[jt]sx?$/ }, async ({ path }) => {
        if (/[\\/]node_modules[\\/]/.test(path)) return undefined;
        const source = await readFile(path, 'utf8');
        const imported = toNamespaceImport(source) ?? source;
        const contents = toWasmPaths(imported, path, folder) ?? imported;
        return contents === source ? undefined : { contents, loader: loaderOf(path) };
      });
    },
  };
}

function loaderOf(path: string): Loader {
  const extension = path.slice(path.lastIndexOf('.') + 1).replace(/^[cm]/, '');
  return extension === 'ts' || extension === 'tsx' || extension === 'jsx' ? extension : 'js';
}
