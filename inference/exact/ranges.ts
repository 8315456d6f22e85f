/**
 * Proof that no integer and no binary32 of a model leaves its range, whatever the input: interval analysis over the
 * operation list, from the magnitudes of the weights alone.
 *
 * Spec: `inference/spec/exact.md#ranges`. A bound of *integers* holds for every integer that an operation keeps: quantised
 * elements, sums, table indices after they were cut. A bound of *values* holds for the elements of its result; what it
 * computes on the way has bounds too, which must not overflow either.
 *
 * **Rounding.** Bounds are computed in binary64 with `+ - * /` and `sqrt`, hence equal everywhere. No value below passes
 * through more than 15 binary32 roundings on the way from the values that its formula takes, each at most `1 + 2^-24`, or
 * `2^-150` where the result is subnormal; {@link widened} covers both, and our own roundings of 2^-53. Where a formula here
 * multiplies a number that may be subnormal, the comment says why its absolute error is not carried on.
 *
 * @module
 */

import { ModelError } from '../errors.ts';
import { ACTIVATION_MAX, ATTENTION_MAX, type ExactShape, keyMax, VALUE_MAX } from './exact-model.ts';
import type { MatrixExtent, ModelExtents } from './extents.ts';
import { type Operation, type OperationList, operationList, scoreConstant } from './operations.ts';

/** Bounds of one operation, by its index in the list; what the commitment holds. */
export type OperationRange = {
  /** No integer of the operation is larger in magnitude; exact. */
  readonly integers: bigint;
  /** No element of its result is larger in magnitude; of a quantised vector: the largest integer times the scale. */
  readonly values: number;
};

/** The same with what happens on the way. */
export type OperationBound = OperationRange & {
  /** No binary32 that the operation computes is larger in magnitude, its result included. */
  readonly between: number;
};

/** Largest bound of integers: sums in binary64 are exact. */
export const MAX_INTEGERS = 2n ** 53n;

/** Largest bound of any binary32, which overflows at 2^128. */
export const MAX_VALUES = 2 ** 120;

/** Largest int32, which engines rely on in one dot product of two heads. */
const MAX_INT32 = 2 ** 31 - 1;

/** `quantise` divides by no less, so that `r = fl(M / m)` is at most `M * 2^40`. */
const SMALLEST_DIVISOR = 2 ** -40;

/**
 * Bounds of every operation, for all tokens and all positions below the context.
 *
 * @throws {@link ModelError} `RANGE_EXCEEDED`, naming the operation, if integers may exceed 2^53, any binary32 2^120, or a dot
 *   product of two heads int32
 */
export function computeRanges(shape: ExactShape, extents: ModelExtents): OperationRange[] {
  return computeBounds(shape, extents).map(({ integers, values }) => ({ integers, values }));
}

/** {@link computeRanges} with the bounds of what is computed on the way. */
export function computeBounds(shape: ExactShape, extents: ModelExtents): OperationBound[] {
  const list = operationList(shape);
  const dot = shape.headSize * ACTIVATION_MAX * keyMax(shape);
  if (dot > MAX_INT32) {
    const at = { field: 'headSize' };
    throw new ModelError('RANGE_EXCEEDED', `dot products of heads may reach ${dot}, beyond int32`, { at });
  }
  const results: number[] = [];
  return list.operations.map((operation) => {
    const steps = boundOperation(operation, shape, extents, (input) => numberAt(results, operation.inputs[input]));
    const values = widened(steps.result);
    const bound = { integers: steps.integers, values, between: Math.max(values, widened(steps.between)) };
    check(operation, bound, list);
    results.push(values);
    return bound;
  });
}

/** Before it is widened: `between` bounds what is computed on the way, `result` the elements of the result. */
type Steps = { readonly integers: bigint; readonly between: number; readonly result: number };

function boundOperation(
  operation: Operation,
  shape: ExactShape,
  extents: ModelExtents,
  input: (index: number) => number,
): Steps {
  const gain = operation.vector === undefined ? 0 : numberAt(extents.vectors, operation.vector);
  switch (operation.kind) {
    case 'embed': {
      const { integer, value } = matrixAt(extents, operation);
      return { integers: BigInt(integer), between: integer, result: value };
    }
    case 'norm': {
      const { integers, between, result } = boundNorm(input(0), shape.embedding, gain, shape.epsilon);
      const row = boundQuantise(result, ACTIVATION_MAX);
      return { integers, between: Math.max(between, row.between), result: row.result };
    }
    case 'headNorm':
      return boundNorm(input(0), shape.headSize, gain, shape.epsilon);
    case 'product': {
      // |acc_r| <= A * sum c|q|; times scale_r: A * reach, exact where it is subnormal, as an integer times scale_r
      const { sum, reach } = matrixAt(extents, operation);
      const integers = BigInt(ACTIVATION_MAX) * BigInt(sum);
      const product = input(0) * reach;
      return {
        integers,
        between: Math.max(Number(integers), ACTIVATION_MAX * reach, product),
        result: product + gain,
      };
    }
    case 'rotate':
      // |a cos - b sin| <= sqrt(a^2 + b^2); each table entry is wrong by at most 2^-25
      return { integers: 0n, between: input(0), result: Math.SQRT2 * input(0) };
    case 'keep':
      return boundQuantise(input(0), operation.constant);
    case 'attention':
      return boundAttention(input(0), input(1), input(2), shape);
    case 'quantise':
      return boundQuantise(input(0), ACTIVATION_MAX);
    case 'add':
      return { integers: 0n, between: 0, result: input(0) + input(1) };
    case 'gate':
      // a sigmoid is at most 1, so |fl(g * sigmoid)| <= |g|; an index is at most 65,535
      return { integers: 65_535n, between: 2048 * input(0), result: input(0) * input(1) };
  }
}

