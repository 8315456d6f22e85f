import { expect, it } from 'vitest';
import { run } from '../../campaign/tamper.ts';

it('finds every one of 120 seeded cases of tampering', async () => {
  const { cases, failures } = await run({ seed: 7, count: 120 });
  expect(cases).toBe(120);
  expect(failures).toEqual([]);
});
