/**
 * Deterministic programs that meet a limit: deep recursion, the end of the fuel, the end of the memory.
 *
 * @module
 */

import type { DeterministicProgram } from './determinism-program.ts';

/** Ways to call deeper and deeper; `note` counts and tells. */
const RECURSIONS: readonly (readonly [name: string, body: string])[] = [
  [
    'with many arguments',
    'const f = (a, b, c, d) => { note(); const x = [a, b], y = { c, d }; return f(...x, y, ...x) + 1; }; f(1, 2, 3, 4);',
  ],
  ['getters', 'class R { get r() { note(); return this.r; } } new R().r;'],
  ['constructors', 'class C { constructor() { note(); new C(); } } new C();'],
  ['apply', 'const f = () => { note(); f.apply(null, []); }; f();'],
  ['eval', 'const f = () => { note(); eval("f()"); }; f();'],
  ['generators', 'function* g() { note(); yield* g(); } [...g()];'],
  ['async functions', 'const f = async () => { note(); await f(); }; await f();'],
  ['comparators', 'const f = () => { note(); [2, 1].sort(f); return 0; }; f();'],
  ['map', 'const f = () => { note(); return [1].map(f); }; f();'],
  ['replace', 'const f = () => { note(); return "a".replace(/a/, f); }; f();'],
  ['toString', 'const o = { toString() { note(); return "" + this; } }; String(o);'],
  ['toJSON', 'const o = { toJSON() { note(); return JSON.stringify(o); } }; JSON.stringify(o);'],
  ['revivers', 'const f = () => { note(); return JSON.parse("1", f); }; f();'],
  ['proxies', 'const p = new Proxy({}, { get: (t, k, r) => { note(); return r[k]; } }); p.x;'],
  ['a long chain of proxies', 'let p = {}; for (let i = 0; i < 400; i++) { p = new Proxy(p, {}); note(); p.x; }'],
  ['a long chain of bound functions', 'let f = () => 1; for (;;) { f = f.bind(null); note(); f(); }'],
  [
    'a long chain of prototypes',
    'let o = {}; for (let i = 0; i < 1500; i++) { o = Object.create(o); note(); o.none; }',
  ],
];

/** What nests `n` levels deep, as a function of n. */
const NESTINGS: readonly (readonly [name: string, body: string])[] = [
  ['JSON arrays', '(n) => JSON.stringify(JSON.parse("[".repeat(n) + "]".repeat(n)))'],
  ['JSON objects', `(n) => JSON.parse('{"a":'.repeat(n) + "1" + "}".repeat(n))`],
  ['JSON made of arrays', '(n) => { let v = []; for (let i = 0; i < n; i++) v = [v]; return JSON.stringify(v); }'],
  ['flat', '(n) => { let v = []; for (let i = 0; i < n; i++) v = [v]; return v.flat(Infinity).length; }'],
  ['groups of a regular expression', '(n) => new RegExp("(?:".repeat(n) + "a" + ")".repeat(n)).exec("a")'],
  ['loops of a regular expression', '(n) => new RegExp("(?:".repeat(n) + "a" + ")*".repeat(n)).test("aaa")'],
  [
    'a regular expression that goes back',
    '(n) => /(?:a|b)*c/.test("ab".repeat(n)) + /(a|b)*?c/.test("ab".repeat(n >> 3))',
  ],
  ['parentheses', '(n) => eval("(".repeat(n) + "1" + ")".repeat(n))'],
  ['sums', '(n) => eval("1" + "+1".repeat(n))'],
  ['negations', '(n) => eval("!".repeat(n) + "1")'],
  ['blocks', '(n) => eval("{".repeat(n) + "}".repeat(n))'],
  ['functions', '(n) => new Function("return " + "x=>".repeat(n) + "1")'],
];

