/**
 * Web Worker that is a thread of the kernels and has a partner for its products. Bundled for the browser by `test/e2e/browser.test.ts`.
 *
 * @module
 */

import { openProducts } from '../../inference/exact/ort/products.ts';
import { instantiate, type ThreadStart } from '../../inference/exact/wasm/kernels.ts';
import { onStart, type PartnerFiles, startWebPartner } from './browser-workers.ts';

onStart(async (data, answer) => {
  const { start, files } = data as { readonly start: ThreadStart; readonly files: PartnerFiles };
  const { module, memory, configuration, command, thread, threads, products } = start;
  if (products === undefined) throw new TypeError('expected products');
  const { open } = await startWebPartner(files);
  const { product } = openProducts(memory, products, { thread, threads }, open);
  const kernels = instantiate(module, memory, { configuration, thread, threads }, product);
  answer('ready');
  kernels.serve(command);
});
