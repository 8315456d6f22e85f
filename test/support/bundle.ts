/**
 * Programs of the tests as bundles: a process of one starts several times as fast as from the source, since no loader has to compile it.
 *
 * @module
 */

import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { buildSync } from 'esbuild';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));

/**
 * Bundles programs into a folder of their own, where they find the installed packages; what they load late stays in files of its own. Nothing
 * runs on when it returns.
 *
 * @param path - of the source, below the root of the repository, ending in `.ts`
 * @param more - of programs beside it, which it starts
 * @returns path of the first bundle
 */
export function bundleInto(folder: string, path: string, ...more: readonly string[]): string {
  mkdirSync(folder, { recursive: true });
  buildSync({
    entryPoints: [path, ...more].map((source) => join(ROOT, source)),
    outdir: folder,
    entryNames: '[name]',
    bundle: true,
    splitting: true,
    packages: 'external',
    platform: 'node',
    format: 'esm',
    target: 'node20',
    logLevel: 'silent',
  });
  writeFileSync(join(folder, 'package.json'), '{"type":"module"}\n');
  symlinkSync(join(ROOT, 'node_modules'), join(folder, 'node_modules'));
  return join(folder, basename(path).replace(/\.ts$/, '.js'));
}
