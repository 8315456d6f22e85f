import { describe, expect, it } from 'vitest';
import { trustSigner } from '../../attest/verify/trust.ts';
import { verifyBundle } from '../../attest/verify/verifier.ts';
import { OPERATOR, toyRun } from '../support/toy-run.ts';

const now = () => performance.now();

describe('a toy run', () => {
  it('is recorded and verifies as MATCH', async () => {
    const { bytes, result, executor } = await toyRun();
    expect(result.error).toBeNull();
    expect(result.status).toBe('done');
    expect(result.output).toMatchObject({
      a: { finishReason: 'stop', text: 'it has 17 letters' },
      counted: { code: 'CAPABILITY_DENIED', lines: 2 },
      denied: 'CAPABILITY_DENIED',
      greeting: 'hello',
      missing: null,
    });
    const report = await verifyBundle({ executor, trust: trustSigner(OPERATOR), now }, [bytes]);
    expect(report.steps.filter((step) => step.verdict !== 'MATCH' && step.verdict !== undefined)).toEqual([]);
    expect(report).toMatchObject({ verdict: 'MATCH', seedFrom: 'caller', signer: OPERATOR });
    expect(report.size).toBe(Number(result.records));
  });
});
