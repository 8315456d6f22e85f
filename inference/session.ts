/**
 * ONNX Runtime behind a small port. The only file that imports it.
 *
 * @module
 */

import { env, InferenceSession, Tensor } from 'onnxruntime-node';
import { InferenceError, ModelError } from './errors.ts';

/** Everything about the runtime that may change bits; part of the profile. */
export const SESSION_SETTINGS = {
  provider: 'cpu',
  threads: 2,
  executionMode: 'sequential',
  // The graph that runs is the graph whose digest is in the model's identity.
  graphOptimizationLevel: 'disabled',
  // Weights stay where the file is mapped: a start is a second shorter, processes share them, decoding is a tenth slower.
  prepacking: false,
} as const;

/** A dense array, row-major. Tensors returned by a session may be fed to it again. */
export type GraphTensor =
  | { readonly type: 'float32'; readonly dims: readonly number[]; readonly data: Float32Array }
  | { readonly type: 'int64'; readonly dims: readonly number[]; readonly data: BigInt64Array };

/** A loaded graph. */
export type GraphSession = {
  /** @throws {@link InferenceError} `GRAPH_FAILED` if the runtime refuses the feeds or fails */
  run(feeds: Readonly<Record<string, GraphTensor>>): Promise<Readonly<Record<string, GraphTensor>>>;
  close(): Promise<void>;
};

/**
 * Loads a model file; its weights are mapped from the file beside it.
 *
 * @throws {@link ModelError} `GRAPH_REFUSED` if the runtime does not accept it
 */
export async function openSession(modelPath: string): Promise<GraphSession> {
  env.logLevel = 'error';
  const { provider, threads, executionMode, graphOptimizationLevel, prepacking } = SESSION_SETTINGS;
  let session: InferenceSession;
  try {
    session = await InferenceSession.create(modelPath, {
      executionProviders: [provider],
      intraOpNumThreads: threads,
      interOpNumThreads: 1,
      executionMode,
      graphOptimizationLevel,
      logSeverityLevel: 3,
      extra: { session: { disable_prepacking: prepacking ? '0' : '1' } },
    });
  } catch (cause) {
    throw new ModelError('GRAPH_REFUSED', `the runtime refused the graph: ${reason(cause)}`, {
      at: { file: modelPath },
      cause,
    });
  }
  return {
    async run(feeds) {
      const inputs: Record<string, Tensor> = {};
      for (const [name, tensor] of Object.entries(feeds)) {
        inputs[name] = tensor instanceof Tensor ? tensor : new Tensor(tensor.type, tensor.data, tensor.dims);
      }
      try {
        return (await session.run(inputs)) as unknown as Record<string, GraphTensor>;
      } catch (cause) {
        throw new InferenceError('GRAPH_FAILED', `the runtime failed: ${reason(cause)}`, { cause });
      }
    },
    close: () => session.release(),
  };
}

function reason(cause: unknown): string {
  return cause instanceof Error ? cause.message : String(cause);
}
