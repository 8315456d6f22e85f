/**
 * ONNX Runtime's products in Node. Its public interface is asynchronous, and the kernels call from inside WebAssembly, in threads that have no event
 * loop: so this calls the binding below it, of exactly the version that is pinned.
 *
 * @module
 */

import { createRequire } from 'node:module';
import { Tensor } from 'onnxruntime-node';
import { ModelError } from '../../errors.ts';
import type { OpenProduct } from './products.ts';

const require = createRequire(import.meta.url);

/** The parts of `onnxruntime-node/dist/binding.js` that are used. */
type Binding = {
  readonly binding: {
    readonly InferenceSession: new () => {
      loadModel(buffer: ArrayBufferLike, offset: number, length: number, options: object): void;
      run(feeds: object, fetches: object, options: object): object;
      dispose(): void;
    };
  };
  initOrt(): void;
};

const OPTIONS = {
  intraOpNumThreads: 1,
  interOpNumThreads: 1,
  // The graph that runs is the graph that was checked.
  graphOptimizationLevel: 'disabled',
  executionMode: 'sequential',
  enableMemPattern: false,
  enableCpuMemArena: false,
  logSeverityLevel: 3,
} as const;

/**
 * Loads ONNX Runtime.
 *
 * @throws Error if the package or its library cannot be loaded here
 */
export function loadNodeProducts(): OpenProduct {
  const { binding, initOrt } = require('onnxruntime-node/dist/binding.js') as Binding;
  initOrt();
  return (graph, { columns, outputs }) => {
    const session = new binding.InferenceSession();
    try {
      session.loadModel(graph.buffer, graph.byteOffset, graph.byteLength, OPTIONS);
    } catch (cause) {
      throw new ModelError('GRAPH_REFUSED', `the runtime refused a product: ${String(cause)}`, { cause });
    }
    return {
      run(activations, rows, sums) {
        const a = new Tensor('uint8', activations, [rows, columns]);
        session.run({ a }, { y: new Tensor('int32', sums, [rows, outputs]) }, {});
      },
      close: () => session.dispose(),
    };
  };
}
