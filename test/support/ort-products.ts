/**
 * Graphs in ONNX Runtime whose values may have any name, loaded without a look at what they hold.
 *
 * @module
 */

import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { Tensor } from 'onnxruntime-node';
import type { ProductSession } from '../../inference/exact/ort/products.ts';

type Binding = {
  readonly InferenceSession: new () => {
    loadModel(buffer: ArrayBufferLike, offset: number, bytes: number, options: object): void;
    run(feeds: object, fetches: object, options: object): void;
    dispose(): void;
  };
};

const require = createRequire(import.meta.url);
const folder = dirname(require.resolve('onnxruntime-node/package.json'));
const { binding, initOrt } = require(join(folder, 'dist/binding.js')) as { binding: Binding; initOrt: () => void };

/** Opens a graph, checked or not. */
export function openOrtProducts(graph: Uint8Array, names = { activations: 'a', sums: 'y' }): ProductSession {
  initOrt();
  const session = new binding.InferenceSession();
  session.loadModel(graph.buffer, graph.byteOffset, graph.byteLength, {
    intraOpNumThreads: 1,
    interOpNumThreads: 1,
    graphOptimizationLevel: 'disabled',
    executionMode: 'sequential',
    enableMemPattern: false,
    logSeverityLevel: 3,
  });
  return {
    run(activations, rows, sums) {
      const a = new Tensor('uint8', activations, [rows, activations.length / rows]);
      const y = new Tensor('int32', sums, [rows, sums.length / rows]);
      session.run({ [names.activations]: a }, { [names.sums]: y }, {});
    },
    close: () => session.dispose(),
  };
}
