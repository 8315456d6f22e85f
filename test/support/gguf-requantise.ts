/**
 * Writes a GGUF again with other weights: matrices as `Q8_0` or everything as `F32`. Key-values are copied byte by byte,
 * so that another program reads the same model from it. Values come from our own reader; `Q8_0` is made in the order of
 * operations of ggml.
 *
 * Source: `ggml-quants.c`, `quantize_row_q8_0_ref`; `docs/gguf.md` of ggml.
 *
 * @module
 */

import { closeSync, openSync, renameSync, writeSync } from 'node:fs';
import { dequantise } from '../../inference/gguf/dequantise.ts';
import { parseGguf } from '../../inference/gguf/reader.ts';
import { type ByteSource, openFileSource } from '../../inference/gguf/source.ts';
import { type BlockLayout, TENSOR_TYPES, type TensorInfo } from '../../inference/gguf/types.ts';

/** Weights of the written file. Vectors stay binary32 in both, as llama.cpp expects. */
export type RequantiseTarget = 'Q8_0' | 'F32';

const ALIGNMENT = 32;
/** Values held at a time; a multiple of every block. */
const CHUNK_VALUES = 1 << 20;
const GGUF_HEADER_BYTES = 24;

/**
 * Writes `to` from `from`; `to` appears whole or not at all.
 *
 * @throws {@link ModelError} if `from` is not a GGUF that the reader accepts; `RangeError` if a row of a matrix is not a
 *   whole number of blocks, or the file has an alignment other than 32
 */
export function requantiseGguf(from: string, to: string, target: RequantiseTarget): void {
  const source = openFileSource(from);
  try {
    const aside = `${to}.${process.pid}.new`;
    const file = openSync(aside, 'w');
    try {
      for (const bytes of requantised(source, target)) writeAll(file, bytes);
    } finally {
      closeSync(file);
    }
    renameSync(aside, to);
  } finally {
    source.close();
  }
}

/** The bytes of the written file in order; a piece is valid until the next is asked. */
export function* requantised(source: ByteSource, target: RequantiseTarget): Generator<Uint8Array> {
  const gguf = parseGguf(source);
  if ((gguf.metadata.get('general.alignment') ?? ALIGNMENT) !== ALIGNMENT) throw new RangeError('unusual alignment');
  const plans = [...gguf.tensors.values()].map((tensor) => ({ tensor, number: typeOf(tensor, target) }));

  const head = Buffer.from(source.read(0, keyValuesEnd(source)));
  head.writeUInt32LE(3, 4);
  const infos: Buffer[] = [];
  let offset = 0;
  for (const { tensor, number } of plans) {
    infos.push(tensorInfo(tensor, number, offset));
    offset = aligned(offset + sizeOf(tensor, number));
  }
  const written = Buffer.concat([head, ...infos]);
  yield written;
  yield new Uint8Array(aligned(written.length) - written.length);

  const values = new Float32Array(CHUNK_VALUES);
  for (const { tensor, number } of plans) {
    const { layout } = tensor;
    for (let at = 0; at < tensor.elements; at += CHUNK_VALUES) {
      const part = values.subarray(0, Math.min(CHUNK_VALUES, tensor.elements - at));
      const place = tensor.offset + (at / layout.elements) * layout.bytes;
      dequantise(layout, source.read(place, (part.length / layout.elements) * layout.bytes), part);
      yield layoutOf(number).type === 'Q8_0' ? quantiseQ8(part) : floatBytes(part);
    }
    const size = sizeOf(tensor, number);
    yield new Uint8Array(aligned(size) - size);
  }
}

/**
 * Blocks of `Q8_0`: `d = max|x| / 127`, `q = round(x * (1 / d))` with halves away from zero, all in binary32, `d` stored as
 * binary16.
 *
 * @param values - a whole number of blocks of 32, all finite
 */
export function quantiseQ8(values: Float32Array): Uint8Array {
  if (values.length % 32 !== 0) throw new RangeError(`${values.length} values are not whole blocks`);
  const out = new Uint8Array((values.length / 32) * 34);
  const view = new DataView(out.buffer);
  for (let block = 0; block * 32 < values.length; block++) {
    const from = block * 32;
    let most = 0;
    for (let i = 0; i < 32; i++) most = Math.max(most, Math.abs(values[from + i] as number));
    const scale = Math.fround(most / 127);
    const inverse = scale === 0 ? 0 : Math.fround(1 / scale);
    const to = block * 34;
    view.setUint16(to, floatToHalf(scale), true);
    for (let i = 0; i < 32; i++) {
      const x = Math.fround((values[from + i] as number) * inverse);
      view.setInt8(to + 2 + i, Math.sign(x) * Math.floor(Math.abs(x) + 0.5));
    }
  }
  return out;
}

