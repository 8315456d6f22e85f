/**
 * Messages on a pipe: four bytes of length, little-endian, then as many bytes.
 *
 * @module
 */

import { HostFault } from './vm.ts';

const HEADER_BYTES = 4;

/** The bytes of one message, header first; in two pieces, so that a large one is not copied. */
export function frame(payload: Uint8Array): readonly [header: Uint8Array, payload: Uint8Array] {
  const header = new Uint8Array(HEADER_BYTES);
  new DataView(header.buffer).setUint32(0, payload.length, true);
  return [header, payload];
}

/** Puts messages together again from the pieces in which a pipe gives them. */
export class FrameReader {
  /** Longest payload that is taken; set before the bytes come. */
  maxBytes: number;
  #pieces: Uint8Array[] = [];
  #held = 0;

  constructor(maxBytes: number) {
    this.maxBytes = maxBytes;
  }

  /**
   * Takes the next piece and returns the payloads that are now whole.
   *
   * @param piece - untrusted; kept, not copied, until its message is whole
   * @throws {@link HostFault} `HOST_INTERNAL` if a message is longer than {@link FrameReader.maxBytes}
   */
  push(piece: Uint8Array): Uint8Array[] {
    this.#pieces.push(piece);
    this.#held += piece.length;
    const whole: Uint8Array[] = [];
    while (this.#held >= HEADER_BYTES) {
      const length = this.#length();
      // attacker-controlled: nothing is allocated or awaited for a length that is refused
      if (length > this.maxBytes) {
        throw new HostFault('HOST_INTERNAL', `sandbox sends ${length} bytes, at most ${this.maxBytes}`);
      }
      if (this.#held < HEADER_BYTES + length) break;
      const bytes = this.#joined();
      whole.push(bytes.subarray(HEADER_BYTES, HEADER_BYTES + length));
      this.#pieces = [bytes.subarray(HEADER_BYTES + length)];
      this.#held = bytes.length - HEADER_BYTES - length;
    }
    return whole;
  }

  #length(): number {
    const first = this.#pieces[0];
    const bytes = first !== undefined && first.length >= HEADER_BYTES ? first : this.#joined();
    return new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true);
  }

  #joined(): Uint8Array {
    const [first] = this.#pieces;
    if (first !== undefined && this.#pieces.length === 1) return first;
    const joined = Buffer.concat(this.#pieces, this.#held);
    this.#pieces = [joined];
    return joined;
  }
}
