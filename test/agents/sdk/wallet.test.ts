import { describe, expect, it } from 'vitest';
import { createPolicy } from '../../../agents/guest-policy.ts';
import { toCapabilities } from '../../../agents/sdk/capabilities.ts';
import { toToolContext } from '../../../agents/sdk/context.ts';
import type { WalletCapability } from '../../../agents/sdk/index.ts';
import { parsePolicy, type WalletGrant } from '../../../attest/trace/policy.ts';

const PAYEE = `0x${'0A'.repeat(20)}`;
const TOKEN = `0x${'0c'.repeat(20)}` as const;
const RECEIPT = { hash: '0x12', status: '1' };
const RULES = [{ chain: '31337', calls: [{ contract: null, selectors: ['0x'] }] }];
const refusal = (code: string, message: string) => Object.assign(new Error(message), { code });

/** A tool whose calls are answered one after the other; an error is thrown. */
function context(...answers: readonly unknown[]) {
  const made: [string, unknown][] = [];
  const ctx = toToolContext(async (method, args) => {
    const answer = answers[made.length];
    made.push([method, args]);
    if (answer instanceof Error) throw answer;
    return answer;
  }, RULES);
  return { send: ctx.wallet.send, made };
}

const needsApproval = refusal('CAPABILITY_DENIED', 'wallet.send is denied by tools.pay.0.approvalAbove');
const ARGS = { chain: '31337', data: '0x', to: PAYEE.toLowerCase(), value: '5' };

describe('ctx.wallet', () => {
  it('sends with the one chain of the tool, in the form of records', async () => {
    for (const value of [5, 5n, '5']) {
      const { send, made } = context(RECEIPT);
      expect(await send({ to: PAYEE, value })).toEqual(RECEIPT);
      expect(made).toEqual([['wallet.send', ARGS]]);
    }
  });

  it('asks a person where the limits want one, and sends again', async () => {
    const { send, made } = context(needsApproval, { approved: true, note: '' }, RECEIPT);
    expect(await send({ to: PAYEE, value: 5 })).toEqual(RECEIPT);
    const summary = `Pay 5 wei to ${ARGS.to} on chain 31337`;
    expect(made).toEqual([
      ['wallet.send', ARGS],
      ['human.approve', { summary, details: { wallet: ARGS }, timeoutMs: 0 }],
      ['wallet.send', ARGS],
    ]);
  });

  it.each([
    ['0xa9059cbb', 'Transfer 7 units to 0x'],
    ['0x095ea7b3', 'Allow 0x'],
    ['0x12345678', 'Call 0x12345678 of 0x'],
  ])('says in words what %s does', async (selector, words) => {
    const { send, made } = context(needsApproval, { approved: true, note: '' }, RECEIPT);
    const data = `${selector}${'0'.repeat(24)}${'ab'.repeat(20)}${'7'.padStart(64, '0')}`;
    await send({ to: TOKEN, data });
    expect(made[1]?.[1]).toMatchObject({ summary: expect.stringContaining(words) });
  });

  it('sends nothing that a person refused', async () => {
    const { send, made } = context(needsApproval, { approved: false, note: 'too dear' });
    await expect(send({ to: PAYEE, value: 5 })).rejects.toMatchObject({
      code: 'APPROVAL_REFUSED',
      message: 'too dear',
    });
    expect(made).toHaveLength(2);
  });

  it('asks nobody for what no person can allow', async () => {
    for (const error of [
      refusal('CAPABILITY_DENIED', 'wallet.send is denied by tools.pay.0.perRun'),
      refusal('HOST_CALL_FAILED', 'FEE_TOO_HIGH'),
      refusal('HOST_CALL_FAILED', 'x.approvalAbove'),
    ]) {
      const { send, made } = context(error);
      await expect(send({ to: PAYEE, value: 5 })).rejects.toBe(error);
      expect(made).toHaveLength(1);
    }
  });

  it('throws what the contract refused, with its receipt', async () => {
    const receipt = { ...RECEIPT, status: '0' };
    await expect(context(receipt).send({ to: PAYEE })).rejects.toMatchObject({ code: 'WALLET_REVERTED', receipt });
  });

  it('refuses what is malformed before anybody is asked', async () => {
    const { send, made } = context();
    for (const request of [
      { to: '0x12' },
      { to: PAYEE, value: -1 },
      { to: PAYEE, value: 1.5 },
      { to: PAYEE, value: 2 ** 60 },
      { to: PAYEE, value: '0x5' },
      { to: PAYEE, data: '0x1' },
      { to: PAYEE, data: 'deadbeef' },
    ]) {
      await expect(send(request)).rejects.toBeInstanceOf(TypeError);
    }
    const { wallet } = toToolContext(async () => RECEIPT);
    await expect(wallet.send({ to: PAYEE })).rejects.toThrow(/chain/);
    expect(made).toEqual([]);
  });
});

