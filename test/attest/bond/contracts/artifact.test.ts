import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { ARTIFACT_URL, compileBond } from '../../../support/compile-bond.ts';

describe('committed contracts', () => {
  const { text, deployedBytes } = compileBond();

  it('are what the committed sources compile to', () => {
    expect(readFileSync(ARTIFACT_URL, 'utf8') === text, 'run: npx tsx test/support/compile-bond.ts').toBe(true);
  });

  it('fit the limit of EIP-170', () => {
    expect(deployedBytes['Bond']).toBeLessThan(24_576);
  });

  it('name no path of a machine', () => {
    expect(text).not.toMatch(/\/home\/|\/tmp\/|\/work\/|\/Users\//);
  });
});
