/**
 * A thread of the kernels that has ONNX Runtime beside them.
 *
 * @module
 */

import { parentPort, workerData } from 'node:worker_threads';
import { instantiate, type ThreadStart } from '../wasm/kernels.ts';
import { loadNodeProducts } from './node-products.ts';
import { openProducts } from './products.ts';

const { module, memory, configuration, command, thread, threads, products } = workerData as ThreadStart;
if (products === undefined) throw new TypeError('expected products');
const { product } = openProducts(memory, products, { thread, threads }, loadNodeProducts());
const kernels = instantiate(module, memory, { configuration, thread, threads }, product);
parentPort?.postMessage('ready');
kernels.serve(command);
