import fc from 'fast-check';
import { expect, it } from 'vitest';
import { visibleParts, visibleText } from '../../../attest/inspector/visible-text.ts';

const shown = (text: string, use: 'name' | 'payload') =>
  visibleParts(text, use)
    .map((part) => ('mark' in part ? `[${part.mark}]` : part.text))
    .join('');

it.each([
  ['plain ünï 漢字 שלום', 'plain ünï 漢字 שלום', 'plain ünï 漢字 שלום'],
  ['', '', ''],
  ['a\u202Eb', 'a[U+202E]b', 'a[U+202E]b'],
  ['a\u2066b\u2069', 'a[U+2066]b[U+2069]', 'a[U+2066]b[U+2069]'],
  ['a\u0000b\u001b[31m', 'a[U+0000]b[U+001B][31m', 'a[U+0000]b[U+001B][31m'],
  ['a\nb\tc', 'a[U+000A]b[U+0009]c', 'a\nb\tc'],
  ['a\r\nb', 'a[U+000D U+000A]b', 'a[U+000D]\nb'],
  ['a\u200bb\ufeff', 'a[U+200B]b[U+FEFF]', 'a[U+200B]b[U+FEFF]'],
  ['👩\u200d💻', '👩[U+200D]💻', '👩\u200d💻'],
  ['a\u00adb\u00a0c', 'a[U+00AD]b[U+00A0]c', 'a\u00adb\u00a0c'],
  ['tag\u{e0041}', 'tag[U+E0041]', 'tag[U+E0041]'],
  ['half \ud800 pair', 'half [U+D800] pair', 'half [U+D800] pair'],
  ['<b>&amp;</b>', '<b>&amp;</b>', '<b>&amp;</b>'],
])('%j as a name and as a payload', (text, name, payload) => {
  expect(shown(text, 'name')).toBe(name);
  expect(shown(text, 'payload')).toBe(payload);
});

it('loses nothing, and lets nothing through that has no shape of its own', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary', maxLength: 8 }), (text) => {
      const parts = visibleParts(text, 'name');
      const back = parts.map((part) => ('mark' in part ? charactersOf(part.mark) : part.text)).join('');
      expect(back).toBe(text);
      for (const part of parts)
        if ('text' in part) expect(part.text).not.toMatch(/[\p{Cc}\p{Bidi_Control}\p{Cs}\p{Zl}\p{Zp}]/u);
    }),
    { numRuns: 100 },
  );
});

function charactersOf(mark: string): string {
  return mark
    .split(' ')
    .map((name) => String.fromCodePoint(Number.parseInt(name.slice(2), 16)))
    .join('');
}

it('never becomes more nodes than a page can hold, and says what it leaves out', () => {
  expect(shown('\u200b'.repeat(100_000), 'name')).toMatch(/^\[(U\+200B ){8}and 99992 more\]$/);
  const many = visibleParts('a\u200b'.repeat(100_000), 'payload');
  expect(many.length).toBeLessThan(4010);
  expect(many.at(-1)).toEqual({ mark: '… 196000 more characters' });
  expect(visibleParts('x'.repeat(5000), 'name', 2000).at(-1)).toEqual({ mark: '… 3000 more characters' });
  expect(visibleText('a\u202eb', 80)).toBe('a[U+202E]b');
  expect(visibleText('y'.repeat(100), 80)).toBe(`${'y'.repeat(80)}[… 20 more characters]`);
});
