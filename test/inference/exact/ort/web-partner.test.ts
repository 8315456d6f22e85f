import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { afterEach, describe, expect, it } from 'vitest';
import { loadableModel } from '../../../../inference/exact/model-bytes.ts';
import { startOrtThread } from '../../../../inference/exact/ort/node-thread.ts';
import { productGraph } from '../../../../inference/exact/ort/product-graph.ts';
import { testProducts } from '../../../../inference/exact/ort/product-test.ts';
import type { ProductSession } from '../../../../inference/exact/ort/products.ts';
import { connectPartner, newPartnerBlock, type Partner } from '../../../../inference/exact/ort/web-partner.ts';
import { openReference } from '../../../../inference/exact/reference/reference-decoder.ts';
import { loadKernels } from '../../../../inference/exact/wasm/threads.ts';
import { openWasmDecoder } from '../../../../inference/exact/wasm/wasm-decoder.ts';
import { expectSameBits, transcriptOf } from '../../../support/exact-decoder-suite.ts';
import { startOrtPartner } from '../../../support/ort-partner.ts';
import type { PartnerBehaviour } from '../../../support/ort-partner-child.ts';
import { plainProduct } from '../../../support/plain-product.ts';
import { seededRandom } from '../../../support/random.ts';
import { randomExactModel, randomTokens } from '../../../support/random-exact-model.ts';

const workers: Worker[] = [];

afterEach(async () => {
  await Promise.all(workers.splice(0).map((worker) => worker.terminate()));
});

async function connect(options: { behaviour?: PartnerBehaviour; areaBytes?: number; patienceMs?: number } = {}) {
  const { behaviour = 'right', areaBytes, patienceMs = 20_000 } = options;
  const block = newPartnerBlock(areaBytes);
  const worker = await startOrtPartner({ block, behaviour });
  workers.push(worker);
  return { block, worker, partner: connectPartner(block, { patienceMs }) };
}

const random = seededRandom(5);
const size = { columns: 96, outputs: 33 };
const weights = new Int8Array(random.bytes(96 * 33).buffer);
const graph = productGraph(96, 33, weights);
const activationsOf = (rows: number) => random.bytes(rows * 96).map((byte) => byte & 127);

/** Runs noise through a session of `graph`. */
function expectRight(session: ProductSession, rows: number): void {
  const activations = activationsOf(rows);
  const sums = new Int32Array(rows * 33);
  session.run(activations, rows, sums);
  expect(sums).toEqual(plainProduct({ rows, ...size, activations, weights }));
}

describe('a partner', () => {
  it('passes the self-test of products', async () => {
    const { partner } = await connect();
    testProducts(partner.open);
  });

  it.each([1024, 1028, 4096, 65_536])('computes whatever the size: an area of %i bytes', async (areaBytes) => {
    const { partner } = await connect({ areaBytes });
    const session = partner.open(graph, size);
    for (const rows of [1, 2, 3, 64, 257]) expectRight(session, rows);
    session.close();
  });

  it('is not misled by notifications that come late', async () => {
    const { partner, block } = await connect();
    // Both sides' words are notified all the time, as by senders that were interrupted between a change and its notification.
    const noise = new Worker(
      'const words = new Int32Array(require("node:worker_threads").workerData);' +
        'for (;;) for (const word of [0, 1]) Atomics.notify(words, word);',
      { eval: true, workerData: block },
    );
    workers.push(noise);
    await once(noise, 'online');
    const session = partner.open(graph, size);
    for (let i = 0; i < 300; i++) expectRight(session, 1 + (i % 40));
  });

  it('keeps sessions apart, and opens more after some were closed', async () => {
    const { partner } = await connect();
    const other = Int8Array.from(weights, (weight) => -weight | 0);
    const sessions = [partner.open(graph, size), partner.open(productGraph(96, 33, other), size)];
    sessions[1]?.close();
    sessions.push(partner.open(graph, size));
    for (const session of [sessions[0], sessions[2]]) if (session !== undefined) expectRight(session, 5);
    expect(() => sessions[1]?.run(activationsOf(1), 1, new Int32Array(33))).toThrow(
      expect.objectContaining({ code: 'GRAPH_FAILED', message: 'the runtime failed: no session 2' }),
    );
    expect(() => sessions[1]?.close()).toThrow(expect.objectContaining({ code: 'GRAPH_FAILED' }));
    if (sessions[0] !== undefined) expectRight(sessions[0], 5);
  });

  it('closes its sessions when it is stopped, and is asked nothing afterwards', async () => {
    const { partner, worker } = await connect();
    const session = partner.open(graph, size);
    partner.open(graph, size).close();
    partner.open(graph, size);
    const message = once(worker, 'message');
    partner.stop();
    partner.stop();
    expect(await message).toEqual(['stopped with 0 sessions']);
    const closed = expect.objectContaining({ code: 'ENGINE_CLOSED', message: 'the partner was stopped' });
    expect(() => session.run(activationsOf(1), 1, new Int32Array(33))).toThrow(closed);
    expect(() => session.close()).toThrow(closed);
    expect(() => partner.open(graph, size)).toThrow(closed);
  });

  it('computes for the kernels of each thread', async () => {
    const model = randomExactModel({ biases: true });
    const tokens = randomTokens(seededRandom(3), model.shape.vocabulary, 60);
    const expected = transcriptOf(openReference(model, { maxRows: 128 }), tokens, tokens.length);
    const { partner } = await connect({ areaBytes: 1 << 16 });
    const module = await loadKernels();
    const decoder = await openWasmDecoder(loadableModel(model), {
      module,
      startThread: startOrtThread,
      threads: 2,
      maxRows: 128,
      products: { from: 1, open: partner.open },
    });
    try {
      for (const chunk of [tokens.length, 7]) expectSameBits(transcriptOf(decoder, tokens, chunk), expected);
    } finally {
      await decoder.close();
    }
  });
});

