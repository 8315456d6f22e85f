/**
 * Reads the header of a safetensors file: eight bytes of length (little-endian), a JSON object from names to type,
 * shape and place, then the numbers. As in the reference implementation the tensors must follow each other without gap
 * or overlap and end with the file; beyond it, duplicate names, counts and sizes of the header are bounded or refused.
 *
 * Source: https://github.com/huggingface/safetensors (README, `safetensors/src/tensor.rs`).
 *
 * @module
 */

import { isJsonObject, type LosslessJson } from '../../attest/encoding/canonical-json.ts';
import { ModelError } from '../errors.ts';
import type { ByteSource } from '../gguf/source.ts';
import { DTYPE_BITS } from './dtype.ts';
import { parseLosslessObject } from './json-file.ts';

/** One tensor; its place is checked against the file's size. */
export type TensorEntry = {
  /** Name of the element type, one of {@link DTYPE_BITS}. */
  readonly dtype: string;
  /** Extents, slowest first; none for a single number. */
  readonly shape: readonly number[];
  /** First byte, from the start of the file. */
  readonly offset: number;
  readonly sizeBytes: number;
};

/** Longest header, as in the reference implementation. */
export const MAX_HEADER_BYTES = 100_000_000;

/** Signs that start a value of the header: enough for 65,000 tensors. */
const MAX_HEADER_VALUES = 1 << 19;
const MAX_RANK = 16;
const MAX_NAME_LENGTH = 1024;

/**
 * Reads the header.
 *
 * @param source - untrusted
 * @param file - name for the error's place
 * @returns tensors in the order of their bytes
 * @throws {@link ModelError} with `at.file`: `TRUNCATED`, `TOO_LARGE`, `TOO_DEEP`, `NOT_SAFETENSORS` (no JSON object
 *   where one should be), `DUPLICATE_KEY`, and with `at.tensor`: `MALFORMED_VALUE`, `MALFORMED_SHAPE` (extents that do
 *   not make the bytes), `MALFORMED_OFFSET` (a gap, also one before the end), `OVERLAPPING_TENSORS`,
 *   `UNSUPPORTED_TENSOR_TYPE`
 */
export function parseSafetensors(source: ByteSource, file: string): ReadonlyMap<string, TensorEntry> {
  const { start, bytes } = readHeader(source, file);
  const header = parseLosslessObject(bytes, file, {
    maxBytes: MAX_HEADER_BYTES,
    maxValues: MAX_HEADER_VALUES,
    maxDepth: 4,
    fault: 'NOT_SAFETENSORS',
  });
  const places: { readonly name: string; readonly begin: number; readonly entry: TensorEntry }[] = [];
  for (const [name, value] of Object.entries(header)) {
    if (name === '__metadata__') checkMetadata(value, file);
    else places.push(readEntry(name, value, start, file));
  }
  places.sort((a, b) => a.begin - b.begin || a.entry.sizeBytes - b.entry.sizeBytes);
  let position = 0;
  for (const { name, begin, entry } of places) {
    if (begin !== position) {
      const code = begin < position ? 'OVERLAPPING_TENSORS' : 'MALFORMED_OFFSET';
      fail(code, file, name, `starts at byte ${begin}, the one before it ends at ${position}`);
    }
    position += entry.sizeBytes;
    if (start + position > source.size) fail('TRUNCATED', file, name, `ends behind a file of ${source.size} bytes`);
  }
  if (start + position !== source.size) {
    const rest = `${source.size - start - position} bytes behind the last tensor`;
    throw new ModelError('MALFORMED_OFFSET', `${file} has ${rest}`, { at: { file, offset: start + position } });
  }
  return new Map(places.map(({ name, entry }) => [name, entry]));
}

