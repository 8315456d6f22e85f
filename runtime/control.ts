/**
 * How somebody outside steers a run while it goes on: cancel, pause, leave, decide, reconcile. The run looks here between two records.
 *
 * @module
 */

import { RuntimeError } from '../attest/core/error.ts';
import type { Approval } from '../attest/trace/approval.ts';

export type ControlErrorCode =
  /** No start of that index waits for it. */
  | 'NOT_WAITING'
  /** A decision that no approver of the policy has signed. */
  | 'APPROVAL_INVALID'
  /** The run ended, or was put aside, before it was taken. */
  | 'RUN_OVER'
  /** Nobody has taken the run up for too long; it was said, and waits. */
  | 'NOT_HEARD';

/** A run could not be steered so. */
export class ControlError extends RuntimeError<ControlErrorCode> {
  override readonly name = 'ControlError';
}

/** What a person or the operator says about one open start. */
export type Word =
  | { readonly type: 'approval'; readonly approval: Approval }
  /** After a crash: `send` makes the call again, `lost` closes it as lost. */
  | { readonly type: 'reconcile'; readonly how: 'send' | 'lost' }
  /** A child run that was put aside has ended. */
  | { readonly type: 'child' };

/** A word that waits to be taken; settled once it is on record, or refused. */
export type SpokenWord = Word & {
  readonly index: bigint;
  readonly accept: () => void;
  readonly refuse: (error: ControlError) => void;
};

/** The steering wheel of one run. */
export class RunControl {
  readonly #words: SpokenWord[] = [];
  #listener: (() => void) | undefined;
  #cancelled = false;
  #paused = false;
  #left = false;
  #over = false;

  get cancelled(): boolean {
    return this.#cancelled;
  }

  get paused(): boolean {
    return this.#paused;
  }

  get left(): boolean {
    return this.#left;
  }

  /** Whether nothing is taken any more. */
  get over(): boolean {
    return this.#over;
  }

  /** Has the run closed as `cancelled`, as soon as its present record is written. */
  cancel(): void {
    this.#cancelled = true;
    this.#listener?.();
  }

  /** Leaves the run as a crash would, its journal as it stands: it goes on from there when it is taken up again. */
  leave(): void {
    this.#left = true;
    this.#listener?.();
  }

  /** Has the run put aside once nothing is under way. */
  pause(): void {
    this.#paused = true;
    this.#listener?.();
  }

  /**
   * Says a word about the start at `index`; resolves when it is on record.
   *
   * @throws {@link ControlError}
   */
  say(index: bigint, word: Word): Promise<void> {
    if (this.#over) return Promise.reject(new ControlError('RUN_OVER', 'the run is over or put aside'));
    return new Promise((accept, refuse) => {
      this.#words.push({ ...word, index, accept, refuse });
      this.#listener?.();
    });
  }

  /** For the run: the next word, if one waits. */
  takeWord(): SpokenWord | undefined {
    return this.#words.shift();
  }

  /** For the run: is told of every change. */
  listen(listener: (() => void) | undefined): void {
    this.#listener = listener;
  }

  /** For the run: nothing is taken any more. */
  end(): void {
    this.#over = true;
    this.#listener = undefined;
    for (const word of this.#words.splice(0)) word.refuse(new ControlError('RUN_OVER', 'the run is over or put aside'));
  }
}
