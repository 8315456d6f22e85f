import { beforeAll, describe, expect, it } from 'vitest';
import { type Entry, readEntries, rebuildTrace, replacePayload } from '../../../agents/demo/forge.ts';
import { fromHex } from '../../../attest/core/bytes.ts';
import type { Json } from '../../../attest/encoding/canonical-json.ts';
import { BundleChecker } from '../../../attest/inspector/bundle-check.ts';
import { claimsOf } from '../../../attest/inspector/claims.ts';
import type { Row } from '../../../attest/inspector/row.ts';
import { addressOf } from '../../../attest/sign/secp256k1.ts';
import { type Approval, signApproval } from '../../../attest/trace/approval.ts';
import { readJsonPayload } from '../../../attest/trace/payload.ts';
import { verifyBundle } from '../../../attest/verify/verifier.ts';
import { RunControl } from '../../../runtime/control.ts';
import { OFF_CHAIN } from '../../../runtime/plan.ts';
import { openRunWallet } from '../../../runtime/wallet/run-wallet.ts';
import { openWallets } from '../../../runtime/wallet/wallet.ts';
import { editAt, patchEntry, steady, withhold } from '../../support/forging.ts';
import { fileOf } from '../../support/inspected.ts';
import { APPROVER_KEY } from '../../support/kill-agents.ts';
import { beginRun, planOfAgent, resumeRun, toyManaged, verifyRun } from '../../support/kill-cuts.ts';
import { CALLER_KEY, OPERATOR, OPERATOR_KEY, SIGNER_KEY, type ToyRun, toyRun } from '../../support/toy-run.ts';
import { toyVm } from '../../support/toy-vm.ts';
import { PAYMENT_FEE, paymentGrant, WALLET_SECRET } from '../../support/wallet-agents.ts';
import { MemoryChain } from '../../support/wallet-chain.ts';

const APPROVER = addressOf(APPROVER_KEY);
const PAYMENT = { chain: '31337', data: '0x', to: `0x${'0a'.repeat(20)}`, value: '5' };
const vm = toyVm({
  asks: async (ctx) => await ctx.call('human.approve', { summary: 'pay?', details: 7, timeoutMs: 0 }),
  pays: async (ctx) => ((await ctx.call('wallet.send', PAYMENT)) as { status: string }).status,
});
/** Every agent here makes one host call. */
const START = 3;
const END = 4;

type Whole = { readonly bytes: Uint8Array; readonly run: Uint8Array; readonly entries: readonly Entry[] };

async function decided(decision = { approved: false, note: 'too much' }) {
  const entry = toyManaged('asks', { grants: [{ capability: 'human.approve', approvers: [APPROVER] }] });
  const asked = await beginRun(vm, entry, null);
  const start = (await readEntries(asked.bytes))[START];
  if (start?.record.kind !== 'host.start') throw new Error('no approval');
  const run = fromHex(asked.result.run);
  const place = { run, index: BigInt(START), request: start.record.body.request };
  const signature = signApproval(decision, place, OFF_CHAIN, APPROVER_KEY);
  const control = new RunControl();
  const said = control.say(BigInt(START), {
    type: 'approval',
    approval: { ...decision, approver: APPROVER, signature },
  });
  const { bytes } = await resumeRun(vm, asked.bytes, { control });
  await said;
  return { bytes, run, place, entries: await readEntries(bytes) };
}

async function paid(): Promise<Whole> {
  const chain = new MemoryChain();
  const grant = paymentGrant('pays', {
    approvalAbove: null,
    perCall: `${PAYMENT_FEE + 1000n}`,
    perRun: `${PAYMENT_FEE + 1000n}`,
  });
  const entry = toyManaged('pays', { grants: [grant] });
  const { run } = planOfAgent(vm, entry, null);
  const connect = () => Promise.resolve(chain.node());
  const wallets = openWallets({ secret: WALLET_SECRET, connect, now: Date.now }, { pollMs: 5, unreachableMs: 30 });
  let held = new Uint8Array();
  const signed = {
    read: async () => held,
    append: async (more: Uint8Array) => {
      held = Uint8Array.from([...held, ...more]);
    },
  };
  const wallet = openRunWallet(wallets, { agent: 'pays', run, signed }, () => {});
  const { bytes } = await beginRun(vm, entry, null, { wallet });
  return { bytes, run, entries: await readEntries(bytes) };
}

let refused: Awaited<ReturnType<typeof decided>>;
let payment: Whole;
let toy: ToyRun;

beforeAll(async () => {
  [refused, payment, toy] = [await decided(), await paid(), await toyRun()];
});

async function inspect(bytes: Uint8Array) {
  const rows: Row[] = [];
  const check = await new BundleChecker(fileOf(bytes), () => 0).check((more) => rows.push(...more));
  const claims = new Map(claimsOf(check, undefined).map((claim) => [claim.id, claim]));
  return { check, rows, claims };
}

