/**
 * Deterministic programs about the language: errors, collections and their order, control, promises and deliveries,
 * proxies, code from text, the console.
 *
 * @module
 */

import { asCompletion, type DeterministicProgram } from './determinism-program.ts';

/** `tried(f)`: what `f` returns or throws, as text. */
const TRIED = "const tried = (f) => { try { return String(f()); } catch (e) { return e.name + ': ' + e.message; } };";

/** Calls whose answers race. */
const RACE = `const seen = [], note = (who) => (x) => { seen.push(who + ':' + (x?.args?.n ?? x?.code ?? x) + '@' + Date.now() % 100000); return x; };
  const calls = [1, 2, 3, 4].map((n) => call('kv.get', { n }).then(note('call')));
  const bad = call('host.fail', 'HOST_CALL_FAILED').then(note('no'), note('failed'));
  Promise.resolve('micro').then(note('micro')); (async () => { seen.push('sync'); await null; seen.push('after'); })();
  const first = await Promise.race(calls); seen.push('first ' + first.args.n);
  const any = await Promise.any([bad.then((e) => { throw e; }), calls[2]]); seen.push('any ' + any.args.n);
  const late = await call('kv.put', { seen: seen.length }); seen.push('late ' + late.method);
  const all = await Promise.allSettled([...calls, bad]); return [seen, all.map((x) => x.status)];`;

