/**
 * Copies what the compiler leaves out of a build: data files of the examples, the module of the kernels.
 *
 * @module
 */

import { cpSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
cpSync(join(root, 'agents/examples'), join(root, 'dist/agents/examples'), {
  recursive: true,
  filter: (path) => !path.endsWith('.ts'),
});

const kernels = 'inference/exact/wasm/kernels.wasm';
cpSync(join(root, kernels), join(root, 'dist', kernels));
