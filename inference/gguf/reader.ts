/**
 * Reader of GGUF versions 2 and 3 (little-endian): header, key-values and tensor places. The file is untrusted: every
 * count, length, offset and product is checked before anything is allocated for it.
 *
 * Source: `docs/gguf.md` of ggml.
 *
 * @module
 */

import { type GgufErrorCode, ModelError } from '../errors.ts';
import type { ByteSource } from './source.ts';
import { type Gguf, type GgufValue, TENSOR_TYPES, type TensorInfo } from './types.ts';

/** Limits on what a file may make the reader allocate; real models stay far below. */
export const GGUF_LIMITS = {
  keyValues: 4096,
  tensors: 16_384,
  nameBytes: 256,
  stringBytes: 1 << 20,
  /** Array elements of all key-values together. */
  elements: 1 << 22,
  /** Everything before the tensor data. */
  metadataBytes: 128 << 20,
  arrayDepth: 3,
  dimensions: 4,
  alignment: 1 << 20,
} as const;

const MAGIC = 0x46554747;
const DEFAULT_ALIGNMENT = 32;
const WINDOW_BYTES = 1 << 18;

/**
 * Parses everything before the tensor data and checks that every tensor lies inside the file, aligned and apart from
 * the others. Does not look at weights.
 *
 * @param source - untrusted
 * @throws {@link ModelError} with a {@link GgufErrorCode}; `at.offset` is the byte where the fault was noticed
 */
export function parseGguf(source: ByteSource): Gguf {
  const cursor = new Cursor(source);
  if (source.size < 4 || cursor.u32() !== MAGIC)
    throw new ModelError('NOT_GGUF', 'file does not start with GGUF', { at: { offset: 0 } });
  const version = cursor.u32();
  if (version !== 2 && version !== 3) {
    throw cursor.fault('UNSUPPORTED_VERSION', `expected GGUF version 2 or 3, got ${version}`);
  }
  const tensorCount = cursor.count(GGUF_LIMITS.tensors, 'tensors');
  const keyCount = cursor.count(GGUF_LIMITS.keyValues, 'key-values');

  const metadata = new Map<string, GgufValue>();
  for (let i = 0; i < keyCount; i++) {
    const key = cursor.name();
    if (metadata.has(key)) throw cursor.fault('DUPLICATE_KEY', `key ${key} occurs twice`, { key });
    metadata.set(key, cursor.value(cursor.u32(), 0));
  }
  const alignment = readAlignment(metadata);

  const raw: RawTensor[] = [];
  const names = new Set<string>();
  for (let i = 0; i < tensorCount; i++) {
    const tensor = readTensorInfo(cursor);
    if (names.has(tensor.name))
      throw cursor.fault('DUPLICATE_TENSOR', `tensor ${tensor.name} occurs twice`, { tensor: tensor.name });
    names.add(tensor.name);
    raw.push(tensor);
  }
  const dataOffset = Math.ceil(cursor.position / alignment) * alignment;
  return { version, metadata, tensors: placeTensors(raw, dataOffset, alignment, source.size), dataOffset };
}

type RawTensor = Omit<TensorInfo, 'offset'> & { readonly relative: bigint };

function readAlignment(metadata: ReadonlyMap<string, GgufValue>): number {
  const value = metadata.get('general.alignment') ?? DEFAULT_ALIGNMENT;
  if (typeof value !== 'number' || value < 8 || value > GGUF_LIMITS.alignment || (value & (value - 1)) !== 0) {
    throw new ModelError(
      'MALFORMED_ALIGNMENT',
      `general.alignment is not a power of two in [8, ${GGUF_LIMITS.alignment}]`,
      {
        at: { key: 'general.alignment' },
      },
    );
  }
  return value;
}

