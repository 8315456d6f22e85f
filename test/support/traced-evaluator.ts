/**
 * A slow evaluator of the operation list that watches every number: the largest integer and the largest binary32 of each
 * operation, those in between included. Written after the specification, apart from every engine.
 *
 * @module
 */

import type { ExactMatrix, ExactModel } from '../../inference/exact/exact-model.ts';
import { type Operation, operationList } from '../../inference/exact/operations.ts';

/** Largest magnitudes seen in an operation. */
export type Seen = { integers: number; values: number };

export type Evaluated = {
  /** By operation. */
  readonly seen: readonly Seen[];
  /** Largest element of any result, by operation. */
  readonly largest: readonly number[];
  /** Results of the last position by operation: elements, or integers times scale of a quantised row. */
  readonly results: readonly Float32Array[];
};

type Row = { readonly integers: number[]; readonly scale: number };
type Result = { readonly x: Float32Array; readonly heads: readonly Row[] };

/** Runs a sequence through the model, every position by itself. */
export function evaluateTraced(model: ExactModel, tokens: readonly number[]): Evaluated {
  const { operations } = operationList(model.shape);
  const seen = operations.map(() => ({ integers: 0, values: 0 }));
  const largest = operations.map(() => 0);
  const caches = operations.map((): (readonly Row[])[] => []);
  let results: Result[] = [];
  tokens.forEach((token, position) => {
    results = [];
    for (const operation of operations) {
      const evaluator = new Evaluator(model, seen[operation.index] as Seen, caches);
      const result = evaluator.run(operation, results, token, position);
      if (operation.kind === 'keep') caches[operation.index]?.push(result.heads);
      largest[operation.index] = Math.max(largest[operation.index] ?? 0, ...result.x.map(Math.abs));
      results.push(result);
    }
  });
  return { seen, largest, results: results.map(({ x }) => x) };
}

class Evaluator {
  readonly #model: ExactModel;
  readonly #seen: Seen;
  readonly #caches: readonly (readonly Row[])[][];

  constructor(model: ExactModel, seen: Seen, caches: readonly (readonly Row[])[][]) {
    this.#model = model;
    this.#seen = seen;
    this.#caches = caches;
  }

