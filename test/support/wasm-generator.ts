/**
 * Valid WebAssembly modules by chance: all numeric instructions, blocks, loops, branches, calls, globals, memory, bulk
 * memory, tables, several results. Every run of one ends: functions and loops count down a global and trap at its end.
 *
 * @module
 */

import { ByteWriter } from '../../runtime/sandbox/wasm-writer.ts';
import type { Random } from './random.ts';
import { F32, F64, I32, I64, sleb } from './wasm-builder.ts';
import {
  FLOATS32,
  FLOATS64,
  INTEGERS,
  LOADS,
  type MemoryOp,
  NUMBERS,
  OPERATIONS,
  type Operation,
  STORES,
  showsNaN,
  TRUNCATIONS,
} from './wasm-operations.ts';

/** A module and what the host may call. */
export type GeneratedModule = {
  readonly bytes: Uint8Array;
  /**
   * Exported functions `f0`, `f1` …; all modules import `env.f0: (i32, i64) -> i64` and export `memory` and `steps`, the
   * global that a run counts down from {@link STEPS}.
   */
  readonly functions: readonly { readonly params: readonly number[]; readonly results: readonly number[] }[];
};

type Type = { readonly params: readonly number[]; readonly results: readonly number[] };

/** Function entries and turns of loops that one run may have. */
export const STEPS = 400;
const FUNCREF = 0x70;
const EMPTY = 0x40;
/** Globals: steps, then two of each number type. */
const STEP_GLOBAL = 0;
const TABLE_SIZE = 12;
const SEGMENT_BYTES = 64;

/**
 * Makes a module.
 *
 * @param canonical - NaNs are made canonical where their bits could be seen, so that the module does the same on every
 *   engine; without it only a metered module does
 */
export function generateModule(random: Random, canonical: boolean): GeneratedModule {
  const pick = (): number => NUMBERS[random.below(4)] ?? I32;
  const list = (most: number): number[] => Array.from({ length: random.below(most + 1) }, pick);
  const types: Type[] = [{ params: [I32, I64], results: [I64] }];
  for (let i = 0; i < 4 + random.below(4); i++) types.push({ params: list(4), results: list(3) });
  for (const type of NUMBERS) types.push({ params: [], results: [type] });
  const count = 2 + random.below(5);
  const functions = Array.from({ length: count }, () => 1 + random.below(types.length - 1));
  const context: Context = { random, canonical, types, functions: [0, ...functions] };
  const bodies = functions.map((type) => new BodyGenerator(context, types[type] ?? EMPTY_TYPE).make());
  const memory = [1 + random.below(2), 3] as const;
  return {
    bytes: assemble(context, bodies, memory),
    functions: functions.map((type) => types[type] ?? EMPTY_TYPE),
  };
}

const EMPTY_TYPE: Type = { params: [], results: [] };

type Context = {
  readonly random: Random;
  readonly canonical: boolean;
  readonly types: readonly Type[];
  /** Type of each function, the imported one first. */
  readonly functions: readonly number[];
};

type Body = { readonly locals: readonly number[]; readonly code: readonly number[] };

class BodyGenerator {
  readonly #context: Context;
  readonly #type: Type;
  /** Types of parameters and locals. */
  readonly #locals: number[];
  /** Operands that a branch to each open label takes, the function's own first. */
  readonly #labels: (readonly number[])[];
  #code: number[] = [];
  /** Instructions that may still be made. */
  #size: number;

  constructor(context: Context, type: Type) {
    const { random } = context;
    this.#context = context;
    this.#type = type;
    this.#locals = [...type.params, ...Array.from({ length: 1 + random.below(5) }, () => random.pick(NUMBERS))];
    this.#labels = [type.results];
    this.#size = 60 + random.below(200);
  }

