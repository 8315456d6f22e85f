/**
 * The engines of the profile `exact` on this computer, each of which proves itself before it computes anything for anybody.
 *
 * N1. All of them give the same bits; which one computes is a matter of speed alone.
 * N2. The kernels must be right, or nothing is served. ONNX Runtime's products only make them faster: where they are absent or wrong they are left out,
 *     with a warning, unless they were asked for by name.
 * N3. A process proves an engine once ({@link provedEngine}), before the first model that it opens: a second proof would run the same code on the
 *     same CPU.
 *
 * @module
 */

import { ModelError } from '../errors.ts';
import type { ExactDecoder } from './exact-decoder.ts';
import { type ExactFile, readExactModel } from './exact-file.ts';
import type { OpenProduct } from './ort/products.ts';
import { openReference } from './reference/reference-decoder.ts';
import { selfTest } from './self-test.ts';
import { loadKernels, startNodeThread } from './wasm/threads.ts';
import { openWasmDecoder } from './wasm/wasm-decoder.ts';

/** Engines of the profile: a slow reference, WebAssembly kernels, and those with ONNX Runtime's products for many rows. */
export type ExactEngineName = ExactDecoder['name'];

/** An engine that has proved itself. */
export type ExactEngine = {
  readonly name: ExactEngineName;
  readonly threads: number;
  /** @throws InferenceError OUT_OF_MEMORY; ModelError CACHE_DAMAGED */
  open(file: ExactFile): Promise<ExactDecoder>;
};

/** Rows of one batch: enough that weights are widened once for many rows. */
const BATCH_ROWS = 64;

/** With ONNX Runtime: enough that its weights are read once for many rows. */
const ORT_BATCH_ROWS = 128;
const ORT_LOGIT_ROWS = 64;

/** Fewest rows whose products ONNX Runtime computes: one row is read faster by the kernels. */
const ORT_ROWS = 2;

/**
 * The engine to serve with.
 *
 * @param wanted - by default ONNX Runtime where it computes right, else the kernels alone
 * @param options.threads - of the kernels; the reference has one
 * @param options.loadProducts - for tests; ONNX Runtime by default
 * @throws {@link ModelError} `SELF_TEST_FAILED` if this computer's engine computes wrongly, `ENGINE_ABSENT` if `ort` was asked for and cannot be loaded
 */
export async function proveEngine(
  wanted: ExactEngineName | undefined,
  options: proveEngine.Options,
): Promise<ExactEngine> {
  const { threads, onWarning = () => {}, loadProducts = loadOrt } = options;
  if (wanted === 'reference') {
    await selfTest(async (model) => openReference(model, { maxRows: BATCH_ROWS }));
    return {
      name: 'reference',
      threads: 1,
      open: async (file) => openReference(readExactModel(file), { maxRows: BATCH_ROWS }),
    };
  }
  const module = await loadKernels();
  const kernels = { module, startThread: startNodeThread, threads, maxRows: BATCH_ROWS };
  await selfTest((model) => openWasmDecoder(model, kernels));
  const alone: ExactEngine = { name: 'wasm', threads, open: (file) => openWasmDecoder(file, kernels) };
  if (wanted === 'wasm') return alone;
  try {
    const { open, startThread } = await loadProducts();
    const { testProducts } = await import('./ort/product-test.ts');
    testProducts(open);
    const proof = { module, startThread, maxRows: BATCH_ROWS, products: { from: 1, open } };
    await selfTest((model) => openWasmDecoder(model, proof));
    const hybrid = {
      module,
      startThread,
      threads,
      maxRows: ORT_BATCH_ROWS,
      logitRows: ORT_LOGIT_ROWS,
      products: { from: ORT_ROWS, open },
    };
    return { name: 'ort', threads, open: (file) => openWasmDecoder(file, hybrid) };
  } catch (error) {
    if (wanted === 'ort') throw error;
    onWarning(`ONNX Runtime's products are left out: ${error instanceof Error ? error.message : String(error)}`);
    return alone;
  }
}

export declare namespace proveEngine {
  type Options = {
    readonly threads: number;
    /** Told why ONNX Runtime is left out. */
    readonly onWarning?: (message: string) => void;
    readonly loadProducts?: () => Promise<{
      readonly open: OpenProduct;
      readonly startThread: openWasmDecoder.Options['startThread'];
    }>;
  };
}

/** Of this process: those that were asked for by a name and a number of threads, and have proved themselves. */
const proved = new Map<string, ExactEngine>();

/**
 * As {@link proveEngine}, but an engine that has proved itself in this process is taken again without another proof.
 *
 * What a proof depends on cannot change while the process lives: the CPU, Node, the kernels that it compiled and the library of ONNX Runtime that it
 * loaded. So the name and the number of threads tell one proof from another. Only what went well is remembered: an engine that failed is tried again
 * by the next caller, and so is one from which ONNX Runtime was left out, so that everybody is warned.
 *
 * @throws as {@link proveEngine}
 */
export async function provedEngine(
  wanted: ExactEngineName | undefined,
  { threads, onWarning = () => {} }: provedEngine.Options,
): Promise<ExactEngine> {
  const key = `${wanted ?? 'fastest'} ${threads}`;
  const known = proved.get(key);
  if (known !== undefined) return known;
  let warned = false;
  const engine = await proveEngine(wanted, {
    threads,
    onWarning(message) {
      warned = true;
      onWarning(message);
    },
  });
  if (!warned) proved.set(key, engine);
  return engine;
}

export declare namespace provedEngine {
  type Options = Omit<proveEngine.Options, 'loadProducts'>;
}

/** Loaded only where it is wanted: it takes memory that the kernels alone do not need. */
async function loadOrt() {
  try {
    const { loadNodeProducts } = await import('./ort/node-products.ts');
    const { startOrtThread } = await import('./ort/node-thread.ts');
    return { open: loadNodeProducts(), startThread: startOrtThread };
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new ModelError('ENGINE_ABSENT', `cannot load ONNX Runtime: ${reason}`, { cause });
  }
}
