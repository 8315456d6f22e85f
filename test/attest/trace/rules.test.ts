import { beforeAll, describe, expect, it } from 'vitest';
import { type Entry, readEntries } from '../../../agents/demo/forge.ts';
import { toHex } from '../../../attest/core/bytes.ts';
import { computeKey, MAX_OPEN_STARTS, OrderRules } from '../../../attest/trace/rules.ts';
import { RunState } from '../../../attest/trace/state.ts';
import { patchEntry } from '../../support/forging.ts';
import { toyRun } from '../../support/toy-run.ts';

let entries: readonly Entry[];
let run: Uint8Array;

beforeAll(async () => {
  const toy = await toyRun();
  entries = await readEntries(toy.bytes);
  run = toy.result.checkpoint.run;
});

const input = ({ record, at, of, index }: Entry) => (of === index ? { record, at } : { record, at, of });
const entry = (index: number) => entries[index] as Entry;

describe('OrderRules', () => {
  const check = (some: readonly Entry[]) => {
    const state = new RunState(run);
    const rules = new OrderRules();
    some.forEach((one, i) => {
      const of = one.of === one.index ? BigInt(i) : one.of;
      rules.check({ record: one.record, at: one.at, of }, state);
      rules.countClass(state.apply(input(one)).class);
      if (one.checkpoint) rules.countCheckpoint();
      rules.checkLimits(state);
    });
    return rules;
  };
  const at = (index: number, change: (one: Entry) => Entry) =>
    entries.slice(0, index + 1).map((one, i) => (i === index ? change(one) : one));

  it('take the toy run', () => {
    const rules = check(entries);
    expect(rules.closed).toBe(true);
    expect(rules.coverage).toEqual({ recomputable: 39n, attested: 0n, opaque: 2n });
  });

  it.each<[string, () => readonly Entry[], string, string]>([
    ['R1: a run without run.open', () => entries.slice(1, 2), 'head.kind', 'R1'],
    ['R1: a second run.open', () => [...entries.slice(0, 2), entry(0)], 'head.kind', 'R1'],
    ['R1: a record after run.close', () => [...entries, entry(2)], 'head.index', 'R1'],
    ['R2: time backwards', () => at(5, (one) => ({ ...one, at: one.at - 9n })), 'head.at', 'R2'],
    ['R3: an end of nothing', () => at(4, (one) => ({ ...one, of: 2n })), 'head.of', 'R3'],
    [
      'R4: a start without its decision',
      () => [...entries.slice(0, 2), patchEntry(entry(3), 'key', toHex(computeKey(run, 2n)))],
      'head.kind',
      'R4',
    ],
    ['R4: a start of another call', () => at(3, (one) => patchEntry(one, 'call', 7)), 'body.call', 'R4'],
    ['R4: a start for another', () => at(3, (one) => patchEntry(one, 'by', '0')), 'body.by', 'R4'],
    ['R4: a start of something else', () => at(3, (one) => patchEntry(one, 'capability', 'kv.get')), 'body', 'R4'],
    ['R5: a decision without its start', () => [...entries.slice(0, 3), entry(2)], 'head.kind', 'R5'],
    ['R6: no agent record after run.open', () => [entry(0), entry(2)], 'head.kind', 'R6'],
    ['R6: an agent record too many', () => [...entries.slice(0, 2), entry(5)], 'head.kind', 'R6'],
    ['R7: a call that was not made', () => at(2, (one) => patchEntry(one, 'call', 9)), 'body.call', 'R7'],
    ['R7: a call that was decided already', () => at(22, (one) => patchEntry(one, 'call', 4)), 'body.call', 'R7'],
    ['R7: ids out of order', () => at(5, (one) => patchEntry(one, 'calls.0.id', 3)), 'body.calls.0.id', 'R7'],
    ['R7: a tool that is not open', () => at(2, (one) => patchEntry(one, 'by', '0')), 'body.by', 'R7'],
    ['R8: a wrong count', () => at(40, (one) => patchEntry(one, 'records', '40')), 'body.records', 'R8'],
    [
      'R8: a wrong coverage',
      () => at(40, (one) => patchEntry(one, 'coverage.opaque', '1')),
      'body.coverage.opaque',
      'R8',
    ],
    ['R8: checkpoints', () => at(40, (one) => patchEntry(one, 'checkpoints', '0')), 'body.checkpoints', 'R8'],
    ['R8: done without output', () => at(40, (one) => patchEntry(one, 'output', null)), 'body.output', 'R8'],
    ['R10: another key', () => at(3, (one) => patchEntry(one, 'key', `0x${'00'.repeat(32)}`)), 'body.key', 'R10'],
    [
      'R13: an amount of a call that moves nothing',
      () => at(3, (one) => patchEntry(one, 'amount', '1')),
      'body.amount',
      'R13',
    ],
    [
      'R14: a transaction of no wallet',
      () => at(4, (one) => patchEntry(one, 'evidence', 'transaction')),
      'body.evidence',
      'R14',
    ],
    [
      'R14: a decision of nobody',
      () => at(4, (one) => patchEntry(one, 'evidence', 'approval')),
      'body.evidence',
      'R14',
    ],
    ['R12: too many bytes', () => at(3, (one) => patchEntry(one, 'bytes', '67108865')), 'body.bytes', 'R12'],
    ['a store of another run', () => at(0, (one) => patchEntry(one, 'kv.root', `0x${'01'.repeat(32)}`)), 'body.kv', ''],
    ['no fuel', () => at(0, (one) => patchEntry(one, 'limits.fuel', '0')), 'body.limits.fuel', ''],
  ])('refuse %s', (_, some, field, rule) => {
    expect(() => check(some())).toThrow(
      expect.objectContaining({
        code: 'ORDER_VIOLATION',
        at: { field },
        message: expect.stringContaining(rule === '' ? '' : `(${rule})`),
      }),
    );
  });

  it('hold totals to their limits, but not run.close (R9)', () => {
    const bytes = entries.slice(0, 40).reduce((sum, { record }) => {
      return sum + ('bytes' in record.body ? BigInt(record.body.bytes) : 0n);
    }, 0n);
    const limited = (most: bigint) => [patchEntry(entry(0), 'limits.bytes', most.toString()), ...entries.slice(1)];
    expect(check(limited(bytes)).closed).toBe(true);
    expect(() => check(limited(bytes - 1n))).toThrow(
      expect.objectContaining({ code: 'LIMIT_EXCEEDED', at: { field: 'state.counters.bytes' } }),
    );
  });

  describe('of a wallet', () => {
    // The first call of the toy run, as if it were a send.
    const sending = (amount: string, exposure: string, end: { evidence: string; error?: string }) => {
      const [open, agent, policy, start, ended] = entries as [Entry, Entry, Entry, Entry, Entry];
      const failed =
        end.error === undefined ? ended : patchEntry(patchEntry(ended, 'error', end.error), 'response', null);
      return [
        patchEntry(open, 'exposure', exposure),
        patchEntry(agent, 'calls.0.method', 'wallet.send'),
        patchEntry(policy, 'request.capability', 'wallet.send'),
        patchEntry(patchEntry(start, 'capability', 'wallet.send'), 'amount', amount),
        patchEntry(failed, 'evidence', end.evidence),
      ];
    };

    it('take a send within the exposure of the run, with its evidence', () => {
      expect(check(sending('5', '5', { evidence: 'transaction' })).coverage).toMatchObject({ attested: 1n });
      expect(check(sending('5', '5', { evidence: 'none', error: 'TIMEOUT' })).coverage).toMatchObject({ opaque: 1n });
    });

    it.each<[string, () => readonly Entry[], string, string]>([
      ['more than the exposure', () => sending('5', '4', { evidence: 'transaction' }), 'body.amount', 'R13'],
      ['a send without its evidence', () => sending('5', '5', { evidence: 'none' }), 'body.evidence', 'R14'],
      [
        'evidence of a failure',
        () => sending('5', '5', { evidence: 'transaction', error: 'TIMEOUT' }),
        'body.evidence',
        'R14',
      ],
    ])('refuse %s', (_, some, field, rule) => {
      expect(() => check(some())).toThrow(
        expect.objectContaining({
          code: 'ORDER_VIOLATION',
          at: { field },
          message: expect.stringContaining(`(${rule})`),
        }),
      );
    });
  });

  it('fix the key of a start and the number of open ones', () => {
    expect(toHex(computeKey(run, 3n))).toBe((entry(3).record.body as { key: string }).key);
    expect(computeKey(run, 3n)).not.toEqual(computeKey(run, 4n));
    expect(MAX_OPEN_STARTS).toBe(256);
  });
});
