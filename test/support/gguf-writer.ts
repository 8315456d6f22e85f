/**
 * A small GGUF writer for tests: version 3, little-endian, tensors in the given order.
 *
 * @module
 */

import { TENSOR_TYPES, type TensorType } from '../../inference/gguf/types.ts';

/** A key-value: the type is written out, because JavaScript numbers do not tell. */
export type Field =
  | { readonly type: 'u8' | 'u32' | 'i32' | 'f32'; readonly value: number }
  | { readonly type: 'u64'; readonly value: bigint }
  | { readonly type: 'bool'; readonly value: boolean }
  | { readonly type: 'string'; readonly value: string }
  | { readonly type: 'strings'; readonly value: readonly string[] }
  | { readonly type: 'i32s' | 'f32s'; readonly value: readonly number[] };

export type TensorData = {
  readonly type: TensorType;
  /** Fastest extent first. */
  readonly shape: readonly number[];
  readonly bytes: Uint8Array;
};

const NUMBERS = { u8: 0, u32: 4, i32: 5, f32: 6, bool: 7, string: 8, array: 9, u64: 10 } as const;

/** Writes a whole file. */
export function writeGguf(
  fields: ReadonlyMap<string, Field>,
  tensors: ReadonlyMap<string, TensorData>,
  alignment = 32,
): Uint8Array {
  const out = new Bytes();
  out.text('GGUF').u32(3).u64(tensors.size).u64(fields.size);
  for (const [key, field] of fields) writeField(out.string(key), field);
  let offset = 0;
  for (const [name, tensor] of tensors) {
    out.string(name).u32(tensor.shape.length);
    for (const extent of tensor.shape) out.u64(extent);
    out.u32(typeNumber(tensor.type)).u64(offset);
    offset = align(offset + tensor.bytes.length, alignment);
  }
  out.pad(alignment);
  for (const tensor of tensors.values()) out.raw(tensor.bytes).pad(alignment);
  return out.finish();
}

function writeField(out: Bytes, field: Field): void {
  switch (field.type) {
    case 'u8':
      out.u32(NUMBERS.u8).raw(Uint8Array.of(field.value));
      break;
    case 'bool':
      out.u32(NUMBERS.bool).raw(Uint8Array.of(field.value ? 1 : 0));
      break;
    case 'u32':
    case 'i32':
      out.u32(NUMBERS[field.type]).u32(field.value);
      break;
    case 'f32':
      out.u32(NUMBERS.f32).f32(field.value);
      break;
    case 'u64':
      out.u32(NUMBERS.u64).u64(field.value);
      break;
    case 'string':
      out.u32(NUMBERS.string).string(field.value);
      break;
    case 'strings':
      out.u32(NUMBERS.array).u32(NUMBERS.string).u64(field.value.length);
      for (const text of field.value) out.string(text);
      break;
    case 'i32s':
      out.u32(NUMBERS.array).u32(NUMBERS.i32).u64(field.value.length);
      for (const value of field.value) out.u32(value);
      break;
    case 'f32s':
      out.u32(NUMBERS.array).u32(NUMBERS.f32).u64(field.value.length);
      for (const value of field.value) out.f32(value);
      break;
  }
}

function typeNumber(type: TensorType): number {
  for (const [number, layout] of TENSOR_TYPES) if (layout.type === type) return number;
  throw new RangeError(`no number for ${type}`);
}

function align(value: number, to: number): number {
  return Math.ceil(value / to) * to;
}

class Bytes {
  #buffer = Buffer.alloc(1 << 16);
  #length = 0;

  #room(count: number): number {
    if (this.#length + count > this.#buffer.length) {
      this.#buffer = Buffer.concat([this.#buffer, Buffer.alloc(Math.max(count, this.#buffer.length))]);
    }
    const at = this.#length;
    this.#length += count;
    return at;
  }

  raw(bytes: Uint8Array): this {
    const at = this.#room(bytes.length);
    this.#buffer.set(bytes, at);
    return this;
  }

  text(text: string): this {
    return this.raw(Buffer.from(text));
  }

  string(text: string): this {
    const bytes = Buffer.from(text);
    return this.u64(bytes.length).raw(bytes);
  }

  u32(value: number): this {
    const at = this.#room(4);
    this.#buffer.writeUInt32LE(value >>> 0, at);
    return this;
  }

  f32(value: number): this {
    const at = this.#room(4);
    this.#buffer.writeFloatLE(value, at);
    return this;
  }

  u64(value: number | bigint): this {
    const at = this.#room(8);
    this.#buffer.writeBigUInt64LE(BigInt(value), at);
    return this;
  }

  pad(to: number): this {
    return this.raw(new Uint8Array(align(this.#length, to) - this.#length));
  }

  finish(): Uint8Array {
    return Uint8Array.from(this.#buffer.subarray(0, this.#length));
  }
}
