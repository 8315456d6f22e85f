/**
 * Waits until a computer has little else to do, so that a bench measures what it means to.
 *
 * @module
 */

import { cpus } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';

/** Milliseconds over which business is looked at. */
const SAMPLE_MS = 250;

/** Most part of all cores that counts as quiet: timers of the processes that wait, a terminal. */
const QUIET = 0.05;

/**
 * Waits for a sample in which the cores were idle.
 *
 * @param mostMs - longest wait
 * @returns the part of all cores, 0..1, that was busy in the last sample
 */
export async function waitForQuiet(mostMs: number): Promise<number> {
  const end = performance.now() + mostMs;
  for (;;) {
    const before = readTimes();
    await sleep(SAMPLE_MS);
    const after = readTimes();
    const busy = 1 - (after.idle - before.idle) / Math.max(after.all - before.all, 1);
    if (busy <= QUIET || performance.now() >= end) return busy;
  }
}

function readTimes(): { idle: number; all: number } {
  let [idle, all] = [0, 0];
  for (const { times } of cpus()) {
    idle += times.idle;
    all += times.user + times.nice + times.sys + times.idle + times.irq;
  }
  return { idle, all };
}
