/**
 * Runs whose process is killed again and again: `kill -9` at random moments, started again at once, until all runs are
 * over. What is then looked at: every effect happened once, every run is done, every bundle matches.
 *
 * @module
 */

import { createReadStream } from 'node:fs';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Hex, toHex } from '../../attest/core/bytes.ts';
import { hashGuestCode } from '../../attest/trace/guest.ts';
import { verifyChildren } from '../../attest/verify/child-bundles.ts';
import { trustSigner } from '../../attest/verify/trust.ts';
import { verifyBundle } from '../../attest/verify/verifier.ts';
import { createRequest, OFF_CHAIN } from '../../runtime/plan.ts';
import { createExecutor } from '../../runtime/replay.ts';
import { bundleInto } from './bundle.ts';
import { APPROVER_KEY, KILLED_AGENTS, killedAgents, killedInput } from './kill-agents.ts';
import type { FromChild, KillSetup, ToChild } from './kill-child.ts';
import { startCountingServer } from './kill-server.ts';
import { inThreadVm, meterEngine } from './kill-vm.ts';
import { type Random, seededRandom } from './random.ts';
import { CALLER_KEY, OPERATOR, toyRecomputer } from './toy-run.ts';
import { type AskedRun, TrialBook } from './trial-book.ts';
import { startTrialProcess, type TrialProcess } from './trial-process.ts';

/** One folder of runs. */
export type KillGroup = {
  readonly seed: number;
  readonly kills: number;
  readonly runs: number;
  /** Effects of one run. */
  readonly effects: number;
};

/** What came of groups. */
export type KillReport = {
  kills: number;
  runs: number;
  bundles: number;
  effects: number;
  doubled: number;
  lost: number;
  /** Requests that were sent again, and answered from their key. */
  repeated: number;
  matches: number;
  /** Kills of processes whose guests ran in sandbox processes. */
  walled: number;
  /** Kills by the kind of the record that became durable last. */
  readonly after: Map<string, number>;
  readonly failures: string[];
};

/** What groups share: the program of the killed process, and the engine. */
export type KillBench = {
  readonly program: string;
  readonly engine: NonNullable<KillSetup['engine']>;
  close(): Promise<void>;
};

/** An empty report. */
export function emptyReport(): KillReport {
  return {
    kills: 0,
    runs: 0,
    bundles: 0,
    effects: 0,
    doubled: 0,
    lost: 0,
    repeated: 0,
    matches: 0,
    walled: 0,
    after: new Map(),
    failures: [],
  };
}

/** Bundles the process that is killed, so that it starts in a tenth of a second, and meters the engine. */
export async function openKillBench(): Promise<KillBench> {
  const folder = await mkdtemp(join(tmpdir(), 'tracebond-kill-'));
  // Beside it, under the names that the sandbox looks for, the programs of sandbox processes.
  const program = bundleInto(
    folder,
    'test/support/kill-child.ts',
    'runtime/sandbox/process-child.ts',
    'runtime/sandbox/worker.ts',
  );
  const { digest, bytes } = await meterEngine();
  const path = join(folder, 'engine.wasm');
  await writeFile(path, bytes);
  return {
    program,
    engine: { digest, path },
    close: () => rm(folder, { recursive: true, force: true }),
  };
}

/** Runs one group, and adds what it came to. */
export async function runKillGroup(bench: KillBench, group: KillGroup, report: KillReport): Promise<void> {
  const random = seededRandom(group.seed);
  const server = await startCountingServer(random, { slowBefore: 15, slowAfter: 20, drops: 5 });
  const folder = join(dirname(bench.program), `runs-${group.seed}`);
  await mkdir(folder);
  const trial = new Trial(bench, group, report, random, folder, server.origin);
  try {
    await trial.run();
    await trial.verify();
  } catch (error) {
    report.failures.push(`seed ${group.seed}: ${error instanceof Error ? error.message : String(error)}`);
  } finally {
    const numbers = trial.planned * group.effects;
    report.effects += numbers;
    for (let number = 0; number < numbers; number++) {
      const times = server.performed.get(number) ?? 0;
      if (times > 1) report.doubled += 1;
      if (times < 1) report.lost += 1;
      if (times !== 1) report.failures.push(`seed ${group.seed}: effect ${number} happened ${times} times`);
    }
    report.failures.push(...server.faults.map((fault) => `seed ${group.seed}: ${fault}`));
    report.repeated += server.repeated();
    await server.close();
    await rm(folder, { recursive: true, force: true });
  }
}

/** When a process is killed: after so many records of its own, or so long after its start. */
type Moment = { readonly records: number; readonly delayMs: number } | { readonly afterStartMs: number };

class Trial {
  planned = 0;
  readonly #bench: KillBench;
  readonly #group: KillGroup;
  readonly #report: KillReport;
  readonly #random: Random;
  readonly #folder: string;
  readonly #origin: string;
  readonly #book: TrialBook<AskedRun>;
  #kills = 0;

