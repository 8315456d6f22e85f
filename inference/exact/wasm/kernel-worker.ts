/**
 * Entry of the threads beside the first: instantiates the kernels over the shared memory and serves commands.
 *
 * @module
 */

import { parentPort, workerData } from 'node:worker_threads';
import { instantiate, serveCommands } from './kernels.ts';
import type { ThreadStart } from './threads.ts';

const { module, memory, configuration, command, thread, threads } = workerData as ThreadStart;
const kernels = instantiate(module, memory, { configuration, thread, threads });
parentPort?.postMessage('ready');
serveCommands(kernels, memory, command);
