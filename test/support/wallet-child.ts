/**
 * A process that pays and is killed, or kills itself at a place that it is told: it opens a folder of runs, goes on with them, and
 * tells what it sees. Bundled and started by `wallet-trials.ts`.
 *
 * @module
 */

import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fromHex, type Hex } from '../../attest/core/bytes.ts';
import { RuntimeError } from '../../attest/core/error.ts';
import type { Approval } from '../../attest/trace/approval.ts';
import { jsonPayload } from '../../attest/trace/payload.ts';
import type { RunManager } from '../../runtime/manager-types.ts';
import { type CallerRequest, OFF_CHAIN } from '../../runtime/plan.ts';
import type { RunStatus } from '../../runtime/run-status.ts';
import { openEthersNode } from '../../runtime/wallet/ethers-node.ts';
import type { ChainNode } from '../../runtime/wallet/node.ts';
import { openWallets } from '../../runtime/wallet/wallet.ts';
import { inThreadVm } from './kill-vm.ts';
import { openManaged } from './managed.ts';
import { payingAgents, WALLET_SECRET } from './wallet-agents.ts';

/**
 * Places of a send: its start is on record, its checkpoint too, it is signed and logged, the node has it, the node has its receipt, its
 * end is on record.
 */
export const STAGES = ['intent', 'checkpoint', 'log', 'send', 'receipt', 'end'] as const;

export type Stage = (typeof STAGES)[number];

/** How a process is set up. */
export type WalletSetup = {
  readonly folder: string;
  readonly rpcUrl: string;
  readonly engine: { readonly digest: Hex; readonly path: string };
  /** Where it kills itself: when it comes to this place so many times more, after so many milliseconds. */
  readonly dies: { readonly stage: Stage; readonly after: number; readonly delayMs: number } | undefined;
};

/** A caller's request that crosses between processes; asking twice with it is one run. */
export type PaymentRequest = Omit<CallerRequest, 'inputPayload'> & { readonly salt: Hex };

/** What the process is told. */
export type ToWalletChild =
  | { readonly type: 'setup'; readonly setup: WalletSetup }
  | { readonly type: 'create'; readonly agent: string; readonly request: PaymentRequest }
  | { readonly type: 'approve'; readonly run: Hex; readonly index: string; readonly approval: Approval }
  | { readonly type: 'stop' };

/** What the process tells. */
export type FromWalletChild =
  | { readonly type: 'ready' }
  | { readonly type: 'created'; readonly nonce: Hex; readonly run: Hex }
  | { readonly type: 'stage'; readonly stage: Stage }
  | { readonly type: 'status'; readonly status: RunStatus }
  | { readonly type: 'asked'; readonly run: Hex; readonly index: string; readonly request: Hex }
  | { readonly type: 'fault'; readonly message: string };

const POLL_MS = 15;

const say = (message: FromWalletChild) => process.send?.(message);

let manager: RunManager | undefined;
let folderOfRuns = '';
const told = new Map<Hex, string>();

async function tellChanges(runs: RunManager): Promise<void> {
  for (const status of runs.list()) {
    const { run, status: word, waiting } = status;
    const now = JSON.stringify([word, waiting.map(({ index }) => index)]);
    if (told.get(run) === now) continue;
    told.set(run, now);
    say({ type: 'status', status });
    for (const { index, for: whom } of waiting) {
      if (whom !== 'approval') continue;
      for await (const { body } of runs.records(run, BigInt(index))) {
        say({ type: 'asked', run, index, request: (body as { readonly request: Hex }).request });
        break;
      }
    }
  }
}

/** Comes to a place, and ends there if it was told to. */
function stages(dies: WalletSetup['dies']): (stage: Stage) => void {
  let left = dies?.after ?? 0;
  const die = () => process.kill(process.pid, 'SIGKILL');
  return (stage) => {
    say({ type: 'stage', stage });
    if (dies?.stage !== stage) return;
    left -= 1;
    if (left !== -1) return;
    if (dies.delayMs === 0) die();
    else setTimeout(die, dies.delayMs);
  };
}

