/**
 * A process that pulls a model and is killed by a test: its argument is the source.
 *
 * @module
 */

import { pullModel } from '../../agents/models/pull.ts';
import { createProgress } from '../../agents/setup/progress.mjs';

await pullModel(process.argv[2] ?? '', {
  env: process.env,
  home: process.cwd(),
  progress: createProgress(process.stderr),
});
