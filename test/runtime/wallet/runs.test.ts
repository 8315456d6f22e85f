import { createReadStream } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { fromHex, type Hex, toHex, utf8 } from '../../../attest/core/bytes.ts';
import { sha256 } from '../../../attest/core/hash.ts';
import type { Json } from '../../../attest/encoding/canonical-json.ts';
import { addressOf } from '../../../attest/sign/secp256k1.ts';
import { signApproval } from '../../../attest/trace/approval.ts';
import { parseLine } from '../../../attest/trace/lines.ts';
import type { WalletGrant } from '../../../attest/trace/policy.ts';
import { trustSigner } from '../../../attest/verify/trust.ts';
import { verifyBundle } from '../../../attest/verify/verifier.ts';
import { OFF_CHAIN } from '../../../runtime/plan.ts';
import type { SignedLog } from '../../../runtime/queue/ports.ts';
import { createExecutor } from '../../../runtime/replay.ts';
import { deriveWalletKey } from '../../../runtime/wallet/key.ts';
import type { ChainNode } from '../../../runtime/wallet/node.ts';
import { openRunWallet, type RunWallet } from '../../../runtime/wallet/run-wallet.ts';
import { signTransaction } from '../../../runtime/wallet/sign.ts';
import { openWallets, type SentTransaction } from '../../../runtime/wallet/wallet.ts';
import { linesOf } from '../../support/forging.ts';
import {
  beginRun,
  type CutPorts,
  crashRun,
  itemEnds,
  planOfAgent,
  resumeRun,
  verifyRun,
} from '../../support/kill-cuts.ts';
import { sharedInThreadVm } from '../../support/kill-vm.ts';
import { managed, openManaged } from '../../support/managed.ts';
import { temporaryFolder } from '../../support/temporary.ts';
import { OPERATOR, toyRecomputer } from '../../support/toy-run.ts';
import { PAYMENT_APPROVER_KEY, PAYMENT_FEE, paymentGrant, WALLET_SECRET } from '../../support/wallet-agents.ts';
import { MemoryChain } from '../../support/wallet-chain.ts';

const vm = await sharedInThreadVm();
const PAYEE: Hex = `0x${'0a'.repeat(20)}`;
const TOKEN: Hex = `0x${'0c'.repeat(20)}`;
const LIMITS = { perCall: PAYMENT_FEE + 1000n, perRun: 3n * PAYMENT_FEE + 2000n };
const GRANT = paymentGrant('payer', {
  approvalAbove: null,
  perCall: `${LIMITS.perCall}`,
  perRun: `${LIMITS.perRun}`,
});
const APPROVER = addressOf(PAYMENT_APPROVER_KEY);

const SEND = `
  const args = (more) => ({ chain: '31337', data: '0x', to: '${PAYEE}', value: '5', ...more });
  const send = (more) => call('wallet.send', args(more)).then(({ status }) => status, (error) => error.code + ' ' + error.message);
  const ask = (wallet, more) => call('human.approve', { summary: 'pay?', details: { wallet }, timeoutMs: 0, ...more })
    .then(({ approved }) => approved, (error) => error.message);`;

function payer(body: string, grants: readonly WalletGrant[] = [GRANT]) {
  const approving = { capability: 'human.approve', approvers: [APPROVER] } as const;
  return managed('payer', `${SEND} ${body}`, { grants: [...grants, approving] });
}

function memoryLog(): SignedLog & { bytes: Uint8Array } {
  const log = {
    bytes: new Uint8Array(),
    read: async () => log.bytes,
    append: async (more: Uint8Array) => {
      log.bytes = Uint8Array.from([...log.bytes, ...more]);
    },
  };
  return log;
}

/** A chain, and the wallet of one run on it, as every process that takes the run up has it. */
function world(entry: ReturnType<typeof managed>, node: (of: ChainNode) => ChainNode = (of) => of) {
  const chain = new MemoryChain();
  const signed = memoryLog();
  const told: string[] = [];
  const { run } = planOfAgent(vm, entry, null);
  const wallet = (): RunWallet => {
    const connect = () => Promise.resolve(node(chain.node()));
    const wallets = openWallets({ secret: WALLET_SECRET, connect, now: Date.now }, { pollMs: 5, unreachableMs: 30 });
    return openRunWallet(wallets, { agent: 'payer', run, signed }, ({ code }) => told.push(code));
  };
  return { chain, signed, told, wallet };
}

