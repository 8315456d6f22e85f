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

const NO_OPTIONS = {};

/**
 * Loads ONNX Runtime.
 *
 * @throws Error if the package or its library cannot be loaded here
 */
export function loadNodeProducts(): OpenProduct {
  const { binding, initOrt } = require('onnxruntime-node/dist/binding.js') as Binding;
  initOrt();
  const feeds: Tensors = new WeakMap();
  const fetches: Tensors = new WeakMap();
  return (graph, { columns, outputs }) => {
    const session = new binding.InferenceSession();
    try {
      session.loadModel(graph.buffer, graph.byteOffset, graph.byteLength, OPTIONS);
    } catch (cause) {
      throw new ModelError('GRAPH_REFUSED', `the runtime refused a product: ${String(cause)}`, { cause });
    }
    return {
      run(activations, rows, sums) {
        const a = tensorOf(feeds, 'uint8', activations, [rows, columns]);
        const y = tensorOf(fetches, 'int32', sums, [rows, outputs]);
        session.run({ a }, { y }, NO_OPTIONS);
      },
      close: () => session.dispose(),
    };
  };
}

type Tensors = WeakMap<object, Tensor>;

/** The tensor of an array that came before: making one takes as long as a small product. */
function tensorOf(
  known: Tensors,
  type: 'uint8' | 'int32',
  array: Uint8Array | Int32Array,
  dims: [number, number],
): Tensor {
  const found = known.get(array);
  if (found !== undefined && found.dims[0] === dims[0] && found.dims[1] === dims[1]) return found;
  const tensor = new Tensor(type, array, dims);
  known.set(array, tensor);
  return tensor;
}
