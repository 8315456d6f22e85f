/**
 * The budget of a run: whether one more record fits the limits of `run.open`. The runtime asks before it writes, so that
 * no record of an honest operator ever exceeds a limit.
 *
 * @module
 */

import type { Limits } from '../attest/trace/bodies.ts';
import type { Counters } from '../attest/trace/state.ts';

/** A limit was reached; the run closes as `out-of-budget`. */
export class OutOfBudget extends Error {
  override readonly name = 'OutOfBudget';
  /** The counter that would exceed its limit. */
  readonly counter: keyof Limits;

  constructor(counter: keyof Limits) {
    super(`the run's limit of ${counter} is reached`);
    this.counter = counter;
  }
}

/**
 * Checks that totals with an increase stay within limits.
 *
 * @throws {@link OutOfBudget} naming the counter
 */
export function requireBudget(
  counters: Counters,
  limits: Limits,
  more: { readonly bytes?: bigint; readonly tokens?: bigint; readonly fuel?: bigint },
): void {
  for (const name of ['bytes', 'tokens', 'fuel'] as const) {
    if (counters[name] + (more[name] ?? 0n) > BigInt(limits[name])) throw new OutOfBudget(name);
  }
}
