/**
 * Entries of processes and threads for a file of tests that starts many of them: from bundles, which start fast.
 *
 * @module
 */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { Worker } from 'node:worker_threads';
import { afterAll } from 'vitest';
import type { ChildEntry } from '../../attest/core/entry.ts';
import { type StartThread, threadOf } from '../../inference/exact/wasm/threads.ts';
import { bundleInto } from './bundle.ts';

/** Bundles a program for the tests of the calling file, as {@link bundleInto} does; called outside of tests. */
export function bundledEntry(path: string): ChildEntry {
  const folder = mkdtempSync(join(tmpdir(), 'tracebond-bundle-'));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  return { url: pathToFileURL(bundleInto(folder, path)), execArgv: [] };
}

/** As `startOrtThread`, whose own thread from the source `engines.test.ts` starts. */
export function bundledOrtThread(): StartThread {
  const { url } = bundledEntry('inference/exact/ort/thread-main.ts');
  return (start) => threadOf(new Worker(url, { workerData: start, name: `kernels ${start.thread}`, execArgv: [] }));
}
