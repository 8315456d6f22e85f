/**
 * A process that is killed: it opens a folder of runs, goes on with them, and tells what it sees. Bundled and started by
 * `kill-trials.ts`.
 *
 * @module
 */

import { readFile } from 'node:fs/promises';
import type { Hex } from '../../attest/core/bytes.ts';
import { openQuickJsVm } from '../../runtime/sandbox/quickjs-vm.ts';
import { killedAgents } from './kill-agents.ts';
import { inThreadVm } from './kill-vm.ts';
import { openManaged } from './managed.ts';
import { type FromTrialChild, sayFault, serveTrial, type ToTrialChild } from './trial-child.ts';

/** How a process is set up. */
export type KillSetup = {
  readonly folder: string;
  readonly origin: string;
  /** Undefined: guests run in sandbox processes; else in this one, with this engine. */
  readonly engine: { readonly digest: Hex; readonly path: string } | undefined;
};

export type ToChild = ToTrialChild<KillSetup>;

/** What the process tells; `record`: one has become durable. */
export type FromChild = FromTrialChild | { readonly type: 'record'; readonly kind: string };

const say = (message: FromChild) => process.send?.(message);

serveTrial(async ({ folder, origin, engine }: KillSetup) => {
  const vm =
    engine === undefined
      ? await openQuickJsVm()
      : inThreadVm({ digest: engine.digest, bytes: await readFile(engine.path) });
  return openManaged(vm, folder, killedAgents(origin), {
    onRecord: (_run, _agent, { isPast, kind }) => {
      if (!isPast) say({ type: 'record', kind });
    },
    onFault: sayFault,
  });
});