const keys = { operator: OPERATOR_KEY, receipts: SIGNER_KEY };
const forge = ({ run }: Pick<Whole, 'run'>, edited: readonly Entry[]) =>
  rebuildTrace(steady(edited), run, OFF_CHAIN, keys).bytes;

/** The bundle with another answer at the place of its host call, and all of the operator's signatures right again. */
function answered(whole: Whole, change: (response: { readonly [key: string]: Json }) => Json): Uint8Array {
  return forge(
    whole,
    editAt(whole.entries, END, (entry) => {
      const old = entry.payloads.get('body.response');
      if (old === undefined) throw new Error('no response');
      const response = change(readJsonPayload(old, 'body.response') as { readonly [key: string]: Json });
      return replacePayload(entry, 'body.response', response);
    }),
  );
}

/** What is false for the verifier is false here, at the same record and field, with the same values. */
async function isFalseForBoth(bytes: Uint8Array, field: string) {
  const { check, claims } = await inspect(bytes);
  const { verdict, step, claimed, recomputed } = await verifyRun(vm, bytes);
  expect({ verdict, step }).toEqual({ verdict: 'DIVERGED', step: END });
  expect(check.falsehood).toMatchObject({ step: END, field, claimed, recomputed });
  expect(claims.get('checked')).toMatchObject({ level: 'bad', step: END });
}

describe('the decision of a person', () => {
  it('is checked here, and said to be', async () => {
    const { check, rows, claims } = await inspect(refused.bytes);
    expect(check.falsehood).toBeUndefined();
    expect(check.answers).toEqual({ evidence: 1, computed: 0, unchecked: 0 });
    expect(rows[END]).toMatchObject({ class: 'attested', answer: 'approval' });
    expect(claims.get('checked')).toMatchObject({ level: 'good' });
    expect(claims.get('recorded')?.text).toContain(
      'human.approve 1 (1 signed by an approver of the policy, checked here)',
    );
    expect(check.summary?.approvals).toEqual({ asked: 1, step: START, approved: 0, refused: 1 });
  });

  it('that was turned around, renamed, or signed for another place is false', async () => {
    const { place } = refused;
    const yes = { approved: true, note: '' };
    const by = (key: Uint8Array, at = place, name = addressOf(key)): Approval => ({
      ...yes,
      approver: name,
      signature: signApproval(yes, at, OFF_CHAIN, key),
    });
    const lies: readonly (readonly [string, (old: { readonly [key: string]: Json }) => Json])[] = [
      ['body.response.approver', (old) => ({ ...old, approved: true })],
      ['body.response.approver', (old) => ({ ...old, note: 'fine' })],
      ['body.response.approver', () => by(OPERATOR_KEY)],
      ['body.response.approver', () => by(OPERATOR_KEY, place, APPROVER)],
      ['body.response.approver', () => by(CALLER_KEY)],
      ['body.response.approver', () => by(APPROVER_KEY, { ...place, index: 1n })],
      ['body.response.signature', (old) => ({ ...old, signature: null })],
      ['body.response.signature', (old) => ({ ...old, signature: `0x${'11'.repeat(64)}1b` })],
    ];
    for (const [field, change] of lies) await isFalseForBoth(answered(refused, change), field);
    const none = editAt(refused.entries, END, (entry) => patchEntry(entry, 'evidence', 'none'));
    await isFalseForBoth(forge(refused, none), 'body.evidence');
  });

  it('that is none at all is no evidence, as for the verifier', async () => {
    const bytes = answered(refused, () => ({ approved: 'yes' }));
    const { check, claims } = await inspect(bytes);
    const { verdict, step, code } = await verifyRun(vm, bytes);
    expect({ verdict, step }).toEqual({ verdict: 'INVALID', step: END });
    expect(check.falsehood).toMatchObject({ step: END, code });
    expect(claims.get('checked')?.level).toBe('bad');
  });

  it('that is withheld, or whose rules are, is not called checked', async () => {
    const rules = [...(refused.entries[0]?.payloads.keys() ?? [])].indexOf('body.policy.rules');
    for (const bytes of [withhold(refused.bytes, END), withhold(refused.bytes, 0, rules)]) {
      const { check, rows, claims } = await inspect(bytes);
      expect(check.falsehood).toBeUndefined();
      expect(check.answers).toEqual({ evidence: 0, computed: 0, unchecked: 1 });
      expect(rows[END]?.answer).toBe('unchecked');
      expect(claims.get('checked')?.level).toBe('part');
      expect(claims.get('recorded')?.text).toContain('0 of them checked here');
      expect(check.summary?.approvals).toEqual({ asked: 1, step: START, approved: 0, refused: 0 });
    }
  });
});

