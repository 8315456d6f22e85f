/**
 * Where everything lies in the memory that the kernels and all threads share: the model's file as it is, records that point into it, buffers for one
 * batch, and behind them the caches of sequences.
 *
 * The words of the configuration block are read by `assembly/model.ts`.
 *
 * @module
 */

import { type ExactShape, keyMax, VALUE_MAX } from '../exact-model.ts';
import { type FileLayout, fileLayout } from '../file-layout.ts';
import { operationList, scoreConstant } from '../operations.ts';
import { type Group, type MatrixPlace, MOST_SUMS } from '../ort/parts.ts';
import type { ProductPlan } from '../ort/products.ts';

/** Static data of the module lies below; nothing of ours does. */
const BASE = 65_536;

const MATRIX_BYTES = 24;
const LAYER_BYTES = 256;
const CONTROL_BYTES = 256 + 64 * 64;
const COMMAND_BYTES = 256;

/** Widened weights of one panel (`assembly/many-rows.ts`), and room for one block of four rows of any matrix. */
const PANEL_BYTES = 32_768;

/** Matrices of a layer in the order of its record. */
const LAYER_MATRICES = ['query', 'key', 'value', 'attentionOutput', 'gate', 'up', 'down'] as const;

/** Gains of a layer in the order of its record. */
const LAYER_GAINS = ['attentionNorm', 'feedForwardNorm', 'queryNorm', 'keyNorm'] as const;

/** Matrices of a layer whose products have one input, in the order of `assembly/index.ts`. */
const LAYER_GROUPS = [['query', 'key', 'value'], ['attentionOutput'], ['gate', 'up'], ['down']] as const;

const BIASES: Readonly<Record<string, string>> = { query: 'queryBias', key: 'keyBias', value: 'valueBias' };

/** What a plan is made for. */
export type PlanOptions = {
  /** At least 1. */
  readonly threads: number;
  /** Most rows of one batch. */
  readonly maxRows: number;
  /** Rows whose logits are computed at a time. */
  readonly logitRows: number;
  /** Fewest rows whose products the host computes; 0 for none at all. */
  readonly hostRows: number;
};

/** Addresses in bytes. */
export type MemoryPlan = {
  readonly layout: FileLayout;
  /** Where the model's file is loaded. */
  readonly file: number;
  readonly configuration: number;
  readonly command: number;
  readonly rowTokens: number;
  readonly rowPositions: number;
  readonly rowCaches: number;
  readonly rowCapacities: number;
  readonly residual: number;
  readonly logits: number;
  /** Products of the host; undefined where it computes none. */
  readonly products: ProductPlan | undefined;
  /** Four rows of the widest matrix. */
  readonly scratch: number;
  /** First byte of the caches. */
  readonly end: number;
  /** 32-bit words to write, `[address, value]`. */
  readonly words: readonly (readonly [number, number])[];
};

