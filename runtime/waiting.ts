/**
 * Starts that wait for somebody: for how long, and what of them is shown while the run is put aside.
 *
 * @module
 */

import { toHex } from '../attest/core/bytes.ts';
import type { Digest } from '../attest/core/hash.ts';
import type { Started } from './ledger.ts';
import type { Suspension } from './run-types.ts';

/** When an approval is no longer waited for, milliseconds since 1970. */
export function expiryOf({ parsed, head }: Started): number {
  if (parsed.method !== 'human.approve' || parsed.args.timeoutMs === 0) return Number.POSITIVE_INFINITY;
  return Number(head.at) + parsed.args.timeoutMs;
}

/**
 * What is told of a run that is put aside.
 *
 * @param started - starts that wait; without any the run was paused
 * @param deadline - of the run, milliseconds since 1970
 */
export function describeSuspension(run: Digest, started: readonly Started[], deadline: number): Suspension {
  const waiting = started.flatMap(({ head, parsed, waits, call }) => {
    if (waits === undefined) return [];
    const { index, at } = head;
    return [{ index, at, for: waits, capability: parsed.method, target: parsed.target, request: call.args }];
  });
  // What only an operator can decide is told before anything else.
  const [first] = [...waiting.filter((one) => one.for === 'reconciliation'), ...waiting];
  return {
    run: toHex(run),
    status: 'suspended',
    reason: first?.for ?? 'paused',
    waiting,
    wakeAt: Math.min(deadline, ...started.map(expiryOf)),
  };
}
