/**
 * Writer of the protocol buffer wire format, as far as ONNX needs it: varints, length-delimited fields, binary32.
 *
 * Source: protobuf.dev, "Encoding".
 *
 * @module
 */

/** Values from this size on are not copied before {@link ProtobufWriter.finish}. */
const LARGE = 4096;

/**
 * Collects fields. They come out in the order of the calls, so equal calls give equal bytes. A value of 4 KiB or more is kept by
 * reference until {@link ProtobufWriter.finish}, however deep its message lies: weights are copied once.
 */
export class ProtobufWriter {
  /** Finished parts, before what is in the buffer. */
  readonly #parts: Uint8Array[] = [];
  #partBytes = 0;
  #bytes = new Uint8Array(256);
  #length = 0;

  /** A varint field; negative numbers as 64-bit two's complement. */
  int(field: number, value: number | bigint): this {
    this.#tag(field, 0);
    this.#varint(BigInt.asUintN(64, BigInt(value)));
    return this;
  }

  /** A 32-bit field that holds a binary32, little-endian. */
  float(field: number, value: number): this {
    this.#tag(field, 5);
    const bytes = new Uint8Array(4);
    new DataView(bytes.buffer).setFloat32(0, value, true);
    this.#append(bytes);
    return this;
  }

  /** A length-delimited field of raw bytes. */
  bytes(field: number, value: Uint8Array): this {
    this.#tag(field, 2);
    this.#varint(BigInt(value.length));
    this.#append(value);
    return this;
  }

  /** A length-delimited field of UTF-8 text. */
  string(field: number, value: string): this {
    return this.bytes(field, new TextEncoder().encode(value));
  }

  /** A length-delimited field that holds the fields written by `body`. */
  message(field: number, body: (writer: ProtobufWriter) => void): this {
    const inner = new ProtobufWriter();
    body(inner);
    this.#tag(field, 2);
    this.#varint(BigInt(inner.#partBytes + inner.#length));
    for (const part of inner.#parts) this.#append(part);
    this.#append(inner.#bytes.subarray(0, inner.#length));
    return this;
  }

  /** A copy of what was written. */
  finish(): Uint8Array {
    const bytes = new Uint8Array(this.#partBytes + this.#length);
    let at = 0;
    for (const part of this.#parts) {
      bytes.set(part, at);
      at += part.length;
    }
    bytes.set(this.#bytes.subarray(0, this.#length), at);
    return bytes;
  }

  #tag(field: number, wire: number): void {
    this.#varint(BigInt(field * 8 + wire));
  }

  #varint(value: bigint): void {
    const out: number[] = [];
    let rest = value;
    while (rest > 127n) {
      out.push(Number(rest & 127n) | 128);
      rest >>= 7n;
    }
    out.push(Number(rest));
    this.#append(Uint8Array.from(out));
  }

  #append(bytes: Uint8Array): void {
    if (bytes.length >= LARGE) {
      this.#flush();
      this.#keep(bytes);
      return;
    }
    const needed = this.#length + bytes.length;
    if (needed > this.#bytes.length) {
      const grown = new Uint8Array(Math.max(needed, 2 * this.#bytes.length));
      grown.set(this.#bytes.subarray(0, this.#length));
      this.#bytes = grown;
    }
    this.#bytes.set(bytes, this.#length);
    this.#length = needed;
  }

  #flush(): void {
    if (this.#length > 0) this.#keep(this.#bytes.subarray(0, this.#length));
    this.#bytes = new Uint8Array(256);
    this.#length = 0;
  }

  #keep(part: Uint8Array): void {
    this.#parts.push(part);
    this.#partBytes += part.length;
  }
}
