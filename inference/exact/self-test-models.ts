/**
 * The small models of the self-test, made from integers alone, and the tokens that run through them. Each number is chosen for
 * what goes wrong with it on a bad engine; the tables are noise, so that a wrong index anywhere changes the result.
 *
 * @module
 */

import { type ExactMatrix, type ExactModel, type ExactShape, type ExactTables, GROUP_SIZE } from './exact-model.ts';
import { type MatrixPlace, operationList, type VectorPlace } from './operations.ts';

/** A model of the self-test. */
export type SelfTestModel = { readonly name: string; readonly model: ExactModel; readonly tokens: readonly number[] };

/** All of them, made anew: about 0.9 million weights together. */
export function selfTestModels(): SelfTestModel[] {
  const curves = makeCurves();
  return [edges(curves), everything(curves), wideRows(curves), wideHeads(curves)];
}

/** A 20-bit integer times this is a binary32 below 1. */
const TWENTY_BITS = power(-20);

/** Gains of all norms of `edges`: with elements of +-1 they are what is quantised. The second half meets the halves and zeros. */
const GAINS: readonly number[] = [
  ...many(20, 8127),
  ...many(8, 127),
  ...many(4, 1),
  ...[0.5, 1.5, 2.5, -0.5, -1.5, 0, -0, power(-149)],
  ...[14, 14],
  ...many(22, 1),
];

/** Columns whose elements are +1 in every token but the negative one: rows with a given sum are made of them. */
const FIRM = 32;

/** Two columns of opposite signs in the tokens that fill the sequence. */
const RISING = 40;
const FALLING = 41;

const AROUND_2_24 = [0, -1, 1, -2, 2, 3, -3].map((step) => 0x1000000 + step);

/** What logits of the first tokens are sums of; the group scale takes some beyond int32. */
const LOGIT_SUMS = [...AROUND_2_24, ...AROUND_2_24.map((sum) => -sum), 0, 1, -1, 0x1000001, 0x1000003, 0x1000001];

/** In halves of a step of the sigmoid table: ties, the ends, beyond them. */
const GATE_SUMS = [
  ...[20_001, 30_003, 40_005, 50_007, 65_533, 65_534, 65_535, 65_536, 65_537, 131_075, 0x1000001],
  ...[-20_001, -30_003, -40_005, -65_535, -65_536, -65_537, -131_075, -0x1000001, 0, 1, -1, 3, 5],
];

/** Tokens of `edges`. */
const ONES = 0;
const NEGATIVE = 1;
const HALVES = 2;
const OPPOSED = 3;
const ZEROS = 4;
const SUBNORMAL = 5;
const TINY = 6;
const FIRST_FILLER = 7;
const FIRST_OTHER = 40;
const EDGE_VOCABULARY = 48;
const FILLERS = 300;

/**
 * Elements of +-1 and norms whose factor is exactly 1, so that sums are known: 2^24 +- 1 and its neighbours, halves in every
 * quantisation, in the sigmoid's and in the exponential's index; both zeros and subnormals; 300 positions of the largest
 * attention weight and value, whose sum is beyond int32.
 */
function edges(curves: Curves): SelfTestModel {
  const shape: ExactShape = {
    layers: 1,
    embedding: 64,
    feedForward: 40,
    heads: 4,
    kvHeads: 2,
    headSize: 64,
    vocabulary: EDGE_VOCABULARY,
    context: 328,
    // what the square of 1/8127 lacks to 1
    epsilon: power(-24),
    biases: false,
    headNorms: false,
    separateOutput: true,
  };
  const random = generator(1);
  const matrix = (place: MatrixPlace): ExactMatrix => {
    const made = emptyMatrix(place);
    for (let row = 0; row < made.rows; row++) {
      const weights = made.weights.subarray(row * made.stride, row * made.stride + made.columns);
      made.scales[row] = edgeRow(random, place, row, weights);
      made.groupScales?.fill(
        row < LOGIT_SUMS.length ? ([1, 1, 1, 2, 255][row % 5] ?? 1) : 1 + random(255),
        2 * row,
        2 * row + 2,
      );
    }
    return made;
  };
  const turns = (pair: number, position: number): readonly [number, number] => {
    const kind = position % 4;
    if (kind === 3) return [fraction(random), fraction(random)];
    return kind === 1 ? [0, 1] : [1, kind === 0 ? 0 : pair % 2 === 0 ? -0 : 0];
  };
  const rest = [ZEROS, SUBNORMAL, TINY, ONES, ZEROS, HALVES];
  const tokens = [
    ...[ONES, NEGATIVE, HALVES, OPPOSED],
    ...Array.from({ length: FILLERS }, () => FIRST_FILLER + random(FIRST_OTHER - FIRST_FILLER)),
    ...rest,
    ...Array.from({ length: 14 }, () => FIRST_FILLER + random(EDGE_VOCABULARY - FIRST_FILLER)),
  ];
  const model = assemble(shape, matrix, () => Float32Array.from(GAINS), withTurns(curves, shape, turns));
  return { name: 'edges', model, tokens };
}

