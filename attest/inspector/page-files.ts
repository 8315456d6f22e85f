/**
 * The files of the built page, held in memory: few and small.
 *
 * @module
 */

import { readdir, readFile } from 'node:fs/promises';
import { extname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { InspectorError } from './errors.ts';

/** A file as it is sent. */
export type PageFile = { readonly type: string; readonly body: Uint8Array; readonly gzip: Uint8Array };

const TYPES: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.svg': 'image/svg+xml',
};

/**
 * Reads the built page.
 *
 * @returns files by path, with slashes: `index.html`, `assets/….js`
 * @throws {@link InspectorError} `PAGE_MISSING`
 */
export async function loadPage(folder: URL): Promise<ReadonlyMap<string, PageFile>> {
  const root = fileURLToPath(folder);
  const found = await readdir(root, { recursive: true, withFileTypes: true }).catch((cause: NodeJS.ErrnoException) => {
    throw missing(root, cause);
  });
  const files = new Map<string, PageFile>();
  for (const entry of found) {
    const type = TYPES[extname(entry.name)];
    if (!entry.isFile() || type === undefined) continue;
    const path = join(entry.parentPath, entry.name);
    const body = await readFile(path);
    files.set(path.slice(root.length).replaceAll('\\', '/').replace(/^\//, ''), { type, body, gzip: gzipSync(body) });
  }
  if (!files.has('index.html')) throw missing(root);
  return files;
}

function missing(path: string, cause?: unknown): InspectorError {
  return new InspectorError('PAGE_MISSING', `the built page is not in ${path}; run npm run build`, {
    at: { path },
    cause,
  });
}
