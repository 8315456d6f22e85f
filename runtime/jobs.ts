/**
 * Jobs: a run is claimed, read from its journal, gone on with until it rests, and let go.
 *
 * T1. Only what stands in the journal is gone on with; its claim keeps others from writing it.
 * T2. A run that another worker has claimed meanwhile, or whose store cannot be reached, is left as it stands: whoever takes it up next
 *     reads what was written.
 * T3. A run that cannot be gone on with is shown as `broken`, and why; of many machines, one of another engine, key or model leaves it to the others.
 *
 * @module
 */

import { fromHex, type Hex } from '../attest/core/bytes.ts';
import { defined } from '../attest/core/defined.ts';
import { RuntimeError } from '../attest/core/error.ts';
import type { Json } from '../attest/encoding/canonical-json.ts';
import type { GuestCode } from '../attest/trace/guest.ts';
import { TraceWriter } from '../attest/trace/writer.ts';
import { deploymentOf } from '../attest/verify/identity.ts';
import { RunControl } from './control.ts';
import type { ChildRunner } from './effects.ts';
import { type Journal, JournalError } from './journal.ts';
import type { RecordSeen } from './ledger.ts';
import type { ManagerPorts } from './manager-types.ts';
import { redactorOf } from './policy-secrets.ts';
import { QueueError } from './queue/errors.ts';
import type { Hearing, JobEnd, Machinery, RunClaim, RunJob } from './queue/ports.ts';
import { type Journaled, planOf, RecoveryError, readJournal, requireSameHost } from './recovery.ts';
import { runAgent } from './run.ts';
import { emptyStatus, isOver, openStatus, type RunStatus, restingStatus } from './run-status.ts';
import type { RunPlan } from './run-types.ts';
import { openRunWallet } from './wallet/run-wallet.ts';
import { readWithheldStatus } from './withheld-status.ts';

/** What jobs take from their manager, and tell it. */
export type JobPorts = {
  readonly statusOf: (run: Hex) => RunStatus | undefined;
  /** A status has changed here. */
  readonly took: (status: RunStatus) => void;
  /** A run has so many records now. */
  readonly recorded: (run: Hex, records: number) => void;
  readonly children: ChildRunner;
};

/** The runs that are at work here. */
export class Jobs {
  readonly #ports: ManagerPorts;
  readonly #machinery: Machinery;
  readonly #operator: Hex;
  readonly #told: JobPorts;
  readonly #atWork = new Map<Hex, RunControl>();
  /** Who waits for a run to be taken up. */
  readonly #takenUp = new Map<Hex, (() => void)[]>();
  #isLeaving = false;

  constructor(ports: ManagerPorts, machinery: Machinery, operator: Hex, told: JobPorts) {
    this.#ports = ports;
    this.#machinery = machinery;
    this.#operator = operator;
    this.#told = told;
  }

  /** Resolves when a run has been taken up here, or could not be. */
  takenUp(run: Hex): Promise<void> {
    return new Promise((resolve) => {
      this.#takenUp.set(run, [...(this.#takenUp.get(run) ?? []), resolve]);
    });
  }

