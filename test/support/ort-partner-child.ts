/**
 * Worker thread of Node that serves as a partner with ONNX Runtime's public interface, or with a runtime that misbehaves.
 *
 * @module
 */

import { parentPort, workerData } from 'node:worker_threads';
import * as ort from 'onnxruntime-node';
import { type PublicOrt, publicRuntime } from '../../inference/exact/ort/public-runtime.ts';
import { type PartnerRuntime, servePartner } from '../../inference/exact/ort/web-partner.ts';

/** What a worker of this file is started with. */
export type OrtPartnerData = { readonly block: SharedArrayBuffer; readonly behaviour: PartnerBehaviour };

/** `right`: ONNX Runtime. The others keep to the protocol until the fault that they are named by. */
export type PartnerBehaviour = 'right' | 'fails' | 'short' | 'silent' | 'ends' | 'counts' | 'late';

const { block, behaviour } = workerData as OrtPartnerData;
const right = publicRuntime(ort as unknown as PublicOrt, 'cpu');
let open = 0;

/** Runs of it misbehave; graphs are opened and closed as they should be. */
const runtime: PartnerRuntime = {
  async open(graph, size) {
    const session = await right.open(graph, size);
    open += 1;
    return {
      async run(activations, rows) {
        const sums = await session.run(activations, rows);
        if (behaviour === 'fails') throw new Error(`no memory: ${'x'.repeat(5000)}`);
        if (behaviour === 'short') return sums.subarray(1);
        if (behaviour === 'silent') return new Promise(() => {});
        if (behaviour === 'late') await new Promise((resolve) => setTimeout(resolve, 400));
        if (behaviour === 'ends') process.exit(0);
        if (behaviour === 'counts') return sums.fill(open);
        return sums;
      },
      async close() {
        open -= 1;
        await session.close();
      },
    };
  },
};

parentPort?.postMessage('ready');
await servePartner(block, runtime);
parentPort?.postMessage(`stopped with ${open} sessions`);
