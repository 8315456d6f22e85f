import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ModelError } from '../../../inference/errors.ts';
import { exactModelFrom } from '../../../inference/exact/exact-file.ts';
import {
  ACTIVATION_MAX,
  ATTENTION_MAX,
  type ExactModel,
  type ExactShape,
  keyMax,
  VALUE_MAX,
} from '../../../inference/exact/exact-model.ts';
import { type ModelExtents, modelExtents } from '../../../inference/exact/extents.ts';
import { type OperationKind, operationList } from '../../../inference/exact/operations.ts';
import { computeBounds, computeRanges, MAX_INTEGERS, MAX_VALUES } from '../../../inference/exact/ranges.ts';
import { seededRandom } from '../../support/random.ts';
import { EXACT_FAMILIES, randomExactModel, randomTokens } from '../../support/random-exact-model.ts';
import { type RandomOptions, randomSource } from '../../support/random-source.ts';
import { evaluateTraced } from '../../support/traced-evaluator.ts';

/** Small enough for a slow evaluator, in everything that bounds depend on. */
const SMALL = { layers: 2, contextLength: 24, embedding: 16, feedForward: 24, heads: 4, kvHeads: 2, vocabulary: 30 };

describe('no value of a run leaves its bound', () => {
  it.each(EXACT_FAMILIES)('$name', ({ options }) => {
    const { layers = 2, vocabulary = 67 } = options;
    const model = randomExactModel({ context: 12, ...options, layers: Math.min(2, layers) });
    expectWithin(model, randomTokens(seededRandom(5), vocabulary, (options.feedForward ?? 0) > 2000 ? 2 : 12));
  });

  it.each(['llama', 'qwen2', 'qwen3'] as const)('converted noise of %s, at every position', (family) => {
    for (let seed = 1; seed <= 5; seed++) {
      const model = exactModelFrom(randomSource({ ...SMALL, family, seed }));
      expectWithin(model, randomTokens(seededRandom(seed), 30, 24));
    }
  });

  it('weights of one sign and one size, which add up', () => {
    const source = randomSource({
      ...SMALL,
      family: 'qwen2',
      headNorm: true,
      alter: (place, _, values) => values.fill(place.tensor.endsWith('Norm') ? 50 : 3),
    });
    const { seen, ranges } = expectWithin(exactModelFrom(source), new Array(24).fill(7));
    // here a product reaches its bound of integers but for rounding
    const product = kindIndex(exactModelFrom(source).shape, 'product');
    expect(seen[product]?.integers).toBe(Number(ranges[product]?.integers));
  });

  it('tokens whose rows are zero, tiny, or huge in one element', () => {
    const sizes = [0, 2 ** -149, 2 ** -60, 2 ** -41, 2 ** -40, 1, 2 ** 40];
    const source = randomSource({
      ...SMALL,
      family: 'qwen3',
      alter: ({ tensor }, row, values) => {
        if (tensor === 'embedding') values.fill(0).fill(sizes[row % sizes.length] as number, row % 16, (row % 16) + 1);
      },
    });
    for (let token = 0; token < 14; token++) expectWithin(exactModelFrom(source), [token, token, 3, token]);
  });

  it('rows that vanish when they are quantised, beside an epsilon that is smaller still', () => {
    const alter: NonNullable<RandomOptions['alter']> = ({ tensor }, _, values) => {
      if (tensor === 'embedding') values.fill(0.49 * 2 ** -53);
    };
    const model = exactModelFrom(randomSource({ ...SMALL, normEpsilon: 2 ** -116, alter }));
    expectWithin(model, [0]);
    expect(evaluateTraced(model, [0]).largest[1]).toBeGreaterThan(4 * 1.5);
  });

  it('rows so small that rounding to the least integer makes them larger', () => {
    const alter: NonNullable<RandomOptions['alter']> = ({ tensor }, row, values) => {
      if (tensor === 'embedding') values.fill(0).fill(1, row % 16, (row % 16) + 1);
      if (tensor === 'attentionNorm') values.fill((0.6 / 4) * 2 ** -53);
    };
    const model = exactModelFrom(randomSource({ ...SMALL, alter }));
    expectWithin(model, [0]);
    expect(evaluateTraced(model, [0]).largest[1]).toBeGreaterThan(0.99 * 2 ** -53);
  });

  it('heads whose halves are equal, turned by half a right angle', () => {
    const alter: NonNullable<RandomOptions['alter']> = ({ tensor }, _, values) => {
      if (tensor === 'embedding' || tensor === 'query') values.fill(0).fill(2, 0, 1);
      if (tensor === 'attentionNorm') values.fill(1);
    };
    const model = exactModelFrom(randomSource({ ...SMALL, alter }));
    const { ranges } = expectWithin(model, new Array(8).fill(0));
    const rotate = kindIndex(model.shape, 'rotate');
    const { largest } = evaluateTraced(model, new Array(8).fill(0));
    expect(largest[rotate]).toBeGreaterThan(1.41 * (ranges[rotate - 3]?.values ?? Number.POSITIVE_INFINITY));
  });

  it('any weights, scales, gains and epsilon', () => {
    fc.assert(
      fc.property(fc.nat(), fc.integer({ min: -8, max: 8 }), fc.integer({ min: -84, max: 3 }), (seed, power, eps) => {
        const random = seededRandom(seed);
        const source = randomSource({
          ...SMALL,
          seed,
          family: random.pick(['llama', 'qwen2', 'qwen3']),
          tied: random.chance(50),
          normEpsilon: 2 ** eps,
          alter: (_, __, values) => {
            const scale = 2 ** (random.below(2 * Math.abs(power) + 1) - Math.abs(power));
            values.forEach((value, k) => {
              values[k] = random.chance(10) ? 0 : value * scale;
            });
          },
        });
        expectWithin(exactModelFrom(source), randomTokens(random, 30, 6));
      }),
      { numRuns: 60 },
    );
  });
});

