import { describe, expect, it } from 'vitest';
import { loadNodeProducts } from '../../../../inference/exact/ort/node-products.ts';
import { productGraph } from '../../../../inference/exact/ort/product-graph.ts';
import { plainProduct } from '../../../support/plain-product.ts';
import { seededRandom } from '../../../support/random.ts';

const open = loadNodeProducts();
const random = seededRandom(41);

describe('products of ONNX Runtime in Node', () => {
  it('take the same arrays again with other extents, and with other contents', () => {
    const activations = new Uint8Array(384);
    const sums = new Int32Array(96);
    const shapes = [
      { rows: 2, columns: 192, outputs: 48 },
      { rows: 6, columns: 64, outputs: 16 },
      { rows: 12, columns: 32, outputs: 8 },
    ].map((shape) => ({
      ...shape,
      weights: new Int8Array(shape.columns * shape.outputs).map(() => random.below(255) - 127),
    }));
    const sessions = shapes.map((shape) => open(productGraph(shape.columns, shape.outputs, shape.weights), shape));
    for (let turn = 0; turn < 3; turn++) {
      shapes.forEach((shape, i) => {
        activations.set(activations.map(() => random.below(128)));
        sums.fill(-1);
        sessions[i]?.run(activations, shape.rows, sums);
        expect(sums).toEqual(plainProduct({ ...shape, activations }));
      });
    }
    for (const session of sessions) session.close();
  });

  it('refuse what is no graph', () => {
    const fault = expect.objectContaining({ name: 'ModelError', code: 'GRAPH_REFUSED' });
    expect(() => open(new Uint8Array(100).fill(7), { columns: 32, outputs: 4 })).toThrow(fault);
  });
});
