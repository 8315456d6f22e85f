/**
 * What the npm package holds: every file of a build that it needs to run, what is read beside it, and nothing else.
 *
 * @module
 */

import { readdirSync } from 'node:fs';
import { join, relative } from 'node:path';
import { listBuildFiles } from '../../agents/setup/build-files.mjs';

/** Files of the built page, named by their content. */
const PAGE_ASSET = /^dist\/attest\/inspector\/page\/assets\/[\w.-]+-[\w-]{8}\.(js|css)$/;
/** Parts of the set-up that only a checkout has use for. */
const BUILDER = /\/setup\/(build[\w-]*|copy-assets)\.mjs$/;
/** Pages of folders that go with the package where they are. */
const PAGES = ['agents/README.md', 'agents/cli/README.md', 'agents/setup/README.md', 'inference/README.md'];

/**
 * The files that the package must have, besides the page's assets, whose names nobody knows before the build.
 *
 * @param root - absolute path of the checkout
 * @returns paths relative to the package, with slashes
 */
export function expectedFiles(root: string): Set<string> {
  const listed = (folder: string) =>
    readdirSync(join(root, folder), { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => relative(root, join(entry.parentPath, entry.name)));
  const sources = ['agents/examples', 'agents/sdk', 'agents/setup', 'attest/spec', 'inference/spec', 'runtime/spec'];
  const declared = listed('agents/sdk').map((path) => `dist/${path.replace(/\.ts$/, '.d.ts')}`);
  const pages = PAGES.filter((path) => listed(join(path, '..')).includes(path));
  const files = [
    ...['package.json', 'LICENSE', 'README.md', 'agents/cli/tracebond.mjs'],
    ...['dist/attest/inspector/page/index.html', 'dist/attest/inspector/page/LICENSES.txt'],
    ...listBuildFiles(root).map(({ target }) => target),
    ...sources.flatMap(listed),
    ...declared,
    ...pages,
  ];
  return new Set(files.filter((path) => !BUILDER.test(path)));
}

/**
 * Holds the files of a package to what it must have.
 *
 * @param paths - what was packed, relative to the package
 * @param root - absolute path of the checkout
 * @returns one line for each file that is missing or should not be there; empty when all is well
 */
export function contentFaults(paths: readonly string[], root: string): string[] {
  const expected = expectedFiles(root);
  const packed = new Set(paths);
  const missing = [...expected].filter((path) => !packed.has(path)).map((path) => `missing: ${path}`);
  const foreign = paths.filter((path) => !expected.has(path) && !PAGE_ASSET.test(path));
  const assets = ['js', 'css'].filter((kind) => !paths.some((path) => PAGE_ASSET.test(path) && path.endsWith(kind)));
  return [
    ...missing,
    ...foreign.map((path) => `should not be there: ${path}`),
    ...assets.map((kind) => `missing: the page's .${kind}`),
  ];
}
