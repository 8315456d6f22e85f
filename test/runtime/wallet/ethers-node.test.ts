import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { type Anvil, startAnvil } from '../../../attest/bond/anvil.ts';
import { rpcAt } from '../../../attest/bond/rpc-gate.ts';
import { type Hex, toHex, utf8 } from '../../../attest/core/bytes.ts';
import { sha256 } from '../../../attest/core/hash.ts';
import { addressOf } from '../../../attest/sign/secp256k1.ts';
import { openEthersNode } from '../../../runtime/wallet/ethers-node.ts';
import { openWalletLog } from '../../../runtime/wallet/log.ts';
import { signTransaction } from '../../../runtime/wallet/sign.ts';
import { openWallets } from '../../../runtime/wallet/wallet.ts';
import { temporaryFolder } from '../../support/temporary.ts';
import { fileLog } from '../../support/wallet-log-file.ts';

const folder = mkdtempSync(join(tmpdir(), 'tracebond-node-'));
const PAYEE: Hex = `0x${'0a'.repeat(20)}`;
const SECRET = sha256(utf8('secret of a test on a chain'));
let anvil: Anvil;
let rpc: (method: string, params?: readonly unknown[]) => Promise<unknown>;
let url: string;

beforeAll(async () => {
  anvil = await startAnvil(join(folder, 'state.json'), 31337n);
  const call = rpcAt(anvil.port);
  rpc = async (method, params = []) => {
    const { result, error } = await call(method, params);
    if (error !== undefined) throw new Error(`${method}: ${error.message}`);
    return result;
  };
  url = `http://127.0.0.1:${anvil.port}`;
});
afterAll(async () => {
  await anvil.stop();
  rmSync(folder, { recursive: true, force: true });
});

let people = 0;
/** Somebody with coins. */
async function person(wei = 10n ** 18n) {
  const key = sha256(utf8(`person ${people++}`));
  const address = addressOf(key);
  await rpc('anvil_setBalance', [address, `0x${wei.toString(16)}`]);
  const sign = (nonce: bigint, more: object = {}) =>
    signTransaction(
      {
        ...{ chainId: 31337n, nonce, maxPriorityFeePerGas: 10n ** 9n, maxFeePerGas: 10n ** 10n, gasLimit: 21_000n },
        ...{ to: PAYEE, value: 5n, data: '0x' as Hex },
        ...more,
      },
      key,
    );
  return { address, sign };
}

