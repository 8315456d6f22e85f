/**
 * From a model's weights in binary32 to the exact form, a chunk of rows at a time.
 *
 * Spec: `inference/spec/exact.md#conversion`. Leaves of the commitment are hashed as the rows are made, so that nothing is read
 * twice; of the weights only the chunk at hand is in memory.
 *
 * @module
 */

import { type Hex, toHex } from '../../attest/core/bytes.ts';
import { MerkleAccumulator } from '../../attest/merkle/tree.ts';
import type { ModelSource, TensorPlace } from '../model-source.ts';
import { hashLeaf, leadingLeaves, tokenizerDigest, trailingLeaves, weightRowLeaf } from './commitment.ts';
import type { ExactShape, ExactTables } from './exact-model.ts';
import { exactShape } from './exact-shape.ts';
import { extend, largestOf, NO_EXTENT } from './extents.ts';
import { type FileLayout, fileLayout, type MatrixParts, type Part } from './file-layout.ts';
import { type MatrixPlace, operationList, type VectorPlace } from './operations.ts';
import { allFinite, notFinite, type QuantisedRows, quantiseRow } from './quantise-weights.ts';
import { computeRanges, type OperationRange } from './ranges.ts';
import { exponentialTable, rotaryTables, sigmoidTable } from './tables.ts';

/** Takes bytes at offsets of the file that {@link FileLayout} describes, in any order; what it never gets is zero. */
export type ByteSink = (offset: number, bytes: Uint8Array) => void;

/** What a conversion finds out beside the bytes. */
export type Converted = {
  readonly shape: ExactShape;
  readonly layout: FileLayout;
  /** Digest of the tokenizer's description. */
  readonly tokenizer: Hex;
  readonly ranges: readonly OperationRange[];
  readonly commitment: Hex;
};

/** Weights converted at a time; bounds the memory of a conversion. */
const CHUNK_VALUES = 1 << 20;

/** Tensors whose rows are elements of rotated heads. */
const ROTATED = new Set<string>(['query', 'key', 'queryBias', 'keyBias', 'queryNorm', 'keyNorm']);

/**
 * Converts a model.
 *
 * @param source - its weights are untrusted
 * @throws {@link ModelError} as `exactShape`; `WEIGHT_NOT_FINITE`, with tensor, layer and row of the file; `RANGE_EXCEEDED`;
 *   what `source.readRows` throws
 */
export function convertModel(
  source: ModelSource,
  sink: ByteSink,
  onProgress: (message: string) => void = () => {},
): Converted {
  const shape = exactShape(source.config);
  const layout = fileLayout(shape);
  const { matrices, vectors } = operationList(shape);
  const tokenizer = tokenizerDigest(source.tokenizer);
  const tree = new MerkleAccumulator();

  onProgress('making the tables of the exact profile');
  const tables = makeTables(source, shape);
  for (const table of ['exponential', 'sigmoid', 'cos', 'sin'] as const) {
    sink(layout.tables[table].offset, bytesOf(tables[table]));
  }
  for (const leaf of leadingLeaves(shape, tokenizer, tables)) tree.append(hashLeaf(leaf));

  const permute = source.config.rotaryLayout === 'interleaved' ? toHalves(shape.headSize) : (row: number) => row;
  const advance = progressOf(matrices, onProgress);
  const extents = matrices.map((place, id) => {
    let extent = NO_EXTENT;
    const own = ROTATED.has(place.tensor) ? permute : (row: number) => row;
    for (const { rows, first, count } of quantisedChunks(
      source,
      place,
      partAt(layout.matrices, id),
      own,
      shape.headSize,
      sink,
    )) {
      for (let i = 0; i < count; i++) tree.append(hashLeaf(weightRowLeaf(id, first + i, rows, i)));
      extent = extend(extent, rows, count);
      advance(count * place.columns);
    }
    return extent;
  });
  const gains = vectors.map((place, id) => {
    const vector = readVector(source, place, ROTATED.has(place.tensor) ? permute : (row) => row);
    sink(partAt(layout.vectors, id).offset, bytesOf(vector));
    return vector;
  });
  const ranges = computeRanges(shape, { matrices: extents, vectors: gains.map(largestOf) });
  for (const leaf of trailingLeaves(gains, ranges)) tree.append(hashLeaf(leaf));
  return { shape, layout, tokenizer, ranges, commitment: toHex(tree.root()) };
}

