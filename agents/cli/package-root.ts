/**
 * Where this package lies, from source and from `dist`.
 *
 * @module
 */

import { readFileSync } from 'node:fs';

/** Folder of the nearest `package.json` of this package above this file. */
export function packageRoot(): URL {
  return readPackage().root;
}

/** Version that it names. */
export function packageVersion(): string {
  return readPackage().version;
}

function readPackage(): { readonly root: URL; readonly version: string } {
  for (let root = new URL('.', import.meta.url); ; root = new URL('..', root)) {
    try {
      const { name, version } = JSON.parse(readFileSync(new URL('package.json', root), 'utf8'));
      if (name === 'tracebond') return { root, version: String(version) };
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT' || root.pathname === '/') throw error;
    }
  }
}
