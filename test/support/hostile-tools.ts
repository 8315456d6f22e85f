/**
 * Hostile tools in WebAssembly: traps with deep operand stacks, limits of the engine, and imports that do not exist.
 *
 * @module
 */

import { done, fuel, type HostileGuest } from './hostile-guest.ts';
import { assembleText } from './wasm-text.ts';
import { toolText } from './wasm-tool.ts';

const RESULT = '(i32.store8 (i32.const 64) (i32.const 49)) (call $write (i32.const 1) (i32.const 64) (i32.const 1))';
const constants = (count: number): string => '(i32.const 1) '.repeat(count);
const drops = (count: number): string => '(drop) '.repeat(count);
const tool = (body: string, more?: Parameters<typeof toolText>[1]): string =>
  encode(assembleText(toolText(body, more)));
const raw = (text: string): string => encode(assembleText(text, false));
const encode = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64');
const wasm = { language: 'wasm', entry: { tool: 'hostile' } } as const;

type Tool = readonly [name: string, ends: HostileGuest[1], source: string, options?: HostileGuest[3]];

/** A function that calls itself with so many operands left below. */
const deep = (operands: number): string =>
  `(func $deep (result i32) ${constants(operands)} (call $deep) ${'(i32.add) '.repeat(operands)})`;

