import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { childEntry } from '../../../attest/core/entry.ts';
import type { Json } from '../../../attest/encoding/canonical-json.ts';
import { openQuickJsVm } from '../../../runtime/sandbox/quickjs-vm.ts';
import { HostFault, type Vm, type VmOptions, type VmState } from '../../../runtime/sandbox/vm.ts';
import { WASI_FUNCTIONS, wasiSignature } from '../../../runtime/sandbox/wasi.ts';
import { MAX_TABLE_ELEMENTS, WasmToolSession } from '../../../runtime/sandbox/wasm-tool.ts';
import { compileRustTool } from '../../support/rust-tool.ts';
import { temporaryFolder } from '../../support/temporary.ts';
import { buildModule } from '../../support/wasm-builder.ts';
import { toolOptions, toolText } from '../../support/wasm-tool.ts';

const run = (module: Uint8Array | string, input: Json = null, some: Partial<VmOptions> = {}): VmState =>
  new WasmToolSession(toolOptions(module, input, some)).start();

const runWithLines = (module: string, some: Partial<VmOptions> = {}): [VmState, readonly string[]] => {
  const session = new WasmToolSession(toolOptions(module, null, some));
  return [session.start(), session.takeLines()];
};

/** The code and message of a failed end, else its status. */
const endOf = (state: VmState): string =>
  state.status === 'failed' ? `${state.error.code}: ${state.error.message}` : state.status;

const ECHO = toolText(`
  (i32.store (i32.const 16) (i32.const 64))
  (i32.store (i32.const 20) (i32.const 60000))
  (drop (call $fd_read (i32.const 0) (i32.const 16) (i32.const 1) (i32.const 24)))
  (call $write (i32.const 1) (i32.const 64) (i32.load (i32.const 24)))`);

/** A tool that writes a text to a stream and then does something else. */
const writing = (text: string, fd = 1, then = ''): string =>
  toolText(`(call $write (i32.const ${fd}) (i32.const 64) (i32.const ${Buffer.byteLength(text)})) ${then}`, {
    more: `(data (i32.const 64) "${[...Buffer.from(text)].map((byte) => `\\${byte.toString(16).padStart(2, '0')}`).join('')}")`,
  });

let vm: Vm;
beforeAll(async () => {
  vm = await openQuickJsVm();
});
afterAll(() => vm.close());

describe('a WASM tool', () => {
  it('reads its input on stdin and writes its result on stdout, in the sandbox as here', async () => {
    const input = { b: false, a: [1, null, 'é'] };
    const session = await vm.open(toolOptions(ECHO, input));
    const state = await session.start();
    expect(state).toMatchObject({ status: 'done', value: input, calls: [] });
    expect(state).toEqual(run(ECHO, input));
    expect(state).toEqual(run(ECHO, { a: [1, null, 'é'], b: false }));
    await session.close();
  });

  it('is refused as an agent or for its manifest, and in another language', async () => {
    for (const entry of ['manifest', 'agent'] as const) {
      await expect(vm.open(toolOptions(ECHO, null, { entry }))).rejects.toMatchObject({ code: 'MALFORMED_OPTIONS' });
    }
    const options = { ...toolOptions(ECHO), language: 'python' } as unknown as VmOptions;
    await expect(vm.open(options)).rejects.toMatchObject({ code: 'MALFORMED_OPTIONS' });
  });

  it('waits for nothing', () => {
    expect(() => new WasmToolSession(toolOptions(ECHO)).deliver()).toThrow(HostFault);
  });

  it('links with every function of preview 1', () => {
    const letters = (types: readonly number[]): string =>
      types.map((type) => (type === 0x7e ? 'i64' : 'i32')).join(' ');
    const imports = WASI_FUNCTIONS.filter((name) => !/^(fd_write|fd_read|proc_exit)$/.test(name)).map((name) => {
      const { params, results } = wasiSignature(name) ?? { params: [], results: [] };
      return `(import "wasi_snapshot_preview1" "${name}" (func (param ${letters(params)}) (result ${letters(results)})))`;
    });
    const text = toolText('', { imports: imports.join('\n') });
    expect(endOf(run(text))).toMatch(/^OUTPUT_INVALID/);
  });
});