  run(operation: Operation, results: readonly Result[], token: number, position: number): Result {
    const { shape, matrices, vectors, tables } = this.#model;
    const input = (index: number) => results[operation.inputs[index] ?? -1] as Result;
    const matrix = matrices[operation.matrix ?? -1] as ExactMatrix;
    const vector = vectors[operation.vector ?? -1] as Float32Array;
    const plain = (x: Iterable<number>): Result => ({ x: Float32Array.from(x), heads: [] });
    const quantised = (rows: readonly Row[]): Result => ({
      x: Float32Array.from(rows.flatMap(({ integers, scale }) => integers.map((a) => a * scale))),
      heads: rows,
    });
    switch (operation.kind) {
      case 'embed':
        return plain(
          this.#weights(matrix, token).map((w) => this.#fl(this.#int(w) * (matrix.scales[token] as number))),
        );
      case 'norm':
        return quantised([this.quantise(this.norm([...input(0).x], [...vector], shape.epsilon), 8127)]);
      case 'headNorm':
        return plain(chunks(input(0).x, shape.headSize).flatMap((head) => this.norm(head, [...vector], shape.epsilon)));
      case 'product': {
        const { integers, scale } = input(0).heads[0] as Row;
        return plain(
          Array.from({ length: matrix.rows }, (_, r) => {
            let acc = 0;
            this.#weights(matrix, r).forEach((w, k) => {
              acc += w * (integers[k] as number);
            });
            const y = this.#fl(this.#fl(this.#fl(this.#int(acc)) * (matrix.scales[r] as number)) * scale);
            return operation.vector === undefined ? y : this.#fl(y + (vector[r] as number));
          }),
        );
      }
      case 'rotate':
        return plain(
          chunks(input(0).x, shape.headSize).flatMap((head) => {
            const half = shape.headSize / 2;
            const turned = [...head];
            for (let i = 0; i < half; i++) {
              const [a, b] = [head[i] as number, head[i + half] as number];
              const [cos, sin] = [tables.cos[position * half + i] as number, tables.sin[position * half + i] as number];
              turned[i] = this.#fl(this.#fl(a * cos) - this.#fl(b * sin));
              turned[i + half] = this.#fl(this.#fl(a * sin) + this.#fl(b * cos));
            }
            return turned;
          }),
        );
      case 'keep':
        return quantised(chunks(input(0).x, shape.headSize).map((head) => this.quantise(head, operation.constant)));
      case 'attention':
        return plain(this.#attention(operation, input(0).x));
      case 'quantise':
        return quantised([this.quantise([...input(0).x], 8127)]);
      case 'add':
        return plain(input(0).x.map((x, k) => this.#fl(x + (input(1).x[k] as number))));
      case 'gate':
        return plain(
          input(0).x.map((g, k) => {
            const index = this.#int(Math.min(32_767, Math.max(-32_768, rne(this.#fl(g * 2048)))) + 32_768);
            return this.#fl(this.#fl(g * (tables.sigmoid[index] as number)) * (input(1).x[k] as number));
          }),
        );
    }
  }

  quantise(y: readonly number[], M: number): Row {
    const m = Math.max(2 ** -40, ...y.map(Math.abs));
    const r = this.#fl(M / m);
    const integers = y.map((v) => this.#int(rne(this.#fl(v * r))));
    for (const a of integers) if (Math.abs(a) > M) throw new Error(`${a} is beyond ${M}`);
    return { integers, scale: this.#fl(m / M) };
  }

  norm(x: readonly number[], gain: readonly number[], epsilon: number): number[] {
    const { integers, scale } = this.quantise(x, 8127);
    const q = this.#fl(this.#int(integers.reduce((sum, b) => sum + b * b, 0)));
    const u = this.#fl(this.#fl(q / x.length) * this.#fl(scale * scale));
    const v = this.#fl(1 / this.#fl(Math.sqrt(this.#fl(u + epsilon))));
    return x.map((value, k) => this.#fl(this.#fl(value * v) * (gain[k] as number)));
  }

  #attention(operation: Operation, query: Float32Array): number[] {
    const { shape, tables } = this.#model;
    const [, keysAt = -1, valuesAt = -1] = operation.inputs;
    const C = Math.fround(2048 / Math.sqrt(shape.headSize));
    const B = Math.fround(16_383 / 65_535);
    return chunks(query, shape.headSize).flatMap((head, h) => {
      const group = Math.floor(h / (shape.heads / shape.kvHeads));
      const keys = (this.#caches[keysAt] ?? []).map((rows) => rows[group] as Row);
      const values = (this.#caches[valuesAt] ?? []).map((rows) => rows[group] as Row);
      const { integers: a, scale } = this.quantise(head, 8127);
      const f = this.#fl(scale * C);
      const t = keys.map((key) => this.#fl(this.#fl(this.#fl(this.#int(dot(a, key.integers))) * f) * key.scale));
      const m = Math.max(...t);
      const e = t.map((score) => tables.exponential[Math.min(32_767, rne(this.#fl(m - score)))] as number);
      const z = this.#int(e.reduce((x, y) => x + y, 0));
      const vm = Math.max(...values.map((value) => value.scale));
      const p = e.map((w, j) => {
        const ratio = this.#fl((values[j]?.scale as number) / vm);
        return this.#int(rne(this.#fl(this.#fl(w * B) * ratio)));
      });
      return head.map((_, k) => {
        const sum = this.#int(p.reduce((acc, w, j) => acc + w * (values[j]?.integers[k] as number), 0));
        return this.#fl(this.#fl(this.#fl(sum) * vm) / this.#fl(this.#fl(z) * B));
      });
    });
  }

  /** `c * q` of a row. */
  #weights(matrix: ExactMatrix, row: number): number[] {
    const { columns, stride, weights, groupScales } = matrix;
    const groups = Math.ceil(columns / 32);
    return Array.from({ length: columns }, (_, k) => {
      const c = groupScales === null ? 1 : (groupScales[row * groups + Math.floor(k / 32)] as number);
      return c * (weights[row * stride + k] as number);
    });
  }

  #fl(value: number): number {
    const rounded = Math.fround(value);
    if (!Number.isFinite(rounded)) throw new Error(`not finite: ${value}`);
    this.#seen.values = Math.max(this.#seen.values, Math.abs(rounded));
    return rounded;
  }

  #int(value: number): number {
    if (!Number.isSafeInteger(value)) throw new Error(`no safe integer: ${value}`);
    this.#seen.integers = Math.max(this.#seen.integers, Math.abs(value));
    return value;
  }
}

/** The nearest integer, ties to even, by comparison. */
function rne(value: number): number {
  const below = Math.floor(value);
  const rest = value - below;
  return rest > 0.5 || (rest === 0.5 && below % 2 !== 0) ? below + 1 : below;
}

function dot(a: readonly number[], b: readonly number[]): number {
  return a.reduce((sum, x, k) => sum + x * (b[k] as number), 0);
}

function chunks(x: Float32Array, size: number): number[][] {
  return Array.from({ length: x.length / size }, (_, h) => [...x.subarray(h * size, (h + 1) * size)]);
}
