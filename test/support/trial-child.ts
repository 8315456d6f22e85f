/**
 * What all processes of runs that are killed have in common: they open a folder of runs, go on with them, tell what they see, and do what
 * they are told.
 *
 * @module
 */

import { fromHex, type Hex } from '../../attest/core/bytes.ts';
import { RuntimeError } from '../../attest/core/error.ts';
import type { Approval } from '../../attest/trace/approval.ts';
import { jsonPayload } from '../../attest/trace/payload.ts';
import type { RunManager } from '../../runtime/manager-types.ts';
import type { CallerRequest } from '../../runtime/plan.ts';
import type { RunStatus } from '../../runtime/run-status.ts';

/** A caller's request that crosses between processes; asking twice with it is one run. */
export type TrialRequest = Omit<CallerRequest, 'inputPayload'> & { readonly salt: Hex };

/** What somebody says to what a run asks. */
export type TrialAnswer = { readonly run: Hex; readonly index: string; readonly approval: Approval };

/** What the process is told; `setup` comes first and once. */
export type ToTrialChild<Setup> =
  | { readonly type: 'setup'; readonly setup: Setup }
  | { readonly type: 'create'; readonly agent: string; readonly request: TrialRequest }
  | ({ readonly type: 'approve' } & TrialAnswer)
  | { readonly type: 'stop' };

/** What the process tells. */
export type FromTrialChild =
  | { readonly type: 'ready' }
  | { readonly type: 'created'; readonly nonce: Hex; readonly run: Hex }
  | { readonly type: 'status'; readonly status: RunStatus }
  /** The commitment of what is asked is what an approver signs. */
  | { readonly type: 'asked'; readonly run: Hex; readonly index: string; readonly request: Hex }
  | { readonly type: 'fault'; readonly message: string };

const POLL_MS = 15;

const say = (message: FromTrialChild) => process.send?.(message);

/** Tells a fault that no run is told of. */
export function sayFault(run: Hex | undefined, error: unknown): void {
  say({ type: 'fault', message: `${run}: ${String(error)}` });
}

/**
 * Gives an answer to the manager itself.
 *
 * @returns false if the run was over before
 */
export async function approveHere(runs: RunManager, { run, index, approval }: TrialAnswer): Promise<boolean> {
  try {
    await runs.approve(run, BigInt(index), approval);
  } catch (error) {
    // The answer may have come before: whoever answers cannot know.
    if (!RuntimeError.is(error) || !['NOT_WAITING', 'WRONG_STATE', 'RUN_OVER'].includes(error.code)) throw error;
    return error.code !== 'RUN_OVER';
  }
  return true;
}

/**
 * Serves whoever started this process, until that one is gone or says to stop.
 *
 * @param open - opens the folder of runs
 * @param approve - false tells what is known of the run once more
 */
export function serveTrial<Setup>(
  open: (setup: Setup) => Promise<RunManager>,
  approve: (runs: RunManager, answer: TrialAnswer) => Promise<boolean> = approveHere,
): void {
  let manager: RunManager | undefined;
  const told = new Map<Hex, string>();
  const poll = async (runs: RunManager): Promise<void> => {
    await tellChanges(runs, told);
    setTimeout(() => void poll(runs), POLL_MS);
  };
  const obey = async (message: ToTrialChild<Setup>): Promise<void> => {
    if (message.type === 'setup') {
      manager = await open(message.setup);
      say({ type: 'ready' });
      return poll(manager);
    }
    if (manager === undefined) throw new Error('told before it was set up');
    if (message.type === 'create') {
      const { salt, ...request } = message.request;
      const caller = { ...request, inputPayload: jsonPayload(request.input, fromHex(salt)) };
      const { run } = await manager.create({ agent: message.agent, input: request.input, caller });
      say({ type: 'created', nonce: request.request.nonce, run });
    } else if (message.type === 'approve') {
      if (!(await approve(manager, message))) told.delete(message.run);
    } else {
      await manager.close();
      process.exit(0);
    }
  };
  process.on('message', (message: ToTrialChild<Setup>) => {
    obey(message).catch((error: unknown) => {
      say({ type: 'fault', message: error instanceof Error ? (error.stack ?? error.message) : String(error) });
    });
  });
  // Whoever started this process is gone.
  process.on('disconnect', () => process.exit(2));
}

async function tellChanges(runs: RunManager, told: Map<Hex, string>): Promise<void> {
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