function readTensorInfo(cursor: Cursor): RawTensor {
  const name = cursor.name();
  const rank = cursor.u32();
  if (rank < 1 || rank > GGUF_LIMITS.dimensions) {
    throw cursor.fault('MALFORMED_SHAPE', `tensor ${name} has ${rank} dimensions`, { tensor: name });
  }
  const shape: number[] = [];
  let elements = 1n;
  for (let i = 0; i < rank; i++) {
    const extent = cursor.u64();
    if (extent < 1n || extent > 0x7fffffffn) {
      throw cursor.fault('MALFORMED_SHAPE', `tensor ${name} has extent ${extent}`, { tensor: name });
    }
    shape.push(Number(extent));
    elements *= extent; // at most 2^124: exact in bigint
  }
  const typeNumber = cursor.u32();
  const layout = TENSOR_TYPES.get(typeNumber);
  if (layout === undefined) {
    throw cursor.fault('UNSUPPORTED_TENSOR_TYPE', `tensor ${name} has type ${typeNumber}, which is not read here`, {
      tensor: name,
      type: typeNumber,
    });
  }
  if ((shape[0] ?? 0) % layout.elements !== 0) {
    throw cursor.fault('MALFORMED_SHAPE', `rows of tensor ${name} are not whole ${layout.type} blocks`, {
      tensor: name,
    });
  }
  const sizeBytes = (elements / BigInt(layout.elements)) * BigInt(layout.bytes);
  if (sizeBytes > BigInt(Number.MAX_SAFE_INTEGER)) {
    throw cursor.fault('MALFORMED_SHAPE', `tensor ${name} is larger than any file`, { tensor: name });
  }
  return { name, layout, shape, elements: Number(elements), sizeBytes: Number(sizeBytes), relative: cursor.u64() };
}

function placeTensors(
  raw: readonly RawTensor[],
  dataOffset: number,
  alignment: number,
  size: number,
): Map<string, TensorInfo> {
  const placed = raw.map((tensor): TensorInfo => {
    const { name, layout, shape, elements, sizeBytes, relative } = tensor;
    const at = { tensor: name };
    if (relative % BigInt(alignment) !== 0n)
      throw new ModelError('MALFORMED_OFFSET', `tensor ${name} is not aligned`, { at });
    const end = BigInt(dataOffset) + relative + BigInt(sizeBytes);
    if (end > BigInt(size)) {
      throw new ModelError('TRUNCATED', `tensor ${name} ends at byte ${end} of a file of ${size}`, { at });
    }
    return { name, layout, shape, elements, sizeBytes, offset: dataOffset + Number(relative) };
  });
  const sorted = [...placed].sort((a, b) => a.offset - b.offset);
  let end = 0;
  for (const tensor of sorted) {
    if (tensor.offset < end) {
      throw new ModelError('OVERLAPPING_TENSORS', `tensor ${tensor.name} overlaps another`, {
        at: { tensor: tensor.name },
      });
    }
    end = tensor.offset + tensor.sizeBytes;
  }
  return new Map(placed.map((tensor) => [tensor.name, tensor]));
}

/** Smallest encoding of a value of each type, to bound a count before its elements are read. */
const MINIMUM_BYTES: readonly number[] = [1, 1, 2, 2, 4, 4, 4, 1, 8, 12, 8, 8, 8];

/** Forward reader with a window over the source, so that the header of a large file is read in few calls. */
class Cursor {
  position = 0;
  readonly #source: ByteSource;
  #window = Buffer.alloc(0);
  #view = new DataView(new ArrayBuffer(0));
  #start = 0;
  #elements = 0;
  readonly #utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

  constructor(source: ByteSource) {
    this.#source = source;
  }

  fault(code: GgufErrorCode, message: string, at: Readonly<Record<string, string | number>> = {}): ModelError {
    return new ModelError(code, message, { at: { ...at, offset: this.position } });
  }

  u32(): number {
    const at = this.#take(4);
    return this.#view.getUint32(at, true);
  }

  u64(): bigint {
    const at = this.#take(8);
    return this.#view.getBigUint64(at, true);
  }

