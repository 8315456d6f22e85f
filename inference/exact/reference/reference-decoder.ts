/**
 * The reference engine: computes the operation list of a model, one operation after the other, each for all rows of a call
 * in order. It is written to be compared with the specification, not to be fast.
 *
 * R1. An operation on a row reads results of that row alone, and *attention* also what its own sequence keeps of the
 *     positions up to the row's.
 * R2. A sequence's length grows at the end of `forward` only; what a failed call kept lies behind it and is written again
 *     before it is read.
 *
 * Spec: `inference/spec/exact.md#operation-list`.
 *
 * @module
 */

import { InferenceError } from '../../errors.ts';
import type { CacheView, ExactDecoder, Row } from '../exact-decoder.ts';
import { ACTIVATION_MAX, type ExactMatrix, type ExactModel, type ExactShape } from '../exact-model.ts';
import { type Operation, type OperationList, operationList } from '../operations.ts';
import { checkCapacity, checkCopy, isIndex, positionsOf } from '../rows.ts';
import { attention } from './attention.ts';
import { KeptRows } from './kept-rows.ts';
import { product } from './product.ts';
import { addRows, embed, gate, headNorm, normalise, type Quantised, quantise, rotate } from './row-operations.ts';

/** Most rows of one `forward` unless told otherwise. */
const MAX_ROWS = 512;

/** Opens the reference engine; it keeps a reference to the model and never changes it. */
export function openReference(model: ExactModel, options: openReference.Options = {}): ExactDecoder {
  return new ReferenceDecoder(model, options.maxRows ?? MAX_ROWS);
}

export declare namespace openReference {
  type Options = {
    /** Default 512. */
    readonly maxRows?: number;
  };
}

type Sequence = {
  readonly capacity: number;
  length: number;
  /** By the index of the *keep* operation. */
  readonly kept: ReadonlyMap<number, KeptRows>;
};

/** A row of a call: where it belongs, and the results of operations that are still needed, by their index. */
type RowState = {
  readonly token: number;
  readonly position: number;
  readonly sequence: Sequence;
  readonly vectors: Map<number, Float32Array>;
  readonly quantised: Map<number, Quantised>;
};

class ReferenceDecoder implements ExactDecoder {
  readonly name = 'reference';
  readonly shape: ExactShape;
  readonly maxRows: number;
  readonly #model: ExactModel;
  readonly #list: OperationList;
  /** Index of the last operation that takes the result of each. */
  readonly #lastUse: Int32Array;
  /** Indices of the operations whose results are the residual rows: after embed, and after each layer. */
  readonly #residuals: readonly number[];
  /** Indices of the *keep* operations: keys and values of each layer by turns. */
  readonly #keeps: readonly number[];
  readonly #sequences = new Map<number, Sequence>();
  #opened = 0;
  #closed = false;

  constructor(model: ExactModel, maxRows: number) {
    this.shape = model.shape;
    this.maxRows = maxRows;
    this.#model = model;
    this.#list = operationList(model.shape);
    const { operations } = this.#list;
    this.#lastUse = new Int32Array(operations.length);
    for (const { index, inputs } of operations) for (const input of inputs) this.#lastUse[input] = index;
    // a layer adds twice: after attention and after the feed-forward part
    const adds = indicesOf(operations, 'add').filter((_, i) => i % 2 === 1);
    this.#residuals = [...indicesOf(operations, 'embed'), ...adds];
    this.#keeps = indicesOf(operations, 'keep');
  }

