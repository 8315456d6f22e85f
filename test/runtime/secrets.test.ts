import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createRedactor, renderTemplate, templateSecrets } from '../../runtime/secrets.ts';

const VALUE = 'pa"ss/w\\ord+%&<é 😀>';
const of = (values: Readonly<Record<string, string>>) => ({ get: (name: string) => values[name] });

describe('templates', () => {
  it('name and take secrets', () => {
    expect(templateSecrets('Bearer {{secret:A}}')).toEqual(['A']);
    expect(templateSecrets('{{secret:A}}{{secret:B_2}} and {{secret:A}}')).toEqual(['A', 'B_2', 'A']);
    expect(templateSecrets('none { } }} {a}')).toEqual([]);
    const { text, used } = renderTemplate('x {{secret:A}}:{{secret:B}}', of({ A: 'first-value', B: '{{secret:A}}' }));
    expect(text).toBe('x first-value:{{secret:A}}');
    expect(used).toEqual({ A: 'first-value', B: '{{secret:A}}' });
  });

  it.each([
    '{{',
    '{{}}',
    '{{secret:}}',
    '{{secret:a}}',
    '{{secret:A',
    '{{secret: A}}',
    '{{secret:A }}',
    '{{SECRET:A}}',
    '{{A}}',
    '{{{secret:A}}}',
    '{{secret:A-B}}',
    '{{secret:1A}}',
    `{{secret:${'A'.repeat(65)}}}`,
    'fine {{secret:A}} then {{secret:__proto__}}',
  ])('%j is malformed', (template) => {
    const malformed = expect.objectContaining({ code: 'MALFORMED_TEMPLATE' });
    expect(() => templateSecrets(template)).toThrow(malformed);
    expect(() => renderTemplate(template, of({ A: 'first-value' }))).toThrow(malformed);
  });

  it('are not filled with what is missing or cannot be redacted, and do not tell the value', () => {
    const render = (value: string | undefined) => () => renderTemplate('{{secret:A}}', { get: () => value });
    expect(render(undefined)).toThrow(expect.objectContaining({ code: 'UNKNOWN_SECRET', at: { secret: 'A' } }));
    for (const value of ['', 'short', 'x'.repeat(4097), 'lone \ud800 surrogate']) {
      expect(render(value)).toThrow(expect.objectContaining({ code: 'UNSAFE_SECRET' }));
      if (value !== '') expect(render(value)).not.toThrow(value);
    }
  });
});

const hexOf = (value: string) => Buffer.from(value).toString('hex');
const jsonUnicode = (value: string) =>
  Array.from({ length: value.length }, (_, i) => `\\u${value.charCodeAt(i).toString(16).padStart(4, '0')}`).join('');