describe('a node behind JSON-RPC', () => {
  it('answers what a wallet asks', async () => {
    const node = await openEthersNode(url, 31337n);
    const { address, sign } = await person();
    expect(await node.balance(address)).toBe(10n ** 18n);
    expect(await node.estimate(address, { to: PAYEE, value: 1n, data: '0x' })).toEqual({ gas: 21_000n });
    expect(await node.tip()).toBeGreaterThanOrEqual(0n);
    const before = await node.head();
    expect(before.baseFee).toBeGreaterThan(0n);
    const { raw, hash } = sign(0n);
    expect(await node.receipt(hash)).toBeUndefined();
    expect(await node.broadcast(raw)).toEqual({ answer: 'taken' });
    // The node mines it on its own, a moment after it has taken it.
    const receipt = await vi.waitUntil(() => node.receipt(hash), { timeout: 10_000 });
    expect(receipt).toMatchObject({ hash, block: before.number + 1n, status: 1n, gasUsed: 21_000n });
    const block = await node.block(before.number + 1n, address);
    expect(block).toEqual({ hash: receipt?.blockHash, sent: [{ nonce: 0n, hash }] });
    expect(await node.block(before.number + 1n, PAYEE)).toMatchObject({ sent: [] });
    expect(await node.block(before.number + 1000n, address)).toBeUndefined();
    expect(await node.count(address, 'latest')).toBe(1n);
    expect(await node.count(address, 'pending')).toBe(1n);
    expect(await node.count(address, before.number)).toBe(0n);
    node.close();
  });

  it('says what it does with a transaction', async () => {
    const node = await openEthersNode(url, 31337n);
    const { sign } = await person();
    const poor = await person(1000n);
    await rpc('evm_setAutomine', [false]);
    try {
      const { raw } = sign(0n);
      expect(await node.broadcast(raw)).toEqual({ answer: 'taken' });
      expect(await node.broadcast(raw)).toEqual({ answer: 'taken' });
      expect(await node.broadcast(sign(0n, { value: 6n }).raw)).toEqual({ answer: 'underpriced' });
      await rpc('evm_mine');
      expect(await node.broadcast(sign(0n, { value: 6n }).raw)).toEqual({ answer: 'stale' });
      expect(await node.broadcast(poor.sign(0n).raw)).toEqual({ answer: 'refused', reason: 'INSUFFICIENT_FUNDS' });
      expect(await node.broadcast(sign(1n, { gasLimit: 20_000n }).raw)).toEqual({
        answer: 'refused',
        reason: 'REJECTED',
      });
      expect(await node.broadcast(sign(1n, { chainId: 1n }).raw)).toEqual({ answer: 'refused', reason: 'REJECTED' });
    } finally {
      await rpc('evm_setAutomine', [true]);
      node.close();
    }
  });

  it('says what a call would come to', async () => {
    const node = await openEthersNode(url, 31337n);
    const { address } = await person();
    const refusing: Hex = `0x${'0e'.repeat(20)}`;
    // PUSH0 PUSH0 REVERT
    await rpc('anvil_setCode', [refusing, '0x5f5ffd']);
    expect(await node.estimate(address, { to: refusing, value: 0n, data: '0x' })).toEqual({ refused: 'REJECTED' });
    node.close();
  });

  it('is refused where it is of another chain, silent, or speaks of something else, without its address', async () => {
    await expect(openEthersNode(url, 1n)).rejects.toMatchObject({ code: 'WRONG_CHAIN' });
    const answers: unknown[] = [
      { result: '0x7a69' },
      { result: 'hunter2' },
      { error: { code: -32005, message: 'hunter2' } },
      null,
    ];
    const server = createServer((_, response) => {
      const answer = answers.shift();
      if (answer === undefined || answer === null) response.writeHead(500).end('hunter2');
      else response.end(JSON.stringify({ jsonrpc: '2.0', id: 1, ...answer }));
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const secret = `http://127.0.0.1:${(server.address() as AddressInfo).port}/hunter2`;
    const node = await openEthersNode(secret, 31337n);
    for (const code of ['CHAIN_REFUSED', 'CHAIN_REFUSED', 'CHAIN_UNREACHABLE']) {
      const error = await node.balance(PAYEE).catch((cause: Error) => cause);
      expect(error).toMatchObject({ code });
      expect(JSON.stringify([error, (error as Error).message, (error as Error).cause ?? ''])).not.toContain('hunter2');
    }
    node.close();
    server.closeAllConnections();
    server.close();
  });
});

describe('a wallet on a chain', () => {
  async function wallet(replaceAfterMs = 60_000) {
    const name = `agent ${people++}`;
    const connect = () => openEthersNode(url, 31337n);
    const wallets = openWallets({ secret: SECRET, connect, now: Date.now }, { pollMs: 20, replaceAfterMs });
    const address = wallets.addressOf(name);
    await rpc('anvil_setBalance', [address, toHex(sha256(utf8('x')).subarray(0, 9))]);
    const log = await openWalletLog(fileLog(join(temporaryFolder(), 'log.jsonl')), sha256(utf8('run')));
    const { signal } = new AbortController();
    const to = toHex(sha256(utf8(name)).subarray(0, 20));
    const send = (start: string) =>
      wallets.send(
        name,
        { chain: '31337', data: '0x', to, value: '9' },
        { address, fee: (10n ** 16n).toString() },
        { key: toHex(sha256(utf8(start))), log, signal },
      );
    const paid = async () => BigInt(String(await rpc('eth_getBalance', [to, 'latest'])));
    return { send, paid, address, wallets };
  }

  it('sends once for each start', async () => {
    const { send, paid, wallets } = await wallet();
    const all = await Promise.all(['a', 'b', 'c'].map(send));
    expect(all.every(({ ok }) => ok)).toBe(true);
    expect(await send('a')).toEqual(all[0]);
    expect(await paid()).toBe(27n);
    await wallets.close();
  });

  it('sends nothing that it cannot pay', async () => {
    const { send, paid, address, wallets } = await wallet();
    await rpc('anvil_setBalance', [address, '0x3e8']);
    expect(await send('poor')).toEqual({ ok: false, error: 'INSUFFICIENT_FUNDS' });
    expect([await paid(), await rpc('eth_getTransactionCount', [address, 'pending'])]).toEqual([0n, '0x0']);
    await wallets.close();
  });

  it('replaces what is stuck when blocks become dearer', async () => {
    const { send, paid, address, wallets } = await wallet(100);
    await rpc('evm_setAutomine', [false]);
    try {
      const sending = send('stuck');
      for (let i = 0; i < 100 && (await rpc('eth_getTransactionCount', [address, 'pending'])) === '0x0'; i++)
        await sleep(10);
      const { baseFeePerGas } = (await rpc('eth_getBlockByNumber', ['latest', false])) as { baseFeePerGas: Hex };
      await rpc('anvil_setNextBlockBaseFeePerGas', [`0x${(BigInt(baseFeePerGas) * 4n + 10n ** 10n).toString(16)}`]);
      await rpc('evm_mine');
      let sent: Awaited<typeof sending> | undefined;
      void sending.then((value) => {
        sent = value;
      });
      for (let i = 0; i < 100 && sent === undefined; i++) {
        await sleep(30);
        await rpc('evm_mine');
      }
      expect(sent).toMatchObject({ ok: true, value: { nonce: '0', status: '1' } });
      expect(await paid()).toBe(9n);
    } finally {
      await rpc('evm_setAutomine', [true]);
      await wallets.close();
    }
  });
});
