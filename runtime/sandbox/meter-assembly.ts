/**
 * The rewritten module from its parts: sections as they were, with what the meter adds at their ends.
 *
 * @module
 */

import { DEPTH_EXPORT, FUEL_EXPORT, I32, I64, type Layout, REFUSED_EXPORT, START_EXPORT } from './meter-layout.ts';
import { OP } from './wasm-body.ts';
import { Cursor, type Limits, type ModuleShape, SECTION_ORDER } from './wasm-reader.ts';
import { ByteWriter } from './wasm-writer.ts';

/** Start value of both globals, before the host sets them: enough for start functions and constructors. */
const INITIAL_FUEL = 2 ** 40;
const INITIAL_DEPTH = 1 << 20;

type Extend = (id: number, added: number, write: (section: ByteWriter) => void) => Uint8Array;

/** Puts a module together again: rewritten code, and whatever is added at the end of the sections. */
export function assemble(module: ModuleShape, layout: Layout, code: Uint8Array): Uint8Array {
  const out = new ByteWriter(code.length + module.bytes.length);
  out.bytes(module.bytes.subarray(0, 8));
  const extend: Extend = (id, added, write) => {
    const section = new ByteWriter(1024);
    const extent = module.sections.get(id);
    const cursor = new Cursor(module.bytes, extent?.start ?? 0);
    const count = extent === undefined ? 0 : cursor.u32();
    section.u32(count + added);
    if (extent !== undefined) section.bytes(module.bytes.subarray(cursor.offset, extent.end));
    write(section);
    return section.view();
  };
  for (const id of SECTION_ORDER) {
    const content = sectionContent(module, layout, code, id, extend);
    if (content === undefined) continue;
    out.push(id);
    out.sized(content);
  }
  return out.view().slice();
}

function sectionContent(
  module: ModuleShape,
  layout: Layout,
  code: Uint8Array,
  id: number,
  extend: Extend,
): Uint8Array | undefined {
  switch (id) {
    case 1:
      return extend(id, layout.newTypes.length, (section) => {
        for (const type of layout.newTypes) {
          section.push(0x60);
          section.sized(Uint8Array.from(type.params));
          section.sized(Uint8Array.from(type.results));
        }
      });
    case 3:
      return extend(id, layout.added.length, (section) => {
        for (const _ of layout.added) section.u32(layout.chargeType);
      });
    case 6:
      return extend(id, layout.growth === undefined ? 2 : 3, (section) => {
        section.push(I64, 1, OP.i64Const);
        section.signed(INITIAL_FUEL);
        section.push(OP.end, I32, 1, OP.i32Const);
        section.signed(INITIAL_DEPTH);
        section.push(OP.end);
        if (layout.growth !== undefined) section.push(I32, 1, OP.i32Const, 0, OP.end);
      });
    case 7:
      return extend(id, layout.reserved.length, (section) => exportAdded(section, layout));
    case 10:
      return code;
    default: {
      const limited = limitedSection(module, layout, id);
      if (limited !== undefined) return limited;
      const extent = id === 8 && !layout.keepsStart ? undefined : module.sections.get(id);
      return extent && module.bytes.subarray(extent.start, extent.end);
    }
  }
}

function exportAdded(section: ByteWriter, layout: Layout): void {
  const add = (name: string, kind: number, index: number): void => {
    section.name(name);
    section.push(kind);
    section.u32(index);
  };
  add(FUEL_EXPORT, 3, layout.fuel);
  add(DEPTH_EXPORT, 3, layout.depth);
  if (layout.growth !== undefined) add(REFUSED_EXPORT, 3, layout.growth.refused);
  if (layout.start !== undefined) add(START_EXPORT, 0, layout.start);
}

/** The table or memory section with the limits of the options in it, where there are any. */
function limitedSection(module: ModuleShape, layout: Layout, id: number): Uint8Array | undefined {
  const section = new ByteWriter();
  if (id === 4 && layout.tableElements !== undefined && module.tables.length > 0) {
    section.u32(module.tables.length);
    for (const table of module.tables) {
      section.push(table.type);
      writeLimits(section, table, layout.tableElements);
    }
    return section.view();
  }
  if (id === 5 && layout.growth !== undefined && module.memory !== undefined) {
    section.u32(1);
    writeLimits(section, module.memory, layout.growth.most);
    return section.view();
  }
  return undefined;
}

function writeLimits(out: ByteWriter, limits: Limits, most: number): void {
  const { minimum, maximum = most } = limits;
  out.push(1);
  out.u32(minimum);
  // A minimum above the limit stays what it is: the module cannot grow.
  out.u32(Math.max(minimum, Math.min(maximum, most)));
}
