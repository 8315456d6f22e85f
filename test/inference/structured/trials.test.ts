import { describe, expect, it } from 'vitest';
import { seededRandom } from '../../support/random.ts';
import { SCHEMAS_BY_KEYWORD } from '../../support/random-schemas.ts';
import { tryKeyword } from '../../support/schema-trials.ts';
import { byteMasks } from '../../support/structured-generation.ts';

describe('texts by chance through masks', () => {
  const bytes = { masks: byteMasks(), tokens: (id: number) => (id < 256 ? Uint8Array.of(id) : null) };

  // The campaign `schema` tries as many as it is told to.
  it.each(Object.keys(SCHEMAS_BY_KEYWORD))('satisfy schemas with %s', (keyword) => {
    const { cases, failures } = tryKeyword(keyword, 12, seededRandom(keyword.length), [bytes]);
    expect(failures).toEqual([]);
    expect(cases).toBe(12);
  });
});
