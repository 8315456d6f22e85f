/**
 * One hostile guest, as data.
 *
 * @module
 */

import type { Json } from '../../attest/encoding/canonical-json.ts';
import type { GuestErrorCode, VmOptions } from '../../runtime/sandbox/vm.ts';

/** How a guest ends: with a code, with a value, or not yet: `waiting` for a call to be answered. */
export type HostileEnd = GuestErrorCode | 'waiting' | { readonly value: Json };

/** `body` is that of `run(entry, input, call)`, or a whole script or module where the options say so. */
export type HostileGuest = readonly [name: string, ends: HostileEnd, body: string, options?: Partial<VmOptions>];

export function done(value: Json): HostileEnd {
  return { value };
}

/** A fuel of so many millions. */
export function fuel(millions: number): Partial<VmOptions> {
  return { fuel: BigInt(millions) * 1_000_000n };
}

/** The body is a script whose completion value counts. */
export const asScript: Partial<VmOptions> = { entry: 'completion' };
