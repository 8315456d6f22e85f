/**
 * How much of a run is under way at once.
 *
 * @module
 */

import type { GuestCode } from '../attest/trace/guest.ts';
import { MAX_OPEN_STARTS } from '../attest/trace/rules.ts';
import type { Ledger, Pending } from './ledger.ts';

/** Calls of an agent, and of them tools, that are under way at once; further ones wait. */
const MAX_OF_AGENT = 32;
const MAX_TOOLS = 8;

/**
 * Whether there is room for a call. What tools start never waits for what the agent started: it would wait for itself.
 *
 * @param tools - those of the run, by name
 */
export function hasRoom(candidate: Pending, ledger: Ledger, tools: ReadonlyMap<string, GuestCode>): boolean {
  const open = [...ledger.starts.values()];
  if (candidate.guest.by !== null) return open.length < MAX_OPEN_STARTS;
  const own = open.filter(({ owner }) => owner.by === null);
  if (own.length >= MAX_OF_AGENT) return false;
  if (candidate.call.method !== 'tool') return true;
  return own.filter(({ guest }) => guest !== undefined).length < MAX_TOOLS && !waitsForFuel(candidate, ledger, tools);
}

/** Whether a call of a tool must wait until another tool gives back the fuel that it leaves. */
function waitsForFuel({ call }: Pending, ledger: Ledger, tools: ReadonlyMap<string, GuestCode>): boolean {
  const code = tools.get((call.args as { readonly name?: string } | null)?.name ?? '');
  return code !== undefined && ledger.grantedFuel > 0n && ledger.toolFuel(code) === 0n;
}