/** The binary16 nearest to a finite number, ties to even; too large ones become infinity. */
export function floatToHalf(value: number): number {
  const sign = value < 0 || Object.is(value, -0) ? 0x8000 : 0;
  const size = Math.abs(value);
  if (size >= 65_520) return sign | 0x7c00;
  // Spacing of binary16 around `size`: 2^(exponent - 10), at least 2^-24. Division by it is exact.
  const exponent = Math.max(size === 0 ? -14 : binaryExponent(size), -14);
  const steps = roundEven(size / 2 ** (exponent - 10));
  return sign | (((exponent + 14) << 10) + steps);
}

/** Exponent `e` with `2^e <= size < 2^(e + 1)`. */
function binaryExponent(size: number): number {
  const exponent = Math.floor(Math.log2(size));
  if (2 ** exponent > size) return exponent - 1;
  return 2 ** (exponent + 1) <= size ? exponent + 1 : exponent;
}

function roundEven(value: number): number {
  const low = Math.floor(value);
  const rest = value - low;
  if (rest !== 0.5) return rest < 0.5 ? low : low + 1;
  return low % 2 === 0 ? low : low + 1;
}

function typeOf({ name, shape }: TensorInfo, target: RequantiseTarget): number {
  if (target === 'F32' || shape.length === 1) return 0;
  if ((shape[0] ?? 0) % 32 !== 0) throw new RangeError(`rows of ${name} are not whole blocks`);
  return 8;
}

function layoutOf(number: number): BlockLayout {
  const layout = TENSOR_TYPES.get(number);
  if (layout === undefined) throw new RangeError(`no tensor type ${number}`);
  return layout;
}

function sizeOf({ elements }: TensorInfo, number: number): number {
  const layout = layoutOf(number);
  return (elements / layout.elements) * layout.bytes;
}

function tensorInfo({ name, shape }: TensorInfo, number: number, offset: number): Buffer {
  const text = Buffer.from(name);
  const out = Buffer.alloc(8 + text.length + 4 + 8 * shape.length + 4 + 8);
  let at = out.writeBigUInt64LE(BigInt(text.length), 0);
  at += text.copy(out, at);
  at = out.writeUInt32LE(shape.length, at);
  for (const extent of shape) at = out.writeBigUInt64LE(BigInt(extent), at);
  at = out.writeUInt32LE(number, at);
  out.writeBigUInt64LE(BigInt(offset), at);
  return out;
}

/** Bytes of a key-value by type; texts (8) and lists (9) say their own. */
const FIXED_BYTES: readonly number[] = [1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8];

/** First byte after the key-values of a file that {@link parseGguf} has accepted. */
function keyValuesEnd(source: ByteSource): number {
  let at = GGUF_HEADER_BYTES;
  const number = (bytes: 4 | 8): number => {
    const view = Buffer.from(source.read(at, bytes));
    at += bytes;
    return bytes === 4 ? view.readUInt32LE() : Number(view.readBigUInt64LE());
  };
  const skipText = () => {
    const length = number(8);
    at += length;
  };
  const skipValue = (type: number): void => {
    if (type === 8) {
      skipText();
    } else if (type === 9) {
      const element = number(4);
      const count = number(8);
      if (element === 8 || element === 9) for (let i = 0; i < count; i++) skipValue(element);
      else at += count * (FIXED_BYTES[element] ?? 0);
    } else {
      at += FIXED_BYTES[type] ?? 0;
    }
  };
  const count = Number(Buffer.from(source.read(16, 8)).readBigUInt64LE());
  for (let i = 0; i < count; i++) {
    skipText();
    skipValue(number(4));
  }
  return at;
}

function aligned(value: number): number {
  return Math.ceil(value / ALIGNMENT) * ALIGNMENT;
}

/** GGUF is little-endian, as are all platforms that the benches run on. */
function floatBytes(values: Float32Array): Uint8Array {
  return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
}

function writeAll(file: number, bytes: Uint8Array): void {
  for (let done = 0; done < bytes.length; ) done += writeSync(file, bytes, done);
}
