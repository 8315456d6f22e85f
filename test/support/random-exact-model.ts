/**
 * Models of noise that are in the exact form from the start, for tests of engines: every kind of shape, and one whose
 * numbers lie at the ends of their ranges.
 *
 * @module
 */

import {
  type ExactMatrix,
  type ExactModel,
  type ExactShape,
  type ExactTables,
  GROUP_SIZE,
} from '../../inference/exact/exact-model.ts';
import { type MatrixPlace, operationList, type VectorPlace } from '../../inference/exact/operations.ts';
import { type Random, seededRandom } from './random.ts';

/** What is wanted; everything has a default, together a model of about 40,000 weights. */
export type RandomExactOptions = Partial<ExactShape> & {
  readonly seed?: number;
  /** Weights of +-127, rows of zeros, subnormal and large scales, gains of both zeros: everything that may round badly. */
  readonly extreme?: boolean;
};

/** Shapes that differ in what an engine has to do; each is small. */
export const EXACT_FAMILIES: readonly { readonly name: string; readonly options: RandomExactOptions }[] = [
  { name: 'plain', options: {} },
  { name: 'separate output', options: { separateOutput: true } },
  { name: 'biases', options: { biases: true } },
  { name: 'head norms', options: { headNorms: true, separateOutput: true } },
  { name: 'biases and head norms', options: { biases: true, headNorms: true } },
  { name: 'a key head for each query head', options: { heads: 4, kvHeads: 4 } },
  { name: 'one key head', options: { heads: 6, kvHeads: 1, headSize: 16 } },
  {
    name: 'one head of 2',
    options: { heads: 1, kvHeads: 1, headSize: 2, embedding: 5, feedForward: 3, vocabulary: 7 },
  },
  { name: 'heads of 64', options: { heads: 3, kvHeads: 1, headSize: 64, embedding: 96, feedForward: 160 } },
  { name: 'heads of 128', options: { heads: 2, kvHeads: 1, headSize: 128, embedding: 64 } },
  { name: 'heads of 256', options: { heads: 2, kvHeads: 2, headSize: 256, embedding: 33, layers: 1 } },
  { name: 'heads of 20', options: { heads: 3, kvHeads: 3, headSize: 20, embedding: 57, feedForward: 101 } },
  { name: '2,080 columns', options: { embedding: 36, feedForward: 2080, layers: 1 } },
  { name: '4,100 columns', options: { embedding: 36, feedForward: 4100, layers: 1 } },
  { name: 'extreme', options: { extreme: true } },
  { name: 'extreme with everything', options: { extreme: true, biases: true, headNorms: true, separateOutput: true } },
  {
    name: 'extreme in 2,100 columns',
    options: { extreme: true, embedding: 2100, feedForward: 2112, layers: 1, vocabulary: 21 },
  },
];

/** Makes the model; equal options give equal numbers. */
export function randomExactModel(options: RandomExactOptions = {}): ExactModel {
  const { seed = 1, extreme = false, ...overrides } = options;
  const shape: ExactShape = {
    layers: 2,
    embedding: 44,
    feedForward: 104,
    heads: 4,
    kvHeads: 2,
    headSize: 8,
    vocabulary: 67,
    context: 96,
    epsilon: Math.fround(1e-5),
    biases: false,
    headNorms: false,
    separateOutput: false,
    ...overrides,
  };
  const random = seededRandom(seed);
  const { matrices, vectors } = operationList(shape);
  return {
    shape,
    matrices: matrices.map((place) => (extreme ? extremeMatrix(random, place) : plainMatrix(random, place))),
    vectors: vectors.map((place) => (extreme ? extremeVector(random, place) : plainVector(random, place))),
    tables: tablesOf(shape),
  };
}

/** Tokens in the vocabulary. */
export function randomTokens(random: Random, vocabulary: number, count: number): number[] {
  return Array.from({ length: count }, () => random.below(vocabulary));
}