  make(): Body {
    const { random } = this.#context;
    this.#countStep();
    for (let i = 0; i < 2 + random.below(6); i++) this.#statement(3);
    for (const type of this.#type.results) this.#value(type, 2);
    return { locals: this.#locals.slice(this.#type.params.length), code: this.#code };
  }

  /** Takes a step, and traps when none is left. */
  #countStep(): void {
    this.#put(0x23, STEP_GLOBAL, 0x41, 1, 0x6b, 0x24, STEP_GLOBAL);
    this.#put(0x23, STEP_GLOBAL, 0x45, 0x04, EMPTY, 0x00, 0x0b);
  }

  #put(...bytes: readonly number[]): void {
    this.#size--;
    for (const byte of bytes) this.#code.push(byte);
  }

  #statement(depth: number): void {
    const { random, functions, types } = this.#context;
    const choice = random.below(this.#size > 0 && depth > 0 ? 21 : 7);
    if (choice === 0) {
      const local = random.below(this.#locals.length);
      this.#value(this.#locals[local] ?? I32, 2);
      this.#put(random.chance(50) ? 0x21 : 0x22, local);
      if (this.#code.at(-2) === 0x22) this.#put(0x1a);
    } else if (choice === 1) {
      const global = 1 + random.below(8);
      this.#value(NUMBERS[(global - 1) >> 1] ?? I32, 2);
      this.#put(0x24, global);
    } else if (choice <= 3) this.#store();
    else if (choice === 4) {
      this.#value(random.pick(NUMBERS), 2);
      this.#put(0x1a);
    } else if (choice === 5) this.#put(0x01);
    else if (choice === 6) this.#bulk();
    else if (choice <= 8) this.#block(0x02, depth);
    else if (choice === 9) {
      // A loop that leaves by itself, or runs until the steps end.
      this.#put(0x03, EMPTY);
      this.#labels.push([]);
      this.#countStep();
      this.#statement(depth - 1);
      this.#value(I32, 2);
      this.#put(0x41, ...sleb(random.chance(80) ? 1 : 7), 0x71, 0x0d, 0, 0x0b);
      this.#labels.pop();
    } else if (choice <= 12) this.#block(0x04, depth);
    else if (choice <= 14) this.#branch();
    else if (choice === 15) this.#branchTable(depth);
    else if (choice <= 17) {
      const callee = random.below(functions.length);
      const type = types[functions[callee] ?? 0] ?? EMPTY_TYPE;
      for (const param of type.params) this.#value(param, 1);
      this.#put(0x10, callee);
      this.#takeResults(type.results);
    } else if (choice === 18 && random.chance(40)) {
      const index = functions[random.below(functions.length)] ?? 0;
      const type = types[random.chance(80) ? index : random.below(types.length)] ?? EMPTY_TYPE;
      for (const param of type.params) this.#value(param, 1);
      this.#value(I32, 1);
      this.#put(0x41, ...sleb(random.chance(90) ? 7 : 31), 0x71, 0x11, types.indexOf(type), random.below(2));
      this.#takeResults(type.results);
    } else this.#table();
  }

  /** Drops or keeps what is on the stack, last first. */
  #takeResults(results: readonly number[]): void {
    for (const type of results.toReversed()) {
      const local = this.#locals.indexOf(type);
      if (local >= 0 && this.#context.random.chance(50)) this.#put(0x21, local);
      else this.#put(0x1a);
    }
  }

  /** A block or an if, with or without parameters and results. */
  #block(op: 0x02 | 0x04, depth: number): void {
    const { random, types } = this.#context;
    const index = random.below(types.length);
    const typed = random.chance(40);
    const { params, results } = (typed ? types[index] : undefined) ?? EMPTY_TYPE;
    for (const param of params) this.#value(param, 1);
    if (op === 0x04) this.#value(I32, 2);
    this.#put(op);
    this.#put(...(typed ? sleb(index) : [EMPTY]));
    const mayLackElse = params.join() === results.join() && random.chance(50);
    for (let arm = 0; arm < (op === 0x04 && !mayLackElse ? 2 : 1); arm++) {
      if (arm === 1) this.#put(0x05);
      this.#labels.push(results);
      this.#takeResults(params);
      for (let i = 0; i < 1 + random.below(3); i++) this.#statement(depth - 1);
      const ending = random.below(25);
      if (ending === 0) this.#put(0x00);
      else if (ending === 1) this.#leave();
      for (const result of results) this.#value(result, 1);
      this.#labels.pop();
    }
    this.#put(0x0b);
    this.#takeResults(results);
  }

  /** A conditional branch to any label; what it takes stays on the stack when it is not taken. */
  #branch(): void {
    const label = this.#context.random.below(this.#labels.length);
    const operands = this.#labels[this.#labels.length - 1 - label] ?? [];
    for (const type of operands) this.#value(type, 1);
    this.#value(I32, 2);
    this.#put(0x41, ...sleb(3), 0x71, 0x45, 0x0d, label);
    this.#takeResults(operands);
  }

