import { spawn } from 'node:child_process';
import { appendFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { describe, expect, it } from 'vitest';
import { findAnvil } from '../../../attest/bond/anvil.ts';
import { deployTestToken, fundSimulated } from '../../../attest/bond/deploy.ts';
import { openEmbeddedChain } from '../../../attest/bond/embedded.ts';
import { BondError, type BondErrorCode } from '../../../attest/bond/errors.ts';
import { openBondReader } from '../../../attest/bond/ethers-chain.ts';
import { connect, toBondError } from '../../../attest/bond/ethers-provider.ts';
import { openTransactionLog, readTransactionLog } from '../../../attest/bond/transaction-log.ts';
import { type Hex, utf8 } from '../../../attest/core/bytes.ts';
import { sha256 } from '../../../attest/core/hash.ts';
import { addressOf } from '../../../attest/sign/secp256k1.ts';
import { temporaryFolder } from '../../support/temporary.ts';

const KEY = sha256(utf8('SIMULATED deployer'));
const SOMEBODY: Hex = addressOf(sha256(utf8('SIMULATED somebody')));

async function rejection(promise: Promise<unknown>): Promise<BondError> {
  const error = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(BondError);
  return error as BondError;
}
const codeOf = async (promise: Promise<unknown>): Promise<BondErrorCode> => (await rejection(promise)).code;

async function rpc(
  rpcUrl: string,
  method: string,
  ...params: unknown[]
): Promise<{ result?: unknown; error?: { code: number } }> {
  const body = JSON.stringify({ jsonrpc: '2.0', id: 1, method, params });
  const headers = { 'content-type': 'application/json' };
  return (await (await fetch(rpcUrl, { method: 'POST', headers, body })).json()) as { result?: unknown };
}
const balanceOf = async (rpcUrl: string) =>
  BigInt((await rpc(rpcUrl, 'eth_getBalance', SOMEBODY, 'latest')).result as string);
const timeOf = async (rpcUrl: string) => {
  const { result } = await rpc(rpcUrl, 'eth_getBlockByNumber', 'latest', false);
  return Number((result as { timestamp: string }).timestamp);
};
const killed = async (pid: number) => {
  process.kill(pid, 'SIGKILL');
  await new Promise((resolve) => setTimeout(resolve, 50));
};

describe('openEmbeddedChain', () => {
  it('goes on where it was closed', async () => {
    const dir = temporaryFolder();
    const first = await openEmbeddedChain({ dir });
    expect(first.chainId).toBe(31337n);
    await fundSimulated(first.rpcUrl, SOMEBODY, 7n);
    await first.close();
    await first.close();
    const second = await openEmbeddedChain({ dir });
    expect(await balanceOf(second.rpcUrl)).toBe(7n);
    await second.close();
    expect(await readTransactionLog(join(dir, 'transactions.jsonl'))).toEqual([]);
  });

  it('loses nothing that it answered when it is killed, in any order of kills and torn states; its time never goes back', async () => {
    const dir = temporaryFolder();
    const said: string[] = [];
    const options = { dir, onProgress: (message: string) => void said.push(message) };
    let expected = 0n;
    let latest = 0;
    for (const tear of [false, true, false, true, true]) {
      const chain = await openEmbeddedChain(options);
      expect(await balanceOf(chain.rpcUrl)).toBe(expected);
      expect(await timeOf(chain.rpcUrl)).toBeGreaterThanOrEqual(latest);
      await rpc(chain.rpcUrl, 'evm_increaseTime', 1_000);
      for (let i = 0; i < 4; i++) {
        await fundSimulated(chain.rpcUrl, SOMEBODY, 1n);
        expected += 1n;
      }
      const now = await timeOf(chain.rpcUrl);
      // A restart puts the clock at a whole second, up to one before the newest block's.
      expect(now).toBeGreaterThanOrEqual(latest + (latest === 0 ? 0 : 999));
      latest = now;
      await killed(chain.pid);
      await chain.close();
      if (tear) writeFileSync(join(dir, 'state.json'), '{"accounts":{},"blo');
    }
    const chain = await openEmbeddedChain(options);
    expect(await balanceOf(chain.rpcUrl)).toBe(20n);
    expect(await timeOf(chain.rpcUrl)).toBe(latest);
    await fundSimulated(chain.rpcUrl, SOMEBODY, 1n);
    expect(await timeOf(chain.rpcUrl)).toBeGreaterThanOrEqual(latest);
    await chain.close();
    expect(said.some((message) => message.startsWith('played '))).toBe(true);
  });

  it('stops the chain that a killed process left behind, and takes over its folder', async () => {
    const dir = temporaryFolder();
    const chain = await openEmbeddedChain({ dir });
    await fundSimulated(chain.rpcUrl, SOMEBODY, 3n);
    const lock = join(dir, 'lock.json');
    const refusal = await rejection(openEmbeddedChain({ dir }));
    expect(refusal.code).toBe('CHAIN_LOCKED');
    expect(refusal.at).toMatchObject({ owner: process.pid, rpcUrl: chain.rpcUrl });
    // No process has this number: the largest possible one is 2^22.
    writeFileSync(lock, JSON.stringify({ ...JSON.parse(readFileSync(lock, 'utf8')), owner: 2 ** 22 + 1 }));
    const next = await openEmbeddedChain({ dir });
    expect(() => process.kill(chain.pid, 0)).toThrow();
    expect(await balanceOf(next.rpcUrl)).toBe(3n);
    await next.close();
    await chain.close();
  });

  it('ends with the process that opened it, however that ends', async () => {
    const dir = temporaryFolder();
    const module = new URL('../../../attest/bond/embedded.ts', import.meta.url).href;
    const script = `const { openEmbeddedChain } = await import(${JSON.stringify(module)});
      console.log((await openEmbeddedChain({ dir: ${JSON.stringify(dir)} })).pid);`;
    const loader = pathToFileURL(createRequire(import.meta.url).resolve('tsx')).href;
    const owner = spawn(process.execPath, ['--import', loader, '--input-type=module', '-e', script]);
    const pid = await new Promise<number>((resolve) => owner.stdout.once('data', (text) => resolve(Number(text))));
    expect(() => process.kill(pid, 0)).not.toThrow();
    owner.kill('SIGKILL');
    const isAlive = () => {
      try {
        return process.kill(pid, 0);
      } catch {
        return false;
      }
    };
    for (let i = 0; i < 400 && isAlive(); i++) await new Promise((resolve) => setTimeout(resolve, 25));
    expect(isAlive()).toBe(false);
    await (await openEmbeddedChain({ dir })).close();
  });

  it('says why it cannot start', async () => {
    const dir = temporaryFolder();
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as AddressInfo;
    const taken = await rejection(openEmbeddedChain({ dir, port }));
    expect([taken.code, taken.at['port']]).toEqual(['PORT_IN_USE', port]);
    server.close();
    expect(() => findAnvil('plan9', 'vax')).toThrowError(/@foundry-rs\/anvil-plan9-vax is not installed/);
    expect(await codeOf(openEmbeddedChain({ dir, program: '/nowhere/anvil' }))).toBe('CHAIN_START_FAILED');
    const refused = await rejection(openEmbeddedChain({ dir, program: process.execPath }));
    expect([refused.code, String(refused.at['output'])]).toEqual([
      'CHAIN_START_FAILED',
      expect.stringContaining('bad option'),
    ]);
    writeFileSync(join(dir, 'transactions.jsonl'), '{"raw":"0x00"}\n');
    const corrupt = await rejection(openEmbeddedChain({ dir }));
    expect([corrupt.code, corrupt.at['line']]).toEqual(['CHAIN_STATE_CORRUPT', 1]);
    const file = join(dir, 'file');
    writeFileSync(file, '');
    expect(await codeOf(openEmbeddedChain({ dir: join(file, 'chain') }))).toBe('CHAIN_STATE_UNWRITABLE');
    // Each failure let the folder go.
    writeFileSync(join(dir, 'transactions.jsonl'), '');
    await (await openEmbeddedChain({ dir })).close();
  });

  it('answers requests that are none, and passes batches on', async () => {
    const chain = await openEmbeddedChain({ dir: temporaryFolder() });
    const post = async (body: string) => (await fetch(chain.rpcUrl, { method: 'POST', body })).json();
    expect(await post('{')).toMatchObject({ error: { code: -32700 } });
    expect(await post('null')).toMatchObject({ error: { code: -32600 } });
    expect(await post('[{"id":1,"method":"eth_chainId"},{"id":2,"method":"net_version"}]')).toMatchObject([
      { id: 1, result: '0x7a69' },
      { id: 2, result: '31337' },
    ]);
    expect((await rpc(chain.rpcUrl, 'eth_sendRawTransaction', '0x00')).error?.code).toBeLessThan(0);
    expect((await rpc(chain.rpcUrl, 'eth_sendRawTransaction', 'nothing')).error?.code).toBeLessThan(0);
    expect(
      (await fetch(chain.rpcUrl, { method: 'POST', body: 'x'.repeat(9 * 2 ** 20) }).catch(() => ({ status: 413 })))
        .status,
    ).toBe(413);
    await chain.close();
  });
});

describe('the transaction log', () => {
  it('gives back what was not refused, without a torn last line', async () => {
    const path = join(temporaryFolder(), 'log');
    expect(await readTransactionLog(path)).toEqual([]);
    const log = await openTransactionLog(path, []);
    const first = await log.append('0x01', 5);
    const second = await log.append('0x02', 6);
    const third = await log.append('0x03', 6);
    await log.refuse(second.hash);
    await log.close();
    appendFileSync(path, '{"raw":"0x04","ti');
    expect(await readTransactionLog(path)).toEqual([first, third]);
    await (await openTransactionLog(path, [third])).close();
    expect(await readTransactionLog(path)).toEqual([third]);
  });

  it.each([
    '',
    '{}',
    'null',
    '{"raw":"0x0","time":1}',
    '{"raw":"0x00","time":-1}',
    '{"raw":"0xAA","time":1}',
    '{"refused":"0x"}',
  ])('refuses the line %j', async (line) => {
    const path = join(temporaryFolder(), 'log');
    writeFileSync(path, `${line}\n`);
    expect(await codeOf(readTransactionLog(path))).toBe('CHAIN_STATE_CORRUPT');
  });

  it('says when the disk does not take it', async () => {
    const path = join(temporaryFolder(), 'log');
    mkdirSync(`${path}.next`);
    expect(await codeOf(openTransactionLog(path, []))).toBe('CHAIN_STATE_UNWRITABLE');
  });
});

describe('a chain that is not as expected', () => {
  it('is named by a code', async () => {
    const chain = await openEmbeddedChain({ dir: temporaryFolder() });
    const { rpcUrl } = chain;
    await fundSimulated(rpcUrl, addressOf(KEY), 10n ** 18n);
    const { token } = await deployTestToken(rpcUrl, KEY, 1_000n);
    expect(await codeOf(openBondReader({ rpcUrl, contract: token, chainId: 1n }))).toBe('WRONG_CHAIN');
    expect(await codeOf(openBondReader({ rpcUrl, contract: SOMEBODY }))).toBe('NO_CONTRACT');
    expect(await codeOf(openBondReader({ rpcUrl, contract: token }))).toBe('NOT_A_BOND');
    expect(await codeOf(openBondReader({ rpcUrl, contract: '0x12' }))).toBe('MALFORMED_ARGUMENT');
    expect(await codeOf(openBondReader({ rpcUrl: 'ftp://x', contract: token }))).toBe('MALFORMED_ARGUMENT');
    expect(await codeOf(deployTestToken(rpcUrl, new Uint8Array(32), 1n))).toBe('MALFORMED_ARGUMENT');
    expect(await codeOf(deployTestToken(rpcUrl, sha256(utf8('poor')), 1n))).toBe('INSUFFICIENT_FUNDS');
    const { provider } = await connect(rpcUrl);
    await chain.close();
    expect(await codeOf(openBondReader({ rpcUrl, contract: token }))).toBe('CHAIN_UNREACHABLE');
    expect(toBondError(await provider.getBlockNumber().catch((error) => error)).code).toBe('CHAIN_UNREACHABLE');
    provider.destroy();
  });

  it('may be no chain at all', async () => {
    const server = createServer((_, response) => response.end('{"result":"no"}'));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const rpcUrl = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    expect(await codeOf(connect(rpcUrl))).toBe('CHAIN_REFUSED');
    server.close();
  });
});