function watched(node: ChainNode, reach: (stage: Stage) => void): ChainNode {
  return {
    ...node,
    estimate(from, call) {
      reach('checkpoint');
      return node.estimate(from, call);
    },
    async broadcast(raw) {
      reach('log');
      const answer = await node.broadcast(raw);
      reach('send');
      return answer;
    },
    async receipt(hash) {
      const receipt = await node.receipt(hash);
      if (receipt !== undefined) reach('receipt');
      return receipt;
    },
  };
}

async function open({ folder, rpcUrl, engine, dies }: WalletSetup): Promise<void> {
  const vm = inThreadVm({ digest: engine.digest, bytes: await readFile(engine.path) });
  const reach = stages(dies);
  const connect = async () => watched(await openEthersNode(rpcUrl, 31337n), reach);
  const wallets = openWallets({ secret: WALLET_SECRET, connect, now: Date.now }, { pollMs: 40, replaceAfterMs: 2_000 });
  const runs = await openManaged(vm, folder, payingAgents(), {
    wallets,
    onRecord: (_run, _agent, { isPast, kind }) => {
      if (isPast) return;
      if (kind === 'host.start') reach('intent');
      if (kind === 'host.end') reach('end');
    },
    onFault: (run, error) => say({ type: 'fault', message: `${run}: ${String(error)}` }),
  });
  manager = runs;
  folderOfRuns = folder;
  say({ type: 'ready' });
  const poll = async (): Promise<void> => {
    await tellChanges(runs);
    setTimeout(() => void poll(), POLL_MS);
  };
  await poll();
}

/** The runtime's own API over these runs; loaded where it is needed, for most of these processes do not live long. */
async function openApi(runs: RunManager, folder: string) {
  const { openRequestBook } = await import('../../runtime/api/requests.ts');
  const { buildRuntimeServer } = await import('../../runtime/api/server.ts');
  const book = await openRequestBook(join(folder, 'requests'));
  return buildRuntimeServer(runs, {
    book,
    deployment: OFF_CHAIN,
    now: Date.now,
    random: () => Uint8Array.from(randomBytes(32)),
    onFault: (error) => say({ type: 'fault', message: String(error) }),
  });
}

async function approveOverHttp(run: Hex, index: string, approval: Approval): Promise<void> {
  const { approved, approver, note, signature } = approval;
  const url = `/v1/runs/${run}/approvals/${index}`;
  if (manager === undefined) throw new Error('told before it was set up');
  const api = await openApi(manager, folderOfRuns);
  const response = await api.inject({ method: 'POST', url, payload: { approved, approver, note, signature } });
  // 409: the answer has come before.
  if (response.statusCode === 409) told.delete(run);
  else if (response.statusCode !== 200) throw new Error(`approval over HTTP: ${response.body}`);
}

async function obey(message: ToWalletChild): Promise<void> {
  if (message.type === 'setup') return open(message.setup);
  if (manager === undefined) throw new Error('told before it was set up');
  if (message.type === 'create') {
    const { salt, ...request } = message.request;
    const caller = { ...request, inputPayload: jsonPayload(request.input, fromHex(salt)) };
    const { run } = await manager.create({ agent: message.agent, input: request.input, caller });
    say({ type: 'created', nonce: request.request.nonce, run });
  } else if (message.type === 'approve') {
    const { run, index, approval } = message;
    // Half of them over HTTP.
    if (Number.parseInt(run.slice(-1), 16) % 2 === 0) return approveOverHttp(run, index, approval);
    try {
      await manager.approve(run, BigInt(index), approval);
    } catch (error) {
      // The answer may have come before: whoever answers cannot know.
      if (!RuntimeError.is(error) || !['NOT_WAITING', 'WRONG_STATE', 'RUN_OVER'].includes(error.code)) throw error;
      if (error.code === 'RUN_OVER') told.delete(run);
    }
  } else {
    await manager.close();
    process.exit(0);
  }
}

process.on('message', (message: ToWalletChild) => {
  obey(message).catch((error: unknown) => {
    say({ type: 'fault', message: error instanceof Error ? (error.stack ?? error.message) : String(error) });
  });
});
// Whoever started this process is gone.
process.on('disconnect', () => process.exit(2));
