/**
 * Going through the journal of a run that goes on: the run is executed again from its start, and its records say what
 * happens next and what was answered.
 *
 * P1. What follows from code (calls, policy, starts, what the agent did) is computed again and held against the record.
 * P2. What came from outside is taken from the record; nothing is done twice.
 * P3. A tool whose end the journal holds is not executed again: its records are taken as they stand.
 *
 * @module
 */

import type { RunCloseBody } from '../attest/trace/bodies.ts';
import { deliveryOf, isCompletion } from '../attest/trace/deliveries.ts';
import { type GuestDelivery, parseCall } from '../attest/trace/guest.ts';
import { readJsonPayload } from '../attest/trace/payload.ts';
import type { PastRecord } from '../attest/trace/writer.ts';
import type { Guest, Ledger, Pending } from './ledger.ts';
import { type HostCall, HostFault } from './sandbox/vm.ts';

/** What the past moves. */
export type PastPorts = {
  /** Decides a call again, and starts it again if it was allowed. */
  readonly serve: (pending: Pending) => Promise<void>;
  readonly give: (guest: Guest, delivery: GuestDelivery | undefined, at: bigint) => Promise<void>;
};

/** How a run that was broken off ends, by the reason of its losses. */
const STATUS_OF_LOSS = {
  CANCELLED: 'cancelled',
  DEADLINE: 'out-of-budget',
  HOST_FAULT: 'abandoned',
  CRASH: 'abandoned',
} as const;

/** The past of one run. */
export class Past {
  /** `run.close`, if the journal ends with it. */
  closed: { readonly body: RunCloseBody; readonly payloads: PastRecord['payloads'] } | undefined;
  /** Set when the journal ends while the run was being broken off. */
  brokenOff: (typeof STATUS_OF_LOSS)[keyof typeof STATUS_OF_LOSS] | undefined;
  readonly #ledger: Ledger;
  readonly #ports: PastPorts;
  /** Whether the agent was left without the record that its last delivery calls for. */
  #breaking = false;

  constructor(ledger: Ledger, ports: PastPorts) {
    this.#ledger = ledger;
    this.#ports = ports;
  }

  /**
   * Whether the agent's record stands here, or here is where it is written; else the run was broken off before it.
   */
  admitsAgent(): boolean {
    const next = this.#ledger.writer.next?.record;
    if (next === undefined || next.kind === 'agent') return true;
    if (!next.kind.endsWith('.lost') && next.kind !== 'run.close') return true;
    this.#breaking = true;
    return false;
  }

  /**
   * Goes through the whole past.
   *
   * @throws {@link TraceError} `JOURNAL_MISMATCH` where the run does not give what the journal holds
   */
  async replay(): Promise<void> {
    for (let next = this.#ledger.writer.next; next !== undefined; next = this.#ledger.writer.next) {
      const { record } = next;
      if (record.kind === 'policy') {
        const by = record.body.by === null ? null : BigInt(record.body.by);
        const pending = this.#ledger.takePending(by, record.body.call);
        if (pending !== undefined) await this.#ports.serve(pending);
        else this.#takeDecided(by);
      } else if (record.kind === 'run.close') {
        this.#ledger.take();
        this.closed = { body: record.body, payloads: next.payloads };
      } else if (isCompletion(record)) {
        await this.#takeCompletion(next);
      } else {
        throw mismatch(next, 'which the run does not do here');
      }
    }
  }

  /** A call of a tool whose end the journal holds. */
  #takeDecided(by: bigint | null): void {
    const owner = by === null ? undefined : this.#ledger.starts.get(by)?.guest;
    const policy = this.#ledger.writer.next as PastRecord;
    if (owner === undefined || owner.run !== undefined) throw mismatch(policy, 'for a call that the run does not make');
    this.#ledger.take();
    const { next } = this.#ledger.writer;
    if (next?.record.kind !== 'host.start') return;
    const { body } = next.record;
    const payload = next.payloads.get('body.request');
    if (payload === undefined) throw mismatch(next, 'without its request');
    const args = readJsonPayload(payload, 'body.request');
    const call: HostCall = { id: body.call, method: body.capability, args };
    const parsed = parseCall(call, owner.tool, this.#ledger.open);
    if (parsed.method === 'unknown') throw mismatch(next, 'which asks for nothing');
    const { head } = this.#ledger.take();
    this.#ledger.begin({ head, owner, call, parsed, start: { kind: 'host.start', body } });
  }

  async #takeCompletion(next: PastRecord): Promise<void> {
    const { record, head, payloads } = next;
    const started = this.#ledger.starts.get(head.of);
    if (started === undefined || !isCompletion(record)) throw mismatch(next, 'of a start that the run has not made');
    const breaksOff = this.#breaksOff(next, started.owner);
    this.#ledger.take();
    const delivery = deliveryOf(record, payloads, started.call.id);
    this.#ledger.settle(started, record, delivery);
    await started.guest?.run?.close();
    if (breaksOff && 'reason' in record.body) this.brokenOff ??= STATUS_OF_LOSS[record.body.reason];
    else await this.#ports.give(started.owner, delivery, head.at);
  }

  /** Whether a loss belongs to a run that is broken off: nobody hears of it. */
  #breaksOff({ record }: PastRecord, owner: Guest): boolean {
    if (!('reason' in record.body)) return false;
    if (this.#breaking || this.#ledger.writer.brokenOff || this.brokenOff !== undefined) return true;
    const { reason } = record.body;
    if (record.kind === 'tool.lost') return true;
    if (reason !== 'CANCELLED' && reason !== 'DEADLINE') return false;
    // A tool that has ended loses what it left behind, and the run goes on.
    return owner.by === null || owner.run?.state?.status === 'waiting';
  }
}

function mismatch({ head, record }: PastRecord, what: string): HostFault {
  return new HostFault('HOST_INTERNAL', `the journal has at ${head.index} a ${record.kind} ${what}`);
}
