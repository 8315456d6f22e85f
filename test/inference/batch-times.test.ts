import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { BatchTimes } from '../../inference/batch-times.ts';

describe('times of batches', () => {
  it('are pessimistic before anything was measured', () => {
    const times = new BatchTimes();
    expect(times.costOf(1)).toBe(1);
    for (const rows of [2, 3, 8, 64]) expect(times.costOf(rows)).toBeGreaterThan(2 + rows / 2);
    times.record(1, 1, 10);
    for (const rows of [2, 3, 8, 64]) expect(times.costOf(rows)).toBeGreaterThan(2 + rows / 2);
  });

  it('are those that were measured, in units of one row', () => {
    const times = new BatchTimes();
    times.record(1, 1, 10);
    times.record(4, 4, 25);
    times.record(9, 9, 40);
    expect(times.costOf(4)).toBe(2.5);
    expect(times.costOf(9)).toBe(4);
  });

  it('tell what sizes between cost at most: fewer rows never take longer', () => {
    const times = new BatchTimes();
    times.record(1, 1, 10);
    times.record(8, 8, 14);
    expect(times.costOf(2)).toBe(1.4);
    expect(times.costOf(7)).toBe(1.4);
    expect(times.costOf(9)).toBeGreaterThan(1.4);
  });

  it('learn from prompts what one row more costs', () => {
    const [cheap, dear] = [2, 9].map((perRow) => {
      const times = new BatchTimes();
      times.record(1, 1, 10);
      times.record(64, 1, 64 * perRow);
      return times.costOf(32);
    });
    expect(cheap).toBeLessThan(dear as number);
    expect(cheap).toBeGreaterThan(2 + (32 * 2) / 10);
  });

  it('do not take rows without logits for rows with them', () => {
    const times = new BatchTimes();
    times.record(1, 0, 1);
    times.record(4, 1, 1);
    times.record(1, 1, 10);
    expect(times.costOf(1)).toBe(1);
    expect(times.costOf(4)).toBeGreaterThan(2);
  });

  it('follow what changes, and are not carried away by one outlier', () => {
    const times = new BatchTimes();
    for (let i = 0; i < 20; i++) times.record(1, 1, 10);
    times.record(4, 4, 20);
    times.record(4, 4, 20_000);
    expect(times.costOf(4)).toBeLessThan(4);
    for (let i = 0; i < 30; i++) times.record(4, 4, 60);
    expect(times.costOf(4)).toBeCloseTo(6, 1);
  });

  it('learn from batches of rows with and without logits what one row more costs', () => {
    const costs = [0, 32, 64].map((wanted) => {
      const times = new BatchTimes();
      times.record(1, 1, 10);
      times.record(64, wanted, 100);
      return times.costOf(16);
    });
    // The same time for more logits: each row with logits took less.
    expect(costs[0]).toBeGreaterThan(costs[1] as number);
    expect(costs[1]).toBeGreaterThan(costs[2] as number);
  });

  it('count a row more in company in times of what each row there takes', () => {
    const times = new BatchTimes();
    times.record(1, 1, 4);
    times.record(64, 64, 64);
    times.record(8, 8, 16);
    times.record(9, 9, 18);
    times.record(16, 16, 32);
    // Alone eight rows cost four times one; where seven others are, a row more takes as long as each of them.
    expect(times.costOf(8)).toBe(4);
    expect(times.costOf(1, 7)).toBe(1);
    expect(times.costOf(2, 7)).toBe(2);
    expect(times.costOf(9, 7)).toBe(9);
  });

  it('do not take a row more in company for free because two sizes took the same time', () => {
    const times = new BatchTimes();
    times.record(1, 1, 4);
    times.record(64, 64, 64);
    for (const rows of [8, 9, 12]) times.record(rows, rows, 16);
    expect(times.costOf(2, 7)).toBeCloseTo(1 + 0.5 * (8 / 16), 5);
    expect(times.costOf(5, 7)).toBeCloseTo(1 + 4 * 0.5 * (8 / 16), 5);
  });

  it('are finite and at least 1, whatever was measured', () => {
    const batch = fc.tuple(fc.integer({ min: 1, max: 64 }), fc.boolean(), fc.double({ min: 0, max: 1e6, noNaN: true }));
    fc.assert(
      fc.property(fc.array(batch), fc.integer({ min: 1, max: 200 }), fc.nat({ max: 127 }), (batches, rows, beside) => {
        const times = new BatchTimes();
        for (const [count, all, ms] of batches) times.record(count, all ? count : 1, ms);
        const cost = times.costOf(rows, beside);
        expect(cost).toBeGreaterThanOrEqual(1);
        expect(cost).toBeLessThan(Number.POSITIVE_INFINITY);
      }),
    );
  });
});
