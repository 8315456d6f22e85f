import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openQuickJsVm } from '../../../runtime/sandbox/quickjs-vm.ts';
import type { GuestErrorCode, Vm, VmOptions } from '../../../runtime/sandbox/vm.ts';
import { runOnce, script } from '../../support/sandbox-programs.ts';

let vm: Vm;
beforeAll(async () => {
  vm = await openQuickJsVm();
});
afterAll(() => vm.close());

type End = GuestErrorCode | 'done';
type Hostile = readonly [name: string, ends: End, body: string, options?: Partial<VmOptions>];

const ENDS: readonly Hostile[] = [
  // Loops
  ['empty loop', 'OUT_OF_FUEL', 'for (;;);'],
  ['loop that catches', 'OUT_OF_FUEL', 'for (;;) try { for (;;); } catch {}'],
  ['loop in finally', 'OUT_OF_FUEL', 'try { for (;;); } finally { return 1; }'],
  [
    'async catch that swallows',
    'OUT_OF_FUEL',
    'const f = async () => { for (;;); }; for (;;) await f().catch(() => {});',
  ],
  ['endless jobs', 'OUT_OF_FUEL', 'const f = () => Promise.resolve().then(f); f(); return 1;'],
  ['endless generator', 'OUT_OF_FUEL', 'function* g() { for (;;) yield 1; } for (const _ of g());'],
  ['endless async generator', 'OUT_OF_FUEL', 'async function* g() { for (;;) yield 1; } for await (const _ of g());'],
  ['label loop', 'OUT_OF_FUEL', 'a: for (;;) { for (;;) continue a; }'],
  ['self-feeding array', 'OUT_OF_FUEL', 'const a = [1]; for (const x of a) a.push(x);', { fuel: 50_000_000n }],
  [
    'sort that never agrees',
    'OUT_OF_FUEL',
    'Array.from({ length: 1e5 }, (_, i) => i).sort(() => Math.random() - 0.5); for (;;);',
  ],
  // Recursion
  ['recursion', 'STACK_EXHAUSTED', 'const f = () => f() + 1; f();'],
  [
    'recursion that catches',
    'STACK_EXHAUSTED',
    'const f = () => { try { return f() + 1; } catch { return f(); } }; f();',
  ],
  ['mutual recursion through map', 'STACK_EXHAUSTED', 'const f = () => [1].map(f); f();'],
  ['recursion through a getter', 'STACK_EXHAUSTED', 'const o = { get a() { return this.a; } }; o.a;'],
  ['recursion through toString', 'STACK_EXHAUSTED', 'const o = { toString() { return "" + this; } }; "" + o;'],
  ['recursion through a proxy', 'STACK_EXHAUSTED', 'const p = new Proxy({}, { get: (t, k, r) => r[k] }); p.x;'],
  ['chain of proxies', 'STACK_EXHAUSTED', 'let p = {}; for (let i = 0; i < 30000; i++) p = new Proxy(p, {}); p.x;'],
  [
    'chain of prototypes',
    'done',
    'let o = {}; for (let i = 0; i < 5000; i++) o = Object.create(o); return o.x === undefined;',
  ],
  ['nested arrays to text', 'STACK_EXHAUSTED', 'let a = []; for (let i = 0; i < 30000; i++) a = [a]; String(a);'],
  ['deep JSON text', 'STACK_EXHAUSTED', 'JSON.parse("[".repeat(100000) + "]".repeat(100000));'],
  [
    'deep JSON value',
    'STACK_EXHAUSTED',
    'let a = []; for (let i = 0; i < 3000; i++) a = [a]; JSON.stringify(a);',
    { fuel: 2_000_000_000n },
  ],
  ['deep source', 'STACK_EXHAUSTED', 'eval("(".repeat(50000) + "1" + ")".repeat(50000));'],
  ['deep regular expression', 'STACK_EXHAUSTED', 'new RegExp("(?:".repeat(50000) + ")".repeat(50000));'],
  ['recursion in a sort', 'STACK_EXHAUSTED', 'const f = () => [2, 1].sort(f); f();'],
  ['result that nests', 'OUTPUT_INVALID', 'let a = 1; for (let i = 0; i < 1000; i++) a = { a }; return a;'],
  // Allocation
  [
    'array that grows',
    'MEMORY_LIMIT',
    'const a = []; for (;;) a.push(new Array(10000).fill(1));',
    { fuel: 2_000_000_000n },
  ],
  ['string that doubles', 'TOOL_ERROR', 'let s = "x"; for (;;) s += s; '],
  ['one huge string', 'MEMORY_LIMIT', '"x".repeat(2 ** 29);'],
  ['one huge buffer', 'MEMORY_LIMIT', 'new ArrayBuffer(2 ** 31 - 1);'],
  ['impossible length', 'TOOL_ERROR', 'new Array(-1);'],
  [
    'map that grows',
    'MEMORY_LIMIT',
    'const m = new Map(); for (let i = 0; ; i++) m.set(i, "x".repeat(500) + i);',
    { fuel: 2_000_000_000n },
  ],
  [
    'closures that grow',
    'MEMORY_LIMIT',
    'let f = () => 0; const all = []; for (;;) { const g = f; f = () => g; all.push(f, "x".repeat(999)); }',
    { fuel: 2_000_000_000n },
  ],
  ['big integer that grows', 'OUT_OF_FUEL', 'let n = 3n; for (;;) n *= n;'],
  [
    'memory and catch',
    'OUT_OF_FUEL',
    'const a = []; for (;;) try { for (;;) a.push(new Uint8Array(1 << 18)); } catch {}',
  ],
  // Work in one instruction
  ['regex bomb', 'OUT_OF_FUEL', '/^(a+)+$/.test("a".repeat(40) + "b");'],
  ['regex bomb over alternatives', 'OUT_OF_FUEL', '/(x|x|x)*y/.test("x".repeat(60));'],
  ['fill of a large buffer, often', 'OUT_OF_FUEL', 'const u = new Uint8Array(1 << 22); for (;;) u.fill(1);'],
  ['copy of a large buffer, often', 'OUT_OF_FUEL', 'const u = new Uint8Array(1 << 22); for (;;) u.copyWithin(1, 0);'],
  ['large integer to text', 'OUT_OF_FUEL', '(2n ** 400000n).toString();'],
  ['join of a huge array', 'OUT_OF_FUEL', 'new Array(4294967295).join("");'],
  ['index of a huge array', 'OUT_OF_FUEL', 'Array.prototype.indexOf.call({ length: 2 ** 53 - 1 }, 1);'],
  // Values and promises
  ['promise that never settles', 'DEADLOCK', 'await new Promise(() => {});'],
  ['thenable that never answers', 'DEADLOCK', 'return { then() {} };'],
  ['thenable that answers twice', 'done', 'return { then(ok, no) { ok(1); no(2); ok(3); } };'],
  ['thenable that throws late', 'done', 'return { then(ok) { ok(1); throw 2; } };'],
  [
    'promise of itself',
    'DEADLOCK',
    'const p = (async () => { await 0; return p; })(); await new Promise((r) => { p.catch(() => {}); });',
  ],
  ['rejection that nobody sees', 'done', 'Promise.reject(new Error("x")); return 1;'],
  ['throws null', 'TOOL_ERROR', 'throw null;'],
  ['throws a proxy', 'TOOL_ERROR', 'throw new Proxy({}, { get() { throw 1; } });'],
  ['throws a promise', 'TOOL_ERROR', 'throw new Promise(() => {});'],
  ['throws an error with an endless getter', 'OUT_OF_FUEL', 'throw { get message() { for (;;); } };'],
  ['returns an endless getter', 'OUT_OF_FUEL', 'return { get a() { for (;;); } };'],
  ['returns a proxy of endless keys', 'OUT_OF_FUEL', 'return new Proxy({}, { ownKeys() { for (;;); } });'],
  ['returns a huge sparse array', 'OUTPUT_INVALID', 'return new Array(4294967295);'],
  [
    'returns a proxy array without end',
    'OUT_OF_FUEL',
    'return new Proxy([], { get: (t, k) => k === "length" ? 1e15 : k === "toJSON" ? undefined : 1 });',
    { fuel: 20_000_000n },
  ],
  [
    'toJSON of itself',
    'OUTPUT_INVALID',
    'const o = { toJSON() { return o; } }; class A { toJSON() { return new A(); } } return new A();',
  ],
  ['output too large', 'OUTPUT_TOO_LARGE', 'return "x".repeat(100000);'],
  ['output too large in escapes', 'OUTPUT_TOO_LARGE', 'return "\\0".repeat(20000);'],
  ['console without end', 'OUTPUT_TOO_LARGE', 'for (;;) console.log("x");'],
  ['calls without end', 'OUTPUT_TOO_LARGE', 'for (;;) call("a", null);'],
  [
    'console of a hostile value',
    'done',
    'console.log({ get a() { throw 1; }, toString() { throw 2; } }, Symbol.iterator, 1n); return 1;',
  ],
  // Names of host methods
  ['method that is no text', 'TOOL_ERROR', 'await call({ toString: () => "kv.get" }, {});'],
  ['method of odd letters', 'TOOL_ERROR', 'await call("../secrets", {});'],
  // Modules and escapes
  ['import of a module', 'TOOL_ERROR', 'await import("node:fs");'],
  ['import of a data URL', 'TOOL_ERROR', 'await import("data:text/javascript,1");'],
  ['require', 'TOOL_ERROR', 'require("fs");'],
  ['process', 'TOOL_ERROR', 'process.exit(1);'],
  [
    'process through the constructor of a function',
    'TOOL_ERROR',
    '(() => {}).constructor("return process")().exit(1);',
  ],
  ['process through the constructor of the host function', 'TOOL_ERROR', 'call.constructor("return process")();'],
  [
    'process through an error of a call',
    'TOOL_ERROR',
    'try { await call("a", 0.5); } catch (e) { e.constructor.constructor("return process")(); }',
  ],
];

