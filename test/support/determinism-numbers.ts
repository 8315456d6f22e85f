/**
 * Deterministic programs about numbers: floats to the bit, dates, chance by seed, big integers, typed arrays.
 *
 * @module
 */

import type { DeterministicProgram } from './determinism-program.ts';

/** `bits(x)`: the 64 bits of a number; `mix(x)` adds them to a checksum, and `sum()` tells it. */
const BITS = `
  const f64 = new Float64Array(1), u32 = new Uint32Array(f64.buffer);
  const bits = (x) => { f64[0] = x; return u32[1].toString(16).padStart(8, '0') + u32[0].toString(16).padStart(8, '0'); };
  let h = 0x811c9dc5;
  const mix = (x) => { f64[0] = x; for (const w of u32) h = Math.imul(h ^ w, 0x01000193) >>> 0; };
  const sum = () => { const s = h.toString(16); h = 0x811c9dc5; return s; };
  const points = [0, -0, 1, -1, 0.1, -0.1, 1/3, 0.5, 2, Math.E, Math.PI, -Math.PI, 10, 88.7, -745.1, 709.78, 1e-5, 1e-300, 5e-324, 1e15, 1e22,
    -1e22, 123456789.125, 2**53, 2**31, 2**32 + 0.5, 1.7976931348623157e308, Infinity, -Infinity, NaN, 0.49999999999999994, -0.5, 1 + Number.EPSILON];
`;

