/**
 * `import { z } from 'zod'` read as `import * as z from 'zod'`: the same names, but esbuild leaves out what is not used only of the
 * second, and a guest pays fuel for every byte of its script (about 540 million units for all of zod, 115 million for what a few
 * object schemas use).
 *
 * @module
 */

/** White space, comments and import statements at the head of a module, so that no text inside code is ever touched. */
const PROLOGUE = /^(?:\s+|\/\/[^\n]*|\/\*[\s\S]*?\*\/|import\s[^'"`;]*['"][^'"\n]*['"]\s*;?)*/;
const NAMED_IMPORT = /import\s*\{\s*z\s*\}\s*from\s*(['"])zod\1/g;

/** The module with the import rewritten, or undefined if it has none. */
export function toNamespaceImport(source: string): string | undefined {
  const [prologue = ''] = PROLOGUE.exec(source) ?? [];
  const rewritten = prologue.replace(NAMED_IMPORT, 'import * as z from $1zod$1');
  return rewritten === prologue ? undefined : rewritten + source.slice(prologue.length);
}
