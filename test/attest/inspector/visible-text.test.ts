import fc from 'fast-check';
import { expect, it } from 'vitest';
import { visibleParts } from '../../../attest/inspector/visible-text.ts';

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
  ['a\r\nb', 'a[U+000D][U+000A]b', 'a[U+000D]\nb'],
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
    fc.property(fc.string({ unit: 'binary' }), (text) => {
      const parts = visibleParts(text, 'name');
      const back = parts
        .map((part) => ('mark' in part ? String.fromCodePoint(Number.parseInt(part.mark.slice(2), 16)) : part.text))
        .join('');
      expect(back).toBe(text);
      for (const part of parts)
        if ('text' in part) expect(part.text).not.toMatch(/[\p{Cc}\p{Bidi_Control}\p{Cs}\p{Zl}\p{Zp}]/u);
    }),
    { numRuns: 300 },
  );
});
