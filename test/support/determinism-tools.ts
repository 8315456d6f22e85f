/**
 * Deterministic tools in WebAssembly: floats and numbers that are none to the bit, conversions, growth, tables, traps, the
 * ends of fuel and depth, and what WASI answers.
 *
 * @module
 */

import type { DeterministicProgram, ProgramSettings } from './determinism-program.ts';
import { assembleText } from './wasm-text.ts';
import { toolText } from './wasm-tool.ts';

/**
 * `$hex` (i64) puts a text of 16 digits into the list that `$flush` writes as the result; `$mix` (i64) adds to a checksum,
 * which `$sum` puts into the list; `$say` writes one line with the 16 digits to stderr.
 */
const LIST = `
  (global $end (mut i32) (i32.const 4096))
  (global $check (mut i64) (i64.const 0xcbf29ce484222325))
  (func $put (param $c i32) (i32.store8 (global.get $end) (local.get $c)) (global.set $end (i32.add (global.get $end) (i32.const 1))))
  (func $digits (param $x i64) (local $i i32) (local $d i32)
    (local.set $i (i32.const 60))
    (loop $next
      (local.set $d (i32.and (i32.wrap_i64 (i64.shr_u (local.get $x) (i64.extend_i32_u (local.get $i)))) (i32.const 15)))
      (call $put (i32.add (local.get $d) (select (i32.const 48) (i32.const 87) (i32.lt_u (local.get $d) (i32.const 10)))))
      (br_if $next (i32.ge_s (local.tee $i (i32.sub (local.get $i) (i32.const 4))) (i32.const 0)))))
  (func $hex (param $x i64)
    (call $put (select (i32.const 91) (i32.const 44) (i32.eq (global.get $end) (i32.const 4096))))
    (call $put (i32.const 34)) (call $digits (local.get $x)) (call $put (i32.const 34)))
  (func $mix (param $x i64)
    (global.set $check (i64.mul (i64.xor (i64.rotl (global.get $check) (i64.const 5)) (local.get $x)) (i64.const 0x100000001b3))))
  (func $sum (call $hex (global.get $check)))
  (func $say (param $x i64) (local $from i32)
    (local.set $from (global.get $end))
    (call $digits (local.get $x)) (call $put (i32.const 10))
    (call $write (i32.const 2) (local.get $from) (i32.const 17))
    (global.set $end (local.get $from)))
  (func $flush
    (call $put (i32.const 93))
    (call $write (i32.const 1) (i32.const 4096) (i32.sub (global.get $end) (i32.const 4096))))`;

const RANDOM = '(import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))';
const CLOCK = '(import "wasi_snapshot_preview1" "clock_time_get" (func $clock (param i32 i64 i32) (result i32)))';

/** Bits of doubles and singles: zeros, ones, the smallest and the largest, infinities, and numbers that are none. */
const F64_BITS = ['0', '0x8000000000000000', '0x3ff0000000000000', '0xbff0000000000000', '1', '0x8000000000000001']
  .concat(['0x000fffffffffffff', '0x7fefffffffffffff', '0x7ff0000000000000', '0xfff0000000000000'])
  .concat(['0x7ff8000000000000', '0xfff8000000000123', '0x7ff0000000000001', '0xffffffffffffffff'])
  .concat([
    '0x3fd5555555555555',
    '0x4340000000000001',
    '0x41dfffffffe00000',
    '0xc3e0000000000000',
    '0x3fe0000000000000',
  ]);
const F32_BITS = [
  '0',
  '0x80000000',
  '0x3f800000',
  '0xbf800000',
  '1',
  '0x007fffff',
  '0x7f7fffff',
  '0x7f800000',
  '0xff800000',
].concat([
  '0x7fc00000',
  '0xffc00123',
  '0x7f800001',
  '0xffffffff',
  '0x3eaaaaab',
  '0x4b800001',
  '0x4effffff',
  '0xdf000000',
]);

