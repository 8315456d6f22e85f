import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { dealRows, MOST_BESIDE, type Need } from '../../../inference/exact/batch-rows.ts';

const text: Need = { rows: 1, isDecoding: true };
const prompt = (rows: number): Need => ({ rows, isDecoding: false });
const sum = (all: readonly number[]) => all.reduce((total, one) => total + one, 0);

describe('rows of a batch', () => {
  it('are those of the only feed, as many as fit', () => {
    expect(dealRows([prompt(300)], 128)).toEqual([128]);
    expect(dealRows([prompt(3)], 128)).toEqual([3]);
    expect(dealRows([text], 1)).toEqual([1]);
  });

  it('have each text in them, however long prompts before it are', () => {
    const dealt = dealRows([prompt(5000), prompt(5000), text, text, text], 128);
    expect(dealt.slice(2)).toEqual([1, 1, 1]);
    expect(sum(dealt)).toBe(5 + MOST_BESIDE);
  });

  it('are half for the oldest prompt, the other half in equal shares', () => {
    expect(dealRows([prompt(1000), prompt(1000), prompt(1000), prompt(1000)], 124)).toEqual([76, 16, 16, 16]);
  });

  it('are the greater half of an odd rest for the oldest', () => {
    expect(dealRows([prompt(9), prompt(9), prompt(9)], 6)).toEqual([3, 1, 2]);
    expect(dealRows([prompt(9), prompt(9), prompt(9)], 4)).toEqual([2, 1, 1]);
  });

  it('let short prompts through at once beside a long one', () => {
    expect(dealRows([prompt(1000), prompt(5), prompt(9), prompt(1000)], 128)).toEqual([88, 5, 9, 26]);
  });

  it('go to the oldest where there are more feeds than rows', () => {
    expect(dealRows([text, text, prompt(9), text], 2)).toEqual([1, 1, 0, 0]);
  });

  it('are never more than a feed needs or a batch holds, and as many as can be', () => {
    const need = fc.record({ rows: fc.integer({ min: 1, max: 300 }), isDecoding: fc.boolean() });
    fc.assert(
      fc.property(fc.array(need, { minLength: 1, maxLength: 40 }), fc.integer({ min: 1, max: 128 }), (needs, most) => {
        const dealt = dealRows(needs, most);
        const served = needs.slice(0, most);
        const isBeside = served.some(({ isDecoding }) => isDecoding);
        const limit = isBeside ? Math.min(most, served.length + MOST_BESIDE) : most;
        expect(dealt.length).toBe(needs.length);
        expect(sum(dealt)).toBe(Math.min(limit, sum(served.map(({ rows }) => rows))));
        needs.forEach(({ rows }, i) => {
          expect(dealt[i]).toBeLessThanOrEqual(rows);
          expect(dealt[i]).toBeGreaterThanOrEqual(i < most ? 1 : 0);
        });
      }),
    );
  });
});
