import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import type { ExactEngineName } from '../../../inference/exact/engines.ts';
import { provedEngine, proveEngine } from '../../../inference/exact/engines.ts';
import { type ExactFile, ensureExactFile, readExactModel } from '../../../inference/exact/exact-file.ts';
import { startOrtThread } from '../../../inference/exact/ort/node-thread.ts';
import type { OpenProduct } from '../../../inference/exact/ort/products.ts';
import { openReference } from '../../../inference/exact/reference/reference-decoder.ts';
import { expectSameBits, transcriptOf } from '../../support/exact-decoder-suite.ts';
import { seededRandom } from '../../support/random.ts';
import { randomTokens } from '../../support/random-exact-model.ts';
import { randomSource } from '../../support/random-source.ts';

const NODE_PRODUCTS = '../../../inference/exact/ort/node-products.ts';

/** Of the library itself: how often it was asked for, and whether it is here. */
const library = vi.hoisted(() => ({ loads: 0, isAbsent: false }));

vi.mock(import('../../../inference/exact/ort/node-products.ts'), async (original) => {
  const { loadNodeProducts } = await original();
  return {
    loadNodeProducts: () => {
      library.loads += 1;
      if (library.isAbsent) throw new Error('libonnxruntime.so.1: cannot open shared object file');
      return loadNodeProducts();
    },
  };
});

const { loadNodeProducts: ownProducts } = await vi.importActual<{ loadNodeProducts: () => OpenProduct }>(NODE_PRODUCTS);
const products = ownProducts();

/** Sessions and their runs over ONNX Runtime, one of which may be made wrong. */
function watched(isWrong: (run: number) => boolean = () => false) {
  const seen = { opened: 0, closed: 0, runs: 0 };
  const open: OpenProduct = (...graph) => {
    const session = products(...graph);
    seen.opened += 1;
    return {
      run(activations, rows, sums) {
        session.run(activations, rows, sums);
        seen.runs += 1;
        // the last sum of the last row, of low limbs: by what no rounding to binary32 hides
        if (isWrong(seen.runs)) sums[sums.length - 1] = (sums.at(-1) ?? 0) + 65_536;
      },
      close() {
        seen.closed += 1;
        session.close();
      },
    };
  };
  const load = vi.fn(async () => ({ open, startThread: startOrtThread }));
  return { seen, load };
}

async function prove(wanted: ExactEngineName | undefined, options: Partial<Parameters<typeof proveEngine>[1]> = {}) {
  const warnings: string[] = [];
  const onWarning = (message: string) => warnings.push(message);
  const engine = await proveEngine(wanted, { threads: 1, onWarning, ...options });
  return { name: engine.name, threads: engine.threads, open: engine.open, warnings };
}

beforeEach(() => {
  library.loads = 0;
  library.isAbsent = false;
});

describe('the engine that serves', () => {
  it('is ONNX Runtime with the kernels, where nothing is asked for and it computes right', async () => {
    for (const wanted of [undefined, 'ort'] as const) {
      const { seen, load } = watched();
      expect(await prove(wanted, { threads: 2, loadProducts: load })).toMatchObject({
        name: 'ort',
        threads: 2,
        warnings: [],
      });
      expect(load).toHaveBeenCalledTimes(1);
      expect(seen.runs).toBeGreaterThan(100);
      // nothing of the proof is left
      expect(seen.closed).toBe(seen.opened);
    }
    expect(await prove(undefined)).toMatchObject({ name: 'ort', warnings: [] });
    expect(library.loads).toBe(1);
  });

  it('is the kernels alone where they are asked for, and nothing else is loaded', async () => {
    const { load } = watched();
    expect(await prove('wasm', { threads: 3, loadProducts: load })).toMatchObject({
      name: 'wasm',
      threads: 3,
      warnings: [],
    });
    expect(load).not.toHaveBeenCalled();
    await prove('wasm');
    expect(library.loads).toBe(0);
  });

  it('is the reference where it is asked for, on one thread, and nothing else is loaded', async () => {
    const { load } = watched();
    expect(await prove('reference', { threads: 3, loadProducts: load })).toMatchObject({
      name: 'reference',
      threads: 1,
      warnings: [],
    });
    expect(load).not.toHaveBeenCalled();
    expect(library.loads).toBe(0);
  });
});

describe('ONNX Runtime that is not here', () => {
  it('is left out with a warning that says why', async () => {
    library.isAbsent = true;
    const { name, threads, warnings } = await prove(undefined, { threads: 2 });
    expect({ name, threads }).toEqual({ name: 'wasm', threads: 2 });
    expect(library.loads).toBe(1);
    expect(warnings).toEqual([
      "ONNX Runtime's products are left out: cannot load ONNX Runtime: libonnxruntime.so.1: cannot open shared object file",
    ]);
  });

  it('is an error where it was asked for by name', async () => {
    library.isAbsent = true;
    await expect(prove('ort')).rejects.toMatchObject({
      name: 'ModelError',
      code: 'ENGINE_ABSENT',
      message: expect.stringContaining('libonnxruntime.so.1'),
    });
  });
});