/**
 * `m = max(max|y|, 2^-40)`, `r = fl(M / m)`, `s = fl(m / M)`. `|fl(y * r)| <= M (1 + 2^-24)^2`, and `M 2^-23 < 1/2`, so the
 * integer is at most M. `s` is at least about `2^-53`: never subnormal. `between` is `r`; the result is `M * s`.
 */
function boundQuantise(largest: number, max: number): Steps {
  return {
    integers: BigInt(max),
    between: Math.max(max, max / SMALLEST_DIVISOR),
    result: Math.max(largest, SMALLEST_DIVISOR),
  };
}

/**
 * With `m = max(max|x|, 2^-40)`, `s = m / A`, `u = (sum b^2 / n) s^2`:
 * - where `max|x| >= 2^-40`, the largest element has `|b| = A` exactly, as `A (1 - 2^-24)^2` rounds to A. So
 *   `sum b^2 >= A^2`, `u >= m^2 / n`, and `|x| v <= m / sqrt(u) <= sqrt(n)`;
 * - else `v <= 1 / sqrt(eps)` and `|x| < 2^-40`.
 *
 * In both, `v <= 1 / sqrt(eps)`, and `u <= A^2 s^2 = m^2`. `s * s >= 2^-106` is not subnormal. `x * v` may be, with an error
 * of `2^-150`, which is nothing beside `sqrt(n) >= 1` before both are multiplied with the gain.
 */
function boundNorm(largest: number, count: number, gain: number, epsilon: number): Steps {
  const m = Math.max(largest, SMALLEST_DIVISOR);
  const v = 1 / Math.sqrt(epsilon);
  const normed = Math.max(Math.sqrt(count), SMALLEST_DIVISOR * v);
  const squares = BigInt(count) * BigInt(ACTIVATION_MAX) ** 2n;
  return {
    integers: squares,
    between: Math.max(ACTIVATION_MAX / SMALLEST_DIVISOR, Number(squares), m, m * m + epsilon, v, normed),
    result: normed * gain,
  };
}

/**
 * The exponential of the largest score is `exp[0] = 65535`, so `z >= 65535` and `z B >= P`. From
 * `p_j <= e_j B (vs_j / vm) + 1/2` and `|v_jk| <= Mv`: `|sum p_j v_jk| <= Mv (z B + T/2)`, and divided by `z B`, times `vm`:
 * `Mv vm (1 + T / (2 P))`. `p_j <= P`, as `e_j B <= P` and `P 2^-22 < 1/2`.
 *
 * Scales are at least about `2^-49` and at most `2^120`, so neither `f` nor `(sum a k) f` nor `(sum p v) vm` is subnormal;
 * where `vs_j / vm` is, `p_j` is 0 all the same. Differences of scores above the table are cut to its end.
 */
function boundAttention(query: number, key: number, value: number, shape: ExactShape): Steps {
  const { headSize, context } = shape;
  const row = boundQuantise(query, ACTIVATION_MAX);
  const dot = headSize * ACTIVATION_MAX * keyMax(shape);
  const sums = context * ATTENTION_MAX * VALUE_MAX;
  const exponentials = context * 65_535;
  const score = scoreConstant(headSize) * row.result;
  const t = headSize * score * key;
  return {
    integers: BigInt(Math.max(dot, sums, exponentials)),
    between: Math.max(
      row.between,
      dot,
      score / ACTIVATION_MAX,
      headSize * keyMax(shape) * score,
      2 * t,
      exponentials,
      sums,
      context * ATTENTION_MAX * value,
    ),
    result: value * (1 + context / (2 * ATTENTION_MAX)),
  };
}

/** Covers at most 15 roundings of binary32, also where results are subnormal. */
function widened(bound: number): number {
  return (bound + 2 ** -140) * (1 + 2 ** -20);
}

function check(operation: Operation, { integers, between }: OperationBound, list: OperationList): void {
  const fault =
    integers > MAX_INTEGERS
      ? `integers may reach ${integers}, beyond 2^53`
      : !(between <= MAX_VALUES)
        ? `values may reach ${between.toExponential(3)}, beyond 2^120`
        : undefined;
  if (fault === undefined) return;
  const { index, kind } = operation;
  const place =
    list.matrices.find(({ id }) => id === operation.matrix) ?? list.vectors.find(({ id }) => id === operation.vector);
  const layer = place?.layer === undefined ? '' : ` of layer ${place.layer}`;
  const name = place === undefined ? '' : `, ${place.tensor}${layer}`;
  throw new ModelError('RANGE_EXCEEDED', `operation ${index} (${kind}${name}): ${fault}`, {
    at: { operation: index, kind, tensor: place?.tensor ?? null, layer: place?.layer ?? null },
  });
}

function matrixAt(extents: ModelExtents, operation: Operation): MatrixExtent {
  const extent = extents.matrices[operation.matrix ?? -1];
  if (extent === undefined) throw new TypeError(`operation ${operation.index} has no matrix`);
  return extent;
}

function numberAt(numbers: readonly number[], index: number | undefined): number {
  const found = numbers[index ?? -1];
  if (found === undefined) throw new TypeError(`no bound ${index}`);
  return found;
}
