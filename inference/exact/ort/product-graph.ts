/**
 * The ONNX graph of one product of many rows: a single MatMulInteger with constant weights. `graph-linter.ts` says what such a
 * graph may hold and why.
 *
 * @module
 */

import { ProtobufWriter } from '../../onnx/protobuf.ts';

/** Names and numbers of the graph; element types as in `TensorProto.DataType`. */
export const PRODUCT_GRAPH = {
  ir: 8,
  opset: 17,
  activations: 'a',
  weights: 'w',
  zeroPoint: 'z',
  sums: 'y',
  uint8: 2,
  int8: 3,
  int32: 6,
} as const;

/** What stands for zero in an activation: the limbs -64..63 are stored as 0..127. */
export const ZERO_POINT = 64;

/**
 * Most columns of a product. A product's terms are (a - 64) * w with a in 0..127 and w in -128..127. Some implementations store the
 * weights as w + 128 in 0..255 and add the four parts of (a - 64) * ((w + 128) - 128) in an order of their own; each column adds at
 * most (127 + 64) * (255 + 128) to the magnitude of any partial sum, which has to stay below 2^31.
 */
export const MOST_COLUMNS = Math.floor((2 ** 31 - 1) / ((127 + 64) * (255 + 128)));

/**
 * Builds the graph: input `a` uint8 `[M, columns]`, M free; output `y` int32 `[M, rows]`,
 * `y[m, n] = sum over k of (a[m, k] - 64) * weights[k, n]`. The same arguments give the same bytes; the weights are copied once.
 *
 * @param columns - terms of each sum, 1 to {@link MOST_COLUMNS}
 * @param rows - outputs, at least 1
 * @param weights - `[columns, rows]`, row-major: the transpose of a matrix as the model stores it
 * @throws RangeError if extents and weights do not belong together
 */
export function productGraph(columns: number, rows: number, weights: Int8Array): Uint8Array {
  if (!Number.isSafeInteger(columns) || columns < 1 || columns > MOST_COLUMNS) {
    throw new RangeError(`expected 1 to ${MOST_COLUMNS} columns, got ${columns}`);
  }
  if (!Number.isSafeInteger(rows) || rows < 1 || weights.length !== columns * rows) {
    throw new RangeError(`expected weights [${columns}, ${rows}], got ${weights.length}`);
  }
  const { ir, opset, activations, weights: name, zeroPoint, sums, uint8, int8, int32 } = PRODUCT_GRAPH;
  const raw = new Uint8Array(weights.buffer, weights.byteOffset, weights.byteLength);
  return new ProtobufWriter()
    .int(1, ir)
    .string(2, 'tracebond')
    .message(7, (graph) =>
      graph
        .message(1, (node) =>
          node
            .string(1, activations)
            .string(1, name)
            .string(1, zeroPoint)
            .string(2, sums)
            .string(3, 'product')
            .string(4, 'MatMulInteger'),
        )
        .string(2, 'product')
        .message(5, (tensor) => tensor.int(1, columns).int(1, rows).int(2, int8).string(8, name).bytes(9, raw))
        .message(5, (tensor) => tensor.int(2, uint8).string(8, zeroPoint).bytes(9, Uint8Array.of(ZERO_POINT)))
        .message(11, valueInfo(activations, uint8, columns))
        .message(12, valueInfo(sums, int32, rows)),
    )
    .message(8, (set) => set.string(1, '').int(2, opset))
    .finish();
}

/** A matrix of `extent` columns whose number of rows is free. */
function valueInfo(name: string, type: number, extent: number): (writer: ProtobufWriter) => void {
  return (info) =>
    info
      .string(1, name)
      .message(2, (typeProto) =>
        typeProto.message(1, (tensor) =>
          tensor
            .int(1, type)
            .message(2, (shape) =>
              shape.message(1, (one) => one.string(2, 'M')).message(1, (one) => one.int(1, extent)),
            ),
        ),
      );
}
