/**
 * A worker of a shared queue in a process of its own: it takes runs until it is told to stop, stopped or killed. Bundled and started by
 * `redis-workers.ts`.
 *
 * @module
 */

import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import type { Hex } from '../../attest/core/bytes.ts';
import { RuntimeError } from '../../attest/core/error.ts';
import { openRunManager } from '../../runtime/manager.ts';
import type { RunManager } from '../../runtime/manager-types.ts';
import { OFF_CHAIN } from '../../runtime/plan.ts';
import { openRedisMachinery } from '../../runtime/queue/redis-machinery.ts';
import { inThreadVm } from './kill-vm.ts';
import { workedAgents } from './redis-agents.ts';
import { OPERATOR_KEY, TOY_IDENTITY, toyClient } from './toy-run.ts';

/** How a worker is set up. */
export type WorkerSetup = {
  readonly url: string;
  readonly prefix: string;
  readonly folder: string;
  readonly home: string;
  readonly origin: string;
  readonly engine: { readonly digest: Hex; readonly path: string };
  readonly lockMs: number;
  readonly concurrency: number;
};

/** What a worker is told. */
export type ToWorker = { readonly type: 'setup'; readonly setup: WorkerSetup } | { readonly type: 'stop' };

/** What a worker tells. */
export type FromWorker =
  | { readonly type: 'ready' }
  | { readonly type: 'record'; readonly run: Hex }
  /** What it could not do, by code. */
  | { readonly type: 'fault'; readonly run: Hex | undefined; readonly code: string; readonly message: string };

const say = (message: FromWorker) => process.send?.(message);

const fault = (run: Hex | undefined, error: unknown) => {
  const code = RuntimeError.is(error) ? error.code : 'UNEXPECTED';
  say({ type: 'fault', run, code, message: error instanceof Error ? (error.stack ?? error.message) : String(error) });
};

let manager: RunManager | undefined;

async function obey(message: ToWorker): Promise<void> {
  if (message.type === 'stop') {
    await manager?.close();
    process.exit(0);
  }
  const { origin, engine, ...options } = message.setup;
  const machinery = await openRedisMachinery({ ...options, onFault: fault });
  manager = await openRunManager(
    {
      vm: inThreadVm({ digest: engine.digest, bytes: await readFile(engine.path) }),
      inference: toyClient,
      now: Date.now,
      random: () => Uint8Array.from(randomBytes(32)),
      key: OPERATOR_KEY,
      deployment: OFF_CHAIN,
      identity: TOY_IDENTITY,
      onRecord: (run, _agent, { isPast }) => {
        if (!isPast) say({ type: 'record', run });
      },
      onFault: fault,
    },
    { machinery, agents: workedAgents(origin) },
  );
  say({ type: 'ready' });
}

process.on('message', (message: ToWorker) => {
  obey(message).catch((error: unknown) => fault(undefined, error));
});
// Whoever started this process is gone.
process.on('disconnect', () => process.exit(2));
