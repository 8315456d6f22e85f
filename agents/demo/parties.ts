/**
 * The people of the demo: throw-away keys with SIMULATED coins, and a bond contract on the local chain.
 *
 * @module
 */

import { randomBytes } from 'node:crypto';
import type { BondAccount } from '../../attest/bond/chain.ts';
import { deployBond, deployTestToken, fundSimulated } from '../../attest/bond/deploy.ts';
import { openBondAccount } from '../../attest/bond/ethers-chain.ts';
import type { Hex } from '../../attest/core/bytes.ts';
import { addressOf } from '../../attest/sign/secp256k1.ts';
import { DemoError } from './errors.ts';

/** A person with a key of 32 bytes and an account on the chain. */
export type Party = { readonly address: Hex; readonly key: Uint8Array; readonly account: BondAccount };

/** Everybody who acts in the demo. */
export type Parties = {
  readonly contract: Hex;
  readonly salt: Hex;
  readonly chainId: bigint;
  readonly honest: Party;
  readonly cheater: Party;
  readonly challenger: Party;
  readonly voters: readonly Party[];
  close(): void;
};

/** One token in its smallest unit. */
export const TOKEN = 10n ** 18n;

/** Stake of each operator. */
export const DEPOSIT = 1_000n * TOKEN;

/** Value at risk that each run declares. */
export const EXPOSURE = 10n * TOKEN;

/** Seconds in which re-executors may vote. */
export const VOTING_SECONDS = 600n;

const GAS = 10n ** 18n;

/** Deploys token and contract, and gives everybody coins, tokens and their role. */
export async function gatherParties(rpcUrl: string): Promise<Parties> {
  const keys = Array.from({ length: 6 }, () => Uint8Array.from(randomBytes(32)));
  const [honestKey, cheaterKey, challengerKey, ...voterKeys] = keys as [
    Uint8Array,
    Uint8Array,
    Uint8Array,
    ...Uint8Array[],
  ];
  for (const key of keys) await fundSimulated(rpcUrl, addressOf(key), 10n * GAS);
  const { token } = await deployTestToken(rpcUrl, honestKey, 100_000n * TOKEN);
  const { contract, salt, chainId } = await deployBond(rpcUrl, honestKey, {
    token,
    minimumLock: 100n * TOKEN,
    detectionBps: 5_000n,
    challengeBond: 20n * TOKEN,
    minimumReexecutorStake: 10n * TOKEN,
    quorumBps: 5_000n,
    withdrawDelay: 7n * 86_400n,
    challengeWindow: 86_400n,
    votingPeriod: VOTING_SECONDS,
    maxDuration: 86_400n,
  });
  const party = async (key: Uint8Array): Promise<Party> => ({
    address: addressOf(key),
    key,
    account: await openBondAccount({ rpcUrl, contract, chainId }, key),
  });
  const honest = await party(honestKey);
  const cheater = await party(cheaterKey);
  const challenger = await party(challengerKey);
  const voters = await Promise.all(voterKeys.map(party));
  await honest.account.transferToken(cheater.address, DEPOSIT);
  await honest.account.transferToken(challenger.address, 100n * TOKEN);
  for (const voter of voters) await honest.account.transferToken(voter.address, 50n * TOKEN);
  await honest.account.deposit(DEPOSIT);
  await cheater.account.deposit(DEPOSIT);
  for (const voter of voters) await voter.account.register(50n * TOKEN);
  return {
    contract,
    salt,
    chainId,
    honest,
    cheater,
    challenger,
    voters,
    close() {
      for (const { account } of [honest, cheater, challenger, ...voters]) account.close();
    },
  };
}

/** Moves the local chain's clock: SIMULATED time, on a development chain only. */
export async function advanceTime(rpcUrl: string, seconds: bigint): Promise<void> {
  for (const [method, params] of [
    ['evm_increaseTime', [Number(seconds)]],
    ['evm_mine', []],
  ] as const) {
    const response = await fetch(rpcUrl, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ jsonrpc: '2.0', id: 1, method, params }),
    });
    const { error } = (await response.json()) as { error?: { message: string } };
    if (error !== undefined) throw new DemoError('DEMO_FAILED', `${method}: ${error.message}`);
  }
}
