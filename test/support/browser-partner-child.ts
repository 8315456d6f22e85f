/**
 * Web Worker with ONNX Runtime in it: the partner of one thread of the engine. Bundled for the browser by `test/e2e/browser.test.ts`.
 *
 * @module
 */

import { publicRuntime } from '../../inference/exact/ort/public-runtime.ts';
import { servePartner } from '../../inference/exact/ort/web-partner.ts';
import { loadOrtWeb, onStart, type PartnerStart } from './browser-workers.ts';

onStart(async (data, answer) => {
  const { block, runtime } = data as PartnerStart;
  const ort = await loadOrtWeb(runtime);
  answer('ready');
  await servePartner(block, publicRuntime(ort, 'wasm'));
});