async function runOnce(entry: ReturnType<typeof managed>, set = world(entry)) {
  const { bytes, result } = await beginRun(vm, entry, null, { wallet: set.wallet() });
  return { ...set, bytes, result };
}

type ControlErrorLike = { readonly code: string };
const word = (value: bigint) => value.toString(16).padStart(64, '0');

describe('a run that pays', () => {
  it('verifies, with what it spent in its records', async () => {
    const entry = payer('return [await send(), await send({ value: "7" })];');
    const { bytes, result, chain } = await runOnce(entry);
    expect(result).toMatchObject({ status: 'done', output: ['1', '1'] });
    expect(chain.mined().map(({ value }) => value)).toEqual([5n, 7n]);
    expect(await verifyRun(vm, bytes)).toMatchObject({ verdict: 'MATCH', status: 'done' });
    const bodies = linesOf(bytes).flatMap((text) => {
      const line = parseLine(utf8(text));
      return line.type === 'record' && line.record.kind.startsWith('host.') ? [line.record.body as Json] : [];
    });
    expect(bodies).toMatchObject([
      { capability: 'wallet.send', amount: `${PAYMENT_FEE + 5n}` },
      { evidence: 'transaction' },
      { capability: 'wallet.send', amount: `${PAYMENT_FEE + 7n}` },
      { evidence: 'transaction' },
    ]);
  });

  it('is checkpointed before the chain hears of anything', async () => {
    const entry = payer('return send();');
    const parts: Uint8Array[] = [];
    let before: string | undefined;
    const set = world(entry, (of) => ({
      ...of,
      estimate: async (from, call) => {
        before = itemEnds(Buffer.concat(parts)).at(-1)?.kind;
        return of.estimate(from, call);
      },
    }));
    const { run, plan } = planOfAgent(vm, entry, null);
    const { TraceWriter } = await import('../../../attest/trace/writer.ts');
    const { runAgent } = await import('../../../runtime/run.ts');
    const { OPERATOR_KEY, toyClient } = await import('../../support/toy-run.ts');
    const sink = { append: async (bytes: Uint8Array) => void parts.push(bytes) };
    const writer = new TraceWriter(
      { sink, now: Date.now, salt: () => sha256(utf8('salt')) },
      run,
      OFF_CHAIN,
      OPERATOR_KEY,
    );
    await runAgent({ vm, inference: toyClient, now: Date.now, writer, wallet: set.wallet() }, plan);
    expect(before).toBe('checkpoint');
  });

  it.each<[string, string, string]>([
    ['above perCall', 'send({ value: "1001" })', 'CAPABILITY_DENIED wallet.send is denied by agent.6.perCall'],
    ['to another chain', 'send({ chain: "1" })', 'CAPABILITY_DENIED wallet.send is denied by agent.6.calls'],
    [
      'with data that is not listed',
      'send({ data: "0x12345678" })',
      'CAPABILITY_DENIED wallet.send is denied by agent.6.calls',
    ],
    ['with half a selector', 'send({ data: "0x1234" })', 'CAPABILITY_DENIED wallet.send is denied by agent.6.calls'],
    ['to no address', 'send({ to: "0x12" })', 'CAPABILITY_DENIED wallet.send is denied by agent.default'],
    ['a negative value', 'send({ value: "-5" })', 'CAPABILITY_DENIED wallet.send is denied by agent.default'],
    ['with another field', 'send({ gas: "5" })', 'CAPABILITY_DENIED wallet.send is denied by agent.default'],
  ])('sends nothing %s', async (_, call, expected) => {
    const { result, chain, bytes, signed } = await runOnce(payer(`return ${call};`));
    expect(result).toMatchObject({ status: 'done', output: expected });
    expect(chain.heard).toEqual([]);
    expect(signed.bytes).toHaveLength(0);
    expect(await verifyRun(vm, bytes)).toMatchObject({ verdict: 'MATCH' });
  });

  it('sends nothing above perRun, however it is split, failures counted', async () => {
    const entry = payer('return Promise.all([send(), send(), send(), send()]);');
    const { result, chain } = await runOnce(entry);
    const denied = 'CAPABILITY_DENIED wallet.send is denied by agent.6.perRun';
    expect(result).toMatchObject({ output: ['1', '1', '1', denied] });
    expect(chain.mined()).toHaveLength(3);
    const refused = world(entry);
    refused.chain.refuses = 'REJECTED';
    const failed = 'HOST_CALL_FAILED REJECTED';
    expect((await runOnce(entry, refused)).result).toMatchObject({ output: [failed, failed, failed, denied] });
  });

  it('counts tokens as the grant says, and calls listed contracts and methods alone', async () => {
    const token = { units: '10', wei: '3' };
    const grant = { ...GRANT, calls: [{ contract: TOKEN, selectors: ['0xa9059cbb' as const], token }] };
    const transfer = (units: bigint) =>
      `send({ to: '${TOKEN}', value: '0', data: '0xa9059cbb${word(9n)}${word(units)}' })`;
    const entry = payer(
      `return [await ${transfer(3333n)}, await ${transfer(3334n)}, await send(), await send({ to: '${TOKEN}', data: '0x095ea7b3' })];`,
      [grant],
    );
    const { result, chain } = await runOnce(entry);
    const denied = 'CAPABILITY_DENIED wallet.send is denied by agent.6';
    expect(result).toMatchObject({ output: ['1', `${denied}.perCall`, `${denied}.calls`, `${denied}.calls`] });
    expect(chain.mined()).toHaveLength(1);
  });

  it('tells what the chain made of it', async () => {
    const entry = payer('return send();');
    const cases: [string, (chain: MemoryChain) => void][] = [
      ['HOST_CALL_FAILED REJECTED', (chain) => chain.rejecting.add(PAYEE)],
      ['HOST_CALL_FAILED UNREACHABLE', (chain) => Object.assign(chain, { down: true })],
      ['HOST_CALL_FAILED FEE_TOO_HIGH', (chain) => Object.assign(chain, { baseFee: PAYMENT_FEE })],
      ['HOST_CALL_FAILED INSUFFICIENT_FUNDS', (chain) => Object.assign(chain, { refuses: 'INSUFFICIENT_FUNDS' })],
      ['0', (chain) => chain.reverting.add(PAYEE)],
    ];
    for (const [expected, change] of cases) {
      const set = world(entry);
      change(set.chain);
      const { result, bytes } = await runOnce(entry, set);
      expect(result).toMatchObject({ output: expected });
      expect(await verifyRun(vm, bytes)).toMatchObject({ verdict: 'MATCH' });
    }
  });

  it('goes on after a crash at every record, and pays once', async () => {
    const entry = payer('const first = await send(); return [first, await send({ value: "6" })];');
    const { bytes: whole } = await runOnce(entry);
    for (let items = 1; items < itemEnds(whole).length; items += 3) {
      const set = world(entry);
      const cut = await crashRun(vm, entry, null, items, { wallet: set.wallet() });
      const { result, bytes } = await resumeRun(vm, cut, { wallet: set.wallet() });
      expect(result, `${items}`).toMatchObject({ status: 'done', output: ['1', '1'] });
      expect(set.chain.mined().map(({ value }) => value)).toEqual([5n, 6n]);
      expect(await verifyRun(vm, bytes)).toMatchObject({ verdict: 'MATCH' });
    }
  });

  it('waits for somebody where its log is damaged', async () => {
    const entry = payer('return send();');
    const set = world(entry);
    set.signed.bytes = utf8('this is no line of a log\n');
    const { result } = await runOnce(entry, set);
    expect(result).toMatchObject({ status: 'suspended', reason: 'reconciliation' });
    expect(set.told).toEqual(['WALLET_LOG_DAMAGED']);
    expect(set.chain.heard).toEqual([]);
  });

  it.each(['send', 'lost'] as const)('hears `%s` from the operator when it stopped', async (how) => {
    const entry = payer('return send();');
    const folder = temporaryFolder();
    const chain = new MemoryChain();
    let known = false;
    const connect = () => (known ? Promise.resolve(chain.node()) : undefined);
    const wallets = openWallets({ secret: WALLET_SECRET, connect, now: Date.now }, { pollMs: 5 });
    const manager = await openManaged(vm, folder, [entry], { wallets });
    const { run } = await manager.create({ agent: 'payer', input: null });
    const { status, reason, waiting } = await manager.settled(run);
    expect([status, reason]).toEqual(['suspended', 'reconciliation']);
    known = how === 'send';
    await manager.reconcile(run, BigInt(waiting[0]?.index ?? 0), how).catch((error: ControlErrorLike) => {
      // It looked again by itself, and needs nobody any more.
      expect([how, error.code]).toEqual(['send', 'NOT_WAITING']);
    });
    const output = how === 'send' ? '1' : 'HOST_CALL_FAILED CRASH';
    expect(await manager.settled(run)).toMatchObject({ status: 'done', output });
    expect(chain.mined()).toHaveLength(how === 'send' ? 1 : 0);
    await manager.close();
  });

  it('is lost without a wallet', async () => {
    const entry = payer('return send();');
    const { result } = await beginRun(vm, entry, null);
    expect(result).toMatchObject({ output: 'HOST_CALL_FAILED HOST_FAULT' });
  });
});