describe('a hostile guest ends where it should, and the engine goes on', () => {
  const cases = ENDS.map(([name, ends, body, options = {}]) => ({ name, ends, body, options }));
  it.each(cases)('$name: $ends', async ({ ends, body, options }) => {
    const state = await runOnce(vm, body, { fuel: 200_000_000n, wallMs: 60_000, ...options });
    expect(state.status === 'failed' ? state.error.code : state.status).toBe(ends);
    if (state.status === 'failed') expect(Buffer.byteLength(state.error.message)).toBeLessThanOrEqual(2048);
  });

  it('are more than 40', () => {
    expect(ENDS.length).toBeGreaterThan(40);
  });
});

describe('memory that runs out', () => {
  const hoards = [
    'const a = []; for (;;) a.push({ a: a.length });',
    'const m = new Map(); for (let i = 0; ; i++) m.set(i, {});',
    'let o = {}; for (;;) o = { o };',
    'const o = {}; for (let i = 0; ; i++) o["k" + i] = i;',
    'const a = []; for (;;) a.push(Promise.resolve(a));',
    'const a = []; for (;;) { a.push(call("x", "y".repeat(10))); if (a.length % 5 === 0) await null; }',
    'const a = []; const f = async () => { a.push(new Array(50).fill(0)); await null; return f(); }; await f();',
    'const a = []; for (;;) a.push(new Error("x"));',
    'const a = []; for (;;) a.push(Symbol("x" + a.length), /x/g, new Date());',
    'for (let i = 0; ; i++) globalThis["g" + i] = () => i;',
    'return JSON.parse("[" + "{},".repeat(60000) + "1]").length;',
  ];

  it.each(hoards)('is MEMORY_LIMIT even where the engine has no room to say so: %s', async (body) => {
    for (const memoryBytes of [1 << 20, 1_118_577, 1_258_579]) {
      const state = await runOnce(vm, body, {
        memoryBytes,
        fuel: 3_000_000_000n,
        outputBytes: 1 << 27,
        wallMs: 60_000,
      });
      expect(state).toMatchObject({ status: 'failed', error: { code: 'MEMORY_LIMIT', message: 'out of memory' } });
    }
  });
});

