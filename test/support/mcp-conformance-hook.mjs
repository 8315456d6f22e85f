/**
 * Lets the conformance package of MCP run under Node 20: it imports `globSync` of `fs`, which Node has from 22 on. Preload with `--import`.
 * The commands that are used here never call it.
 *
 * @module
 */

import { register } from 'node:module';

const shim = `
  export * from 'node:fs';
  export function globSync() { throw new Error('globSync is not there under Node 20'); }
`;
const hooks = `
  const SHIM = 'data:text/javascript,' + ${JSON.stringify(encodeURIComponent(shim))};
  export async function resolve(specifier, context, next) {
    const isTheirs = /\\/@modelcontextprotocol\\/conformance\\/dist\\//.test(context.parentURL ?? '');
    if (specifier === 'fs' && isTheirs) return { url: SHIM, shortCircuit: true };
    return next(specifier, context);
  }
`;
register(`data:text/javascript,${encodeURIComponent(hooks)}`);