describe('results', () => {
  it.each([
    ['null', null],
    [' {"a" : [1,-2] }\n', { a: [1, -2] }],
    ['"\u20ac\\n"', '\u20ac\n'],
    [`${'['.repeat(24)}${']'.repeat(24)}`, JSON.parse(`${'['.repeat(24)}${']'.repeat(24)}`)],
  ])('%j', (text, value) => {
    expect(run(writing(text))).toMatchObject({ status: 'done', value });
  });

  it.each([
    '',
    '\n',
    '{',
    '1 2',
    '0.5',
    '1e400',
    '9007199254740992',
    '-0',
    '\ufeff1',
    '{"a":1,"a":2}',
    '"\\ud800"',
    'NaN',
  ])('not %j', (text) => {
    expect(endOf(run(writing(text)))).toMatch(/^OUTPUT_INVALID: /);
  });

  it('not deeper than 24 levels, and not beyond UTF-8', () => {
    expect(endOf(run(writing(`${'['.repeat(25)}${']'.repeat(25)}`)))).toMatch(/^OUTPUT_INVALID/);
    const broken = toolText('(call $write (i32.const 1) (i32.const 64) (i32.const 3))', {
      more: '(data (i32.const 64) "\\22\\ff\\22")',
    });
    expect(endOf(run(broken))).toBe('OUTPUT_INVALID: the result is not UTF-8');
  });
});