describe('what a guest can see', () => {
  it('has no door but call, and nothing of the host', async () => {
    const body = `
      const absent = ['process', 'require', 'module', 'Buffer', 'fetch', 'setTimeout', 'setInterval', 'setImmediate',
        'queueMicrotask', 'SharedArrayBuffer', 'Atomics', 'WebAssembly', 'WeakRef', 'FinalizationRegistry', 'performance',
        'crypto', 'navigator', 'Worker', 'std', 'os', 'scriptArgs', 'print', 'XMLHttpRequest', '__tracebond', '__sys'];
      return absent.filter((name) => name in globalThis || typeof globalThis[name] !== 'undefined');`;
    expect(await runOnce(vm, body)).toMatchObject({ status: 'done', value: [] });
  });

  it('has no shared memory by a back door', async () => {
    const body = `
      const seen = [];
      for (const name of Object.getOwnPropertyNames(globalThis)) {
        const prototype = globalThis[name]?.prototype;
        if (prototype && Object.prototype.toString.call(prototype).includes('Shared')) seen.push(name);
      }
      return seen;`;
    expect(await runOnce(vm, body)).toMatchObject({ status: 'done', value: [] });
  });

  it('has a fixed clock while it runs', async () => {
    const body =
      'const t = Date.now(); for (let i = 0; i < 20000; i++); return [Date.now() - t, new Date().getTime() - t];';
    expect(await runOnce(vm, body)).toMatchObject({ status: 'done', value: [0, 0] });
  });
});

