import { expect, it } from 'vitest';
import { run } from '../../campaign/inspector.ts';

it('says no more of a changed bundle than the verifier does: campaign in its small form', async () => {
  const { cases, failures } = await run({ seed: 7, count: 72 });
  expect(failures).toEqual([]);
  expect(cases).toBeGreaterThan(60);
});
