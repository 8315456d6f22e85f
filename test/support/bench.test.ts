import { describe, expect, it } from 'vitest';
import { median } from './bench.ts';
import { twoGreatest } from './bench-engine.ts';

describe('median', () => {
  it('is the middle value, or the mean of two', () => {
    expect(median([9, 1, 5])).toBe(5);
    expect(median([4, 1, 10, 2])).toBe(3);
    expect(median([])).toBeNaN();
  });
});

describe('twoGreatest', () => {
  it('orders by logit, then by id', () => {
    expect(twoGreatest(Float32Array.of(1, 3, 2, 3))).toEqual([
      { id: 1, logit: 3 },
      { id: 3, logit: 3 },
    ]);
    expect(twoGreatest(Float32Array.of(-5, -7)).map(({ id }) => id)).toEqual([0, 1]);
  });
});
