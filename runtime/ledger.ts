/**
 * The books of one run: records as they are written, the starts that are open, the calls that wait, the store.
 *
 * B1. A record is held against the limits of the run before it is written.
 * B2. The store follows the ends of `kv.put`, in the order of their records.
 *
 * @module
 */

import type { Bodies, RunOpenBody } from '../attest/trace/bodies.ts';
import type { Completion } from '../attest/trace/deliveries.ts';
import { type GuestCode, type GuestDelivery, grantToolFuel, type ParsedCall } from '../attest/trace/guest.ts';
import type { Head } from '../attest/trace/head.ts';
import type { Kind } from '../attest/trace/kinds.ts';
import type { Payload } from '../attest/trace/payload.ts';
import { coveredSend, type PolicyRules } from '../attest/trace/policy.ts';
import { approvedSend, WalletBook } from '../attest/trace/wallet.ts';
import type { PastRecord, PayloadSet, TraceWriter } from '../attest/trace/writer.ts';
import { requireBudget } from './budget.ts';
import type { GuestRun } from './guest-run.ts';
import type { HostCall } from './sandbox/vm.ts';
import type { StartRecord } from './starts.ts';

/** The agent, or an open tool. `run` is undefined for a tool whose end the journal holds: it is not run again. */
export type Guest = { readonly by: bigint | null; readonly tool: string | null; readonly run: GuestRun | undefined };

/** A call that was not decided yet. */
export type Pending = { readonly guest: Guest; readonly call: HostCall };

/** A start without an end. */
export type Started = {
  readonly head: Head;
  readonly owner: Guest;
  readonly call: HostCall;
  readonly parsed: ParsedCall;
  readonly start: StartRecord;
  /** Of a child run: its input, whose salt the child's own record 0 repeats. */
  readonly input?: Payload | undefined;
  /** Of a tool: its own guest, and the fuel that it was granted. */
  readonly guest?: Guest;
  readonly fuel?: bigint;
  /** For whom it waits, if for somebody. */
  waits?: 'approval' | 'reconciliation' | 'child' | undefined;
};

/** A record as it becomes durable; `isPast` for those that were there before. */
export type RecordSeen = {
  readonly head: Head;
  readonly kind: Kind;
  readonly body: Bodies[Kind];
  readonly isPast: boolean;
};

/** Records between two checkpoints. */
const CHECKPOINT_EVERY = 32;

export declare namespace Ledger {
  /** What a run is kept by. */
  type Plan = { readonly openBody: RunOpenBody; readonly policy: PolicyRules; readonly agent: GuestCode };
}

/** The books of one run. */
export class Ledger {
  readonly writer: TraceWriter;
  readonly open: RunOpenBody;
  readonly pending: Pending[] = [];
  readonly starts = new Map<bigint, Started>();
  readonly store = new Map<string, string>();
  readonly wallet = new WalletBook();
  /** Fuel of the agent's code so far. */
  agentFuel = 0n;
  readonly #policy: PolicyRules;
  readonly #agentLimit: bigint;
  readonly #onRecord: ((seen: RecordSeen) => void) | undefined;

  constructor(writer: TraceWriter, plan: Ledger.Plan, onRecord?: (seen: RecordSeen) => void) {
    const { openBody: open, policy, agent } = plan;
    this.writer = writer;
    this.open = open;
    this.#policy = policy;
    const [own, run] = [BigInt(agent.limits.fuel), BigInt(open.limits.fuel)];
    this.#agentLimit = own < run ? own : run;
    this.#onRecord = onRecord;
  }

  /** Most fuel of the agent's code. */
  get agentLimit(): bigint {
    return this.#agentLimit;
  }

  /**
   * Writes a record.
   *
   * @throws {@link OutOfBudget} if it would exceed a limit; nothing is written then
   * @throws {@link JournalError}, {@link TraceError}
   */
  async append<K extends Kind>(kind: K, body: Bodies[K], payloads?: PayloadSet, of?: bigint): Promise<Head> {
    requireBudget(this.writer.state.counters, this.open.limits, costOf(kind, body));
    return this.#write(kind, body, payloads, of);
  }

  /** Writes `run.close`, which repeats what was counted and is held to no limit. */
  appendClose(body: Bodies['run.close'], payloads: PayloadSet): Promise<Head> {
    return this.#write('run.close', body, payloads);
  }

