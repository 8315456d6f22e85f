/**
 * Builder of an ONNX model whose weights lie in a second file. Standard domain only; names are made by counting, so the
 * same calls give the same bytes and the digest of the model file names the operations without the weights.
 *
 * Source: `onnx.proto3`, field numbers as of IR version 10.
 *
 * @module
 */

import { ProtobufWriter } from './protobuf.ts';

/** IR version and operator set that every model here declares. */
export const ONNX_VERSIONS = { ir: 10, opset: 20 } as const;

/** Name of a value inside the graph. */
export type Value = string;

/** ONNX element types used here, by their number in `TensorProto.DataType`. */
export const ELEMENT = { float32: 1, int64: 7 } as const;

export type ElementType = keyof typeof ELEMENT;

/** Attribute of a node: an integer, or a list of integers. */
export type Attribute = number | readonly number[];

/** A weight in the second file: binary32, little-endian, row-major. */
export type ExternalWeight = {
  readonly name: Value;
  readonly shape: readonly number[];
  readonly offset: number;
  readonly sizeBytes: number;
};

/** Weights start at multiples of this, so that they can be mapped into memory. */
export const WEIGHT_ALIGNMENT = 4096;

/** Collects nodes, constants and weights; {@link GraphBuilder.encode} writes them as a `ModelProto`. */
export class GraphBuilder {
  readonly #nodes: Uint8Array[] = [];
  readonly #initialisers: Uint8Array[] = [];
  readonly #inputs: Uint8Array[] = [];
  readonly #outputs: Uint8Array[] = [];
  readonly #constants = new Map<string, Value>();
  readonly #weights: ExternalWeight[] = [];
  readonly #weightFile: string;
  #counter = 0;
  #weightBytes = 0;

  /** @param weightFile - name of the second file, relative to the model file */
  constructor(weightFile: string) {
    this.#weightFile = weightFile;
  }

  /** Weights in file order. */
  get weights(): readonly ExternalWeight[] {
    return this.#weights;
  }

  /** Length of the second file. */
  get weightBytes(): number {
    return this.#weightBytes;
  }

  /** Declares a graph input; a string in `shape` names an extent that varies. */
  input(name: string, type: ElementType, shape: readonly (number | string)[]): Value {
    this.#inputs.push(valueInfo(name, type, shape));
    return name;
  }

  /** Declares `value` as a graph output under its own name. */
  output(value: Value, type: ElementType, shape: readonly (number | string)[]): void {
    this.#outputs.push(valueInfo(value, type, shape));
  }

  /** Adds a node with one output. */
  node(
    op: string,
    inputs: readonly Value[],
    attributes: Readonly<Record<string, Attribute>> = {},
    output?: string,
  ): Value {
    const name = output ?? this.#fresh();
    this.#addNode(op, inputs, [name], attributes);
    return name;
  }

  /** Splits `value` along `axis` into parts of the given extents, or of those in a vector of `count` int64. */
  split(value: Value, axis: number, sizes: readonly number[] | Value, count: number = sizes.length): readonly Value[] {
    const outputs = Array.from({ length: count }, () => this.#fresh());
    this.#addNode('Split', [value, typeof sizes === 'string' ? sizes : this.ints(sizes)], outputs, { axis });
    return outputs;
  }

  /** A constant vector of int64. */
  ints(values: readonly number[]): Value {
    const bytes = new Uint8Array(8 * values.length);
    const view = new DataView(bytes.buffer);
    values.forEach((value, i) => {
      view.setBigInt64(8 * i, BigInt(value), true);
    });
    return this.#constant(`ints:${values.join(',')}`, 'int64', [values.length], bytes);
  }

  /** A constant scalar of int64. */
  int(value: number): Value {
    const bytes = new Uint8Array(8);
    new DataView(bytes.buffer).setBigInt64(0, BigInt(value), true);
    return this.#constant(`int:${value}`, 'int64', [], bytes);
  }

  /** A constant scalar of binary32. */
  float(value: number): Value {
    const bytes = new Uint8Array(4);
    new DataView(bytes.buffer).setFloat32(0, value, true);
    return this.#constant(`float:${value}`, 'float32', [], bytes);
  }

  /** Reserves room in the second file for a binary32 tensor. */
  weight(name: string, shape: readonly number[]): Value {
    const sizeBytes = 4 * shape.reduce((product, extent) => product * extent, 1);
    const offset = Math.ceil(this.#weightBytes / WEIGHT_ALIGNMENT) * WEIGHT_ALIGNMENT;
    this.#weightBytes = offset + sizeBytes;
    this.#weights.push({ name, shape, offset, sizeBytes });
    const tensor = new ProtobufWriter();
    for (const extent of shape) tensor.int(1, extent);
    tensor.int(2, ELEMENT.float32).string(8, name);
    const external = { location: this.#weightFile, offset: String(offset), length: String(sizeBytes) };
    for (const [key, value] of Object.entries(external))
      tensor.message(13, (entry) => entry.string(1, key).string(2, value));
    this.#initialisers.push(tensor.int(14, 1).finish());
    return name;
  }

  /** The model file. */
  encode(graphName: string): Uint8Array {
    return new ProtobufWriter()
      .int(1, ONNX_VERSIONS.ir)
      .string(2, 'tracebond')
      .message(7, (graph) => {
        for (const node of this.#nodes) graph.bytes(1, node);
        graph.string(2, graphName);
        for (const tensor of this.#initialisers) graph.bytes(5, tensor);
        for (const value of this.#inputs) graph.bytes(11, value);
        for (const value of this.#outputs) graph.bytes(12, value);
      })
      .message(8, (opset) => opset.string(1, '').int(2, ONNX_VERSIONS.opset))
      .finish();
  }

  #fresh(): Value {
    return `v${this.#counter++}`;
  }

  #constant(key: string, type: ElementType, shape: readonly number[], bytes: Uint8Array): Value {
    const known = this.#constants.get(key);
    if (known !== undefined) return known;
    const name = `c${this.#constants.size}`;
    const tensor = new ProtobufWriter();
    for (const extent of shape) tensor.int(1, extent);
    this.#initialisers.push(tensor.int(2, ELEMENT[type]).string(8, name).bytes(9, bytes).finish());
    this.#constants.set(key, name);
    return name;
  }

  #addNode(
    op: string,
    inputs: readonly Value[],
    outputs: readonly Value[],
    attributes: Readonly<Record<string, Attribute>>,
  ): void {
    const node = new ProtobufWriter();
    for (const input of inputs) node.string(1, input);
    for (const output of outputs) node.string(2, output);
    node.string(3, `n${this.#nodes.length}`).string(4, op);
    for (const [name, value] of Object.entries(attributes)) {
      node.message(5, (attribute) => {
        attribute.string(1, name);
        if (typeof value === 'number') attribute.int(3, value).int(20, 2);
        else {
          for (const item of value) attribute.int(8, item);
          attribute.int(20, 7);
        }
      });
    }
    this.#nodes.push(node.finish());
  }
}

function valueInfo(name: string, type: ElementType, shape: readonly (number | string)[]): Uint8Array {
  return new ProtobufWriter()
    .string(1, name)
    .message(2, (typeProto) =>
      typeProto.message(1, (tensor) =>
        tensor.int(1, ELEMENT[type]).message(2, (dimensions) => {
          for (const extent of shape) {
            dimensions.message(1, (one) => (typeof extent === 'number' ? one.int(1, extent) : one.string(2, extent)));
          }
        }),
      ),
    )
    .finish();
}
