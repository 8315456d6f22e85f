import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { NORMAL_FORM_TABLE, toNormalFormC } from '../../inference/normal-form.ts';
import table from '../../inference/spec/unicode-normal-form.json' with { type: 'json' };
import { seededRandom } from '../support/random.ts';
import { computeNormalForm, engineUnicode } from '../support/unicode-tables.ts';

const ENGINE_IS_OURS = engineUnicode() === table.unicode;
const itHere = ENGINE_IS_OURS ? it : it.skip;
if (!ENGINE_IS_OURS) console.warn(`SKIPPED: this engine has Unicode ${engineUnicode()}, the table ${table.unicode}`);

/** What combines: marks, composites, Hangul, single surrogates. */
type Range = readonly [first: number, last: number];
const INTERESTING: readonly [Range, ...Range[]] = [
  [0x41, 0x7a],
  [0xc0, 0x233],
  [0x300, 0x36f],
  [0x300, 0x345],
  [0x1100, 0x11ff],
  [0xac00, 0xd7a3],
  [0x900, 0xdff],
  [0xf71, 0xfbc],
  [0x1e00, 0x1fff],
  [0x3040, 0x30ff],
  [0xf900, 0xfaff],
  [0x1d15e, 0x1d1c8],
  [0x11000, 0x11fff],
  [0x16d60, 0x16d6f],
  [0xd800, 0xdfff],
];

describe('the table of the normal form', () => {
  it('is the committed one', () => {
    const text = `${table.unicode}\n${table.combining}\n${table.decompositions}\n`;
    const digest = `0x${createHash('sha256').update(text).digest('hex')}`;
    expect(NORMAL_FORM_TABLE).toEqual({ unicode: '17.0', digest });
    expect(digest).toBe('0x27b41adf21d507e203e250e7371a2b68bdd06894a8e95988b38b2f4a0300ec12');
    expect(table.decompositions.split(' ')).toHaveLength(2081);
    expect(table.decompositions.split(' ').filter((entry) => entry.includes('+'))).toHaveLength(961);
  });

  itHere('is what the engine says', () => {
    expect(computeNormalForm()).toEqual(table);
  });
});

describe('Normalization Form C', () => {
  // Examples of Unicode Standard Annex #15, and cases of the standard's conformance test.
  it.each([
    ['A\u030a', '\u00c5'],
    ['\u212b', '\u00c5'],
    ['\u2126', '\u03a9'],
    ['\u1e9b\u0323', '\u1e9b\u0323'],
    ['\ufb01', '\ufb01'],
    ['s\u0323\u0307', '\u1e69'],
    ['s\u0307\u0323', '\u1e69'],
    ['\u1e0b\u0323', '\u1e0d\u0307'],
    ['\u0958', '\u0915\u093c'],
    ['\u1100\u1161\u11a8', '\uac01'],
    ['\uac00\u11a8', '\uac01'],
    ['\uac00\u11a7', '\uac00\u11a7'],
    ['\uac01\u11a8', '\uac01\u11a8'],
    ['a\u0315\u0300\u05ae\u0300b', '\u00e0\u05ae\u0300\u0315b'],
    ['\u0344', '\u0308\u0301'],
    ['\u0b47\u0300\u0b3e', '\u0b47\u0300\u0b3e'],
    ['\u1100\u0300\u1161', '\u1100\u0300\u1161'],
    ['>\u0338', '\u226f'],
    ['\ufa30', '\u4fae'],
    ['\u0300a', '\u0300a'],
    ['', ''],
  ])('of %j is %j', (text, expected) => {
    expect(toNormalFormC(text)).toBe(expected);
    expect(toNormalFormC(expected)).toBe(expected);
  });

  itHere('is the engine’s for every code point, alone and between marks', () => {
    let differing = 0;
    for (let point = 0; point <= 0x10ffff; point++) {
      const char = String.fromCodePoint(point);
      for (const text of point < 0x32000 ? [char, `a${char}\u0323\u0301`, `\u1100${char}`, `o\u0302${char}`] : [char]) {
        if (toNormalFormC(text) !== text.normalize('NFC')) differing++;
      }
    }
    expect(differing).toBe(0);
  });

  itHere('is the engine’s for random texts', () => {
    const random = seededRandom(17);
    for (let i = 0; i < 20_000; i++) {
      const text = Array.from({ length: random.below(14) }, () => {
        const [first, last] = random.pick(INTERESTING);
        return String.fromCodePoint(first + random.below(last - first + 1));
      }).join('');
      expect(toNormalFormC(text), JSON.stringify(text)).toBe(text.normalize('NFC'));
    }
  });

  it('leaves code points alone that the table does not assign', () => {
    expect(toNormalFormC('e\u{1fff0}\u0301é\u{e01ff}')).toBe('e\u{1fff0}\u0301é\u{e01ff}');
  });

  it('takes a long run of marks in short time', () => {
    const text = `a${'\u0301\u0323'.repeat(100_000)}`;
    const started = performance.now();
    expect(toNormalFormC(text).slice(0, 3)).toBe('\u1ea1\u0323\u0323');
    expect(performance.now() - started).toBeLessThan(5000);
  });
});
