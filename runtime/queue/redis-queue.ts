/**
 * The queue of runs on a Redis server, by BullMQ: one job at most for a run, taken again from a worker that died or stalled.
 *
 * B1. A job bears the run as its deduplication id: an `add` while one waits changes nothing, while one is at work it leads to one more.
 * B2. A job never fails for good: one that was left goes to the front of the queue, one whose handler rejected waits for up to five seconds.
 * B3. A worker that finds that its lock is gone aborts `lost`. That is a hint; what holds is the fence of the store.
 * B4. Runs that are `running` and have no job, since a process died between the two, are added every half minute.
 *
 * Spec: `runtime/spec/machines.md#queue`.
 *
 * @module
 */

import { DelayedError, type Job, Queue, UnrecoverableError, WaitingError, Worker } from 'bullmq';
import type { Hex } from '../../attest/core/bytes.ts';
import { QueueError } from './errors.ts';
import type { JobEnd, RunJob, RunQueue } from './ports.ts';
import { type RedisAddress, type RedisLink, reconnecting } from './redis-connect.ts';
import { type RedisKeys, readRunId } from './redis-keys.ts';

export declare namespace openRedisQueue {
  type Options = {
    /** Runs at work at once in this process. */
    readonly concurrency: number;
    /** Runs that wait from which on no new ones are taken. */
    readonly maxWaiting: number;
    /** Milliseconds after which a job whose worker has not been heard of is given to another. */
    readonly lockMs: number;
    /** Resolves when this process has heard all that was told. */
    readonly caughtUp: () => Promise<void>;
    /** Runs that some worker is to go on with. */
    readonly live: () => AsyncIterable<Hex>;
    /** Runs to try once more when this process begins to work. */
    readonly broken: readonly Hex[];
    readonly onFault: (run: Hex | undefined, error: unknown) => void;
  };
}

type RunData = { readonly run: string };

const NAME = 'runs';
const SWEEP_MS = 30_000;
const LONGEST_PAUSE_MS = 5_000;
const COUNT_MS = 1_000;
/** How long `close` waits for what the library has still to tell a server that does not answer. */
const CLOSE_MS = 5_000;

