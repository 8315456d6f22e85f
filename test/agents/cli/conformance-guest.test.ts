import { existsSync, readFileSync } from 'node:fs';
import { PassThrough, Readable } from 'node:stream';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ALL_SUITES, runConformance } from '../../../agents/cli/conformance.ts';
import { type GuestSuite, openGuestSuite } from '../../../agents/cli/conformance-guest.ts';

let suite: GuestSuite;
const warnings: string[] = [];
beforeAll(async () => {
  suite = await openGuestSuite((message) => warnings.push(message));
});
afterAll(() => suite.close());

const line = (data: unknown): Uint8Array =>
  new Uint8Array(Buffer.from(typeof data === 'string' ? data : JSON.stringify(data)));
const evaluate = (source: string, fuel = 200_000_000) => suite.evaluate(line({ source, fuel, memoryMb: 32 }));
const fuelUsed = expect.any(Number);

describe('the completion value of a script', () => {
  it.each<[source: string, result: unknown]>([
    ['1;', 1],
    ['({ a: [1, null, true, "ä"] })', { a: [1, null, true, 'ä'] }],
    ['var x = 3; x * 2', 6],
    ['let y = 3; const z = y; z', 3],
    ['"use strict"; 7', 7],
    ['if (true) { 5 } else { 6 }', 5],
    ['function f() { return this === globalThis; } f()', true],
    ['0.1 + 0.2', 0.1 + 0.2],
    ['-0', 0],
    ['5e-324', 5e-324],
    ['1e21', 1e21],
    ['2 ** 53', 2 ** 53],
    ['[-1.5, 1 / 3, 123456789.125]', [-1.5, 1 / 3, 123456789.125]],
    ['null', null],
    ['""', ''],
    ['"\\u2028\\0"', '\u2028\0'],
    ['Promise.resolve(5)', 5],
    ['(async () => { await 1; return [1, await 2]; })()', [1, 2]],
    ['({ then(done) { done(4); } })', 4],
    ['Promise.resolve().then(() => { throw 1; }).catch((e) => e + 1)', 2],
    ['new Date(0)', '1970-01-01T00:00:00.000Z'],
    ['({ toJSON() { return [1]; } })', [1]],
    ['({ a: undefined, b: 1 })', { b: 1 }],
    ['class P { constructor() { this.x = 0.5; } } new P()', { x: 0.5 }],
    ['Object.assign(Object.create(null), { a: 1 })', { a: 1 }],
    ['"a1b".match(/(\\d)(?<rest>.)/)', ['1b', '1', 'b']],
    ['const shared = [1]; [shared, shared]', [[1], [1]]],
    ['let deep = []; for (let i = 0; i < 199; i++) deep = [deep]; JSON.stringify(deep).length', 400],
    ['console.log("not a result"); 1', 1],
    ['globalThis.__tracebond = { run() { return 2; } }; 1', 1],
  ])('%s', async (source, result) => {
    expect(await evaluate(source)).toEqual({ result, fuelUsed });
  });

  it('may nest 200 levels', async () => {
    const nested = (levels: number) => `let deep = []; for (let i = 1; i < ${levels}; i++) deep = [deep]; deep`;
    expect(await evaluate(nested(200))).toHaveProperty('result');
    expect(await evaluate(nested(201))).toEqual({ error: 'OUTPUT_INVALID', fuelUsed });
  });

  it.each([
    ['', 'OUTPUT_INVALID'],
    ['undefined', 'OUTPUT_INVALID'],
    ['var a = 1;', 'OUTPUT_INVALID'],
    ['NaN', 'OUTPUT_INVALID'],
    ['[1, -Infinity]', 'OUTPUT_INVALID'],
    ['1n', 'OUTPUT_INVALID'],
    ['Symbol("x")', 'OUTPUT_INVALID'],
    ['() => 1', 'OUTPUT_INVALID'],
    ['({ f() {} })', 'OUTPUT_INVALID'],
    ['[1, , 2]', 'OUTPUT_INVALID'],
    ['const a = {}; a.a = a; a', 'OUTPUT_INVALID'],
    ['const b = [[]]; b[0].push(b); b', 'OUTPUT_INVALID'],
    ['const c = { toJSON() { return [c]; } }; c', 'OUTPUT_INVALID'],
    ['new Map([[1, 2]])', 'OUTPUT_INVALID'],
    ['new Uint8Array(2)', 'OUTPUT_INVALID'],
    ['/x/', 'OUTPUT_INVALID'],
    ['new Error("x")', 'OUTPUT_INVALID'],
    ['[Promise.resolve(1)]', 'OUTPUT_INVALID'],
    ['(function* () {})()', 'OUTPUT_INVALID'],
    ['Promise.resolve(() => 1)', 'OUTPUT_INVALID'],
    ['new Promise(() => {})', 'DEADLOCK'],
    ['const p = new Promise((r) => setTimeout(r, 1)); p', 'TOOL_ERROR'],
    ['({ then() {} })', 'DEADLOCK'],
    ['throw new Error("x")', 'TOOL_ERROR'],
    ['throw null', 'TOOL_ERROR'],
    ['Promise.reject(1)', 'TOOL_ERROR'],
    ['({ get a() { throw 1; } })', 'TOOL_ERROR'],
    ['syntax error', 'TOOL_ERROR'],
    ['await 1', 'TOOL_ERROR'],
    ['return 1', 'TOOL_ERROR'],
    ['import x from "x"', 'TOOL_ERROR'],
    ['import("node:fs")', 'TOOL_ERROR'],
    ['for (;;);', 'OUT_OF_FUEL'],
    ['const f = () => f(); f()', 'STACK_EXHAUSTED'],
    ['"x".repeat(2 ** 29)', 'MEMORY_LIMIT'],
  ])('%s: %s', async (source, error) => {
    expect(await evaluate(source, 1_000_000_000)).toEqual({ error, fuelUsed });
  });

  it('is found without what the host has', async () => {
    const names = ['SharedArrayBuffer', 'Atomics', 'WebAssembly', 'setTimeout', 'fetch', 'process', 'require', 'Intl'];
    const source = `${JSON.stringify(names)}.filter((name) => name in globalThis)`;
    expect(await evaluate(source)).toEqual({ result: [], fuelUsed });
  });
});

