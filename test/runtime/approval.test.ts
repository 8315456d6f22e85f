import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import type { Hex } from '../../attest/core/bytes.ts';
import type { Json } from '../../attest/encoding/canonical-json.ts';
import { addressOf } from '../../attest/sign/secp256k1.ts';
import type { ManagedAgent } from '../../runtime/manager-types.ts';
import { APPROVER_KEY } from '../support/kill-agents.ts';
import { kindsOf, toyManaged, toyTools } from '../support/kill-cuts.ts';
import {
  copyFolder,
  decide,
  openFolder,
  order,
  recordAt,
  until,
  untilStatus,
  verifyIn,
} from '../support/kill-folder.ts';
import { fetchFrom } from '../support/managed.ts';
import { CALLER_KEY, OPERATOR_KEY } from '../support/toy-run.ts';
import { type ToyGuest, toyVm } from '../support/toy-vm.ts';

const APPROVER = addressOf(APPROVER_KEY);
const OTHER = addressOf(CALLER_KEY);
const ask = (summary: string, timeoutMs = 0): Json => ({ summary, details: { cents: 100 }, timeoutMs });
const decision = (value: Json) => value as { readonly approved: boolean; readonly note: string };

const GUESTS: Readonly<Record<string, ToyGuest>> = {
  asks: async (ctx) => {
    const { approved, note } = decision(await ctx.call('human.approve', ask('pay?')));
    return { approved, note, draw: await ctx.call('random.bytes', { length: 2 }) };
  },
  hastes: async (ctx) => {
    const { timeouts } = ctx.input as { readonly timeouts: readonly number[] };
    for (const timeoutMs of timeouts) await ctx.call('human.approve', ask('soon?', timeoutMs)).catch(() => null);
    return 'over';
  },
  hurries: async (ctx) =>
    ctx.call('human.approve', ask('now?', 400)).then(
      (value) => value,
      (error: { code: string; message: string }) => [error.code, error.message],
    ),
  many: async (ctx) => {
    const answers = await Promise.all([ctx.call('human.approve', ask('a')), ctx.call('human.approve', ask('b'))]);
    return answers.map((answer) => decision(answer).note);
  },
  busy: async (ctx) =>
    Promise.all([ctx.call('http.fetch', order('slow')), ctx.call('human.approve', ask('meanwhile?'))]),
  tooled: async (ctx) => ctx.call('tool', { name: 'asks', input: null }),
};
const vm = toyVm(GUESTS);
const approving = (...approvers: readonly Hex[]) =>
  ({ capability: 'human.approve', approvers: [...approvers] }) as const;
const asks = toyManaged('asks', { grants: [approving(APPROVER)] });

const suspended = async (agent: ManagedAgent = asks) => {
  const opened = await openFolder(vm, [agent]);
  const { run } = await opened.manager.create({ agent: agent.name, input: 1 });
  const status = await untilStatus(opened.manager, run, 'suspended');
  return { ...opened, run, status, index: status.waiting[0]?.index ?? '' };
};

