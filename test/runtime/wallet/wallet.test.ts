import { readFile, stat, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { BondError } from '../../../attest/bond/errors.ts';
import { type Hex, toHex, utf8 } from '../../../attest/core/bytes.ts';
import { sha256 } from '../../../attest/core/hash.ts';
import { parseTransaction } from '../../../attest/sign/transaction.ts';
import type { WalletArgs } from '../../../attest/trace/wallet.ts';
import { deriveWalletKey } from '../../../runtime/wallet/key.ts';
import { openWalletLog } from '../../../runtime/wallet/log.ts';
import type { ChainNode } from '../../../runtime/wallet/node.ts';
import { signTransaction } from '../../../runtime/wallet/sign.ts';
import { openWallets } from '../../../runtime/wallet/wallet.ts';
import { temporaryFolder } from '../../support/temporary.ts';
import { BASE_FEE, MemoryChain } from '../../support/wallet-chain.ts';
import { fileLog } from '../../support/wallet-log-file.ts';

const SECRET = sha256(utf8('a secret of a test'));
const RUN = sha256(utf8('a run'));
const PAYEE: Hex = `0x${'0a'.repeat(20)}`;
const ARGS: WalletArgs = { chain: '31337', data: '0x', to: PAYEE, value: '5' };
const KEY = toHex(sha256(utf8('a start')));
const FEE = (21_000n * 4n * BASE_FEE).toString();
const QUICK = { pollMs: 5, unreachableMs: 40 };

type Options = Parameters<typeof openWallets>[1];

/** Wallets over a chain, as one process has them. */
function open(chain: MemoryChain, options: Options = {}, node: (of: ChainNode) => ChainNode = (of) => of) {
  const wallets = openWallets(
    {
      secret: SECRET,
      connect: (id) => (id === '31337' ? Promise.resolve(node(chain.node())) : undefined),
      now: Date.now,
    },
    { ...QUICK, ...options },
  );
  const grant = { address: wallets.addressOf('payer'), fee: FEE };
  return { wallets, grant };
}

function setUp(options: Options = {}) {
  const chain = new MemoryChain();
  const path = join(temporaryFolder(), 'run.wallet.jsonl');
  const controller = new AbortController();
  /** Sends as a process does that is started anew: nothing but the log is left. */
  const send = async (
    more: { args?: WalletArgs; key?: Hex; fee?: string; node?: (of: ChainNode) => ChainNode } = {},
  ) => {
    const { wallets, grant } = open(chain, options, more.node);
    const log = await openWalletLog(fileLog(path), RUN);
    try {
      const place = { key: more.key ?? KEY, log, signal: controller.signal };
      return await wallets.send('payer', more.args ?? ARGS, { ...grant, fee: more.fee ?? FEE }, place);
    } finally {
      await wallets.close();
    }
  };
  const key = deriveWalletKey(SECRET, 'payer');
  /** What somebody else who has the key sends. */
  const foreign = (nonce: bigint, maxFeePerGas = 9n * BASE_FEE) =>
    signTransaction(
      {
        chainId: 31337n,
        nonce,
        maxPriorityFeePerGas: 1n,
        maxFeePerGas,
        gasLimit: 21_000n,
        to: `0x${'ff'.repeat(20)}`,
        value: 1n,
        data: '0x',
      },
      key,
    ).raw;
  const paid = () => chain.mined().filter(({ to }) => to === PAYEE).length;
  return { chain, path, send, foreign, paid, controller };
}

/** A node whose process is killed: before it hears of a transaction, or after. */
function killedAt(moment: 'before' | 'after') {
  return (of: ChainNode): ChainNode => ({
    ...of,
    broadcast: async (raw) => {
      if (moment === 'after') await of.broadcast(raw);
      throw new Error('killed');
    },
  });
}

async function until(condition: () => boolean): Promise<void> {
  for (let i = 0; i < 400 && !condition(); i++) await sleep(5);
  expect(condition()).toBe(true);
}

describe('a wallet', () => {
  it('sends what it is asked, and says which transaction of which block did it', async () => {
    const { chain, send } = setUp();
    const sent = await send();
    if (!sent.ok) throw new Error(sent.error);
    const [mined] = chain.mined();
    expect(sent.value).toMatchObject({ hash: mined?.hash, raw: mined?.raw, nonce: '0', status: '1', block: '1' });
    expect(parseTransaction(sent.value.raw)).toMatchObject({ to: PAYEE, value: 5n, data: '0x', chainId: 31337n });
    expect(Object.values(sent.value).every((value) => typeof value === 'string')).toBe(true);
  });

  it('sends once, wherever its process is killed', async () => {
    for (const moment of ['before', 'after'] as const) {
      const { chain, send, paid } = setUp();
      await expect(send({ node: killedAt(moment) })).rejects.toThrow('killed');
      expect(paid()).toBe(moment === 'before' ? 0 : 1);
      const sent = await send();
      expect(sent.ok && sent.value.hash).toBe(chain.mined()[0]?.hash);
      expect(paid()).toBe(1);
      // And whoever asks again is told the same.
      expect(await send()).toEqual(sent);
      expect(paid()).toBe(1);
    }
  });

  it('sends another start besides', async () => {
    const { send, paid, chain } = setUp();
    await send();
    await send({ key: toHex(sha256(utf8('another start'))) });
    expect(paid()).toBe(2);
    expect(chain.mined().map(({ nonce }) => nonce)).toEqual([0n, 1n]);
  });

  it('gives starts side by side nonces of their own', async () => {
    const chain = new MemoryChain();
    const { wallets, grant } = open(chain);
    const folder = temporaryFolder();
    const { signal } = new AbortController();
    const results = await Promise.all(
      Array.from({ length: 12 }, async (_, i) => {
        const log = await openWalletLog(fileLog(join(folder, `${i}.jsonl`)), RUN);
        const place = { key: toHex(sha256(utf8(`start ${i}`))), log, signal };
        try {
          return await wallets.send('payer', { ...ARGS, value: String(i) }, grant, place);
        } finally {
        }
      }),
    );
    expect(results.every(({ ok }) => ok)).toBe(true);
    const mined = chain.mined();
    expect(mined.map(({ nonce }) => Number(nonce))).toEqual(Array.from({ length: 12 }, (_, i) => i));
    expect(new Set(mined.map(({ value }) => value)).size).toBe(12);
    // Nobody signed twice for it.
    expect(new Set(chain.heard).size).toBe(12);
  });

  /** Sends for several starts side by side, in one process. */
  async function sendAll(chain: MemoryChain, count: number, node?: (of: ChainNode) => ChainNode) {
    const { wallets, grant } = open(chain, {}, node);
    const folder = temporaryFolder();
    const { signal } = new AbortController();
    const results = Array.from({ length: count }, async (_, i) => {
      const log = await openWalletLog(fileLog(join(folder, `${i}.jsonl`)), RUN);
      const place = { key: toHex(sha256(utf8(`start ${i}`))), log, signal };
      return wallets.send('payer', { ...ARGS, value: String(i) }, grant, place);
    });
    return Promise.all(results);
  }

  it('leaves no gap where a node is slow and then refuses', async () => {
    const chain = new MemoryChain();
    let first = true;
    const node = (of: ChainNode): ChainNode => ({
      ...of,
      broadcast: async (raw) => {
        if (!first || parseTransaction(raw).nonce !== 0n) return of.broadcast(raw);
        first = false;
        await sleep(40);
        return { answer: 'refused', reason: 'REJECTED' };
      },
    });
    const results = await sendAll(chain, 3, node);
    expect(results.filter(({ ok }) => !ok)).toHaveLength(1);
    expect(chain.mined().map(({ nonce }) => Number(nonce))).toEqual([0, 1]);
  });

  it('gives no nonce twice where a node forgets what it has', async () => {
    const chain = new MemoryChain();
    chain.forgets = true;
    const sending = sendAll(chain, 3);
    await until(() => new Set(chain.heard).size === 3);
    chain.forgets = false;
    await sending;
    expect(new Set(chain.heard.map((raw) => parseTransaction(raw).nonce))).toEqual(new Set([0n, 1n, 2n]));
    expect(new Set(chain.heard).size).toBe(3);
  });

  it('believes no receipt of a block that was replaced', async () => {
    const { chain, send } = setUp();
    let stale = 3;
    const node = (of: ChainNode): ChainNode => ({
      ...of,
      receipt: async (hash) => {
        const receipt = await of.receipt(hash);
        if (receipt === undefined || stale-- <= 0) return receipt;
        return { ...receipt, blockHash: `0x${'dd'.repeat(32)}` };
      },
    });
    const sent = await send({ node });
    const block = await chain.node().block(1n, PAYEE);
    expect(sent.ok && sent.value.blockHash).toBe(block?.hash);
  });

  it('signs again when somebody else took the nonce, and only then', async () => {
    const { chain, send, foreign, paid } = setUp({ confirmations: { 31337: 2 } });
    await expect(send({ node: killedAt('before') })).rejects.toThrow('killed');
    chain.take(foreign(0n));
    chain.autoMine = false;
    const done = send();
    await until(() => chain.heard.length === 0);
    await sleep(40);
    // One block is not enough: it may be replaced, and the first transaction be mined after all.
    expect(chain.heard).toEqual([]);
    chain.mine();
    await until(() => chain.heard.length > 0);
    chain.mine();
    chain.mine();
    const sent = await done;
    expect(sent.ok && sent.value.nonce).toBe('1');
    expect(paid()).toBe(1);
    expect(chain.mined()).toHaveLength(2);
  });

  it('takes the block of its own transaction for what it is when the receipt comes late', async () => {
    const { send, paid, chain } = setUp();
    await expect(send({ node: killedAt('after') })).rejects.toThrow('killed');
    let late = 4;
    const node = (of: ChainNode): ChainNode => ({
      ...of,
      receipt: async (hash) => (late-- > 0 ? undefined : of.receipt(hash)),
    });
    const sent = await send({ node });
    expect(sent.ok && sent.value.nonce).toBe('0');
    expect([paid(), chain.mined().length]).toEqual([1, 1]);
  });

  it('stops where a nonce is used and no block shows by what', async () => {
    const { send, foreign, chain } = setUp();
    await expect(send({ node: killedAt('before') })).rejects.toThrow('killed');
    chain.take(foreign(0n));
    const node = (of: ChainNode): ChainNode => ({
      ...of,
      block: async (number, sender) => {
        const block = await of.block(number, sender);
        return block && { ...block, sent: [] };
      },
    });
    await expect(send({ node })).rejects.toMatchObject({ code: 'CHAIN_INCONSISTENT' });
  });

  it('replaces a transaction that is stuck, within its fee, and takes whichever is mined', async () => {
    const { chain, send, path, paid } = setUp({ replaceAfterMs: 30 });
    chain.autoMine = false;
    const done = send({ fee: (21_000n * 3n * BASE_FEE).toString() });
    await until(() => chain.heard.length > 0);
    chain.baseFee = (BASE_FEE * 5n) / 2n;
    chain.mine();
    await until(() => new Set(chain.heard).size >= 2);
    const [first, second] = [...new Set(chain.heard)].map(parseTransaction);
    if (first === undefined || second === undefined) throw new Error('not replaced');
    expect(second.nonce).toBe(first.nonce);
    await sleep(100);
    const fees = [...new Set(chain.heard)].map((raw) => parseTransaction(raw).maxFeePerGas);
    fees.slice(1).forEach((fee, i) => {
      expect(fee * 8n).toBeGreaterThanOrEqual((fees[i] ?? 0n) * 9n);
    });
    // The bound of the fee ends it.
    for (const raw of chain.heard) expect(parseTransaction(raw).maxFeePerGas).toBeLessThanOrEqual(3n * BASE_FEE);
    chain.mine();
    const sent = await done;
    expect(sent.ok && sent.value.nonce).toBe('0');
    expect(paid()).toBe(1);
    const logged = (await readFile(path, 'utf8'))
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line).raw);
    expect(new Set(logged)).toEqual(new Set(chain.heard));
  });

  it('takes the first of two transactions of one nonce when that is the one that is mined', async () => {
    const { chain, send, paid } = setUp({ replaceAfterMs: 20 });
    chain.autoMine = false;
    const done = send();
    await until(() => new Set(chain.heard).size >= 2);
    const [first] = chain.heard;
    // A maker of blocks that never heard of the second.
    chain.pending.splice(0);
    chain.take(first as Hex);
    chain.mine();
    const sent = await done;
    expect(sent.ok && sent.value.raw).toBe(first);
    expect(paid()).toBe(1);
  });

  it('waits for confirmations, and sends again what a reorganisation took away', async () => {
    const { chain, send, paid } = setUp({ confirmations: { 31337: 3 } });
    let done = false;
    const sending = send().finally(() => {
      done = true;
    });
    await until(() => chain.head === 1n);
    chain.mine();
    await sleep(40);
    expect(done).toBe(false);
    chain.reorg(2, false);
    await until(() => chain.head >= 1n && paid() === 1);
    chain.mine();
    chain.mine();
    const sent = await sending;
    expect(sent.ok).toBe(true);
    expect(new Set(chain.heard).size).toBe(1);
    expect(paid()).toBe(1);
  });

  it('goes on when a node is silent, and fills the nonce that it kept from being used', async () => {
    const { chain, send, paid, controller } = setUp();
    for (const method of ['head', 'count', 'broadcast', 'receipt', 'block'] as const) {
      const key = toHex(sha256(utf8(method)));
      chain.down = method;
      const done = send({ key });
      await sleep(25);
      chain.down = false;
      expect((await done).ok, method).toBe(true);
    }
    expect(paid()).toBe(5);
    expect(chain.mined().map(({ nonce }) => Number(nonce))).toEqual([0, 1, 2, 3, 4]);
    expect(controller.signal.aborted).toBe(false);
  });

  it('gives up on a node that is silent before anything is signed', async () => {
    const { chain, send, path } = setUp();
    chain.down = true;
    expect(await send()).toEqual({ ok: false, error: 'UNREACHABLE' });
    await expect(stat(path)).rejects.toMatchObject({ code: 'ENOENT' });
  });

  it('shows a transaction again that a node has forgotten', async () => {
    const { chain, send, paid } = setUp();
    chain.forgets = true;
    const done = send();
    await until(() => chain.heard.length >= 3);
    chain.forgets = false;
    expect((await done).ok).toBe(true);
    expect(paid()).toBe(1);
    expect(new Set(chain.heard).size).toBe(1);
  });

  it('sends nothing that costs more than its fee, that it cannot pay, or that the chain refuses', async () => {
    const { chain, send, path } = setUp();
    expect(await send({ fee: (21_000n * BASE_FEE).toString() })).toEqual({ ok: false, error: 'FEE_TOO_HIGH' });
    expect(await send({ fee: '0' })).toEqual({ ok: false, error: 'FEE_TOO_HIGH' });
    chain.rejecting.add(PAYEE);
    expect(await send()).toEqual({ ok: false, error: 'REJECTED' });
    chain.rejecting.clear();
    chain.balances.set(open(chain).grant.address, 21_000n * 2n * BASE_FEE);
    expect(await send()).toEqual({ ok: false, error: 'INSUFFICIENT_FUNDS' });
    expect(chain.heard).toEqual([]);
    await expect(stat(path)).rejects.toMatchObject({ code: 'ENOENT' });
  });

  it('says so when the node takes it not, and uses that nonce for the next', async () => {
    const { chain, send, paid } = setUp();
    for (const reason of ['INSUFFICIENT_FUNDS', 'REJECTED'] as const) {
      chain.refuses = reason;
      expect(await send({ key: toHex(sha256(utf8(reason))) })).toEqual({ ok: false, error: reason });
    }
    chain.refuses = undefined;
    const sent = await send();
    expect(sent.ok && sent.value.nonce).toBe('0');
    expect(paid()).toBe(1);
  });

  it('takes no refusal for one after the node may have had it', async () => {
    const { chain, send, paid } = setUp();
    let times = 0;
    const node = (of: ChainNode): ChainNode => ({
      ...of,
      broadcast: async (raw) => {
        times += 1;
        if (times > 1) return { answer: 'refused', reason: 'INSUFFICIENT_FUNDS' };
        await of.broadcast(raw);
        throw new BondError('CHAIN_UNREACHABLE', 'the answer was lost');
      },
    });
    expect((await send({ node })).ok).toBe(true);
    expect([paid(), chain.mined().length]).toEqual([1, 1]);
  });

  it('tells of a contract that refused in the block', async () => {
    const { chain, send } = setUp();
    chain.reverting.add(PAYEE);
    const sent = await send();
    expect(sent.ok && sent.value.status).toBe('0');
  });

  it('ends when it is told to', async () => {
    const { chain, send, controller } = setUp();
    chain.autoMine = false;
    const done = send();
    await until(() => chain.heard.length > 0);
    controller.abort();
    await expect(done).rejects.toThrow();
    await expect(send()).rejects.toThrow();
  });

  it('signs with no key but the one that the policy names, and for no chain but those of the host', async () => {
    const { chain } = setUp();
    const { wallets, grant } = open(chain);
    const log = await openWalletLog(fileLog(join(temporaryFolder(), 'x.jsonl')), RUN);
    const place = { key: KEY, log, signal: new AbortController().signal };
    await expect(wallets.send('other', ARGS, grant, place)).rejects.toMatchObject({ code: 'WALLET_KEY_MISMATCH' });
    await expect(wallets.send('payer', { ...ARGS, chain: '1' }, grant, place)).rejects.toMatchObject({
      code: 'CHAIN_NOT_CONFIGURED',
    });
    expect(chain.heard).toEqual([]);
  });
});

