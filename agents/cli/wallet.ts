/**
 * `tracebond wallet address|list`: the wallets of agents, and what is in them.
 *
 * @module
 */

import type { Command } from 'commander';
import { connect } from '../../attest/bond/ethers-provider.ts';
import { fromHex } from '../../attest/core/bytes.ts';
import { checksumAddress } from '../../attest/sign/address.ts';
import { addressOf } from '../../attest/sign/secp256k1.ts';
import { openEthersNode } from '../../runtime/wallet/ethers-node.ts';
import { deriveWalletKey } from '../../runtime/wallet/key.ts';
import { type Environment, readEnvironment } from './environment.ts';
import { operatorKey } from './open-runtime.ts';
import { readWalletConfig, walletSecret } from './wallet-config.ts';

/** What the commands need from outside. */
export type WalletIo = {
  readonly environment: Environment;
  /** Writes one line to standard output. */
  print(line: string): void;
  /** Writes one line to standard error. */
  say(line: string): void;
};

type Options = { readonly walletConfig?: string; readonly rpc?: string; readonly json?: boolean };

/** Adds the commands. */
export function registerWallet(program: Command, io: WalletIo = terminal()): void {
  const wallet = program.command('wallet').description('wallets of agents');
  wallet
    .command('address')
    .argument('<agent>', 'name of the agent')
    .option('--rpc <url>', 'ask this node what is in it')
    .option('--json', 'print one JSON object')
    .description('address of the wallet of an agent, and what is in it')
    .action(async (agent: string, { rpc, json }: Options) => {
      const address = addressIn(agent, io);
      const balance = rpc === undefined ? undefined : await balanceAt(rpc, address);
      if (json === true) io.print(JSON.stringify({ agent, address, ...balance }));
      else io.print([display(address), ...(balance ? [`${balance.wei} wei on chain ${balance.chain}`] : [])].join(' '));
    });
  wallet
    .command('list')
    .option('--wallet-config <file>', 'file of wallets; $TRACEBOND_WALLET_CONFIG by default')
    .option('--json', 'print one JSON array')
    .description('wallets of the agents of a file, what is in them, and what a run may spend')
    .action(async (options: Options) => {
      const { chains, agents } = readWalletConfig(options.walletConfig, io.environment);
      const rows: { agent: string; address: string; chain: string; perRun: string; wei: string }[] = [];
      for (const [agent, entries] of agents) {
        const address = addressIn(agent, io);
        for (const chain of new Set(entries.map((entry) => entry.chain))) {
          const perRun = entries
            .filter((entry) => entry.chain === chain)
            .reduce((sum, one) => sum + BigInt(one.perRun), 0n);
          const node = await openEthersNode(chains.get(chain)?.rpc ?? '', BigInt(chain));
          try {
            const wei = (await node.balance(address)).toString();
            rows.push({ agent, address, chain, perRun: perRun.toString(), wei });
          } finally {
            node.close();
          }
        }
      }
      if (options.json === true) io.print(JSON.stringify(rows));
      else
        for (const row of rows)
          io.print(
            `${row.agent} ${display(row.address)} chain ${row.chain}: ${row.wei} wei, at most ${row.perRun} wei a run`,
          );
    });
}

function addressIn(agent: string, { environment, say }: WalletIo): `0x${string}` {
  const secret = walletSecret(environment, () => operatorKey(environment, say));
  return addressOf(deriveWalletKey(secret, agent));
}

async function balanceAt(rpc: string, address: `0x${string}`): Promise<{ chain: string; wei: string }> {
  const { provider, chainId } = await connect(rpc);
  provider.destroy();
  const node = await openEthersNode(rpc, chainId);
  try {
    return { chain: chainId.toString(), wei: (await node.balance(address)).toString() };
  } finally {
    node.close();
  }
}

function display(address: string): string {
  return checksumAddress(fromHex(address, 20));
}

function terminal(): WalletIo {
  return {
    environment: readEnvironment(),
    print: (line) => console.log(line),
    say: (line) => console.error(line),
  };
}