describe('the transaction of a wallet', () => {
  it("is checked here; what the chain made of it stays the host's word", async () => {
    const { check, rows, claims } = await inspect(payment.bytes);
    expect(check.falsehood).toBeUndefined();
    expect(check.answers).toEqual({ evidence: 1, computed: 0, unchecked: 0 });
    expect(rows[END]).toMatchObject({ class: 'attested', answer: 'transaction' });
    expect(claims.get('recorded')?.text).toContain('signed by the wallet of the policy, checked here; what the chain');
    const name = `${PAYMENT.to} on chain ${PAYMENT.chain}`;
    const names = [{ name, count: 1, failed: 0, lost: 0, step: START }];
    expect(check.summary?.payments).toEqual({ count: 1, others: 0, names, wei: PAYMENT.value, signed: 1 });
    // Status, block and gas used are only told.
    const told = await inspect(answered(payment, (old) => ({ ...old, status: '0', block: '99' })));
    expect(told.check.falsehood).toBeUndefined();
  });

  it('that is another, or by another key, is false', async () => {
    const raw = (old: { readonly [key: string]: Json }) => String(old['raw']);
    const flip = (text: string, at: number) => text.slice(0, at) + (text[at] === '1' ? '2' : '1') + text.slice(at + 1);
    await isFalseForBoth(
      answered(payment, (old) => ({ ...old, hash: `0x${'22'.repeat(32)}` })),
      'body.response.hash',
    );
    await isFalseForBoth(
      answered(payment, (old) => ({ ...old, nonce: '77' })),
      'body.response.nonce',
    );
    await isFalseForBoth(
      answered(payment, (old) => ({ ...old, raw: '0x02' })),
      'body.response.raw',
    );
    await isFalseForBoth(
      answered(payment, (old) => ({ ...old, gasUsed: '18446744073709551615' })),
      'body.response.gasUsed',
    );
    // Any digit of the transaction: it then has another hash, another signer, or no form.
    for (let at = 4; at < 200; at += 37) {
      const { check } = await inspect(answered(payment, (old) => ({ ...old, raw: flip(raw(old), at) })));
      expect(check.falsehood?.step).toBe(END);
    }
  });

  it('for another amount than its start says is false at its start', async () => {
    const other = editAt(payment.entries, START, (entry) => patchEntry(entry, 'amount', '1'));
    const { check } = await inspect(forge(payment, other));
    const report = await verifyRun(vm, forge(payment, other));
    expect(check.falsehood).toMatchObject({ step: START, field: 'body.amount', claimed: '1' });
    expect(report).toMatchObject({ step: START, recomputed: check.falsehood?.recomputed });
  });
});

describe("the run's own store and dice", () => {
  it('are computed again here: another answer is false', async () => {
    const entries = await readEntries(toy.bytes);
    const run = toy.result.checkpoint.run;
    for (const [capability, lie] of [
      ['random.bytes', '0x0011223344556677'],
      ['kv.get', 'other'],
      ['kv.put', 1],
    ] as const) {
      const start = entries.findIndex(
        ({ record }) => record.kind === 'host.start' && record.body.capability === capability,
      );
      const end = start + 1;
      const lied = editAt(entries, end, (entry) => replacePayload(entry, 'body.response', lie));
      const bytes = forge({ run }, lied);
      const { check, rows } = await inspect(bytes);
      const report = await verifyBundle({ now: () => 0, executor: toy.executor }, [bytes]);
      expect({ capability, step: report.step }).toEqual({ capability, step: end });
      expect(check.falsehood).toMatchObject({ step: end, claimed: report.claimed, recomputed: report.recomputed });
      // Nothing behind it is called computed.
      expect(rows.slice(end).some(({ answer }) => answer === 'computed')).toBe(false);
    }
  });

  it('and a request that nobody can have made is false, before it is used', async () => {
    const entries = await readEntries(toy.bytes);
    const run = toy.result.checkpoint.run;
    const start = entries.findIndex(
      ({ record }) => record.kind === 'host.start' && record.body.capability === 'random.bytes',
    );
    for (const request of [{ length: 1e9 }, { length: 'x' }, {}, 7, { key: 'a' }] as const) {
      const lied = editAt(entries, start, (entry) => replacePayload(entry, 'body.request', request));
      const { check } = await inspect(forge({ run }, lied));
      expect(check.falsehood).toMatchObject({ step: start, field: 'body.request' });
    }
  });
});

it('what is false behind the last signature is said to accuse nobody', async () => {
  const bytes = answered(refused, (old) => ({ ...old, approved: true }));
  const text = Buffer.from(bytes).toString();
  const cut = Buffer.from(text.slice(0, text.lastIndexOf('{"checkpoint"')));
  const { check, claims } = await inspect(cut);
  expect(check.falsehood?.step).toBe(END);
  expect(check.size).toBeLessThanOrEqual(END);
  expect(claims.get('checked')?.text).toContain('accuses nobody');
  expect(OPERATOR).not.toBe(APPROVER);
});