  /** An unconditional `br` or `return`; what follows is never reached. */
  #leave(): void {
    const { random } = this.#context;
    const label = random.below(this.#labels.length);
    const isReturn = random.chance(30);
    const operands = isReturn ? this.#type.results : (this.#labels[this.#labels.length - 1 - label] ?? []);
    for (const type of operands) this.#value(type, 1);
    this.#put(...(isReturn ? [0x0f] : [0x0c, label]));
  }

  /** Nested blocks, and a table that leaves one or the other. */
  #branchTable(depth: number): void {
    const { random } = this.#context;
    const arms = 1 + random.below(4);
    for (let i = 0; i < arms; i++) {
      this.#put(0x02, EMPTY);
      this.#labels.push([]);
    }
    this.#value(I32, 2);
    const targets = Array.from({ length: random.below(6) }, () => random.below(arms));
    this.#put(0x41, ...sleb(7), 0x71, 0x0e, targets.length, ...targets, random.below(arms));
    for (let i = 0; i < arms; i++) {
      this.#put(0x0b);
      this.#labels.pop();
      this.#statement(depth - 1);
    }
  }

  #store(): void {
    const { random } = this.#context;
    const [op, type, align] = random.pick(STORES);
    this.#address();
    this.#value(type, 2);
    if (type === F32 || type === F64) this.#showNaN(type);
    this.#put(op, random.below(align + 1), ...this.#offset());
  }

  #offset(): number[] {
    const { random } = this.#context;
    return uleb(random.chance(98) ? random.below(256) : random.below(100_000));
  }

  /** An address, mostly within the first page. */
  #address(): void {
    this.#value(I32, 1);
    if (this.#context.random.chance(99)) this.#put(0x41, ...sleb(0xfeff), 0x71);
  }

  #bulk(): void {
    const { random } = this.#context;
    const choice = random.below(5);
    const small = (): void => {
      this.#value(I32, 1);
      this.#put(0x41, ...sleb(random.chance(95) ? 0xff : 0xffff), 0x71);
    };
    if (choice === 4) {
      this.#put(0x41, ...sleb(random.below(3)), 0x40, 0, 0x1a);
      return;
    }
    if (choice === 3 && random.chance(20)) {
      this.#put(0xfc, 0x09, 1);
      return;
    }
    this.#address();
    if (choice === 0) {
      this.#value(I32, 1);
      small();
      this.#put(0xfc, 0x0b, 0);
    } else if (choice === 1) {
      this.#address();
      small();
      this.#put(0xfc, 0x0a, 0, 0);
    } else {
      this.#put(0x41, ...sleb(random.below(SEGMENT_BYTES)), 0x41, ...sleb(random.below(SEGMENT_BYTES / 2)));
      this.#put(0xfc, 0x08, 1, 0);
    }
  }

  #table(): void {
    const { random, functions } = this.#context;
    const small = (): readonly number[] => [0x41, ...sleb(random.below(TABLE_SIZE))];
    const reference = (): readonly number[] =>
      random.chance(80) ? [0xd2, random.below(functions.length)] : [0xd0, FUNCREF];
    const choice = random.below(6);
    if (choice === 0) this.#put(...small(), ...reference(), 0x26, random.below(2));
    else if (choice === 1) this.#put(...small(), ...small(), 0x41, 3, 0xfc, 0x0e, random.below(2), random.below(2));
    else if (choice === 2) this.#put(...small(), 0x41, 0, 0x41, 2, 0xfc, 0x0c, 1, random.below(2));
    else if (choice === 3) this.#put(...reference(), 0x41, random.below(3), 0xfc, 0x0f, 1, 0x1a);
    else if (choice === 4) this.#put(...small(), ...reference(), 0x41, 2, 0xfc, 0x11, random.below(2));
    else this.#put(0xfc, 0x0d, 1);
  }

  /** A value of a type on the stack. */
  #value(type: number, depth: number): void {
    const { random, functions, types } = this.#context;
    if (depth <= 0 || this.#size <= 0) {
      this.#leaf(type);
      return;
    }
    const choice = random.below(20);
    if (choice < 11) {
      const { code, from } = random.pick((OPERATIONS.get(type) ?? []) as [Operation, ...Operation[]]);
      for (const [i, operand] of from.entries()) {
        this.#value(operand, depth - 1);
        if (showsNaN(code[0] ?? 0, i)) this.#showNaN(operand);
      }
      // Of the conversions that trap, most are made those that do not.
      const trunc = TRUNCATIONS.indexOf(code[0] ?? 0);
      this.#put(...(trunc >= 0 && random.chance(85) ? [0xfc, trunc] : code));
    } else if (choice < 13) {
      const loads = LOADS.filter(([, loaded]) => loaded === type);
      const [op, , align] = random.pick(loads as [MemoryOp, ...MemoryOp[]]);
      this.#address();
      this.#put(op, random.below(align + 1), ...this.#offset());
    } else if (choice === 13) {
      this.#value(type, depth - 1);
      this.#value(type, depth - 1);
      this.#value(I32, depth - 1);
      this.#put(...(random.chance(50) ? [0x1b] : [0x1c, 1, type]));
    } else if (choice === 14) {
      this.#value(I32, depth - 1);
      this.#put(0x04, type);
      this.#labels.push([type]);
      this.#value(type, depth - 1);
      this.#put(0x05);
      this.#value(type, depth - 1);
      this.#put(0x0b);
      this.#labels.pop();
    } else if (choice === 15) {
      const callee = functions.findIndex((index) => types[index]?.results.join() === String(type));
      for (const param of types[functions[callee] ?? -1]?.params ?? []) this.#value(param, depth - 1);
      if (callee >= 0) this.#put(0x10, callee);
      else this.#leaf(type);
    } else if (choice === 16 && type === I32) {
      this.#put(
        ...random.pick([
          [0x3f, 0],
          [0xfc, 0x10, 0],
          [0x41, 3, 0x25, 0, 0xd1],
        ]),
      );
    } else this.#leaf(type);
  }

  #leaf(type: number): void {
    const { random } = this.#context;
    const local = this.#locals.indexOf(type);
    const choice = random.below(3);
    if (choice === 0 && local >= 0) this.#put(0x20, local);
    else if (choice === 1) this.#put(0x23, 1 + 2 * NUMBERS.indexOf(type as typeof I32) + random.below(2));
    else this.#constant(type);
  }

  #constant(type: number): void {
    const { random } = this.#context;
    if (type === I32) this.#put(0x41, ...sleb(random.pick(INTEGERS) | 0));
    else if (type === I64) this.#put(0x42, ...sleb64(random.bytes(8), random.pick(INTEGERS), random.chance(50)));
    else if (type === F32) this.#put(0x43, ...(random.chance(60) ? random.pick(FLOATS32) : random.bytes(4)));
    else this.#put(0x44, ...(random.chance(60) ? random.pick(FLOATS64) : random.bytes(8)));
  }

  /** Makes a NaN canonical, if the module is to do the same everywhere: its bits are about to be seen. */
  #showNaN(type: number): void {
    if (!this.#context.canonical || (type !== F32 && type !== F64)) return;
    const scratch = this.#locals.push(type) - 1;
    const nan = type === F32 ? [0x43, 0, 0, 0xc0, 0x7f] : [0x44, 0, 0, 0, 0, 0, 0, 0xf8, 0x7f];
    this.#put(0x22, scratch, ...nan, 0x20, scratch, 0x20, scratch, type === F32 ? 0x5b : 0x61, 0x1b);
  }
}

