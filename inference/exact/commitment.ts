/**
 * The commitment of a model: leaves of everything that decides its results, and their root.
 *
 * Spec: `inference/spec/exact.md#commitment`. Leaves are hashed by `node:crypto`, which has the CPU's instructions for SHA-256: a
 * model of 135 million weights has 200,000 leaves of 600 bytes, for which the portable code takes five times as long.
 *
 * @module
 */

import { hash } from 'node:crypto';
import { type Hex, toHex, utf8 } from '../../attest/core/bytes.ts';
import type { Digest } from '../../attest/core/hash.ts';
import type { JsonObject } from '../../attest/encoding/canonical-json.ts';
import { MerkleAccumulator, MerkleTree } from '../../attest/merkle/tree.ts';
import { jsonDigest } from '../json-digest.ts';
import type { TokenizerDescription } from '../tokenizer-json.ts';
import {
  ACTIVATION_MAX,
  ATTENTION_MAX,
  EXACT_VERSION,
  type ExactModel,
  type ExactShape,
  type ExactTables,
  GROUP_SIZE,
  keyMax,
  VALUE_MAX,
} from './exact-model.ts';
import { floatBits, OPERATION_KINDS, type OperationList, operationList } from './operations.ts';
import type { QuantisedRows } from './quantise-weights.ts';
import type { OperationRange } from './ranges.ts';
import { EXPONENTIAL_ENTRIES, SIGMOID_ENTRIES } from './tables.ts';

/** All that a commitment is made of. */
export type CommittedModel = {
  readonly model: ExactModel;
  /** From {@link tokenizerDigest}. */
  readonly tokenizer: Hex;
  /** One for each operation. */
  readonly ranges: readonly OperationRange[];
};

/** Numbers of the tables in their leaves. */
export const TABLE_IDS = { exponential: 1, sigmoid: 2, rotary: 3 } as const;

export type TableName = keyof typeof TABLE_IDS;

/** In the order of their leaves. */
const TABLE_NAMES = ['exponential', 'sigmoid', 'rotary'] as const;

/** First byte of a leaf. */
const LEAF_KIND = { weightRow: 8, operation: 9, header: 0x10, tokenizer: 0x11, table: 0x12, vector: 0x13, range: 0x14 };

/** Entries of a table in one leaf; the rotary tables have one position in each. */
const EXPONENTIALS_IN_LEAF = 1024;
const SIGMOIDS_IN_LEAF = 512;

/** Stands for "none" where a leaf names an operation, matrix or vector. */
const NONE = 0xffffffff;

/** SHA-256 of the canonical JSON of a tokenizer's description. */
export function tokenizerDigest(description: TokenizerDescription): Hex {
  return jsonDigest(description as unknown as JsonObject);
}

/** Root over all leaves of a model. */
export function computeCommitment(committed: CommittedModel): Hex {
  const tree = new MerkleAccumulator();
  for (const leaf of commitmentLeaves(committed)) tree.append(hashLeaf(leaf));
  return toHex(tree.root());
}

/** The whole tree, which gives inclusion proofs: about 64 bytes a leaf. */
export function commitmentTree(committed: CommittedModel): MerkleTree {
  const tree = new MerkleTree();
  for (const leaf of commitmentLeaves(committed)) tree.append(hashLeaf(leaf));
  return tree;
}

/** SHA-256(0x00 || leaf). */
export function hashLeaf(leaf: Uint8Array): Digest {
  const bytes = new Uint8Array(1 + leaf.length);
  bytes.set(leaf, 1);
  return new Uint8Array(hash('sha256', bytes, 'buffer'));
}

/** All leaves in order. Each is a new byte string. */
export function* commitmentLeaves({ model, tokenizer, ranges }: CommittedModel): Generator<Uint8Array> {
  yield* leadingLeaves(model.shape, tokenizer, model.tables);
  for (const [id, matrix] of model.matrices.entries()) {
    for (let row = 0; row < matrix.rows; row++) yield weightRowLeaf(id, row, matrix, row);
  }
  yield* trailingLeaves(model.vectors, ranges);
}