function readHeader(source: ByteSource, file: string): { readonly start: number; readonly bytes: Uint8Array } {
  if (source.size < 8) {
    throw new ModelError('TRUNCATED', `${file} has ${source.size} bytes, no header`, { at: { file } });
  }
  const prefix = source.read(0, 8);
  const length = new DataView(prefix.buffer, prefix.byteOffset, 8).getBigUint64(0, true);
  if (length > BigInt(MAX_HEADER_BYTES)) {
    throw new ModelError('TOO_LARGE', `${file}: a header of ${length} bytes, at most ${MAX_HEADER_BYTES}`, {
      at: { file, offset: 0 },
    });
  }
  const start = 8 + Number(length);
  if (start > source.size) {
    throw new ModelError('TRUNCATED', `${file}: a header of ${length} bytes in a file of ${source.size}`, {
      at: { file, offset: 0 },
    });
  }
  const bytes = source.read(8, Number(length));
  if (bytes[0] !== 0x7b) {
    throw new ModelError('NOT_SAFETENSORS', `${file}: the header does not begin with a brace`, {
      at: { file, offset: 8 },
    });
  }
  return { start, bytes };
}

/** Free text for people; nothing here reads it. */
function checkMetadata(value: LosslessJson, file: string): void {
  if (!isJsonObject(value) || !Object.values(value).every((text) => typeof text === 'string')) {
    fail('MALFORMED_VALUE', file, '__metadata__', 'is no map of texts');
  }
}

function readEntry(name: string, value: LosslessJson, start: number, file: string) {
  if (name.length > MAX_NAME_LENGTH) fail('TOO_LARGE', file, name, `has a name of ${name.length} letters`);
  const fields = isJsonObject(value) ? value : fail('MALFORMED_VALUE', file, name, 'is no object');
  for (const key of Object.keys(fields)) {
    if (key !== 'dtype' && key !== 'shape' && key !== 'data_offsets') {
      fail('MALFORMED_VALUE', file, name, `has an unknown field ${key.slice(0, 64)}`);
    }
  }
  const dtype = typeof fields['dtype'] === 'string' ? fields['dtype'] : fail('MALFORMED_VALUE', file, name, 'no dtype');
  const bits = DTYPE_BITS.get(dtype) ?? fail('UNSUPPORTED_TENSOR_TYPE', file, name, `type ${dtype.slice(0, 64)}`);
  const shape = readIntegers(fields['shape']) ?? fail('MALFORMED_VALUE', file, name, 'no shape of whole numbers');
  const offsets = readIntegers(fields['data_offsets']);
  const [begin, end] = offsets ?? [];
  if (begin === undefined || end === undefined || offsets?.length !== 2) {
    return fail('MALFORMED_VALUE', file, name, 'expected two whole numbers as data_offsets');
  }
  if (end < begin) fail('MALFORMED_OFFSET', file, name, `ends at byte ${end}, before its start ${begin}`);
  if (shape.length > MAX_RANK) fail('MALFORMED_SHAPE', file, name, `has ${shape.length} extents`);
  let size = bits;
  for (const extent of shape) {
    size *= extent;
    if (!Number.isSafeInteger(size)) fail('MALFORMED_SHAPE', file, name, 'has more bits than can be counted');
  }
  if (size !== 8 * (end - begin)) {
    fail('MALFORMED_SHAPE', file, name, `${dtype} [${shape.join()}] does not make ${end - begin} bytes`);
  }
  return { name, begin, entry: { dtype, shape, offset: start + begin, sizeBytes: end - begin } };
}

function readIntegers(value: LosslessJson | undefined): readonly number[] | undefined {
  if (!Array.isArray(value)) return undefined;
  const sound = value.every(
    (item) => typeof item === 'bigint' && item >= 0n && item <= BigInt(Number.MAX_SAFE_INTEGER),
  );
  return sound ? value.map(Number) : undefined;
}

function fail(code: ModelError['code'], file: string, tensor: string, message: string): never {
  const name = tensor.slice(0, 200);
  throw new ModelError(code, `${file}: tensor ${name}: ${message}`, { at: { file, tensor: name } });
}
