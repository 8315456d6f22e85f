/**
 * Entry of a child process with the toy engine instead of a model. Its path commands it: `missing.gguf` is refused,
 * `crash` ends the process before it is ready.
 *
 * @module
 */

import { answerParent } from '../../inference/child-loop.ts';
import { ModelError } from '../../inference/errors.ts';
import { openToyEngine, TOY_IDENTITY } from './toy-engine.ts';

answerParent(async ({ path, id, onProgress }) => {
  if (path === 'missing.gguf') throw new ModelError('FILE_UNREADABLE', 'no such file', { at: { path } });
  if (path === 'crash') {
    process.stderr.write('out of luck\n');
    process.exit(7);
  }
  if (path === 'silent') await new Promise(() => {});
  onProgress?.(`pid ${process.pid}`);
  return openToyEngine({ ...TOY_IDENTITY, id });
});