describe('computeRanges', () => {
  const shape: ExactShape = { ...randomExactModel().shape, context: 1000, biases: true };

  it('a row in which one element is all reaches sqrt(n) times the gain', () => {
    const source = randomSource({
      ...SMALL,
      layers: 1,
      alter: ({ tensor }, row, values) => {
        if (tensor === 'embedding') values.fill(0).fill(4, row % 16, (row % 16) + 1);
        if (tensor === 'attentionNorm') values.fill(1.25);
      },
    });
    const model = exactModelFrom(source);
    const { seen } = expectWithin(model, [0]);
    const { results } = evaluateTraced(model, [0]);
    expect(seen[1]?.integers).toBe(ACTIVATION_MAX ** 2);
    expect(Math.max(...(results[1] as Float32Array))).toBeCloseTo(5, 4);
    expect(rangeOf(model.shape, modelExtents(model), 'norm').integers).toBe(16n * BigInt(ACTIVATION_MAX) ** 2n);
  });

  it('follows the formulas of the specification', () => {
    const extents = fixedExtents(shape, { sum: 1000, reach: 2, integer: 90, value: 3 }, 5);
    expect(rangeOf(shape, extents, 'embed')).toMatchObject({ integers: 90n });
    expect(rangeOf(shape, extents, 'norm').integers).toBe(BigInt(shape.embedding * ACTIVATION_MAX ** 2));
    expect(rangeOf(shape, extents, 'product').integers).toBe(BigInt(1000 * ACTIVATION_MAX));
    expect(rangeOf(shape, extents, 'product').values).toBeCloseTo(Math.sqrt(44) * 10 + 5, 3);
    expect(rangeOf(shape, extents, 'keep').integers).toBe(BigInt(keyMax(shape)));
    expect(rangeOf(shape, extents, 'attention').integers).toBe(BigInt(1000 * ATTENTION_MAX * VALUE_MAX));
    expect(rangeOf(shape, extents, 'gate').integers).toBe(65_535n);
    // key, value: sqrt(44) * 5 * 2 + 5; the residual: 3 + (that * (1 + 1000 / 32766)) * 2, widened
    const value = Math.sqrt(44) * 10 + 5;
    const residual = 3 + 2 * value * (1 + 1000 / 32_766);
    expect(rangeOf(shape, extents, 'add').values / residual).toBeGreaterThan(1);
    expect(rangeOf(shape, extents, 'add').values / residual).toBeLessThan(1 + 20 * 2 ** -20);
  });

  it('grows with every extent', () => {
    const extents = fixedExtents(shape, { sum: 1000, reach: 2, integer: 90, value: 3 }, 5);
    const before = computeRanges(shape, extents);
    const change = (id: number) => ({
      ...extents,
      matrices: extents.matrices.map((matrix, at) =>
        at === id ? { sum: 2 * matrix.sum, reach: 2 * matrix.reach, integer: 180, value: 6 } : matrix,
      ),
    });
    for (const id of extents.matrices.keys()) expectGrown(before, computeRanges(shape, change(id)));
    for (const id of extents.vectors.keys()) {
      const vectors = extents.vectors.map((vector, at) => (at === id ? 2 * vector : vector));
      expectGrown(before, computeRanges(shape, { ...extents, vectors }));
    }
    expectGrown(before, computeRanges({ ...shape, context: 2000 }, extents));
  });

  it('a wider row has a larger bound of integers, and nothing else changes', () => {
    const extents = fixedExtents(shape, { sum: 1000, reach: 2, integer: 90, value: 3 }, 5);
    const wide = fixedExtents(shape, { sum: 2000, reach: 2, integer: 90, value: 3 }, 5);
    expect(rangeOf(shape, wide, 'product').integers).toBe(2n * rangeOf(shape, extents, 'product').integers);
    expect(rangeOf(shape, wide, 'add')).toEqual(rangeOf(shape, extents, 'add'));
  });

  it('refuses integers beyond 2^53, naming operation and tensor', () => {
    const most = Number(MAX_INTEGERS / BigInt(ACTIVATION_MAX));
    const sum = (value: number) => fixedExtents(shape, { sum: value, reach: 2, integer: 90, value: 3 }, 5);
    expect(() => computeRanges(shape, sum(most))).not.toThrow();
    const fault = faultOf(() => computeRanges(shape, sum(most + 1)));
    expect(fault).toMatchObject({
      code: 'RANGE_EXCEEDED',
      at: { operation: 2, kind: 'product', tensor: 'query', layer: 0 },
    });
    expect(fault.message).toContain('operation 2 (product, query of layer 0)');
  });

  it('refuses squares of a row beyond 2^53', () => {
    const wide = { ...shape, embedding: 2 ** 28 };
    const fault = faultOf(() =>
      computeRanges(wide, fixedExtents(wide, { sum: 1, reach: 2, integer: 90, value: 3 }, 5)),
    );
    expect(fault).toMatchObject({
      code: 'RANGE_EXCEEDED',
      at: { operation: 1, kind: 'norm', tensor: 'attentionNorm' },
    });
  });

  it('refuses values beyond 2^120, as soon as they are squared', () => {
    const value = (size: number) => fixedExtents(shape, { sum: 9, reach: 2, integer: 90, value: size }, 5);
    expect(() => computeRanges(shape, value(2 ** 59))).not.toThrow();
    expect(faultOf(() => computeRanges(shape, value(2 ** 61)))).toMatchObject({
      code: 'RANGE_EXCEEDED',
      at: { operation: 1, kind: 'norm' },
    });
    const gains = fixedExtents(shape, { sum: 9, reach: 2 ** 40, integer: 90, value: 1 }, 2 ** 20);
    expect(faultOf(() => computeRanges(shape, gains)).at).toMatchObject({ kind: 'attention' });
  });

  it('refuses heads whose dot product leaves int32', () => {
    const wide = { ...shape, headSize: 260 };
    const extents = fixedExtents(wide, { sum: 1, reach: 1, integer: 1, value: 1 }, 1);
    expect(() => computeRanges({ ...shape, headSize: 256 }, extents)).not.toThrow();
    expect(faultOf(() => computeRanges(wide, extents))).toMatchObject({
      code: 'RANGE_EXCEEDED',
      at: { field: 'headSize' },
    });
  });

  it('a number that is not finite is beyond every bound', () => {
    for (const reach of [Number.NaN, Number.POSITIVE_INFINITY]) {
      const extents = fixedExtents(shape, { sum: 9, reach, integer: 90, value: 1 }, 1);
      expect(faultOf(() => computeRanges(shape, extents)).code).toBe('RANGE_EXCEEDED');
    }
  });
});

