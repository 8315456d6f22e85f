/**
 * Entry of the process that holds the model; `engine-process.ts` starts it.
 *
 * @module
 */

import { answerParent } from './child-loop.ts';
import { openEngine } from './model.ts';

answerParent(openEngine);
