/**
 * The runtime of a partner over the public interface that ONNX Runtime has everywhere (`onnxruntime-web` in a browser, `onnxruntime-node`). The
 * module is handed in: who bundles it decides which one.
 *
 * @module
 */

import type { PartnerRuntime } from './web-partner.ts';

/** The part of `onnxruntime-common` that is used. */
export type PublicOrt = {
  readonly InferenceSession: {
    create(
      graph: Uint8Array,
      options: object,
    ): Promise<{
      run(feeds: Readonly<Record<string, unknown>>): Promise<Readonly<Record<string, { readonly data: unknown }>>>;
      release(): Promise<void>;
    }>;
  };
  readonly Tensor: new (type: 'uint8', data: Uint8Array, dims: readonly number[]) => unknown;
};

/**
 * Products by `ort` on one thread; each call takes and gives copies.
 *
 * @param provider - `wasm` in a browser, `cpu` in Node
 */
export function publicRuntime(ort: PublicOrt, provider: 'wasm' | 'cpu'): PartnerRuntime {
  return {
    async open(graph, { columns }) {
      const session = await ort.InferenceSession.create(graph, {
        executionProviders: [provider],
        intraOpNumThreads: 1,
        interOpNumThreads: 1,
        // The graph that runs is the graph that was checked.
        graphOptimizationLevel: 'disabled',
        executionMode: 'sequential',
        enableMemPattern: false,
        logSeverityLevel: 3,
      });
      return {
        async run(activations, rows) {
          const { y } = await session.run({ a: new ort.Tensor('uint8', activations, [rows, columns]) });
          if (!(y?.data instanceof Int32Array)) throw new TypeError('expected sums of int32');
          return y.data;
        },
        close: () => session.release(),
      };
    },
  };
}