const f64 = (bits: string): string => `(f64.reinterpret_i64 (i64.const ${bits}))`;
const f32 = (bits: string): string => `(f32.reinterpret_i32 (i32.const ${bits}))`;
const of64 = (number: string): string => `(i64.reinterpret_f64 ${number})`;
const of32 = (number: string): string => `(i64.extend_i32_u (i32.reinterpret_f32 ${number}))`;
const UNARY = ['neg', 'abs', 'sqrt', 'ceil', 'floor', 'trunc', 'nearest'];
const BINARY = ['add', 'sub', 'mul', 'div', 'min', 'max', 'copysign'];

/** A checksum for each operation over all numbers and pairs of numbers, in functions that keep below the meter's limits. */
function arithmetic(kind: 'f64' | 'f32'): string {
  const [numbers, of] = kind === 'f64' ? [F64_BITS.map(f64), of64] : [F32_BITS.map(f32), of32];
  const lines = [
    ...UNARY.map((name) => numbers.map((x) => `(call $mix ${of(`(${kind}.${name} ${x})`)})`)),
    ...BINARY.map((name) =>
      numbers.flatMap((x) => numbers.map((y) => `(call $mix ${of(`(${kind}.${name} ${x} ${y})`)})`)),
    ),
  ];
  return lines.map((calls) => `${calls.join('\n')} (call $sum)`).join('\n');
}

const TRUNCATIONS = ['i32', 'i64'].flatMap((to) =>
  (['f64', 'f32'] as const).flatMap((from) =>
    ['s', 'u'].flatMap((sign) =>
      (from === 'f64' ? F64_BITS.map(f64) : F32_BITS.map(f32)).map((x) => {
        const cut = `(${to}.trunc_sat_${from}_${sign} ${x})`;
        return `(call $mix ${to === 'i64' ? cut : `(i64.extend_i32_s ${cut})`})`;
      }),
    ),
  ),
);
const CONVERSIONS = [
  '0',
  '-1',
  '0x7fffffffffffffff',
  '0x8000000000000000',
  '0x20000000000001',
  '0x7fffff4000000001',
  '-16777217',
]
  .flatMap((x) =>
    ['s', 'u'].flatMap((sign) => [
      of64(`(f64.convert_i64_${sign} (i64.const ${x}))`),
      of32(`(f32.convert_i64_${sign} (i64.const ${x}))`),
    ]),
  )
  .map((bits) => `(call $hex ${bits})`);

const tool = (body: string, some: { imports?: string; more?: string; memory?: string } = {}): string =>
  Buffer.from(assembleText(toolText(body, { ...some, more: `${LIST} ${some.more ?? ''}` }))).toString('base64');

