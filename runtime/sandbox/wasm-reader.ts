/**
 * Reading a WebAssembly binary: a cursor over bytes and the sections of a module.
 *
 * What the meter cannot bill or what would not be deterministic is refused here: shared or 64-bit memories, more than one
 * memory, tags (exceptions), GC types, vector types, and whatever else came after version 2.0 of the standard, so that an
 * engine that knows more and one that knows less refuse the same modules. Sizes are bounded below the bounds of engines.
 * Nothing is assumed to be valid; what is read here and is not valid in ways not checked here `WebAssembly.validate` refuses.
 *
 * @module
 */

import { RuntimeError } from '../../attest/core/error.ts';

/** Greatest module, in bytes. */
export const MAX_MODULE_BYTES = 1 << 24;
/** Greatest number of items of a section, of entries of a segment, of parameters or of results of a type. */
export const MAX_ITEMS = { section: 65_536, segment: 1_000_000, type: 1000 } as const;
/** Greatest name of an import or export, in bytes. */
const MAX_NAME_BYTES = 65_536;

export type MeterErrorCode =
  | 'MALFORMED_WASM'
  | 'UNSUPPORTED_WASM'
  | 'FRAME_TOO_LARGE'
  | 'MODULE_TOO_LARGE'
  | 'RESERVED_EXPORT';

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
      if ((byte & 0x80) === 0) {
        if (result > 0xffff_ffff) break;
        return result;
      }
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

  /** A name: UTF-8 with its length. */
  name(): string {
    const length = this.u32();
    if (length > MAX_NAME_BYTES)
      throw new MeterError('MODULE_TOO_LARGE', `name of ${length} bytes`, { at: { offset: this.offset } });
    const start = this.offset;
    this.skip(length);
    return new TextDecoder('utf-8', { ignoreBOM: true }).decode(this.bytes.subarray(start, this.offset));
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
      throw new MeterError('UNSUPPORTED_WASM', `value type 0x${type.toString(16)} not supported`, {
        at: { offset: at },
      });
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

export type ExternKind = 'function' | 'table' | 'memory' | 'global';

/** An import; `type` is the type index of a function, 0 for the others. */
export type ModuleImport = {
  readonly module: string;
  readonly name: string;
  readonly kind: ExternKind;
  readonly type: number;
};

/** An export; `index` counts in the index space of its kind. */
export type ModuleExport = { readonly kind: ExternKind; readonly index: number };

/** Size of a memory (pages) or table (elements). */
export type Limits = { readonly minimum: number; readonly maximum: number | undefined };

/** A table; `type` is its element type. */
export type TableType = Limits & { readonly type: number };

/** What the meter has to know of a module. */
export type ModuleShape = {
  readonly bytes: Uint8Array;
  /** Sections by id, custom sections left out. */
  readonly sections: ReadonlyMap<number, Extent>;
  readonly types: readonly FunctionType[];
  readonly imports: readonly ModuleImport[];
  /** By name. */
  readonly exports: ReadonlyMap<string, ModuleExport>;
  /** Type index of every function, imported ones first. */
  readonly functions: readonly number[];
  readonly importedFunctions: number;
  /** Tables of the module's own. */
  readonly tables: readonly TableType[];
  /** The memory, if it is the module's own. */
  readonly memory: Limits | undefined;
  /** Number of globals, imported ones included. */
  readonly globals: number;
  /** Index of the start function. */
  readonly start: number | undefined;
  /** Function bodies, without their size. */
  readonly bodies: readonly Extent[];
};

/** Section ids in the order the standard demands. */
export const SECTION_ORDER: readonly number[] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 10, 11];

const KINDS: readonly ExternKind[] = ['function', 'table', 'memory', 'global'];

/**
 * Reads the shape of a module.
 *
 * @throws {@link MeterError} `MALFORMED_WASM`; `UNSUPPORTED_WASM` for what is refused above; `MODULE_TOO_LARGE`
 */
