/**
 * A process that pays and is killed, or kills itself at a place that it is told: it opens a folder of runs, goes on with them, and
 * tells what it sees. Bundled and started by `wallet-trials.ts`.
 *
 * @module
 */

import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Hex } from '../../attest/core/bytes.ts';
import type { RunManager } from '../../runtime/manager-types.ts';
import { OFF_CHAIN } from '../../runtime/plan.ts';
import { openEthersNode } from '../../runtime/wallet/ethers-node.ts';
import type { ChainNode } from '../../runtime/wallet/node.ts';
import { openWallets } from '../../runtime/wallet/wallet.ts';
import { inThreadVm } from './kill-vm.ts';
import { openManaged } from './managed.ts';
import {
  approveHere,
  type FromTrialChild,
  sayFault,
  serveTrial,
  type ToTrialChild,
  type TrialAnswer,
} from './trial-child.ts';
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

export type ToWalletChild = ToTrialChild<WalletSetup>;

/** What the process tells; `stage`: it has come to a place. */
export type FromWalletChild = FromTrialChild | { readonly type: 'stage'; readonly stage: Stage };

const say = (message: FromWalletChild) => process.send?.(message);

let folderOfRuns = '';

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

async function open({ folder, rpcUrl, engine, dies }: WalletSetup): Promise<RunManager> {
  const vm = inThreadVm({ digest: engine.digest, bytes: await readFile(engine.path) });
  const reach = stages(dies);
  const connect = async () => watched(await openEthersNode(rpcUrl, 31337n), reach);
  const wallets = openWallets({ secret: WALLET_SECRET, connect, now: Date.now }, { pollMs: 40, replaceAfterMs: 2_000 });
  folderOfRuns = folder;
  return openManaged(vm, folder, payingAgents(), {
    wallets,
    onRecord: (_run, _agent, { isPast, kind }) => {
      if (isPast) return;
      if (kind === 'host.start') reach('intent');
      if (kind === 'host.end') reach('end');
    },
    onFault: sayFault,
  });
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

async function approveOverHttp(runs: RunManager, { run, index, approval }: TrialAnswer): Promise<boolean> {
  const { approved, approver, note, signature } = approval;
  const url = `/v1/runs/${run}/approvals/${index}`;
  const api = await openApi(runs, folderOfRuns);
  const response = await api.inject({ method: 'POST', url, payload: { approved, approver, note, signature } });
  // The answer has come before.
  if (response.statusCode === 409) return false;
  if (response.statusCode !== 200) throw new Error(`approval over HTTP: ${response.body}`);
  return true;
}

// Half of the answers come over HTTP.
serveTrial(open, (runs, answer) =>
  Number.parseInt(answer.run.slice(-1), 16) % 2 === 0 ? approveOverHttp(runs, answer) : approveHere(runs, answer),
);
