import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { fromHex, type Hex, toHex } from '../../../attest/core/bytes.ts';
import { canonicalJson, type JsonObject } from '../../../attest/encoding/canonical-json.ts';
import { verifyInclusion } from '../../../attest/merkle/inclusion.ts';
import {
  type CommittedModel,
  commitmentLeaves,
  commitmentTree,
  computeCommitment,
  hashLeaf,
  headerLeaf,
  leafIndices,
  operationLeaf,
  rangeLeaf,
  tableLeaf,
  tokenizerDigest,
  vectorLeaf,
  weightRowLeaf,
} from '../../../inference/exact/commitment.ts';
import { exactModelFrom } from '../../../inference/exact/exact-file.ts';
import type { ExactModel, ExactShape } from '../../../inference/exact/exact-model.ts';
import { OPERATION_KINDS, operationList } from '../../../inference/exact/operations.ts';
import { rootOf } from '../../support/merkle-reference.ts';
import { type RandomOptions, randomSource } from '../../support/random-source.ts';

const TINY: RandomOptions = {
  family: 'qwen3',
  biases: true,
  seed: 3,
  layers: 1,
  contextLength: 3,
  embedding: 34,
  feedForward: 5,
  heads: 2,
  kvHeads: 1,
  headSize: 4,
  vocabulary: 6,
  tied: true,
};

describe('the root', () => {
  it('of seeded models is pinned', () => {
    expect(exactModelFrom(randomSource(TINY)).commitment).toBe(PINNED.tiny);
    expect(exactModelFrom(randomSource()).commitment).toBe(PINNED.llama);
    expect(exactModelFrom(randomSource({ family: 'qwen2', rotaryScaling: LLAMA3 })).commitment).toBe(PINNED.qwen2);
  });

  it.each([{}, TINY, { family: 'qwen2' as const, feedForward: 33 }])(
    'is that of leaves written by hand (%#)',
    (options) => {
      const committed = commit(options);
      const leaves = leavesByHand(committed);
      expect([...commitmentLeaves(committed)].map((leaf) => toHex(leaf))).toEqual(leaves.map((leaf) => toHex(leaf)));
      const hashes = leaves.map((leaf) => sha256(Buffer.of(0), leaf));
      expect(computeCommitment(committed)).toBe(toHex(rootOf(hashes)));
    },
  );

  it('recomputed over the model is that of its conversion, twice', () => {
    const source = randomSource(TINY);
    const model = exactModelFrom(source);
    const committed = { model, tokenizer: tokenizerDigest(source.tokenizer), ranges: model.ranges };
    expect(computeCommitment(committed)).toBe(model.commitment);
    expect(exactModelFrom(randomSource(TINY)).commitment).toBe(model.commitment);
  });
});