/** The leaves before the weight rows: header, tokenizer, operations, tables. */
export function* leadingLeaves(shape: ExactShape, tokenizer: Hex, tables: ExactTables): Generator<Uint8Array> {
  const list = operationList(shape);
  yield headerLeaf(shape, list);
  yield new LeafWriter(33)
    .u8(LEAF_KIND.tokenizer)
    .bytes(Buffer.from(tokenizer.slice(2), 'hex'))
    .done();
  for (const { index } of list.operations) yield operationLeaf(list, index);
  for (const table of TABLE_NAMES) {
    for (let row = 0; row < tableLeafCount(shape, table); row++) yield tableLeaf(tables, table, row, shape.headSize);
  }
}

/** The leaves after the weight rows: vectors, ranges. */
export function* trailingLeaves(
  vectors: readonly Float32Array[],
  ranges: readonly OperationRange[],
): Generator<Uint8Array> {
  for (const [id, vector] of vectors.entries()) yield vectorLeaf(id, vector);
  for (const [index, range] of ranges.entries()) yield rangeLeaf(index, range);
}

/** Indices of leaves in the tree; each takes an id, or a table's row, of this shape. */
export type LeafIndices = {
  readonly header: number;
  readonly tokenizer: number;
  readonly size: number;
  operation(index: number): number;
  table(table: TableName, row: number): number;
  weightRow(matrix: number, row: number): number;
  vector(id: number): number;
  range(operation: number): number;
};

/** Where which leaf is. Methods throw RangeError for what the model does not have. */
export function leafIndices(shape: ExactShape): LeafIndices {
  const { operations, matrices, vectors } = operationList(shape);
  let end = 2;
  const section = (count: number) => {
    const first = end;
    end += count;
    return (index: number): number => {
      if (!Number.isInteger(index) || index < 0 || index >= count) throw new RangeError(`no leaf ${index} of ${count}`);
      return first + index;
    };
  };
  const operation = section(operations.length);
  const tables = new Map(TABLE_NAMES.map((table) => [table, section(tableLeafCount(shape, table))]));
  const rows = matrices.map((matrix) => section(matrix.rows));
  const vector = section(vectors.length);
  const range = section(operations.length);
  return {
    header: 0,
    tokenizer: 1,
    size: end,
    operation,
    table: (table, row) => known(tables.get(table))(row),
    weightRow: (matrix, row) => known(rows[matrix])(row),
    vector,
    range,
  };
}

function known<T>(value: T | undefined): T {
  if (value === undefined) throw new RangeError('the model has no such table or matrix');
  return value;
}

function tableLeafCount(shape: ExactShape, table: TableName): number {
  switch (table) {
    case 'exponential':
      return EXPONENTIAL_ENTRIES / EXPONENTIALS_IN_LEAF;
    case 'sigmoid':
      return SIGMOID_ENTRIES / SIGMOIDS_IN_LEAF;
    case 'rotary':
      return shape.context;
  }
}

/** Leaf of the shape and the profile's constants. */
export function headerLeaf(shape: ExactShape, list: OperationList = operationList(shape)): Uint8Array {
  const { layers, embedding, feedForward, heads, kvHeads, headSize, vocabulary, context, epsilon } = shape;
  const flags = (shape.biases ? 1 : 0) + (shape.headNorms ? 2 : 0) + (shape.separateOutput ? 4 : 0);
  const writer = new LeafWriter(1 + 8 + 13 * 4 + 1 + 3 * 4).u8(LEAF_KIND.header).bytes(utf8(EXACT_VERSION));
  for (const count of [layers, embedding, feedForward, heads, kvHeads, headSize, vocabulary, context])
    writer.u32(count);
  writer.u32(floatBits(epsilon)).u32(ACTIVATION_MAX).u32(ATTENTION_MAX).u32(keyMax(shape)).u32(VALUE_MAX).u8(flags);
  return writer.u32(list.operations.length).u32(list.matrices.length).u32(list.vectors.length).done();
}

/** Leaf of one operation. */
export function operationLeaf(list: OperationList, index: number): Uint8Array {
  const operation = list.operations[index];
  if (operation === undefined) throw new RangeError(`no operation ${index} of ${list.operations.length}`);
  const writer = new LeafWriter(34).u8(LEAF_KIND.operation).u32(index).u8(OPERATION_KINDS[operation.kind]);
  for (let input = 0; input < 3; input++) writer.u32(operation.inputs[input] ?? NONE);
  writer
    .u32(operation.length)
    .u32(operation.matrix ?? NONE)
    .u32(operation.vector ?? NONE);
  return writer.u32(operation.constant).done();
}