export function readModule(bytes: Uint8Array): ModuleShape {
  if (bytes.length > MAX_MODULE_BYTES) {
    throw new MeterError('MODULE_TOO_LARGE', `module of ${bytes.length} bytes, at most ${MAX_MODULE_BYTES}`);
  }
  const sections = readSections(bytes);
  const read = <T>(id: number, item: (cursor: Cursor) => T): T[] => {
    const extent = sections.get(id);
    if (extent === undefined) return [];
    const cursor = new Cursor(bytes.subarray(0, extent.end), extent.start);
    const items = readVector(cursor, MAX_ITEMS.section, item);
    if (cursor.offset !== extent.end) {
      throw new MeterError('MALFORMED_WASM', `section ${id} has a rest`, { at: { offset: cursor.offset } });
    }
    return items;
  };
  const types = read(1, readFunctionType);
  const imports = read(2, readImport);
  const functions = imports.filter(({ kind }) => kind === 'function').map(({ type }) => type);
  const importedFunctions = functions.length;
  for (const type of read(3, (cursor) => cursor.u32())) functions.push(type);
  const tables = read(4, readTable);
  const memories = read(5, (cursor) => readLimits(cursor, 'memory'));
  const importedMemories = imports.filter(({ kind }) => kind === 'memory').length;
  if (memories.length + importedMemories > 1) throw new MeterError('UNSUPPORTED_WASM', 'more than one memory');
  const importedGlobals = imports.filter(({ kind }) => kind === 'global').length;
  const globals = read(6, (cursor) => {
    readGlobalType(cursor);
    readConstant(cursor, importedGlobals);
  });
  const exports = new Map<string, ModuleExport>();
  for (const [name, item] of read(7, (cursor): [string, ModuleExport] => [cursor.name(), readExport(cursor)])) {
    exports.set(name, item);
  }
  const startExtent = sections.get(8);
  const start = startExtent && new Cursor(bytes.subarray(0, startExtent.end), startExtent.start).u32();
  read(9, (cursor) => readElements(cursor, importedGlobals));
  const bodies = read(10, readExtent);
  if (bodies.length !== functions.length - importedFunctions) {
    throw new MeterError('MALFORMED_WASM', `${bodies.length} bodies for other functions`);
  }
  read(11, (cursor) => readData(cursor, importedGlobals));
  return {
    bytes,
    sections,
    types,
    imports,
    exports,
    functions,
    importedFunctions,
    tables,
    memory: memories[0],
    globals: globals.length + importedGlobals,
    start,
    bodies,
  };
}

function readSections(bytes: Uint8Array): Map<number, Extent> {
  const cursor = new Cursor(bytes);
  for (const expected of [0, 0x61, 0x73, 0x6d, 1, 0, 0, 0]) {
    if (cursor.u8() !== expected) throw new MeterError('MALFORMED_WASM', 'not a WebAssembly module of version 1');
  }
  const sections = new Map<number, Extent>();
  let last = -1;
  while (cursor.offset < bytes.length) {
    const id = cursor.u8();
    const { start, end } = readExtent(cursor);
    if (id === 0) continue;
    const place = SECTION_ORDER.indexOf(id);
    if (place === -1) throw new MeterError('UNSUPPORTED_WASM', `section ${id}`, { at: { offset: start } });
    if (place <= last) throw new MeterError('MALFORMED_WASM', `section ${id} out of order`, { at: { offset: start } });
    last = place;
    sections.set(id, { start, end });
  }
  return sections;
}

function readExtent(cursor: Cursor): Extent {
  const size = cursor.u32();
  const start = cursor.offset;
  cursor.skip(size);
  return { start, end: cursor.offset };
}

function readVector<T>(cursor: Cursor, most: number, read: (cursor: Cursor) => T): T[] {
  const items: T[] = [];
  const count = cursor.u32();
  if (count > most) {
    throw new MeterError('MODULE_TOO_LARGE', `${count} items, at most ${most}`, { at: { offset: cursor.offset } });
  }
  // attacker-controlled: every item takes a byte at least, so the reads fail before a false count costs memory
  for (let i = 0; i < count; i++) items.push(read(cursor));
  return items;
}

