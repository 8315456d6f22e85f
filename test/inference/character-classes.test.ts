import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { CLASSES_UNICODE, pinPattern } from '../../inference/character-classes.ts';
import table from '../../inference/spec/unicode-classes.json' with { type: 'json' };
import { seededRandom } from '../support/random.ts';
import { computeClasses, engineUnicode } from '../support/unicode-tables.ts';

/** Patterns of published tokenizers: GPT-2, Qwen2, Llama 3, GPT-4o. */
const PUBLISHED = [
  "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+",
  "(?:'s|'t)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
  '[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+',
  '[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+|\\p{N}{1,3}|[^\\s]|\\s',
  '[\\p{P}\\p{S}$+<=>^~|`]+',
];

const ENGINE_IS_OURS = engineUnicode() === CLASSES_UNICODE;
const itHere = ENGINE_IS_OURS ? it : it.skip;
if (!ENGINE_IS_OURS) {
  console.warn(`SKIPPED: this engine has Unicode ${engineUnicode()}, the table ${CLASSES_UNICODE}`);
}

describe('the table of classes', () => {
  it('is the committed one', () => {
    const digest = createHash('sha256').update(JSON.stringify(table)).digest('hex');
    expect([table.unicode, digest]).toEqual([
      '17.0',
      'f46c9aeb3d3d108427225aef9b1bd7c40175f46f11cc51a5d8a6cd8b07125a7d',
    ]);
  });

  it('holds as many code points as Unicode 17.0 has', () => {
    const count = (ranges: string) =>
      ranges.split(' ').reduce((sum, range) => {
        const [first = '', last = first] = range.split('-');
        return sum + Number.parseInt(last, 16) - Number.parseInt(first, 16) + 1;
      }, 0);
    const counts = Object.fromEntries(Object.entries(table.classes).map(([name, ranges]) => [name, count(ranges)]));
    // Equal to those of DerivedGeneralCategory and PropList in version 17.0.0.
    expect(counts).toEqual({
      White_Space: 25,
      L: 145_672,
      Lu: 1886,
      Ll: 2283,
      Lt: 31,
      Lm: 410,
      Lo: 141_062,
      M: 2543,
      N: 1924,
      Nd: 770,
      P: 856,
      S: 8617,
    });
  });

  it('is ascending, without ranges that touch', () => {
    for (const ranges of Object.values(table.classes)) {
      const bounds = ranges.split(' ').map((range) => range.split('-').map((bound) => Number.parseInt(bound, 16)));
      let before = -2;
      for (const [first = Number.NaN, last = first] of bounds) {
        expect(first).toBeGreaterThan(before + 1);
        expect(last).toBeGreaterThanOrEqual(first);
        before = last;
      }
      expect(before).toBeLessThanOrEqual(0x10ffff);
    }
  });

  itHere('is what the engine says', () => {
    expect(computeClasses()).toEqual(table);
  });
});

