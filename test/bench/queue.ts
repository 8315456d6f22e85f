/**
 * Many machines: runs with a model that costs nothing through a Redis server on this computer, at 1, 2 and 4 worker processes, beside the
 * embedded queue; and what the queue costs a run.
 *
 * All processes share this computer's cores with the server: figures of several workers say what the parts cost, not how machines add up.
 *
 * @module
 */

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Hex } from '../../attest/core/bytes.ts';
import type { RunManager } from '../../runtime/manager-types.ts';
import { openFileStore } from '../../runtime/queue/file-store.ts';
import type { Machinery, RunStore } from '../../runtime/queue/ports.ts';
import { openRedisMachinery } from '../../runtime/queue/redis-machinery.ts';
import { emptyStatus } from '../../runtime/run-status.ts';
import { type BenchResult, type Measure, median } from '../support/bench.ts';
import { inThreadVm } from '../support/kill-vm.ts';
import { openManaged } from '../support/managed.ts';
import { seededRandom } from '../support/random.ts';
import { workedAgents } from '../support/redis-agents.ts';
import { startRedis } from '../support/redis-server.ts';
import { openFront, openWorkerBench, type WorkerBench } from '../support/redis-workers.ts';

const RUNS = 200;
const LANES = 32;
const ALONE = 30;
const JOBS = 500;
const APPENDS = 300;
const WORKERS = [1, 2, 4] as const;
const NOWHERE = 'http://127.0.0.1:9';

/** Measures one after the other. */
export async function run(): Promise<BenchResult> {
  const redis = await startRedis();
  const bench = await openWorkerBench();
  const folder = await mkdtemp(join(tmpdir(), 'bench-queue-'));
  try {
    const embedded = await openManaged(inThreadVm(bench.engine), join(folder, 'embedded'), workedAgents(NOWHERE));
    const rate = await measureRate(embedded);
    const rates: number[] = [];
    let alone = { embedded: Number.NaN, redis: Number.NaN, cost: Number.NaN };
    for (const workers of WORKERS) {
      const compare = async (front: RunManager) => {
        alone = await measureAlone(embedded, front);
      };
      rates.push(await measureRedis(bench, redis.url, workers, workers === 1 ? compare : undefined));
    }
    await embedded.close();
    const job = await measureJobs(redis.url, join(folder, 'jobs'));
    const file = await measureAppends(await openFileStore(join(folder, 'files')));
    const machinery = await openRedisMachinery({ url: redis.url, prefix: 'appends', folder: join(folder, 'appends') });
    const stream = await measureAppends(machinery.store);
    await closeMachinery(machinery);
    const measures: Measure[] = [
      { name: `runs with a null model, embedded queue, ${LANES} side by side`, value: rate, unit: 'runs/s' },
      ...WORKERS.map((workers, i) => ({
        name: `runs with a null model, Redis, ${workers} worker process${workers === 1 ? '' : 'es'}, ${LANES} side by side`,
        value: rates[i] ?? Number.NaN,
        unit: 'runs/s',
      })),
      { name: 'one run alone from request to end, embedded, median', value: alone.embedded, unit: 'ms' },
      { name: 'one run alone from request to end, Redis and 1 worker, median', value: alone.redis, unit: 'ms' },
      { name: 'cost of Redis per run alone, median of the differences of runs in turn', value: alone.cost, unit: 'ms' },
      { name: 'a job through the queue that does nothing, one after the other, median', value: job.alone, unit: 'ms' },
      { name: `jobs that do nothing, ${LANES} side by side in one worker`, value: job.rate, unit: 'jobs/s' },
      { name: 'append of 1 KiB, file, median', value: file, unit: 'ms' },
      { name: 'append of 1 KiB, Redis with appendfsync always, median', value: stream, unit: 'ms' },
    ];
    const rateOf = (i: number) => rates[i] ?? Number.NaN;
    return {
      measures,
      ratios: { 'Redis 1 worker / embedded': rateOf(0) / rate, 'Redis 2 workers / 1': rateOf(1) / rateOf(0) },
    };
  } finally {
    await redis.close();
    await bench.close();
    await rm(folder, { recursive: true, force: true });
  }
}

