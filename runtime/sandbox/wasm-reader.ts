/**
 * Reading a WebAssembly binary: a cursor over bytes and the sections of a module.
 *
 * What the meter cannot bill or what would not be deterministic is refused here: shared or 64-bit memories, more than one
 * memory, tags (exceptions), GC types, vector types. A module is expected to have passed `WebAssembly.validate`.
 *
 * @module
 */

import { RuntimeError } from '../../attest/core/error.ts';

export type MeterErrorCode = 'MALFORMED_WASM' | 'UNSUPPORTED_WASM' | 'FRAME_TOO_LARGE';

/** A module that cannot be metered; `at` names the byte offset or the function. */
export class MeterError extends RuntimeError<MeterErrorCode> {
  override readonly name = 'MeterError';
}

/** Position in a byte string; reads past the end are `MALFORMED_WASM`. */
export class Cursor {
  readonly bytes: Uint8Array;
  offset: number;

  constructor(bytes: Uint8Array, offset = 0) {
    this.bytes = bytes;
    this.offset = offset;
  }

  /** One byte. */
  u8(): number {
    const byte = this.bytes[this.offset];
    if (byte === undefined) throw new MeterError('MALFORMED_WASM', 'unexpected end', { at: { offset: this.offset } });
    this.offset++;
    return byte;
  }

  /** An unsigned LEB128 of at most 32 bits. */
  u32(): number {
    let result = 0;
    let scale = 1;
    for (let i = 0; i < 5; i++) {
      const byte = this.u8();
      result += (byte & 0x7f) * scale;
      if ((byte & 0x80) === 0) return result;
      scale *= 128;
    }
    throw new MeterError('MALFORMED_WASM', 'integer longer than 32 bits', { at: { offset: this.offset } });
  }

  /** A signed LEB128 of at most 33 bits, which block types are. */
  s33(): number {
    let result = 0;
    let scale = 1;
    for (let i = 0; i < 5; i++) {
      const byte = this.u8();
      result += (byte & 0x7f) * scale;
      scale *= 128;
      if ((byte & 0x80) === 0) return (byte & 0x40) === 0 ? result : result - scale;
    }
    throw new MeterError('MALFORMED_WASM', 'integer longer than 33 bits', { at: { offset: this.offset } });
  }

  /** Passes over a LEB128 of at most 64 bits. */
  skipLeb(): void {
    for (let i = 0; i < 10; i++) if ((this.u8() & 0x80) === 0) return;
    throw new MeterError('MALFORMED_WASM', 'integer longer than 64 bits', { at: { offset: this.offset } });
  }

  /** Passes over `count` bytes. */
  skip(count: number): void {
    if (count > this.bytes.length - this.offset) {
      throw new MeterError('MALFORMED_WASM', `${count} bytes expected`, { at: { offset: this.offset } });
    }
    this.offset += count;
  }

  /** A value type of one byte: a number type or a plain reference. */
  valueType(): number {
    const at = this.offset;
    const type = this.u8();
    if (!isValueType(type)) {
      throw new MeterError('UNSUPPORTED_WASM', `value type 0x${type.toString(16)}`, { at: { offset: at } });
    }
    return type;
  }
}

/** Whether a byte is i32, i64, f32, f64, funcref or externref. */
export function isValueType(byte: number): boolean {
  return (byte >= 0x7c && byte <= 0x7f) || byte === 0x70 || byte === 0x6f;
}

/** Parameters and results of a function or block, as value type bytes. */
export type FunctionType = { readonly params: readonly number[]; readonly results: readonly number[] };

/** Extent of a section's or body's content in the module. */
export type Extent = { readonly start: number; readonly end: number };

/** What the meter has to know of a module. */
export type ModuleShape = {
  readonly bytes: Uint8Array;
  /** Sections by id, custom sections left out. */
  readonly sections: ReadonlyMap<number, Extent>;
  readonly types: readonly FunctionType[];
  /** Type index of every function, imported ones first. */
  readonly functions: readonly number[];
  readonly importedFunctions: number;
  /** Number of globals, imported ones included. */
  readonly globals: number;
  /** Function bodies, without their size. */
  readonly bodies: readonly Extent[];
};