describe('built-ins that guest code has changed', () => {
  const sabotage: readonly (readonly [string, string])[] = [
    ['JSON', 'JSON.stringify = () => "{"; JSON.parse = () => { throw 1; };'],
    ['Promise', 'Promise.prototype.then = () => {}; globalThis.Promise = null;'],
    ['Array', 'Array.prototype.join = () => "evil"; Array.isArray = () => true; Array.prototype.push = () => 0;'],
    [
      'String',
      'String.prototype.toWellFormed = () => "evil"; String.prototype.slice = () => "evil"; globalThis.String = null;',
    ],
    ['Object', 'Object.keys = () => { throw 1; }; Object.getPrototypeOf = () => null;'],
    ['Reflect', 'Reflect.apply = () => "evil"; globalThis.Reflect = null;'],
    ['RegExp', 'RegExp.prototype.test = () => true;'],
    ['Number', 'Number.isSafeInteger = () => true;'],
    ['Error', 'globalThis.Error = null; globalThis.InternalError = null; globalThis.TypeError = null;'],
  ];

  it.each(sabotage)('%s does not change what crosses', async (_name, code) => {
    const state = await runOnce(vm, 'return { a: [1, "x"], b: null };', {
      source: code + script('return { a: [1, "x"], b: null };'),
    });
    // Either the guest has broken itself, or the value is right; it is never another one.
    if (state.status === 'done') expect(state.value).toEqual({ a: [1, 'x'], b: null });
    else
      expect(state).toMatchObject({
        status: 'failed',
        error: { code: expect.stringMatching(/^(TOOL_ERROR|DEADLOCK)$/) },
      });
  });

  it('cannot smuggle a fraction out', async () => {
    const source = `Number.isSafeInteger = () => true; ${script('return 1.5;')}`;
    expect(await runOnce(vm, '', { source })).toMatchObject({ status: 'failed', error: { code: 'OUTPUT_INVALID' } });
  });
});
