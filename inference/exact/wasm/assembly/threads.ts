/**
 * Threads of one batch: a barrier, and work dealt out. Who computes an element never changes it.
 *
 * Control block, one cache line each: 0 arrivals at the barrier, 64 its generation, 128 sleepers, 256.. counters of the phases.
 */

import { control, thread, threads } from './model.ts';

/** Times a thread looks before it sleeps: where another program has its core, the one it waits for gets this one. */
const SPINS: i32 = 30000;
const SLEEP_NS: i64 = 1_000_000_000;
/** Seconds after which a thread that waits gives up: the others are gone. */
const PATIENCE: i32 = 120;

/** Counters of dealt work; a phase uses the one whose turn it is. */
export const COUNTERS: i32 = 64;

let phase: i32 = 0;

/** Returns once every thread has come here. */
export function barrier(): void {
  if (threads == 1) return;
  const generation = atomic.load<i32>(control, 64);
  if (atomic.add<i32>(control, 1) == threads - 1) {
    atomic.store<i32>(control, 0);
    atomic.add<i32>(control, 1, 64);
    if (atomic.load<i32>(control, 128) != 0) atomic.notify(control + 64, threads);
    return;
  }
  for (let i = 0; i < SPINS; i++) if (atomic.load<i32>(control, 64) != generation) return;
  atomic.add<i32>(control, 1, 128);
  let waited = 0;
  while (atomic.load<i32>(control, 64) == generation) {
    atomic.wait<i32>(control + 64, generation, SLEEP_NS);
    if (++waited > PATIENCE) unreachable();
  }
  atomic.sub<i32>(control, 1, 128);
}

/**
 * Opens a phase of dealt work; every thread calls it once a phase, in the same order. The counter two phases ahead is cleared by one
 * thread: none can be there before the barrier between.
 */
export function openPhase(): void {
  phase = (phase + 1) % COUNTERS;
  if (thread == 0) atomic.store<i32>(control + 256 + ((<usize>((phase + 2) % COUNTERS)) << 6), 0);
}

/** Sets all counters to zero and the phase to the first. Called by every thread before its first batch. */
export function resetPhases(): void {
  phase = 0;
  if (thread == 0) for (let i = 0; i < COUNTERS; i++) atomic.store<i32>(control + 256 + ((<usize>i) << 6), 0);
}

/** Takes the next `count` pieces of the open phase; returns the first of them, at or above the total when nothing is left. */
export function take(count: i32): i32 {
  const counter = control + 256 + ((<usize>phase) << 6);
  if (threads == 1) {
    const first = load<i32>(counter);
    store<i32>(counter, first + count);
    return first;
  }
  return atomic.add<i32>(counter, count);
}