  /** Leaves all runs as they stand. */
  leaveAll(): void {
    this.#isLeaving = true;
    for (const control of this.#atWork.values()) control.leave();
  }

  /**
   * Does one job.
   *
   * @throws {@link JournalError} `JOURNAL_UNREACHABLE`, {@link QueueError}, {@link RecoveryError} `OTHER_HOST` of a shared queue: it is to be done again, here or elsewhere
   */
  async work({ run, lost }: RunJob): Promise<JobEnd> {
    let claim: RunClaim | undefined;
    try {
      const known = this.#told.statusOf(run);
      if (known !== undefined && isOver(known)) {
        await this.#machinery.inbox.refuse(run);
        return 'rested';
      }
      if (this.#isLeaving) return 'left';
      claim = await this.#machinery.store.claim(run);
      return await this.#goOn(run, claim, lost);
    } catch (error) {
      if (this.#isForOthers(error)) throw error;
      // Whoever claimed it tells what becomes of it.
      if (error instanceof JournalError && error.code === 'JOURNAL_FENCED') this.#ports.onFault?.(run, error);
      else await this.#break(run, error, claim);
      return 'rested';
    } finally {
      this.#reached(run);
      await claim?.release();
    }
  }

  /** Whether a job that failed may be done later, or by another program: one with the engine, key and model of the run. */
  #isForOthers(error: unknown): boolean {
    if (error instanceof JournalError) return error.code === 'JOURNAL_UNREACHABLE';
    if (error instanceof QueueError) return this.#machinery.isShared;
    return this.#machinery.isShared && error instanceof RecoveryError && error.code === 'OTHER_HOST';
  }

  async #goOn(run: Hex, claim: RunClaim, lost: AbortSignal): Promise<JobEnd> {
    let journaled: Journaled;
    let plan: RunPlan;
    try {
      journaled = await readJournal(claim.read());
      plan = planOf(journaled);
      const { identity, vm } = this.#ports;
      requireSameHost(plan.openBody, { engine: vm.engine, identity, operator: this.#operator });
    } catch (error) {
      if (!(await this.#isSettled(claim, error))) throw error;
      await this.#machinery.inbox.refuse(run);
      return 'rested';
    }
    const control = new RunControl();
    const leave = () => control.leave();
    const journal = await claim.proceed(journaled.keepBytes);
    let hearing: Hearing | undefined;
    try {
      const [first] = journaled.items;
      const begun = first?.type === 'record' ? first.head.at : 0n;
      const open = openStatus(run, nameOf(plan.agent), plan.openBody, begun);
      this.#told.took({ ...open, records: journaled.items.length, updatedAt: this.#ports.now() });
      this.#reached(run);
      this.#atWork.set(run, control);
      if (this.#isLeaving || lost.aborted) control.leave();
      lost.addEventListener('abort', leave);
      hearing = await this.#machinery.inbox.attach(run, control);
      const result = await this.#run(run, plan, journaled, { journal, claim, control });
      if (result.status === 'suspended' && result.reason === 'left') return 'left';
      const status = restingStatus(this.#told.statusOf(run) ?? open, result, this.#ports.now());
      await claim.rest(status);
      this.#told.took(status);
      return 'rested';
    } finally {
      lost.removeEventListener('abort', leave);
      this.#atWork.delete(run);
      control.end();
      if (await hearing?.close()) await this.#hearAgain(run);
    }
  }

  async #run(
    run: Hex,
    plan: RunPlan,
    { items }: Journaled,
    { journal, claim, control }: { journal: Journal; claim: RunClaim; control: RunControl },
  ) {
    const { now, random: salt, key, onRecord, wallets } = this.#ports;
    const agent = nameOf(plan.agent);
    const id = fromHex(run);
    const writer = new TraceWriter({ sink: journal, now, salt }, id, deploymentOf(plan.openBody), key, items);
    const redactor = redactorOf(plan.policy, this.#ports.secrets);
    const seen = (record: RecordSeen) => {
      this.#told.recorded(run, Number(record.head.index) + 1);
      // Whoever takes a run up for the first time is the one who begins it.
      const isPast = record.isPast && !(record.kind === 'run.open' && items.length === 1);
      onRecord?.(run, agent, { ...record, isPast });
    };
    const tell = (error: RuntimeError) => this.#ports.onFault?.(run, error);
    const wallet =
      wallets === undefined ? undefined : openRunWallet(wallets, { agent, run: id, signed: claim.signed }, tell);
    const { children } = this.#told;
    const ports = { ...this.#ports, writer, control, onRecord: seen, children, redactor, ...defined({ wallet }) };
    return runAgent(ports, plan);
  }

  /** Has a run taken up again for what it did not hear; one that is over refuses it. */
  async #hearAgain(run: Hex): Promise<void> {
    const status = this.#told.statusOf(run);
    if (status?.status === 'running' || status?.status === 'suspended') await this.#machinery.queue.add(run);
    else await this.#machinery.inbox.refuse(run);
  }

  /** Whether a journal from which no run goes on is nevertheless one of a run that is settled: never begun, or over and its payloads deleted. */
  async #isSettled(claim: RunClaim, error: unknown): Promise<boolean> {
    if (!(error instanceof RecoveryError)) return false;
    if (error.code === 'JOURNAL_EMPTY') {
      await claim.discard();
      return true;
    }
    if (error.code !== 'PAYLOAD_WITHHELD') return false;
    const over = await readWithheldStatus(claim.read(), this.#ports.now());
    if (over === undefined) return false;
    await claim.rest(over);
    this.#told.took(over);
    return true;
  }

  async #break(run: Hex, error: unknown, claim: RunClaim | undefined): Promise<void> {
    const now = this.#ports.now();
    const { code, message } = RuntimeError.is(error)
      ? error
      : { code: 'HOST_INTERNAL', message: 'this program failed; the journal stands as it is' };
    this.#ports.onFault?.(run, error);
    const known = this.#told.statusOf(run);
    // What another program writes is no matter of this one.
    if (known === undefined && error instanceof JournalError && error.code === 'JOURNAL_IN_USE') return;
    const before = known ?? emptyStatus(run, now);
    const broken: RunStatus = { ...before, status: 'broken', updatedAt: now, error: { code, message } };
    this.#told.took(broken);
    await claim?.rest(broken).catch((cause) => this.#ports.onFault?.(run, cause));
    // What was said to a run that could not be taken up is refused, not forgotten.
    await this.#machinery.inbox.refuse(run);
  }

  #reached(run: Hex): void {
    for (const resolve of this.#takenUp.get(run) ?? []) resolve();
    this.#takenUp.delete(run);
  }
}

/** The name that an agent's manifest gives it. */
function nameOf({ manifest }: GuestCode): string {
  const { name } = (manifest ?? {}) as { readonly name?: Json };
  return typeof name === 'string' ? name : '';
}