/** Plans the memory of one engine. */
export function planMemory(shape: ExactShape, options: PlanOptions): MemoryPlan {
  const { threads, maxRows, logitRows, hostRows } = options;
  const layout = fileLayout(shape);
  const { matrices, vectors } = operationList(shape);
  let end = BASE;
  const take = (bytes: number) => {
    const at = end;
    // A cache line apart, so that threads do not share one by accident.
    end = Math.ceil((at + bytes) / 64) * 64 + 64;
    return at;
  };
  const words: [number, number][] = [];
  const file = take(layout.bytes);

  const configuration = take(256 + 32 * threads);
  const control = take(CONTROL_BYTES);
  const command = take(COMMAND_BYTES);
  const layers = take(LAYER_BYTES * shape.layers);
  const records = take(2 * MATRIX_BYTES);
  const vectorAt = (tensor: string, layer: number | undefined) => {
    const found = vectors.find((place) => place.tensor === tensor && place.layer === layer);
    return found === undefined ? 0 : file + (layout.vectors[found.id]?.offset ?? 0);
  };
  const partsAt = (tensor: string, layer: number | undefined) => {
    const place = matrices.find((one) => one.tensor === tensor && one.layer === layer);
    const parts = place === undefined ? undefined : layout.matrices[place.id];
    if (parts === undefined) throw new TypeError(`no matrix ${tensor} of layer ${layer}`);
    return parts;
  };
  const placeOf = (tensor: string, layer: number | undefined): MatrixPlace => {
    const { weights, groupScales, rows, stride } = partsAt(tensor, layer);
    return {
      weights: file + weights.offset,
      groupScales: groupScales === null ? null : file + groupScales.offset,
      rows,
      columns: stride,
    };
  };
  const writeMatrix = (at: number, tensor: string, layer: number | undefined) => {
    const parts = partsAt(tensor, layer);
    const bias = BIASES[tensor];
    const values = [
      file + parts.weights.offset,
      file + parts.scales.offset,
      parts.groupScales === null ? 0 : file + parts.groupScales.offset,
      parts.rows,
      parts.stride,
      bias === undefined ? 0 : vectorAt(bias, layer),
    ];
    values.forEach((value, i) => {
      words.push([at + 4 * i, value]);
    });
  };
  for (let layer = 0; layer < shape.layers; layer++) {
    const at = layers + LAYER_BYTES * layer;
    LAYER_MATRICES.forEach((tensor, i) => {
      writeMatrix(at + MATRIX_BYTES * i, tensor, layer);
    });
    LAYER_GAINS.forEach((tensor, i) => {
      words.push([at + MATRIX_BYTES * LAYER_MATRICES.length + 4 * i, vectorAt(tensor, layer)]);
    });
  }
  writeMatrix(records, 'embedding', undefined);
  const outputMatrix = shape.separateOutput ? 'output' : 'embedding';
  writeMatrix(records + MATRIX_BYTES, outputMatrix, undefined);

  const up = (n: number, step: number) => Math.ceil(n / step) * step;
  const query = shape.heads * shape.headSize;
  const mixedLength = query + 2 * shape.kvHeads * shape.headSize;
  const mostColumns = up(Math.max(shape.embedding, shape.feedForward, query), 32);
  const pairedRows = up(maxRows, 2);
  const floats = (perRow: number, rows = maxRows) => take(4 * rows * up(perRow, 8));
  const rows = [take(4 * maxRows), take(4 * maxRows), take(4 * maxRows), take(4 * maxRows)] as const;
  const residual = floats(shape.embedding);
  const mixed = floats(mixedLength);
  const attended = floats(query);
  const gates = floats(shape.feedForward);
  const ups = floats(shape.feedForward);
  const logits = floats(shape.vocabulary, logitRows);
  const sharedRows = take(2 * pairedRows * mostColumns);
  const sharedScales = take(4 * pairedRows);
  const scratch = take(4 * mostColumns);
  const mostRows = Math.max(maxRows, logitRows);
  const limbRows = hostRows === 0 ? 0 : take(2 * mostRows * mostColumns);

  const { tables } = layout;
  const configurationWords = [
    shape.layers,
    shape.embedding,
    shape.feedForward,
    shape.heads,
    shape.kvHeads,
    shape.headSize,
    shape.vocabulary,
    keyMax(shape),
    VALUE_MAX,
    bits(shape.epsilon),
    bits(scoreConstant(shape.headSize)),
    layers,
    records,
    records + MATRIX_BYTES,
    vectorAt('outputNorm', undefined),
    file + tables.exponential.offset,
    file + tables.sigmoid.offset,
    file + tables.cos.offset,
    file + tables.sin.offset,
    control,
    ...rows,
    residual,
    mixed,
    attended,
    gates,
    ups,
    logits,
    sharedRows,
    sharedScales,
    limbRows,
    hostRows,
  ];
  configurationWords.forEach((value, i) => {
    words.push([configuration + 4 * i, value]);
  });
  const positions = up(shape.context, 8);
  const groups: Group[] =
    hostRows === 0
      ? []
      : [
          ...Array.from({ length: shape.layers }, (_, layer) =>
            LAYER_GROUPS.map((tensors) => tensors.map((tensor) => placeOf(tensor, layer))),
          ).flat(),
          [placeOf(outputMatrix, undefined)],
        ];
  const sums: number[] = [];
  for (let thread = 0; thread < threads; thread++) {
    const own = [
      take(2 * mostColumns),
      take(4 * Math.max(up(shape.embedding, 8), up(shape.headSize, 8))),
      take(4 * positions),
      take(2 * positions),
      take(Math.max(PANEL_BYTES, 8 * mostColumns)),
      // The last four sums are read together.
      hostRows === 0 ? 0 : take(4 * MOST_SUMS + 16),
    ];
    sums.push(own.at(-1) as number);
    own.forEach((value, i) => {
      words.push([configuration + 256 + 32 * thread + 4 * i, value]);
    });
  }
  return {
    layout,
    file,
    configuration,
    command,
    rowTokens: rows[0],
    rowPositions: rows[1],
    rowCaches: rows[2],
    rowCapacities: rows[3],
    residual,
    logits,
    products: hostRows === 0 ? undefined : { groups, limbRows, mostRows, sums },
    scratch,
    end,
    words,
  };
}

/** Bits of a binary32 as a signed word. */
function bits(value: number): number {
  return new Int32Array(Float32Array.of(value).buffer)[0] as number;
}
