import { beforeAll, describe, expect, it } from 'vitest';
import { type Entry, readEntries, rebuildTrace, replacePayload } from '../../../agents/demo/forge.ts';
import { fromHex, type Hex } from '../../../attest/core/bytes.ts';
import type { Json } from '../../../attest/encoding/canonical-json.ts';
import { addressOf } from '../../../attest/sign/secp256k1.ts';
import { type Approval, signApproval } from '../../../attest/trace/approval.ts';
import { RunControl } from '../../../runtime/control.ts';
import { OFF_CHAIN } from '../../../runtime/plan.ts';
import { editAt, patchEntry, steady } from '../../support/forging.ts';
import { APPROVER_KEY } from '../../support/kill-agents.ts';
import { beginRun, type Left, resumeRun, toyManaged, verifyRun } from '../../support/kill-cuts.ts';
import { CALLER_KEY, OPERATOR, OPERATOR_KEY, SIGNER_KEY } from '../../support/toy-run.ts';
import { type ToyGuest, toyVm } from '../../support/toy-vm.ts';

const APPROVER = addressOf(APPROVER_KEY);
const START = 3;
const END = 4;
const GUESTS: Readonly<Record<string, ToyGuest>> = {
  pays: async (ctx) => {
    const { approved } = (await ctx.call('human.approve', { summary: 'pay?', details: 7, timeoutMs: 0 })) as {
      approved: boolean;
    };
    return approved ? 'paid' : 'kept';
  },
};
const vm = toyVm(GUESTS);

/** A run that was decided by somebody. */
async function decided(
  approvers: readonly Hex[],
  sign: (place: Parameters<typeof signApproval>[1]) => Approval,
  nonce = 'one',
) {
  const entry = toyManaged('pays', { grants: [{ capability: 'human.approve', approvers: [...approvers] }] });
  const asked = await beginRun(vm, entry, null, {}, nonce);
  const [start] = (await readEntries(asked.bytes)).slice(START);
  if (start?.record.kind !== 'host.start') throw new Error('no approval');
  const place = { run: fromHex(asked.result.run), index: BigInt(START), request: start.record.body.request };
  const control = new RunControl();
  const said = control.say(BigInt(START), { type: 'approval', approval: sign(place) });
  const left = await resumeRun(vm, asked.bytes, { control });
  await said;
  return { left, place };
}

const signed = (
  place: Parameters<typeof signApproval>[1],
  decision = { approved: false, note: 'too much' },
  key = APPROVER_KEY,
): Approval => ({
  ...decision,
  approver: addressOf(key),
  signature: signApproval(decision, place, OFF_CHAIN, key),
});

let refused: Left;
let place: Parameters<typeof signApproval>[1];
let entries: readonly Entry[];
let elsewhere: Awaited<ReturnType<typeof decided>>;
let opaque: Left;

beforeAll(async () => {
  ({ left: refused, place } = await decided([APPROVER], (at) => signed(at)));
  entries = await readEntries(refused.bytes);
  elsewhere = await decided([APPROVER], (at) => signed(at, { approved: true, note: '' }), 'another');
  opaque = (await decided([], () => ({ approved: false, note: '', approver: null, signature: null }))).left;
});

const keys = { operator: OPERATOR_KEY, receipts: SIGNER_KEY };
const forge = (edited: readonly Entry[], run = refused.result.run) =>
  rebuildTrace(steady(edited), fromHex(run), OFF_CHAIN, keys).bytes;
const answer = (response: Json) =>
  forge(editAt(entries, END, (entry) => replacePayload(entry, 'body.response', response)));
const check = (bytes: Uint8Array) => verifyRun(vm, bytes);
const diverges = async (bytes: Uint8Array, field: string, more: object = {}) =>
  expect(await check(bytes)).toMatchObject({ verdict: 'DIVERGED', step: END, field, ...more });

