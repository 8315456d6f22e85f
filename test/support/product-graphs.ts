/**
 * Product graphs with something wrong in them, and what another reader finds in a graph.
 *
 * @module
 */

import { ProtobufWriter } from '../../inference/onnx/protobuf.ts';

type Body = (writer: ProtobufWriter) => unknown;

/** Parts that replace those of the good graph; `extra` ones are put at the end of their message. */
export type GraphParts = Partial<{
  ir: Body;
  opsets: Body;
  model: Body;
  graph: Body;
  nodes: Body;
  node: Body;
  inputs: readonly string[];
  op: string;
  weights: Body;
  zeroPoint: Body;
  tensors: Body;
  activations: Body;
  sums: Body;
}>;

/** Columns, rows and weights of {@link writeProductGraph}. */
export const GOOD = { columns: 8, rows: 3, weights: Int8Array.from({ length: 24 }, (_, i) => ((i * 37) % 255) - 127) };

/** A matrix `[M, columns]` of an element type. */
export function matrixInfo(name: string, type: number, columns: number, rows: string | number = 'M'): Body {
  return (info) =>
    info.string(1, name).message(2, (t) =>
      t.message(1, (tensor) =>
        tensor.int(1, type).message(2, (shape) => {
          shape.message(1, (one) => (typeof rows === 'string' ? one.string(2, rows) : one.int(1, rows)));
          shape.message(1, (one) => one.int(1, columns));
        }),
      ),
    );
}

/** A tensor with its values in `raw_data`. */
export function tensor(name: string, type: number, dims: readonly number[], raw: ArrayLike<number>): Body {
  return (writer) => {
    for (const extent of dims) writer.int(1, extent);
    writer.int(2, type).string(8, name).bytes(9, Uint8Array.from(raw));
  };
}

/** A node with one output. */
export function node(op: string, inputs: readonly string[], output: string, more: Body = () => {}): Body {
  return (writer) => {
    for (const input of inputs) writer.string(1, input);
    writer.string(2, output).string(3, 'product').string(4, op);
    more(writer);
  };
}

/** The good graph, written field by field, with the given parts replaced. */
export function writeProductGraph(parts: GraphParts = {}): Uint8Array {
  const { columns, rows, weights } = GOOD;
  const nothing: Body = () => {};
  const product = node(parts.op ?? 'MatMulInteger', parts.inputs ?? ['a', 'w', 'z'], 'y', parts.node);
  const writer = new ProtobufWriter();
  (parts.ir ?? ((w) => w.int(1, 8)))(writer);
  writer.message(7, (graph) => {
    (parts.nodes ?? ((w) => w.message(1, product)))(graph);
    graph.string(2, 'product');
    graph.message(5, parts.weights ?? tensor('w', 3, [columns, rows], weights));
    graph.message(5, parts.zeroPoint ?? tensor('z', 2, [], [64]));
    (parts.tensors ?? nothing)(graph);
    graph.message(11, parts.activations ?? matrixInfo('a', 2, columns));
    graph.message(12, parts.sums ?? matrixInfo('y', 6, rows));
    (parts.graph ?? nothing)(graph);
  });
  (parts.opsets ?? ((w) => w.message(8, (set) => set.string(1, '').int(2, 17))))(writer);
  (parts.model ?? nothing)(writer);
  return writer.finish();
}

/** Fields of a message by number, as a reader sees them that accepts everything: the last value wins, groups are an error. */
export function looseFields(bytes: Uint8Array): Map<number, (bigint | Uint8Array)[]> {
  const fields = new Map<number, (bigint | Uint8Array)[]>();
  let at = 0;
  const varint = () => {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = bytes[at++];
      if (byte === undefined) throw new RangeError('cut off');
      value |= BigInt(byte & 127) << shift;
      if (byte < 128) return value;
    }
  };
  while (at < bytes.length) {
    const tag = varint();
    const number = Number(tag >> 3n);
    const list = fields.get(number) ?? [];
    fields.set(number, list);
    if (tag % 8n === 0n) list.push(varint());
    else if (tag % 8n === 2n) {
      const length = Number(varint());
      if (length > bytes.length - at) throw new RangeError('cut off');
      list.push(bytes.subarray(at, at + length));
      at += length;
    } else throw new RangeError(`wire type ${tag % 8n}`);
  }
  return fields;
}

/** Weights and extents, as a reader sees them that accepts everything. */
export function looseProduct(graph: Uint8Array): { columns: number; outputs: number; weights: Int8Array } {
  const inner = (bytes: Uint8Array, field: number, index = 0) => looseFields(bytes).get(field)?.[index] as Uint8Array;
  const named = Buffer.from(inner(inner(inner(graph, 7), 1), 1, 1)).toString();
  const tensors = looseFields(inner(graph, 7)).get(5) as Uint8Array[];
  const fields = tensors
    .map(looseFields)
    .find((one) => Buffer.from(one.get(8)?.at(-1) as Uint8Array).toString() === named);
  const [k, n] = (fields?.get(1) ?? []).map(Number);
  const raw = fields?.get(9)?.at(-1) as Uint8Array;
  return { columns: k ?? 0, outputs: n ?? 0, weights: new Int8Array(raw.slice().buffer) };
}