describe('every part decides the root', () => {
  const committed = commit(TINY);
  const root = computeCommitment(committed);
  const { model } = committed;

  it('any one weight', () => {
    fc.assert(
      fc.property(fc.nat(), fc.nat(), fc.nat(), fc.integer({ min: 1, max: 255 }), (m, r, k, change) => {
        const matrix = at(model.matrices, m);
        const place = (r % matrix.rows) * matrix.stride + (k % matrix.columns);
        expectChanged(matrix.weights, place, change);
      }),
    );
  });

  it('any one scale and group scale', () => {
    fc.assert(
      fc.property(fc.nat(), fc.nat(), fc.integer({ min: 1, max: 255 }), (m, r, change) => {
        const matrix = at(model.matrices, m);
        expectChanged(new Uint8Array(matrix.scales.buffer, matrix.scales.byteOffset), r % (4 * matrix.rows), change);
        if (matrix.groupScales) expectChanged(matrix.groupScales, r % matrix.groupScales.length, change);
      }),
    );
  });

  it('any one gain, bias and table entry', () => {
    const { exponential, sigmoid, cos, sin } = model.tables;
    fc.assert(
      fc.property(fc.nat(), fc.nat(), fc.integer({ min: 1, max: 255 }), (v, k, change) => {
        for (const values of [at(model.vectors, v), exponential, sigmoid, cos, sin]) {
          const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
          expectChanged(bytes, k % bytes.length, change);
        }
      }),
      { numRuns: 30 },
    );
  });

  it('but not what lies between the rows', () => {
    const matrix = at(model.matrices, 0);
    expect(matrix.stride).toBeGreaterThan(matrix.columns);
    matrix.weights[matrix.columns] = 5;
    expect(computeCommitment(committed)).toBe(root);
    matrix.weights[matrix.columns] = 0;
  });

  it('any one bound', () => {
    committed.ranges.forEach((range, index) => {
      for (const change of [{ integers: range.integers + 1n }, { values: range.values * (1 + 2 ** -52) }]) {
        const ranges = committed.ranges.with(index, { ...range, ...change });
        expect(computeCommitment({ ...committed, ranges })).not.toBe(root);
      }
    });
    expect(computeCommitment({ ...committed, ranges: committed.ranges.slice(1) })).not.toBe(root);
  });

  it('any one entry of the tokenizer', () => {
    const { tokenizer } = randomSource(TINY);
    const changed = [
      { ...tokenizer, tokens: tokenizer.tokens.with(4, '!!') },
      { ...tokenizer, eosId: 1 },
      { ...tokenizer, endIds: [1, 2] },
      { ...tokenizer, addBos: true },
      { ...tokenizer, chatTemplate: '' },
      { ...tokenizer, json: { ...tokenizer.json, pre_tokenizer: null } },
    ];
    for (const description of changed) {
      expect(computeCommitment({ ...committed, tokenizer: tokenizerDigest(description) })).not.toBe(root);
    }
  });

  it('any one number of the shape', () => {
    const numbers = ['feedForward', 'context', 'epsilon', 'heads', 'kvHeads', 'headSize', 'vocabulary'] as const;
    const leaf = toHex(headerLeaf(model.shape));
    for (const field of numbers) {
      expect(toHex(headerLeaf({ ...model.shape, [field]: model.shape[field] + 1 }))).not.toBe(leaf);
    }
    for (const flag of ['biases', 'headNorms', 'separateOutput'] as const) {
      expect(toHex(headerLeaf({ ...model.shape, [flag]: !model.shape[flag] }))).not.toBe(leaf);
    }
    const smaller = { ...model, shape: { ...model.shape, epsilon: 2 * model.shape.epsilon } };
    expect(computeCommitment({ ...committed, model: smaller })).not.toBe(root);
  });

  it('any change of the weights that are converted, down to the smallest step of int8', () => {
    const options: RandomOptions = { ...TINY, biases: false, family: 'llama' };
    const plain = exactModelFrom(randomSource(options)).commitment;
    const source = randomSource(options);
    const tensors = [
      'embedding',
      'query',
      'key',
      'value',
      'attentionOutput',
      'gate',
      'up',
      'down',
      'outputNorm',
      'attentionNorm',
    ];
    fc.assert(
      fc.property(fc.constantFrom(...tensors), fc.nat(), (tensor, k) => {
        const alter: NonNullable<RandomOptions['alter']> = (place, row, values) => {
          const largest = Math.max(...values.map(Math.abs));
          const i = k % values.length;
          const value = values[i] as number;
          // towards zero, so that the scale stays unless it is the largest itself
          if (place.tensor === tensor && row === 0) values[i] = value - (Math.sign(value) * largest) / 60;
        };
        expect(exactModelFrom(randomSource({ ...options, alter })).commitment).not.toBe(plain);
      }),
      { numRuns: 20 },
    );
    source.close();
  });

  function expectChanged(values: Int8Array | Uint8Array, index: number, change: number): void {
    const before = values[index] as number;
    values[index] = before + change;
    const changed = computeCommitment(committed);
    values[index] = before;
    expect(changed).not.toBe(root);
  }

  it('and all of it put back gives the root again', () => {
    expect(computeCommitment(committed)).toBe(root);
  });
});