describe('cases are apart from each other', () => {
  it('in globals, seed and clock', async () => {
    const source =
      'globalThis.n = (globalThis.n ?? 0) + 1; [n, Math.random(), Date.now(), new Date().getTimezoneOffset()]';
    const first = await evaluate(source);
    expect(first).toEqual({ result: [1, expect.any(Number), 1_700_000_000_000, 0], fuelUsed });
    expect(await evaluate(source)).toEqual(first);
  });

  it('in fuel: all that was used is enough, one less is not', async () => {
    const source = 'let s = 0; for (let i = 0; i < 1000; i++) s += i; s';
    const first = await evaluate(source);
    const used = 'fuelUsed' in first ? first.fuelUsed : 0;
    expect(Number.isSafeInteger(used)).toBe(true);
    expect(await evaluate(source, used)).toEqual(first);
    expect(await evaluate(source, used - 1)).toEqual({ error: 'OUT_OF_FUEL', fuelUsed: used - 1 });
  });
});

describe('a line', () => {
  it.each([
    ['{}', 'MALFORMED_CASE'],
    ['[]', 'MALFORMED_CASE'],
    ['1', 'MALFORMED_CASE'],
    ['{"source":"1","fuel":1}', 'MALFORMED_CASE'],
    ['{"source":"1","memoryMb":1}', 'MALFORMED_CASE'],
    ['{"fuel":1,"memoryMb":1}', 'MALFORMED_CASE'],
    ['{"source":1,"fuel":1,"memoryMb":1}', 'MALFORMED_CASE'],
    ['{"source":"1","fuel":0,"memoryMb":1}', 'MALFORMED_CASE'],
    ['{"source":"1","fuel":-1,"memoryMb":1}', 'MALFORMED_CASE'],
    ['{"source":"1","fuel":1.5,"memoryMb":1}', 'MALFORMED_CASE'],
    ['{"source":"1","fuel":"1","memoryMb":1}', 'MALFORMED_CASE'],
    ['{"source":"1","fuel":9007199254740993,"memoryMb":1}', 'MALFORMED_CASE'],
    ['{"source":"1","fuel":1,"memoryMb":0}', 'MALFORMED_CASE'],
    ['{"source":"1","fuel":1,"memoryMb":1025}', 'MALFORMED_CASE'],
    ['{"source":"1","fuel":1,"memoryMb":0.5}', 'MALFORMED_CASE'],
    ['', 'MALFORMED_JSON'],
    ['{"source":"1","source":"2","fuel":1,"memoryMb":1}', 'DUPLICATE_KEY'],
  ])('%s: %s', async (text, error) => {
    expect(await suite.evaluate(line(text))).toEqual({ error });
  });

  it('may write its numbers in any way', async () => {
    const text = '{"source":"1","fuel":1e9,"memoryMb":16.0,"comment":"of no meaning"}';
    expect(await suite.evaluate(line(text))).toEqual({ result: 1, fuelUsed });
  });
});

describe('the command', () => {
  it('answers in order', async () => {
    const output = new PassThrough();
    const cases = ['1', 'for (;;);', '{', '2'].map((source) => JSON.stringify({ source, fuel: 1e6, memoryMb: 16 }));
    await runConformance('guest', Readable.from([line(`${cases.join('\n')}\n`)]), output);
    const lines = (output.read() as Buffer).toString().trim().split('\n');
    expect(lines.map((text) => JSON.parse(text))).toEqual([
      { result: 1, fuelUsed },
      { error: 'OUT_OF_FUEL', fuelUsed: 1_000_000 },
      { error: 'TOOL_ERROR', fuelUsed },
      { result: 2, fuelUsed },
    ]);
  });

  it('goes on when somebody kills the process of a case', async () => {
    const others = childPids();
    const own = await openGuestSuite(() => undefined);
    await own.evaluate(line({ source: '1', fuel: 1e6, memoryMb: 16 }));
    const pids = childPids().filter((pid) => !others.includes(pid));
    const running = own.evaluate(line({ source: 'for (;;);', fuel: 1e9, memoryMb: 16 }));
    await new Promise((resolve) => setTimeout(resolve, 30));
    for (const pid of pids) process.kill(pid, 'SIGKILL');
    // The second attempt is not disturbed.
    expect(await running).toEqual({ error: 'OUT_OF_FUEL', fuelUsed: 1e9 });
    expect(await own.evaluate(line({ source: '2', fuel: 1e6, memoryMb: 16 }))).toEqual({ result: 2, fuelUsed });
    await own.close();
  });

  it('knows the suite, and warns of a missing wall alone', () => {
    expect(ALL_SUITES).toContain('guest');
    for (const warning of warnings) expect(warning).toMatch(/^no second wall: ./);
  });
});

/** The sandbox processes of this test, as the system lists them; none where it has no such list. */
function childPids(): number[] {
  const list = `/proc/${process.pid}/task/${process.pid}/children`;
  if (!existsSync(list)) return [];
  return readFileSync(list, 'utf8')
    .trim()
    .split(' ')
    .filter((pid) => pid !== '')
    .map(Number);
}
