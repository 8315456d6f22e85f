/**
 * Deployment of the bond contract, of a development token, and coins for accounts of a development chain.
 *
 * @module
 */

import { randomBytes } from 'node:crypto';
import { ContractFactory, type InterfaceAbi } from 'ethers';
import { type Hex, toHex } from '../core/bytes.ts';
import type { BondTerms, Move } from './chain.ts';
import artifact from './contracts/bond.artifact.json' with { type: 'json' };
import { BondError } from './errors.ts';
import { connect, sendTransaction, toBondError, toWallet } from './ethers-provider.ts';

/** Terms without salt: that is 32 fresh random bytes unless given. */
export type DeployTerms = Omit<BondTerms, 'salt'> & { readonly salt?: Hex };

/** The key of the first account of a development chain, published by its makers: it holds SIMULATED coins only. */
const FAUCET_KEY = Uint8Array.from(
  Buffer.from('ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80', 'hex'),
);

/**
 * Deploys the bond contract.
 *
 * @param privateKey - 32 bytes; the deployer has no rights over the contract afterwards
 * @throws {@link BondError} `CONTRACT_REVERT` `BadParameter`, and those of a connection
 */
export async function deployBond(
  rpcUrl: string,
  privateKey: Uint8Array,
  terms: DeployTerms,
): Promise<Move & { readonly contract: Hex; readonly salt: Hex; readonly chainId: bigint }> {
  const salt = terms.salt ?? toHex(randomBytes(32));
  const { created, chainId, move } = await deploy('Bond', rpcUrl, privateKey, [{ ...terms, salt }]);
  return { ...move, contract: created, salt, chainId };
}

/**
 * Deploys "SIMULATED Bond Token", whose whole supply goes to the deployer.
 *
 * @throws {@link BondError} those of a connection
 */
export async function deployTestToken(
  rpcUrl: string,
  privateKey: Uint8Array,
  supply: bigint,
): Promise<Move & { readonly token: Hex }> {
  const { created, move } = await deploy('TestToken', rpcUrl, privateKey, [supply]);
  return { ...move, token: created };
}

/**
 * Gives an account SIMULATED coins of a development chain, to pay gas with.
 *
 * @throws {@link BondError} `INSUFFICIENT_FUNDS` on any chain where the published development account is empty
 */
export async function fundSimulated(rpcUrl: string, to: Hex, wei: bigint): Promise<Move> {
  const { provider } = await connect(rpcUrl);
  try {
    return (await sendTransaction(toWallet(FAUCET_KEY, provider), { to, value: wei })).move;
  } finally {
    provider.destroy();
  }
}

async function deploy(name: 'Bond' | 'TestToken', rpcUrl: string, privateKey: Uint8Array, args: unknown[]) {
  const { abi, bytecode } = artifact.contracts[name];
  const { provider, chainId } = await connect(rpcUrl);
  try {
    const wallet = toWallet(privateKey, provider);
    const transaction = await new ContractFactory(abi as InterfaceAbi, bytecode)
      .getDeployTransaction(...args)
      .catch((error) => Promise.reject(toBondError(error)));
    const { move, created } = await sendTransaction(wallet, transaction);
    if (created === undefined) throw new BondError('CHAIN_REFUSED', `chain made no contract of ${name}`);
    return { move, created, chainId };
  } finally {
    provider.destroy();
  }
}