describe('refuses', () => {
  it('a graph that the runtime refuses, and goes on', async () => {
    const { partner } = await connect();
    for (const bad of [new Uint8Array(0), graph.subarray(0, 50), new Uint8Array(100).fill(255)]) {
      expect(() => partner.open(bad, size)).toThrow(expect.objectContaining({ code: 'GRAPH_REFUSED' }));
    }
    expectRight(partner.open(graph, size), 3);
  });

  it('arrays of another size than the rows say', async () => {
    const { partner } = await connect();
    const session = partner.open(graph, size);
    expect(() => session.run(activationsOf(2), 3, new Int32Array(99))).toThrow(RangeError);
    expect(() => session.run(activationsOf(3), 3, new Int32Array(98))).toThrow(RangeError);
    expectRight(session, 3);
  });

  it('a row that does not fit the area', () => {
    const partner = connectPartner(newPartnerBlock(1024));
    expect(() => partner.open(graph, { columns: 1025, outputs: 1 })).toThrow(RangeError);
    expect(() => partner.open(graph, { columns: 96, outputs: 257 })).toThrow(RangeError);
  });

  it.each([0, 1023, 1025, 1026, Number.NaN, -4096])('an area of %d bytes', (areaBytes) => {
    expect(() => newPartnerBlock(areaBytes)).toThrow(RangeError);
  });
});

describe('a partner that misbehaves', () => {
  const openAndRun = (partner: Partner) => {
    partner.open(graph, size).run(activationsOf(2), 2, new Int32Array(66));
  };

  it('fails: the reason comes back, cut to a sensible length, and the partner goes on', async () => {
    const { partner } = await connect({ behaviour: 'fails' });
    const failed = expect.objectContaining({
      code: 'GRAPH_FAILED',
      message: expect.stringMatching(/^the runtime failed: no memory: x{1013}$/),
    });
    expect(() => openAndRun(partner)).toThrow(failed);
    expect(() => openAndRun(partner)).toThrow(failed);
    partner.stop();
  });

  it('gives too few sums', async () => {
    const { partner } = await connect({ behaviour: 'short' });
    const few = expect.objectContaining({ code: 'GRAPH_FAILED', message: expect.stringContaining('66 sums, got 65') });
    expect(() => openAndRun(partner)).toThrow(few);
  });

  it('computes wrongly: the self-test finds it', async () => {
    const { partner } = await connect({ behaviour: 'counts' });
    expect(() => testProducts(partner.open)).toThrow(expect.objectContaining({ code: 'SELF_TEST_FAILED' }));
  });

  it.each(['silent', 'ends'] as const)('%s: the thread wakes up after its patience, for good', async (behaviour) => {
    const { partner } = await connect({ behaviour, patienceMs: 1000 });
    const closed = expect.objectContaining({
      code: 'ENGINE_CLOSED',
      message: 'the partner did not answer within 1000 ms',
    });
    expect(() => openAndRun(partner)).toThrow(closed);
    const start = performance.now();
    expect(() => openAndRun(partner)).toThrow(closed);
    partner.stop();
    expect(performance.now() - start).toBeLessThan(500);
  });

  it('is late: its answer is not taken for that of a later request', async () => {
    const { partner } = await connect({ behaviour: 'late', patienceMs: 200 });
    const closed = expect.objectContaining({ code: 'ENGINE_CLOSED' });
    expect(() => openAndRun(partner)).toThrow(closed);
    await new Promise((resolve) => setTimeout(resolve, 500));
    expect(() => openAndRun(partner)).toThrow(closed);
  });
});
