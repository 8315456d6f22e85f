import { join } from 'node:path';
import { expect, it } from 'vitest';
import { type BfclCase, isRight, readBfcl } from './bfcl.ts';
import { describeVectors } from './vectors.ts';

const one = (right: BfclCase['right']): BfclCase => ({
  id: 'x',
  messages: [],
  tool: { name: 'f', description: '', parameters: {} },
  right,
});

it.each([
  [{ a: ['x'] }, { a: 'x' }, true],
  [{ a: ['/var/log'] }, { a: 'VAR log' }, true],
  [{ a: ['x'] }, { a: 'y' }, false],
  [{ a: ['x'] }, {}, false],
  [{ a: ['x', ''] }, {}, true],
  [{ a: ['x'] }, { a: 'x', b: 1 }, false],
  [{ a: [[1, 2]] }, { a: [1, 2] }, true],
  [{ a: [[1, 2]] }, { a: [2, 1] }, false],
  [{ a: [true] }, { a: 'true' }, false],
  [{ a: [{ b: ['c'], d: [''] }] }, { a: { b: 'c' } }, true],
  [{ a: [{ b: ['c'] }] }, { a: { b: 'd' } }, false],
  [{ a: [{ b: ['c'] }] }, { a: { b: 'c', e: 1 } }, false],
])('%j is met by %j: %j', (right, args, expected) => {
  expect(isRight(one(right), args)).toBe(expected);
});

describeVectors('bfcl', (path) => {
  it('has 50 cases, each with an answer and a schema of JSON Schema types', () => {
    const cases = readBfcl(join(path));
    expect(cases).toHaveLength(50);
    const types = new Set<unknown>();
    for (const { tool } of cases) {
      JSON.stringify(tool.parameters, (key, value: unknown) => {
        if (key === 'type' && typeof value === 'string') types.add(value);
        return value;
      });
    }
    const known = ['object', 'string', 'boolean', 'number', 'integer', 'array'];
    expect([...types].filter((type) => !known.includes(String(type)))).toEqual([]);
  });
});
