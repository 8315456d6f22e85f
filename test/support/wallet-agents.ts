/**
 * Agents that pay: each pays every payee of its input once, and goes on whatever is answered.
 *
 * @module
 */

import { type Hex, toHex, utf8 } from '../../attest/core/bytes.ts';
import { sha256 } from '../../attest/core/hash.ts';
import { addressOf } from '../../attest/sign/secp256k1.ts';
import type { WalletGrant } from '../../attest/trace/policy.ts';
import type { ManagedAgent } from '../../runtime/manager-types.ts';
import { deriveWalletKey } from '../../runtime/wallet/key.ts';
import { managed } from './managed.ts';

/** Whose signature decides the approvals of these agents. */
export const PAYMENT_APPROVER_KEY = sha256(utf8('approver of payments'));
/** What the wallets of these agents are derived from. */
export const WALLET_SECRET = sha256(utf8('secret of wallets'));
/** Names of the agents; each has a wallet of its own. */
export const PAYING_AGENTS = ['payer', 'crowd', 'asker'] as const;

/** Most wei of fees of one payment. */
export const PAYMENT_FEE = 10n ** 15n;
export const PER_CALL = 10n ** 16n;
/** Room for six payments that cost next to nothing, and their fees. */
export const PER_RUN = 6n * PAYMENT_FEE + 6_000_000n;
export const APPROVAL_ABOVE = PAYMENT_FEE + 1_000_000n;

/** One payment that an agent is told to make. */
export type Payment = { readonly to: Hex; readonly value: string };

/** Address of the wallet of one of these agents. */
export function walletOf(agent: string): Hex {
  return addressOf(deriveWalletKey(WALLET_SECRET, agent));
}

/** An account that nobody else is paid at. */
export function payeeOf(seed: number, run: number, payment: number): Hex {
  return toHex(sha256(utf8(`payee ${seed} ${run} ${payment}`)).subarray(0, 20));
}

/** What these agents are granted. */
export function paymentGrant(agent: string, more: Partial<WalletGrant> = {}): WalletGrant {
  return {
    address: walletOf(agent),
    approvalAbove: APPROVAL_ABOVE.toString(),
    calls: [{ contract: null, selectors: ['0x'], token: null }],
    capability: 'wallet.send',
    chain: '31337',
    fee: PAYMENT_FEE.toString(),
    perCall: PER_CALL.toString(),
    perRun: PER_RUN.toString(),
    ...more,
  };
}

const PAY = `
  const send = ({ to, value }) => call('wallet.send', { chain: '31337', data: '0x', to, value });
  const pay = async (payment) => {
    try { return (await send(payment)).status; } catch (error) { return error.message; }
  };
  const asked = async (payment) => {
    const first = await pay(payment);
    if (!String(first).endsWith('.approvalAbove')) return first;
    const args = { chain: '31337', data: '0x', ...payment };
    const answer = await call('human.approve', { summary: 'pay ' + payment.value, details: { wallet: args }, timeoutMs: 0 });
    return answer.approved ? pay(payment) : 'refused';
  };`;

/** The agents. */
export function payingAgents(): readonly ManagedAgent[] {
  const limits = { steps: '500', wallMs: '7200000', bytes: '50000000', fuel: '9000000000' } as const;
  const approving = { capability: 'human.approve', approvers: [addressOf(PAYMENT_APPROVER_KEY)] } as const;
  const agent = (name: string, body: string) =>
    managed(name, `${PAY} ${body}`, { grants: [paymentGrant(name), approving], limits });
  return [
    agent('payer', 'const seen = []; for (const one of input) seen.push(await pay(one)); return seen;'),
    agent('crowd', 'return Promise.all(input.map(pay));'),
    agent('asker', 'const seen = []; for (const one of input) seen.push(await asked(one)); return seen;'),
  ];
}
