import { expect, it } from 'vitest';
import { run } from '../campaign/check.ts';

it('a small campaign of false claims finds each at its place', async () => {
  const { cases, failures, summary } = await run({ seed: 7, count: 48 });
  expect(failures).toEqual([]);
  expect(cases).toBe(48);
  expect(summary).toMatch(/^48\/48 true ones match; one changed token found at its position 48\/48; /);
  // A change that changes nothing is found nowhere: some of each kind must change a token.
  expect(summary).toMatch(/prompt token [1-9]\d*\/\d+ .*, seed [1-9]\d*\/\d+ .*, temperature [1-9]\d*\/\d+ /);
});
