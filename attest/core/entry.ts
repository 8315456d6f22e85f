/**
 * Entry files of workers and child processes, which must start from source (`.ts`, through tsx) and from `dist` (`.js`).
 *
 * @module
 */

import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

/** How to start an entry file: `new Worker(url, { execArgv })`, or `fork(fileURLToPath(url), { execArgv })`. */
export type ChildEntry = {
  /** File URL of the entry, with the extension that exists beside the caller. */
  readonly url: URL;
  /** Node options the entry needs: tsx's loader from source, none from `dist`. */
  readonly execArgv: string[];
};

/**
 * Finds an entry file beside the calling module.
 *
 * The caller's own extension decides: a caller that runs as `.ts` starts `.ts`, one that runs as `.js` starts `.js`.
 * `process.execArgv` is not passed on: under vitest and other loaders it says nothing about tsx.
 *
 * @param importMetaUrl - `import.meta.url` of the caller
 * @param specifier - relative path of the entry as it is called in the source, ending in `.ts`
 * @throws TypeError if the specifier is not a relative path that ends in `.ts`
 */
export function childEntry(importMetaUrl: string, specifier: string): ChildEntry {
  if (!/^\.\.?\/.*\.ts$/.test(specifier)) {
    throw new TypeError(`entry must be a relative path that ends in .ts: ${specifier}`);
  }
  const caller = new URL(importMetaUrl);
  if (!caller.pathname.endsWith('.ts')) {
    return { url: new URL(specifier.replace(/\.ts$/, '.js'), caller), execArgv: [] };
  }
  return { url: new URL(specifier, caller), execArgv: ['--import', tsxPreload(importMetaUrl)] };
}

/** A module that registers tsx's loader. `--import tsx` alone does so in the main thread only, not in a worker. */
function tsxPreload(importMetaUrl: string): string {
  const manifest = pathToFileURL(createRequire(importMetaUrl).resolve('tsx/package.json'));
  const api = new URL('dist/esm/api/index.mjs', manifest).href;
  const script = `import { register } from ${JSON.stringify(api)}; register();`;
  return `data:text/javascript,${encodeURIComponent(script)}`;
}