/** Opens the queue. */
export async function openRedisQueue(
  address: RedisAddress,
  link: RedisLink,
  keys: RedisKeys,
  { concurrency, maxWaiting, lockMs, caughtUp, live, broken, onFault }: openRedisQueue.Options,
): Promise<RunQueue> {
  const name = `${link.client.options.connectionName ?? 'tracebond'}-queue`;
  const queue = new Queue<RunData, JobEnd, string>(NAME, {
    connection: { ...address.options, ...reconnecting(name) },
    prefix: keys.prefix,
    defaultJobOptions: { removeOnComplete: true, removeOnFail: true },
    streams: { events: { maxLen: 1_000 } },
  });
  queue.on('error', () => undefined);
  await link.patiently(() => queue.waitUntilReady());
  const lost = new Map<string, AbortController>();
  let worker: Worker<RunData, JobEnd, string> | undefined;
  let sweeping: NodeJS.Timeout | undefined;
  let isClosed = false;
  let stalled = 0;

  const requireOpen = (): void => {
    if (isClosed) throw new QueueError('QUEUE_CLOSED', 'the queue takes nothing any more');
  };
  const add = async (run: Hex, keepLastIfActive: boolean): Promise<void> => {
    requireOpen();
    const id = run.slice(2);
    await link.patiently(() => queue.add('run', { run: id }, { deduplication: { id, keepLastIfActive } }));
  };

  const process = async (
    handle: (job: RunJob) => Promise<JobEnd>,
    job: Job<RunData, JobEnd>,
    token: string | undefined,
  ) => {
    const run = readRunId(String((job.data as Partial<RunData> | null)?.run));
    if (run === undefined || job.id === undefined) throw new UnrecoverableError('a job of no run');
    const gone = new AbortController();
    lost.set(job.id, gone);
    let end: JobEnd;
    try {
      // A worker that slept would go on with what it believed then.
      await caughtUp();
      end = await handle({ run, lost: gone.signal });
    } catch (error) {
      onFault(run, error);
      const pause = Math.min(100 * 2 ** Math.min(job.attemptsStarted, 10), LONGEST_PAUSE_MS);
      await giveBack(run, () => job.moveToDelayed(Date.now() + pause, token));
      throw new DelayedError();
    } finally {
      lost.delete(job.id);
    }
    if (end === 'rested') return end;
    await giveBack(run, () => job.moveToWait(token));
    throw new WaitingError();
  };
  /** Gives a job back; one that cannot be is taken from this worker when its lock has run out. */
  const giveBack = async (run: Hex, give: () => Promise<unknown>): Promise<void> => {
    try {
      await give();
    } catch (error) {
      // Another worker has it already.
      if (!isLockGone(error))
        onFault(
          run,
          new QueueError('QUEUE_UNREACHABLE', 'a job could not be given back; it is when its lock has run out'),
        );
    }
  };

  const countJobs = async (ms?: number) => {
    const counts = await link.patiently(() => queue.getJobCounts('wait', 'delayed', 'prioritized', 'active'), ms);
    const of = (state: string) => counts[state] ?? 0;
    return { waiting: of('wait') + of('delayed') + of('prioritized'), active: of('active') };
  };

  const sweep = async (): Promise<void> => {
    for await (const run of live()) {
      if (isClosed) return;
      await add(run, false);
    }
  };
  const tell = (error: unknown) => {
    if (!isClosed) onFault(undefined, error);
  };

  return {
    add: (run) => add(run, true),
    ensure: (run) => add(run, false),
    work(handle) {
      requireOpen();
      worker = new Worker<RunData, JobEnd, string>(NAME, (job, token) => process(handle, job, token), {
        // Commands of a job that ends wait until the server is back.
        connection: { ...address.options, ...reconnecting(name), enableOfflineQueue: true, maxRetriesPerRequest: null },
        prefix: keys.prefix,
        concurrency,
        lockDuration: lockMs,
        stalledInterval: lockMs,
        maxStalledCount: Number.MAX_SAFE_INTEGER,
        runRetryDelay: 500,
        drainDelay: 5,
        removeOnComplete: { count: 0 },
        removeOnFail: { count: 0 },
      });
      // Connections that are lost are made again, and locks that are lost are told below.
      worker.on('error', () => undefined);
      worker.on('stalled', () => {
        stalled += 1;
      });
      worker.on('lockRenewalFailed', (jobs: string[]) => {
        for (const id of jobs) lost.get(id)?.abort();
      });
      const again = async () => {
        for (const run of broken) await add(run, false);
        await sweep();
      };
      again().catch(tell);
      sweeping = setInterval(() => void sweep().catch(tell), SWEEP_MS);
      sweeping.unref();
    },
    hasRoom: async () => (await countJobs()).waiting < maxWaiting,
    // Whoever looks now wants to know now.
    counts: async () => ({ ...(await countJobs(COUNT_MS)), stalled }),
    async close() {
      isClosed = true;
      clearInterval(sweeping);
      if (worker !== undefined) await closeWorker(worker, lost);
      await bounded(queue.close());
    },
  };
}

/** Waits for the jobs at work, however long they take, and then for the library, but not for ever. */
async function closeWorker(
  worker: Worker<RunData, JobEnd, string>,
  atWork: ReadonlyMap<string, AbortController>,
): Promise<void> {
  const closed = worker.close();
  closed.catch(() => undefined);
  while (atWork.size > 0) await new Promise((resolve) => setTimeout(resolve, 20));
  if (!(await bounded(closed))) await bounded(worker.disconnect());
}

/** Whether it ended in time. */
function bounded(work: Promise<unknown>): Promise<boolean> {
  return new Promise((resolve) => {
    const timer = setTimeout(() => resolve(false), CLOSE_MS);
    const end = () => {
      clearTimeout(timer);
      resolve(true);
    };
    work.then(end, end);
  });
}

/** Whether the library says that a job is not its worker's any more. */
function isLockGone(error: unknown): boolean {
  return error instanceof Error && /lock|active state|missing key/i.test(error.message);
}