  constructor(bench: KillBench, group: KillGroup, report: KillReport, random: Random, folder: string, origin: string) {
    this.#bench = bench;
    this.#group = group;
    this.#report = report;
    this.#random = random;
    this.#folder = folder;
    this.#origin = origin;
    this.#book = new TrialBook(
      APPROVER_KEY,
      () => ({ approved: random.chance(70), note: `n${random.below(100)}`, afterMs: random.below(60) }),
      (what) => this.#fail(what),
    );
    for (let i = 0; i < group.runs; i++) this.#plan();
  }

  /** Kills processes until there were enough kills and all runs are over. */
  async run(): Promise<void> {
    while (!(await this.#once())) this.#kills += 1;
    this.#report.kills += this.#kills;
    this.#report.runs += this.planned;
  }

  /** Holds every bundle of the folder against what it says. */
  async verify(): Promise<void> {
    const { digest } = this.#bench.engine;
    const vm = inThreadVm({ digest, bytes: await readFile(this.#bench.engine.path) });
    const ports = {
      executor: createExecutor(vm, toyRecomputer),
      trust: trustSigner(OPERATOR),
      now: () => performance.now(),
    };
    const open = (run: Hex) => createReadStream(join(this.#folder, `${run.slice(2)}.trace`));
    const children = verifyChildren(ports, async (run) => open(run));
    const names = (await readdir(this.#folder)).filter((name) => name.endsWith('.trace'));
    for (const name of names) {
      const run = `0x${name.slice(0, -'.trace'.length)}` as Hex;
      const { verdict, code, step, field, status } = await verifyBundle({ ...ports, children }, open(run));
      this.#report.bundles += 1;
      if (verdict === 'MATCH' && status === 'done') this.#report.matches += 1;
      else this.#fail(`run ${run} is ${status}, and ${verdict} ${code ?? ''} at ${step ?? '?'} ${field ?? ''}`);
    }
    const known = this.#book.asked.length + this.#book.asked.filter(({ agent }) => agent === 'parent').length * 2;
    if (names.length !== known) this.#fail(`${names.length} journals of ${known} runs`);
  }

  #fail(what: string): void {
    this.#report.failures.push(`seed ${this.#group.seed}: ${what}`);
  }

  /** Plans one more run; what is asked for is fixed, so that asking again is the same run. */
  #plan(): void {
    const { effects } = this.#group;
    const agent = KILLED_AGENTS[this.planned % KILLED_AGENTS.length] ?? 'sequential';
    const entry = killedAgents(this.#origin).find(({ name }) => name === agent);
    if (entry === undefined) throw new TypeError(`no agent ${agent}`);
    const { inputPayload, ...request } = createRequest({
      agent: hashGuestCode(entry.agent),
      input: killedInput(this.planned * effects, effects),
      limits: entry.limits,
      expiry: 4_000_000_000n,
      callerKey: CALLER_KEY,
      deployment: OFF_CHAIN,
      random: () => this.#random.bytes(32),
    });
    this.#book.asked.push({ agent, request: { ...request, salt: toHex(inputPayload.salt) }, run: undefined });
    this.planned += 1;
  }

  #moment(): Moment | undefined {
    if (this.#kills >= this.#group.kills) return undefined;
    const random = this.#random;
    if (random.chance(15)) return { afterStartMs: random.below(350) };
    // So many that the runs are not over before they were killed often enough.
    const most = Math.max(4, Math.floor((3.4 * 4 * this.#group.effects * this.#group.runs) / (this.#group.kills + 1)));
    return { records: random.below(most), delayMs: random.chance(50) ? 0 : random.below(25) };
  }

  /** One process from its start to its end; whether all is over. */
  async #once(): Promise<boolean> {
    const moment = this.#moment();
    const walled = this.#random.chance(20);
    let last = 'start';
    let records = 0;
    let killed = false;
    const trial = startTrialProcess<ToChild, FromChild>(this.#bench.program, (message) => {
      if (message.type !== 'record') return this.#book.take(message, trial.say);
      last = message.kind;
      records += 1;
      if (killed || moment === undefined || !('records' in moment) || records <= moment.records) return;
      if (moment.delayMs === 0) kill();
      else setTimeout(kill, moment.delayMs);
    });
    const kill = () => {
      killed = true;
      trial.child.kill('SIGKILL');
    };
    const engine = walled ? undefined : this.#bench.engine;
    trial.say({ type: 'setup', setup: { folder: this.#folder, origin: this.#origin, engine } });
    const timer = moment !== undefined && 'afterStartMs' in moment ? setTimeout(kill, moment.afterStartMs) : undefined;
    const [[code, signal]] = await Promise.all([trial.gone, this.#watch(trial, moment)]);
    clearTimeout(timer);
    if (killed && signal === 'SIGKILL') {
      this.#report.after.set(last, (this.#report.after.get(last) ?? 0) + 1);
      if (walled) this.#report.walled += 1;
      return false;
    }
    if (signal !== null || code !== 0)
      throw new Error(`the process ended with ${signal ?? code}: ${trial.complaint()}`);
    return true;
  }

  /** Adds runs while kills are left, and stops a process whose runs are over. */
  async #watch({ child, say, isSilent }: TrialProcess<ToChild>, moment: Moment | undefined): Promise<void> {
    while (child.exitCode === null && child.signalCode === null) {
      await sleep(10);
      const isBroken = this.#book.isBroken();
      if (isBroken || isSilent()) {
        child.kill('SIGKILL');
        throw new Error(`${isBroken ? 'a run is broken' : 'nothing moves'}: ${this.#book}`);
      }
      if (this.#book.open().length > 0) continue;
      if (moment === undefined) {
        say({ type: 'stop' });
        return;
      }
      this.#plan();
      const added = this.#book.asked.at(-1);
      if (added !== undefined) say({ type: 'create', agent: added.agent, request: added.request });
    }
  }
}
