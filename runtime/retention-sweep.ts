/**
 * Retention by age: payloads of runs that ended long ago are deleted, at the start and every hour.
 *
 * @module
 */

import type { Hex } from '../attest/core/bytes.ts';
import { RuntimeError } from '../attest/core/error.ts';
import { ManagerError, type RunManager } from './manager-types.ts';
import { isOver } from './run-status.ts';

/** What a sweep works with. */
export type SweepPorts = {
  readonly manager: Pick<RunManager, 'list' | 'withhold'>;
  /** Forgets what else could tell a run's payloads. */
  readonly forget: (run: Hex) => Promise<void>;
  /** Milliseconds since 1970. */
  readonly now: () => number;
  /** Told of a run whose payloads could not be deleted; it is tried again at the next sweep. */
  readonly onFault: (run: Hex, error: unknown) => void;
};

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;

/** Deletes the payloads of runs that ended more than `maxAgeMs` ago; returns how many. */
export async function sweepPayloads({ manager, forget, now, onFault }: SweepPorts, maxAgeMs: number): Promise<number> {
  let count = 0;
  for (const status of manager.list()) {
    const { run, updatedAt, withheldAt } = status;
    if (!isOver(status) || withheldAt !== undefined || now() - updatedAt < maxAgeMs) continue;
    try {
      await manager.withhold(run);
      await forget(run);
      count += 1;
    } catch (error) {
      // One that its parent still needs is taken when that is over.
      if (error instanceof ManagerError && error.code === 'WRONG_STATE') continue;
      if (!RuntimeError.is(error) && !isSystemError(error)) throw error;
      onFault(run, error);
    }
  }
  return count;
}

/** Sweeps now and every hour; returns how to stop, which waits for a sweep that is under way. */
export function startRetention(ports: SweepPorts, days: number): () => Promise<void> {
  let sweep = sweepPayloads(ports, days * DAY_MS);
  const timer = setInterval(() => {
    sweep = sweep.then(() => sweepPayloads(ports, days * DAY_MS));
  }, HOUR_MS).unref();
  return async () => {
    clearInterval(timer);
    await sweep;
  };
}

function isSystemError(error: unknown): boolean {
  return error instanceof Error && 'syscall' in error;
}
