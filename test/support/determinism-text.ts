/**
 * Deterministic programs about text and order: sorting, regular expressions, Unicode, JSON.
 *
 * @module
 */

import type { DeterministicProgram } from './determinism-program.ts';

export const TEXT_PROGRAMS: readonly DeterministicProgram[] = [
  [
    'strings',
    'let t = ""; for (let i = 0; i < 2000; i++) t += String.fromCodePoint(97 + (i * 7) % 26); return t.replaceAll("a", "ä");',
  ],
  [
    'sorting',
    'const a = Array.from({ length: 500 }, () => Math.random()); a.sort((x, y) => x - y); return a.slice(0, 5).map(String);',
  ],
  [
    'sorting keeps equals in order',
    `const a = Array.from({ length: 400 }, (_, i) => ({ k: (i * 7919) % 13, i })); a.sort((x, y) => x.k - y.k);
    return a.map(({ k, i }) => k + ':' + i).join(' ');`,
  ],
  [
    'sorting by a liar',
    `let n = 0; const order = [], a = Array.from({ length: 60 }, (_, i) => i);
    a.sort((x, y) => { order.push(x * 100 + y); return [1, -1, 0, NaN, 'x', -0.5][n++ % 6]; });
    const b = Array.from({ length: 60 }, (_, i) => i); b.sort(() => Math.random() - 0.5);
    const c = [3, 1, 2]; c.sort((x, y) => { c.push(9); return x - y; });
    return [a.join(), b.join(), c.join(), n, order.slice(0, 60).join()];`,
  ],
  [
    'sorting that throws midway',
    `const a = Array.from({ length: 50 }, (_, i) => (i * 37) % 50); let n = 0;
    try { a.sort((x, y) => { if (++n === 77) throw new Error('midway'); return x - y; }); } catch (e) { return [e.message, a.join(), n]; }`,
  ],
  [
    'sorting of mixed values, holes and typed arrays',
    String.raw`const a = [3, undefined, '10', null, 9, , NaN, true, -0, 'b', 'ä', 'a', 'Z', 1e21, [2], , {}]; a.sort();
    const f = Float64Array.of(3, NaN, -0, 0, -Infinity, NaN, 1e-310, -5).sort(), s = ['é', 'e', 'z', 'Z', 'ß', '😀', '\ufffd', '\ud800'].sort();
    return [a.map(String).join(), a.length, 16 in a, [...f].map((x) => Object.is(x, -0) ? '-0' : String(x)).join(), s.map((x) => escape(x)).join(), Int8Array.of(5, -1, 127, -128).sort().join(), BigInt64Array.of(5n, -1n).sort((x, y) => (x < y ? 1 : -1)).join(), [5, 1, 4].toSorted().join(), [1, 2, 3].toSpliced(1, 1).join()];`,
  ],
  ['regular expressions', 'return "2024-05-06 and 2025-07-08".match(/(\\d{4})-(\\d{2})/g).join();'],
  [
    'regular expressions that look around and name',
    String.raw`const m = /(?<y>\d{4})-(?<m>\d\d)(?=T)/d.exec('on 2024-05T'), out = [];
    out.push(JSON.stringify(m.groups), JSON.stringify(m.indices), 'price $42 and €7'.replace(/(?<=[$€])\d+/g, (x) => x * 2), 'aXbXc'.split(/(?<!a)X/).join(), '2024-05'.replace(/(?<a>\d+)-(?<b>\d+)/, '$<b>/$<a> $& $1 $3 $$'));
    out.push([...'a1b22c333'.matchAll(/([a-z])(\d+)/g)].map((x) => x.index + x[1] + x[2]).join(), /^(?:(a)|b)*$/.exec('ab').map(String).join(), /(z)((a+)?(b+)?(c))*/.exec('zaacbbbcac').map(String).join(), /\b(\w+) \1\b/i.exec('the The cat')[0], 'x'.replace(/(y)?/, '[$1]'));
    const s = /foo/y; s.lastIndex = 3; out.push(String(s.test('barfoo')), s.lastIndex, 'a\nb'.match(/^b$/m).index, /a.c/s.test('a\nc'));
    return out;`,
  ],
  [
    'regular expressions over Unicode',
    String.raw`const tried = (f) => { try { return String(f()); } catch (e) { return e.name + ': ' + e.message; } };
    const text = 'Straße ΑΒΓ абв 漢字 😀👩‍👩‍👧 ǅ ſK İı ٣٤ \u0301';
    const props = ['Lu', 'Ll', 'L', 'N', 'Script=Greek', 'Script_Extensions=Han', 'Emoji', 'Emoji_Presentation', 'ID_Start', 'M', 'ASCII', 'Any', 'White_Space', 'Uppercase', 'RGI_Emoji', 'Script=Klingon'];
    return props.map((p) => p + ' ' + tried(() => (text.match(new RegExp('\\p{' + p + '}', 'gu')) ?? []).join())).concat(
      tried(() => (text.match(new RegExp('[\\p{L}--[a-zа-я]]', 'gv')) ?? []).join()), tried(() => (text.match(new RegExp('[[a-z]&&[aeiou]]', 'gv')) ?? []).join()), tried(() => (text.match(new RegExp('\\p{RGI_Emoji}', 'gv')) ?? []).join()),
      text.match(/[a-zſ]/giu).join(), String(/\u{1F600}/u.test(text)), String(/^.$/u.test('😀')), String(/^.$/.test('😀')), String(/[^\x00-\x7f]/.exec(text).index), tried(() => /\ud83d/u.exec('😀')), tried(() => /ı/iu.test('I')), tried(() => /K/iu.test('k')));`,
  ],
  [
    'refusals of regular expressions',
    String.raw`return ['(', 'a**', '[z-a]', '(?<a>x)(?<a>y)', '\\k<b>', 'a{2,1}', '(?<=a', '\\u{110000}', '(?i:a)', '*', '(?<a>.)|(?<a>.)', '[\\d-x]', '{1}', '\\1(a)', '(?=a)*'].flatMap((p) => ['', 'u', 'v', 'gg'].map((f) => { try { return String(new RegExp(p, f)); } catch (e) { return e.name + ': ' + e.message; } }));`,
  ],
  [
    'a regular expression that takes long, and ends',
    'return [/^(a+)+$/.test("a".repeat(12) + "b"), /^(a|aa)+$/.test("a".repeat(14) + "!"), /(.*)*x/.test("y".repeat(12))];',
    { cuts: 'parts' },
  ],
  [
    'a regular expression that takes all fuel',
    'console.log("before"); try { return /^(\\w+\\s?)*$/.test("a".repeat(60) + "!"); } finally { console.log("after"); }',
    { fuel: 20_000_000n },
  ],
  [
    'normal forms',
    String.raw`const texts = ['é', 'e\u0301', 'ﬁ', 'Å', '\u1e9b\u0323', '한글', '\u1112\u1161\u11ab', '①²½', 'ǆ', '\u0344', '\u2126', '\ufb1d', 'a\u0315\u0300\u05ae\u0062', '\ud834\udd5e', '\ud800x', '豈'];
    const hex = (t) => [...t].map((c) => c.codePointAt(0).toString(16)).join(' ');
    return texts.flatMap((t) => ['NFC', 'NFD', 'NFKC', 'NFKD'].map((f) => hex(t.normalize(f))));`,
  ],
  [
    'upper and lower case',
    String.raw`const texts = ['ß', 'İ', 'ı', 'Iii', 'ΑΣ', 'ΑΣΑ Σ', 'ŉ', 'ǰ', 'ﬃ', 'ǅ', 'ჰ', 'Ა', 'ꭰ', 'ⓐ', '𐐀𐐨', 'Ω', 'K', 'և', '\u0345', 'ẞ'];
    const hex = (t) => [...t].map((c) => c.codePointAt(0).toString(16)).join(' ');
    let all = 0; for (let c = 0; c < 0x600; c++) { const t = String.fromCharCode(c); for (const x of t.toUpperCase() + t.toLowerCase()) all = (Math.imul(all, 31) + x.codePointAt(0)) >>> 0; }
    return texts.map((t) => [t.toUpperCase(), t.toLowerCase(), t.toLocaleUpperCase('tr'), t.toLocaleLowerCase('tr'), t.toLocaleUpperCase()].map(hex).join(' | ')).concat(String(all));`,
  ],
  [
    'order and locales',
    String.raw`const words = ['zebra', 'Äpfel', 'apfel', 'Apfel', 'éclair', 'eclair', 'ångström', 'ñ', 'n', 'I', 'ı', 'i', '10', '9', 'a-b', 'ab', 'côte', 'coté'];
    return [[...words].sort().join(), [...words].sort((a, b) => a.localeCompare(b)).join(), words.map((w) => 'm'.localeCompare(w)).join(), 'a\u0301'.localeCompare('á'), typeof Intl, (1234567.891).toLocaleString(), (0.5).toLocaleString('de'), [1.5, 2].toLocaleString(), (12345678901234567890n).toLocaleString(), new Date(0).toLocaleDateString('tr')];`,
  ],
  [
    'halves of characters and segments',
    String.raw`const t = 'a😀\ud83d b\udc00 👩‍👩‍👧é́ 🇩🇪', show = (x) => escape(x);
    const tried = (f) => { try { return String(f()); } catch (e) { return e.name + ': ' + e.message; } };
    return [t.length, [...t].length, [...t].map(show).join(), show(t.toWellFormed()), String(t.isWellFormed()), show(t.split('').reverse().join('')), show(t.slice(2, 4)), show(t.at(1)), String(t.codePointAt(1)), String(t.codePointAt(2)), String(t.charCodeAt(99)), show(t.padEnd(30, '😀')), show([...t].toReversed().join('')), JSON.stringify(t), tried(() => encodeURIComponent(t)), tried(() => decodeURIComponent('%f0%9f%98%80%c3')), encodeURI('ä😀 #?'), unescape('%u0107%e4%zz'), show(String.fromCodePoint(0x1f600, 0xd800)), tried(() => String.fromCodePoint(0x110000)), typeof globalThis.Intl?.Segmenter, t];`,
  ],
  [
    'methods of strings',
    String.raw`const t = '  The quick brown fox, the lazy dog.  ', out = [t.trim(), t.trimStart().length, t.split(' ').length, t.split(/(,)|\s/).map(String).join('|'), t.indexOf('the', -5), t.lastIndexOf('the', 99), t.substring(9, 3), t.substr(-6, 3), 'abc'.repeat(3), 'a-b-c'.replaceAll('-', "$'"), String.raw({ raw: ['x', 'y'] }, 1), 'x'.anchor('"'), 'abc'.concat(1, null), 'a,b'.split(',', 1).join(), '\u2028\u00a0\ufeff\u180e'.trim().length];
    try { 'x'.repeat(-1); } catch (e) { out.push(e.name + ': ' + e.message); } try { 'x'.replaceAll(/y/, ''); } catch (e) { out.push(e.name + ': ' + e.message); }
    let rope = ''; for (let i = 0; i < 3000; i++) rope = i % 2 ? rope + i : i + rope; let h = 0; for (const c of rope) h = (h * 33 + c.charCodeAt(0)) >>> 0; return out.concat(rope.length, h).map(String);`,
  ],
  ['json', 'return JSON.parse(JSON.stringify(Array.from({ length: 300 }, (_, i) => ({ i, t: String(i / 3) }))));'],
  [
    'refusals of JSON',
    String.raw`const texts = ['', '{', '{"a":1,}', '[1,]', '01', '1.', '.5', '+1', '"\t"', '"\\x"', '"\\ud800"', 'nul', '{"a":1 "b"}', "{'a':1}", '[1]]', 'NaN', '\ufeff1', '{"__proto__":1}', '1e999', '"\\u12"', '\u00a01', '-', '{a:1}', '/*c*/1', '[1 2]'];
    const cyclic = {}; cyclic.self = { a: [cyclic] };
    const tried = (f) => { try { return String(f()); } catch (e) { return e.name + ': ' + e.message; } };
    return texts.map((t) => tried(() => JSON.stringify(JSON.parse(t)))).concat(tried(() => JSON.stringify(cyclic)), tried(() => JSON.stringify(1n)), tried(() => JSON.parse(undefined)));`,
  ],
  [
    'JSON with revivers, replacers and spaces',
    String.raw`const seen = [], v = JSON.parse('{"b":[1,{"2":2,"1":1,"a":null}],"a":"x","10":0,"9":1}', function (k, x) { seen.push(k); return typeof x === 'number' ? x + 1 : x === null ? undefined : x; });
    return [seen.join(), JSON.stringify(v), JSON.stringify(v, null, 3), JSON.stringify(v, ['a', 'b', 2]), JSON.stringify(v, (k, x) => k === 'a' ? { toJSON: (n) => 'J' + n } : x, '--'), JSON.stringify({ u: undefined, f() {}, s: Symbol('s'), n: NaN, d: new Date(0), m: new Map([[1, 2]]), b: new Boolean(false), i: -Infinity, z: -0, e: 1e21, q: '\u2028\u007f\ud800"' }), JSON.stringify([undefined, () => 1]), JSON.stringify('\u0000\u001f')];`,
  ],
];
