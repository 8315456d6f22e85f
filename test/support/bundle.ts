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
 * Bundles a program into a folder of its own, where it finds the installed packages; what it loads late stays in files of their own. Nothing
 * runs on when it returns.
 *
 * @param path - of the source, below the root of the repository, ending in `.ts`
 * @returns path of the bundle
 */
export function bundleInto(folder: string, path: string): string {
  mkdirSync(folder, { recursive: true });
  buildSync({
    entryPoints: [join(ROOT, path)],
    outdir: folder,
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
