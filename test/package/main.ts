/**
 * `npm run package [-- --keep]`: packs the package and uses it as somebody would who has nothing else of this project. Takes the npm
 * registry, some minutes and 2 GB of disk below the system's temporary folder; `--keep` leaves them there.
 *
 * Exit code 0 if every step passed, 1 if one did not, 2 for wrong options.
 *
 * @module
 */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { findModel, useProject } from './installed.ts';
import { Steps } from './steps.ts';
import { checkContents, countLinks, packTarball, runAttw, runPublint } from './tarball.ts';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));

process.exitCode = await main(process.argv.slice(2));

async function main(args: string[]): Promise<number> {
  let keep: boolean;
  try {
    keep = parseArgs({ args, options: { keep: { type: 'boolean', default: false } } }).values.keep;
  } catch (error) {
    console.error(error instanceof Error ? error.message : String(error));
    console.error('usage: npm run package [-- --keep]');
    return 2;
  }
  const folder = mkdtempSync(join(tmpdir(), 'tracebond-package-'));
  const steps = new Steps();
  try {
    let tarball = '';
    const isPacked = await steps.run('npm pack', async () => {
      tarball = await packTarball(ROOT, folder);
      return '';
    });
    if (isPacked) {
      await steps.run('contents', () => checkContents(ROOT, tarball, folder));
      await steps.run('publint, strict', () => runPublint(tarball));
      await steps.run('attw', () => runAttw(tarball));
      await steps.run('links of README', () => countLinks(folder));
      await useProject(steps, { root: ROOT, folder, tarball, model: findModel() });
    }
  } finally {
    if (keep) console.log(`kept: ${folder}`);
    else rmSync(folder, { recursive: true, force: true });
  }
  console.log(steps.summary());
  return steps.failed === 0 ? 0 : 1;
}
