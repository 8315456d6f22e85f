import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { convertModel, toHalves } from '../../../inference/exact/convert.ts';
import { exactModelFrom } from '../../../inference/exact/exact-file.ts';
import type { ExactModel } from '../../../inference/exact/exact-model.ts';
import { modelExtents } from '../../../inference/exact/extents.ts';
import { operationList } from '../../../inference/exact/operations.ts';
import { quantiseRow } from '../../../inference/exact/quantise-weights.ts';
import { computeRanges } from '../../../inference/exact/ranges.ts';
import { exponentialEntry, rotaryEntry, sigmoidEntry } from '../../../inference/exact/tables.ts';
import { openGgufSource } from '../../../inference/gguf/gguf-source.ts';
import type { ModelSource, TensorPlace } from '../../../inference/model-source.ts';
import { type RandomOptions, randomSource, tensorPlaces } from '../../support/random-source.ts';
import { temporaryFolder } from '../../support/temporary.ts';
import { tinyGguf } from '../../support/tiny-model.ts';

describe('convertModel', () => {
  it.each([
    ['llama', { family: 'llama', rotaryLayout: 'halves' }],
    ['qwen2', { family: 'qwen2' }],
    ['qwen3, tied', { family: 'qwen3', tied: true, embedding: 50, headSize: 6, heads: 3, kvHeads: 3 }],
  ] as const)('quantises every row of %s and keeps every vector', (_, options) => {
    const source = randomSource(options);
    const model = exactModelFrom(source);
    const { matrices, vectors } = operationList(model.shape);
    for (const { id, tensor, layer, rows, columns, grouped } of matrices) {
      const matrix = model.matrices[id] as ExactModel['matrices'][number];
      const expected = {
        columns,
        stride: matrix.stride,
        weights: new Int8Array(rows * matrix.stride),
        scales: new Float32Array(rows),
        groupScales: grouped ? new Uint8Array(rows * Math.ceil(columns / 32)) : null,
      };
      const values = readTensor(source, { tensor, layer } as TensorPlace, rows * columns, rows);
      for (let row = 0; row < rows; row++) quantiseRow(values, row * columns, expected, row);
      expect({ ...matrix }).toEqual({ rows, ...expected });
    }
    for (const { id, tensor, layer, length } of vectors) {
      expect(model.vectors[id]).toEqual(readTensor(source, { tensor, layer } as TensorPlace, length, 1));
    }
  });

  it('only what serves as output matrix is grouped', () => {
    const grouped = (tied: boolean) =>
      exactModelFrom(randomSource({ tied })).matrices.flatMap(({ groupScales }, id) => (groupScales ? [id] : []));
    expect(grouped(true)).toEqual([0]);
    expect(grouped(false)).toEqual([15]);
  });

  it('has bounds of its own weights', () => {
    const model = exactModelFrom(randomSource({ family: 'qwen2' }));
    expect(model.ranges).toEqual(computeRanges(model.shape, modelExtents(model)));
  });

  it('has the tables of the specification, with the scaling of the model', () => {
    const scaled = { kind: 'linear', factor: 3 } as const;
    const { tables } = exactModelFrom(randomSource({ contextLength: 40, headSize: 8, rotaryScaling: scaled }));
    expect(tables.exponential[1000]).toBe(exponentialEntry(1000));
    expect(tables.sigmoid[30_000]).toBe(sigmoidEntry(30_000));
    const config = { headSize: 8, rotaryBase: 10_000, rotaryScaling: scaled };
    const { cos, sin } = rotaryEntry(config, 39, 1);
    expect([tables.cos[39 * 4 + 1], tables.sin[39 * 4 + 1]]).toEqual([cos, sin]);
    expect(tables.cos.length).toBe(160);
  });

  it('more weights than a chunk, in rows of odd length, come out the same', () => {
    const options: RandomOptions = {
      layers: 1,
      embedding: 301,
      headSize: 2,
      heads: 2,
      kvHeads: 1,
      feedForward: 8,
      vocabulary: 4000,
    };
    const source = randomSource(options);
    const messages: string[] = [];
    const counts: number[] = [];
    const watched: ModelSource = {
      ...source,
      readRows(place, first, count, out) {
        counts.push(count * (place.tensor === 'embedding' ? 301 : 0));
        source.readRows(place, first, count, out);
      },
    };
    const { commitment, layout } = convertModel(
      watched,
      () => {},
      (message) => messages.push(message),
    );
    expect(counts.filter((count) => count > 0).length).toBe(2);
    expect(Math.max(...counts)).toBeLessThanOrEqual(1 << 20);
    const model = exactModelFrom(source);
    expect(model.commitment).toBe(commitment);
    const last = new Float32Array(301);
    source.readRows({ tensor: 'embedding' }, 3999, 1, last);
    const row = {
      columns: 301,
      stride: 320,
      weights: new Int8Array(320),
      scales: new Float32Array(1),
      groupScales: null,
    };
    quantiseRow(last, 0, row, 0);
    expect(model.matrices[0]?.weights.slice(3999 * 320)).toEqual(row.weights);
    expect(model.matrices[0]?.weights.length).toBe(layout.matrices[0]?.weights.bytes);
    expect(messages.filter((message) => message.includes('%')).length).toBeGreaterThanOrEqual(3);
    expect(messages.at(-1)).toContain('100 %');
    const alter: NonNullable<RandomOptions['alter']> = (_, row, values) => {
      if (row === 3999) values[300] = Number.NaN;
    };
    expect(() => convertModel(randomSource({ ...options, alter }), () => {})).toThrow(
      expect.objectContaining({ at: { tensor: 'embedding', layer: null, row: 3999 } }),
    );
  });

  it('fills every byte of every part but the padding of rows', () => {
    const touched: Uint8Array[] = [];
    const source = randomSource({ family: 'qwen3', embedding: 40, headSize: 10 });
    const { layout } = convertModel(source, (offset, bytes) => {
      touched[0] ??= new Uint8Array(layoutBytes(source));
      touched[0].fill(1, offset, offset + bytes.length);
    });
    const { matrices, vectors, tables } = layout;
    const parts = [...matrices.flatMap((m) => [m.scales, m.weights, ...(m.groupScales ? [m.groupScales] : [])])];
    for (const { offset, bytes } of [...parts, ...vectors, ...Object.values(tables)]) {
      expect(touched[0]?.subarray(offset, offset + bytes).every((byte) => byte === 1)).toBe(true);
    }
  });

  it.each([
    ['embedding', undefined, 99],
    ['query', 1, 13],
    ['down', 0, 31],
    ['outputNorm', undefined, 0],
    ['valueBias', 1, 0],
  ] as const)('refuses a weight of %s that is not finite, by its row in the file', (tensor, layer, row) => {
    for (const bad of [Number.NaN, Number.NEGATIVE_INFINITY]) {
      const alter: NonNullable<RandomOptions['alter']> = (place, at, values) => {
        if (place.tensor === tensor && place.layer === layer && at === row) values[values.length - 1] = bad;
      };
      expect(() => exactModelFrom(randomSource({ family: 'qwen2', rotaryLayout: 'interleaved', alter }))).toThrow(
        expect.objectContaining({ code: 'WEIGHT_NOT_FINITE', at: { tensor, layer: layer ?? null, row } }),
      );
    }
  });

  it('refuses a model whose values may grow too large', () => {
    const alter: NonNullable<RandomOptions['alter']> = ({ tensor }, _, values) => {
      if (tensor === 'embedding') values.fill(2 ** 70);
    };
    expect(() => exactModelFrom(randomSource({ alter }))).toThrow(
      expect.objectContaining({
        code: 'RANGE_EXCEEDED',
        at: { operation: 1, kind: 'norm', tensor: 'attentionNorm', layer: 0 },
      }),
    );
  });

  it('refuses a shape that has no exact form', () => {
    const { config, ...rest } = randomSource();
    const source = { ...rest, config: { ...config, headSize: 300 } };
    expect(() => convertModel(source, () => {})).toThrow(expect.objectContaining({ code: 'UNSUPPORTED_FEATURE' }));
  });

  it.each(['llama', 'qwen2', 'qwen3'] as const)('reads a GGUF file of %s', (family) => {
    const path = join(temporaryFolder(), 'tiny.gguf');
    writeFileSync(path, tinyGguf({ family }));
    const source = openGgufSource(path);
    const model = exactModelFrom(source);
    source.close();
    expect(model.shape).toMatchObject({ biases: family === 'qwen2', headNorms: family === 'qwen3' });
    expect(model.commitment).toMatch(/^0x[0-9a-f]{64}$/);
  });
});