/** Spellings of a value; each is a whole text around which others may stand. */
const SPELLINGS: Readonly<Record<string, (value: string) => string>> = {
  raw: (value) => value,
  JSON: (value) => JSON.stringify(value).slice(1, -1),
  'JSON with / escaped': (value) => JSON.stringify(value).slice(1, -1).replaceAll('/', '\\/'),
  'JSON with all escaped': jsonUnicode,
  'JSON with all escaped in capitals': (value) => jsonUnicode(value).toUpperCase().replaceAll('\\U', '\\u'),
  encodeURIComponent: encodeURIComponent,
  encodeURI: encodeURI,
  form: (value) => new URLSearchParams({ v: value }).toString().slice(2),
  'percent with all encoded': (value) => hexOf(value).replace(/../g, '%$&'),
  'percent with all encoded in capitals': (value) => hexOf(value).toUpperCase().replace(/../g, '%$&'),
  HTML: (value) =>
    value.replace(/[&<>"']/g, (c) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' })[c] ?? c),
  'HTML with all in decimal': (value) => [...value].map((c) => `&#${c.codePointAt(0)};`).join(''),
  'HTML with all in hexadecimal': (value) => [...value].map((c) => `&#x${c.codePointAt(0)?.toString(16)};`).join(''),
  hexadecimal: hexOf,
  'hexadecimal in capitals': (value) => hexOf(value).toUpperCase(),
  base64: (value) => Buffer.from(value).toString('base64'),
  base64url: (value) => Buffer.from(value).toString('base64url'),
  'base64 in JSON with / escaped': (value) => Buffer.from(value).toString('base64').replaceAll('/', '\\/'),
  'base64 in a URL': (value) => encodeURIComponent(Buffer.from(value).toString('base64')),
};

/** Values of secrets: not part of a mark, and not what is around them. */
const secretValue = fc
  .oneof(
    fc.string({ minLength: 6, maxLength: 40, unit: 'grapheme-ascii' }),
    fc.string({ minLength: 6, maxLength: 20, unit: 'binary' }),
    fc.string({
      minLength: 6,
      maxLength: 60,
      unit: fc.constantFrom('a', '%', '\\', '"', '&', '/', '+', ' ', '2', '5'),
    }),
  )
  .filter((value) => value.length >= 6 && !'[redacted:KEY]'.includes(value) && !value.includes('[redacted:'));

describe('redaction', () => {
  it.each(Object.entries(SPELLINGS))('finds %s', (_, spell) => {
    const { redact } = createRedactor({ KEY: VALUE });
    const spelled = spell(VALUE);
    expect(redact(spelled).replace(/={1,2}|%3D|%3d/g, '')).toBe('[redacted:KEY]');
    expect(redact(`<${spelled}> and <${spelled}>`)).toMatch(
      /^<\[redacted:KEY\](=|%3D)*> and <\[redacted:KEY\](=|%3D)*>$/,
    );
  });

  it.each(Object.entries(SPELLINGS))('leaves no value in %s, whatever value and surroundings', (_, spell) => {
    fc.assert(
      fc.property(secretValue, fc.string({ unit: 'binary' }), fc.string({ unit: 'binary' }), (value, before, after) => {
        const { redact } = createRedactor({ KEY: value });
        const spelled = spell(value);
        const text = redact(`${before} ${spelled} ${after}`);
        expect(text).toContain('[redacted:KEY]');
        expect(text.replaceAll('[redacted:KEY]', '\u0000')).not.toContain(value);
        expect(redact(text)).toBe(text);
      }),
      { numRuns: 60 },
    );
  });

  it('leaves a text alone that holds no secret', () => {
    const { redact } = createRedactor({ KEY: 'correct horse battery' });
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => {
        expect(redact(text)).toBe(text);
      }),
    );
    expect(createRedactor({}).redact('anything')).toBe('anything');
  });

  it('finds a value inside of a longer base64 text at every offset, and leaves no digit with its bits', () => {
    const value = 'canary-7f3a';
    const { redact } = createRedactor({ KEY: value });
    for (const encoding of ['base64', 'base64url'] as const) {
      for (let before = 0; before < 7; before++) {
        for (let after = 0; after < 7; after++) {
          const text = Buffer.from(`${'u'.repeat(before)}${value}${'z'.repeat(after)}`).toString(encoding);
          const left = redact(text);
          const [head = '', tail = ''] = left.split('[redacted:KEY]');
          expect(head).toBe(
            Buffer.from('u'.repeat(before))
              .toString('base64')
              .slice(0, Math.floor((before * 8) / 6)),
          );
          expect(tail.replace(/=+$/, '').length).toBeLessThanOrEqual(Math.ceil((after * 8) / 6));
          expect(text.endsWith(tail)).toBe(true);
        }
      }
    }
  });

  it('takes overlapping secrets out whole, the longer one first', () => {
    const { redact } = createRedactor({ A: 'abcdef123', B: 'def123xyz', C: 'abcdef' });
    expect(redact('>abcdef123xyz<')).toBe('>[redacted:A]<');
    expect(redact('>abcdef1<')).toBe('>[redacted:C]1<');
    expect(redact('>def123xyz|abcdef<')).toBe('>[redacted:B]|[redacted:C]<');
    expect(createRedactor({ A: 'abcabc' }).redact('>abcabcabc<')).toBe('>[redacted:A]<');
    expect(redact('abcdef123abcdef123')).toBe('[redacted:A][redacted:A]');
  });

  it.each<[string, Record<string, string>]>([
    ['UNSAFE_SECRET', { A: '12345' }],
    ['UNSAFE_SECRET', { A: 'x'.repeat(4097) }],
    ['UNSAFE_SECRET', { A: 'redacted' }],
    ['UNSAFE_SECRET', { LONGNAME: 'NGNAME]' }],
    ['UNSAFE_SECRET', { A: 'first-value', B: 'x[redacted:A]' }],
    ['UNSAFE_SECRET', { A: '12345\udc00' }],
    ['MALFORMED_TEMPLATE', { lower: 'first-value' }],
    ['MALFORMED_TEMPLATE', { '': 'first-value' }],
  ])('refuses with %s: %j', (code, secrets) => {
    expect(() => createRedactor(secrets)).toThrow(expect.objectContaining({ code }));
  });

  it('takes time in line with the text', () => {
    const { redact } = createRedactor({
      A: `${'\\'.repeat(200)}x`,
      B: `${'%25'.repeat(100)}x`,
      C: `${'&amp;'.repeat(50)}x`,
      D: 'canary-7f3a',
    });
    const started = performance.now();
    for (const part of ['\\', '%25', '%2525', '&amp;', '&#38;amp;', '\\u005c', 'abcdefgh']) {
      redact(part.repeat(200_000 / part.length));
    }
    expect(performance.now() - started).toBeLessThan(3000);
  });
});
