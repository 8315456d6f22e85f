import { describe, expect, it } from 'vitest';
import { requireBudget } from '../../runtime/budget.ts';

const LIMITS = { bytes: '10', fuel: '20', steps: '30', tokens: '40', wallMs: '50' };
const USED = { bytes: 4n, draws: 0n, fuel: 5n, steps: 6n, tokens: 7n };

describe('requireBudget', () => {
  it.each([
    ['bytes', 6n],
    ['fuel', 15n],
    ['tokens', 33n],
  ] as const)('lets %s reach their limit and not pass it', (counter, left) => {
    expect(() => requireBudget(USED, LIMITS, { [counter]: left })).not.toThrow();
    expect(() => requireBudget(USED, LIMITS, { [counter]: left + 1n })).toThrow(expect.objectContaining({ counter }));
  });
});
