/**
 * Values of a tensor out of a file, a part at a time, with one small buffer for all of them.
 *
 * @module
 */

import { dequantise } from './dequantise.ts';
import type { ByteSource } from './source.ts';
import type { TensorInfo } from './types.ts';

/** Bytes read at once. */
const CHUNK_BYTES = 1 << 20;

/** Reads values in binary32; keeps a buffer of up to 1 MiB. */
export class TensorReader {
  readonly #source: ByteSource;
  #buffer = new Uint8Array(0);

  /** @param source - where the tensors' places were found; stays the caller's */
  constructor(source: ByteSource) {
    this.#source = source;
  }

  /**
   * Fills `out` with the values from `first` on. Both `first` and `out.length` are whole blocks of the tensor's type.
   *
   * @throws {@link ModelError} `TRUNCATED` or `FILE_UNREADABLE` if the source fails
   * @throws RangeError if the values are not all in the tensor, or do not start and end with a block
   */
  read(tensor: TensorInfo, first: number, out: Float32Array): void {
    const { layout } = tensor;
    const block = first / layout.elements;
    if (!Number.isSafeInteger(block) || block < 0 || first + out.length > tensor.elements) {
      throw new RangeError(`values ${first} to ${first + out.length} of ${tensor.name}`);
    }
    if (out.length % layout.elements !== 0) throw new RangeError(`${out.length} values are not whole blocks`);
    const most = Math.floor(CHUNK_BYTES / layout.bytes) * layout.elements;
    for (let done = 0; done < out.length; ) {
      const count = Math.min(most, out.length - done);
      const bytes = this.#bytes((count / layout.elements) * layout.bytes);
      this.#source.readInto(tensor.offset + ((first + done) / layout.elements) * layout.bytes, bytes);
      dequantise(layout, bytes, out.subarray(done, done + count));
      done += count;
    }
  }

  #bytes(length: number): Uint8Array {
    if (this.#buffer.length < length) this.#buffer = new Uint8Array(length);
    return this.#buffer.subarray(0, length);
  }
}
