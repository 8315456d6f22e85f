import { beforeAll, describe, expect, it } from 'vitest';
import { type BundleCheck, BundleChecker } from '../../../attest/inspector/bundle-check.ts';
import { type Claim, claimsOf, isSimulatedChain } from '../../../attest/inspector/claims.ts';
import { mismatchOf } from '../../../attest/inspector/fit.ts';
import { headlineOf } from '../../../attest/inspector/headline.ts';
import type { SourcedReport } from '../../../attest/inspector/report.ts';
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

const row = (
  id: Claim['id'],
  changed: Partial<BundleCheck> = {},
  told?: Partial<VerifyReport>,
  source: SourcedReport['source'] = 'here',
) =>
  claimsOf({ ...check, ...changed }, told && { report: { ...report, ...told }, source }).find(
    (claim) => claim.id === id,
  ) as Claim;

/** A report of a record that was executed again and differs. */
const falseAt = (step: number): Partial<VerifyReport> => ({
  verdict: 'DIVERGED',
  step,
  field: 'body.result',
  code: 'STEP_DIVERGED',
  checked: report.steps.filter(({ index, verdict }) => index < step && verdict === 'MATCH').length,
  steps: report.steps.map((one) => {
    const { verdict, ...rest } = one;
    if (one.index < step || verdict === undefined) return one;
    return { ...rest, verdict: one.index === step ? 'DIVERGED' : 'CANNOT_RECOMPUTE' };
  }),
});

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
    expect(row('executed', {}, {}, 'file')).toMatchObject({ level: 'part', word: 'reported equal' });
    for (const other of [{ run: `0x${'0'.repeat(64)}` }, { size: 1 }, { root: `0x${'0'.repeat(64)}` }, { run: null }]) {
      expect(mismatchOf(check, { ...report, ...other })).toBeDefined();
      expect(row('executed', {}, other)).toMatchObject({ level: 'part', word: 'other report' });
      expect(row('executed', {}, { ...other, verdict: 'INVALID', step: 3 })).toMatchObject({ level: 'part' });
      expect(row('signed', {}, other).level).toBe('part');
      expect(row('bond', opened({ chain: '5' }), { ...other, opened: true, bonded: '7' }).word).toBe(
        'not checked here',
      );
    }
  });

  it('is red for a false step and for no evidence, amber for what was not decided', () => {
    expect(row('executed', {}, falseAt(3))).toMatchObject({ level: 'bad', step: 3 });
    expect(row('executed', {}, falseAt(3), 'file')).toMatchObject({ level: 'bad', step: 3 });
    const at = { step: 3, code: 'MALFORMED_PAYLOAD', size: 0, root: null, signer: null };
    expect(row('executed', {}, { verdict: 'INVALID', ...at })).toMatchObject({ level: 'bad', step: 3 });
    const open = row('executed', {}, { verdict: 'CANNOT_RECOMPUTE', code: 'MODEL_NOT_AT_HAND' });
    expect(open).toMatchObject({ level: 'part' });
    expect(open.text).toContain('the model is not on that computer (MODEL_NOT_AT_HAND)');
  });

  const fault = { step: 39, code: 'UNEXPECTED_LINE', message: 'a line after the closed checkpoint' };
  it.each<[string, Partial<BundleCheck>, () => Partial<VerifyReport>]>([
    ['a MATCH, where a fault was found here behind the last signature', { fault }, () => ({})],
    ['a MATCH of a run that is not closed', { closed: false }, () => ({})],
    ['a MATCH of a run with withheld payloads', { withheld: 1 }, () => ({})],
    ['a MATCH that knows of no limit', { beyondLimit: { step: 1, code: 'X', message: 'x' } }, () => ({})],
    ['a MATCH that knows of no false record', { falsehood: { step: 1, code: 'X', message: 'x' } }, () => ({})],
    ['a MATCH that did not execute all', {}, () => ({ checked: 1 })],
    ['a MATCH that executed more than there is', {}, () => ({ checked: 40, classes: { ...report.classes } })],
    ['another signer', {}, () => ({ signer: `0x${'1'.repeat(40)}` })],
    ['another end', {}, () => ({ status: 'failed' })],
    ['fewer records', {}, () => ({ steps: report.steps.slice(1) })],
    ['other classes', {}, () => ({ classes: { recomputable: 41, attested: 0, opaque: 0 } })],
    ['lost effects', {}, () => ({ lost: 1 })],
    ['a DIVERGED without its record', {}, () => ({ verdict: 'DIVERGED', step: 3 })],
    ['a DIVERGED of no record', {}, () => ({ verdict: 'DIVERGED' })],
    ['undecided, with a false record', {}, () => ({ ...falseAt(3), verdict: 'CANNOT_RECOMPUTE' })],
    [
      'INVALID behind the fault that was found here',
      { fault: { ...fault, step: 2 } },
      () => ({ verdict: 'INVALID', step: 3 }),
    ],
  ])('does not use a report of %s', (_name, changed, told) => {
    expect(mismatchOf(check, report)).toBeUndefined();
    for (const source of ['here', 'file'] as const) {
      expect(row('executed', changed, told(), source)).toMatchObject({ level: 'part', word: 'other report' });
      expect(row('signed', changed, told(), source).level).toBe('part');
    }
  });
});