/** Element `2i` of a head goes to `i`, element `2i + 1` to `i + d/2`. */
export function toHalves(headSize: number): (row: number) => number {
  return (row) => {
    const inHead = row % headSize;
    return row - inHead + (inHead >> 1) + (inHead % 2) * (headSize / 2);
  };
}

/** Rows of a chunk: row `first + i` of the matrix is row `i` of `rows`; they are overwritten by the next chunk. */
type Chunk = { readonly rows: QuantisedRows; readonly first: number; readonly count: number };

function* quantisedChunks(
  source: ModelSource,
  place: MatrixPlace,
  parts: MatrixParts,
  permute: (row: number) => number,
  headSize: number,
  sink: ByteSink,
): Generator<Chunk> {
  const { columns, stride } = parts;
  // whole heads, so that a permuted row stays in its chunk
  const step = ROTATED.has(place.tensor) ? headSize : 1;
  const most = Math.min(parts.rows, Math.max(1, Math.floor(CHUNK_VALUES / columns / step)) * step);
  const values = new Float32Array(most * columns);
  const groupBytes = parts.groupScales === null ? 0 : parts.groupScales.bytes / parts.rows;
  const rows = {
    columns,
    stride,
    weights: new Int8Array(most * stride),
    scales: new Float32Array(most),
    groupScales: parts.groupScales === null ? null : new Uint8Array(most * groupBytes),
  };
  for (let first = 0; first < parts.rows; first += most) {
    const count = Math.min(most, parts.rows - first);
    source.readRows(tensorPlace(place), first, count, values);
    for (let i = 0; i < count; i++) {
      if (!quantiseRow(values, i * columns, rows, permute(i))) throw notFinite(place.tensor, place.layer, first + i);
    }
    sink(parts.scales.offset + 4 * first, bytesOf(rows.scales.subarray(0, count)));
    if (parts.groupScales !== null && rows.groupScales !== null) {
      sink(parts.groupScales.offset + groupBytes * first, rows.groupScales.subarray(0, groupBytes * count));
    }
    sink(parts.weights.offset + stride * first, bytesOf(rows.weights.subarray(0, stride * count)));
    yield { rows, first, count };
  }
}

function readVector(source: ModelSource, place: VectorPlace, permute: (row: number) => number): Float32Array {
  const values = new Float32Array(place.length);
  source.readRows(tensorPlace(place), 0, 1, values);
  if (!allFinite(values)) throw notFinite(place.tensor, place.layer, 0);
  const vector = new Float32Array(place.length);
  for (const [k, value] of values.entries()) vector[permute(k)] = value;
  return vector;
}

function makeTables({ config }: ModelSource, { headSize, context }: ExactShape): ExactTables {
  const { rotaryBase, rotaryScaling } = config;
  return {
    exponential: exponentialTable(),
    sigmoid: sigmoidTable(),
    ...rotaryTables({ headSize, rotaryBase, rotaryScaling }, context),
  };
}

function tensorPlace({ tensor, layer }: MatrixPlace | VectorPlace): TensorPlace {
  return (layer === undefined ? { tensor } : { tensor, layer }) as TensorPlace;
}

/** Reports every tenth of the weights. */
function progressOf(
  matrices: readonly MatrixPlace[],
  onProgress: (message: string) => void,
): (weights: number) => void {
  const all = matrices.reduce((sum, { rows, columns }) => sum + rows * columns, 0);
  let done = 0;
  return (weights) => {
    const before = Math.floor((10 * done) / all);
    done += weights;
    const now = Math.floor((10 * done) / all);
    if (now > before)
      onProgress(`converting ${(all / 1e6).toFixed(1)} million weights to the exact form: ${10 * now} %`);
  };
}

function partAt<T extends Part | MatrixParts>(parts: readonly T[], id: number): T {
  const part = parts[id];
  if (part === undefined) throw new TypeError(`the layout has no part ${id}`);
  return part;
}

function bytesOf(values: ArrayBufferView): Uint8Array {
  return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
}