/** Fills a row of `edges`; returns its scale. */
function edgeRow(random: Generator, { tensor }: MatrixPlace, row: number, weights: Int8Array): number {
  const head = Math.floor(row / 64);
  const within = row % 64;
  switch (tensor) {
    case 'embedding':
      return edgeToken(random, row, weights);
    case 'query':
      // the first head meets keys at halves of a step, the second has no query, the others are noise
      if (head > 1) return fillRow(random, weights);
      if (head === 0 && within === 0) setSum(weights, 8127);
      else if (head === 0 && within !== 1 && within % 32 !== 0 && within !== 33) setNote(random, weights);
      return power(-4);
    case 'key':
      if (head > 0) return fillRow(random, weights);
      if (within === 1) setSum(weights, 2047);
      else if (within % 32 !== 0) setNote(random, weights);
      return power(-5);
    case 'value':
      // nothing for tokens whose pairs are equal; the first head is one number, the largest; the second has quarters
      if (head === 0 || within === 0) {
        weights[RISING] = 73;
        weights[FALLING] = -73;
      } else {
        for (let k = 42; k < 58; k += 2) {
          const weight = random(127) - 63;
          weights[k] = weight;
          weights[k + 1] = -weight;
        }
      }
      return power(-9);
    case 'gate':
      setSum(weights, GATE_SUMS[row % GATE_SUMS.length] ?? 0);
      if (row % 13 === 12) return power(-149);
      // of a size with the others, so that none of them is quantised to nothing
      return Math.abs(GATE_SUMS[row % GATE_SUMS.length] ?? 0) > 0x100000 ? power(-20) : power(-12);
    case 'up':
      // nothing where the two halves are equal
      for (let k = 28; k < 32; k++) {
        const weight = random(255) - 127;
        weights[k] = weight;
        weights[k + 32] = -weight;
      }
      return power(-9);
    case 'attentionOutput':
    case 'down':
      if (row % 7 === 3) return 1;
      return row % 7 === 5 ? fillRow(random, weights) * power(-140) : fillRow(random, weights);
    default:
      if (row >= LOGIT_SUMS.length) return fillRow(random, weights) * power(row % 3 === 0 ? -140 : -8);
      setSum(weights, LOGIT_SUMS[row] ?? 0);
      return power(row % 4 === 3 ? -149 : -20);
  }
}

function edgeToken(random: Generator, token: number, weights: Int8Array): number {
  if (token === ZEROS) return 1;
  if (token === SUBNORMAL || token === TINY) {
    fillRow(random, weights);
    return power(token === SUBNORMAL ? -149 : -130);
  }
  if (token >= FIRST_OTHER) return fillRow(random, weights);
  const isFiller = token >= FIRST_FILLER;
  for (let k = 0; k < weights.length; k++) {
    const isNegative =
      token === NEGATIVE || (k >= FIRM && (token === HALVES || token === OPPOSED || (isFiller && random(2) === 1)));
    weights[k] = isNegative ? -64 : 64;
  }
  if (isFiller) {
    weights[RISING] = 64;
    weights[FALLING] = -64;
  }
  if (token === OPPOSED) for (let k = 0; k < weights.length; k++) weights[k] = -(weights[k] ?? 0);
  return power(-6);
}

/** Small sums that depend on the token's signs. */
function setNote(random: Generator, weights: Int8Array): void {
  weights[FIRM + random(8)] = random(3) - 1;
  weights[42 + random(22)] = random(5) - 2;
}

