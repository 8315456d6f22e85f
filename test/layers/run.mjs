/**
 * The check behind `npm run layers`: dependency-cruiser over the five folders with `.dependency-cruiser.cjs`. It fails on a
 * violation, and also when nothing was cruised: a compiler that dependency-cruiser cannot load makes it pass with 0 files.
 *
 * @module
 */

import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { cruise } from 'dependency-cruiser';
import extractOptions from 'dependency-cruiser/config-utl/extract-depcruise-options';
import extractTsConfig from 'dependency-cruiser/config-utl/extract-ts-config';

const FOLDERS = ['attest', 'inference', 'runtime', 'agents', 'test'];

/**
 * Applies the rules to the folders that exist under `root`.
 *
 * @param {string} root - absolute path of a tree with `package.json` and `tsconfig.json`
 * @param {string} [rules] - absolute path of the rules
 * @returns {Promise<{ modules: number, violations: { rule: string, from: string, to: string }[] }>} `modules`: TypeScript files of
 *   ours; the plain JavaScript ones are seen without a compiler and would hide its absence
 */
export async function checkLayers(root, rules = join(root, '.dependency-cruiser.cjs')) {
  const folders = FOLDERS.filter((folder) => existsSync(join(root, folder)));
  if (folders.length === 0) return { modules: 0, violations: [] };
  const options = await extractOptions(rules);
  const tsConfig = extractTsConfig(join(root, 'tsconfig.json'));
  const { output } = await cruise(folders, { ...options, baseDir: root, validate: true }, undefined, { tsConfig });
  return {
    modules: output.modules.filter(({ source }) => source.endsWith('.ts') && FOLDERS.includes(source.split('/')[0]))
      .length,
    violations: output.summary.violations.map(({ rule, from, to }) => ({ rule: rule.name, from, to })),
  };
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
  const { modules, violations } = await checkLayers(root);
  for (const { rule, from, to } of violations) console.error(`${rule}: ${from} -> ${to}`);
  if (modules === 0)
    console.error('no module was looked at: is TypeScript a version that dependency-cruiser can load?');
  console.log(`layers: ${modules} modules, ${violations.length} violations`);
  process.exitCode = modules === 0 || violations.length > 0 ? 1 : 0;
}