export const LIMIT_PROGRAMS: readonly DeterministicProgram[] = [
  ['out of depth', 'const f = (n) => f(n + 1) + 1; return f(0);'],
  ...RECURSIONS.map(
    ([name, body]): DeterministicProgram => [
      `depth: ${name}`,
      `let n = 0; const note = () => { if (++n % 40 === 0) console.log(n); }; try { ${body} } catch (e) { console.log(n + " " + e.name + ": " + e.message); } return n;`,
      { fuel: 100_000_000n },
    ],
  ),
  ...NESTINGS.map(
    ([name, body]): DeterministicProgram => [
      `nesting: ${name}`,
      `for (const n of [10, 100, 400, 900, 1500, 2500, 5000, 20000]) try { const v = (${body})(n); console.log(n + " " + typeof v + " " + String(v).length); } catch (e) { console.log(n + " " + e.name + ": " + e.message); }`,
      { fuel: 100_000_000n },
    ],
  ),
  ['parser depth', 'return eval("[".repeat(30000));'],
  ['JSON too deep, uncaught', 'return JSON.parse("[".repeat(100000));'],
  [
    'recursion through promises',
    `let n = 0; const down = async (k) => (k === 0 ? 0 : 1 + (await down(k - 1))); const chain = () => (++n < 300 ? Promise.resolve().then(chain) : n); console.log(await down(100)); return await chain();`,
  ],
  ['out of fuel', 'for (;;) await null;'],
  [
    'the least fuel of a small program',
    'let s = 0; for (let i = 0; i < 200; i++) s += i * i; console.log("sum " + s); return s;',
    { cuts: 'search' },
  ],
  [
    'the least fuel of a program with calls',
    'const out = []; for (let i = 0; i < 3; i++) { console.log("before " + i); out.push((await call("kv.get", { i })).args.i); } return out;',
    { cuts: 'search', order: 'oldest' },
  ],
  [
    'the least fuel of built-in work',
    'const a = JSON.parse("[" + "3,1,2,".repeat(300) + "0]"); console.log("parsed"); a.sort(); console.log("sorted"); const t = a.join().replace(/1/g, "é").normalize("NFD"); console.log("replaced"); return t.length;',
    { cuts: 'search' },
  ],
  [
    'the least fuel of a program that fails',
    'console.log(1); try { null.x; } catch (e) { console.log(e.message); } finally { console.log(2); } await null; throw new Error("end");',
    { cuts: 'search' },
  ],
  ['the least fuel of a script that does nothing', 'return 0;', { cuts: 'search' }],
  [
    'fuel that ends under a guest who catches everything',
    'const f = () => { try { for (;;) try { console.log("x"); f(); } catch {} finally { f(); } } finally { f(); } }; f();',
    { fuel: 3_000_000n, cuts: 'parts' },
  ],
  [
    'fuel that ends in one built-in call',
    'console.log("a"); const t = "x".repeat(1e5); console.log("b"); for (;;) t.split("").sort().reverse().join("");',
    { fuel: 30_000_000n, cuts: 'parts' },
  ],
  [
    'fuel that ends in big integers',
    'let x = 7n; for (let i = 0; ; i++) { x *= x; console.log(String(i)); }',
    { fuel: 80_000_000n },
  ],
  [
    'fuel that ends in a comparator',
    'Array.from({ length: 1e5 }, (_, i) => -i).sort((a, b) => a - b); return 1;',
    { fuel: 30_000_000n, cuts: 'parts' },
  ],
  ['one unit of fuel', 'return 1;', { fuel: 1n }],
  ['out of memory', 'const a = []; for (;;) a.push(new Uint8Array(100000).fill(1));'],
  [
    'how much memory holds',
    `const fill = (name, f) => { let n = 0; try { for (;;) { f(n); n++; } } catch (e) { keep = t = null; console.log(name + ' ' + n + ' ' + e?.name + ': ' + e?.message); } };
    let t, keep = []; fill('buffers', () => keep.push(new ArrayBuffer(65536))); keep = null; keep = []; fill('texts', (n) => keep.push('t'.repeat(10000) + n)); keep = null; keep = new Map(); fill('map', (n) => keep.set(n, { n })); keep = null; keep = {}; fill('properties', (n) => { keep['p' + n] = n; }); keep = null; t = 'ab'; fill('doubling', () => { t += t; }); return 1;`,
    { memoryBytes: 2 << 20, fuel: 400_000_000n },
  ],
  [
    'sizes that cannot be',
    `const out = [], tried = (f) => { try { out.push(String(f())); } catch (e) { out.push(e?.name + ': ' + e?.message); } };
    for (const n of [2 ** 20, 2 ** 28, 2 ** 30, 2 ** 31, 2 ** 32, 2 ** 53, Infinity]) { tried(() => 'x'.repeat(n).length); tried(() => 'x'.padEnd(n).length); tried(() => new Array(n).length); tried(() => new Uint8Array(n).length); tried(() => new ArrayBuffer(n).byteLength); tried(() => Array(n).fill(0).length === n); } tried(() => (1n << 10000000n) > 0n); tried(() => 2n ** 2000000000n); tried(() => 'abc'.repeat(1e4).replaceAll('b', 'xyz').length); tried(() => { const a = []; a.length = 4294967295; a.push(1); }); tried(() => new ArrayBuffer(8, { maxByteLength: 2 ** 40 }).byteLength); return out;`,
    { fuel: 2_000_000_000n },
  ],
  [
    'memory that ends in JSON',
    'let v = { a: "x".repeat(50000) }; for (let i = 0; ; i++) { console.log(i); v = { l: v, r: JSON.parse(JSON.stringify(v)) }; }',
    { fuel: 2_000_000_000n, memoryBytes: 4 << 20 },
  ],
  [
    'memory that ends in a job',
    'const keep = []; const more = async () => { keep.push(new Uint8Array(100000)); await null; return more(); }; return more();',
    { memoryBytes: 4 << 20 },
  ],
  [
    'memory that is given back',
    'let n = 0; for (let i = 0; i < 200; i++) { const a = new Uint8Array(100000).fill(i); n += a.length; } return n;',
    { memoryBytes: 8 << 20 },
  ],
  [
    'memory held by cycles',
    'let n = 0; for (let i = 0; i < 200; i++) { const a = new Uint8Array(100000).fill(i); const o = { a }; o.self = o; n += a.length; console.log(i); } return n;',
    { memoryBytes: 8 << 20 },
  ],
  ['an input that does not fit', 'return input.length;', { input: 'z'.repeat(1_500_000), memoryBytes: 1 << 20 }],
  [
    'a script that does not fit',
    '',
    {
      source: `globalThis.text = "${'q'.repeat(3_000_000)}"; globalThis.__tracebond = { run: () => 1 };`,
      memoryBytes: 1 << 20,
    },
  ],
  ['a result that is too large', 'await call("kv.get", "a"); return "r".repeat(5000);', { outputBytes: 4000 }],
];
