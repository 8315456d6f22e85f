/**
 * The codes of every error of this project, read from the sources as text: a subclass of `RuntimeError` names a union of
 * codes, the union stands in the same file. `npx tsx test/pins/error-table.ts` prints them as the table of README.
 *
 * @module
 */

import { readdirSync, readFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

/** Root of the repository, with a slash at its end. */
export const ROOT = fileURLToPath(new URL('../../', import.meta.url));

/** One row: a class (or a union that no class uses, such as the failures of guest code) with its codes, sorted. */
export type ErrorRow = { readonly name: string; readonly file: string; readonly codes: readonly string[] };

type Union = { readonly file: string; readonly members: readonly string[] };

const FOLDERS = ['attest', 'inference', 'runtime', 'agents'];

/** Reads every row from the sources, by folder, then by file and class. */
export function readErrorRows(): ErrorRow[] {
  const unions = new Map<string, Union>();
  const classes: { readonly name: string; readonly file: string; readonly union: string }[] = [];
  for (const { file, text } of sources('.ts')) {
    for (const [, name = '', body = ''] of stripComments(text).matchAll(/^(?:export )?type (\w+Code) =([^;]*);/gm)) {
      unions.set(name, { file, members: body.match(/'[^']*'|\w+/g) ?? [] });
    }
    for (const [, name = '', union = ''] of text.matchAll(/class (\w+) extends RuntimeError<(\w+)>/g)) {
      classes.push({ name, file, union });
    }
  }
  const used = new Set<string>();
  const codesOf = (union: string): string[] => {
    used.add(union);
    const found = unions.get(union);
    if (found === undefined) throw new Error(`no union of codes ${union} was found`);
    return found.members.flatMap((member) => (member.startsWith("'") ? [member.slice(1, -1)] : codesOf(member)));
  };
  const rows = classes.map(({ name, file, union }) => ({ name, file, codes: codesOf(union).sort() }));
  for (const [union, { file }] of unions) {
    if (!/ErrorCode$/.test(union) || used.has(union)) continue;
    rows.push({ name: union.replace(/Code$/, ''), file, codes: codesOf(union).sort() });
  }
  return [...rows, readSetupRow()];
}

/** The set-up is plain JavaScript without types: its codes are those that it throws. */
function readSetupRow(): ErrorRow {
  const codes = new Set<string>();
  for (const { file, text } of sources('.mjs')) {
    if (!file.startsWith('agents/setup/')) continue;
    for (const [, code = ''] of text.matchAll(/new SetupError\(\s*'([A-Z_]+)'/g)) codes.add(code);
    for (const [, code = ''] of text.matchAll(/\blate\('([A-Z_]+)'/g)) codes.add(code);
    for (const [, code = ''] of text.matchAll(/^ {2}\['E[A-Z]+', \['([A-Z_]+)'/gm)) codes.add(code);
  }
  return { name: 'SetupError', file: 'agents/setup/setup-error.mjs', codes: [...codes].sort() };
}

/** The rows as Markdown, without the heading of the table. */
export function printErrorRows(rows: readonly ErrorRow[]): string {
  return rows
    .map(({ name, file, codes }) => `| \`${name}\` | \`${file}\` | ${codes.map((code) => `\`${code}\``).join(' ')} |`)
    .join('\n');
}

/** Reads rows back out of Markdown; a row may hold more columns than the three, after them. */
export function parseErrorRows(markdown: string): ErrorRow[] {
  return [...markdown.matchAll(/^\| `(\w+)` \| `([^`]+)` \| ((?:`[A-Z0-9_]+` ?)+)\|/gm)].map(
    ([, name = '', file = '', codes = '']) => ({ name, file, codes: codes.match(/[A-Z0-9_]+/g) ?? [] }),
  );
}

function sources(ending: string): { readonly file: string; readonly text: string }[] {
  return FOLDERS.flatMap((folder) =>
    readdirSync(join(ROOT, folder), { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile() && entry.name.endsWith(ending))
      .map((entry) => join(entry.parentPath, entry.name))
      .sort()
      .map((path) => ({ file: relative(ROOT, path), text: readFileSync(path, 'utf8') })),
  );
}

function stripComments(text: string): string {
  return text.replaceAll(/\/\*[\s\S]*?\*\//g, '').replaceAll(/\/\/.*$/gm, '');
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  console.log(printErrorRows(readErrorRows()));
}
