/**
 * A process that is killed: it opens a folder of runs, goes on with them, and tells what it sees. Bundled and started by
 * `kill-trials.ts`.
 *
 * @module
 */

import { readFile } from 'node:fs/promises';
import { fromHex, type Hex } from '../../attest/core/bytes.ts';
import { RuntimeError } from '../../attest/core/error.ts';
import type { Approval } from '../../attest/trace/approval.ts';
import { jsonPayload } from '../../attest/trace/payload.ts';
import type { RunManager } from '../../runtime/manager-types.ts';
import type { CallerRequest } from '../../runtime/plan.ts';
import type { RunStatus } from '../../runtime/run-status.ts';
import { openQuickJsVm } from '../../runtime/sandbox/quickjs-vm.ts';
import { killedAgents } from './kill-agents.ts';
import { inThreadVm } from './kill-vm.ts';
import { openManaged } from './managed.ts';

/** How a process is set up. */
export type KillSetup = {
  readonly folder: string;
  readonly origin: string;
  /** Undefined: guests run in sandbox processes; else in this one, with this engine. */
  readonly engine: { readonly digest: Hex; readonly path: string } | undefined;
};

/** What the process is told. */
export type ToChild =
  | { readonly type: 'setup'; readonly setup: KillSetup }
  | { readonly type: 'create'; readonly agent: string; readonly request: KilledRequest }
  | { readonly type: 'approve'; readonly run: Hex; readonly index: string; readonly approval: Approval }
  | { readonly type: 'stop' };

/** A caller's request that crosses between processes; asking twice with it is one run. */
export type KilledRequest = Omit<CallerRequest, 'inputPayload'> & { readonly salt: Hex };

/** What the process tells. */
export type FromChild =
  | { readonly type: 'ready' }
  | { readonly type: 'created'; readonly nonce: Hex; readonly run: Hex }
  | { readonly type: 'record'; readonly kind: string }
  | { readonly type: 'status'; readonly status: RunStatus }
  /** The commitment of what is asked is what an approver signs. */
  | { readonly type: 'asked'; readonly run: Hex; readonly index: string; readonly request: Hex }
  | { readonly type: 'fault'; readonly message: string };

const POLL_MS = 15;

const say = (message: FromChild) => process.send?.(message);

let manager: RunManager | undefined;
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

async function open({ folder, origin, engine }: KillSetup): Promise<void> {
  const vm =
    engine === undefined
      ? await openQuickJsVm()
      : inThreadVm({ digest: engine.digest, bytes: await readFile(engine.path) });
  const runs = await openManaged(vm, folder, killedAgents(origin), {
    onRecord: (_run, _agent, { isPast, kind }) => {
      if (!isPast) say({ type: 'record', kind });
    },
    onFault: (run, error) => say({ type: 'fault', message: `${run}: ${String(error)}` }),
  });
  manager = runs;
  say({ type: 'ready' });
  const poll = async (): Promise<void> => {
    await tellChanges(runs);
    setTimeout(() => void poll(), POLL_MS);
  };
  await poll();
}

async function obey(message: ToChild): Promise<void> {
  if (message.type === 'setup') return open(message.setup);
  if (manager === undefined) throw new Error('told before it was set up');
  if (message.type === 'create') {
    const { salt, ...request } = message.request;
    const inputPayload = jsonPayload(request.input, fromHex(salt));
    const caller = { ...request, inputPayload };
    const { run } = await manager.create({ agent: message.agent, input: request.input, caller });
    say({ type: 'created', nonce: request.request.nonce, run });
  } else if (message.type === 'approve') {
    const { run, index, approval } = message;
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

process.on('message', (message: ToChild) => {
  obey(message).catch((error: unknown) => {
    say({ type: 'fault', message: error instanceof Error ? (error.stack ?? error.message) : String(error) });
  });
});
// Whoever started this process is gone.
process.on('disconnect', () => process.exit(2));