  /** Millions of these are read: no bigint is made of one that is small. */
  count(limit: number, what: string): number {
    const at = this.#take(8);
    const low = this.#view.getUint32(at, true);
    if (this.#view.getUint32(at + 4, true) === 0 && low <= limit) return low;
    throw this.fault('TOO_LARGE', `${this.#view.getBigUint64(at, true)} ${what}, at most ${limit} are read`);
  }

  name(): string {
    const text = this.string(GGUF_LIMITS.nameBytes);
    if (text.length === 0) throw this.fault('MALFORMED_STRING', 'empty name');
    return text;
  }

  string(limit: number = GGUF_LIMITS.stringBytes): string {
    const length = this.count(limit, 'bytes of text');
    const at = this.#take(length);
    if (this.#isAscii(at, length)) return this.#window.toString('latin1', at, at + length);
    try {
      return this.#utf8.decode(this.#window.subarray(at, at + length));
    } catch (cause) {
      throw new ModelError('MALFORMED_STRING', 'text is not UTF-8', { at: { offset: this.position - length }, cause });
    }
  }

  value(type: number, depth: number): GgufValue {
    switch (type) {
      case 0:
      case 1: {
        const at = this.#take(1);
        return type === 0 ? this.#view.getUint8(at) : this.#view.getInt8(at);
      }
      case 2:
      case 3: {
        const at = this.#take(2);
        return type === 2 ? this.#view.getUint16(at, true) : this.#view.getInt16(at, true);
      }
      case 4:
        return this.u32();
      case 5:
      case 6: {
        const at = this.#take(4);
        return type === 5 ? this.#view.getInt32(at, true) : this.#view.getFloat32(at, true);
      }
      case 7: {
        const at = this.#take(1);
        const bit = this.#view.getUint8(at);
        if (bit > 1) throw this.fault('MALFORMED_VALUE', `expected a boolean, got ${bit}`);
        return bit === 1;
      }
      case 8:
        return this.string();
      case 9:
        return this.#array(depth);
      case 10:
        return this.u64();
      case 11:
      case 12: {
        const at = this.#take(8);
        return type === 11 ? this.#view.getBigInt64(at, true) : this.#view.getFloat64(at, true);
      }
      default:
        throw this.fault('MALFORMED_VALUE', `unknown value type ${type}`);
    }
  }

  #array(depth: number): readonly GgufValue[] {
    if (depth >= GGUF_LIMITS.arrayDepth)
      throw this.fault('TOO_DEEP', `arrays nest deeper than ${GGUF_LIMITS.arrayDepth}`);
    const type = this.u32();
    const minimum = MINIMUM_BYTES[type];
    if (minimum === undefined) throw this.fault('MALFORMED_VALUE', `unknown element type ${type}`);
    const length = this.count(GGUF_LIMITS.elements, 'array elements');
    this.#elements += length;
    if (this.#elements > GGUF_LIMITS.elements) throw this.fault('TOO_LARGE', 'too many array elements in all');
    if (length * minimum > this.#source.size - this.position)
      throw this.fault('TRUNCATED', 'array runs past the end of the file');
    const out: GgufValue[] = [];
    for (let i = 0; i < length; i++) out.push(this.value(type, depth + 1));
    return out;
  }

  #isAscii(at: number, length: number): boolean {
    for (let i = at; i < at + length; i++) if ((this.#window[i] as number) > 0x7f) return false;
    return true;
  }

  /** Advances by `length` and returns where those bytes are in the window and its view, which the next call may replace. */
  #take(length: number): number {
    const end = this.position + length;
    if (end > this.#source.size) throw this.fault('TRUNCATED', `file ends at byte ${this.#source.size}`);
    if (end > GGUF_LIMITS.metadataBytes) throw this.fault('TOO_LARGE', 'metadata is larger than is read');
    if (end > this.#start + this.#window.length) {
      const size = Math.min(Math.max(WINDOW_BYTES, length), this.#source.size - this.position);
      this.#window = Buffer.from(this.#source.read(this.position, size));
      this.#view = new DataView(this.#window.buffer, this.#window.byteOffset, size);
      this.#start = this.position;
    }
    const at = this.position - this.#start;
    this.position = end;
    return at;
  }
}