describe('the log of a wallet', () => {
  it('is found damaged where a line was changed, moved, taken out, or is of another run', async () => {
    const { send, path, chain } = setUp();
    await send();
    await send({ key: toHex(sha256(utf8('second'))) });
    await send({ key: toHex(sha256(utf8('third'))) });
    const text = await readFile(path, 'utf8');
    const lines = text.trim().split('\n');
    expect(lines).toHaveLength(3);
    const heard = chain.heard.length;
    const changed: Record<string, readonly string[]> = {
      'another key': lines.with(0, (lines[0] ?? '').replace(KEY, toHex(sha256(utf8('a key'))))),
      'another block': lines.with(0, (lines[0] ?? '').replace('"block":"0"', '"block":"7"')),
      'another transaction': lines.with(
        1,
        (lines[1] ?? '').replace(/"raw":"[^"]*"/, (/"raw":"[^"]*"/.exec(lines[0] ?? '') ?? [''])[0]),
      ),
      'no JSON': lines.with(1, 'x'),
      null: lines.with(1, 'null'),
      'an empty line': lines.with(1, ''),
      moved: [lines[1] ?? '', lines[0] ?? '', lines[2] ?? ''],
      'taken out': [lines[0] ?? '', lines[2] ?? ''],
      'first taken out': lines.slice(1),
      twice: [...lines, lines[2] ?? ''],
    };
    for (const [name, list] of Object.entries(changed)) {
      await writeFile(path, `${list.join('\n')}\n`);
      await expect(send(), name).rejects.toMatchObject({ code: 'WALLET_LOG_DAMAGED' });
    }
    await writeFile(path, text);
    await expect(openWalletLog(fileLog(path), sha256(utf8('another run')))).rejects.toMatchObject({
      code: 'WALLET_LOG_DAMAGED',
    });
    expect(chain.heard).toHaveLength(heard);
    expect((await send()).ok).toBe(true);
  });

  it('is damaged where it holds another transaction than the start asks for', async () => {
    const { send } = setUp();
    await send();
    for (const args of [{ value: '6' }, { to: `0x${'0b'.repeat(20)}` as Hex }, { data: '0x00' as Hex }]) {
      await expect(send({ args: { ...ARGS, ...args } })).rejects.toMatchObject({ code: 'WALLET_LOG_DAMAGED' });
    }
    await expect(send({ fee: '21000' })).rejects.toMatchObject({ code: 'WALLET_LOG_DAMAGED' });
  });

  it('forgets a line that was cut short: its transaction was never sent', async () => {
    for (const [cut, lines] of [
      // Only its LF is missing: it is as good as any other.
      [1, 1],
      [2, 2],
      [40, 2],
      [300, 2],
    ] as const) {
      const { send, path, paid } = setUp();
      await expect(send({ node: killedAt('before') })).rejects.toThrow('killed');
      await truncate(path, (await stat(path)).size - cut);
      const sent = await send();
      expect(sent.ok, `${cut}`).toBe(true);
      expect((await readFile(path, 'utf8')).trim().split('\n'), `${cut}`).toHaveLength(lines);
      expect(await send()).toEqual(sent);
      expect(await send({ key: toHex(sha256(utf8('next'))) })).toMatchObject({ ok: true });
      expect(await send()).toEqual(sent);
      expect(paid()).toBe(2);
    }
  });

  it('cannot be written: nothing is sent', async () => {
    const { send, chain } = setUp();
    const { wallets, grant } = open(chain);
    const log = await openWalletLog(fileLog(join(temporaryFolder(), 'missing', 'x.jsonl')), RUN);
    const place = { key: KEY, log, signal: new AbortController().signal };
    await expect(wallets.send('payer', ARGS, grant, place)).rejects.toMatchObject({ code: 'WALLET_LOG_UNWRITABLE' });
    expect(chain.heard).toEqual([]);
    expect((await send()).ok).toBe(true);
  });
});
