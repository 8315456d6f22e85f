import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Command } from 'commander';
import { expect, it } from 'vitest';
import { readEnvironment } from '../../../agents/cli/environment.ts';
import { openConfiguredWallets } from '../../../agents/cli/open-wallets.ts';
import { registerWallet } from '../../../agents/cli/wallet.ts';
import { parseWalletConfig, walletLimitsOf } from '../../../agents/cli/wallet-config.ts';
import { startAnvil } from '../../../attest/bond/anvil.ts';
import { utf8 } from '../../../attest/core/bytes.ts';
import { temporaryFolder } from '../../support/temporary.ts';

const SECRET = `0x${Buffer.from(Array.from({ length: 32 }, (_, i) => i)).toString('hex')}`;
const PAYER = '0xb77331fb533e7691484415b000196dfe6cff00ea';
const limits = { tool: 'pay', perCall: '10', perRun: '20', fee: '1', approvalAbove: null };
const calls = [{ contract: null, selectors: ['0x'], token: null }];

function command(env: Record<string, string>) {
  const folder = temporaryFolder();
  const lines: string[] = [];
  const said: string[] = [];
  const run = async (...args: readonly string[]) => {
    const program = new Command().exitOverride();
    const environment = readEnvironment({ TRACEBOND_HOME: folder, ...env }, folder);
    registerWallet(program, { environment, print: (line) => lines.push(line), say: (line) => said.push(line) });
    await program.parseAsync(['node', 'tracebond', 'wallet', ...args]);
  };
  return { folder, lines, said, run };
}

it('wallet address is that of the secret and the name, or of the operator key', async () => {
  const given = command({ TRACEBOND_WALLET_SECRET: SECRET });
  await given.run('address', 'payer', '--json');
  expect(given.lines.map((line) => JSON.parse(line))).toEqual([{ agent: 'payer', address: PAYER }]);
  await given.run('address', 'payer');
  expect(given.lines[1]?.toLowerCase()).toBe(PAYER);
  expect(given.lines[1]).not.toBe(PAYER);
  const own = command({ TRACEBOND_OPERATOR_KEY: SECRET });
  await own.run('address', 'payer', '--json');
  expect(own.lines).toEqual([given.lines[0]]);
  const bad = command({ TRACEBOND_WALLET_SECRET: 'hunter2' });
  await expect(bad.run('address', 'payer')).rejects.toMatchObject({ code: 'BAD_SECRET' });
  // A key that is made here stays, and is said to be SIMULATED.
  const made = command({});
  await made.run('address', 'payer');
  await made.run('address', 'payer');
  expect(made.lines[0]).toBe(made.lines[1]);
  expect(made.said[0]).toMatch(/^SIMULATED/);
});

it('wallets of a file are listed with what is in them, and opened where their chains are what they say', async () => {
  const { folder, lines, run } = command({ TRACEBOND_WALLET_SECRET: SECRET });
  const anvil = await startAnvil(join(folder, 'chain.json'), 31337n);
  try {
    const rpc = `http://127.0.0.1:${anvil.port}`;
    const text = (chain: string) =>
      JSON.stringify({ chains: { [chain]: { rpc } }, agents: { payer: [{ ...limits, chain, calls }] } });
    writeFileSync(join(folder, 'wallets.json'), text('31337'));
    const file = join(folder, 'wallets.json');
    await run('list', '--wallet-config', file, '--json');
    expect(JSON.parse(lines[0] ?? '')).toEqual([
      { agent: 'payer', address: PAYER, chain: '31337', perRun: '20', wei: '0' },
    ]);
    await run('address', 'payer', '--rpc', rpc);
    expect(lines[1]).toMatch(/ 0 wei on chain 31337$/);
    const said: string[] = [];
    const secret = Uint8Array.from({ length: 32 }, (_, i) => i);
    const config = parseWalletConfig(utf8(text('31337')), {});
    const wallets = await openConfiguredWallets(config, secret, (line) => said.push(line));
    expect(said.join().toLowerCase()).toBe(`wallet of payer: ${PAYER} on chain 31337`);
    expect(walletLimitsOf(config, 'payer', wallets)).toEqual([{ ...limits, chain: '31337', calls, address: PAYER }]);
    expect(walletLimitsOf(config, 'other', wallets)).toEqual([]);
    await wallets.close();
    const wrong = parseWalletConfig(utf8(text('1')), {});
    await expect(openConfiguredWallets(wrong, secret, () => {})).rejects.toMatchObject({ code: 'WRONG_CHAIN' });
  } finally {
    await anvil.stop();
  }
});
