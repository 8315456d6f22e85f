/**
 * The scripts of a sandbox process, each one text: so that no file of the project has to be seen behind the wall, and a
 * process starts as fast from source as from `dist`.
 *
 * @module
 */

import { fileURLToPath } from 'node:url';
import { buildSync } from 'esbuild';
import { childEntry } from '../../attest/core/entry.ts';

/** Bundles the two entries of a sandbox process (a twentieth of a second). */
export function bundleProgram(): { readonly main: string; readonly worker: string } {
  return { main: bundle('./process-child.ts'), worker: bundle('./worker.ts') };
}

function bundle(entry: './process-child.ts' | './worker.ts'): string {
  const { outputFiles } = buildSync({
    entryPoints: [fileURLToPath(childEntry(import.meta.url, entry).url)],
    bundle: true,
    format: 'cjs',
    platform: 'node',
    target: 'node20',
    write: false,
    minify: true,
    logLevel: 'silent',
  });
  return new TextDecoder().decode(outputFiles[0]?.contents);
}
