/**
 * A model in memory as an engine loads it: the bytes of its file.
 *
 * @module
 */

import type { ExactModel } from './exact-model.ts';
import { fileLayout, type Part } from './file-layout.ts';
import type { LoadableModel } from './wasm/wasm-decoder.ts';

/**
 * The file of a model, as `file-layout.ts` lays it out; keeps a reference to the model. For little-endian machines, as the file is.
 *
 * @throws TypeError in `load` if a part has another length than the model's shape gives it
 */
export function loadableModel(model: ExactModel): LoadableModel {
  const { shape, matrices, vectors, tables } = model;
  const layout = fileLayout(shape);
  return {
    shape,
    load(into, offset) {
      const put = (part: Part | null | undefined, data: ArrayBufferView | null) => {
        if (part === null || part === undefined || data === null) return;
        if (part.bytes !== data.byteLength) throw new TypeError(`part of ${part.bytes} bytes, got ${data.byteLength}`);
        into.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), offset + part.offset);
      };
      matrices.forEach((matrix, id) => {
        const parts = layout.matrices[id];
        put(parts?.scales, matrix.scales);
        put(parts?.groupScales, matrix.groupScales);
        put(parts?.weights, matrix.weights);
      });
      vectors.forEach((vector, id) => {
        put(layout.vectors[id], vector);
      });
      for (const name of ['exponential', 'sigmoid', 'cos', 'sin'] as const) put(layout.tables[name], tables[name]);
    },
  };
}