export const NUMBER_PROGRAMS: readonly DeterministicProgram[] = [
  ['arithmetic', 'let s = 0; for (let i = 1; i < 3000; i++) s += Math.sin(i) / i; return String(s);'],
  [
    'functions of one number, to the bit',
    `${BITS}
    const names = Object.getOwnPropertyNames(Math).filter((n) => typeof Math[n] === 'function' && Math[n].length === 1 && n !== 'sumPrecise').sort();
    return names.map((n) => {
      for (const x of points) mix(Math[n](x));
      for (let i = -40; i < 40; i++) mix(Math[n](i * 0.37));
      return n + ' ' + sum() + ' ' + bits(Math[n](0.7));
    });`,
  ],
  [
    'functions of two numbers, to the bit',
    `${BITS}
    return ['atan2', 'pow', 'hypot', 'imul', 'max', 'min'].map((n) => {
      for (const x of points) for (const y of points) mix(Math[n](x, y));
      return n + ' ' + sum() + ' ' + bits(Math[n](1.1, 0.3));
    }).concat(points.map((x) => bits(x ** 0.3) + bits(x % 0.7)));`,
  ],
  [
    'numbers that are none, with payloads',
    `${BITS}
    const words = new BigUint64Array([0x7ff8000000000123n, 0xfff8dead0000beefn, 0x7ff0000000000001n, 0xffffffffffffffffn, 0x7ff8000000000000n]);
    const nans = new Float64Array(words.buffer), to = new Float64Array(nans.length);
    nans.forEach((x, i) => { to[i] = x; });
    const copy = Float64Array.from(nans), sorted = Float64Array.from(nans).sort(), narrow = Float32Array.from(nans);
    const view = new DataView(new ArrayBuffer(8));
    const made = [NaN, 0 / 0, -(0 / 0), Infinity - Infinity, Math.sqrt(-1), Number('x'), 0 * -Infinity, Math.pow(NaN, 1), nans[0] + 1, -nans[1], nans[2] * 0, Math.max(nans[1], 1)];
    const show = (a) => [...new Uint32Array(a.buffer)].map((w) => w.toString(16)).join(' ');
    return [show(to), show(copy), show(sorted), show(narrow), made.map(bits), nans.findIndex(Number.isNaN), nans.includes(NaN),
      [...nans].map((x) => { view.setFloat64(0, x); return view.getBigUint64(0).toString(16) + view.getUint32(0).toString(16); })];`,
  ],
  [
    'zero with a sign',
    `${BITS}
    const zeros = [0, -0, 0 * -1, -0 + 0, -0 - 0, Math.round(-0.4), Math.ceil(-0.9), Math.trunc(-0.1), Math.max(-0, 0), Math.min(0, -0), -0 % 5, Number('-0'), parseFloat('-0'),
      Math.sign(-0), Math.atan2(-0, 1), Math.sqrt(-0), [-0].at(0), JSON.parse('-0'), -0 / 3, Math.cbrt(-0), (-0) ** 3, Math.fround(-1e-60)];
    return [zeros.map(bits), zeros.map((x) => String(1 / x)), Object.is(-0, 0), [0].includes(-0), new Set([-0]).has(0), String(-0), JSON.stringify(-0), (-0).toFixed(2), [-0].indexOf(0)];`,
  ],
  [
    'numbers as text',
    `${BITS}
    const more = [0.1 + 0.2, 1e21, 1e-7, 123e-20, 4.35, 1.005, 2 ** 0.5, 1 / 7, 100, 1e23, 9007199254740993, 5e-324, 2.2250738585072014e-308, 0.000001, 123456.789];
    return points.concat(more).map((x) => [2, 3, 8, 10, 16, 36].map((r) => x.toString(r)).join(' ').slice(0, 400));`,
  ],
  [
    'numbers with so many digits',
    `${BITS}
    const tried = (f) => { try { return f(); } catch (e) { return e.name + ': ' + e.message; } };
    return points.concat([1.005, 2.5, 0.000123456, 123.456, 1e21, 999.9995]).map((x) => [0, 1, 2, 7, 20].map((d) => [tried(() => x.toFixed(d)), tried(() => x.toPrecision(d)), tried(() => x.toExponential(d))].join(' ')).join('; '))
      .concat([100, 101, -1].map((d) => tried(() => (1 / 3).toFixed(d)) + tried(() => (1 / 3).toPrecision(d)) + tried(() => (1 / 3).toExponential(d))));`,
  ],
  [
    'text as numbers',
    String.raw`${BITS}
    const texts = ['1', ' 42 ', '0x1F', '0b101', '0o17', '1e1000', '-1e-400', '.5', '5.', '1_000', '0.1e', 'Infinity', '-Infinity', 'infinity', '', '\u00a07\ufeff', '1n', '0x', '٣', '9007199254740993',
      '2.4703282292062327e-324', '2.4703282292062328e-324', '1.7976931348623158e308', '1.7976931348623159e308', '0.1000000000000000055511151231257827', '123456789012345678901234567890', '8.5e-45', '4.35', '179769313486231580793728971405301e277'];
    return texts.map((t) => [Number(t), parseFloat(t), parseInt(t), parseInt(t, 36)].map(bits).join(' '));`,
  ],
  [
    'sums in several orders',
    `${BITS}
    const a = Array.from({ length: 600 }, (_, i) => Math.sin(i * 12.9898) * 10 ** ((i * 7) % 25 - 12));
    const add = (l) => l.reduce((x, y) => x + y, 0);
    const kahan = (l) => { let s = 0, c = 0; for (const x of l) { const y = x - c, t = s + y; c = (t - s) - y; s = t; } return s; };
    const halves = (l) => l.length < 2 ? (l[0] ?? 0) : halves(l.slice(0, l.length >> 1)) + halves(l.slice(l.length >> 1));
    const up = [...a].sort((x, y) => x - y), out = [...a].sort((x, y) => Math.abs(y) - Math.abs(x));
    return [a, [...a].reverse(), up, up.toReversed(), out].flatMap((l) => [add(l), kahan(l), halves(l), l.reduce((p, x) => p * (1 + x * 1e-14), 1)].map(bits));`,
  ],
  [
    'chaos',
    `${BITS}
    let x = 0.4, y = 0.1, v = 0; for (let i = 0; i < 6000; i++) { x = 3.99 * x * (1 - x); const t = 1 - 1.4 * y * y + v; v = 0.3 * y; y = t; if (i % 500 === 0) { mix(x); mix(y); } }
    return [bits(x), bits(y), sum()];`,
  ],
  [
    'single and half precision',
    `${BITS}
    const single = Float32Array.from(points), hex = (a) => [...new Uint8Array(a.buffer)].map((b) => b.toString(16)).join('');
    let s = 0; for (let i = 1; i < 2000; i++) s = Math.fround(s + Math.fround(1 / i));
    return [hex(single), bits(s), typeof Float16Array, typeof Math.f16round, points.map((x) => bits(Math.fround(x))), typeof Float16Array === 'function' ? hex(Float16Array.from(points)) : ''];`,
  ],
  [
    'integers out of floats',
    `${BITS}
    const kinds = [Int8Array, Uint8Array, Uint8ClampedArray, Int16Array, Uint16Array, Int32Array, Uint32Array];
    return [points.map((x) => [x | 0, x >>> 0, ~x, x << 5, x >> 3, Math.clz32(x)].join()), kinds.map((K) => [...K.from(points)].join()), kinds.map((K) => [...K.from([127.5, 128.5, -0.5, 254.5, 255.5, 1e10])].join())];`,
  ],
  [
    'dates',
    'return [String(new Date(2024, 5, 1, 12)), new Date(2024, 0, 1).getTimezoneOffset(), Date.now(), new Date().toLocaleString()];',
  ],
  [
    'dates out of text',
    `const texts = ['2024-02-29', '2023-02-29', '2024-02-29T12:34:56', '2024-02-29T12:34:56.789Z', '2024-02-29T24:00:00Z', '+275760-09-13T00:00:00.000Z', '+275760-09-13T00:00:00.001Z', '-000001-01-01T00:00Z', '-000000-01-01',
      'Thu, 01 Jan 1970 00:00:00 GMT', 'Jan 5 2020 10:00 PST', '5 March 2021', '03/04/2021', '2021-3-4', '2021-06-15T10:00+05:45', 'Tue Mar 01 2022 10:00:00 GMT+0300 (MSK)', '20240101', '12:00', '', 'now', '1e3', '2024', '2024-13', '70', '1.1.2020'];
    return texts.map((t) => t + ' ' + String(Date.parse(t)));`,
  ],
  [
    'dates as text',
    `const times = [0, -1, 1e12, 1709210096789, 8.64e15, -8.64e15, -62135596800001, 951782400000, 1711843200000, 1698541200000, NaN];
    const ways = ['toString', 'toDateString', 'toTimeString', 'toUTCString', 'toLocaleString', 'toLocaleDateString', 'toLocaleTimeString', 'toJSON', 'getDay', 'getHours', 'getUTCHours', 'getTimezoneOffset', 'getYear', 'valueOf'];
    return times.map((t) => ways.map((w) => String(new Date(t)[w]())).join(' | ')).concat([Date(), String(new Date(Date.UTC(99, 0))), new Date(2024, 2, 31, 2, 30).toISOString()]);`,
  ],
  [
    'dates by the calendar',
    `const out = [], d = new Date(1999, 11, 31, 23, 59, 59, 999);
    for (let i = 0; i < 40; i++) { d.setMonth(d.getMonth() + 5, 31 - i); d.setHours(d.getHours() + 13 * i, 61, -1); out.push(d.getTime()); }
    const e = new Date(0); out.push(e.setFullYear(-271821), e.setUTCDate(400), e.setDate(-400), e.setYear(5), e.setTime(1e3), e.setSeconds(1.9), e.setMilliseconds(-0.5));
    try { new Date(NaN).toISOString(); } catch (x) { out.push(x.name + ': ' + x.message); }
    return out.concat(String(new Date(2024, 0).setHours()), String(Date.UTC()), String(new Date(1e81)), String(new Date(2019, NaN))).map(String);`,
  ],
  [
    'time that moves with deliveries',
    `const seen = [Date.now(), new Date().toISOString(), typeof performance];
    for (let i = 0; i < 3; i++) { const before = Date.now(); await call('clock.now', { i }); seen.push(Date.now() - before, Date.now() === Date.now()); }
    return seen;`,
  ],
  ['random', 'return Array.from({ length: 8 }, () => String(Math.random()));'],
  [
    'random with another seed',
    `const a = Array.from({ length: 500 }, Math.random), shuffled = [...'abcdefghijklmnop'].sort(() => Math.random() - 0.5).join('');
    return [String(a.reduce((x, y) => x + y)), shuffled, Math.random.name, a.map((x) => Math.floor(x * 10)).join('')];`,
    { seed: Uint8Array.from({ length: 32 }, (_, i) => i * 5) },
  ],
  ['big integers', 'return String((2n ** 4000n) % 1000000007n);'],
  [
    'big integers in every way',
    `let f = 1n; for (let i = 1n; i < 300n; i++) f *= i;
    const tried = (g) => { try { return String(g()); } catch (e) { return e.name + ': ' + e.message; } };
    return [String(f), f.toString(36), (-f).toString(2).length, String(f / 3n ** 100n % 10n ** 30n), String(-7n / 2n), String(-7n % 2n), String(-7n >> 1n), String(~5n & 0xffn), String(BigInt.asIntN(64, f >> 300n)), String(BigInt.asUintN(13, -f - 1n)),
      String(Number(f) === Infinity), String(Number(2n ** 1023n + 2n ** 970n)), tried(() => BigInt(1.5)), tried(() => 1n + 1), tried(() => BigInt('0x' + 'f'.repeat(50))), tried(() => BigInt('1e3')), tried(() => 1n / 0n), tried(() => 2n ** -1n), tried(() => BigInt(2 ** 60)), tried(() => 1n < 1.5), tried(() => 2n == '2')];`,
  ],
  [
    'a chain of squares of big integers',
    `let x = 3n; for (let i = 0; i < 11; i++) x = x * x + 1n; const t = x.toString(); let a = x, b = x / 7n; for (let i = 0; i < 300 && b !== 0n; i++) [a, b] = [b, a % b]; return [t.length, t.slice(0, 40), t.slice(-40), String(a).slice(0, 99)];`,
  ],
  [
    'typed arrays',
    'const u = new Float64Array(1000).fill(NaN); u[1] = -0; return [...new Uint8Array(u.buffer).subarray(0, 24)];',
  ],
  [
    'views of buffers in both byte orders',
    `const b = new ArrayBuffer(64, { maxByteLength: 256 }), v = new DataView(b), out = [];
    for (const [n, x] of [['Int16', -2], ['Uint32', 0xdeadbeef], ['Float32', 1.1], ['Float64', -1 / 3]]) for (const little of [true, false]) { v['set' + n](8, x, little); out.push(n + [...new Uint8Array(b, 8, 8)].join() + ' ' + v['get' + n](8, !little)); }
    for (const little of [true, false]) { v.setBigInt64(16, -5n, little); out.push(String(v.getBigUint64(16, !little))); }
    try { v.getInt8(64); } catch (e) { out.push(e.name + ': ' + e.message); }
    if (b.resize) { b.resize(200); out.push(v.byteLength, new Uint8Array(b).length); b.resize(4); try { out.push(v.byteLength); v.getInt16(8); } catch (e) { out.push(e.name + ': ' + e.message); } }
    if (b.transfer) { const c = b.transfer(); out.push(b.byteLength, c.byteLength, b.detached); }
    return out;`,
  ],
  [
    'methods of typed arrays',
    `const a = Int16Array.from({ length: 50 }, (_, i) => i * 1237), f = Float32Array.from(a, (x) => x / 7), out = [];
    a.copyWithin(10, 0, 20).set([1, 2, 3], 40); out.push(a.join(), a.subarray(5, 9).reverse().join(), a.toSorted?.().join(), f.map((x) => x * x).slice(-3).join(), a.with?.(0, 99).at(0), a.lastIndexOf(1237), f.reduceRight((x, y) => x - y), a.findLast((x) => x < 0), Object.prototype.toString.call(f), String(new Uint8Array(3)), JSON.stringify(f.subarray(0, 4)));
    out.push(String(Uint8Array.fromBase64), String(new Uint16Array(a.buffer, 2, 4)), f.toLocaleString().length, [...a.entries()].length);
    return out.map(String);`,
  ],
];
