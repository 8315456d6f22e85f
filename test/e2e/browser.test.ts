import { readFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { createRequire } from 'node:module';
import type { AddressInfo } from 'node:net';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { type Browser, chromium, type Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ExactModel } from '../../inference/exact/exact-model.ts';
import { fileLayout } from '../../inference/exact/file-layout.ts';
import { loadableModel } from '../../inference/exact/model-bytes.ts';
import { loadKernels, startNodeThread } from '../../inference/exact/wasm/threads.ts';
import { openWasmDecoder } from '../../inference/exact/wasm/wasm-decoder.ts';
import { CHROMIUM_FLAGS, findChromium } from '../support/chromium.ts';
import { type DecoderDigests, decoderDigests } from '../support/decoder-digests.ts';
import type { BrowserAnswer, BrowserJob } from '../support/exact-browser-child.ts';
import { seededRandom } from '../support/random.ts';
import { EXACT_FAMILIES, randomExactModel, randomTokens } from '../support/random-exact-model.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const KERNELS = readFileSync(new URL('../../inference/exact/wasm/kernels.wasm', import.meta.url));
const THREADS = [1, 2];
const CHUNK = 24;

/** Shared memory between workers is given to isolated pages alone. */
const ISOLATION = { 'cross-origin-opener-policy': 'same-origin', 'cross-origin-embedder-policy': 'require-corp' };

const PAGE = `<!doctype html><title>exact engine</title><script>
const run = (job) => new Promise((resolve, reject) => {
  const worker = new Worker('/child.js');
  worker.onmessage = ({ data }) => { worker.terminate(); resolve(data); };
  worker.onerror = ({ message }) => reject(new Error(message));
  worker.postMessage(job);
});
</script>`;

const cases = EXACT_FAMILIES.map(({ name, options }) => {
  const model = randomExactModel(options);
  const count = model.shape.embedding > 1000 ? 10 : 72;
  return { name, model, tokens: randomTokens(seededRandom(7), model.shape.vocabulary, count) };
});

/** Where the files of ONNX Runtime for the web are: a dependency of the library that the float profile tokenises with. */
const RUNTIME = (() => {
  const library = createRequire(import.meta.url).resolve('@xenova/transformers');
  return dirname(createRequire(library).resolve('onnxruntime-web/ort-wasm-simd-threaded.wasm'));
})();

/** A worker with all that it imports. */
async function bundleChild(name: 'exact-browser-child' | 'browser-thread-child' | 'browser-partner-child') {
  const result = await build({
    absWorkingDir: ROOT,
    entryPoints: [`test/support/${name}.ts`],
    bundle: true,
    platform: 'browser',
    format: 'iife',
    target: 'es2022',
    write: false,
    metafile: true,
    logLevel: 'silent',
  });
  return { text: result.outputFiles[0]?.text ?? '', inputs: Object.keys(result.metafile.inputs) };
}

function fileOf(model: ExactModel): Uint8Array {
  const bytes = new Uint8Array(fileLayout(model.shape).bytes);
  loadableModel(model).load(bytes, 0);
  return bytes;
}

it('the engine needs nothing of Node: it bundles for a browser, with the hash as its one package', async () => {
  // the bundler refuses an import that a browser cannot resolve
  const { inputs } = await bundleChild('exact-browser-child');
  expect(inputs).toContain('inference/exact/wasm/wasm-decoder.ts');
  expect(
    inputs.filter((path) => !/^(attest|inference|test\/support)\/|(^|\/)node_modules\/@noble\/hashes\//.test(path)),
  ).toEqual([]);
});

const executablePath = findChromium();
if (executablePath === undefined) console.warn('SKIPPED: no Chromium is here (apt-get install chromium)');

describe.skipIf(executablePath === undefined)('in Chromium', () => {
  let server: Server;
  let browser: Browser;
  let page: Page;
  let origin: string;

  beforeAll(async () => {
    const files = new Map<string, readonly [type: string, body: string | Uint8Array]>([
      ['/', ['text/html', PAGE]],
      ['/child.js', ['text/javascript', (await bundleChild('exact-browser-child')).text]],
      ['/thread.js', ['text/javascript', (await bundleChild('browser-thread-child')).text]],
      ['/partner.js', ['text/javascript', (await bundleChild('browser-partner-child')).text]],
      ...['ort.wasm.min.mjs', 'ort-wasm-simd-threaded.mjs'].map((name): [string, [string, Uint8Array]] => [
        `/ort/${name}`,
        ['text/javascript', readFileSync(join(RUNTIME, name))],
      ]),
      [
        '/ort/ort-wasm-simd-threaded.wasm',
        ['application/wasm', readFileSync(join(RUNTIME, 'ort-wasm-simd-threaded.wasm'))],
      ],
      ['/kernels.wasm', ['application/wasm', KERNELS]],
      ...cases.map(({ model }, i) => [`/model/${i}`, ['application/octet-stream', fileOf(model)]] as const),
    ]);
    server = createServer((request, response) => {
      const [type, body] = files.get(request.url ?? '') ?? [];
      if (type === undefined) response.writeHead(404, ISOLATION).end();
      else response.writeHead(200, { ...ISOLATION, 'content-type': type }).end(body);
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    browser = await chromium.launch({ executablePath: executablePath ?? '', args: [...CHROMIUM_FLAGS] });
    page = await browser.newPage();
    await page.goto(origin);
  });
  afterAll(async () => {
    await browser?.close();
    server?.closeAllConnections();
    server?.close();
  });

  it('the page is isolated, so it may share memory', async () => {
    expect(await page.evaluate('crossOriginIsolated')).toBe(true);
  });

  const partners = () => ({
    thread: `${origin}/thread.js`,
    partner: `${origin}/partner.js`,
    runtime: `${origin}/ort/`,
  });

  describe.each(cases.map((one, i) => ({ ...one, i })))('$name', ({ model, tokens, i }) => {
    const expected: DecoderDigests[] = [];
    const job = (): BrowserJob => ({
      kernels: `${origin}/kernels.wasm`,
      file: `${origin}/model/${i}`,
      shape: model.shape,
      tokens,
      chunk: CHUNK,
      threads: THREADS,
    });
    const run = (one: BrowserJob) => page.evaluate<BrowserAnswer>(`run(${JSON.stringify(one)})`);

    beforeAll(async () => {
      const module = await loadKernels();
      for (const threads of THREADS) {
        const decoder = await openWasmDecoder(loadableModel(model), { module, startThread: startNodeThread, threads });
        expected.push(decoderDigests(decoder, tokens, CHUNK));
        await decoder.close();
      }
    });

    it('the same bits as in Node, on 1 and 2 threads', async () => {
      expect(expected[0]?.single).toBe(expected[0]?.logits);
      expect(expected[1]).toEqual(expected[0]);
      expect(await run(job())).toEqual({ engine: 'wasm', digests: expected, started: 1 });
    });

    it('the same bits with the products of ONNX Runtime, on 1 and 2 threads', async () => {
      expect(await run({ ...job(), partners: partners() })).toEqual({ engine: 'ort', digests: expected, started: 1 });
    });
  });
});