function readFunctionType(cursor: Cursor): FunctionType {
  const form = cursor.u8();
  if (form !== 0x60) throw unsupported(cursor, `type form 0x${form.toString(16)}`);
  return {
    params: readVector(cursor, MAX_ITEMS.type, (c) => c.valueType()),
    results: readVector(cursor, MAX_ITEMS.type, (c) => c.valueType()),
  };
}

function readImport(cursor: Cursor): ModuleImport {
  const module = cursor.name();
  const name = cursor.name();
  const kind = readKind(cursor);
  if (kind === 'function') return { module, name, kind, type: cursor.u32() };
  if (kind === 'table') readTable(cursor);
  else if (kind === 'memory') readLimits(cursor, 'memory');
  else readGlobalType(cursor);
  return { module, name, kind, type: 0 };
}

function readExport(cursor: Cursor): ModuleExport {
  return { kind: readKind(cursor), index: cursor.u32() };
}

function readKind(cursor: Cursor): ExternKind {
  const kind = KINDS[cursor.u8()];
  if (kind === undefined) throw unsupported(cursor, 'import or export of another kind');
  return kind;
}

function readTable(cursor: Cursor): TableType {
  return { type: cursor.valueType(), ...readLimits(cursor, 'table') };
}

function readLimits(cursor: Cursor, what: string): Limits {
  const flags = cursor.u8();
  if (flags > 1) throw unsupported(cursor, `shared or 64-bit ${what}`);
  return { minimum: cursor.u32(), maximum: flags === 1 ? cursor.u32() : undefined };
}

function readGlobalType(cursor: Cursor): void {
  cursor.valueType();
  if (cursor.u8() > 1) throw unsupported(cursor, 'global of another kind');
}

/** A constant expression of version 2.0: one instruction, and of the globals an imported one. */
function readConstant(cursor: Cursor, importedGlobals: number): void {
  const op = cursor.u8();
  if (op === 0x41 || op === 0x42) cursor.skipLeb();
  else if (op === 0x43) cursor.skip(4);
  else if (op === 0x44) cursor.skip(8);
  else if (op === 0xd0) cursor.valueType();
  else if (op === 0xd2) cursor.u32();
  else if (op !== 0x23 || cursor.u32() >= importedGlobals) throw unsupported(cursor, 'constant expression');
  if (cursor.u8() !== 0x0b) throw unsupported(cursor, 'constant expression of several instructions');
}

function readElements(cursor: Cursor, importedGlobals: number): void {
  const flags = cursor.u32();
  if (flags > 7) throw unsupported(cursor, `element segment of kind ${flags}`);
  const active = (flags & 1) === 0;
  if (active && (flags & 2) !== 0) cursor.u32();
  if (active) readConstant(cursor, importedGlobals);
  const expressions = (flags & 4) !== 0;
  if ((flags & 3) !== 0) {
    if (expressions) cursor.valueType();
    else if (cursor.u8() !== 0) throw unsupported(cursor, 'element kind');
  }
  readVector(cursor, MAX_ITEMS.segment, (c) => (expressions ? readConstant(c, importedGlobals) : c.u32()));
}

function readData(cursor: Cursor, importedGlobals: number): void {
  const flags = cursor.u32();
  if (flags > 2) throw unsupported(cursor, `data segment of kind ${flags}`);
  if (flags === 2 && cursor.u32() !== 0) throw unsupported(cursor, 'several memories');
  if (flags !== 1) readConstant(cursor, importedGlobals);
  readExtent(cursor);
}

function unsupported(cursor: Cursor, what: string): MeterError {
  return new MeterError('UNSUPPORTED_WASM', `${what} not supported`, { at: { offset: cursor.offset } });
}
