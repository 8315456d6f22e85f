/**
 * What the routes of the runtime's API share.
 *
 * @module
 */

import type { FastifyRequest } from 'fastify';
import type { Hex } from '../../attest/core/bytes.ts';
import type { Deployment } from '../../attest/trace/checkpoint.ts';
import type { RunManager } from '../manager-types.ts';
import { ManagerError } from '../manager-types.ts';
import type { RunStatus } from '../run-status.ts';
import { isRunId } from './queries.ts';
import type { RequestBook } from './requests.ts';

/** What the routes work with. */
export type RunContext = {
  readonly manager: RunManager;
  readonly book: RequestBook;
  /** The contract with its salt; `OFF_CHAIN` without a chain. */
  readonly deployment: Deployment & { readonly salt: Uint8Array };
  /** Milliseconds since 1970. */
  readonly now: () => number;
  /** 32 random bytes each. */
  readonly random: () => Uint8Array;
  /** Id of the access key of a request; null where none is asked for. */
  readonly callerOf: (request: FastifyRequest) => string | null;
  /** Counts a request that begins or steers a run. @throws {@link ServerError} `RATE_LIMITED` */
  readonly count: (request: FastifyRequest) => void;
};

/**
 * The run of a path, if it is the caller's: that of a key is whose request began it or the run that asked for it.
 *
 * @param id - untrusted
 * @throws {@link ManagerError} `UNKNOWN_RUN`, also for a run of somebody else
 */
export function findRun(
  { manager, book }: Pick<RunContext, 'manager' | 'book'>,
  caller: string | null,
  id: string,
): RunStatus {
  if (!isRunId(id)) throw new ManagerError('UNKNOWN_RUN', 'no such run: expected 32 bytes as 0x hexadecimal');
  const status = manager.get(id);
  if (!isOf({ manager, book }, caller, status)) throw new ManagerError('UNKNOWN_RUN', `no run ${id}`);
  return status;
}

/** Whether a run is shown to a caller. */
export function isOf(
  { manager, book }: Pick<RunContext, 'manager' | 'book'>,
  caller: string | null,
  status: RunStatus,
): boolean {
  if (caller === null) return true;
  let root: RunStatus | undefined = status;
  let run: Hex = status.run;
  while (root !== undefined && root.parent !== null) {
    run = root.parent.run;
    root = statusOf(manager, run);
  }
  return book.ownerOf(run) === caller;
}

/** Where a run stands, or undefined where none is known. */
export function statusOf(manager: RunManager, run: Hex): RunStatus | undefined {
  try {
    return manager.get(run);
  } catch (error) {
    if (error instanceof ManagerError && error.code === 'UNKNOWN_RUN') return undefined;
    throw error;
  }
}