describe('a run that asks a person', () => {
  it('is put aside with what it asks, its prefix signed before', async () => {
    const { manager, run, status } = await suspended();
    expect(status).toMatchObject({
      status: 'suspended',
      reason: 'approval',
      waiting: [{ index: '3', for: 'approval', capability: 'human.approve', target: '', request: ask('pay?') }],
    });
    const lines = readFileSync(manager.bundle(run), 'utf8').trimEnd().split('\n');
    expect(lines.at(-1)).toMatch(/^\{"checkpoint":/);
    // It wakes at its deadline at the latest.
    expect(status.wakeAt).toBe(status.createdAt + 60_000);
  });

  it('goes on with a signed decision, either way', async () => {
    for (const approved of [true, false]) {
      const { manager, run, index } = await suspended();
      await manager.approve(
        run,
        BigInt(index),
        await decide(manager, run, index, APPROVER, APPROVER_KEY, { approved, note: 'ünder 5 €' }),
      );
      expect(await untilStatus(manager, run, 'done')).toMatchObject({ output: { approved, note: 'ünder 5 €' } });
      expect(await recordAt(manager, run, 4n)).toMatchObject({ body: { evidence: 'approval', error: null } });
      const report = await verifyIn(vm, manager, run);
      expect(report).toMatchObject({ verdict: 'MATCH', classes: { attested: 1 } });
    }
  });

  it('refuses a decision that no approver signed for just this, and goes on waiting', async () => {
    const { manager, run, index } = await suspended();
    const right = await decide(manager, run, index, APPROVER, APPROVER_KEY);
    const otherRun = `0x${'22'.repeat(32)}` as const;
    const { signApproval } = await import('../../attest/trace/approval.ts');
    const { OFF_CHAIN } = await import('../../runtime/plan.ts');
    const { fromHex } = await import('../../attest/core/bytes.ts');
    const request = (await recordAt(manager, run, index)).body as { readonly request: Hex };
    const place = { run: fromHex(run), index: BigInt(index), request: request.request };
    const sign = (
      change: Partial<typeof place>,
      deployment: typeof OFF_CHAIN | { chainId: bigint; contract: Hex } = OFF_CHAIN,
    ) => signApproval(right, { ...place, ...change }, deployment, APPROVER_KEY);
    const forged: Record<string, Partial<typeof right>> = {
      'nobody signed': { signature: null as never, approver: null as never },
      'an approver without a signature': { signature: null as never },
      'no signature at all': { signature: `0x${'00'.repeat(65)}` },
      'another signed in the name of the approver': await decide(manager, run, index, APPROVER, CALLER_KEY),
      'the operator signed in the name of the approver': await decide(manager, run, index, APPROVER, OPERATOR_KEY),
      'another approver': await decide(manager, run, index, OTHER, CALLER_KEY),
      'another name': { approver: OTHER },
      'another decision': { approved: false },
      'another note': { note: 'of somebody else' },
      'another run': { signature: sign({ run: fromHex(otherRun) }) },
      'another place': { signature: sign({ index: BigInt(index) + 1n }) },
      'another request': { signature: sign({ request: `0x${'33'.repeat(32)}` }) },
      'another chain': { signature: sign({}, { chainId: 1n, contract: OFF_CHAIN.contract }) },
    };
    for (const [name, change] of Object.entries(forged)) {
      const told = manager.approve(run, BigInt(index), { ...right, ...change });
      await expect(told, name).rejects.toMatchObject({ code: 'APPROVAL_INVALID' });
      expect((await untilStatus(manager, run, 'suspended')).waiting, name).toHaveLength(1);
    }
    expect(kindsOf(readFileSync(manager.bundle(run)))).toEqual(['run.open', 'agent', 'policy', 'host.start']);
    await manager.approve(run, BigInt(index), right);
    expect(await untilStatus(manager, run, 'done')).toMatchObject({ output: { approved: true } });
  });

  it('hears one decision, for its own start, while it waits', async () => {
    const { manager, run, index } = await suspended();
    const right = await decide(manager, run, index, APPROVER, APPROVER_KEY);
    await expect(manager.approve(run, BigInt(index) - 1n, right)).rejects.toMatchObject({ code: 'NOT_WAITING' });
    await expect(manager.approve(run, 99n, right)).rejects.toMatchObject({ code: 'NOT_WAITING' });
    await expect(manager.approve(`0x${'22'.repeat(32)}`, BigInt(index), right)).rejects.toMatchObject({
      code: 'UNKNOWN_RUN',
    });
    const both = await Promise.allSettled([
      manager.approve(run, BigInt(index), right),
      manager.approve(run, BigInt(index), {
        ...right,
        ...(await decide(manager, run, index, APPROVER, APPROVER_KEY, { approved: false, note: '' })),
      }),
    ]);
    expect(both.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected']);
    await untilStatus(manager, run, 'done');
    await expect(manager.approve(run, BigInt(index), right)).rejects.toMatchObject({ code: 'WRONG_STATE' });
    expect(await verifyIn(vm, manager, run)).toMatchObject({ verdict: 'MATCH' });
  });

  it('takes the word of the operator where the policy names nobody, and says that no evidence stands for it', async () => {
    const { manager, run, index } = await suspended(toyManaged('asks', { grants: [approving()] }));
    const signed = await decide(manager, run, index, APPROVER, APPROVER_KEY);
    await expect(manager.approve(run, BigInt(index), signed)).rejects.toMatchObject({ code: 'APPROVAL_INVALID' });
    await manager.approve(run, BigInt(index), { approved: true, approver: null, note: 'ok', signature: null });
    await untilStatus(manager, run, 'done');
    expect(await recordAt(manager, run, 4n)).toMatchObject({ body: { evidence: 'none' }, head: { class: 'opaque' } });
    expect(await verifyIn(vm, manager, run)).toMatchObject({ verdict: 'MATCH', classes: { attested: 0, opaque: 1 } });
  });

  it('waits over restarts, and is heard by whatever process has the folder then', async () => {
    const first = await suspended();
    await first.manager.close();
    const folder = copyFolder(first.folder);
    const second = await openFolder(vm, [asks], {}, folder);
    expect(second.manager.get(first.run)).toMatchObject({ status: 'suspended', waiting: first.status.waiting });
    await second.manager.close();
    const third = await openFolder(vm, [asks], {}, folder);
    const word = await decide(third.manager, first.run, first.index, APPROVER, APPROVER_KEY);
    await third.manager.approve(first.run, BigInt(first.index), word);
    expect(await untilStatus(third.manager, first.run, 'done')).toMatchObject({ output: { approved: true } });
    expect(await verifyIn(vm, third.manager, first.run)).toMatchObject({ verdict: 'MATCH' });
  });

  it('hears TIMEOUT when nobody answers in time, in the same process or another', async () => {
    const hurries = toyManaged('hurries', { grants: [approving(APPROVER)] });
    const opened = await openFolder(vm, [hurries]);
    const { run } = await opened.manager.create({ agent: 'hurries', input: 1 });
    const { folder } = opened;
    const status = await untilStatus(opened.manager, run, 'suspended');
    expect(status.wakeAt).toBe((status.waiting[0]?.at ?? 0) + 400);
    const copy = copyFolder(folder);
    expect(await untilStatus(opened.manager, run, 'done')).toMatchObject({ output: ['HOST_CALL_FAILED', 'TIMEOUT'] });
    expect(await recordAt(opened.manager, run, 4n)).toMatchObject({ body: { error: 'TIMEOUT', evidence: 'none' } });
    expect(await verifyIn(vm, opened.manager, run)).toMatchObject({ verdict: 'MATCH' });
    const second = await openFolder(vm, [hurries], {}, copy);
    expect(await untilStatus(second.manager, run, 'done')).toMatchObject({ output: ['HOST_CALL_FAILED', 'TIMEOUT'] });
  });

  it('goes on though the time is over while it is put aside', async () => {
    let clock = 1_800_000_000_000;
    // Time runs whenever somebody looks at it: it is over at every moment between two looks.
    const now = () => (clock += 10);
    const { manager } = await openFolder(vm, [toyManaged('hastes', { grants: [approving(APPROVER)] })], { now });
    const { run } = await manager.create({ agent: 'hastes', input: { timeouts: [20, 30, 40, 50, 60, 70, 80, 90] } });
    expect(await untilStatus(manager, run, 'done')).toMatchObject({ output: 'over' });
  });

  it('may ask several at once, and each is answered for itself', async () => {
    const { manager, run, status } = await suspended(toyManaged('many', { grants: [approving(APPROVER)] }));
    expect(status.waiting.map(({ request }) => (request as { summary: string }).summary)).toEqual(['a', 'b']);
    const [a, b] = status.waiting.map(({ index }) => index) as [string, string];
    await manager.approve(
      run,
      BigInt(b),
      await decide(manager, run, b, APPROVER, APPROVER_KEY, { approved: true, note: 'second' }),
    );
    expect((await untilStatus(manager, run, 'suspended')).waiting.map(({ index }) => index)).toEqual([a]);
    // What was signed for one does not do for the other.
    await expect(
      manager.approve(run, BigInt(a), await decide(manager, run, b, APPROVER, APPROVER_KEY)),
    ).rejects.toMatchObject({
      code: 'APPROVAL_INVALID',
    });
    await manager.approve(
      run,
      BigInt(a),
      await decide(manager, run, a, APPROVER, APPROVER_KEY, { approved: true, note: 'first' }),
    );
    expect(await untilStatus(manager, run, 'done')).toMatchObject({ output: ['first', 'second'] });
    expect(await verifyIn(vm, manager, run)).toMatchObject({ verdict: 'MATCH' });
  });

  it('has signed what it asks before it asks, though other work goes on', async () => {
    const world = { http: () => new Promise<never>(() => {}) };
    const { manager } = await openFolder(
      vm,
      [toyManaged('busy', { grants: [approving(APPROVER), fetchFrom('http://shop.test')] })],
      world,
    );
    const { run } = await manager.create({ agent: 'busy', input: 1 });
    await until(() =>
      /"capability":"human.approve".*\n\{"checkpoint":/s.test(readFileSync(manager.bundle(run), 'utf8')),
    );
    expect(manager.get(run).status).toBe('running');
    const word = await decide(manager, run, '5', APPROVER, APPROVER_KEY);
    await manager.approve(run, 5n, word);
    await manager.cancel(run);
  });

  it('may be a tool, by the approvers of the tool alone', async () => {
    const tooled = toyManaged('tooled', {
      grants: [approving(OTHER)],
      tools: toyTools({ asks: [approving(APPROVER), { capability: 'random.bytes' }] }),
    });
    const { manager, run, index } = await suspended(tooled);
    await expect(
      manager.approve(run, BigInt(index), await decide(manager, run, index, OTHER, CALLER_KEY)),
    ).rejects.toMatchObject({
      code: 'APPROVAL_INVALID',
    });
    await manager.approve(run, BigInt(index), await decide(manager, run, index, APPROVER, APPROVER_KEY));
    expect(await untilStatus(manager, run, 'done')).toMatchObject({ output: { approved: true } });
    expect(await verifyIn(vm, manager, run)).toMatchObject({ verdict: 'MATCH' });
  });

  it('closes as out of budget at its deadline, however long the person thinks', async () => {
    let clock = 1_800_000_000_000;
    const opened = await openFolder(vm, [asks], { now: () => clock });
    const { run } = await opened.manager.create({ agent: 'asks', input: 1, limits: { wallMs: '5000' } });
    await untilStatus(opened.manager, run, 'suspended');
    clock += 5001;
    await opened.manager.resume(run);
    expect(await untilStatus(opened.manager, run, 'out-of-budget')).toMatchObject({ output: null });
    expect(await recordAt(opened.manager, run, 4n)).toMatchObject({ body: { reason: 'DEADLINE' } });
    expect(await verifyIn(vm, opened.manager, run)).toMatchObject({ verdict: 'MATCH', status: 'out-of-budget' });
  });
});