describe('an operator that lies about what its wallet did', () => {
  const entry = payer('return call("wallet.send", args()).then(({ raw }) => raw.length > 0);');
  const key = deriveWalletKey(WALLET_SECRET, 'payer');
  const honest = {
    chainId: 31337n,
    nonce: 3n,
    maxPriorityFeePerGas: 1n,
    maxFeePerGas: 10n,
    gasLimit: 21_000n,
    to: PAYEE,
    value: 5n,
    data: '0x' as Hex,
  };
  const told = (
    change: Partial<typeof honest> = {},
    more: Partial<SentTransaction> = {},
    signer = key,
  ): SentTransaction => {
    const { raw, hash, nonce } = signTransaction({ ...honest, ...change }, signer);
    const hex = `0x${'11'.repeat(32)}` as const;
    const base = { block: '9', blockHash: hex, effectiveGasPrice: '10', gasUsed: '21000', status: '1' } as const;
    return { ...base, hash, nonce: nonce.toString(), raw, ...more };
  };
  const record = async (value: SentTransaction) => {
    const wallet: CutPorts['wallet'] = { send: async () => ({ ok: true, value }) };
    return (await beginRun(vm, entry, null, { wallet })).bytes;
  };

  it('is believed where it says what was asked', async () => {
    expect(await verifyRun(vm, await record(told()))).toMatchObject({ verdict: 'MATCH' });
  });

  it.each<[string, SentTransaction, string]>([
    ['another payee', told({ to: TOKEN }), 'body.response.raw.to'],
    ['another value', told({ value: 6n }), 'body.response.raw.value'],
    ['other data', told({ data: '0x12' }), 'body.response.raw.arguments'],
    ['another chain', told({ chainId: 1n }), 'body.response.raw.chain'],
    ['another wallet', told({}, {}, sha256(utf8('mine'))), 'body.response.raw.from'],
    ['more fees than granted', told({ maxFeePerGas: PAYMENT_FEE }), 'body.response.raw.fee'],
    ['another hash', told({}, { hash: `0x${'22'.repeat(32)}` }), 'body.response.hash'],
    ['another nonce', told({}, { nonce: '4' }), 'body.response.nonce'],
    ['more gas than its limit', told({}, { gasUsed: '21001' }), 'body.response.gasUsed'],
    ['a price above its own', told({}, { effectiveGasPrice: '11' }), 'body.response.effectiveGasPrice'],
    ['no transaction', told({}, { raw: '0x02c0' }), 'body.response.raw'],
  ])('is found out: %s', async (_, value, field) => {
    expect(await verifyRun(vm, await record(value))).toMatchObject({ verdict: 'DIVERGED', field });
  });

  it.each<[string, object]>([
    ['a field less', { status: undefined }],
    ['a status that is none', { status: '2' }],
    ['a number', { block: 9 }],
  ])('is malformed: %s', async (_, more) => {
    const { status: _status, ...rest } = told();
    const value = JSON.parse(JSON.stringify({ ...rest, status: '1', ...more })) as SentTransaction;
    const report = await verifyRun(vm, await record(value));
    expect(report.verdict).toBe('INVALID');
  });
});