describe('the headline', () => {
  const line = (changed: Partial<BundleCheck> = {}, told?: Partial<VerifyReport>, source: 'here' | 'file' = 'here') =>
    headlineOf({ ...check, ...changed }, told && { report: { ...report, ...told }, source });

  it('is green only when all was checked and executed on this computer', () => {
    expect(line({}, {})).toMatchObject({ level: 'good', word: 'Holds' });
    expect(line()).toMatchObject({ level: 'part', word: 'Unchanged' });
    expect(line({}, {}, 'file')).toMatchObject({ level: 'part', word: 'Unchanged' });
    expect(line({ root: null, size: 0, closed: false })).toMatchObject({ level: 'part', word: 'Unsigned' });
    expect(line({ closed: false }, {})).toMatchObject({ level: 'part', word: 'Incomplete' });
    expect(line({}, { verdict: 'CANNOT_RECOMPUTE', code: 'SIGNER_UNKNOWN' }).level).toBe('part');
  });

  it('is red for whatever is wrong, and names the record', () => {
    const wrong = { step: 4, code: 'X', message: 'x' };
    expect(line({ fault: wrong }, {})).toMatchObject({ level: 'bad', word: 'No evidence', step: 4 });
    expect(line({ beyondLimit: wrong })).toMatchObject({ level: 'bad', step: 4 });
    expect(line({ falsehood: wrong })).toMatchObject({ level: 'bad', word: 'A false record', step: 4 });
    expect(line({}, falseAt(5), 'file')).toMatchObject({ level: 'bad', word: 'A false record', step: 5 });
    expect(line({}, { verdict: 'INVALID', code: 'SIGNER_MISMATCH', step: 0 })).toMatchObject({ level: 'bad', step: 0 });
  });
});

describe('who signed', () => {
  it('is green only where a verifier was told to trust the operator', () => {
    expect(row('signed')).toMatchObject({ level: 'part', facts: [['operator', OPERATOR]] });
    expect(row('signed', {}, {}).level).toBe('good');
    expect(row('signed', {}, {}, 'file')).toMatchObject({ level: 'part', word: 'reported' });
    expect(row('signed', {}, { verdict: 'CANNOT_RECOMPUTE', code: 'MODEL_NOT_AT_HAND' }).level).toBe('good');
    expect(row('signed', {}, { verdict: 'CANNOT_RECOMPUTE', code: 'NOT_CLOSED' }).level).toBe('part');
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
  it('is never green: no chain is asked here', () => {
    expect(row('bond')).toMatchObject({ level: 'part', word: 'none' });
    expect(row('bond', opened({ chain: '5' }))).toMatchObject({ level: 'part', word: 'not checked here' });
    expect(row('bond', opened({ chain: '5' }), { opened: null, bonded: null }).word).toBe('not checked here');
    expect(row('bond', opened({ chain: '5' }), { opened: true, bonded: '1000' })).toMatchObject({
      level: 'part',
      word: 'reported',
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
    expect(row('ended', { closed: false })).toMatchObject({ level: 'part', word: 'unsigned' });
    expect(row('ended', { fault: { step: 3, code: 'X', message: 'x' } })).toMatchObject({ level: 'part' });
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
    expect(row('checked', { answers: { evidence: 0, computed: 0, unchecked: 1 } }).level).toBe('part');
    expect(row('checked', { falsehood: { step: 2, code: 'STEP_DIVERGED', message: 'no' } })).toMatchObject({
      level: 'bad',
      step: 2,
    });
    expect(row('seed').level).toBe('good');
    expect(row('seed', opened({ seedFrom: 'operator' })).level).toBe('part');
    const own = { ...(check.open as RunOpenBody).request, caller: OPERATOR };
    expect(row('seed', opened({ request: own }))).toMatchObject({ level: 'part', word: 'the operator' });
    expect(row('ran').level).toBe('good');
    expect(row('ran', { hiddenParts: 1 }).level).toBe('part');
    expect(row('recorded', { capabilities: [], closed: false }).level).toBe('part');
    expect(row('recorded', { capabilities: [], lost: 1 }).level).toBe('part');
    expect(row('recorded', { capabilities: [], classes: { recomputable: 3, attested: 0, opaque: 0 } }).level).toBe(
      'good',
    );
    expect(row('ran', { root: null }).level).toBe('part');
  });
});