export const LANGUAGE_PROGRAMS: readonly DeterministicProgram[] = [
  ['errors', 'try { null.x } catch (e) { return [e.name, e.message, e.stack]; }'],
  [
    'messages of errors',
    `${TRIED}
    const u = undefined, o = { p: {} }, c = 1;
    return [() => u.x, () => o.p.q.r, () => o.f(), () => u(), () => new o(), () => c.x.y, () => { 'use strict'; c = 2; }, () => nowhere, () => { let a = a + 1; }, () => null[Symbol.iterator], () => [...5], () => new Array(-1), () => ({}) instanceof 5, () => 'a' in 'b', () => Object.defineProperty(Object.freeze({}), 'x', {}), () => (1).toString(99), () => Symbol() + '', () => new (class A { constructor() { this.#x; } #x; static t = A.prototype.q.w; })(), () => class extends null { constructor() { super(); } }, () => new (class extends null {})(), () => BigInt('x'), () => decodeURI('%'), () => [].reduce((x) => x), () => new Proxy({}, null), () => Reflect.construct(1), () => structuredClone({}), () => { const { a } = null; }, () => { const [x] = {}; }, () => ((x = y, y) => 1)(), () => { 'use strict'; delete Object.prototype; }, () => { 'use strict'; undefined.x = 1; }, () => new Intl.NumberFormat()].map(tried);`,
  ],
  [
    'stacks and line numbers',
    `class Own extends TypeError { constructor(m) { super(m); this.name = 'Own'; } }
    function outer() { return inner(); }
    function inner() {
      return [1].map(function mapped() {
        return new Own('deep').stack;
      })[0];
    }
    const o = { get got() { return new Error('got').stack; }, ['computed' + 1]() { return new Error('c').stack; } };
    const later = async () => { await null; return new Error('async').stack; };
    function* gen() { yield new Error('gen').stack; }
    let deep; const recurse = (n) => { if (n === 0) deep = new Error('bottom').stack; else recurse(n - 1); }; recurse(100);
    return [outer(), o.got, o.computed1(), await later(), gen().next().value, eval('(function evaluated() { return new Error("e").stack })()'), new Function('return new Error("f").stack')(), deep.length, deep.slice(0, 200), typeof Error.captureStackTrace, typeof Error.prepareStackTrace, Error.stackTraceLimit ?? 'none', Object.getOwnPropertyNames(new Error('x')).join(), new Error('x').lineNumber ?? 'none', new Error('x').columnNumber ?? 'none'];`,
  ],
  [
    'causes and many errors at once',
    `const e = new Error('top', { cause: new RangeError('mid', { cause: { code: 7 } }) }), a = new AggregateError([e, 1, new TypeError('t')], 'many', { cause: e });
    const any = await Promise.any([Promise.reject(new Error('one')), Promise.reject(2)]).catch((x) => x);
    return [e.cause.name, e.cause.cause.code, 'cause' in new Error('x'), a.errors.map(String), a.message, a.cause === e, any.name, any.message, any.errors.map(String), String(Object.assign(new Error(''), { name: '' })), Error.prototype.toString.call({ name: 'N', message: 'm' }), typeof Error.isError, typeof SuppressedError, Object.prototype.toString.call(e), JSON.stringify(e)];`,
  ],
  [
    'an error that nobody catches',
    'function thrower(n) { if (n > 3) throw Object.assign(new RangeError("at " + n), { code: "E_OWN" }); thrower(n + 1); } console.log("first"); await null; thrower(0);',
  ],
  [
    'a thrown value that is no error',
    'await call("kv.get", 1); throw { a: [1, { b: "ü" }], toString() { return "T"; } };',
  ],
  ['a script that does not parse', '', { source: 'globalThis.__tracebond = {\n  run() { return 1 +; }\n};' }],
  ['a result that cannot cross', 'return { rows: [{ ok: 1 }, { amount: 0.5 }] };'],
  ['names', 'return Object.getOwnPropertyNames(globalThis);'],
  [
    'names of everything built in',
    `const seen = new Set(), out = []; let h = 0;
    const walk = (path, v, depth) => {
      if ((typeof v !== 'object' && typeof v !== 'function') || v === null || seen.has(v)) return;
      seen.add(v);
      for (const k of Reflect.ownKeys(v)) {
        const d = Reflect.getOwnPropertyDescriptor(v, k), at = path + '.' + String(k);
        out.push(at + (d.writable ? 'w' : '') + (d.enumerable ? 'e' : '') + (d.configurable ? 'c' : '') + (typeof d.value === 'function' ? d.value.length + d.value.name : typeof d.value));
        walk(at, d.value ?? d.get, depth + 1);
      }
    };
    walk('', globalThis, 0); for (const t of out) h = (Math.imul(h, 31) + t.length + t.charCodeAt(t.length >> 1)) >>> 0;
    return [out.length, h, out.filter((_, i) => i % 20 === 0)];`,
    { fuel: 1_000_000_000n },
  ],
  [
    'maps',
    'const m = new Map(); for (let i = 0; i < 2000; i++) m.set({ i }, i); return [...m.values()].reduce((a, b) => a + b);',
  ],
  [
    'order of maps and sets under change',
    `const m = new Map(), s = new Set(), out = [];
    for (let i = 0; i < 200; i++) { m.set('k' + (i * 31) % 97, i); s.add((i * 17) % 53); if (i % 3 === 0) m.delete('k' + i % 50); if (i % 5 === 0) s.delete(i % 20); }
    for (const [k] of m) { if (out.length < 300 && k.length === 2 && !m.has(k + '!')) { m.delete(k); m.set(k + '!', 1); } out.push(k); }
    s.forEach((v) => { if (v % 7 === 0) s.add(v + 100); });
    const g = Object.groupBy?.([5, 1, 3, 8, 2], (x) => (x % 2 ? 'odd' : 'even')), mg = Map.groupBy?.(out, (k) => k.length);
    return [out.join(), [...m].length, [...s].join(), JSON.stringify(g), mg && [...mg.keys()].join(), typeof s.union === 'function' ? [...s.union(new Set([999])).intersection(new Set([999, 7, 14]))].join() : 'none', [...new Map([[NaN, 1], [-0, 2]]).keys()].map((k) => String(1 / k)).join()];`,
  ],
  [
    'weak maps',
    `const w = new WeakMap(), ws = new WeakSet(), keys = Array.from({ length: 300 }, (_, i) => ({ i })); keys.forEach((k) => { w.set(k, k.i); if (k.i % 2) ws.add(k); });
    let n = 0; for (let i = 0; i < 3000; i++) { const k = { i }; w.set(k, keys[i % 300]); w.set(keys[i % 300], k); n += w.get(k).i; } return [n, keys.filter((k) => ws.has(k)).length, keys.map((k) => w.get(k).i).reduce((a, b) => a + b), typeof WeakRef, typeof FinalizationRegistry];`,
  ],
  [
    'order of properties',
    `const o = { z: 1, 10: 1, b: 1, 2: 1, '-1': 1, '01': 1, 4294967295: 1, 4294967294: 1, [Symbol('s')]: 1, a: 1 }; delete o.b; o.b = 2; o[0] = 1; Object.defineProperty(o, 'h', { value: 1, configurable: true }); o.c = 1;
    const p = Object.create({ inherited: 1, z: 2, 7: 1 }), seen = []; Object.assign(p, o); for (const k in p) { if (k === '2') { delete p.a; p.added = 1; } seen.push(k); }
    const big = {}; for (let i = 0; i < 300; i++) big['p' + (i * 97) % 300] = i; for (let i = 0; i < 300; i += 2) delete big['p' + i]; for (let i = 0; i < 50; i++) big[i * 3] = i;
    return [Object.keys(o).join(), seen.join(), Reflect.ownKeys(o).map(String).join(), Object.keys(big).join(), JSON.stringify({ ...o, ...p }), Object.entries(class { static q = 1; static 3 = 2; }).join(), Object.getOwnPropertyNames(function f(a, b) {}).join(), Object.keys([1, , 3]).join()];`,
  ],
  [
    'arrays with holes and odd lengths',
    `const a = []; a[5] = 1; a[1000000] = 2; a.length = 20; a[-1] = 'x'; a['7'] = 7; const seen = []; a.forEach((x, i) => seen.push(i));
    const fake = { length: 3, 0: 'a', 2: 'c' }, sub = class extends Array {}; const s = sub.from([3, 1, 2]).map((x) => x * 2);
    return [seen.join(), a.indexOf(undefined), a.findIndex((x) => x === undefined), Array.prototype.concat.call(fake, [1, , 2]).length, Array.prototype.reverse.call(fake)[0], s instanceof sub, s.join(), [1, [2, [3, [4]]]].flat(Infinity).join(), [..."ab"].entries().next().value.join(), [3, 4].copyWithin(0, 1).join(), Array.from({ length: 3 }, (_, i) => i ** 2).join(), [1, 2, 3, 4].splice(-3, 2).join(), [, 1].map((x) => 2).length, [1, 2, 3].fill(0, -1).join(), Array(3).join('-'), [5, 6].lastIndexOf(5, -5), [1, 2, 3].at(-4) ?? 'none'];`,
  ],
  [
    'generators',
    `const log = []; function* inner() { try { const x = yield 1; log.push(String(x)); yield* [2, 3]; return 'r'; } finally { log.push('inner over'); yield 'f'; } }
    function* outer() { const r = yield* inner(); log.push(String(r)); try { yield 4; } catch (e) { log.push(e); yield 5; } }
    const g = outer(), out = [g.next('a'), g.next('b'), g.next(), g.next(), g.next(), g.throw('t'), g.return('early'), g.next()];
    const lazy = typeof Iterator === 'function' ? Iterator.from(outer()).map((x) => x + '!').take(3).toArray() : []; const h = outer(); h.next(); out.push(h.return(9), h.next());
    function* fib() { let [a, b] = [0n, 1n]; for (;;) { yield a; [a, b] = [b, a + b]; } } let n = 0; for (const f of fib()) if (++n === 500) { log.push(String(f)); break; }
    const [p, , ...q] = inner(); return [JSON.stringify(out), lazy, log, p, q];`,
  ],
  [
    'generators that wait',
    `const seen = []; async function* source() { try { for (let i = 0; i < 3; i++) { const r = await call('kv.get', { i }); yield r.args.i * 10; } } finally { seen.push('closed'); } }
    for await (const x of source()) { seen.push(x); if (x === 10) break; }
    const s = source(), both = [s.next(), s.next(), s.return('end')]; for (const r of await Promise.all(both)) seen.push(JSON.stringify(r)); for await (const x of [Promise.resolve(1), 2]) seen.push(x); return [seen, Array.fromAsync ? await Array.fromAsync(source()) : []];`,
  ],
  [
    'labels, switches and finally',
    `const out = []; outer: for (let i = 0; i < 5; i++) { inner: for (let j = 0; ; j++) { switch (i * j) { case 2: continue outer; case 3: out.push('3'); default: out.push(i + '' + j); case 0: if (j > 3) break inner; } try { if (i === 4) break outer; } finally { out.push('f'); } } }
    const f = (n) => { try { if (n === 1) return 'try'; if (n === 2) throw 'x'; } catch (e) { return 'catch'; } finally { if (n === 3) return 'finally'; out.push('fin' + n); } return 'end'; };
    block: { out.push('in'); if (out.length) break block; out.push('never'); } const g = () => { for (const x of [1, 2]) { try { return x; } finally { continue; } } return 'through'; };
    var i = 0; do { if (i++ % 2) continue; out.push('d' + i); } while (i < 5); return [out, [0, 1, 2, 3].map(f), g()];`,
  ],
  [
    'classes, closures and destructuring',
    `const log = []; const t = (n) => (log.push(n), n); class A { #p = t('p'); static #count = 0; static { t('static'); } [t('computed')] = t('field'); get p() { return this.#p; } static make() { A.#count++; return new this(); } static has(o) { return #p in o; } static get count() { return A.#count; } accessor = 1; }
    class B extends A { constructor() { t('before'); super(); t('after'); } get p() { return 'B' + super.p; } static { t('B'); } }
    const fs = []; for (let i = 0; i < 3; i++) fs.push(() => i++); for (var v = 0; v < 3; v++) fs.push(() => v); const { a = t('default'), b: { c: [, d = a] = [] } = {}, ...rest } = { x: 1, y: 2 };
    const tag = (s, ...v) => s.raw.join('|') + v.join(); const o = { __proto__: { m() { return 'proto'; } }, m() { return super.m() + '+'; }, async *[Symbol.asyncIterator]() {} };
    return [log, B.make().p, A.has(new B()), A.has({}), A.count, fs.map((f) => [f(), f()]), d, rest, tag\`a\\n\${1}b\${2}\`, o.m(), ((a, b = 2, ...c) => 0).length, (() => {}).name, (function () { return new.target === undefined; })(), null ?? 'n', ({})?.x?.y.z ?? 'chain', [..."héy"].length, String(class Q { static  x = 1 })];`,
  ],
  [
    'order of jobs',
    `const seen = [], n = (x) => () => { seen.push(x); }; const thenable = { then(r) { seen.push('then called'); r('t'); } };
    Promise.resolve().then(n(1)).then(n(2)).then(n(3)).then(n(4)).then(n(5)); (async () => { await thenable; seen.push('thenable'); })(); (async () => { await Promise.resolve(); seen.push('native'); })(); (async () => { try { await Promise.reject('r'); } catch (e) { seen.push(e); } finally { seen.push('fin'); } })();
    new Promise((r) => r(Promise.resolve())).then(n('nested')); Promise.reject().catch(n('caught')).finally(n('finally')); queueMicrotask?.(n('queued')); const { promise, resolve } = Promise.withResolvers?.() ?? {}; promise?.then(n('resolved')); resolve?.(); (async () => (async () => Promise.resolve())())().then(n('returned')); await Promise.try?.(n('try'));
    for (let i = 0; i < 10; i++) { await null; seen.push('tick' + i); } return seen;`.replace(
      'queueMicrotask?.',
      'globalThis.queueMicrotask?.',
    ),
  ],
  [
    'host calls',
    'const r = await Promise.race([call("kv.get", { key: "a" }), call("kv.get", { key: "b" })]); return [r, Date.now()];',
  ],
  ['a race, the last call answered first', RACE, { order: 'newest' }],
  ['a race, the first call answered first', RACE, { order: 'oldest' }],
  ['a race, first and last answered in turn', RACE, { order: 'alternating', cuts: 'parts' }],
  [
    'calls that fail and calls that are refused',
    String.raw`const out = []; for (const [m, a] of [['host.fail', 'CAPABILITY_DENIED'], ['Bad', {}], ['kv.get', 0.5], ['kv.get', [() => 1]], ['kv.get', '\ud800'], ['kv.get', undefined], ['host.fail', 'INPUT_INVALID'], ['kv.get', { toJSON: () => [1] }]]) try { out.push(JSON.stringify(await call(m, a))); } catch (e) { out.push(e.name + ' ' + e.code + ' ' + e.message + ' ' + e.stack); } throw await call('host.fail', 'OWN_CODE').catch((e) => e);`,
  ],
  ['a promise that nobody settles', 'await call("kv.get", {}); await new Promise(() => {});'],
  [
    'proxies',
    `const log = [], p = new Proxy({ a: 1, b: [2] }, new Proxy({}, { get: (_, trap) => (...args) => { log.push(trap + (typeof args[1] === 'string' || typeof args[1] === 'symbol' ? String(args[1]) : '')); return Reflect[trap](...args); } }));
    p.c = 3; delete p.a; 'b' in p; Object.keys(p); ({ ...p }); JSON.stringify(p); for (const k in p); Object.isExtensible(p); Object.freeze(p); try { p.d = 1; (() => { 'use strict'; p.e = 1; })(); } catch (e) { log.push(e.message); } String(p); p instanceof Object; [].concat(p); Object.entries(p); structured: { Object.getOwnPropertyDescriptors(p); }
    const f = new Proxy(function () {}, { apply: (t, s, a) => a.length, construct: (t, a) => ({ n: a.length }) }), r = Proxy.revocable([], {}); r.revoke(); const out = [f(1, 2), new f(1).n, typeof f, typeof r.proxy]; try { Array.isArray(r.proxy); } catch (e) { out.push(e.message); } try { Object.keys(new Proxy({}, { ownKeys: () => ['a', 'a'] })); } catch (e) { out.push(e.message); } return [log, out];`,
  ],
  [
    'symbols',
    `const out = [], o = { [Symbol.toPrimitive]: (h) => (h === 'number' ? 42 : h), get [Symbol.toStringTag]() { return 'Tag'; } }; out.push(+o, o + '', String(o), Object.prototype.toString.call(o), Symbol('d').description, Symbol.for('k') === Symbol.for('k'), Symbol.keyFor(Symbol.for('k')), Object.getOwnPropertyNames(Symbol).join());
    class Even { static [Symbol.hasInstance](n) { return n % 2 === 0; } } out.push(2 instanceof Even, 'a-b'.split({ [Symbol.split]: (s) => s.length }), [].concat({ length: 1, 0: 'x', [Symbol.isConcatSpreadable]: true }).join(), 'abc'.replace({ [Symbol.replace]: () => 'R' }, '')); class L extends Array { static get [Symbol.species]() { return Array; } } out.push(new L(1, 2).map((x) => x) instanceof L); return out;`,
  ],
  [
    'code from text',
    String.raw`var local = 1; const indirect = eval, out = [eval('local + 1'), indirect('typeof local'), eval('var made = 5; made * 2'), typeof made, new Function('a', 'b = 2', 'return a * b')(4), String(new Function('a', 'b', 'return a // c')), eval('({})') !== null, eval('1;;;{}'), eval('if (1) { 7 } else 8'), (0, eval)('var g = 3; g'), typeof g];
    for (const s of ['let x; let x', '1 +', 'return 1', 'await 1', '"use strict"; with (a) {}', 'a => { b', '\\u{61}bc = 1', 'for (let of []);', '0777n', '"\\08"', 'class A { constructor() {} constructor() {} }', 'new.target', 'import("x")', '/(/', 'yield 1', '#x', '\u2028 1 @']) try { out.push(String(eval(s))); } catch (e) { out.push(e.name + ': ' + e.message + ' ' + e.stack); } const GF = Object.getPrototypeOf(function* () {}).constructor; out.push([...new GF('yield 1; yield 2')()].join()); return out;`,
  ],
  [
    'dynamic import',
    'const out = []; for (const m of ["fs", "./x.js", "data:text/javascript,1"]) await import(m).then(() => out.push("loaded"), (e) => out.push(e.name + ": " + e.message)); return out;',
  ],
  [
    'console lines',
    String.raw`console.log('plain', 1, -0, 0.5, NaN, null, undefined, true, 10n, [1, [2]], { a: { b: 'ü' } }); console.error(new Error('in console'), Symbol('s'), () => 1, new Map([[1, 2]]), new Date(0)); console.warn('\ud800 half', 'x'.repeat(5000)); console.info(); console.debug({ toJSON() { return 'J'; } }, { toString() { throw 1; }, f() {} }, Object.create(null)); await call('kv.get', 1); console.log('late\nline'); return 'ok';`,
  ],
  [
    'a cycle on the console',
    'console.log("first"); const c = { c: [] }; c.c.push(c); console.log(c); c.c.push(c.c); console.log(c.c); return 1;',
  ],
  ['more console lines than may leave', 'for (let i = 0; ; i++) console.log("line " + i);', { outputBytes: 3000 }],
  [
    'a completion value',
    '',
    asCompletion(
      'const a = [1.5, -0, 1e21, 5e-324]; class P { constructor() { this.x = 0.1; } } ({ a, p: new P(), t: typeof this, n: [].concat(a).map((x) => x / 3) })',
    ),
  ],
  ['a completion value that is awaited', '', asCompletion('Promise.resolve({ then(f) { f([0.1 + 0.2, "😀"]); } })')],
  ['a completion value that is none', '', asCompletion('new Map([[1, 2]])')],
];