/** Section ids in the order the standard demands. */
export const SECTION_ORDER: readonly number[] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 10, 11];

/**
 * Reads the shape of a module.
 *
 * @throws {@link MeterError} `MALFORMED_WASM`, or `UNSUPPORTED_WASM` for what is refused above
 */
export function readModule(bytes: Uint8Array): ModuleShape {
  const sections = readSections(bytes);
  const at = (id: number): Cursor | undefined => {
    const extent = sections.get(id);
    return extent && new Cursor(bytes.subarray(0, extent.end), extent.start);
  };
  const types = readVector(at(1), readFunctionType);
  const functions: number[] = [];
  let memories = 0;
  let globals = 0;
  readVector(at(2), (cursor) => {
    cursor.skip(cursor.u32());
    cursor.skip(cursor.u32());
    const kind = cursor.u8();
    if (kind === 0) {
      functions.push(cursor.u32());
    } else if (kind === 1) {
      cursor.valueType();
      readLimits(cursor, 'table');
    } else if (kind === 2) {
      readLimits(cursor, 'memory');
      memories++;
    } else if (kind === 3) {
      cursor.valueType();
      cursor.u8();
      globals++;
    } else {
      throw new MeterError('UNSUPPORTED_WASM', `import of kind ${kind}`, { at: { offset: cursor.offset } });
    }
  });
  const importedFunctions = functions.length;
  functions.push(...readVector(at(3), (cursor) => cursor.u32()));
  memories += readVector(at(5), (cursor) => readLimits(cursor, 'memory')).length;
  if (memories > 1) throw new MeterError('UNSUPPORTED_WASM', 'more than one memory');
  globals += at(6)?.u32() ?? 0;
  const bodies = readVector(at(10), (cursor) => {
    const size = cursor.u32();
    const start = cursor.offset;
    cursor.skip(size);
    return { start, end: start + size };
  });
  if (bodies.length !== functions.length - importedFunctions) {
    throw new MeterError('MALFORMED_WASM', `${bodies.length} bodies for other functions`);
  }
  return { bytes, sections, types, functions, importedFunctions, globals, bodies };
}

function readSections(bytes: Uint8Array): Map<number, Extent> {
  const cursor = new Cursor(bytes);
  for (const expected of [0, 0x61, 0x73, 0x6d, 1, 0, 0, 0]) {
    if (cursor.u8() !== expected) throw new MeterError('MALFORMED_WASM', 'not a WebAssembly module of version 1');
  }
  const sections = new Map<number, Extent>();
  while (cursor.offset < bytes.length) {
    const id = cursor.u8();
    const size = cursor.u32();
    const start = cursor.offset;
    cursor.skip(size);
    if (id === 0) continue;
    if (!SECTION_ORDER.includes(id))
      throw new MeterError('UNSUPPORTED_WASM', `section ${id}`, { at: { offset: start } });
    if (sections.has(id)) throw new MeterError('MALFORMED_WASM', `section ${id} twice`, { at: { offset: start } });
    sections.set(id, { start, end: cursor.offset });
  }
  return sections;
}

function readVector<T>(cursor: Cursor | undefined, read: (cursor: Cursor) => T): T[] {
  const items: T[] = [];
  if (cursor === undefined) return items;
  const count = cursor.u32();
  // attacker-controlled: every item takes a byte at least, so the reads fail before a false count costs memory
  for (let i = 0; i < count; i++) items.push(read(cursor));
  return items;
}

function readFunctionType(cursor: Cursor): FunctionType {
  const form = cursor.u8();
  if (form !== 0x60) {
    throw new MeterError('UNSUPPORTED_WASM', `type form 0x${form.toString(16)}`, { at: { offset: cursor.offset } });
  }
  return {
    params: readVector(cursor, (c) => c.valueType()),
    results: readVector(cursor, (c) => c.valueType()),
  };
}

function readLimits(cursor: Cursor, what: string): void {
  const flags = cursor.u8();
  if (flags > 1)
    throw new MeterError('UNSUPPORTED_WASM', `shared or 64-bit ${what}`, { at: { offset: cursor.offset } });
  cursor.u32();
  if (flags === 1) cursor.u32();
}
