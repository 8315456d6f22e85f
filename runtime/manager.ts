/**
 * The runs of one operator in one folder: begun, gone on with after a crash, put aside, steered, shown.
 *
 * M1. A run that was acknowledged is in its journal: `create` returns after its record 0 is durable.
 * M2. Whatever a process leaves behind goes on when the folder is opened again; a run that waits for somebody holds nothing
 *     but its status.
 * M3. One process writes one journal (`journal-lock.ts`).
 *
 * Files of a run: `ID.trace`, its journal and bundle; `ID.status.json`, derived. ID is the run id in hexadecimal without `0x`.
 *
 * Spec: `runtime/spec/runs.md#manager`.
 *
 * @module
 */

import { createReadStream } from 'node:fs';
import { mkdir, readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { fromHex, type Hex, toHex } from '../attest/core/bytes.ts';
import { defined } from '../attest/core/defined.ts';
import { RuntimeError } from '../attest/core/error.ts';
import type { Json } from '../attest/encoding/canonical-json.ts';
import { addressOf } from '../attest/sign/secp256k1.ts';
import type { Approval } from '../attest/trace/approval.ts';
import type { Limits, RunOpenBody } from '../attest/trace/bodies.ts';
import { type GuestCode, hashGuestCode } from '../attest/trace/guest.ts';
import { readJsonPayload } from '../attest/trace/payload.ts';
import { exposureOf } from '../attest/trace/policy.ts';
import { type PastItem, TraceWriter } from '../attest/trace/writer.ts';
import { deploymentOf } from '../attest/verify/identity.ts';
import { setAlarm } from './alarm.ts';
import { ControlError, RunControl, type Word } from './control.ts';
import type { ChildCall, ChildResult } from './effects.ts';
import { continueJournal, type Journal, JournalError, openJournal } from './journal.ts';
import { type JournalLock, lockJournal } from './journal-lock.ts';
import type { RecordSeen } from './ledger.ts';
import {
  type CreateRun,
  type ManagedAgent,
  ManagerError,
  type ManagerPorts,
  type RunManager,
} from './manager-types.ts';
import { type CallerRequest, createRequest, planRun } from './plan.ts';
import { redactorOf } from './policy-secrets.ts';
import { feedRecords, type RecordView } from './record-feed.ts';
import { planOf, RecoveryError, readJournal, requireSameHost } from './recovery.ts';
import { withholdPayloads } from './retention.ts';
import { runAgent } from './run.ts';
import {
  emptyStatus,
  isOver,
  openStatus,
  type RunStatus,
  readStatus,
  removeStatus,
  restingStatus,
  writeStatus,
} from './run-status.ts';
import type { RunPlan, RunResult, Suspension } from './run-types.ts';
import { Watchers } from './watchers.ts';
import { readWithheldStatus } from './withheld-status.ts';

export declare namespace openRunManager {
  type Options = {
    /** Folder of the journals; made if it is not there. */
    readonly folder: string;
    readonly agents: readonly ManagedAgent[];
    /** Runs at work at once; those that wait for somebody do not count. */
    readonly maxActive?: number;
  };
}

/**
 * Opens a folder of runs, and goes on with those that a process left behind.
 *
 * @throws {@link SecretError} if a secret that a policy names is not there
 */
export async function openRunManager(ports: ManagerPorts, options: openRunManager.Options): Promise<RunManager> {
  // What is missing is told before anything runs.
  for (const { policy } of options.agents) redactorOf(policy, ports.secrets);
  await mkdir(options.folder, { recursive: true, mode: 0o700 });
  const manager = new Manager(ports, options);
  await manager.recover();
  return manager;
}

const MAX_ACTIVE = 64;
/** Seconds that a request of the operator's own may wait to be opened. */
const EXPIRY_SECONDS = 3_600;
/** Milliseconds until a run must be closed, if its wall time says nothing shorter. */
const LONGEST_WALL_MS = 366 * 86_400_000;

/** A run at work. */
type Active = {
  readonly control: RunControl;
  readonly settled: Promise<RunStatus>;
  /** Resolves when record 0 is durable, rejects when it never will be. */
  readonly opened: Promise<void>;
};

class Manager implements RunManager {
  readonly agents: readonly ManagedAgent[];
  readonly operator: Hex;
  readonly #ports: ManagerPorts;
  readonly #folder: string;
  readonly #maxActive: number;
  readonly #statuses = new Map<Hex, RunStatus>();
  readonly #active = new Map<Hex, Active>();
  readonly #alarms = new Map<Hex, () => void>();
  readonly #watchers = new Watchers();
  /** Runs that are being taken up, so that nobody takes one up twice. */
  readonly #takingUp = new Map<Hex, Promise<Active>>();
  /** Resolves when every journal that was there is known: a child run is begun only if it has none. */
  readonly #known: Promise<void>;
  #allTaken: () => void = () => {};
  #closed = false;

  constructor(ports: ManagerPorts, options: openRunManager.Options) {
    this.#ports = ports;
    this.#folder = options.folder;
    this.#maxActive = options.maxActive ?? MAX_ACTIVE;
    this.agents = options.agents;
    this.operator = addressOf(ports.key);
    this.#known = new Promise((resolve) => {
      this.#allTaken = resolve;
    });
  }

  async recover(): Promise<void> {
    const names = (await readdir(this.#folder)).flatMap((name) => /^([0-9a-f]{64})\.trace$/.exec(name)?.[1] ?? []);
    const atWork: Hex[] = [];
    for (const name of names) {
      const run = `0x${name}` as Hex;
      const status = await readStatus(this.#statusPath(run));
      if (status !== undefined && status.status !== 'running') this.#take(status);
      else atWork.push(run);
    }
    const opened: Promise<void>[] = [];
    for (const run of atWork) {
      // A run that cannot go on is shown as broken, and holds up no other; so does one that another process writes.
      const tell = (error: unknown) => this.#ports.onFault?.(run, error);
      try {
        opened.push((await this.#recover(run)).opened.catch(tell));
      } catch (error) {
        if (!(error instanceof ManagerError)) throw error;
        const known = this.#statuses.get(run);
        if (known === undefined || !isOver(known)) tell(error);
      }
    }
    this.#allTaken();
    await Promise.all(opened);
    // What a child run and its parent had still to tell each other.
    for (const { run, parent } of this.list()) {
      if (parent !== null) this.#after(run).catch((error) => this.#ports.onFault?.(run, error));
    }
  }

  // Asking

  async create(asked: CreateRun): Promise<RunStatus> {
    if (this.#closed) throw new ManagerError('MANAGER_CLOSED', 'the manager is closed');
    const entry = this.agents.find(({ name }) => name === asked.agent);
    if (entry === undefined)
      throw new ManagerError('UNKNOWN_AGENT', `no agent ${asked.agent}`, { at: { field: 'agent' } });
    if (this.#active.size >= this.#maxActive) {
      throw new ManagerError('TOO_MANY_RUNS', `${this.#maxActive} runs are at work; try again later`);
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
    const active = this.#active.get(toHex(run)) ?? this.#begin(run, plan, entry.name);
    await active.opened;
    return this.get(toHex(run));
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
    return this.#active.get(run)?.settled ?? this.get(run);
  }

  async *records(
    run: Hex,
    from: bigint,
    { follow = false, signal }: { readonly follow?: boolean; readonly signal?: AbortSignal } = {},
  ): AsyncGenerator<RecordView> {
    this.get(run);
    if (!follow) {
      yield* feedRecords(this.bundle(run), from);
      return;
    }
    const isDone = () => this.#closed || isAtEnd(this.get(run));
    const { growth, unwatch } = this.#watchers.watch(run, isDone, signal);
    try {
      yield* feedRecords(this.bundle(run), from, growth, signal);
    } finally {
      unwatch();
    }
  }

  bundle(run: Hex): string {
    return join(this.#folder, `${run.slice(2)}.trace`);
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
    await withholdPayloads(this.bundle(run));
    const error = status.error === null ? null : { code: status.error.code, message: '' };
    const withheld = { ...status, output: null, error, withheldAt: this.#ports.now() };
    await writeStatus(this.#statusPath(run), withheld);
    this.#take(withheld);
    return withheld;
  }

  // Steering

  async cancel(run: Hex): Promise<RunStatus> {
    for (;;) {
      const active = await this.#activate(run, (control) => control.cancel());
      active.control.cancel();
      const status = await active.settled;
      // It was being put aside, and had looked for the last time.
      if (status.status !== 'suspended') return status;
    }
  }

  async pause(run: Hex): Promise<RunStatus> {
    const status = this.get(run);
    if (status.status === 'suspended') return status;
    const active = await this.#activate(run);
    active.control.pause();
    return active.settled;
  }

  async resume(run: Hex): Promise<RunStatus> {
    if (this.get(run).status !== 'suspended') {
      throw new ManagerError('WRONG_STATE', `run ${run} is ${this.get(run).status}, not suspended`, { at: { run } });
    }
    const active = await this.#activate(run);
    await active.opened;
    return this.get(run);
  }

  async approve(run: Hex, index: bigint, approval: Approval): Promise<RunStatus> {
    return this.#say(run, index, { type: 'approval', approval });
  }

  async reconcile(run: Hex, index: bigint, how: 'send' | 'lost'): Promise<RunStatus> {
    return this.#say(run, index, { type: 'reconcile', how });
  }

  async #say(run: Hex, index: bigint, word: Word): Promise<RunStatus> {
    for (;;) {
      let said: Promise<void> | undefined;
      const active = await this.#activate(run, (control) => {
        said = control.say(index, word);
        // Heard of below; until then it is nobody's.
        said.catch(() => undefined);
      });
      try {
        await (said ?? active.control.say(index, word));
        return this.get(run);
      } catch (error) {
        const isLate = said === undefined && error instanceof ControlError && error.code === 'RUN_OVER';
        // It was being put aside, and had listened for the last time.
        if (!isLate || (await active.settled).status !== 'suspended') throw error;
      }
    }
  }

  /** The run at work, started again if it was put aside; `first` sees its control before it goes on. */
  async #activate(run: Hex, first?: (control: RunControl) => void): Promise<Active> {
    if (this.#closed) throw new ManagerError('MANAGER_CLOSED', 'the manager is closed');
    let active = this.#active.get(run);
    // One that is being put aside hears nothing any more; whatever comes begins after it.
    for (; active?.control.over === true; active = this.#active.get(run)) await active.settled;
    if (active !== undefined) return active;
    const status = this.get(run);
    if (status.status !== 'suspended') {
      throw new ManagerError('WRONG_STATE', `run ${run} is ${status.status}`, { at: { run } });
    }
    const pending = this.#takingUp.get(run);
    if (pending !== undefined) return pending;
    const taken = this.#recover(run, first).finally(() => this.#takingUp.delete(run));
    this.#takingUp.set(run, taken);
    return taken;
  }

  async close(): Promise<void> {
    this.#closed = true;
    for (const off of this.#alarms.values()) off();
    for (const { control } of this.#active.values()) control.leave();
    await Promise.all([...this.#active.values()].map(({ settled }) => settled));
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

  /** Begins a run that has no journal yet. */
  #begin(run: Uint8Array, plan: RunPlan, agent: string): Active {
    const id = toHex(run);
    return this.#work(id, agent, plan.openBody, [], async () => ({
      plan,
      run,
      journal: await openJournal(this.bundle(id)),
    }));
  }

  /** Goes on with the journal of a run. */
  async #recover(run: Hex, first?: (control: RunControl) => void): Promise<Active> {
    const path = this.bundle(run);
    try {
      const { size } = await stat(path);
      const journaled = await readJournal(createReadStream(path));
      const plan = planOf(journaled);
      const { identity, vm } = this.#ports;
      requireSameHost(plan.openBody, { engine: vm.engine, identity, operator: this.operator });
      const { items, keepBytes } = journaled;
      const takeUp = async () => {
        // Read before it was locked: what another process has written meanwhile must not be cut off.
        if ((await stat(path)).size !== size) {
          throw new JournalError('JOURNAL_IN_USE', `${path} was written meanwhile`, { at: { path } });
        }
        return { plan, run: fromHex(run), journal: await continueJournal(path, keepBytes) };
      };
      return this.#work(run, nameOf(plan.agent), plan.openBody, items, takeUp, first);
    } catch (error) {
      if (!RuntimeError.is(error)) throw error;
      return this.#giveUp(run, error);
    }
  }

  /** A journal that cannot be gone on with stays as it is; one without record 0 was never acknowledged. */
  async #giveUp(run: Hex, error: RuntimeError): Promise<never> {
    if (error instanceof RecoveryError && error.code === 'JOURNAL_EMPTY') {
      await rm(this.bundle(run), { force: true });
      throw new ManagerError('UNKNOWN_RUN', `run ${run} was never begun`, { at: { run } });
    }
    const { birthtimeMs, mtimeMs } = await stat(this.bundle(run));
    const isWithheld = error instanceof RecoveryError && error.code === 'PAYLOAD_WITHHELD';
    const over = isWithheld ? await readWithheldStatus(this.bundle(run), Math.floor(mtimeMs)) : undefined;
    if (over !== undefined) {
      await writeStatus(this.#statusPath(run), over);
      this.#take(over);
      throw new ManagerError('WRONG_STATE', `run ${run} is ${over.status}`, { at: { run } });
    }
    this.#take({
      ...(this.#statuses.get(run) ?? emptyStatus(run, Math.floor(birthtimeMs))),
      status: 'broken',
      updatedAt: Math.floor(mtimeMs),
      error: { code: error.code, message: error.message },
    });
    throw new ManagerError('WRONG_STATE', `run ${run} is broken: ${error.message}`, { at: { run }, cause: error });
  }

  #work(
    run: Hex,
    agent: string,
    open: RunOpenBody,
    past: readonly PastItem[],
    takeUp: () => Promise<TakenUp>,
    first?: (control: RunControl) => void,
  ): Active {
    const control = new RunControl();
    first?.(control);
    let acknowledge: () => void = () => {};
    let refuse: (error: unknown) => void = () => {};
    const opened = new Promise<void>((resolve, reject) => {
      acknowledge = resolve;
      refuse = reject;
    });
    const seen = (record: RecordSeen) => {
      if (record.kind === 'run.open') {
        this.#take({
          ...openStatus(run, agent, open, record.head.at),
          status: 'running',
          updatedAt: this.#ports.now(),
        });
        acknowledge();
      } else {
        this.#count(run, Number(record.head.index) + 1);
      }
      this.#ports.onRecord?.(run, agent, record);
      this.#watchers.notify(run);
    };
    const settled = this.#run(run, past, takeUp, control, seen).finally(() => {
      this.#active.delete(run);
      this.#watchers.notify(run);
    });
    // Whoever waits for `opened` hears of it; later faults are in the status.
    settled
      .then(({ status, error }) => {
        if (status === 'broken') refuse(new ManagerError('WRONG_STATE', `run ${run} is broken: ${error?.message}`));
        return this.#after(run);
      })
      .catch(refuse);
    opened.catch(() => undefined);
    const active = { control, settled, opened };
    this.#active.set(run, active);
    return active;
  }

  async #run(
    run: Hex,
    past: readonly PastItem[],
    takeUp: () => Promise<TakenUp>,
    control: RunControl,
    onRecord: (seen: RecordSeen) => void,
  ): Promise<RunStatus> {
    this.#alarms.get(run)?.();
    let lock: JournalLock | undefined;
    let journal: Journal | undefined;
    try {
      lock = await lockJournal(this.bundle(run));
      const taken = await takeUp();
      journal = taken.journal;
      // What it says is no longer so; whoever finds no status asks the journal.
      await removeStatus(this.#statusPath(run));
      const { now, random: salt, key } = this.#ports;
      const open = taken.plan.openBody;
      const writer = new TraceWriter({ sink: journal, now, salt }, taken.run, deploymentOf(open), key, past);
      const redactor = redactorOf(taken.plan.policy, this.#ports.secrets);
      const children = (call: ChildCall, signal: AbortSignal) => this.#child(call, signal);
      const result = await runAgent({ ...this.#ports, writer, control, onRecord, children, redactor }, taken.plan);
      return await this.#conclude(run, result);
    } catch (error) {
      const status = this.#statuses.get(run);
      if (status === undefined) throw error;
      const { code, message } = RuntimeError.is(error)
        ? error
        : { code: 'HOST_INTERNAL', message: 'this program failed; the journal stands as it is' };
      // Nothing is written beside the journal: the next process tries again.
      const broken: RunStatus = {
        ...status,
        status: 'broken',
        updatedAt: this.#ports.now(),
        error: { code, message },
      };
      this.#statuses.set(run, broken);
      this.#ports.onFault?.(run, error);
      return broken;
    } finally {
      // What was said to a run that could not be taken up is refused, not forgotten.
      control.end();
      await journal?.close();
      await lock?.release();
    }
  }

  /** Keeps how a run ended, or why it was put aside. */
  async #conclude(run: Hex, result: RunResult | Suspension): Promise<RunStatus> {
    // A run that was left goes on by itself.
    if (result.status === 'suspended' && result.reason === 'left') return this.get(run);
    const status = restingStatus(this.get(run), result, this.#ports.now());
    await writeStatus(this.#statusPath(run), status);
    this.#take(status);
    return status;
  }

  #take(status: RunStatus): void {
    const { run, wakeAt } = status;
    this.#alarms.get(run)?.();
    this.#alarms.delete(run);
    this.#statuses.set(run, status);
    if (status.status !== 'suspended' || wakeAt === null) return;
    const wake = () => {
      this.#activate(run).catch((error) => this.#ports.onFault?.(run, error));
    };
    this.#alarms.set(run, setAlarm(wakeAt, this.#ports.now, wake));
  }

  #count(run: Hex, records: number): void {
    const status = this.#statuses.get(run);
    if (status !== undefined) this.#statuses.set(run, { ...status, records, updatedAt: this.#ports.now() });
  }

  #statusPath(run: Hex): string {
    return join(this.#folder, `${run.slice(2)}.status.json`);
  }

  // Child runs

  async #child(call: ChildCall, signal: AbortSignal): Promise<ChildResult | 'suspended' | 'unknown'> {
    const entry = this.agents.find(({ agent }) => hashGuestCode(agent) === call.request.agent);
    if (entry === undefined) return 'unknown';
    const { request, input: inputPayload, limits, parent } = call;
    const input = readJsonPayload(inputPayload, 'body.input');
    const caller: CallerRequest = { request, signature: null, input, inputPayload, limits };
    const { run, plan } = this.#plan(entry, caller, { run: toHex(parent.run), index: parent.index.toString() });
    const id = toHex(run);
    await this.#known;
    const status = this.#statuses.get(id);
    if (status !== undefined && isOver(status)) return this.#childResult(status);
    if (status?.status === 'suspended' || status?.status === 'broken') return 'suspended';
    const active = this.#active.get(id) ?? this.#begin(run, plan, entry.name);
    const cancel = () => {
      // Who leaves the parent leaves the child as it stands.
      if (!this.#closed) active.control.cancel();
    };
    signal.addEventListener('abort', cancel);
    try {
      const settled = await active.settled;
      return isOver(settled) ? await this.#childResult(settled) : 'suspended';
    } finally {
      signal.removeEventListener('abort', cancel);
    }
  }

  async #childResult({ run, status, output, error }: RunStatus): Promise<ChildResult> {
    const { items } = await readJournal(createReadStream(this.bundle(run)));
    const last = items.at(-1);
    if (last?.type !== 'checkpoint') throw new ManagerError('WRONG_STATE', `run ${run} has no closed checkpoint`);
    return { run, status: status as ChildResult['status'], output, error, checkpoint: last.checkpoint };
  }

  /**
   * Tells the parent of a run that is over, and a parent that was put aside of children that ended meanwhile; a run whose parent is over
   * has nobody left to ask for it.
   */
  async #after(run: Hex): Promise<void> {
    if (this.#closed) return;
    const status = this.#statuses.get(run);
    if (status === undefined) return;
    if (isOver(status)) {
      if (status.parent !== null) await this.#tellParent(status.parent.run, BigInt(status.parent.index));
      const left = this.list().filter(({ parent, status: word }) => parent?.run === run && word === 'suspended');
      await Promise.all(left.map((child) => this.cancel(child.run)));
    }
    if (status.status !== 'suspended') return;
    const own = status.parent === null ? undefined : this.#statuses.get(status.parent.run);
    if (own !== undefined && isOver(own)) {
      await this.cancel(run);
      return;
    }
    for (const waiting of status.waiting) {
      if (waiting.for !== 'child') continue;
      const child = this.list().find(({ parent }) => parent?.run === run && parent.index === waiting.index);
      if (child !== undefined && isOver(child)) await this.#tellParent(run, BigInt(waiting.index));
    }
  }

  async #tellParent(parent: Hex, index: bigint): Promise<void> {
    try {
      const status = this.#statuses.get(parent);
      if (status !== undefined && !isOver(status)) await this.#say(parent, index, { type: 'child' });
    } catch (error) {
      // A parent that does not wait for it now hears of it when it is put aside.
      if (!(error instanceof ControlError)) this.#ports.onFault?.(parent, error);
    }
  }
}

/** What taking up a run opens. */
type TakenUp = { readonly plan: RunPlan; readonly run: Uint8Array; readonly journal: Journal };

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

/** The name that an agent's manifest gives it. */
function nameOf({ manifest }: GuestCode): string {
  const { name } = (manifest ?? {}) as { readonly name?: Json };
  return typeof name === 'string' ? name : '';
}