  async #write<K extends Kind>(kind: K, body: Bodies[K], payloads?: PayloadSet, of?: bigint): Promise<Head> {
    const { writer } = this;
    const isPast = writer.next !== undefined;
    // run.close has counted the checkpoints before it already.
    if (!isPast && kind !== 'run.close' && writer.unsigned >= CHECKPOINT_EVERY) await writer.checkpoint();
    const head = await writer.append(kind, body, payloads, of);
    this.#onRecord?.({ head, kind, body, isPast });
    return head;
  }

  /** Takes the next record of the past as it stands. */
  take(): PastRecord {
    const taken = this.writer.take();
    this.#onRecord?.({ head: taken.head, kind: taken.record.kind, body: taken.record.body, isPast: true });
    return taken;
  }

  /** Records that a start will never end, and forgets it. */
  async lose(started: Started, reason: Bodies['host.lost']['reason']): Promise<Head> {
    const head = await this.append(lossOf(started.start.kind), { reason }, undefined, started.head.index);
    this.starts.delete(started.head.index);
    return head;
  }

  /** Loses all open starts, or those of one guest; what a tool started before the tool. */
  async loseAll(reason: Bodies['host.lost']['reason'], owner?: Guest): Promise<void> {
    for (const started of [...this.starts.values()].reverse()) {
      if (owner === undefined || started.owner === owner) await this.lose(started, reason);
    }
  }

  /** Takes a start, and counts what it may spend. */
  begin(started: Started): void {
    const { head, owner, parsed } = started;
    this.starts.set(head.index, started);
    if (parsed.method !== 'wallet.send') return;
    const covered = coveredSend(this.#policy, owner.tool, parsed.target);
    if (covered === undefined) throw new TypeError('a wallet.send was allowed without a grant');
    this.wallet.spend(covered.rule, owner.tool, covered.target.digest, covered.amount, covered.needsApproval);
  }

  /** Forgets a start that has ended; what it wrote is in the store, and what a person approved in the wallet's book. */
  settle({ head, parsed, owner }: Started, completion: Completion, delivery: GuestDelivery | undefined): void {
    this.starts.delete(head.index);
    if (parsed.method === 'human.approve' && delivery?.ok === true) {
      const { approved } = delivery.value as { readonly approved: boolean };
      const send = approvedSend(parsed.args.details);
      if (approved && send !== undefined) this.wallet.approve(owner.tool, send);
    }
    if (parsed.method === 'kv.put' && completion.kind === 'host.end' && completion.body.error === null) {
      this.store.set(parsed.target, parsed.args.value);
    }
  }

  /** Forgets the calls of a guest that has ended. */
  drop(guest: Guest): void {
    for (let i = this.pending.length - 1; i >= 0; i--) {
      if (this.pending[i]?.guest === guest) this.pending.splice(i, 1);
    }
  }

  /** Takes a call out of those that wait. */
  takePending(by: bigint | null, id: number): Pending | undefined {
    const at = this.pending.findIndex(({ guest, call }) => guest.by === by && call.id === id);
    return at < 0 ? undefined : this.pending.splice(at, 1)[0];
  }

  /** Fuel granted to tools that still run. */
  get grantedFuel(): bigint {
    return [...this.starts.values()].reduce((sum, { fuel }) => sum + (fuel ?? 0n), 0n);
  }

  /** Fuel that a tool would be granted now; 0 is none. */
  toolFuel(code: GuestCode): bigint {
    return grantToolFuel({
      tool: BigInt(code.limits.fuel),
      run: BigInt(this.open.limits.fuel),
      used: this.writer.state.counters.fuel,
      agent: this.#agentLimit,
      agentUsed: this.agentFuel,
      granted: this.grantedFuel,
    });
  }
}

/** The loss that belongs to a start. */
export function lossOf(kind: StartRecord['kind']): 'inference.lost' | 'tool.lost' | 'host.lost' | 'run.child.lost' {
  return kind.replace('.start', '.lost') as ReturnType<typeof lossOf>;
}

/** What a record adds to the counters that have limits. */
function costOf(kind: Kind, body: Bodies[Kind]): { bytes: bigint; fuel: bigint; tokens: bigint } {
  const more = body as {
    bytes?: string;
    fuel?: string;
    prompt?: { count: number };
    output?: { count?: number } | null;
  };
  const isEnd = kind === 'inference.end';
  return {
    bytes: BigInt(more.bytes ?? 0),
    fuel: kind === 'agent' || kind === 'tool.end' ? BigInt(more.fuel ?? 0) : 0n,
    tokens: isEnd ? BigInt((more.prompt?.count ?? 0) + (more.output?.count ?? 0)) : 0n,
  };
}
