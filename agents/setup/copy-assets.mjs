/**
 * Copies what the compiler leaves out of a build of the package, or writes in another form: data files of the examples,
 * tables and artifacts, the module of the kernels. What an earlier build made of sources that are no more goes.
 *
 * @module
 */

import { cpSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { removeGone } from './build.mjs';
import { listBuildFiles } from './build-files.mjs';

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
for (const { source, target, isAsset } of listBuildFiles(root)) {
  if (isAsset) cpSync(join(root, source), join(root, target));
}
removeGone(root);
