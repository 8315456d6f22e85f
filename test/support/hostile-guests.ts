/**
 * All hostile guests by class, and how one is held to its end.
 *
 * @module
 */

import { isDeepStrictEqual } from 'node:util';
import type { Vm, VmState } from '../../runtime/sandbox/vm.ts';
import type { HostileGuest } from './hostile-guest.ts';
import { HOSTILE_LIMITS } from './hostile-limits.ts';
import { HOSTILE_SCRIPTS } from './hostile-scripts.ts';
import { HOSTILE_TOOLS } from './hostile-tools.ts';
import { guestOptions } from './sandbox-programs.ts';

/** Guests by class. */
export const HOSTILE_GUESTS: Readonly<Record<string, readonly HostileGuest[]>> = {
  ...HOSTILE_SCRIPTS,
  ...HOSTILE_LIMITS,
  ...HOSTILE_TOOLS,
};

/** What a guest did: its first state, and what it wrote. */
export type HostileOutcome = { readonly state: VmState; readonly log: readonly string[] };

/** Runs a guest to its first rest. */
export async function runHostile(vm: Vm, [, , body, options = {}]: HostileGuest): Promise<HostileOutcome> {
  const source = options.entry === 'completion' ? { source: body } : {};
  const session = await vm.open(guestOptions(body, { fuel: 30_000_000n, memoryBytes: 4 << 20, ...source, ...options }));
  try {
    return { state: await session.start(), log: session.log };
  } finally {
    await session.close();
  }
}

/** Whether a guest came to its end. */
export function isEnd({ state }: HostileOutcome, [, ends]: HostileGuest): boolean {
  if (state.status === 'failed') return state.error.code === ends;
  if (state.status === 'waiting') return ends === 'waiting';
  return typeof ends === 'object' && isDeepStrictEqual(state.value, ends.value);
}

/** An outcome as text, for comparing and for saying what came instead. */
export function outcomeText(outcome: HostileOutcome): string {
  return JSON.stringify(outcome, (_key, value) => (typeof value === 'bigint' ? String(value) : value));
}
