import { beforeEach, describe, expect, it, vi } from 'vitest';
import { wasm } from '../../../../attest/core/webassembly.ts';
import type { MatrixPlace } from '../../../../inference/exact/ort/parts.ts';
import { openProducts, type ProductPlan } from '../../../../inference/exact/ort/products.ts';
import { GOOD, writeProductGraph } from '../../../support/product-graphs.ts';

/** A graph in place of the one that is built. */
const built = vi.hoisted(() => ({ graph: undefined as Uint8Array | undefined }));

vi.mock(import('../../../../inference/exact/ort/product-graph.ts'), async (original) => {
  const own = await original();
  return { ...own, productGraph: (...parts) => built.graph ?? own.productGraph(...parts) };
});

beforeEach(() => {
  built.graph = undefined;
});

const memory = new wasm.Memory({ initial: 2, maximum: 65_536, shared: true });
const matrix: MatrixPlace = { weights: 1024, groupScales: null, rows: 16, columns: 32 };
const plan: ProductPlan = { groups: [[matrix], [matrix]], limbRows: 8192, mostRows: 4, sums: [65_536] };
const place = { thread: 0, threads: 1 };

describe('products of a thread', () => {
  it('load no graph that holds anything else than one product of integers', () => {
    built.graph = writeProductGraph({ op: 'MatMul' });
    const open = vi.fn(() => ({ run() {}, close() {} }));
    const fault = expect.objectContaining({ name: 'ModelError', code: 'GRAPH_NOT_EXACT' });
    expect(() => openProducts(memory, plan, place, open)).toThrow(fault);
    expect(open).not.toHaveBeenCalled();
    built.graph = writeProductGraph();
    expect(GOOD.columns).toBeGreaterThan(0);
    openProducts(memory, plan, place, open).close();
    expect(open).toHaveBeenCalledTimes(2);
  });

  it('take limbs from the given row on, and put all sums where the thread reads them', () => {
    const bytes = new Uint8Array(memory.buffer);
    const words = new Int32Array(memory.buffer);
    bytes.set(
      Array.from({ length: 2 * 4 * 32 }, (_, i) => i % 128),
      8192,
    );
    words.fill(-1, 16_384);
    const calls: { rows: number; first: number | undefined; length: number }[] = [];
    const products = openProducts(memory, plan, place, () => ({
      run(activations, rows, sums) {
        calls.push({ rows, first: activations[0], length: activations.length });
        sums.set(sums.map((_, i) => i));
      },
      close() {},
    }));
    products.product(1, 0, 1, 2);
    expect(calls).toEqual([{ rows: 4, first: 64, length: 128 }]);
    expect([...words.subarray(16_384, 16_384 + 65)]).toEqual([...Array(64).keys(), -1]);
    products.product(0, 0, 3, 1);
    expect(calls[1]).toEqual({ rows: 2, first: 64, length: 64 });
    for (const [group, part] of [
      [2, 0],
      [0, 1],
      [-1, 0],
    ] as const) {
      expect(() => products.product(group, part, 0, 1)).toThrow(TypeError);
    }
    products.close();
  });
});
