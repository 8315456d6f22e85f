import { beforeAll, describe, expect, it } from 'vitest';
import { type BundleCheck, BundleChecker } from '../../../attest/inspector/bundle-check.ts';
import { type Claim, claimsOf, isSimulatedChain, mismatchOf } from '../../../attest/inspector/claims.ts';
import type { RunOpenBody } from '../../../attest/trace/bodies.ts';
import { trustSigner } from '../../../attest/verify/trust.ts';
import type { VerifyReport } from '../../../attest/verify/verdict.ts';
import { verifyBundle } from '../../../attest/verify/verifier.ts';
import { OPERATOR, toyRun } from '../../support/toy-run.ts';

const now = () => performance.now();
let check: BundleCheck;
let report: VerifyReport;

beforeAll(async () => {
  const { bytes, executor } = await toyRun();
  const file = {
    async *stream(from: number) {
      yield bytes.subarray(from);
    },
    range: async (from: number, to: number) => bytes.subarray(from, to),
  };
  check = await new BundleChecker(file, now).check(() => {});
  report = await verifyBundle({ now, executor, trust: trustSigner(OPERATOR) }, [bytes]);
});

const row = (id: Claim['id'], changed: Partial<BundleCheck> = {}, told?: Partial<VerifyReport>) =>
  claimsOf({ ...check, ...changed }, told && { report: { ...report, ...told }, source: 'file' }).find(
    (claim) => claim.id === id,
  ) as Claim;

const opened = (changed: Partial<RunOpenBody>): Partial<BundleCheck> => ({
  open: { ...(check.open as RunOpenBody), ...changed },
});

it('are the same rows in the same order, whatever happened', () => {
  const ids = ['signed', 'ran', 'checked', 'executed', 'recorded', 'ended', 'seed', 'bond'];
  const nothing = { open: null, close: null, root: null, run: null, sound: 0, closed: false, truncated: true };
  for (const changed of [{}, nothing]) {
    for (const sourced of [undefined, { report, source: 'here' } as const]) {
      const claims = claimsOf({ ...check, ...changed }, sourced);
      expect(claims.map(({ id }) => id)).toEqual(ids);
      for (const { word, text, title } of claims)
        expect([word, text, title].every((part) => part.length > 2)).toBe(true);
    }
  }
});

describe('executed again', () => {
  it('is green only for a MATCH about this very history', () => {
    expect(report.verdict).toBe('MATCH');
    expect(row('executed').level).toBe('part');
    expect(row('executed', {}, {})).toMatchObject({ level: 'good', word: 'equal' });
    for (const other of [{ run: `0x${'0'.repeat(64)}` }, { size: 1 }, { root: `0x${'0'.repeat(64)}` }, { run: null }]) {
      expect(mismatchOf(check, { ...report, ...other })).toBeDefined();
      expect(row('executed', {}, other)).toMatchObject({ level: 'part', word: 'other report' });
      expect(row('signed', {}, other).level).toBe('part');
      expect(row('bond', opened({ chain: '5' }), { ...other, opened: true, bonded: '7' }).word).toBe(
        'not checked here',
      );
    }
  });

  it('is red for a false step and for no evidence, amber for what was not decided', () => {
    const at = { step: 3, field: 'body.result', code: 'STEP_DIVERGED' };
    expect(row('executed', {}, { verdict: 'DIVERGED', ...at })).toMatchObject({ level: 'bad', step: 3 });
    expect(row('executed', {}, { verdict: 'INVALID', ...at, run: null })).toMatchObject({ level: 'bad', step: 3 });
    const open = row('executed', {}, { verdict: 'CANNOT_RECOMPUTE', code: 'MODEL_NOT_AT_HAND' });
    expect(open).toMatchObject({ level: 'part' });
    expect(open.text).toContain('MODEL_NOT_AT_HAND');
  });
});