function assemble(
  { random, types, functions }: Context,
  bodies: readonly Body[],
  memory: readonly [number, number],
): Uint8Array {
  const out = new ByteWriter(4096);
  const section = (id: number, count: number | undefined, write: (content: ByteWriter) => void): void => {
    const content = new ByteWriter(1024);
    if (count !== undefined) content.u32(count);
    write(content);
    out.push(id);
    out.sized(content.view());
  };
  out.push(0, 0x61, 0x73, 0x6d, 1, 0, 0, 0);
  section(1, types.length, (w) => {
    for (const { params, results } of types) {
      w.push(0x60);
      w.sized(Uint8Array.from(params));
      w.sized(Uint8Array.from(results));
    }
  });
  section(2, 1, (w) => {
    w.name('env');
    w.name('f0');
    w.push(0, 0);
  });
  section(3, bodies.length, (w) => {
    for (const type of functions.slice(1)) w.u32(type);
  });
  section(4, 2, (w) => w.push(FUNCREF, 0, TABLE_SIZE, FUNCREF, 1, TABLE_SIZE, 40));
  section(5, 1, (w) => w.push(1, ...memory));
  section(6, 9, (w) => {
    w.push(I32, 1, 0x41, ...sleb(STEPS), 0x0b);
    for (const type of NUMBERS) {
      for (let i = 0; i < 2; i++) {
        w.push(type, 1);
        if (type === I32) w.push(0x41, ...sleb(random.pick(INTEGERS) | 0));
        else if (type === I64) w.push(0x42, ...sleb(random.pick(INTEGERS)));
        else if (type === F32) w.push(0x43, ...random.pick(FLOATS32));
        else w.push(0x44, ...random.pick(FLOATS64));
        w.push(0x0b);
      }
    }
  });
  section(7, bodies.length + 2, (w) => {
    w.name('memory');
    w.push(2, 0);
    w.name('steps');
    w.push(3, STEP_GLOBAL);
    for (const i of bodies.keys()) {
      w.name(`f${i}`);
      w.push(0);
      w.u32(i + 1);
    }
  });
  section(9, 3, (w) => {
    const entries = Array.from({ length: 8 }, () => random.below(functions.length));
    w.push(0, 0x41, 0, 0x0b, entries.length, ...entries);
    w.push(1, 0, 4, ...entries.slice(0, 4));
    w.push(3, 0, functions.length, ...functions.keys());
  });
  section(12, undefined, (w) => w.u32(2));
  section(10, bodies.length, (w) => {
    for (const { locals, code } of bodies) {
      const body = new ByteWriter(code.length + 64);
      body.u32(locals.length);
      for (const type of locals) body.push(1, type);
      body.bytes(Uint8Array.from(code));
      body.push(0x0b);
      w.sized(body.view());
    }
  });
  section(11, 2, (w) => {
    w.push(0, 0x41, ...sleb(random.below(4000)), 0x0b);
    w.sized(random.bytes(SEGMENT_BYTES));
    w.push(1);
    w.sized(random.bytes(SEGMENT_BYTES));
  });
  return out.view().slice();
}

function uleb(value: number): number[] {
  const out = new ByteWriter(8);
  out.u32(value);
  return [...out.view()];
}

/** An i64 constant: a small one, or eight bytes of any value. */
function sleb64(bytes: Uint8Array, small: number, isSmall: boolean): number[] {
  if (isSmall) return sleb(small);
  let rest = new DataView(bytes.buffer).getBigInt64(0, true);
  const out: number[] = [];
  for (;;) {
    const low = Number(rest & 127n);
    rest >>= 7n;
    if ((rest === 0n && low < 64) || (rest === -1n && low >= 64)) return [...out, low];
    out.push(low | 128);
  }
}
