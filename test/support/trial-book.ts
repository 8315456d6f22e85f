/**
 * What is asked of processes of runs that are killed, and what they have told of it.
 *
 * @module
 */

import { fromHex, type Hex } from '../../attest/core/bytes.ts';
import { addressOf } from '../../attest/sign/secp256k1.ts';
import { signApproval } from '../../attest/trace/approval.ts';
import { OFF_CHAIN } from '../../runtime/plan.ts';
import { isOver, type RunStatus } from '../../runtime/run-status.ts';
import type { FromTrialChild, ToTrialChild, TrialRequest } from './trial-child.ts';

/** A run that is asked for; it has an id once a process has acknowledged it. */
export type AskedRun = { readonly agent: string; readonly request: TrialRequest; run: Hex | undefined };

/** What a person says to a question of a run, and after how many milliseconds. */
export type TrialWord = { readonly approved: boolean; readonly note: string; readonly afterMs: number };

/** The runs of one trial, whichever process they are in. */
export class TrialBook<Asked extends AskedRun> {
  readonly asked: Asked[] = [];
  readonly #statuses = new Map<Hex, RunStatus>();
  readonly #approverKey: Uint8Array;
  readonly #decide: (run: Hex) => TrialWord;
  readonly #fail: (what: string) => void;

  constructor(approverKey: Uint8Array, decide: (run: Hex) => TrialWord, fail: (what: string) => void) {
    this.#approverKey = approverKey;
    this.#decide = decide;
    this.#fail = fail;
  }

  /** Runs that are not known to be over. */
  open(): readonly Asked[] {
    return this.asked.filter(({ run }) => {
      const status = run === undefined ? undefined : this.#statuses.get(run);
      return status === undefined || !isOver(status);
    });
  }

  /** Whether a run is broken. */
  isBroken(): boolean {
    return [...this.#statuses.values()].some(({ status }) => status === 'broken');
  }

  /** Where all runs stand, for a failure. */
  toString(): string {
    const states = [...this.#statuses.values()];
    return states.map(({ agent, status, error }) => `${agent} ${status} ${error?.message ?? ''}`).join(', ');
  }

  /** Takes what a process told, and answers it. */
  take<Setup>(message: FromTrialChild, say: (message: ToTrialChild<Setup>) => void): void {
    switch (message.type) {
      case 'ready':
        for (const { agent, request } of this.asked) say({ type: 'create', agent, request });
        return;
      case 'created': {
        const asked = this.asked.find(({ request }) => request.request.nonce === message.nonce);
        if (asked !== undefined) asked.run = message.run;
        return;
      }
      case 'status': {
        const { status } = message;
        this.#statuses.set(status.run, status);
        if (status.reason === 'reconciliation') this.#fail(`run ${status.run} waits for a reconciliation`);
        return;
      }
      case 'asked': {
        const { run, index, request } = message;
        const { afterMs, ...decision } = this.#decide(run);
        const place = { run: fromHex(run), index: BigInt(index), request };
        const signature = signApproval(decision, place, OFF_CHAIN, this.#approverKey);
        const approval = { ...decision, approver: addressOf(this.#approverKey), signature };
        setTimeout(() => say({ type: 'approve', run, index, approval }), afterMs);
        return;
      }
      default:
        // A run that was killed before its first record was never acknowledged; it is asked for again.
        if (!message.message.includes('was never begun')) this.#fail(message.message);
    }
  }
}
