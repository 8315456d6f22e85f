import { describe, expect, it } from 'vitest';
import type { DecoderConfig } from '../../../inference/decoder-config.ts';
import { MAX_CONTEXT } from '../../../inference/exact/exact-model.ts';
import { exactShape } from '../../../inference/exact/exact-shape.ts';
import { randomSource } from '../../support/random-source.ts';

const CONFIG = randomSource().config;

describe('exactShape', () => {
  it('takes what decides the arithmetic', () => {
    expect(exactShape(CONFIG)).toEqual({
      layers: 2,
      embedding: 32,
      feedForward: 80,
      heads: 4,
      kvHeads: 2,
      headSize: 8,
      vocabulary: 100,
      context: 64,
      epsilon: Math.fround(1e-5),
      biases: false,
      headNorms: false,
      separateOutput: true,
    });
    const other = exactShape({ ...CONFIG, attentionBias: true, headNorm: true, tiedOutput: true });
    expect(other).toMatchObject({ biases: true, headNorms: true, separateOutput: false });
  });

  it('lowers a longer context', () => {
    expect(exactShape({ ...CONFIG, contextLength: MAX_CONTEXT + 1 }).context).toBe(MAX_CONTEXT);
    expect(exactShape({ ...CONFIG, contextLength: MAX_CONTEXT }).context).toBe(MAX_CONTEXT);
  });

  const cases: readonly (readonly [string, Partial<DecoderConfig>, string, string])[] = [
    ['an odd head', { headSize: 7 }, 'UNSUPPORTED_FEATURE', 'headSize'],
    ['a head above 256', { headSize: 258 }, 'UNSUPPORTED_FEATURE', 'headSize'],
    ['no layers', { layers: 0 }, 'MALFORMED_METADATA', 'layers'],
    ['too many layers', { layers: 4097 }, 'MALFORMED_METADATA', 'layers'],
    ['half an embedding', { embedding: 0.5 }, 'MALFORMED_METADATA', 'embedding'],
    ['a huge vocabulary', { vocabulary: 2 ** 27 + 1 }, 'MALFORMED_METADATA', 'vocabulary'],
    ['a context that is no number', { contextLength: Number.NaN }, 'MALFORMED_METADATA', 'contextLength'],
    ['heads that share keys unevenly', { heads: 4, kvHeads: 3 }, 'MALFORMED_METADATA', 'kvHeads'],
    ['more heads than fit', { heads: 2 ** 22, kvHeads: 1, headSize: 256 }, 'MALFORMED_METADATA', 'heads'],
    ['epsilon zero', { normEpsilon: 0 }, 'MALFORMED_METADATA', 'normEpsilon'],
    ['epsilon zero in binary32', { normEpsilon: 1e-50 }, 'MALFORMED_METADATA', 'normEpsilon'],
    ['a negative epsilon', { normEpsilon: -1e-5 }, 'MALFORMED_METADATA', 'normEpsilon'],
    ['an infinite epsilon', { normEpsilon: 1e39 }, 'MALFORMED_METADATA', 'normEpsilon'],
    ['an epsilon that is no number', { normEpsilon: Number.NaN }, 'MALFORMED_METADATA', 'normEpsilon'],
  ];
  it.each(cases)('refuses %s', (_, change, code, field) => {
    expect(() => exactShape({ ...CONFIG, ...change })).toThrow(expect.objectContaining({ code, at: { field } }));
  });
});