/** Weights whose sum with the gains is `sum` where the first columns are +1. */
function setSum(weights: Int8Array, sum: number): void {
  let rest = sum;
  for (let k = 0; k < FIRM; k++) {
    const gain = GAINS[k] ?? 1;
    const weight = Math.max(-127, Math.min(127, Math.trunc(rest / gain)));
    weights[k] = weight;
    rest -= weight * gain;
  }
  if (rest !== 0) throw new TypeError(`no weights have the sum ${sum}`);
}

/** Noise with biases, head norms, tied and grouped embedding, two layers and extents that no kernel likes. */
function everything(curves: Curves): SelfTestModel {
  const shape: ExactShape = {
    layers: 2,
    embedding: 57,
    feedForward: 101,
    heads: 3,
    kvHeads: 3,
    headSize: 20,
    vocabulary: 67,
    context: 48,
    epsilon: power(-17),
    biases: true,
    headNorms: true,
    separateOutput: false,
  };
  const random = generator(2);
  return { name: 'everything', model: noise(random, curves, shape), tokens: many(40, 0).map(() => random(67)) };
}

/** 2,100 columns: sums of the largest weights and activations leave int32, by far in the grouped matrix. */
function wideRows(curves: Curves): SelfTestModel {
  const shape: ExactShape = {
    layers: 1,
    embedding: 2100,
    feedForward: 36,
    heads: 2,
    kvHeads: 1,
    headSize: 2,
    vocabulary: 24,
    context: 16,
    epsilon: power(-17),
    biases: false,
    headNorms: false,
    separateOutput: false,
  };
  const random = generator(3);
  const model = noise(random, curves, shape, (place, row, weights) => {
    const isWide = place.columns === shape.embedding;
    for (let k = 0; k < weights.length && isWide && row < 3; k++) {
      weights[k] = row === 1 || (row === 2 && k % 2 === 1) ? -127 : 127;
    }
    if (place.columns === shape.feedForward && row % 11 === 5) weights.fill(0);
  });
  for (const { id, tensor } of operationList(shape).matrices) {
    if (tensor === 'embedding')
      model.matrices[id]?.groupScales?.fill(255, 0, 3 * Math.ceil(shape.embedding / GROUP_SIZE));
  }
  for (const vector of model.vectors.slice(0, 1)) vector.fill(1);
  return { name: 'wide rows', model, tokens: [0, 1, 2, 7, 0, 13, 2, 23, 1, 5] };
}

/** Heads of 256: the dot product of the largest query and key is just within int32; logits that underflow to both zeros. */
function wideHeads(curves: Curves): SelfTestModel {
  const shape: ExactShape = {
    layers: 1,
    embedding: 24,
    feedForward: 44,
    heads: 2,
    kvHeads: 1,
    headSize: 256,
    vocabulary: 20,
    context: 16,
    epsilon: power(-17),
    biases: true,
    headNorms: false,
    separateOutput: true,
  };
  const random = generator(4);
  const model = noise(random, curves, shape, ({ tensor }, row, weights) => {
    if ((tensor === 'query' && row < 256) || tensor === 'key') weights.fill(127);
  });
  for (const { id, tensor } of operationList(shape).matrices) {
    const matrix = model.matrices[id];
    // all rows of a head alike
    if (tensor === 'query' || tensor === 'key') matrix?.scales.fill(power(-10));
    if (tensor !== 'output' || matrix === undefined) continue;
    // logits that underflow: one element alone, by the smallest number there is
    matrix.scales.fill(power(-149), 0, 3);
    matrix.weights.fill(0, matrix.stride, 3 * matrix.stride);
    matrix.groupScales?.fill(1, 1, 3);
    for (const row of [1, 2]) matrix.weights[row * matrix.stride + row] = 1;
  }
  for (const { id, tensor } of operationList(shape).vectors) {
    if (tensor === 'queryBias' || tensor === 'keyBias') model.vectors[id]?.fill(0);
  }
  const half = shape.headSize / 2;
  model.tables.cos.fill(1, 0, 4 * half);
  model.tables.sin.fill(0, 0, 4 * half);
  return { name: 'wide heads', model, tokens: [3, 3, 1, 19, 7, 7, 0, 12, 5, 3] };
}