const TOOLS: readonly Tool[] = [
  ['answers', done(1), tool(RESULT)],
  ['unreachable', 'TRAP', tool('unreachable')],
  ['unreachable below 900 operands', 'TRAP', tool(`${constants(900)} unreachable ${drops(900)}`)],
  ['more operands than the meter bears', 'TOOL_ERROR', tool(`${constants(1200)} ${drops(1200)}`)],
  [
    'division by zero below 900 operands',
    'TRAP',
    tool(`${constants(900)} (drop (i32.div_s (i32.const 1) (i32.const 0))) ${drops(900)}`),
  ],
  ['division that overflows', 'TRAP', tool('(drop (i32.div_s (i32.const 0x80000000) (i32.const -1)))')],
  ['conversion of a number that is none', 'TRAP', tool('(drop (i32.trunc_f64_s (f64.const nan)))')],
  ['load beyond memory', 'TRAP', tool('(drop (i32.load (i32.const 0x7fffffff)))')],
  ['store beyond memory with an offset', 'TRAP', tool('(i64.store offset=4294967290 (i32.const -1) (i64.const 1))')],
  [
    'fill beyond memory',
    'TRAP',
    tool('(memory.fill (i32.const 0) (i32.const 1) (i32.const 0x10000000))', { memory: '1' }),
    fuel(900),
  ],
  [
    'fill that costs more than there is',
    'OUT_OF_FUEL',
    tool('(memory.fill (i32.const 0) (i32.const 1) (i32.const -1))'),
  ],
  ['copy beyond memory', 'TRAP', tool('(memory.copy (i32.const 65535) (i32.const 0) (i32.const 2))')],
  [
    'call of an empty table entry',
    'TRAP',
    tool('(call_indirect $t (type $v) (i32.const 3))', { more: '(type $v (func)) (table $t 4 funcref)' }),
  ],
  [
    'call of another signature',
    'TRAP',
    tool('(call_indirect $t (type $v) (i32.const 0))', {
      more: '(type $v (func (param) (result))) (func $f (result i32) (i32.const 1)) (table $t 1 funcref) (elem (i32.const 0) $f)',
    }),
  ],
  ['endless loop', 'OUT_OF_FUEL', tool('(loop $l (br $l))')],
  ['endless loop below 500 operands', 'OUT_OF_FUEL', tool(`${constants(500)} (loop $l (br $l)) ${drops(500)}`)],
  ['recursion', 'STACK_EXHAUSTED', tool('(drop (call $deep))', { more: deep(1) })],
  ['recursion with 100 operands', 'STACK_EXHAUSTED', tool('(drop (call $deep))', { more: deep(100) })],
  ['recursion with 900 operands', 'STACK_EXHAUSTED', tool('(drop (call $deep))', { more: deep(900) })],
  [
    'recursion with 900 locals',
    'STACK_EXHAUSTED',
    tool('(call $deep)', { more: `(func $deep (local ${'i64 '.repeat(900)}) (call $deep))` }),
  ],
  [
    'recursion through a table',
    'STACK_EXHAUSTED',
    tool('(call $deep)', {
      more: '(type $v (func)) (table $t 1 funcref) (elem (i32.const 0) $deep) (func $deep (call_indirect $t (type $v) (i32.const 0)))',
    }),
  ],
  ['memory that grows without end', 'OUT_OF_FUEL', tool('(loop $l (drop (memory.grow (i32.const 1))) (br $l))')],
  [
    'memory that must grow',
    'MEMORY_LIMIT',
    tool('(if (i32.eq (memory.grow (i32.const 4000)) (i32.const -1)) (then unreachable))'),
    fuel(100),
  ],
  ['memory that grows by 2 GiB', 'OUT_OF_FUEL', tool('(drop (memory.grow (i32.const 0x80001)))')],
  ['memory that is too large from the start', 'MEMORY_LIMIT', tool('', { memory: '1000' })],
  [
    'table that grows without end',
    'OUT_OF_FUEL',
    tool('(loop $l (drop (table.grow $t (ref.null func) (i32.const 100))) (br $l))', { more: '(table $t 1 funcref)' }),
  ],
  [
    'import of another module',
    'TOOL_ERROR',
    raw('(module (import "env" "system" (func)) (memory (export "memory") 1) (func (export "_start")))'),
  ],
  ['import of a memory', 'TOOL_ERROR', raw('(module (import "env" "memory" (memory 1)) (func (export "_start")))')],
  [
    'import of another signature',
    'TOOL_ERROR',
    raw(
      '(module (import "wasi_snapshot_preview1" "proc_exit" (func (param i64))) (memory (export "memory") 1) (func (export "_start")))',
    ),
  ],
  [
    'import of a name that does not exist',
    'TOOL_ERROR',
    raw(
      '(module (import "wasi_snapshot_preview1" "exec" (func)) (memory (export "memory") 1) (func (export "_start")))',
    ),
  ],
  [
    'export of the name of the fuel',
    'TOOL_ERROR',
    raw(
      '(module (global $g (export "__fuel") (mut i64) (i64.const 0)) (memory (export "memory") 1) (func (export "_start") (loop $l (global.set $g (i64.const 1000000000)) (br $l))))',
    ),
  ],
  [
    'start function that never ends',
    'OUT_OF_FUEL',
    raw('(module (memory (export "memory") 1) (func $s (loop $l (br $l))) (start $s) (func (export "_start")))'),
  ],
  [
    'vectors',
    'TOOL_ERROR',
    raw('(module (memory (export "memory") 1) (func (export "_start") (drop (v128.const i32x4 1 2 3 4))))'),
  ],
  ['no module', 'TOOL_ERROR', Buffer.from('not a module').toString('base64')],
  ['no base64', 'TOOL_ERROR', '***'],
  [
    'a file that is asked for',
    'TRAP',
    tool(
      '(if (i32.ne (call $open (i32.const 3) (i32.const 0) (i32.const 64) (i32.const 11) (i32.const 0) (i64.const 0) (i64.const 0) (i32.const 0) (i32.const 8)) (i32.const 0)) (then unreachable))',
      {
        imports:
          '(import "wasi_snapshot_preview1" "path_open" (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))',
      },
    ),
  ],
  ['an exit code', 'TOOL_ERROR', tool('(call $proc_exit (i32.const 7))')],
  [
    'output without end',
    'OUTPUT_TOO_LARGE',
    tool('(loop $l (call $write (i32.const 1) (i32.const 0) (i32.const 60000)) (br $l))'),
    fuel(300),
  ],
  [
    'lines without end',
    'OUTPUT_TOO_LARGE',
    tool(
      '(i32.store8 (i32.const 64) (i32.const 10)) (loop $l (call $write (i32.const 2) (i32.const 64) (i32.const 1)) (br $l))',
    ),
    fuel(300),
  ],
  ['output from beyond memory', 'OUTPUT_INVALID', tool('(call $write (i32.const 1) (i32.const -8) (i32.const 100))')],
  ['a result that is no JSON', 'OUTPUT_INVALID', tool('(call $write (i32.const 1) (i32.const 100) (i32.const 4))')],
];

/** Tools by class. */
export const HOSTILE_TOOLS: Readonly<Record<string, readonly HostileGuest[]>> = {
  'WebAssembly traps': TOOLS.map(([name, ends, source, options]) => [name, ends, '', { ...wasm, source, ...options }]),
};
