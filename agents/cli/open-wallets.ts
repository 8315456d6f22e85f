/**
 * The wallets of a runtime, with nodes behind JSON-RPC.
 *
 * @module
 */

import { BondError } from '../../attest/bond/errors.ts';
import { fromHex } from '../../attest/core/bytes.ts';
import { checksumAddress } from '../../attest/sign/address.ts';
import { openEthersNode } from '../../runtime/wallet/ethers-node.ts';
import { openWallets, type Wallets } from '../../runtime/wallet/wallet.ts';
import type { WalletConfig } from './wallet-config.ts';

/**
 * Opens the wallets of a configuration, and asks each of its chains who it is. One that does not answer now is waited for by those who
 * send.
 *
 * @param say - told whose wallet is where
 * @throws {@link BondError} `WRONG_CHAIN`
 */
export async function openConfiguredWallets(
  { agents, chains }: WalletConfig,
  secret: Uint8Array,
  say: (line: string) => void,
): Promise<Wallets> {
  for (const [id, { rpc }] of chains) {
    try {
      (await openEthersNode(rpc, BigInt(id))).close();
    } catch (error) {
      if (!(error instanceof BondError) || error.code === 'WRONG_CHAIN') throw error;
      say(`wallets: the node of chain ${id} does not answer now (${error.code})`);
    }
  }
  const confirmations = Object.fromEntries(
    [...chains].flatMap(([id, chain]) => (chain.confirmations === undefined ? [] : [[id, chain.confirmations]])),
  );
  const connect = (id: string) => {
    const chain = chains.get(id);
    return chain === undefined ? undefined : openEthersNode(chain.rpc, BigInt(id));
  };
  const wallets = openWallets({ secret, connect, now: Date.now }, { confirmations });
  for (const [agent, entries] of agents) {
    const where = [...new Set(entries.map(({ chain }) => chain))].join(', ');
    say(`wallet of ${agent}: ${checksumAddress(fromHex(wallets.addressOf(agent)))} on chain ${where}`);
  }
  return wallets;
}