/** Leaf of a piece of a table: 1,024 exponentials, 512 sigmoids, or the cosines and sines of one position. */
export function tableLeaf(tables: ExactTables, table: TableName, row: number, headSize: number): Uint8Array {
  const start = (bytes: number) => new LeafWriter(6 + bytes).u8(LEAF_KIND.table).u8(TABLE_IDS[table]).u32(row);
  switch (table) {
    case 'exponential': {
      const entries = tables.exponential.subarray(row * EXPONENTIALS_IN_LEAF, (row + 1) * EXPONENTIALS_IN_LEAF);
      const writer = start(2 * entries.length);
      for (const entry of entries) writer.u16(entry);
      return writer.done();
    }
    case 'sigmoid': {
      const entries = tables.sigmoid.subarray(row * SIGMOIDS_IN_LEAF, (row + 1) * SIGMOIDS_IN_LEAF);
      return start(4 * entries.length)
        .floats(entries)
        .done();
    }
    case 'rotary': {
      const half = headSize / 2;
      const cos = tables.cos.subarray(row * half, (row + 1) * half);
      const sin = tables.sin.subarray(row * half, (row + 1) * half);
      return start(8 * half)
        .floats(cos)
        .floats(sin)
        .done();
    }
  }
}

/**
 * Leaf of row `row` of a matrix.
 *
 * @param matrix - its id
 * @param at - index of the row in `rows`, which may hold only a part of the matrix
 */
export function weightRowLeaf(matrix: number, row: number, rows: QuantisedRows, at: number): Uint8Array {
  const { columns, stride, weights, scales, groupScales } = rows;
  const groups = groupScales === null ? 0 : Math.ceil(columns / GROUP_SIZE);
  const writer = new LeafWriter(17 + groups + columns).u8(LEAF_KIND.weightRow).u32(matrix).u32(row);
  writer.u32(floatBits(scales[at] as number)).u32(groups);
  if (groupScales !== null) writer.bytes(groupScales.subarray(at * groups, (at + 1) * groups));
  return writer.bytes(new Uint8Array(weights.buffer, weights.byteOffset + at * stride, columns)).done();
}

/** Leaf of a gain or bias. */
export function vectorLeaf(id: number, vector: Float32Array): Uint8Array {
  return new LeafWriter(9 + 4 * vector.length).u8(LEAF_KIND.vector).u32(id).u32(vector.length).floats(vector).done();
}

/** Leaf of the bounds of an operation. */
export function rangeLeaf(index: number, { integers, values }: OperationRange): Uint8Array {
  return new LeafWriter(21).u8(LEAF_KIND.range).u32(index).u64(integers).f64(values).done();
}

/** A byte string of known length, written big-endian from its start. */
class LeafWriter {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  #end = 0;

  constructor(length: number) {
    this.#bytes = new Uint8Array(length);
    this.#view = new DataView(this.#bytes.buffer);
  }

  u8(value: number): this {
    this.#view.setUint8(this.#end, value);
    this.#end += 1;
    return this;
  }

  u16(value: number): this {
    this.#view.setUint16(this.#end, value);
    this.#end += 2;
    return this;
  }

  u32(value: number): this {
    this.#view.setUint32(this.#end, value);
    this.#end += 4;
    return this;
  }

  u64(value: bigint): this {
    this.#view.setBigUint64(this.#end, value);
    this.#end += 8;
    return this;
  }

  f64(value: number): this {
    this.#view.setFloat64(this.#end, value);
    this.#end += 8;
    return this;
  }

  floats(values: Float32Array): this {
    for (const value of values) {
      this.#view.setFloat32(this.#end, value);
      this.#end += 4;
    }
    return this;
  }

  bytes(values: Uint8Array): this {
    this.#bytes.set(values, this.#end);
    this.#end += values.length;
    return this;
  }

  done(): Uint8Array {
    if (this.#end !== this.#bytes.length) throw new RangeError(`leaf of ${this.#bytes.length} bytes, got ${this.#end}`);
    return this.#bytes;
  }
}