describe('int32 sums that engines rely on', () => {
  it('2,080 products of an activation and a weight', () => {
    expect(2080 * ACTIVATION_MAX * 127).toBeLessThan(2 ** 31);
  });

  it('products of heads, of every extent', () => {
    for (let headSize = 2; headSize <= 256; headSize += 2) {
      expect(headSize * ACTIVATION_MAX * keyMax({ headSize })).toBeLessThan(2 ** 31);
    }
  });

  it('256 products of an attention weight and a value', () => {
    expect(256 * ATTENTION_MAX * VALUE_MAX).toBeLessThan(2 ** 31);
  });
});

function expectWithin(model: ExactModel, tokens: readonly number[]) {
  const ranges = computeBounds(model.shape, modelExtents(model));
  const { seen, largest } = evaluateTraced(model, tokens);
  ranges.forEach(({ integers, values, between }, index) => {
    const { kind } = operationList(model.shape).operations[index] ?? {};
    expect(seen[index]?.integers, `integers of operation ${index}, ${kind}`).toBeLessThanOrEqual(Number(integers));
    expect(seen[index]?.values, `values on the way of operation ${index}, ${kind}`).toBeLessThanOrEqual(between);
    expect(largest[index], `result of operation ${index}, ${kind}`).toBeLessThanOrEqual(values);
    expect(integers).toBeLessThanOrEqual(MAX_INTEGERS);
    expect(between).toBeLessThanOrEqual(MAX_VALUES);
  });
  return { ranges, seen };
}