describe('who signed', () => {
  it('is green only where a verifier was told to trust the operator', () => {
    expect(row('signed')).toMatchObject({ level: 'part', facts: [['operator', OPERATOR]] });
    expect(row('signed', {}, {}).level).toBe('good');
    expect(row('signed', {}, { verdict: 'CANNOT_RECOMPUTE', code: 'SIGNER_UNKNOWN' }).level).toBe('part');
    expect(row('signed', {}, { verdict: 'INVALID', code: 'SIGNER_MISMATCH' }).level).toBe('bad');
    expect(row('signed', { root: null, size: 0 })).toMatchObject({ level: 'part', word: 'nobody' });
  });

  it('is red for a signature that is not what it says', () => {
    for (const code of ['SIGNATURE_MISMATCH', 'CHECKPOINT_MISMATCH']) {
      expect(row('signed', { fault: { step: 4, code, message: 'other key' } })).toMatchObject({
        level: 'bad',
        step: 4,
      });
    }
  });
});

describe('bond and window', () => {
  it('is never green unless a chain was asked', () => {
    expect(row('bond')).toMatchObject({ level: 'part', word: 'none' });
    expect(row('bond', opened({ chain: '5' }))).toMatchObject({ level: 'part', word: 'not checked here' });
    expect(row('bond', opened({ chain: '5' }), { opened: null, bonded: null }).word).toBe('not checked here');
    expect(row('bond', opened({ chain: '5' }), { opened: true, bonded: '1000' })).toMatchObject({
      level: 'good',
      word: 'bonded',
    });
    expect(row('bond', opened({ chain: '5' }), { opened: null, bonded: '1000' }).level).toBe('part');
    expect(row('bond', opened({ chain: '5' }), { opened: false, bonded: '1000' }).level).toBe('bad');
    expect(row('bond', opened({ chain: '5' }), { opened: true, bonded: '0' }).level).toBe('bad');
  });

  it('says SIMULATED of development chains, and is not green there', () => {
    for (const chain of ['31337', '1337']) {
      expect(isSimulatedChain({ ...check, ...opened({ chain }) })).toBe(true);
      const claim = row('bond', opened({ chain }), { opened: true, bonded: '1000' });
      expect(claim).toMatchObject({ level: 'part', word: 'SIMULATED' });
      expect(row('bond', opened({ chain })).text).toContain('SIMULATED');
    }
    expect(isSimulatedChain(check)).toBe(false);
  });
});

describe('the other rows', () => {
  it('never hide a run that did not end well, or effects that were lost', () => {
    for (const status of ['failed', 'out-of-budget', 'cancelled', 'abandoned'] as const) {
      const close = { ...(check.close as NonNullable<BundleCheck['close']>), status };
      expect(row('ended', { close })).toMatchObject({ level: 'part', word: status });
    }
    expect(row('ended', { lost: 2 })).toMatchObject({
      level: 'part',
      text: expect.stringContaining('2 started effects'),
    });
    expect(row('ended', { close: null }).word).toBe('not closed');
    const fault = { step: 3, code: 'HEAD_MISMATCH', message: 'head.prev' };
    expect(row('ended', { close: null, fault })).toMatchObject({ level: 'part', word: 'not known' });
  });

  it('say what was not checked', () => {
    expect(row('checked').level).toBe('good');
    for (const gap of [
      { truncated: true },
      { closed: false },
      { withheld: 1 },
      { size: 3 },
      { receipts: { checked: 0, unchecked: 1 } },
    ]) {
      expect(row('checked', gap).level).toBe('part');
    }
    expect(row('checked', { beyondLimit: { step: 2, code: 'LIMIT_EXCEEDED', message: 'too much' } })).toMatchObject({
      level: 'bad',
      step: 2,
    });
    expect(row('seed', opened({ seedFrom: 'operator' })).level).toBe('part');
    expect(row('recorded', { capabilities: [], classes: { recomputable: 3, attested: 0, opaque: 0 } }).level).toBe(
      'good',
    );
    expect(row('ran', { root: null }).level).toBe('part');
  });
});