describe('capabilities.wallet', () => {
  const declare = (wallet: unknown) => toCapabilities({ wallet: wallet as WalletCapability[] }, 'pay').wallet;

  it('is completed', () => {
    expect(declare([{ chain: '1', calls: [{}, { contract: PAYEE, selectors: ['0xA9059CBB', '0x', '0x'] }] }])).toEqual([
      {
        chain: '1',
        calls: [
          { contract: null, selectors: ['0x'] },
          { contract: PAYEE.toLowerCase(), selectors: ['0x', '0xa9059cbb'] },
        ],
      },
    ]);
    expect(declare([])).toBeUndefined();
  });

  it.each<[string, unknown]>([
    ['no list', {}],
    ['a chain that is a number', [{ chain: 1, calls: [{}] }]],
    ['no calls', [{ chain: '1', calls: [] }]],
    ['a contract that is none', [{ chain: '1', calls: [{ contract: '0x1' }] }]],
    ['a selector of three bytes', [{ chain: '1', calls: [{ selectors: ['0x123456'] }] }]],
    ['no selectors', [{ chain: '1', calls: [{ selectors: [] }] }]],
    [
      'one chain twice',
      [
        { chain: '1', calls: [{}] },
        { chain: '1', calls: [{}] },
      ],
    ],
    ['null', [null]],
  ])('is refused: %s', (_, wallet) => {
    expect(() => declare(wallet)).toThrow(TypeError);
  });
});

describe('grants of wallets', () => {
  const address = `0x${'01'.repeat(20)}` as const;
  const limits = {
    tool: 'pay',
    address,
    approvalAbove: null,
    chain: '1',
    fee: '1',
    perCall: '10',
    perRun: '20',
    calls: [
      { contract: TOKEN, selectors: ['0xa9059cbb', '0x095ea7b3'] as const, token: { units: '1', wei: '1' } },
      { contract: null, selectors: ['0x'] as const, token: null },
    ],
  };
  const grantsOf = (wallet: readonly WalletCapability[], operator: object = {}, name = 'pay') => {
    const tools = new Map([[name, toCapabilities({ wallet }, name)]]);
    const policy = createPolicy(tools, { origins: [], maxBytes: 1, wallet: [{ ...limits, ...operator }] });
    parsePolicy(JSON.parse(JSON.stringify(policy)));
    return policy.tools[0]?.grants ?? [];
  };
  const calls = (wallet: readonly WalletCapability[]) => (grantsOf(wallet)[0] as WalletGrant | undefined)?.calls;

  it('are what both the tool and the operator list', () => {
    const transfer = '0xa9059cbb';
    expect(calls([{ chain: '1', calls: [{ contract: TOKEN, selectors: [transfer] }] }])).toEqual([
      { contract: TOKEN, selectors: [transfer], token: { units: '1', wei: '1' } },
    ]);
    expect(calls([{ chain: '1', calls: [{ contract: PAYEE }] }])).toEqual([
      { contract: PAYEE.toLowerCase(), selectors: ['0x'], token: null },
    ]);
    expect(calls([{ chain: '1', calls: [{ selectors: ['0x', transfer] }] }])).toEqual([
      { contract: TOKEN, selectors: [transfer], token: { units: '1', wei: '1' } },
      { contract: null, selectors: ['0x'], token: null },
    ]);
  });

  it('are none where nothing is in common', () => {
    expect(grantsOf([])).toEqual([]);
    expect(grantsOf([{ chain: '2', calls: [{}] }])).toEqual([]);
    expect(grantsOf([{ chain: '1', calls: [{ selectors: ['0x12345678'] }] }])).toEqual([]);
    expect(grantsOf([{ chain: '1', calls: [{}] }], {}, 'other')).toEqual([]);
  });

  it('come with the right to ask a person where the limits want one', () => {
    const names = (operator: object) =>
      grantsOf([{ chain: '1', calls: [{}] }], operator).map(({ capability }) => capability);
    expect(names({})).toEqual(['wallet.send']);
    expect(names({ approvalAbove: '5' })).toEqual(['wallet.send', 'human.approve']);
  });
});
