import { describe, expect, it } from 'vitest';
import type { WalletLimits } from '../../../agents/guest-policy.ts';
import { fromHex, type Hex, utf8 } from '../../../attest/core/bytes.ts';
import { sha256 } from '../../../attest/core/hash.ts';
import { addressOf } from '../../../attest/sign/secp256k1.ts';
import { signApproval } from '../../../attest/trace/approval.ts';
import { openRequestBook } from '../../../runtime/api/requests.ts';
import { buildRuntimeServer } from '../../../runtime/api/server.ts';
import { OFF_CHAIN } from '../../../runtime/plan.ts';
import { openWallets } from '../../../runtime/wallet/wallet.ts';
import { sharedInThreadVm } from '../../support/kill-vm.ts';
import { bundleSource, openScripted, prepareFolder, toManaged, verifyScripted } from '../../support/sdk-agents.ts';
import { temporaryFolder } from '../../support/temporary.ts';
import { PAYMENT_APPROVER_KEY, PAYMENT_FEE, WALLET_SECRET } from '../../support/wallet-agents.ts';
import { MemoryChain } from '../../support/wallet-chain.ts';

const vm = await sharedInThreadVm();
const PAYEE: Hex = `0x${'0a'.repeat(20)}`;
const APPROVER = addressOf(PAYMENT_APPROVER_KEY);
const SOURCE = `
  import { defineAgent, defineTool } from 'tracebond';
  const pay = defineTool({
    name: 'pay',
    description: 'Pays somebody',
    capabilities: { wallet: [{ chain: '31337', calls: [{ contract: '${PAYEE}' }] }] },
    execute: async ({ to, value }, ctx) => {
      try {
        return (await ctx.wallet.send({ to, value }, { summary: 'An invoice of ' + value })).status;
      } catch (error) { return error.code; }
    },
  });
  export default defineAgent({
    name: 'payer',
    model: 'toy-model',
    tools: [pay],
    run: async (ctx, payments) => {
      const seen = [];
      for (const one of payments) seen.push(await ctx.tool(pay, one));
      return seen;
    },
  });`;

/** An agent of the SDK with a wallet, behind the runtime's API. */
async function openPayer() {
  const folder = temporaryFolder();
  await prepareFolder(folder);
  const chain = new MemoryChain();
  const connect = () => Promise.resolve(chain.node());
  const wallets = openWallets({ secret: WALLET_SECRET, connect, now: Date.now }, { pollMs: 5 });
  const limits: WalletLimits = {
    tool: 'pay',
    address: wallets.addressOf('payer'),
    approvalAbove: `${PAYMENT_FEE + 100n}`,
    calls: [{ contract: null, selectors: ['0x'], token: null }],
    chain: '31337',
    fee: `${PAYMENT_FEE}`,
    perCall: `${PAYMENT_FEE + 1000n}`,
    perRun: `${10n * PAYMENT_FEE}`,
  };
  const agents = toManaged(await bundleSource(vm, folder, 'payer', SOURCE), {
    wallet: [limits],
    approvers: [APPROVER],
  });
  const manager = await openScripted(vm, folder, agents, () => '', { wallets });
  const app = buildRuntimeServer(manager, {
    book: await openRequestBook(`${folder}/requests`),
    deployment: OFF_CHAIN,
    now: Date.now,
    random: () => sha256(utf8(`${Math.random()}`)),
  });
  const post = async (url: string, payload: object) => {
    const response = await app.inject({ method: 'POST', url, payload });
    return { status: response.statusCode, body: response.json() };
  };
  const close = async () => {
    await manager.close();
    await app.close();
  };
  return { chain, manager, post, close };
}

describe('an agent of the SDK that pays', () => {
  it('pays within its limits, and above them what a person allows over the API', async () => {
    const { chain, manager, post, close } = await openPayer();
    const other = `0x${'0b'.repeat(20)}`;
    const input = [
      { to: PAYEE, value: 100 },
      { to: PAYEE, value: 1001 },
      { to: other, value: 1 },
      { to: PAYEE, value: 101 },
      { to: PAYEE, value: 102 },
    ];
    const created = await post('/v1/runs?wait=10', { agent: 'payer', input });
    expect(created.body).toMatchObject({ status: 'suspended', reason: 'approval' });
    const run = created.body.id as Hex;
    let asked = created.body;
    for (const [value, approved] of [
      ['101', true],
      ['102', false],
    ] as const) {
      const [waiting] = asked.waiting;
      expect(waiting.request).toMatchObject({
        summary: `An invoice of ${value}`,
        details: { wallet: { to: PAYEE, value } },
      });
      const url = `/v1/runs/${run}/approvals/${waiting.index}`;
      // Nobody's word is taken for it.
      expect((await post(url, { approved: true })).status).toBeGreaterThanOrEqual(400);
      expect(chain.mined().some((one) => one.value === BigInt(value))).toBe(false);
      let request: Hex | undefined;
      for await (const { body } of manager.records(run, BigInt(waiting.index))) {
        request ??= (body as { readonly request: Hex }).request;
        break;
      }
      if (request === undefined) throw new Error('nothing was asked');
      const decision = { approved, note: '' };
      const place = { run: fromHex(run), index: BigInt(waiting.index), request };
      const signature = signApproval(decision, place, OFF_CHAIN, PAYMENT_APPROVER_KEY);
      expect((await post(url, { ...decision, approver: APPROVER, signature })).status).toBe(200);
      await manager.settled(run);
      asked = { waiting: manager.get(run).waiting };
    }
    const denied = 'CAPABILITY_DENIED';
    expect(manager.get(run)).toMatchObject({ status: 'done', output: ['1', denied, denied, '1', 'APPROVAL_REFUSED'] });
    expect(chain.mined().map(({ to, value }) => [to, value])).toEqual([
      [PAYEE, 100n],
      [PAYEE, 101n],
    ]);
    expect(await verifyScripted(vm, manager, run, () => '')).toMatchObject({ verdict: 'MATCH', status: 'done' });
    await close();
  });
});