/** Every row has a length of about 1. */
function plainMatrix(random: Random, place: MatrixPlace): ExactMatrix {
  const matrix = emptyMatrix(place);
  const unit = (place.grouped ? 148 : 1) * 73 * Math.sqrt(place.columns);
  for (let row = 0; row < matrix.rows; row++) {
    for (let k = 0; k < matrix.columns; k++) matrix.weights[row * matrix.stride + k] = random.below(255) - 127;
    matrix.scales[row] = (0.5 + random.below(1 << 20) / 2 ** 20) / unit;
  }
  matrix.groupScales?.forEach((_, i, all) => {
    all[i] = 1 + random.below(255);
  });
  return matrix;
}

function extremeMatrix(random: Random, place: MatrixPlace): ExactMatrix {
  const matrix = emptyMatrix(place);
  const unit = (place.grouped ? 255 : 1) * 127 * Math.sqrt(place.columns);
  const groups = Math.ceil(place.columns / GROUP_SIZE);
  for (let row = 0; row < matrix.rows; row++) {
    const weights = matrix.weights.subarray(row * matrix.stride, row * matrix.stride + matrix.columns);
    const kind = random.below(6);
    for (let k = 0; k < weights.length; k++) {
      if (kind === 0) weights[k] = 127;
      else if (kind === 1) weights[k] = -127;
      else if (kind === 2) weights[k] = k === row % weights.length ? random.pick([127, -127]) : 0;
      else if (kind === 3) weights[k] = 0;
      else weights[k] = random.pick([127, -127]);
    }
    matrix.scales[row] =
      kind === 3 ? 1 : random.pick([1, 1, 1, 16, 2 ** -110, 2 ** -145 * unit, 2 ** -149 * unit]) / unit;
    const scale = random.pick([1, 255, undefined]);
    for (let group = 0; group < groups && matrix.groupScales; group++) {
      matrix.groupScales[row * groups + group] = scale ?? 1 + random.below(255);
    }
  }
  return matrix;
}

function emptyMatrix({ rows, columns, grouped }: MatrixPlace): ExactMatrix {
  const stride = Math.ceil(columns / 32) * 32;
  return {
    rows,
    columns,
    stride,
    weights: new Int8Array(rows * stride),
    scales: new Float32Array(rows),
    groupScales: grouped ? new Uint8Array(rows * Math.ceil(columns / GROUP_SIZE)) : null,
  };
}

/** Gains in [1/2, 3/2), biases in [-1/2, 1/2). */
function plainVector(random: Random, { tensor, length }: VectorPlace): Float32Array {
  const from = tensor.endsWith('Norm') ? 0.5 : -0.5;
  return Float32Array.from({ length }, () => from + random.below(1 << 20) / 2 ** 20);
}

function extremeVector(random: Random, { length }: VectorPlace): Float32Array {
  return Float32Array.from({ length }, () =>
    random.pick([1, -1, 1, -1, 0.3, 0, -0, 1000, -1000, 2 ** -126, 2 ** -149, -(2 ** -149)]),
  );
}

/**
 * Tables near those of the specification, by the library's functions: engines must agree on any tables, and these are made
 * at once.
 */
function tablesOf({ headSize, context }: ExactShape): ExactTables {
  const half = headSize / 2;
  const angle = (_: unknown, at: number) => Math.floor(at / half) * 10_000 ** ((-2 * (at % half)) / headSize);
  return {
    ...FIXED_TABLES,
    cos: Float32Array.from({ length: context * half }, (_, at) => Math.cos(angle(_, at))),
    sin: Float32Array.from({ length: context * half }, (_, at) => Math.sin(angle(_, at))),
  };
}

const FIXED_TABLES = {
  exponential: Uint16Array.from({ length: 32_768 }, (_, i) => Math.round(65_535 * Math.exp(-i / 2048))),
  sigmoid: Float32Array.from({ length: 65_536 }, (_, i) => 1 / (1 + Math.exp((32_768 - i) / 2048))),
};