describe('ends', () => {
  it('with exit code 0 is done, also from within; any other is an error', () => {
    const exit = (code: number): string => writing('1', 1, `(call $proc_exit (i32.const ${code}))`);
    expect(run(exit(0))).toMatchObject({ status: 'done', value: 1 });
    expect(endOf(run(exit(3)))).toBe('TOOL_ERROR: exit code 3');
    expect(endOf(run(exit(-1)))).toBe('TOOL_ERROR: exit code 4294967295');
  });

  it('out of fuel, in the tool and in a call of its', () => {
    const loop = run(toolText('(loop (br 0))'), null, { fuel: 1000n });
    expect([endOf(loop), loop.fuelUsed]).toEqual(['OUT_OF_FUEL: out of fuel', 1000n]);
    const imports = '(import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))';
    const random = toolText('(drop (call $random (i32.const 0) (i32.const 60000)))', { imports });
    expect(endOf(run(random, null, { fuel: 60_066n }))).toBe('OUT_OF_FUEL: out of fuel');
    expect(endOf(run(random, null, { fuel: 60_068n }))).toMatch(/^OUTPUT_INVALID/);
  });

  it('out of depth, whatever the shape of the frames', async () => {
    const locals = '(local '.concat('i64 '.repeat(990), ')');
    const values = Array.from({ length: 400 }, (_, i) => `(i64.add (i64.const ${i}) (local.get 0))`).join(' ');
    const shapes = [
      '(func $f (call $f))',
      `(func $f ${locals} (call $f))`,
      `(func $f (param i64) ${values} (call $f (i64.const 1)) ${'(drop)'.repeat(400)})`,
      `(func $f (param ${'i64 '.repeat(450)}) (call $f ${Array.from({ length: 450 }, (_, i) => `(local.get ${i})`).join(' ')}))`,
      `(func $f (param ${'f64 '.repeat(300)}) (result ${'f64 '.repeat(300)}) ${Array.from({ length: 300 }, (_, i) => `(f64.sqrt (local.get ${i}))`).join(' ')} (call $f))`,
      '(table 1 funcref) (elem (i32.const 0) $f) (func $f (call_indirect (i32.const 0)))',
    ];
    for (const shape of shapes) {
      const params = /^\(func \$f \(param ([if]64) ?((?:[if]64 ?)*)\)/.exec(shape);
      const count = params === null ? 0 : 1 + (params[2] ?? '').split(' ').filter(Boolean).length;
      const results = /\(result ((?:f64 ?)+)\)/.exec(shape)?.[1]?.split(' ').filter(Boolean).length ?? 0;
      const call = `(call $f ${`(${params?.[1]}.const 0)`.repeat(count)}) ${'(drop)'.repeat(results)}`;
      const session = await vm.open(toolOptions(toolText(call, { more: shape })));
      const state = await session.start();
      expect(endOf(state)).toBe('STACK_EXHAUSTED: call depth exhausted');
      await session.close();
    }
  });

  it.each([
    ['unreachable', 'unreachable'],
    ['division by zero', '(drop (i32.div_u (i32.const 1) (i32.const 0)))'],
    ['memory out of bounds', '(drop (i32.load (i32.const -4)))'],
    ['a call of nothing', '(call_indirect (i32.const 0))'],
  ])('with a trap: %s', (_name, body) => {
    expect(endOf(run(toolText(body, { more: '(table 1 funcref)' })))).toBe('TRAP: the tool trapped');
  });

  it('with a segment beyond its memory or table', () => {
    const segments = ['(data (i32.const 65536) "a")', '(table 1 funcref) (elem (i32.const 1) $write)'];
    for (const more of segments) expect(endOf(run(toolText('', { more })))).toMatch(/^TRAP: a segment/);
  });

  it('of a start function is an end of the tool', () => {
    const start = (body: string): string => toolText('', { more: `(func $s ${body}) (start $s)` });
    expect(endOf(run(start('(loop (br 0))'), null, { fuel: 5000n }))).toBe('OUT_OF_FUEL: out of fuel');
    expect(endOf(run(start('unreachable')))).toBe('TRAP: the tool trapped');
    expect(endOf(run(start('(call $s)')))).toBe('STACK_EXHAUSTED: call depth exhausted');
    expect(endOf(run(start('(call $proc_exit (i32.const 9))')))).toBe('TOOL_ERROR: exit code 9');
    const writes = start(
      '(i32.store8 (i32.const 64) (i32.const 0x37)) (call $write (i32.const 1) (i32.const 64) (i32.const 1))',
    );
    expect(run(writes)).toMatchObject({ status: 'done', value: 7 });
  });
});

describe('memory', () => {
  const MIB = 1 << 20;
  const grow = (pages: number, then: string, memory = '1'): string =>
    toolText(`(if (i32.eq (memory.grow (i32.const ${pages})) (i32.const -1)) (then ${then}))`, { memory });

  it('grows up to the limit and no further; a tool that dies of it is out of memory', () => {
    const limit = { memoryBytes: 2 * MIB };
    expect(endOf(run(grow(31, 'unreachable'), null, limit))).toMatch(/^OUTPUT_INVALID/);
    expect(endOf(run(grow(32, 'unreachable'), null, limit))).toBe('MEMORY_LIMIT: out of memory');
    expect(endOf(run(grow(32, '(call $proc_exit (i32.const 1))'), null, limit))).toBe('MEMORY_LIMIT: out of memory');
    expect(endOf(run(grow(32, '(call $proc_exit (i32.const 0))'), null, limit))).toMatch(/^OUTPUT_INVALID/);
    expect(endOf(run(grow(32, '(loop (br 0))'), null, { ...limit, fuel: 1_000_000n }))).toBe(
      'OUT_OF_FUEL: out of fuel',
    );
    expect(endOf(run(grow(2, 'unreachable', '1 2'), null, limit))).toBe('MEMORY_LIMIT: out of memory');
  });

  it('is billed for what it asks, in 64 bits', () => {
    expect(endOf(run(grow(0x80001, 'unreachable')))).toBe('OUT_OF_FUEL: out of fuel');
    expect(endOf(run(grow(-1, 'unreachable'), null, { fuel: 2n ** 52n }))).toBe('MEMORY_LIMIT: out of memory');
    expect(run(grow(3, '')).fuelUsed - run(grow(2, '')).fuelUsed).toBe(8192n);
  });

  it('that is too large at first is not made', () => {
    const state = run(toolText('', { memory: '33' }), null, { memoryBytes: 2 * MIB });
    expect([endOf(state), state.fuelUsed]).toEqual(['MEMORY_LIMIT: out of memory', 0n]);
    expect(endOf(run(toolText('', { memory: '65536' })))).toBe('MEMORY_LIMIT: out of memory');
  });

  it('that the host refuses within the limit is a fault of the host', async () => {
    const { url, execArgv } = childEntry(import.meta.url, '../../support/wasm-tool-child.ts');
    const { source } = toolOptions(grow(511, 'unreachable'));
    const options = { env: { ...process.env, NODE_OPTIONS: '' } };
    const child = [...execArgv, fileURLToPath(url), source, String(32 * MIB)];
    const refused = await promisify(execFile)(process.execPath, ['--wasm-max-mem-pages=100', ...child], options);
    expect(refused.stdout).toBe('HOST_OUT_OF_MEMORY');
    const given = await promisify(execFile)(process.execPath, child, options);
    expect(given.stdout).toBe('OUTPUT_INVALID');
  });
});

describe('output', () => {
  it('on stderr is console lines, the last one without a line feed too', () => {
    const [state, lines] = runWithLines(writing('one\n\ntwo \u20ac\nthree', 2, '(call $proc_exit (i32.const 2))'));
    expect(endOf(state)).toBe('TOOL_ERROR: exit code 2');
    expect(lines).toEqual(['one', '', 'two \u20ac', 'three']);
    expect(runWithLines(writing('last words', 2, 'unreachable'))[1]).toEqual(['last words']);
  });

  it('has lines of at most 4,096 units, and no half characters', () => {
    const long = `${'a'.repeat(4095)}\u{1f600}b\nnext`;
    expect(runWithLines(writing(long, 2))[1]).toEqual(['a'.repeat(4095), 'next']);
    const [, [line]] = runWithLines(
      toolText(
        '(call $write (i32.const 2) (i32.const 64) (i32.const 60000)) (call $write (i32.const 2) (i32.const 64) (i32.const 9))',
      ),
    );
    expect(line).toBe('\0'.repeat(4096));
    const broken = toolText('(call $write (i32.const 2) (i32.const 64) (i32.const 2))', {
      more: '(data (i32.const 64) "\\ffA")',
    });
    expect(runWithLines(broken)[1]).toEqual(['\ufffdA']);
  });

  it('counts the result and 64, and each line as JSON and 64', () => {
    const result = writing('"12345678"');
    expect(endOf(run(result, null, { outputBytes: 74 }))).toBe('done');
    expect(endOf(run(result, null, { outputBytes: 73 }))).toBe('OUTPUT_TOO_LARGE: more than 73 bytes leave the guest');
    const lines = writing('a\n"\n', 2);
    expect(runWithLines(lines, { outputBytes: 135 })[1]).toEqual(['a', '"']);
    const [state, seen] = runWithLines(lines, { outputBytes: 134 });
    expect([endOf(state), seen]).toEqual(['OUTPUT_TOO_LARGE: more than 134 bytes leave the guest', ['a']]);
  });

  it('stops a flood on either stream', () => {
    for (const fd of [1, 2]) {
      const text = `(loop (call $write (i32.const ${fd}) (i32.const 64) (i32.const 1000)) (br 0))`;
      const module = toolText(text, { more: `(data (i32.const 64) "${'\\0a'.repeat(1000)}")` });
      expect(endOf(run(module))).toMatch(/^OUTPUT_TOO_LARGE/);
    }
    // A line without end costs fuel only.
    const endless = toolText('(loop (call $write (i32.const 2) (i32.const 64) (i32.const 60000)) (br 0))');
    expect(endOf(run(endless, null, { fuel: 3_000_000n }))).toBe('OUT_OF_FUEL: out of fuel');
  });
});

describe('modules that are no tools', () => {
  const started = '(func (export "_start"))';
  const withMemory = `(memory (export "memory") 1) ${started}`;
  it.each([
    [
      'another module of imports',
      `(import "env" "fd_write" (func (param i32 i32 i32 i32) (result i32))) ${withMemory}`,
    ],
    ['a function that preview 1 lacks', `(import "wasi_snapshot_preview1" "constructor" (func)) ${withMemory}`],
    ['another signature', `(import "wasi_snapshot_preview1" "fd_close" (func (param i64) (result i32))) ${withMemory}`],
    ['a result too few', `(import "wasi_snapshot_preview1" "fd_close" (func (param i32))) ${withMemory}`],
    ['a memory from outside', `(import "env" "memory" (memory 1)) (export "memory" (memory 0)) ${started}`],
    [
      'a memory of WASI',
      `(import "wasi_snapshot_preview1" "fd_write" (memory 1)) (export "memory" (memory 0)) ${started}`,
    ],
    ['a global from outside', `(import "wasi_snapshot_preview1" "g" (global i32)) ${withMemory}`],
    ['a table from outside', `(import "env" "t" (table 1 funcref)) ${withMemory}`],
    ['no _start', '(memory (export "memory") 1)'],
    ['_start with a parameter', '(memory (export "memory") 1) (func (export "_start") (param i32))'],
    ['_start with a result', '(memory (export "memory") 1) (func (export "_start") (result i32) (i32.const 0))'],
    ['_start that is a memory', '(memory (export "memory") (export "_start") 1)'],
    ['no memory', started],
    ['a memory by another name', `(memory (export "mem") 1) ${started}`],
    ['a memory that is a function', '(memory 1) (func (export "_start") (export "memory"))'],
    ['too many tables', `${'(table 1 funcref)'.repeat(17)} ${withMemory}`],
    ['too large a table', `(table ${MAX_TABLE_ELEMENTS + 1} funcref) ${withMemory}`],
    ['an export of the name of the fuel', `(func (export "__fuel")) ${withMemory}`],
    ['vectors', `(func (drop (v128.const i64x2 0 0))) ${withMemory}`],
    ['too large a frame', `(func (local ${'i64 '.repeat(1001)})) ${withMemory}`],
  ])('%s', (_name, fields) => {
    const state = run(`(module ${fields})`);
    expect([endOf(state), state.fuelUsed]).toEqual([expect.stringMatching(/^TOOL_ERROR: (the module|import) /), 0n]);
    expect(run(`(module ${fields})`)).toEqual(state);
  });

  it.each(['', 'AGFzbQ==', 'AGFzbQEAAAA=', '!!!!', 'AGFzbQEAAAA', 'not base64', 'A'.repeat(30_000_000)])(
    'other text (%#)',
    (source) => {
      const { fuelUsed, ...state } = new WasmToolSession({ ...toolOptions(ECHO), source }).start();
      expect([state.status, fuelUsed]).toEqual(['failed', 0n]);
      expect(state).toMatchObject({ error: { code: 'TOOL_ERROR' } });
    },
  );

  it('of nested blocks and large tables of branches run all the same', () => {
    // Made of bytes: the assembler does not bear so deep a nesting.
    const code = [...Array(50_000).fill([0x02, 0x40]).flat(), ...Array(50_000).fill(0x0b)];
    const nested = buildModule({ functions: [{ name: '_start', code }], memory: [1, 1] });
    expect(endOf(run(nested))).toMatch(/^OUTPUT_INVALID/);
    const table = `(func $t (block (block (br_table ${'0 1 '.repeat(20_000)} (i32.const 39999)))))`;
    expect(endOf(run(toolText('(call $t)', { more: table })))).toMatch(/^OUTPUT_INVALID/);
  });

  it('do not share anything between two runs', () => {
    const counting = toolText(
      `(i32.store8 (i32.const 64) (i32.add (i32.const 0x31) (global.get $n)))
       (global.set $n (i32.const 1)) (i32.store (i32.const 60000) (i32.const 1))
       (call $write (i32.const 1) (i32.const 64) (i32.const 1))`,
      { more: '(global $n (mut i32) (i32.const 0))' },
    );
    expect(run(counting)).toMatchObject({ value: 1 });
    expect(run(counting)).toMatchObject({ value: 1 });
  });
});

it('a tool in Rust runs, and ends as it should', async (context) => {
  const tool = compileRustTool(temporaryFolder());
  if (tool === undefined) {
    console.warn('SKIPPED: tools in Rust (no rustc with the target wasm32-wasip1 here)');
    return context.skip();
  }
  const session = await vm.open(toolOptions(tool, 'some words of some sizes'));
  const state = await session.start();
  expect(state).toMatchObject({
    status: 'done',
    value: { sizes: 4, time: 1_700_000_000_123, args: ['tool'], vars: 0 },
  });
  expect(session.log).toEqual(['got 26 bytes']);
  await session.close();
  expect(run(tool, 'some words of some sizes')).toEqual(state);

  // The order of a HashMap follows from the seed.
  const order = (seed: number): string => {
    const ended = run(tool, 'x', { seed: new Uint8Array(32).fill(seed) });
    return ended.status === 'done' ? JSON.stringify(ended.value) : '';
  };
  expect(order(1)).toEqual(order(1));
  expect(new Set([1, 2, 3, 4].map(order)).size).toBeGreaterThan(1);

  const ends: Record<string, string> = {
    panic: 'TRAP: the tool trapped',
    exit: 'TOOL_ERROR: exit code 3',
    memory: 'MEMORY_LIMIT: out of memory',
    deep: 'STACK_EXHAUSTED: call depth exhausted',
    loop: 'OUT_OF_FUEL: out of fuel',
  };
  for (const [word, end] of Object.entries(ends)) expect([word, endOf(run(tool, word))]).toEqual([word, end]);
  for (const word of ['file', 'net']) expect(run(tool, word)).toMatchObject({ status: 'done', value: true });
}, 150_000);
