/**
 * The guests of one run: made from code and place, ended together.
 *
 * @module
 */

import { type GuestPlace, guestStartOf } from '../attest/trace/guest.ts';
import type { RunState } from '../attest/trace/state.ts';
import { GuestRun } from './guest-run.ts';
import type { Guest } from './ledger.ts';
import type { Vm } from './sandbox/vm.ts';

/** Wall-clock bound of a guest's own work, waits not counted, in milliseconds. */
const WALL_MS = 60_000;

/** The guests that a run has open. */
export class Guests {
  readonly #vm: Vm;
  readonly #state: RunState;
  readonly #open = new Set<GuestRun>();

  constructor(vm: Vm, state: RunState) {
    this.#vm = vm;
    this.#state = state;
  }

  /** A guest that was not started yet. */
  open(place: GuestPlace): GuestRun {
    const run = new GuestRun(this.#vm, guestStartOf(place, this.#state.runSeed, WALL_MS));
    this.#open.add(run);
    return run;
  }

  /** Ends one guest. */
  async end({ run }: Guest): Promise<void> {
    if (run === undefined) return;
    this.#open.delete(run);
    await run.close();
  }

  /** Ends all, whatever they do. */
  async close(): Promise<void> {
    await Promise.all([...this.#open].map((run) => run.close()));
  }
}