  openSequence(capacity: number): number {
    this.#throwIfClosed();
    checkCapacity(capacity, this.shape.context);
    const { kvHeads, headSize } = this.shape;
    const kept = new Map(this.#keeps.map((index) => [index, new KeptRows(kvHeads, headSize, capacity)]));
    const handle = this.#opened++;
    this.#sequences.set(handle, { capacity, length: 0, kept });
    return handle;
  }

  closeSequence(sequence: number): void {
    this.#find(sequence);
    this.#sequences.delete(sequence);
  }

  lengthOf(sequence: number): number {
    return this.#find(sequence).length;
  }

  truncate(sequence: number, length: number): void {
    const found = this.#find(sequence);
    if (!isIndex(length, found.length + 1)) {
      throw new InferenceError('REQUEST_MALFORMED', `length ${length} of a sequence of ${found.length} positions`);
    }
    found.length = length;
  }

  copy(from: number, to: number, length: number): void {
    const source = this.#find(from);
    const target = this.#find(to);
    checkCopy(source, target, length);
    for (const [index, kept] of target.kept) kept.take(keptRows(source.kept, index), length);
    target.length = length;
  }

  forward(
    rows: readonly Row[],
    logitsOf: readonly number[],
    onLayer?: (layer: number, hidden: Float32Array) => void,
  ): Float32Array {
    this.#throwIfClosed();
    const { maxRows } = this;
    const { vocabulary } = this.shape;
    const sequence = (handle: number) => this.#sequences.get(handle);
    const positions = positionsOf(rows, logitsOf, { maxRows, vocabulary, sequence });
    const states = rows.map(
      (row, i): RowState => ({
        token: row.token,
        position: positions[i] as number,
        sequence: this.#find(row.sequence),
        vectors: new Map(),
        quantised: new Map(),
      }),
    );

    const { operations } = this.#list;
    const logits = operations.length - 1;
    const body = operations.slice(0, -2);
    for (const operation of body) {
      for (const state of states) this.#compute(operation, state);
      const layer = this.#residuals.indexOf(operation.index) - 1;
      if (layer >= -1) onLayer?.(layer, this.#hidden(states, operation.index));
    }
    const result = new Float32Array(logitsOf.length * vocabulary);
    logitsOf.forEach((row, i) => {
      const state = states[row] as RowState;
      for (const operation of operations.slice(-2)) this.#compute(operation, state);
      result.set(vectorOf(state, logits), i * vocabulary);
    });

    for (const state of states) state.sequence.length = state.position + 1;
    return result;
  }

  forwardEach(
    rows: readonly Row[],
    logitsOf: readonly number[],
    visit: (logits: Float32Array, index: number) => boolean | undefined,
  ): void {
    const { vocabulary } = this.shape;
    const logits = this.forward(rows, logitsOf);
    for (let i = 0; i < logitsOf.length; i++) {
      if (visit(logits.subarray(i * vocabulary, (i + 1) * vocabulary), i) === false) return;
    }
  }

  readCache(sequence: number, layer: number): CacheView {
    const { kept, length } = this.#find(sequence);
    if (!isIndex(layer, this.shape.layers)) throw new InferenceError('REQUEST_MALFORMED', `unknown layer ${layer}`);
    const keys = keptRows(kept, this.#keeps[2 * layer]).copy(length);
    const values = keptRows(kept, this.#keeps[2 * layer + 1]).copy(length);
    return {
      keys: keys.integers,
      keyScales: keys.scales,
      values: values.integers,
      valueScales: values.scales,
    };
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#sequences.clear();
  }

  /** Computes one operation of one row and drops the results that nothing needs after it. */
  #compute(operation: Operation, state: RowState): void {
    const { index, inputs, kind } = operation;
    const { tables } = this.#model;
    const { headSize } = this.shape;
    const { position, sequence } = state;
    const input = (i: number) => vectorOf(state, inputs[i]);
    const constant = () => floatOf(operation.constant);

    switch (kind) {
      case 'embed':
        state.vectors.set(index, embed(this.#matrix(operation), state.token));
        break;
      case 'norm': {
        const normed = normalise(input(0), this.#vector(operation), constant());
        state.quantised.set(index, quantise(normed, ACTIVATION_MAX));
        break;
      }
      case 'product': {
        const bias = operation.vector === undefined ? undefined : this.#vector(operation);
        state.vectors.set(index, product(this.#matrix(operation), quantisedOf(state, inputs[0]), bias));
        break;
      }
      case 'headNorm':
        state.vectors.set(index, headNorm(input(0), this.#vector(operation), constant()));
        break;
      case 'rotate':
        state.vectors.set(index, rotate(input(0), tables, headSize, position));
        break;
      case 'keep':
        keptRows(sequence.kept, index).keep(position, input(0), operation.constant);
        break;
      case 'attention': {
        const kept = { keys: keptRows(sequence.kept, inputs[1]), values: keptRows(sequence.kept, inputs[2]) };
        state.vectors.set(index, attention(input(0), kept, position, this.shape, constant(), tables));
        break;
      }
      case 'quantise':
        state.quantised.set(index, quantise(input(0), ACTIVATION_MAX));
        break;
      case 'add':
        state.vectors.set(index, addRows(input(0), input(1)));
        break;
      case 'gate':
        state.vectors.set(index, gate(input(0), input(1), tables.sigmoid));
        break;
    }
    for (const used of inputs) {
      if (this.#lastUse[used] !== index) continue;
      state.vectors.delete(used);
      state.quantised.delete(used);
    }
  }

  /** Residual rows after an operation, `[rows, embedding]`. */
  #hidden(states: readonly RowState[], index: number): Float32Array {
    const { embedding } = this.shape;
    const hidden = new Float32Array(states.length * embedding);
    states.forEach((state, row) => {
      hidden.set(vectorOf(state, index), row * embedding);
    });
    return hidden;
  }

  #matrix({ index, matrix }: Operation): ExactMatrix {
    const found = matrix === undefined ? undefined : this.#model.matrices[matrix];
    if (found === undefined) throw new TypeError(`operation ${index}: the model has no matrix ${matrix}`);
    return found;
  }

  #vector({ index, vector }: Operation): Float32Array {
    const found = vector === undefined ? undefined : this.#model.vectors[vector];
    if (found === undefined) throw new TypeError(`operation ${index}: the model has no vector ${vector}`);
    return found;
  }

  #find(sequence: number): Sequence {
    this.#throwIfClosed();
    const found = this.#sequences.get(sequence);
    if (found === undefined) throw new InferenceError('REQUEST_MALFORMED', `unknown sequence ${sequence}`);
    return found;
  }

  #throwIfClosed(): void {
    if (this.#closed) throw new InferenceError('ENGINE_CLOSED', 'the decoder is closed');
  }
}

function indicesOf(operations: readonly Operation[], kind: Operation['kind']): number[] {
  return operations.filter((operation) => operation.kind === kind).map(({ index }) => index);
}

function vectorOf(state: RowState, operation: number | undefined): Float32Array {
  const found = operation === undefined ? undefined : state.vectors.get(operation);
  if (found === undefined) throw new TypeError(`operation ${operation} gave no numbers`);
  return found;
}

function quantisedOf(state: RowState, operation: number | undefined): Quantised {
  const found = operation === undefined ? undefined : state.quantised.get(operation);
  if (found === undefined) throw new TypeError(`operation ${operation} gave no integers`);
  return found;
}

function keptRows(kept: ReadonlyMap<number, KeptRows>, operation: number | undefined): KeptRows {
  const found = operation === undefined ? undefined : kept.get(operation);
  if (found === undefined) throw new TypeError(`operation ${operation} keeps nothing`);
  return found;
}

/** The binary32 of 32 bits. */
function floatOf(bits: number): number {
  const view = new DataView(new ArrayBuffer(4));
  view.setUint32(0, bits);
  return view.getFloat32(0);
}
