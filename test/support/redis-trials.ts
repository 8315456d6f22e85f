/**
 * Runs on several machines while what they stand on fails: the Redis server is killed and started again, a worker is stopped past its lock and
 * woken, a worker is killed. What is then looked at: every run is done, every bundle matches, every effect happened once, and no record is of
 * a worker that had lost its claim.
 *
 * @module
 */

import { createReadStream } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { fromHex, type Hex } from '../../attest/core/bytes.ts';
import { RuntimeError } from '../../attest/core/error.ts';
import { addressOf } from '../../attest/sign/secp256k1.ts';
import { signApproval } from '../../attest/trace/approval.ts';
import { verifyChildren } from '../../attest/verify/child-bundles.ts';
import { trustSigner } from '../../attest/verify/trust.ts';
import { verifyBundle } from '../../attest/verify/verifier.ts';
import type { RunManager } from '../../runtime/manager-types.ts';
import { OFF_CHAIN } from '../../runtime/plan.ts';
import { createExecutor } from '../../runtime/replay.ts';
import { isOver } from '../../runtime/run-status.ts';
import { APPROVER_KEY, KILLED_AGENTS, killedInput } from './kill-agents.ts';
import { startCountingServer } from './kill-server.ts';
import { inThreadVm } from './kill-vm.ts';
import { type Random, seededRandom } from './random.ts';
import { type RedisServerProcess, startRedis } from './redis-server.ts';
import { openFront, openWorkerBench, type WorkerBench, type WorkerProcess } from './redis-workers.ts';
import { OPERATOR, toyRecomputer } from './toy-run.ts';

/** What a trial does. */
export type RedisTrial = {
  readonly seed: number;
  readonly runs: number;
  /** Effects of one run. */
  readonly effects: number;
  /** How often the server is killed and started again. */
  readonly restarts: number;
  /** How often a worker is stopped past its lock and woken. */
  readonly stops: number;
  /** How often a worker is killed. */
  readonly kills: number;
  readonly lockMs: number;
};

/** What came of it. */
export type RedisReport = {
  runs: number;
  done: number;
  bundles: number;
  matches: number;
  effects: number;
  doubled: number;
  lost: number;
  repeated: number;
  restarts: number;
  stops: number;
  kills: number;
  /** Runs that had been taken from a worker that was stopped, when it was woken. */
  taken: number;
  /** Writes that were refused to workers that had lost their claim. */
  fenced: number;
  entries: number;
  /** Entries of journals that a worker wrote which had lost its claim. */
  late: number;
  claims: number;
  readonly failures: string[];
};

/** Without a run that gets on for so long, something hangs. */
const SILENCE_MS = 60_000;
const PREFIX = 'trial';
const CONCURRENCY = 6;
/** A worker is at a run of which it has written a record within that time. */
const FRESH_MS = 150;

/** Codes of faults that the trial provokes. */
const EXPECTED = ['JOURNAL_FENCED', 'JOURNAL_UNREACHABLE', 'QUEUE_UNREACHABLE', 'NOT_WAITING', 'RUN_OVER', 'NOT_HEARD'];

/** Runs a trial. */
export async function runRedisTrial(trial: RedisTrial): Promise<RedisReport> {
  const report: RedisReport = {
    ...{
      runs: 0,
      done: 0,
      bundles: 0,
      matches: 0,
      effects: 0,
      doubled: 0,
      lost: 0,
      repeated: 0,
      restarts: 0,
      stops: 0,
    },
    ...{ kills: 0, taken: 0, fenced: 0, entries: 0, late: 0, claims: 0, failures: [] },
  };
  const random = seededRandom(trial.seed);
  const server = await startCountingServer(random, { slowBefore: 15, slowAfter: 20, drops: 5 });
  const redis = await startRedis();
  const bench = await openWorkerBench();
  const one = new Trial(trial, report, random, redis, bench, server.origin);
  try {
    await one.run();
  } catch (error) {
    report.failures.push(error instanceof Error ? (error.stack ?? error.message) : String(error));
  } finally {
    await one.close();
    report.effects = trial.runs * trial.effects;
    for (let number = 0; number < report.effects; number++) {
      const times = server.performed.get(number) ?? 0;
      if (times > 1) report.doubled += 1;
      if (times < 1) report.lost += 1;
      if (times !== 1) report.failures.push(`effect ${number} happened ${times} times`);
    }
    report.failures.push(...server.faults);
    report.repeated = server.repeated();
    await server.close();
    await redis.close();
    await bench.close();
  }
  return report;
}

class Trial {
  readonly #trial: RedisTrial;
  readonly #report: RedisReport;
  readonly #random: Random;
  readonly #redis: RedisServerProcess;
  readonly #bench: WorkerBench;
  readonly #origin: string;
  readonly #workers: WorkerProcess[] = [];
  readonly #asked = new Set<Hex>();
  readonly #answered = new Set<string>();
  #front: RunManager | undefined;
  #started = 0;

  constructor(
    trial: RedisTrial,
    report: RedisReport,
    random: Random,
    redis: RedisServerProcess,
    bench: WorkerBench,
    origin: string,
  ) {
    this.#trial = trial;
    this.#report = report;
    this.#random = random;
    this.#redis = redis;
    this.#bench = bench;
    this.#origin = origin;
  }

