import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { formatPattern, isKnownFormat } from '../../../inference/structured/formats.ts';

const page = readFileSync(new URL('../../../inference/spec/structured.md', import.meta.url), 'utf8');
const section = page.slice(page.indexOf('### Formats'), page.indexOf('## Alternatives'));
const parts = new Map(
  [...section.matchAll(/`([A-Z0-9]+)` = `([^`]+)`/g)].map(([, name = '', text = '']) => [name, text]),
);
const expand = (text: string): string =>
  text.replaceAll(/\{([A-Z][A-Z0-9]*)\}/g, (_, name: string) => expand(parts.get(name) ?? `no ${name}`));

/** Rows of the table of formats, each name with its pattern. */
const rows = section.split('\n').flatMap((line) => {
  const [, names = '', patterns = ''] = /^\| (`.*?) \| (`\^.*`) \|$/.exec(line) ?? [];
  const texts = (cell: string) => [...cell.matchAll(/`([^`]+)`/g)].map(([, text = '']) => text.replaceAll('\\|', '|'));
  const found = texts(patterns);
  return texts(names).map((name, i) => [name, expand(found[i] ?? '')] as const);
});

describe('formats', () => {
  it('are all on the page', () => {
    expect(rows.length).toBe(25);
  });

  it.each(rows)('%s has the pattern of the page', (name, pattern) => {
    expect(formatPattern(name, false)).toBe(pattern);
    expect(isKnownFormat(name)).toBe(true);
  });

  it.each(['idn-email', 'json-pointer', 'constructor', '', 'binary'])('%j is none', (name) => {
    expect(isKnownFormat(name)).toBe(false);
  });

  it('that stand beside patterns say nothing more, and nothing alone', () => {
    for (const name of ['regex', 'hex', 'sha256_hex', 'md5_base64url', 'template_literal']) {
      expect([formatPattern(name, true), formatPattern(name, false)]).toEqual(['', undefined]);
    }
  });
});
