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

  it('are finite and at least 1, whatever was measured', () => {
    const batch = fc.tuple(fc.integer({ min: 1, max: 64 }), fc.boolean(), fc.double({ min: 0, max: 1e6, noNaN: true }));
    fc.assert(
      fc.property(fc.array(batch), fc.integer({ min: 1, max: 200 }), (batches, rows) => {
        const times = new BatchTimes();
        for (const [count, all, ms] of batches) times.record(count, all ? count : 1, ms);
        const cost = times.costOf(rows);
        expect(cost).toBeGreaterThanOrEqual(1);
        expect(cost).toBeLessThan(Number.POSITIVE_INFINITY);
      }),
    );
  });
});
