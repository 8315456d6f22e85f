/**
 * Where the parts of a model in the exact form lie in its cached file. An engine reads the whole file into one block of
 * memory and finds every part at its offset.
 *
 * Parts, each from a multiple of 64 bytes on, little-endian: for each matrix its scales, its group scales (where grouped) and
 * its weights; then each vector; then the tables `exponential`, `sigmoid`, `cos`, `sin`.
 *
 * @module
 */

import { type ExactShape, GROUP_SIZE } from './exact-model.ts';
import { operationList } from './operations.ts';

/** Bytes `[offset, offset + bytes)` of the file. */
export type Part = { readonly offset: number; readonly bytes: number };

export type MatrixParts = {
  readonly rows: number;
  readonly columns: number;
  /** Bytes from one row of weights to the next. */
  readonly stride: number;
  readonly scales: Part;
  readonly groupScales: Part | null;
  readonly weights: Part;
};

/** Places of everything in the file of a model. */
export type FileLayout = {
  /** By matrix id. */
  readonly matrices: readonly MatrixParts[];
  /** By vector id. */
  readonly vectors: readonly Part[];
  readonly tables: { readonly exponential: Part; readonly sigmoid: Part; readonly cos: Part; readonly sin: Part };
  /** Length of the file. */
  readonly bytes: number;
};

/** Columns are padded with zero weights to a multiple of this. */
const STRIDE_STEP = 32;

const ALIGNMENT = 64;

/** The layout follows from the shape alone. */
export function fileLayout(shape: ExactShape): FileLayout {
  const { matrices, vectors } = operationList(shape);
  let end = 0;
  const part = (bytes: number): Part => {
    const offset = Math.ceil(end / ALIGNMENT) * ALIGNMENT;
    end = offset + bytes;
    return { offset, bytes };
  };
  const rotary = shape.context * (shape.headSize / 2) * 4;
  const layout = {
    matrices: matrices.map(({ rows, columns, grouped }) => {
      const stride = Math.ceil(columns / STRIDE_STEP) * STRIDE_STEP;
      const scales = part(rows * 4);
      const groupScales = grouped ? part(rows * Math.ceil(columns / GROUP_SIZE)) : null;
      return { rows, columns, stride, scales, groupScales, weights: part(rows * stride) };
    }),
    vectors: vectors.map(({ length }) => part(length * 4)),
    tables: { exponential: part(2 * 32_768), sigmoid: part(4 * 65_536), cos: part(rotary), sin: part(rotary) },
  };
  return { ...layout, bytes: Math.ceil(end / ALIGNMENT) * ALIGNMENT };
}
