/**
 * The operation list of a model: what is computed, from what, in which order. Commitment, range proof, engines and dispute all
 * follow it.
 *
 * Spec: `inference/spec/exact.md#operation-list`.
 *
 * @module
 */

import type { LayerTensor, ModelTensor } from '../model-source.ts';
import { type ExactShape, keyMax, VALUE_MAX } from './exact-model.ts';

/** Kinds by their number in the commitment. */
export const OPERATION_KINDS = {
  embed: 1,
  norm: 2,
  product: 3,
  headNorm: 4,
  rotate: 5,
  keep: 6,
  attention: 7,
  quantise: 8,
  add: 9,
  gate: 10,
} as const;

export type OperationKind = keyof typeof OPERATION_KINDS;

/** One operation. */
export type Operation = {
  readonly index: number;
  readonly kind: OperationKind;
  /** Indices of the operations whose results it takes, at most three; `embed` takes the token. */
  readonly inputs: readonly number[];
  /** Numbers in its result. */
  readonly length: number;
  /** Id of its matrix, if it has one. */
  readonly matrix?: number;
  /** Id of its gain or bias, if it has one. */
  readonly vector?: number;
  /** 32 bits: a binary32 (epsilon, score constant) or the largest integer of `keep`; 0 where there is none. */
  readonly constant: number;
};

/** A matrix that some operation uses. */
export type MatrixPlace = {
  readonly id: number;
  readonly tensor: ModelTensor | LayerTensor;
  readonly layer: number | undefined;
  readonly rows: number;
  readonly columns: number;
  readonly grouped: boolean;
};

/** A gain or bias that some operation uses. */
export type VectorPlace = {
  readonly id: number;
  readonly tensor: ModelTensor | LayerTensor;
  readonly layer: number | undefined;
  readonly length: number;
};

/** All operations of a model and what they use. */
export type OperationList = {
  readonly operations: readonly Operation[];
  readonly matrices: readonly MatrixPlace[];
  readonly vectors: readonly VectorPlace[];
};

/** Binary32 nearest to `2048 / sqrt(headSize)`: what turns a dot product into steps of the exponential table. */
export function scoreConstant(headSize: number): number {
  return Math.fround(2048 / Math.sqrt(headSize));
}

/** The list of a model of this shape. */
export function operationList(shape: ExactShape): OperationList {
  const { layers, embedding, feedForward, vocabulary, biases, headNorms, separateOutput } = shape;
  const query = shape.heads * shape.headSize;
  const keyValue = shape.kvHeads * shape.headSize;
  const epsilon = floatBits(shape.epsilon);
  const operations: Operation[] = [];
  const matrices: MatrixPlace[] = [];
  const vectors: VectorPlace[] = [];

  const add = (kind: OperationKind, inputs: readonly number[], length: number, rest: Partial<Operation> = {}) => {
    operations.push({ index: operations.length, kind, inputs, length, constant: 0, ...rest });
    return operations.length - 1;
  };
  const matrix = (tensor: MatrixPlace['tensor'], layer: number | undefined, rows: number, columns: number) => {
    const grouped = tensor === 'output' || (tensor === 'embedding' && !separateOutput);
    matrices.push({ id: matrices.length, tensor, layer, rows, columns, grouped });
    return matrices.length - 1;
  };
  const vector = (tensor: VectorPlace['tensor'], layer: number | undefined, length: number) => {
    vectors.push({ id: vectors.length, tensor, layer, length });
    return vectors.length - 1;
  };

  const table = matrix('embedding', undefined, vocabulary, embedding);
  let residual = add('embed', [], embedding, { matrix: table });
  for (let layer = 0; layer < layers; layer++) {
    const norm = (tensor: LayerTensor) =>
      add('norm', [residual], embedding, { vector: vector(tensor, layer, embedding), constant: epsilon });
    const product = (tensor: LayerTensor, input: number, rows: number, columns: number, bias?: LayerTensor) => {
      const weights = matrix(tensor, layer, rows, columns);
      const offset = bias === undefined ? {} : { vector: vector(bias, layer, rows) };
      return add('product', [input], rows, { matrix: weights, ...offset });
    };
    const headNorm = (tensor: LayerTensor, input: number, length: number) =>
      headNorms
        ? add('headNorm', [input], length, { vector: vector(tensor, layer, shape.headSize), constant: epsilon })
        : input;

    const normed = norm('attentionNorm');
    const queries = product('query', normed, query, embedding, biases ? 'queryBias' : undefined);
    const keys = product('key', normed, keyValue, embedding, biases ? 'keyBias' : undefined);
    const values = product('value', normed, keyValue, embedding, biases ? 'valueBias' : undefined);
    const normedQueries = headNorm('queryNorm', queries, query);
    const normedKeys = headNorm('keyNorm', keys, keyValue);
    const rotatedQueries = add('rotate', [normedQueries], query);
    const rotatedKeys = add('rotate', [normedKeys], keyValue);
    const keptKeys = add('keep', [rotatedKeys], keyValue, { constant: keyMax(shape) });
    const keptValues = add('keep', [values], keyValue, { constant: VALUE_MAX });
    const attended = add('attention', [rotatedQueries, keptKeys, keptValues], query, {
      constant: floatBits(scoreConstant(shape.headSize)),
    });
    const attendedRow = add('quantise', [attended], query);
    residual = add('add', [residual, product('attentionOutput', attendedRow, embedding, query)], embedding);

    const normedAgain = norm('feedForwardNorm');
    const gates = product('gate', normedAgain, feedForward, embedding);
    const ups = product('up', normedAgain, feedForward, embedding);
    const gated = add('quantise', [add('gate', [gates, ups], feedForward)], feedForward);
    residual = add('add', [residual, product('down', gated, embedding, feedForward)], embedding);
  }
  const last = add('norm', [residual], embedding, {
    vector: vector('outputNorm', undefined, embedding),
    constant: epsilon,
  });
  const output = separateOutput ? matrix('output', undefined, vocabulary, embedding) : table;
  add('product', [last], vocabulary, { matrix: output });
  return { operations, matrices, vectors };
}

/** The 32 bits of a binary32, as an unsigned integer. */
export function floatBits(value: number): number {
  const view = new DataView(new ArrayBuffer(4));
  view.setFloat32(0, value);
  return view.getUint32(0);
}
