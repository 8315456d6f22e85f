/**
 * The runs of one operator: begun, gone on with after a crash, put aside, steered, shown. Where they are kept and who works on them is the
 * matter of a queue, a store and an inbox (`queue/ports.ts`); this is one of the programs that share them, or the only one.
 *
 * M1. A run that was acknowledged is in its journal: `create` returns after its record 0 is durable.
 * M2. A run is taken up from its journal, and from nothing else: begun, waked, or left behind by a crash, it goes on in one way.
 * M3. A run that waits for somebody holds nothing but its status.
 * M4. Statuses that are shown are a mirror of the store's; what another program does is seen a moment later.
 *
 * Spec: `runtime/spec/runs.md#manager`, `runtime/spec/machines.md`.
 *
 * @module
 */

import { type Hex, toHex } from '../attest/core/bytes.ts';
import { defined } from '../attest/core/defined.ts';
import { addressOf } from '../attest/sign/secp256k1.ts';
import type { Approval } from '../attest/trace/approval.ts';
import type { Limits } from '../attest/trace/bodies.ts';
import { hashGuestCode } from '../attest/trace/guest.ts';
import { exposureOf } from '../attest/trace/policy.ts';
import { TraceWriter } from '../attest/trace/writer.ts';
import { deploymentOf } from '../attest/verify/identity.ts';
import { setAlarm } from './alarm.ts';
import { ChildRuns } from './child-runs.ts';
import { ControlError } from './control.ts';
import { Jobs } from './jobs.ts';
import { JournalError } from './journal.ts';
import {
  type CreateRun,
  type ManagedAgent,
  ManagerError,
  type ManagerPorts,
  type RunManager,
} from './manager-types.ts';
import { type CallerRequest, createRequest, planRun } from './plan.ts';
import { redactorOf } from './policy-secrets.ts';
import { openEmbeddedInbox } from './queue/embedded-inbox.ts';
import { openEmbeddedQueue } from './queue/embedded-queue.ts';
import { openFileStore } from './queue/file-store.ts';
import type { JobEnd, Machinery, QueueCounts, RunJob, RunWord } from './queue/ports.ts';
import { feedRecords, type RecordView } from './record-feed.ts';
import { isOver, openStatus, type RunStatus } from './run-status.ts';
import type { RunPlan } from './run-types.ts';
import { Watchers } from './watchers.ts';

export declare namespace openRunManager {
  type Options = {
    readonly agents: readonly ManagedAgent[];
    /** Whether runs are worked on here, and not only begun, steered and shown. True by default. */
    readonly works?: boolean;
  } & (
    | {
        /** Folder of the journals of a program that is alone with them; made if it is not there. */
        readonly folder: string;
        /** Runs at work at once; those that wait for somebody do not count. */
        readonly maxActive?: number;
      }
    | { readonly machinery: Machinery }
  );
}

/**
 * Opens the runs that are there, and goes on with those that a crash left behind. Of a folder, those have been taken up when it resolves.
 *
 * @throws {@link SecretError} if a secret that a policy names is not there
 */
export async function openRunManager(ports: ManagerPorts, options: openRunManager.Options): Promise<RunManager> {
  // What is missing is told before anything runs.
  for (const { policy } of options.agents) redactorOf(policy, ports.secrets);
  const machinery = 'machinery' in options ? options.machinery : await openEmbedded(options, ports);
  const manager = new Manager(ports, machinery, options.agents);
  await manager.open(options.works ?? true, !('machinery' in options));
  return manager;
}

/** Keeps runs in a folder of this program's own. */
async function openEmbedded(
  { folder, maxActive = MAX_ACTIVE }: { readonly folder: string; readonly maxActive?: number },
  { onFault }: ManagerPorts,
): Promise<Machinery> {
  const queue = openEmbeddedQueue({ maxActive, onFault: (run, error) => onFault?.(run, error) });
  return { queue, store: await openFileStore(folder), inbox: openEmbeddedInbox(), isShared: false };
}

const MAX_ACTIVE = 64;
/** Seconds that a request of the operator's own may wait to be opened. */
const EXPIRY_SECONDS = 3_600;
/** Milliseconds until a run must be closed, if its wall time says nothing shorter. */
const LONGEST_WALL_MS = 366 * 86_400_000;
/** Milliseconds after which a run that another program has begun must have been told. */
const KNOWN_MS = 5_000;