const TOOLS: readonly (readonly [name: string, source: string, settings?: ProgramSettings])[] = [
  ['doubles', tool(`${arithmetic('f64')} (call $flush)`)],
  ['singles', tool(`${arithmetic('f32')} (call $flush)`)],
  [
    'numbers that are none through memory, locals, calls and the other width',
    tool(
      `${F64_BITS.slice(10, 14)
        .map(
          (
            x,
          ) => `(f64.store (i32.const 64) ${f64(x)}) (call $hex (i64.load (i32.const 64))) (call $hex ${of64(`(f64.load (i32.const 64))`)})
          (call $hex ${of32(`(f32.demote_f64 ${f64(x)})`)}) (call $hex ${of64(`(call $pass ${f64(x)})`)}) (call $hex ${of64(`(select ${f64(x)} (f64.const 0) (i32.const 1))`)})`,
        )
        .join('\n')}
      ${F32_BITS.slice(9, 13)
        .map(
          (x) =>
            `(call $hex ${of64(`(f64.promote_f32 ${f32(x)})`)}) (f32.store (i32.const 64) ${f32(x)}) (call $hex (i64.load32_u (i32.const 64)))`,
        )
        .join('\n')}
      (call $hex ${of64('(f64.sub (f64.const inf) (f64.const inf))')}) (call $hex ${of64('(f64.neg (f64.sqrt (f64.const -1)))')}) (call $hex ${of64('(f64.const nan:0x4000000000001)')})
      (call $flush)`,
      {
        more: '(func $pass (param f64) (result f64) (local f64) (local.set 1 (local.get 0)) (f64.add (local.get 1) (f64.const 0)))',
      },
    ),
  ],
  ['conversions', tool(`${TRUNCATIONS.join('\n')} (call $sum) ${CONVERSIONS.join('\n')} (call $flush)`)],
  [
    'a series of floats',
    tool(`(local $i i32) (local $x f64) (local $s f64) (local $t f32)
      (local.set $x (f64.const 0.4))
      (loop $next
        (local.set $x (f64.mul (f64.mul (f64.const 3.99) (local.get $x)) (f64.sub (f64.const 1) (local.get $x))))
        (local.set $s (f64.add (local.get $s) (f64.div (f64.sqrt (local.get $x)) (f64.convert_i32_s (i32.add (local.get $i) (i32.const 1))))))
        (local.set $t (f32.add (local.get $t) (f32.demote_f64 (local.get $s))))
        (br_if $next (i32.lt_s (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 20000))))
      (call $hex ${of64('(local.get $x)')}) (call $hex ${of64('(local.get $s)')}) (call $hex ${of32('(local.get $t)')}) (call $flush)`),
  ],
  [
    'integers',
    tool(
      `${['0', '-1', '0x8000000000000000', '0x123456789abcdef', '7']
        .flatMap((x) =>
          ['clz', 'ctz', 'popcnt', 'extend8_s', 'extend16_s', 'extend32_s']
            .map((name) => `(i64.${name} (i64.const ${x}))`)
            .concat(
              ['rotl', 'rotr', 'shl', 'shr_s', 'shr_u', 'mul', 'rem_s', 'div_u'].map(
                (name) => `(i64.${name} (i64.const ${x}) (i64.const 77))`,
              ),
            ),
        )
        .map((x) => `(call $mix ${x})`)
        .join('\n')} (call $sum) (call $hex (i64.rem_s (i64.const 0x8000000000000000) (i64.const -1))) (call $flush)`,
    ),
  ],
  [
    'memory that grows to its limit, and a checksum of it',
    tool(
      `(local $i i32) (local $was i32)
      (block $full (loop $more
        (local.set $was (memory.grow (i32.const 3)))
        (call $hex (i64.extend_i32_s (local.get $was)))
        (br_if $full (i32.lt_s (local.get $was) (i32.const 0)))
        (memory.fill (i32.mul (local.get $was) (i32.const 65536)) (local.get $was) (i32.const 196608))
        (br $more)))
      (call $hex (i64.extend_i32_u (memory.size))) (call $hex (i64.extend_i32_s (memory.grow (i32.const 0))))
      (memory.copy (i32.const 70000) (i32.const 69990) (i32.const 100000))
      (local.set $i (i32.const 65536))
      (loop $next (call $mix (i64.load (local.get $i))) (br_if $next (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 4096))) (i32.mul (memory.size) (i32.const 65536)))))
      (call $sum) (call $flush)`,
    ),
    { memoryBytes: 2 << 20, fuel: 1_000_000_000n },
  ],
  ['growth beyond the limit, then a trap', tool('(drop (memory.grow (i32.const 1000))) unreachable')],
  [
    'tables and branches',
    tool(
      `(local $i i32)
      (loop $next
        (call $hex (call_indirect $t (type $f) (i64.extend_i32_u (local.get $i)) (i32.rem_u (local.get $i) (i32.const 3))))
        (block $c (block $b (block $a (br_table $a $b $c (local.get $i))) (call $hex (i64.const 0xa)) (br $c)) (call $hex (i64.const 0xb)))
        (br_if $next (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 6))))
      (call $hex (i64.extend_i32_s (table.grow $t (ref.null func) (i32.const 5)))) (call $hex (i64.extend_i32_s (table.grow $t (ref.null func) (i32.const 131072)))) (call $hex (i64.extend_i32_u (table.size $t))) (call $flush)`,
      {
        more: `(type $f (func (param i64) (result i64))) (table $t 3 funcref) (elem (i32.const 0) $double $square $down)
          (func $double (param i64) (result i64) (i64.shl (local.get 0) (i64.const 1))) (func $square (param i64) (result i64) (i64.mul (local.get 0) (local.get 0))) (func $down (param i64) (result i64) (i64.sub (i64.const 0) (local.get 0)))`,
      },
    ),
  ],
  [
    'chance, clock and arguments',
    tool(
      `(drop (call $random (i32.const 64) (i32.const 37))) (drop (call $random (i32.const 104) (i32.const 16)))
      ${[64, 72, 80, 88, 96, 104, 112].map((at) => `(call $hex (i64.load (i32.const ${at})))`).join('\n')}
      (drop (call $clock (i32.const 0) (i64.const 1) (i32.const 64))) (call $hex (i64.load (i32.const 64))) (call $hex (i64.extend_i32_u (call $clock (i32.const 9) (i64.const 1) (i32.const 64)))) (call $flush)`,
      { imports: `${RANDOM} ${CLOCK}` },
    ),
    { startTimeMs: 1_709_210_096_789, seed: new Uint8Array(32).fill(200) },
  ],
  [
    'its own input',
    tool(
      `(i32.store (i32.const 16) (i32.const 1024)) (i32.store (i32.const 20) (i32.const 30000))
      (drop (call $fd_read (i32.const 0) (i32.const 16) (i32.const 1) (i32.const 24))) (call $say (i64.load32_u (i32.const 24))) (call $write (i32.const 1) (i32.const 1024) (i32.load (i32.const 24)))`,
    ),
    { input: { text: 'ä😀\u0000"', list: [1, -2, null, true, { z: 1, a: [] }], more: 'x'.repeat(2000) } },
  ],
  [
    'the least fuel of a tool',
    tool(
      `(local $i i32) (loop $next (call $mix (i64.extend_i32_u (local.get $i))) (if (i32.eqz (i32.rem_u (local.get $i) (i32.const 20))) (then (call $say (global.get $check)))) (br_if $next (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 100)))) (call $sum) (call $flush)`,
    ),
    { cuts: 'search' },
  ],
  ['a tool that never ends', tool('(loop $again (call $mix (i64.const 1)) (br $again))'), { fuel: 5_000_000n }],
  [
    'a tool that calls itself',
    tool('(call $down (i64.const 0)) (call $flush)', {
      more: '(func $down (param $n i64) (local f64 f64) (if (i64.eqz (i64.rem_u (local.get $n) (i64.const 500))) (then (call $say (local.get $n)))) (call $down (i64.add (local.get $n) (i64.const 1))) (local.set 1 (f64.const 1)))',
    }),
  ],
  ['a trap by division', tool('(call $say (i64.const 1)) (drop (i64.div_s (i64.const 1) (i64.const 0)))')],
  ['a trap by conversion', tool(`(drop (i32.trunc_f64_u ${f64('0xfff8000000000123')}))`)],
  ['a trap by address', tool('(drop (i64.load offset=65530 (i32.const 4)))')],
  ['an exit code', tool('(call $say (i64.const 3)) (call $proc_exit (i32.const 3))')],
  ['a module that is refused', Buffer.from('\0asm\u0001\0\0\0').toString('base64')],
];

export const TOOL_PROGRAMS: readonly DeterministicProgram[] = TOOLS.map(([name, source, settings = {}]) => [
  `tool: ${name}`,
  '',
  { language: 'wasm', entry: { tool: 'test' }, source, ...settings },
]);
