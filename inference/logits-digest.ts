/**
 * The digest that two computers compare: SHA-256 over logits, each row `[vocabulary]` binary32, little-endian, in order.
 *
 * @module
 */

import { createHash } from 'node:crypto';
import { type Hex, toHex } from '../attest/core/bytes.ts';

/** A digest that grows row by row. */
export class LogitsDigest {
  readonly #hash = createHash('sha256');

  /** @param logits - `[vocabulary]` */
  append(logits: Float32Array): void {
    this.#hash.update(littleEndian(logits));
  }

  /** The digest; nothing can be appended afterwards. */
  finish(): Hex {
    return toHex(this.#hash.digest());
  }
}

function littleEndian(values: Float32Array): Uint8Array {
  const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
  if (IS_LITTLE_ENDIAN) return bytes;
  const swapped = bytes.slice();
  for (let i = 0; i < swapped.length; i += 4) swapped.subarray(i, i + 4).reverse();
  return swapped;
}

const IS_LITTLE_ENDIAN = new Uint8Array(Uint32Array.of(1).buffer)[0] === 1;
