/**
 * Writing a WebAssembly binary: a growing byte string with LEB128 integers.
 *
 * @module
 */

/** Bytes that grow as they are written. */
export class ByteWriter {
  #bytes: Uint8Array;
  #length = 0;

  /** @param capacity - bytes to reserve at first */
  constructor(capacity = 256) {
    this.#bytes = new Uint8Array(capacity);
  }

  /** Number of bytes written. */
  get length(): number {
    return this.#length;
  }

  /** Appends single bytes. */
  push(...bytes: readonly number[]): void {
    this.#reserve(bytes.length);
    for (const byte of bytes) this.#bytes[this.#length++] = byte;
  }

  /** Appends a byte string. */
  bytes(bytes: Uint8Array): void {
    this.#reserve(bytes.length);
    this.#bytes.set(bytes, this.#length);
    this.#length += bytes.length;
  }

  /** Appends an unsigned LEB128. */
  u32(value: number): void {
    let rest = value;
    while (rest >= 128) {
      this.push((rest % 128) | 128);
      rest = Math.floor(rest / 128);
    }
    this.push(rest);
  }

  /** Appends a signed LEB128 of a value in the safe integers. */
  signed(value: number): void {
    let rest = value;
    for (;;) {
      const low = ((rest % 128) + 128) % 128;
      rest = Math.floor(rest / 128);
      if ((rest === 0 && low < 64) || (rest === -1 && low >= 64)) {
        this.push(low);
        return;
      }
      this.push(low | 128);
    }
  }

  /** Appends a UTF-8 name with its length. */
  name(text: string): void {
    const bytes = new TextEncoder().encode(text);
    this.u32(bytes.length);
    this.bytes(bytes);
  }

  /** Appends a byte string with its length. */
  sized(bytes: Uint8Array): void {
    this.u32(bytes.length);
    this.bytes(bytes);
  }

  /** A view of what was written; later writes may or may not show in it. */
  view(): Uint8Array {
    return this.#bytes.subarray(0, this.#length);
  }

  #reserve(count: number): void {
    if (this.#length + count <= this.#bytes.length) return;
    const grown = new Uint8Array(Math.max(this.#bytes.length * 2, this.#length + count));
    grown.set(this.view());
    this.#bytes = grown;
  }
}