describe('a pattern without classes', () => {
  it.each(PUBLISHED)('holds no property and no shorthand: %s', (pattern) => {
    const pinned = pinPattern(pattern);
    expect(pinned).not.toMatch(/\\[pPsSdDwWbB]/);
    expect(pinned.length).toBeLessThan(100_000);
    expect(() => new RegExp(pinned, 'gu')).not.toThrow();
  });

  it.each(PUBLISHED)('is left alone the second time: %s', (pattern) => {
    expect(pinPattern(pinPattern(pattern))).toBe(pinPattern(pattern));
  });

  itHere.each(PUBLISHED)('matches what the engine matches: %s', (pattern) => {
    // Oniguruma's \s is the property White_Space; JavaScript's lacks U+0085 and has U+FEFF.
    const theirs = new RegExp(
      pattern.replaceAll('\\s', '\\p{White_Space}').replaceAll('\\S', '\\P{White_Space}'),
      'gu',
    );
    const ours = new RegExp(pinPattern(pattern), 'gu');
    const random = seededRandom(7);
    for (let i = 0; i < 2000; i++) {
      const text = Array.from({ length: random.below(60) }, () =>
        random.chance(20) ? ' ' : String.fromCodePoint(random.below(random.pick([0x80, 0x3000, 0x20000, 0x110000]))),
      ).join('');
      expect(text.match(ours)).toEqual(text.match(theirs));
    }
  });

  itHere.each(Object.keys(table.classes))(
    '\\p{%s} and \\P{%s} are each other’s complement, for every code point',
    (name) => {
      const sets = [`\\p{${name}}`, `\\P{${name}}`, `[\\P{${name}}]`, `[^\\P{${name}}]`, `[^x\\p{${name}}]`];
      for (const set of sets) {
        const ours = new RegExp(`^${pinPattern(set)}$`, 'u');
        const theirs = new RegExp(`^${set}$`, 'u');
        let differing = 0;
        for (let point = 0; point < 0x110000; point += 1 + (point > 0x32000 ? 30 : 0)) {
          const text = String.fromCodePoint(point);
          if (ours.test(text) !== theirs.test(text)) differing++;
        }
        expect([set, differing]).toEqual([set, 0]);
      }
    },
  );

  it('reads digits and white space as in Oniguruma', () => {
    const matches = (pattern: string, text: string) => new RegExp(`^(?:${pinPattern(pattern)})$`, 'u').test(text);
    expect([matches('\\d', '٣'), matches('\\d', '½'), matches('\\D', '½'), matches('[\\d]', '7')]).toEqual([
      true,
      false,
      true,
      true,
    ]);
    expect([matches('\\s', '\u0085'), matches('\\s', '\ufeff'), matches('[^\\s]', '\ufeff')]).toEqual([
      true,
      false,
      true,
    ]);
  });

  it.each([
    ['a-z[A-Z]{2,3}(?:x|y)+?(?=z)(?!q)(?<=a)(?<!b)'],
    ['[]a]|[^]a]|[-a]|[a-]|[a\\-z]|[\\]\\[]|\\['],
    ["(?i:'s|'t)|\\x{41}|\\u0041|\\r\\n\\t|^.$"],
    [''],
  ])('leaves %j as it is', (pattern) => {
    expect(pinPattern(pattern)).toBe(pattern);
  });

  it.each([
    '\\p{Han}',
    '\\p{Script=Han}',
    '\\p{Any}',
    '\\p{^L}',
    '\\p{}',
    '\\p{__proto__}',
    '\\p{constructor}',
    '\\pL',
    '\\p',
    '\\w+',
    '\\W',
    '\\bfoo',
    '\\B',
    '[\\w]',
    '\\X',
    '\\R',
    '\\K',
    '[[:alpha:]]',
    '[a&&\\p{L}]',
    '[a[b]]',
    '[a',
    '[',
    '[\\p{L}',
    'a\\',
    '[a\\',
    '[a-\\p{L}]',
    '[\\p{L}-z]',
    '(?i:\\p{Lu})',
    '(?i:[\\s])',
    '(?i:é)',
    '(?i:[é])',
    '(?i:a(?:\\p{L}))',
    '(?i)\\p{L}',
    '(?m:a)',
    '(?>a)',
    '(?#x)',
    '(?<name>a)',
  ])('refuses %j', (pattern) => {
    expect(() => pinPattern(pattern)).toThrowError(
      expect.objectContaining({ name: 'ModelError', code: 'UNSUPPORTED_TOKENIZER' }),
    );
  });

  it.each([
    ['groups nested too deep', '('.repeat(65)],
    ['a pattern that is too long', 'x'.repeat((1 << 20) + 1)],
    ['a pattern that becomes too long', '\\P{L}'.repeat(200)],
  ])('refuses %s', (_, pattern) => {
    expect(() => pinPattern(pattern)).toThrowError(expect.objectContaining({ code: 'UNSUPPORTED_TOKENIZER' }));
  });

  it('folds again after a folding group is closed', () => {
    expect(pinPattern('(?i:a(?:b))\\s')).toBe(`(?i:a(?:b))${pinPattern('\\s')}`);
  });
});