async function measureRedis(
  bench: WorkerBench,
  url: string,
  workers: number,
  also: ((front: RunManager) => Promise<void>) | undefined,
): Promise<number> {
  const prefix = `bench-${workers}`;
  const options = { url, prefix, origin: NOWHERE };
  const all = [];
  for (let i = 0; i < workers; i++) {
    all.push(await bench.start({ ...options, home: `worker-${i}`, lockMs: 30_000, concurrency: LANES }));
  }
  const faults: unknown[] = [];
  const onFault = (_run: unknown, error: unknown) => void faults.push(error);
  const front = await openFront(bench, { ...options, random: seededRandom(workers) }, onFault);
  const rate = await measureRate(front);
  await also?.(front);
  await front.close();
  for (const worker of all) await worker.stop();
  if (faults.length > 0) throw faults[0];
  return rate;
}

async function measureRate(manager: RunManager): Promise<number> {
  await inLanes(LANES, LANES, () => finish(manager));
  const from = performance.now();
  await inLanes(RUNS, LANES, () => finish(manager));
  return RUNS / ((performance.now() - from) / 1000);
}

/** One run after the other, in turn: what else the computer does meanwhile meets both. */
async function measureAlone(embedded: RunManager, front: RunManager) {
  const times: { readonly embedded: number; readonly redis: number }[] = [];
  const timed = async (manager: RunManager) => {
    const from = performance.now();
    await finish(manager);
    return performance.now() - from;
  };
  for (let i = 0; i < ALONE; i++) times.push({ embedded: await timed(embedded), redis: await timed(front) });
  return {
    embedded: median(times.map((one) => one.embedded)),
    redis: median(times.map((one) => one.redis)),
    cost: median(times.map((one) => one.redis - one.embedded)),
  };
}

async function finish(manager: RunManager): Promise<void> {
  const { run: id } = await manager.create({ agent: 'asks', input: null });
  const { status, error } = await manager.settled(id);
  if (status !== 'done') throw new Error(`a run is ${status}: ${error?.message}`);
}

async function measureJobs(url: string, folder: string): Promise<{ readonly rate: number; readonly alone: number }> {
  const machinery = await openRedisMachinery({ url, prefix: 'jobs', folder, concurrency: LANES });
  const { queue, store } = machinery;
  await store.open({ status: () => undefined, grown: () => undefined });
  const done = new Map<Hex, () => void>();
  queue.work(async (job) => {
    done.get(job.run)?.();
    return 'rested';
  });
  const random = seededRandom(1);
  const through = async () => {
    const id = `0x${Buffer.from(random.bytes(32)).toString('hex')}` as Hex;
    const ended = new Promise<void>((resolve) => void done.set(id, resolve));
    await queue.add(id);
    await ended;
  };
  await inLanes(LANES, 1, through);
  const times: number[] = [];
  await inLanes(JOBS / 5, 1, async () => {
    const from = performance.now();
    await through();
    times.push(performance.now() - from);
  });
  const from = performance.now();
  await inLanes(JOBS, LANES, through);
  const rate = JOBS / ((performance.now() - from) / 1000);
  await closeMachinery(machinery);
  return { rate, alone: median(times) };
}

async function measureAppends(store: RunStore): Promise<number> {
  const id = `0x${'b'.repeat(64)}` as const;
  await store.create(emptyStatus(id, 0), Buffer.from('begin\n'));
  const claim = await store.claim(id);
  const journal = await claim.proceed(6);
  const bytes = Buffer.alloc(1024, 'x');
  const times: number[] = [];
  for (let i = 0; i < APPENDS; i++) {
    const from = performance.now();
    await journal.append(bytes);
    times.push(performance.now() - from);
  }
  await journal.close();
  await claim.release();
  return median(times.slice(APPENDS / 10));
}

async function closeMachinery({ queue, inbox, store }: Machinery): Promise<void> {
  await queue.close();
  await inbox.close();
  await store.close();
}

/** Does something `count` times, `width` at once. */
async function inLanes(count: number, width: number, work: () => Promise<void>): Promise<void> {
  let left = count;
  const lane = async () => {
    while (left > 0) {
      left -= 1;
      await work();
    }
  };
  await Promise.all(Array.from({ length: width }, lane));
}