describe('the rotary layout', () => {
  it('pairs of neighbours become halves', () => {
    expect([0, 1, 2, 3, 4, 5].map(toHalves(6))).toEqual([0, 3, 1, 4, 2, 5]);
    expect([6, 7, 8, 9].map(toHalves(4))).toEqual([5, 7, 8, 10]);
  });

  it.each([{}, { biases: true, headNorm: true }])('is one model however its file lays it out (%#)', (options) => {
    // one seed, so the same rows: in the second file they stand where a file of neighbours has them
    const halves = randomSource({ ...options, family: 'llama', rotaryLayout: 'halves' });
    const neighbours = asNeighbours(halves);
    expect(neighbours.config.rotaryLayout).toBe('interleaved');
    expect(exactModelFrom(neighbours).commitment).toBe(exactModelFrom(halves).commitment);
    const unturned = { ...neighbours, config: halves.config };
    expect(exactModelFrom(unturned).commitment).not.toBe(exactModelFrom(halves).commitment);
  });
});

/** The same model in the other layout: element `i` of a head's first half stands at `2i`, of its second half at `2i + 1`. */
function asNeighbours(source: ModelSource): ModelSource {
  const { headSize } = source.config;
  const origin = (row: number) => {
    const inHead = row % headSize;
    return row - inHead + Math.floor(inHead / 2) + (inHead % 2 === 1 ? headSize / 2 : 0);
  };
  return {
    ...source,
    config: { ...source.config, rotaryLayout: 'interleaved' },
    readRows(place, first, count, out) {
      const shape = tensorPlaces(source.config).find(({ place: { tensor } }) => tensor === place.tensor)?.shape ?? [
        0, 0,
      ];
      if (!/^(query|key)/.test(place.tensor)) return source.readRows(place, first, count, out);
      const [rows, columns] = shape;
      const whole = new Float32Array(rows * columns);
      source.readRows(place, 0, rows, whole);
      if (rows === 1) {
        out.set(whole.map((_, k) => whole[origin(k)] as number));
        return;
      }
      for (let i = 0; i < count; i++) {
        const from = origin(first + i);
        out.set(whole.subarray(from * columns, (from + 1) * columns), i * columns);
      }
    },
  };
}

function readTensor(source: ModelSource, place: TensorPlace, length: number, rows: number): Float32Array {
  const values = new Float32Array(length);
  source.readRows(place, 0, rows, values);
  return values;
}

function layoutBytes(source: ModelSource): number {
  return convertModel(source, () => {}).layout.bytes;
}
