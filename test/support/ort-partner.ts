/**
 * Starts partners in worker threads of Node.
 *
 * @module
 */

import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { childEntry } from '../../attest/core/entry.ts';
import type { OrtPartnerData } from './ort-partner-child.ts';

/** A worker that waits for requests. */
export async function startOrtPartner(data: OrtPartnerData): Promise<Worker> {
  const { url, execArgv } = childEntry(import.meta.url, './ort-partner-child.ts');
  const worker = new Worker(url, { workerData: data, execArgv });
  await once(worker, 'message');
  return worker;
}