function fixedExtents(shape: ExactShape, matrix: ModelExtents['matrices'][number], vector: number): ModelExtents {
  const { matrices, vectors } = operationList(shape);
  return { matrices: matrices.map(() => matrix), vectors: vectors.map(() => vector) };
}

/** Range of the first operation of a kind. */
function rangeOf(shape: ExactShape, extents: ModelExtents, kind: OperationKind) {
  const range = computeRanges(shape, extents)[kindIndex(shape, kind)];
  if (range === undefined) throw new Error(`no ${kind}`);
  return range;
}

function kindIndex(shape: ExactShape, kind: OperationKind): number {
  return operationList(shape).operations.findIndex((operation) => operation.kind === kind);
}

function expectGrown(before: ReturnType<typeof computeRanges>, after: ReturnType<typeof computeRanges>): void {
  let grown = false;
  before.forEach((range, index) => {
    const { integers = 0n, values = 0 } = after[index] ?? {};
    expect(integers).toBeGreaterThanOrEqual(range.integers);
    expect(values).toBeGreaterThanOrEqual(range.values);
    grown ||= integers > range.integers || values > range.values;
  });
  expect(grown).toBe(true);
}

function faultOf(act: () => unknown): ModelError {
  try {
    act();
  } catch (fault) {
    if (fault instanceof ModelError) return fault;
    throw fault;
  }
  throw new Error('nothing was refused');
}
