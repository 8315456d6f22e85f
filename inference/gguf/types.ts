/**
 * The tensor types of GGUF that this project reads: number in the file, elements per block, bytes per block.
 *
 * Source: `ggml.h` (`enum ggml_type`) and `ggml-common.h` (block layouts) of ggml.
 *
 * @module
 */

/** Name of a readable tensor type. */
export type TensorType =
  | 'F32'
  | 'F16'
  | 'BF16'
  | 'Q4_0'
  | 'Q4_1'
  | 'Q5_0'
  | 'Q5_1'
  | 'Q8_0'
  | 'Q2_K'
  | 'Q3_K'
  | 'Q4_K'
  | 'Q5_K'
  | 'Q6_K';

/** Layout of one type: `elements` values in `bytes` bytes. */
export type BlockLayout = { readonly type: TensorType; readonly elements: number; readonly bytes: number };

/** Readable types by their number in the file. */
export const TENSOR_TYPES: ReadonlyMap<number, BlockLayout> = new Map<number, BlockLayout>([
  [0, { type: 'F32', elements: 1, bytes: 4 }],
  [1, { type: 'F16', elements: 1, bytes: 2 }],
  [2, { type: 'Q4_0', elements: 32, bytes: 18 }],
  [3, { type: 'Q4_1', elements: 32, bytes: 20 }],
  [6, { type: 'Q5_0', elements: 32, bytes: 22 }],
  [7, { type: 'Q5_1', elements: 32, bytes: 24 }],
  [8, { type: 'Q8_0', elements: 32, bytes: 34 }],
  [10, { type: 'Q2_K', elements: 256, bytes: 84 }],
  [11, { type: 'Q3_K', elements: 256, bytes: 110 }],
  [12, { type: 'Q4_K', elements: 256, bytes: 144 }],
  [13, { type: 'Q5_K', elements: 256, bytes: 176 }],
  [14, { type: 'Q6_K', elements: 256, bytes: 210 }],
  [30, { type: 'BF16', elements: 1, bytes: 2 }],
]);

/** A metadata value. 64-bit integers are `bigint`, all other numbers `number`. */
export type GgufValue = string | boolean | number | bigint | readonly GgufValue[];

/** One tensor of the file, its place checked against the file's size. */
export type TensorInfo = {
  readonly name: string;
  readonly layout: BlockLayout;
  /** Extents, fastest first (the reverse of NumPy's order): a matrix `[out, in]` has `[in, out]` here. */
  readonly shape: readonly number[];
  /** Number of values. */
  readonly elements: number;
  /** First byte, from the start of the file. */
  readonly offset: number;
  readonly sizeBytes: number;
};

/** A parsed file: everything but the weights. */
export type Gguf = {
  readonly version: number;
  readonly metadata: ReadonlyMap<string, GgufValue>;
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  /** First byte of the weights, from the start of the file. */
  readonly dataOffset: number;
};