describe('ONNX Runtime that computes wrong', () => {
  let all: number;
  beforeAll(async () => {
    const { seen, load } = watched();
    await prove('ort', { loadProducts: load });
    all = seen.runs;
  });

  // the products of the test of products come first, those of the models of the self-test last
  it.each([
    ['the first product', () => 1],
    ['a product in the middle', () => Math.floor(all / 2)],
    ['the last product', () => all],
  ])('in one sum of %s, is left out with a warning', async (_, at) => {
    const wrong = at();
    const { seen, load } = watched((run) => run === wrong);
    const { name, warnings } = await prove(undefined, { threads: 2, loadProducts: load });
    expect(name).toBe('wasm');
    expect(warnings).toHaveLength(1);
    expect(warnings[0]).toMatch(/^ONNX Runtime's products are left out: (the product of|expected the digest)/);
    expect(seen.runs).toBeGreaterThanOrEqual(wrong);
    expect(seen.closed).toBe(seen.opened);
  });

  it.each([
    ['the first product', () => 1],
    ['the last product', () => all],
  ])('in one sum of %s, is an error where it was asked for by name', async (_, at) => {
    const wrong = at();
    const { load } = watched((run) => run === wrong);
    await expect(prove('ort', { loadProducts: load })).rejects.toMatchObject({
      name: 'ModelError',
      code: 'SELF_TEST_FAILED',
    });
  });

  it('only with the shapes of models, is found by the models of the self-test', async () => {
    const { seen, load } = watched((run) => run > all - 20);
    const { name, warnings } = await prove(undefined, { loadProducts: load });
    expect({ name, warnings }).toEqual({ name: 'wasm', warnings: [expect.stringContaining('digest')] });
    expect(seen.runs).toBe(all);
  });

  it('or that fails, is left out with a warning and its reason', async () => {
    const open: OpenProduct = () => {
      throw new Error('illegal instruction');
    };
    const { name, warnings } = await prove(undefined, {
      loadProducts: async () => ({ open, startThread: startOrtThread }),
    });
    expect(name).toBe('wasm');
    expect(warnings).toEqual([expect.stringContaining('failed')]);
    expect(warnings[0]).toContain('left out');
  });
});

describe('an engine that is opened again in one process', () => {
  it('has proved itself, and does not again', async () => {
    const first = await provedEngine('ort', { threads: 1 });
    expect(library.loads).toBe(1);
    // Who were to prove it now would fail.
    library.isAbsent = true;
    expect(await provedEngine('ort', { threads: 1 })).toBe(first);
    expect(library.loads).toBe(1);
    // Another number of threads is proved for itself, and so is another engine.
    await expect(provedEngine('ort', { threads: 2 })).rejects.toMatchObject({ code: 'ENGINE_ABSENT' });
    expect(await provedEngine('reference', { threads: 1 })).toMatchObject({ name: 'reference' });
    expect(library.loads).toBe(2);
  });

  it('is proved anew where ONNX Runtime was left out, and everybody is told', async () => {
    const warnings: string[] = [];
    const open = () => provedEngine(undefined, { threads: 1, onWarning: (message) => warnings.push(message) });
    library.isAbsent = true;
    for (let i = 1; i <= 2; i++) {
      expect((await open()).name).toBe('wasm');
      expect(warnings).toHaveLength(i);
    }
    library.isAbsent = false;
    expect((await open()).name).toBe('ort');
    expect((await open()).name).toBe('ort');
    expect({ warnings: warnings.length, loads: library.loads }).toEqual({ warnings: 2, loads: 3 });
  });
});

describe('an engine that has proved itself', () => {
  const folder = mkdtempSync(join(tmpdir(), 'tracebond-engines-'));
  let file: ExactFile;
  beforeAll(async () => {
    file = await ensureExactFile(randomSource({ family: 'qwen2', contextLength: 320 }), folder);
  });
  afterAll(() => {
    file.close();
    rmSync(folder, { recursive: true, force: true });
  });

  it.each([
    ['reference', 1],
    ['wasm', 1],
    ['wasm', 2],
    ['ort', 1],
    ['ort', 2],
  ] as const)('gives the bits of the others: %s on %i threads', async (wanted, threads) => {
    const { vocabulary } = file.shape;
    const tokens = randomTokens(seededRandom(37), vocabulary, 300);
    const expected = transcriptOf(openReference(readExactModel(file), { maxRows: 300 }), tokens, tokens.length);
    const { open, warnings } = await prove(wanted, { threads });
    const decoder = await open(file);
    try {
      expect(warnings).toEqual([]);
      expect(decoder.name).toBe(wanted);
      expect(decoder.maxRows).toBe(wanted === 'ort' ? 128 : 64);
      expectSameBits(transcriptOf(decoder, tokens, decoder.maxRows), expected);
      expectSameBits(transcriptOf(decoder, tokens, 33), expected);
      expectSameBits(transcriptOf(decoder, tokens, 1), expected);
    } finally {
      await decoder.close();
    }
  });

  it('computes one row by the kernels, and several by ONNX Runtime', async () => {
    const { seen, load } = watched();
    const { open } = await prove('ort', { loadProducts: load });
    const decoder = await open(file);
    try {
      const sequence = decoder.openSequence(40);
      const row = { sequence, token: 1 };
      const runsOf = (rows: number, wanted: readonly number[]) => {
        const before = seen.runs;
        decoder.forward(Array(rows).fill(row), wanted);
        return seen.runs - before;
      };
      const { layers } = file.shape;
      expect(runsOf(1, [0])).toBe(0);
      expect(runsOf(2, [])).toBe(4 * layers);
      // the logits of one row are a product of one row
      expect(runsOf(2, [1])).toBe(4 * layers);
      expect(runsOf(2, [0, 1])).toBe(4 * layers + 1);
    } finally {
      await decoder.close();
    }
    expect(seen.closed).toBe(seen.opened);
  });
});