type Curves = Pick<ExactTables, 'exponential' | 'sigmoid'>;

/** 32-bit unsigned integers below a limit, from integers. */
type Generator = (limit: number) => number;

/** Mulberry32 (Tommy Ettinger, public domain); limits up to 2^21 divide without rounding. */
function generator(seed: number): Generator {
  let state = seed >>> 0;
  return (limit) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let word = state;
    word = Math.imul(word ^ (word >>> 15), word | 1);
    word ^= word + Math.imul(word ^ (word >>> 7), word | 61);
    return Math.floor((((word ^ (word >>> 14)) >>> 0) * limit) / 0x100000000);
  };
}

/** Rows of a length of about 1, gains in [1/2, 3/2), biases in [-1/2, 1/2); `change` may change a row. */
function noise(
  random: Generator,
  curves: Curves,
  shape: ExactShape,
  change: (place: MatrixPlace, row: number, weights: Int8Array) => void = () => {},
): ExactModel {
  const matrix = (place: MatrixPlace): ExactMatrix => {
    const made = emptyMatrix(place);
    const { groupScales } = made;
    for (let i = 0; groupScales !== null && i < groupScales.length; i++) groupScales[i] = 1 + random(255);
    for (let row = 0; row < made.rows; row++) {
      const weights = made.weights.subarray(row * made.stride, row * made.stride + made.columns);
      made.scales[row] = fillRow(random, weights) * (place.grouped ? power(-7) : 1);
      change(place, row, weights);
    }
    return made;
  };
  const vector = ({ tensor, length }: VectorPlace) => {
    const from = tensor.endsWith('Norm') ? 0x80000 : -0x80000;
    return Float32Array.from({ length }, () => (from + random(0x100000)) * TWENTY_BITS);
  };
  return assemble(
    shape,
    matrix,
    vector,
    withTurns(curves, shape, () => [fraction(random), fraction(random)]),
  );
}

/** Fills a row with noise; returns a scale that gives it a length between 1/4 and 2. */
function fillRow(random: Generator, weights: Int8Array): number {
  for (let k = 0; k < weights.length; k++) weights[k] = random(255) - 127;
  let exponent = 0;
  for (let square = 1; square < 73 * 73 * weights.length; square *= 4) exponent += 1;
  return (0x100000 + random(0x100000)) * power(-20 - exponent);
}

function assemble(
  shape: ExactShape,
  matrix: (place: MatrixPlace) => ExactMatrix,
  vector: (place: VectorPlace) => Float32Array,
  made: ExactTables,
): ExactModel {
  const { matrices, vectors } = operationList(shape);
  return { shape, matrices: matrices.map(matrix), vectors: vectors.map(vector), tables: made };
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

/** The tables that all models share, and turns as given. */
function withTurns(
  curves: Curves,
  { context, headSize }: ExactShape,
  turn: (pair: number, position: number) => readonly [cos: number, sin: number],
): ExactTables {
  const half = headSize / 2;
  const cos = new Float32Array(context * half);
  const sin = new Float32Array(context * half);
  for (let at = 0; at < cos.length; at++) {
    [cos[at], sin[at]] = turn(at % half, Math.floor(at / half)) as [number, number];
  }
  return { ...curves, cos, sin };
}

/** Noise: exponentials below an envelope that falls, the first the largest; sigmoids in [0, 1). */
function makeCurves(): Curves {
  const random = generator(5);
  const exponential = new Uint16Array(32_768);
  for (let i = 0; i < exponential.length; i++) exponential[i] = random(0x10000) & (0xffff >> (i >> 12));
  exponential[0] = 65_535;
  const sigmoid = new Float32Array(65_536);
  for (let i = 0; i < sigmoid.length; i++) sigmoid[i] = random(0x100000) * TWENTY_BITS;
  return { exponential, sigmoid };
}

/** In [-1, 1), 20 bits. */
function fraction(random: Generator): number {
  return (random(0x100000) - 0x80000) * TWENTY_BITS * 2;
}

/** 2^exponent for an exponent of -1074 or more, by exact steps. */
function power(exponent: number): number {
  let result = 1;
  for (let i = 0; i > exponent; i--) result /= 2;
  return result;
}

function many(count: number, value: number): number[] {
  return new Array<number>(count).fill(value);
}
