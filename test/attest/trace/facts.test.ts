import { describe, expect, it } from 'vitest';
import { toHex, utf8 } from '../../../attest/core/bytes.ts';
import { sha256, ZERO_DIGEST } from '../../../attest/core/hash.ts';
import { computeFactsRoot, hashLimits, hostFacts, policyFacts } from '../../../attest/trace/facts.ts';
import { TOY_LIMITS } from '../../support/toy-run.ts';

const [a, b] = [sha256(utf8('a')), sha256(utf8('b'))];

describe('facts', () => {
  it('have the root that was fixed', () => {
    expect(toHex(computeFactsRoot('policy', [a, b]))).toBe(
      '0xba736c2cc647fedcf1d73380add606192f3b6e45f1dc8ec254d06d4ec00dc3aa',
    );
    expect(toHex(hashLimits(TOY_LIMITS))).toBe('0xd6c19d082326c1aaf69e69aeb010285a17ac775c48ad78cbac65c0c8250ea8f7');
  });

  it('are zero without values, and bound to kind, order and number', () => {
    expect(computeFactsRoot('tool.end', [])).toEqual(ZERO_DIGEST);
    const roots = [
      computeFactsRoot('policy', [a, b]),
      computeFactsRoot('policy', [b, a]),
      computeFactsRoot('policy', [a]),
      computeFactsRoot('policy', [a, b, b]),
      computeFactsRoot('host.end', [a, b]),
    ].map(toHex);
    expect(new Set(roots).size).toBe(roots.length);
  });

  it('of a host call name the capability; of a decision, form and decision', () => {
    expect(hostFacts('clock.now', '0')).toEqual([sha256(utf8('clock.now')), ZERO_DIGEST]);
    expect(hostFacts('wallet.send', '258')[1]).toEqual(Uint8Array.from([...new Array(30).fill(0), 1, 2]));
    const body = { by: null, call: 0, request: { capability: 'x', target: '' }, rule: '' } as const;
    expect(policyFacts({ ...body, decision: 'deny', form: 'limit' })).toEqual([
      sha256(utf8('limit')),
      sha256(utf8('deny')),
    ]);
  });
});
