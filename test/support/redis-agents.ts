/** The agents of every process that works on a shared queue in tests. */

import type { ManagedAgent } from '../../runtime/manager-types.ts';
import { killedAgents } from './kill-agents.ts';
import { managed } from './managed.ts';
import { infer } from './toy-run.ts';

/** Those with effects on the server at `origin`, and `asks`, which asks a model that costs nothing. */
export function workedAgents(origin: string): readonly ManagedAgent[] {
  return [
    ...killedAgents(origin),
    managed('asks', `return await call('inference', ${JSON.stringify(infer('how long?'))});`),
  ];
}