describe('leaves by themselves', () => {
  const committed = commit({ ...TINY, contextLength: 5 });
  const { model } = committed;
  const tree = commitmentTree(committed);
  const root = fromHex(computeCommitment(committed));
  const indices = leafIndices(model.shape);

  it('lie where the indices say, each with a proof', () => {
    const list = operationList(model.shape);
    const leaves: [number, Uint8Array][] = [
      [indices.header, headerLeaf(model.shape)],
      ...list.operations.map(({ index }): [number, Uint8Array] => [
        indices.operation(index),
        operationLeaf(list, index),
      ]),
      [indices.table('exponential', 31), tableLeaf(model.tables, 'exponential', 31, 4)],
      [indices.table('sigmoid', 127), tableLeaf(model.tables, 'sigmoid', 127, 4)],
      [indices.table('rotary', 0), tableLeaf(model.tables, 'rotary', 0, 4)],
      [indices.table('rotary', 4), tableLeaf(model.tables, 'rotary', 4, 4)],
      ...model.matrices.map((matrix, id): [number, Uint8Array] => [
        indices.weightRow(id, matrix.rows - 1),
        weightRowLeaf(id, matrix.rows - 1, matrix, matrix.rows - 1),
      ]),
      ...model.vectors.map((vector, id): [number, Uint8Array] => [indices.vector(id), vectorLeaf(id, vector)]),
      ...committed.ranges.map((range, index): [number, Uint8Array] => [indices.range(index), rangeLeaf(index, range)]),
    ];
    expect(Number(tree.size)).toBe(indices.size);
    expect(new Set(leaves.map(([index]) => index)).size).toBe(leaves.length);
    for (const [index, leaf] of leaves) {
      const proof = { index: BigInt(index), size: tree.size, leafHash: hashLeaf(leaf), path: tree.inclusion(index) };
      expect(() => verifyInclusion(proof, root)).not.toThrow();
    }
  });

  it.each([
    ['operation', () => indices.operation(99)],
    ['table row', () => indices.table('rotary', 5)],
    ['row', () => indices.weightRow(0, 6)],
    ['matrix', () => indices.weightRow(99, 0)],
    ['vector', () => indices.vector(-1)],
    ['range', () => indices.range(0.5)],
    ['operation leaf', () => operationLeaf(operationList(model.shape), 99)],
  ])('there is none of an unknown %s', (_, act) => {
    expect(act).toThrow(RangeError);
  });
});

const LLAMA3 = {
  kind: 'llama3',
  factor: 32,
  lowFrequencyFactor: 1,
  highFrequencyFactor: 4,
  originalContext: 8192,
} as const;

const PINNED: Readonly<Record<'tiny' | 'llama' | 'qwen2', Hex>> = {
  tiny: '0x257f885ae2c08bcedc6ec3bce9220557ccc5c8b01ee2861419e6e54f2869703e',
  llama: '0x316517a917abc7cfb94c5b27cebc75f47b8f2b5abf12e08e23b3104f655a077a',
  qwen2: '0x935b70cb02f2bc96773c34427419d59e9204af61f68d122a24e1a96cd96afe49',
};

function commit(options: RandomOptions): CommittedModel & { readonly model: ExactModel } {
  const source = randomSource(options);
  const model = exactModelFrom(source);
  return { model, tokenizer: tokenizerDigest(source.tokenizer), ranges: model.ranges };
}