class Manager implements RunManager {
  readonly agents: readonly ManagedAgent[];
  readonly operator: Hex;
  readonly #ports: ManagerPorts;
  readonly #machinery: Machinery;
  readonly #jobs: Jobs;
  readonly #children: ChildRuns;
  readonly #statuses = new Map<Hex, RunStatus>();
  readonly #alarms = new Map<Hex, () => void>();
  readonly #watchers = new Watchers();
  /** Runs that are being begun here. */
  readonly #beginning = new Map<Hex, Promise<RunStatus>>();
  #closed = false;

  constructor(ports: ManagerPorts, machinery: Machinery, agents: readonly ManagedAgent[]) {
    this.#ports = ports;
    this.#machinery = machinery;
    this.agents = agents;
    this.operator = addressOf(ports.key);
    this.#children = new ChildRuns({
      begin: (caller, parent) => this.#beginChild(caller, parent),
      statusOf: (run) => this.#statuses.get(run),
      list: () => this.list(),
      settledUnless: (run, signal) => this.#settledUnless(run, signal),
      say: (run, word) => this.#say(run, word),
      cancel: (run) => this.cancel(run),
      read: (run) => machinery.store.read(run),
      isCrowded: async () => (await machinery.queue.counts()).waiting > 0,
      isClosed: () => this.#closed,
      onFault: (run, error) => ports.onFault?.(run, error),
    });
    this.#jobs = new Jobs(ports, machinery, this.operator, {
      statusOf: (run) => this.#statuses.get(run),
      took: (status) => this.#take(status),
      recorded: (run, records) => this.#count(run, records),
      children: (call, signal) => this.#children.run(call, signal),
    });
  }

  async open(works: boolean, isAlone: boolean): Promise<void> {
    const { store, queue } = this.#machinery;
    const leftBehind: Hex[] = [];
    let isOpen = false;
    await store.open({
      status: (run, status) => {
        if (status !== undefined) this.#take(status);
        else if (!isOpen) leftBehind.push(run);
      },
      grown: (run) => this.#watchers.notify(run),
    });
    isOpen = true;
    if (!works) return;
    const takenUp = leftBehind.map((run) => this.#jobs.takenUp(run));
    queue.work((job) => this.#work(job));
    for (const run of leftBehind) await queue.ensure(run);
    if (isAlone) await Promise.all(takenUp);
    // What a child run and its parent had still to tell each other.
    for (const { run, parent } of this.list()) {
      if (parent !== null) this.#children.after(run).catch((error) => this.#ports.onFault?.(run, error));
    }
  }

  // Asking

  async create(asked: CreateRun): Promise<RunStatus> {
    if (this.#closed) throw new ManagerError('MANAGER_CLOSED', 'the manager is closed');
    const entry = this.agents.find(({ name }) => name === asked.agent);
    if (entry === undefined)
      throw new ManagerError('UNKNOWN_AGENT', `no agent ${asked.agent}`, { at: { field: 'agent' } });
    if (!(await this.#machinery.queue.hasRoom((run) => this.#isAtRest(run)))) {
      throw new ManagerError('TOO_MANY_RUNS', 'as many runs as may be are at work; try again later');
    }
    const { now, random, deployment } = this.#ports;
    const seconds = BigInt(Math.floor(now() / 1000));
    const caller =
      asked.caller ??
      createRequest({
        agent: hashGuestCode(entry.agent),
        input: asked.input,
        limits: { ...entry.limits, ...asked.limits },
        expiry: seconds + BigInt(EXPIRY_SECONDS),
        deployment,
        random,
      });
    requireLimits(caller.limits, entry.limits);
    if (BigInt(caller.request.expiry) < seconds) {
      throw new ManagerError('REQUEST_REFUSED', 'the request has expired', { at: { field: 'request.expiry' } });
    }
    const { run, plan } = this.#plan(entry, caller);
    const known = this.#statuses.get(toHex(run));
    // One request is one run: who asks twice with one signed request is shown the same run.
    if (known !== undefined) return known;
    return this.#begin(run, plan, entry.name);
  }

  get(run: Hex): RunStatus {
    const status = this.#statuses.get(run);
    if (status === undefined) throw new ManagerError('UNKNOWN_RUN', `no run ${run}`, { at: { run } });
    return status;
  }

  list(): readonly RunStatus[] {
    return [...this.#statuses.values()].sort((a, b) => b.createdAt - a.createdAt || (a.run < b.run ? 1 : -1));
  }

  async settled(run: Hex): Promise<RunStatus> {
    return this.#settledUnless(run);
  }

  /** How a run stands when it rests, or when the signal is aborted, or here nothing is done any more. */
  async #settledUnless(run: Hex, signal?: AbortSignal): Promise<RunStatus> {
    const { growth, unwatch } = this.#watchers.watch(run, () => this.#closed || this.#isAtRest(run), signal);
    try {
      while (await growth.next(signal));
    } finally {
      unwatch();
    }
    return this.get(run);
  }

  #isAtRest(run: Hex): boolean {
    return this.get(run).status !== 'running';
  }

  async *records(
    run: Hex,
    from: bigint,
    { follow = false, signal }: { readonly follow?: boolean; readonly signal?: AbortSignal } = {},
  ): AsyncGenerator<RecordView> {
    this.get(run);
    const { store } = this.#machinery;
    if (!follow) {
      yield* feedRecords(store.read(run), from);
      return;
    }
    const isDone = () => this.#closed || isAtEnd(this.get(run));
    const { growth, unwatch } = this.#watchers.watch(run, isDone, signal);
    try {
      yield* feedRecords(store.read(run, growth, signal), from);
    } finally {
      unwatch();
    }
  }

  bundle(run: Hex): string {
    return this.#machinery.store.path(run);
  }

  async fetchBundle(run: Hex): Promise<string> {
    this.get(run);
    return this.#machinery.store.fetch(run);
  }

  async withhold(run: Hex): Promise<RunStatus> {
    const status = this.get(run);
    const parent = status.parent === null ? undefined : this.#statuses.get(status.parent.run);
    for (const needed of [status, parent]) {
      if (needed === undefined || isOver(needed)) continue;
      throw new ManagerError('WRONG_STATE', `run ${needed.run} is ${needed.status}, which needs its payloads`, {
        at: { run: needed.run },
      });
    }
    const error = status.error === null ? null : { code: status.error.code, message: '' };
    const withheld = { ...status, output: null, error, withheldAt: this.#ports.now() };
    await this.#machinery.store.withhold(withheld);
    this.#take(withheld);
    return withheld;
  }

  // Steering

  async cancel(run: Hex): Promise<RunStatus> {
    for (;;) {
      await this.#tell(run, { type: 'cancel' });
      const status = await this.settled(run);
      // It was being put aside, and had looked for the last time.
      if (status.status !== 'suspended' || this.#closed) return status;
    }
  }

  async pause(run: Hex): Promise<RunStatus> {
    const status = this.get(run);
    if (status.status === 'suspended') return status;
    await this.#tell(run, { type: 'pause' });
    return this.settled(run);
  }

  async resume(run: Hex): Promise<RunStatus> {
    if (this.get(run).status !== 'suspended') {
      throw new ManagerError('WRONG_STATE', `run ${run} is ${this.get(run).status}, not suspended`, { at: { run } });
    }
    await this.#tell(run, { type: 'resume' });
    return this.get(run);
  }

  async approve(run: Hex, index: bigint, approval: Approval): Promise<RunStatus> {
    await this.#say(run, { index, type: 'approval', approval });
    return this.get(run);
  }

  async reconcile(run: Hex, index: bigint, how: 'send' | 'lost'): Promise<RunStatus> {
    await this.#say(run, { index, type: 'reconcile', how });
    return this.get(run);
  }

  /** Says something that a run need not hear any more when it is over. */
  async #tell(run: Hex, word: RunWord): Promise<void> {
    try {
      await this.#say(run, word);
    } catch (error) {
      if (!(error instanceof ControlError) || error.code !== 'RUN_OVER') throw error;
    }
  }

  /** Says a word to a run, which is taken up for it if it was put aside; resolves when it was heard. */
  async #say(run: Hex, word: RunWord): Promise<void> {
    if (this.#closed) throw new ManagerError('MANAGER_CLOSED', 'the manager is closed');
    const { status } = this.get(run);
    if (status !== 'running' && status !== 'suspended') {
      throw new ManagerError('WRONG_STATE', `run ${run} is ${status}`, { at: { run } });
    }
    const { queue, inbox } = this.#machinery;
    const { heard, isAttached } = await inbox.say(run, word);
    if (!isAttached) await queue.add(run);
    try {
      await heard;
    } catch (error) {
      const { status: then, error: why } = this.get(run);
      if (then !== 'broken') throw error;
      throw new ManagerError('WRONG_STATE', `run ${run} is broken: ${why?.message}`, { at: { run }, cause: error });
    }
  }

  async queueCounts(): Promise<QueueCounts> {
    return this.#machinery.queue.counts();
  }

  async close(): Promise<void> {
    this.#closed = true;
    for (const off of this.#alarms.values()) off();
    this.#jobs.leaveAll();
    const { queue, inbox, store } = this.#machinery;
    await queue.close();
    await inbox.close();
    await store.close();
    this.#watchers.notify();
  }

  // Running

  #plan(entry: ManagedAgent, caller: CallerRequest, parent?: { readonly run: Hex; readonly index: string }) {
    const { deployment, identity, now, random, vm } = this.#ports;
    // A whole second after the wall time at least: record 0, from which that counts, is still to be written.
    const wallMs = Math.min(Number(caller.limits.wallMs), LONGEST_WALL_MS);
    const deadline = BigInt(Math.floor((now() + wallMs) / 1000) + 2);
    return planRun({
      caller,
      agent: entry.agent,
      tools: entry.tools,
      policy: entry.policy,
      operator: this.operator,
      deployment,
      attempt: 0n,
      deadline,
      exposure: exposureOf(entry.policy),
      engine: vm.engine,
      inference: identity,
      random,
      ...defined({ parent }),
    });
  }

  /** Begins a run, unless it was begun before. */
  #begin(run: Uint8Array, plan: RunPlan, agent: string): Promise<RunStatus> {
    const id = toHex(run);
    const begun = this.#beginning.get(id) ?? this.#create(run, plan, agent).finally(() => this.#beginning.delete(id));
    this.#beginning.set(id, begun);
    return begun;
  }

  /** Begins the run that another one asks for, if its agent is here. */
  async #beginChild(caller: CallerRequest, parent: { readonly run: Hex; readonly index: string }) {
    const entry = this.agents.find(({ agent }) => hashGuestCode(agent) === caller.request.agent);
    if (entry === undefined) return undefined;
    const { run, plan } = this.#plan(entry, caller, parent);
    return this.#statuses.get(toHex(run)) ?? this.#begin(run, plan, entry.name);
  }

  async #create(run: Uint8Array, plan: RunPlan, agent: string): Promise<RunStatus> {
    const id = toHex(run);
    const { store, queue } = this.#machinery;
    const { now, random: salt, key } = this.#ports;
    const parts: Uint8Array[] = [];
    const sink = { append: async (bytes: Uint8Array) => void parts.push(bytes) };
    const writer = new TraceWriter({ sink, now, salt }, run, deploymentOf(plan.openBody), key);
    const { at } = await writer.append('run.open', plan.openBody, plan.openPayloads);
    const status = openStatus(id, agent, plan.openBody, at);
    if (await store.create(status, Buffer.concat(parts))) {
      this.#take(status);
      await queue.ensure(id);
    } else if (!this.#statuses.has(id)) {
      // Another program has begun it, and what that one says of it is on its way.
      const takenUp = this.#jobs.takenUp(id);
      await queue.ensure(id);
      await Promise.race([takenUp, this.#known(id)]);
      if (!this.#statuses.has(id)) {
        throw new JournalError('JOURNAL_IN_USE', `run ${id} is written by another program`, { at: { run: id } });
      }
    }
    return this.get(id);
  }

  /** Resolves when something is known of a run, or nothing was told for too long. */
  async #known(run: Hex): Promise<void> {
    const { growth, unwatch } = this.#watchers.watch(run, () => this.#statuses.has(run), AbortSignal.timeout(KNOWN_MS));
    try {
      await growth.next();
    } finally {
      unwatch();
    }
  }

  async #work(job: RunJob): Promise<JobEnd> {
    const end = await this.#jobs.work(job);
    this.#watchers.notify(job.run);
    if (end === 'rested') await this.#children.after(job.run).catch((error) => this.#ports.onFault?.(job.run, error));
    return end;
  }

  #count(run: Hex, records: number): void {
    const status = this.#statuses.get(run);
    if (status !== undefined) this.#statuses.set(run, { ...status, records, updatedAt: this.#ports.now() });
    this.#watchers.notify(run);
  }

  #take(status: RunStatus): void {
    const { run, wakeAt } = status;
    this.#alarms.get(run)?.();
    this.#alarms.delete(run);
    this.#statuses.set(run, status);
    this.#watchers.notify(run);
    if (status.status !== 'suspended' || wakeAt === null || this.#closed) return;
    const wake = () => {
      // Its job may not have ended yet: then once more afterwards.
      this.#machinery.queue.add(run).catch((error) => this.#ports.onFault?.(run, error));
    };
    this.#alarms.set(run, setAlarm(wakeAt, this.#ports.now, wake));
  }
}

/** Whether nothing is written any more, in this process. */
function isAtEnd(status: RunStatus): boolean {
  return isOver(status) || status.status === 'broken';
}

function requireLimits(asked: Limits, greatest: Limits): void {
  for (const name of Object.keys(greatest) as (keyof Limits)[]) {
    if (BigInt(asked[name]) > BigInt(greatest[name])) {
      throw new ManagerError('REQUEST_REFUSED', `limits.${name}: at most ${greatest[name]}, got ${asked[name]}`, {
        at: { field: `limits.${name}` },
      });
    }
  }
}
