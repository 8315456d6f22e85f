import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parseErrorRows, printErrorRows, ROOT, readErrorRows } from './error-table.ts';

const readme = readFileSync(join(ROOT, 'README.md'), 'utf8');
const HOW = 'print the table with `npx tsx test/pins/error-table.ts`';

describe('the error table of README', () => {
  const told = parseErrorRows(readme);
  const real = readErrorRows();

  it('names every class of the sources and no other, with its file', () => {
    const names = (rows: typeof real) => rows.map(({ name, file }) => `${name} ${file}`).sort();
    expect(names(told), HOW).toEqual(names(real));
  });

  it.each(real.map((row) => [row.name, row] as const))('gives the codes of %s', (name, row) => {
    expect(told.find((candidate) => candidate.name === name)?.codes, HOW).toEqual(row.codes);
  });

  it('reads sources that hold errors, each with at least one code', () => {
    expect(real.length).toBeGreaterThan(20);
    expect(real.filter(({ codes }) => codes.length === 0)).toEqual([]);
    expect(real.find(({ name }) => name === 'ProofError')?.codes).toContain('ROOT_MISMATCH');
    // A union that another one takes up.
    expect(real.find(({ name }) => name === 'ModelError')?.codes).toContain('NOT_GGUF');
  });

  it('prints what it reads', () => {
    expect(parseErrorRows(printErrorRows(real))).toEqual(real);
  });
});