  async run(): Promise<void> {
    const { url } = this.#redis;
    const front = await openFront(
      this.#bench,
      { url, prefix: PREFIX, origin: this.#origin, random: this.#random },
      (run, error) =>
        this.#fault(
          'front',
          run,
          error instanceof Error ? String((error as { code?: string }).code) : '',
          String(error),
        ),
    );
    this.#front = front;
    await this.#start();
    await this.#start();
    const begun = this.#begin(front);
    await this.#disturb(front);
    await begun;
    await this.#settle(front, () => this.#over(front) === this.#trial.runs);
    this.#report.runs = this.#asked.size;
    this.#report.done = [...this.#asked].filter((run) => front.get(run).status === 'done').length;
    for (const worker of this.#workers.splice(0)) {
      await worker.stop();
      this.#hear(worker);
    }
    for (const { run, status, agent, error } of front.list()) {
      if (status !== 'done') this.#report.failures.push(`run ${run} of ${agent} is ${status}: ${error?.message ?? ''}`);
    }
    await this.#readJournals(front);
    await this.#verify(front);
  }

  async close(): Promise<void> {
    for (const worker of this.#workers.splice(0)) await worker.kill();
    await this.#front?.close();
  }

  async #start(): Promise<WorkerProcess> {
    this.#started += 1;
    const worker = await this.#bench.start({
      url: this.#redis.url,
      prefix: PREFIX,
      home: `worker-${this.#started}`,
      origin: this.#origin,
      lockMs: this.#trial.lockMs,
      concurrency: CONCURRENCY,
    });
    this.#workers.push(worker);
    return worker;
  }

  /** Begins all runs, a few at a time. */
  async #begin(front: RunManager): Promise<void> {
    const { runs, effects } = this.#trial;
    for (let i = 0; i < runs; i++) {
      while (this.#asked.size - this.#over(front) > 3 * CONCURRENCY) await sleep(5);
      const agent = KILLED_AGENTS[i % KILLED_AGENTS.length] ?? 'sequential';
      const { run } = await front.create({ agent, input: killedInput(i * effects, effects) });
      this.#asked.add(run);
    }
  }

  #over(front: RunManager): number {
    return [...this.#asked].filter((run) => isOver(front.get(run))).length;
  }

  /** Answers approvals until something is so. */
  async #settle(front: RunManager, is: () => boolean): Promise<void> {
    let moved = performance.now();
    let before = '';
    while (!is()) {
      await this.#approve(front);
      await sleep(10);
      const now = front
        .list()
        .map(({ status, updatedAt }) => `${status}${updatedAt}`)
        .join();
      if (now !== before || this.#workers.some((worker) => worker.records() > 0 && now === ''))
        moved = performance.now();
      before = now;
      if (performance.now() - moved > SILENCE_MS) {
        const open = front.list().filter((status) => !isOver(status));
        throw new Error(
          `nothing moves: ${open.map(({ run, agent, status, reason }) => `${agent} ${run.slice(0, 8)} ${status} ${reason}`).join(', ')}`,
        );
      }
      const broken = front.list().find(({ status }) => status === 'broken');
      if (broken !== undefined) throw new Error(`a run of ${broken.agent} is broken: ${broken.error?.message}`);
    }
  }

  async #approve(front: RunManager): Promise<void> {
    for (const { run, waiting } of front.list()) {
      for (const { index, for: whom } of waiting) {
        const place = `${run} ${index}`;
        if (whom === 'reconciliation') throw new Error(`run ${run} waits for a reconciliation`);
        if (whom !== 'approval' || this.#answered.has(place)) continue;
        this.#answered.add(place);
        this.#answer(front, run, BigInt(index)).catch((error: unknown) => {
          // It is asked again, if it still waits.
          this.#answered.delete(place);
          if (!RuntimeError.is(error)) this.#report.failures.push(String(error));
        });
      }
    }
  }

  async #answer(front: RunManager, run: Hex, index: bigint): Promise<void> {
    const decision = { approved: this.#random.chance(70), note: `n${this.#random.below(100)}` };
    for await (const { body } of front.records(run, index)) {
      const { request } = body as { readonly request: Hex };
      const signature = signApproval(decision, { run: fromHex(run), index, request }, OFF_CHAIN, APPROVER_KEY);
      await front.approve(run, index, { ...decision, approver: addressOf(APPROVER_KEY), signature });
      return;
    }
  }

  /** Does what the trial has to bear, spread over the first runs that end. */
  async #disturb(front: RunManager): Promise<void> {
    const { restarts, stops, kills, runs } = this.#trial;
    const events = [
      ...Array.from({ length: restarts }, () => 'restart' as const),
      ...Array.from({ length: stops }, () => 'stop' as const),
      ...Array.from({ length: kills }, () => 'kill' as const),
    ];
    // Mixed, the same for one seed.
    for (let i = events.length - 1; i > 0; i--) {
      const j = this.#random.below(i + 1);
      const [a, b] = [events[i], events[j]];
      if (a !== undefined && b !== undefined) [events[i], events[j]] = [b, a];
    }
    for (const [i, event] of events.entries()) {
      const at = Math.floor(((i + 0.5) * 0.85 * runs) / events.length);
      await this.#settle(front, () => this.#over(front) >= at);
      if (event === 'restart') await this.#restart();
      else if (event === 'stop') await this.#stop(front);
      else await this.#kill();
    }
  }

  async #restart(): Promise<void> {
    await this.#redis.kill();
    await sleep(this.#random.below(700));
    await this.#redis.start();
    this.#report.restarts += 1;
  }

  async #kill(): Promise<void> {
    const [worker] = this.#workers.splice(this.#random.below(this.#workers.length), 1);
    await worker?.kill();
    if (worker !== undefined) this.#hear(worker);
    await this.#start();
    this.#report.kills += 1;
  }

  /** Stops a worker until another has claimed what it was at, and wakes it. */
  async #stop(front: RunManager): Promise<void> {
    const worker = this.#workers[this.#random.below(this.#workers.length)];
    if (worker === undefined) return;
    const atWork = () => {
      const since = performance.now() - FRESH_MS;
      return [...worker.runs]
        .filter(([run, at]) => at > since && front.get(run).status === 'running')
        .map(([run]) => run);
    };
    await this.#settle(front, () => atWork().length > 1 || this.#over(front) === this.#trial.runs);
    worker.signal('SIGSTOP');
    const held = atWork();
    const before = await this.#tokens(held);
    const end = performance.now() + 10 * this.#trial.lockMs;
    let isTaken = false;
    const watching = setInterval(() => {
      // The server is up: nothing else is disturbed meanwhile.
      this.#tokens(held).then(
        (now) => {
          isTaken = now.some((token, i) => token !== before[i]);
        },
        (error: unknown) => this.#report.failures.push(String(error)),
      );
    }, 100);
    try {
      await this.#settle(front, () => isTaken || performance.now() > end);
      // The others go on with what they took, and take more, before it wakes.
      await sleep(this.#random.below(2 * this.#trial.lockMs));
    } finally {
      clearInterval(watching);
    }
    this.#report.taken += (await this.#tokens(held)).filter((token, i) => token !== before[i]).length;
    worker.signal('SIGCONT');
    this.#report.stops += 1;
  }

  async #tokens(runs: readonly Hex[]): Promise<readonly string[]> {
    return this.#withClient(async (client) => {
      const tokens: string[] = [];
      for (const run of runs) tokens.push((await client.hget(`{${PREFIX}}:run:${run.slice(2)}`, 'token')) ?? '');
      return tokens;
    });
  }

  async #withClient<T>(work: (client: Redis) => Promise<T>): Promise<T> {
    const client = new Redis({ port: this.#redis.port, host: '127.0.0.1' });
    client.on('error', () => undefined);
    try {
      return await work(client);
    } finally {
      client.disconnect();
    }
  }

  /** Looks who wrote which entry: tokens never go back, and each is of one process. */
  async #readJournals(front: RunManager): Promise<void> {
    await this.#withClient(async (client) => {
      for (const { run } of front.list()) {
        let newest = -1;
        const writers = new Map<number, string>();
        for (const [id, fields] of await client.xrange(`{${PREFIX}}:journal:${run.slice(2)}`, '-', '+')) {
          const [token = '', writer = ''] = (fields[3] ?? '').split(':');
          const number = Number(token);
          this.#report.entries += 1;
          const known = writers.get(number) ?? writer;
          writers.set(number, known);
          if (number >= newest && known === writer) newest = number;
          else {
            this.#report.late += 1;
            this.#report.failures.push(
              `run ${run}: entry ${id} of claim ${token} by ${writer} is behind claim ${newest}`,
            );
          }
        }
        this.#report.claims += writers.size - 1;
      }
    });
  }

  async #verify(front: RunManager): Promise<void> {
    const vm = inThreadVm(this.#bench.engine);
    const ports = {
      executor: createExecutor(vm, toyRecomputer),
      trust: trustSigner(OPERATOR),
      now: () => performance.now(),
    };
    const open = async (run: Hex) => createReadStream(await front.fetchBundle(run));
    const children = verifyChildren(ports, open);
    for (const { run } of front.list()) {
      const { verdict, code, step, field, status } = await verifyBundle({ ...ports, children }, await open(run));
      this.#report.bundles += 1;
      if (verdict === 'MATCH' && status === 'done') this.#report.matches += 1;
      else
        this.#report.failures.push(
          `run ${run} is ${status}, and ${verdict} ${code ?? ''} at ${step ?? '?'} ${field ?? ''}`,
        );
    }
  }

  /** Takes what a worker told. */
  #hear(worker: WorkerProcess): void {
    for (const { run, code, message } of worker.faults) this.#fault(worker.home, run, code, message);
  }

  #fault(who: string, run: Hex | undefined, code: string, message: string): void {
    if (code === 'JOURNAL_FENCED') this.#report.fenced += 1;
    if (!EXPECTED.includes(code)) this.#report.failures.push(`${who}, run ${run}: ${code} ${message}`);
  }
}
