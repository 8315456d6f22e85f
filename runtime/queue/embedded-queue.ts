/**
 * The queue of a program that is alone with its runs: a run that is added is taken up at once, in this process.
 *
 * There is no place to wait: `hasRoom` says whether a new run may begin, and whatever goes on (a run that a person answered, a child that its
 * parent waits for) is taken up beside the others.
 *
 * @module
 */

import type { Hex } from '../../attest/core/bytes.ts';
import { QueueError } from './errors.ts';
import type { JobEnd, RunJob, RunQueue } from './ports.ts';

export declare namespace openEmbeddedQueue {
  type Options = {
    /** Runs at work from which on no new ones are begun. */
    readonly maxActive: number;
    /** Told of handlers that rejected: such a run is not taken up again by itself. */
    readonly onFault: (run: Hex, error: unknown) => void;
  };
}

/** Opens a queue in this process. */
export function openEmbeddedQueue({ maxActive, onFault }: openEmbeddedQueue.Options): RunQueue {
  /** Runs at work; true for those that were added meanwhile. */
  const active = new Map<Hex, boolean>();
  const waiting = new Set<Hex>();
  const ended = new Set<Promise<void>>();
  let handler: ((job: RunJob) => Promise<JobEnd>) | undefined;
  let isClosed = false;

  const take = (run: Hex) => {
    if (handler === undefined) {
      waiting.add(run);
      return;
    }
    active.set(run, false);
    const done = handler({ run, lost: new AbortController().signal })
      .catch((error) => {
        onFault(run, error);
        return 'rested' as const;
      })
      .then((end) => {
        const isAddedAgain = active.get(run) === true;
        active.delete(run);
        ended.delete(done);
        if ((isAddedAgain || end === 'left') && !isClosed) take(run);
      });
    ended.add(done);
  };
  const add = async (run: Hex, again: boolean) => {
    if (isClosed) throw new QueueError('QUEUE_CLOSED', 'the queue takes nothing any more');
    if (!active.has(run)) take(run);
    else if (again) active.set(run, true);
  };

  return {
    add: (run) => add(run, true),
    ensure: (run) => add(run, false),
    work(handle) {
      if (isClosed) throw new QueueError('QUEUE_CLOSED', 'the queue takes nothing any more');
      handler = handle;
      for (const run of waiting) take(run);
      waiting.clear();
    },
    hasRoom: async (isAtRest) => [...active.keys()].filter((run) => !isAtRest(run)).length < maxActive,
    counts: async () => ({ waiting: waiting.size, active: active.size, stalled: 0 }),
    async close() {
      isClosed = true;
      while (ended.size > 0) await Promise.all(ended);
    },
  };
}