describe('approvals', () => {
  const above = { ...GRANT, approvalAbove: `${PAYMENT_FEE + 4n}` };

  /** A manager with one agent; the person answers what they are asked. */
  async function steer(body: string, decide: (asked: number) => boolean) {
    const folder = temporaryFolder();
    const chain = new MemoryChain();
    const connect = () => Promise.resolve(chain.node());
    const wallets = openWallets({ secret: WALLET_SECRET, connect, now: Date.now }, { pollMs: 5 });
    const manager = await openManaged(vm, folder, [payer(body, [above])], { wallets });
    const { run } = await manager.create({ agent: 'payer', input: null });
    const seen: Json[] = [];
    let status = await manager.settled(run);
    while (status.status === 'suspended') {
      const [waiting] = status.waiting;
      if (waiting === undefined) throw new Error('waits for nobody');
      const index = BigInt(waiting.index);
      for await (const { body: start } of manager.records(run, index)) {
        const { request } = start as { readonly request: Hex };
        const decision = { approved: decide(seen.length), note: '' };
        seen.push(waiting.request);
        const place = { run: fromHex(run), index, request };
        const signature = signApproval(decision, place, OFF_CHAIN, PAYMENT_APPROVER_KEY);
        await manager.approve(run, index, { ...decision, approver: APPROVER, signature });
        break;
      }
      status = await manager.settled(run);
    }
    const executor = createExecutor(vm, toyRecomputer);
    const ports = { executor, trust: trustSigner(OPERATOR), now: () => performance.now() };
    const report = await verifyBundle(ports, createReadStream(manager.bundle(run)));
    expect(report).toMatchObject({ verdict: 'MATCH', status: 'done' });
    await manager.close();
    return { output: status.output, chain, seen };
  }

  const denied = 'CAPABILITY_DENIED wallet.send is denied by agent.6.approvalAbove';

  it('are asked for above the limit, and serve one send of what was asked', async () => {
    const { output, chain, seen } = await steer(
      'return [await send({ value: "4" }), await send(), await ask(args()), await send({ value: "6" }), await send(), await send()];',
      () => true,
    );
    expect(output).toEqual(['1', denied, true, denied, '1', denied]);
    expect(chain.mined().map(({ value }) => value)).toEqual([4n, 5n]);
    expect(seen).toMatchObject([{ details: { wallet: { to: PAYEE, value: '5' } } }]);
  });

  it('that are refused, of something else, or that nobody gave serve nothing', async () => {
    const { output, chain } = await steer(
      `const refused = await ask(args());
       const first = await send();
       const other = await ask({ ...args(), value: '6' });
       const second = await send();
       const more = await call('human.approve', { summary: 'pay?', details: { wallet: args(), why: 'x' }, timeoutMs: 0 });
       const third = await send();
       const late = await ask(args(), { timeoutMs: 1 });
       return [refused, first, other, second, more.approved, third, late, await send()];`,
      (asked) => asked > 0,
    );
    expect(output).toEqual([false, denied, true, denied, true, denied, 'TIMEOUT', denied]);
    expect(chain.mined()).toEqual([]);
  });
});

it('wallets of agents are those of their names', () => {
  const { addressOf: of } = openWallets({ secret: WALLET_SECRET, connect: () => undefined, now: Date.now });
  expect(of('payer')).toBe(GRANT.address);
  expect(of('asker')).not.toBe(GRANT.address);
  expect(toHex(deriveWalletKey(WALLET_SECRET, 'payer'))).not.toBe(toHex(WALLET_SECRET));
});
