/**
 * A model in the exact form: shape, matrices of int8 rows with scales, vectors and tables.
 *
 * Spec: `inference/spec/exact.md#shape`.
 *
 * @module
 */

/** Identifier of the profile's arithmetic, in every commitment. */
export const EXACT_VERSION = 'exact/v1';

/** Activations are integers in `-ACTIVATION_MAX..ACTIVATION_MAX`: 14 bits, so that 2,080 products with int8 fit int32. */
export const ACTIVATION_MAX = 8127;

/** Attention weights are integers in `0..ATTENTION_MAX`. */
export const ATTENTION_MAX = 16_383;

/** Values of the cache are integers in `-VALUE_MAX..VALUE_MAX`: 256 products with attention weights fit int32. */
export const VALUE_MAX = 511;

/** Columns that share one integer group scale. */
export const GROUP_SIZE = 32;

/** Most positions of a sequence. */
export const MAX_CONTEXT = 131_072;

/** Shape of a model in the exact form; all counts positive. */
export type ExactShape = {
  readonly layers: number;
  readonly embedding: number;
  readonly feedForward: number;
  readonly heads: number;
  readonly kvHeads: number;
  /** Even, at most 256. */
  readonly headSize: number;
  readonly vocabulary: number;
  /** Most positions of one sequence, at most {@link MAX_CONTEXT}. */
  readonly context: number;
  /** A binary32. */
  readonly epsilon: number;
  readonly biases: boolean;
  readonly headNorms: boolean;
  /** Whether the logits have a matrix of their own; else it is the embedding. */
  readonly separateOutput: boolean;
};

/** Largest integer of a key: a dot product of two heads fits int32. */
export function keyMax(shape: Pick<ExactShape, 'headSize'>): number {
  return shape.headSize <= 128 ? 2047 : 1023;
}

/** A matrix of int8 rows. */
export type ExactMatrix = {
  readonly rows: number;
  readonly columns: number;
  /** Bytes from one row to the next: `columns` rounded up to a multiple of 32; what lies between is zero. */
  readonly stride: number;
  /** `[rows, stride]`. */
  readonly weights: Int8Array;
  /** `[rows]`, above zero. */
  readonly scales: Float32Array;
  /** `[rows, ceil(columns / 32)]`, each in 1..255; null where the matrix is not grouped. */
  readonly groupScales: Uint8Array | null;
};

/** Tables of the profile. */
export type ExactTables = {
  /** `[32768]`. */
  readonly exponential: Uint16Array;
  /** `[65536]`. */
  readonly sigmoid: Float32Array;
  /** `[context, headSize / 2]`. */
  readonly cos: Float32Array;
  /** `[context, headSize / 2]`. */
  readonly sin: Float32Array;
};

/** A whole model; matrices and vectors by the ids of the operation list. */
export type ExactModel = {
  readonly shape: ExactShape;
  readonly matrices: readonly ExactMatrix[];
  readonly vectors: readonly Float32Array[];
  readonly tables: ExactTables;
};