describe('a decision of a person in a trace', () => {
  it('matches as it was signed, and is attested', async () => {
    expect(refused.result).toMatchObject({ status: 'done', output: 'kept' });
    expect(await check(refused.bytes)).toMatchObject({ verdict: 'MATCH', classes: { attested: 1, opaque: 0 } });
    expect(await check(elsewhere.left.bytes)).toMatchObject({ verdict: 'MATCH' });
  });

  it('is false where the operator turned it around', async () => {
    await diverges(answer({ ...signed(place), approved: true }), 'body.response.approver');
  });

  it('is false with another note, name or signature', async () => {
    const right = signed(place);
    await diverges(answer({ ...right, note: 'fine' }), 'body.response.approver');
    await diverges(answer({ ...right, approver: OPERATOR }), 'body.response.approver', { claimed: OPERATOR });
    await diverges(answer({ ...right, signature: null }), 'body.response.signature');
    await diverges(answer({ ...right, approver: null }), 'body.response.signature');
    await diverges(answer({ ...right, signature: `0x${'00'.repeat(65)}` }), 'body.response.signature');
    await diverges(answer({ ...right, signature: `0x${'11'.repeat(64)}1b` }), 'body.response.signature');
  });

  it('is false where the operator approved in the name of another', async () => {
    const decision = { approved: true, note: '' };
    const signature = signApproval(decision, place, OFF_CHAIN, OPERATOR_KEY);
    await diverges(answer({ ...decision, approver: APPROVER, signature }), 'body.response.approver', {
      claimed: APPROVER,
      recomputed: OPERATOR,
    });
    await diverges(answer({ ...signed(place, decision, OPERATOR_KEY) }), 'body.response.approver', {
      claimed: OPERATOR,
    });
    await diverges(answer({ ...signed(place, decision, CALLER_KEY) }), 'body.response.approver');
  });

  it('is false with the signature for another run, place, request or chain', async () => {
    const decision = { approved: true, note: '' };
    const moved = [
      signApproval(decision, elsewhere.place, OFF_CHAIN, APPROVER_KEY),
      signApproval(decision, { ...place, index: 1n }, OFF_CHAIN, APPROVER_KEY),
      signApproval(decision, { ...place, request: elsewhere.place.request }, OFF_CHAIN, APPROVER_KEY),
      signApproval(decision, place, { ...OFF_CHAIN, chainId: 1n }, APPROVER_KEY),
      signApproval(decision, place, { ...OFF_CHAIN, contract: OPERATOR }, APPROVER_KEY),
    ];
    for (const signature of moved) {
      await diverges(answer({ ...decision, approver: APPROVER, signature }), 'body.response.approver', {
        claimed: APPROVER,
      });
    }
  });

  it('cannot be called one of nobody where the policy names people', async () => {
    const none = editAt(entries, END, (entry) => patchEntry(entry, 'evidence', 'none'));
    await diverges(forge(none), 'body.evidence');
    const word = { approved: true, approver: null, note: '', signature: null };
    const alone = editAt(none, END, (entry) => replacePayload(entry, 'body.response', word));
    await diverges(forge(alone), 'body.evidence', { claimed: 'none' });
  });

  it('of nobody cannot be given a signature that nobody checks', async () => {
    const own = await readEntries(opaque.bytes);
    expect(await check(opaque.bytes)).toMatchObject({ verdict: 'MATCH', classes: { attested: 0, opaque: 1 } });
    const lie = editAt(own, END, (entry) => replacePayload(entry, 'body.response', signed(place)));
    await diverges(forge(lie, opaque.result.run), 'body.response.signature');
    const called = editAt(lie, END, (entry) => patchEntry(entry, 'evidence', 'approval'));
    await diverges(forge(called, opaque.result.run), 'body.response.approver');
  });

  it('is what the agent acted on', async () => {
    // The person did sign the other decision too, and the operator shows that one.
    const other = answer(signed(place, { approved: true, note: 'fine' }));
    expect(await check(other)).toMatchObject({ verdict: 'DIVERGED', step: 5, field: 'body.output' });
  });

  it('is no decision in another form', async () => {
    for (const response of [
      null,
      'yes',
      { approved: true },
      { ...signed(place), more: 1 },
      { ...signed(place), approved: 'true' },
    ]) {
      expect(await check(answer(response as Json))).toMatchObject({
        verdict: 'INVALID',
        step: END,
        code: 'MALFORMED_PAYLOAD',
      });
    }
  });

  it('is evidence for an approval alone, and not for a failure', async () => {
    const failed = editAt(entries, END, (entry) => ({
      ...patchEntry(patchEntry(patchEntry(entry, 'error', 'TIMEOUT'), 'response', null), 'bytes', '0'),
      payloads: new Map(),
    }));
    expect(await check(forge(failed))).toMatchObject({ verdict: 'INVALID', step: END, field: 'body.evidence' });
  });
});
