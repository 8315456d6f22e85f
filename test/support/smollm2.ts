/**
 * The model that the set-up fetches; absent only where the tests are started without it.
 *
 * @module
 */

import { homedir } from 'node:os';
import { describe, it } from 'vitest';
import { RuntimeError } from '../../attest/core/error.ts';
import { resolveModelPath, SHIPPED_MODEL } from '../../inference/model-path.ts';

/** A group of tests over the shipped model's file; where it was not fetched it is skipped, and says so. */
export function describeSmolLM2(name: string, tests: (path: string) => void): void {
  let path: string;
  try {
    path = resolveModelPath(SHIPPED_MODEL.id, process.env, homedir()).path;
  } catch (fault) {
    if (!RuntimeError.is(fault)) throw fault;
    console.warn(`SKIPPED: ${fault.message}`);
    describe(name, () => {
      it.skip('the model is not here', () => {});
    });
    return;
  }
  describe(name, () => tests(path));
}