/** The table of the specification, line by line, with other means than the code under test. */
function leavesByHand({ model, ranges }: CommittedModel): Uint8Array[] {
  const { shape, tables } = model;
  const { operations, matrices, vectors } = operationList(shape);
  const tokenizer = randomSource(optionsOf(shape)).tokenizer;
  const flags = Number(shape.biases) + 2 * Number(shape.headNorms) + 4 * Number(shape.separateOutput);
  const leaves = [
    Buffer.concat([
      Buffer.from('10', 'hex'),
      Buffer.from('exact/v1', 'ascii'),
      ...[shape.layers, shape.embedding, shape.feedForward, shape.heads, shape.kvHeads].map(u32),
      ...[shape.headSize, shape.vocabulary, shape.context].map(u32),
      f32(shape.epsilon),
      ...[8127, 16_383, 2047, 511].map(u32),
      Buffer.of(flags),
      ...[operations.length, matrices.length, vectors.length].map(u32),
    ]),
    Buffer.concat([Buffer.of(0x11), sha256(Buffer.from(canonicalJson(tokenizer as unknown as JsonObject)))]),
    ...operations.map(({ index, kind, inputs, length, matrix = 0xffffffff, vector = 0xffffffff, constant }) => {
      const three = [0, 1, 2].map((i) => u32(inputs[i] ?? 0xffffffff));
      const rest = [length, matrix, vector, constant].map(u32);
      return Buffer.concat([Buffer.of(9), u32(index), Buffer.of(OPERATION_KINDS[kind]), ...three, ...rest]);
    }),
  ];
  for (let row = 0; row < 32; row++) {
    const entries = [...tables.exponential.slice(1024 * row, 1024 * row + 1024)];
    leaves.push(Buffer.concat([Buffer.of(0x12, 1), u32(row), ...entries.map((e) => Buffer.of(e >> 8, e & 255))]));
  }
  for (let row = 0; row < 128; row++) {
    const entries = [...tables.sigmoid.slice(512 * row, 512 * row + 512)];
    leaves.push(Buffer.concat([Buffer.of(0x12, 2), u32(row), ...entries.map(f32)]));
  }
  const half = shape.headSize / 2;
  for (let t = 0; t < shape.context; t++) {
    const both = [...tables.cos.slice(t * half, (t + 1) * half), ...tables.sin.slice(t * half, (t + 1) * half)];
    leaves.push(Buffer.concat([Buffer.of(0x12, 3), u32(t), ...both.map(f32)]));
  }
  model.matrices.forEach(({ rows, columns, stride, scales, groupScales, weights }, id) => {
    const groups = groupScales === null ? 0 : Math.ceil(columns / 32);
    for (let row = 0; row < rows; row++) {
      leaves.push(
        Buffer.concat([
          ...[Buffer.of(8), u32(id), u32(row), f32(scales[row] as number), u32(groups)],
          Buffer.from((groupScales ?? new Uint8Array()).slice(row * groups, (row + 1) * groups)),
          Buffer.from(weights.slice(row * stride, row * stride + columns)),
        ]),
      );
    }
  });
  model.vectors.forEach((vector, id) => {
    leaves.push(Buffer.concat([Buffer.of(0x13), u32(id), u32(vector.length), ...[...vector].map(f32)]));
  });
  ranges.forEach(({ integers, values }, index) => {
    const bounds = Buffer.alloc(16);
    bounds.writeBigUInt64BE(integers, 0);
    bounds.writeDoubleBE(values, 8);
    leaves.push(Buffer.concat([Buffer.of(0x14), u32(index), bounds]));
  });
  return leaves;
}

/** The tokenizer of a random model depends on its vocabulary alone. */
function optionsOf({ vocabulary }: ExactShape): RandomOptions {
  return { vocabulary };
}

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

function f32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeFloatBE(value);
  return bytes;
}

function sha256(...parts: readonly Uint8Array[]): Uint8Array {
  return new Uint8Array(createHash('sha256').update(Buffer.concat(parts)).digest());
}

function at<T>(list: readonly T[], index: number): T {
  return list[index % list.length] as T;
}
