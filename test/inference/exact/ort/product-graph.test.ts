import { describe, expect, it } from 'vitest';
import { lintExactGraph } from '../../../../inference/exact/ort/graph-linter.ts';
import { MOST_COLUMNS, productGraph } from '../../../../inference/exact/ort/product-graph.ts';
import { openOrtProducts } from '../../../support/ort-products.ts';
import { plainProduct } from '../../../support/plain-product.ts';
import { seededRandom } from '../../../support/random.ts';

const weightsOf = (length: number) => new Int8Array(seededRandom(length).bytes(length).buffer);

describe('productGraph', () => {
  it('is the pinned bytes around the weights', () => {
    const graph = productGraph(2, 3, Int8Array.of(1, -1, 127, -128, 0, 5));
    expect(Buffer.from(graph).toString('hex')).toBe(
      [
        '0808', // ir_version 8
        '12097472616365626f6e64', // producer_name tracebond
        '3a78', // graph
        '0a240a01610a01770a017a1201791a0770726f64756374220d4d61744d756c496e7465676572', // node
        '120770726f64756374', // name
        '2a110802080310034201774a0601ff7f800005', // weights
        '2a08100242017a4a0140', // zero point
        '5a140a0161120f0a0d080212090a0312014d0a020802', // input
        '62140a0179120f0a0d080612090a0312014d0a020803', // output
        '42040a001011', // opset 17
      ].join(''),
    );
  });

  it.each([
    [1, 1, 1],
    [64, 33, 5],
    [97, 200, 2],
  ])('runs: %i columns, %i rows, %i rows of activations', (columns, rows, count) => {
    const weights = weightsOf(columns * rows);
    const activations = seededRandom(3)
      .bytes(count * columns)
      .map((byte) => byte & 127);
    const session = openOrtProducts(productGraph(columns, rows, weights));
    const sums = new Int32Array(count * rows);
    session.run(activations, count, sums);
    session.close();
    expect(sums).toEqual(plainProduct({ columns, rows: count, outputs: rows, activations, weights }));
  });

  it('passes the linter, whatever the extents and weights', () => {
    for (const [columns, rows] of [
      [1, 1],
      [127, 129],
      [MOST_COLUMNS, 1],
      [1, 40_000],
    ] as const) {
      expect(() => lintExactGraph(productGraph(columns, rows, weightsOf(columns * rows)))).not.toThrow();
    }
  });

  it('keeps nothing of its weights', () => {
    const weights = new Int8Array(8192).fill(3);
    const graph = productGraph(8192, 1, weights);
    const before = graph.slice();
    weights.fill(4);
    expect(graph).toEqual(before);
  });

  it('takes the weights of a view for what they are', () => {
    const all = weightsOf(50);
    expect(productGraph(4, 5, all.subarray(11, 31))).toEqual(productGraph(4, 5, all.slice(11, 31)));
  });

  it.each([
    [0, 1, 0],
    [1, 0, 0],
    [2, 3, 5],
    [2, 3, 7],
    [1.5, 2, 3],
    [-2, -3, 6],
    [2, Number.NaN, 6],
    [MOST_COLUMNS + 1, 1, MOST_COLUMNS + 1],
  ])('refuses [%f, %f] of %i weights', (columns, rows, length) => {
    expect(() => productGraph(columns, rows, new Int8Array(length))).toThrow(RangeError);
  });

  it('no partial sum leaves int32 at the most columns, and one more column could', () => {
    expect(MOST_COLUMNS * 191 * 383).toBeLessThan(2 ** 31);
    expect((MOST_COLUMNS + 1) * 191 * 383).toBeGreaterThanOrEqual(2 ** 31);
    const weights = new Int8Array(MOST_COLUMNS).fill(-128);
    const session = openOrtProducts(productGraph(MOST_COLUMNS, 1, weights));
    const sums = new Int32Array(2);
    session.run(new Uint8Array(2 * MOST_COLUMNS).fill(127, 0, MOST_COLUMNS), 2, sums);
    session.close();
    expect([...sums]).toEqual([63 * -128 * MOST_COLUMNS, -64 * -128 * MOST_COLUMNS]);
  });
});
