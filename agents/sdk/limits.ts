/**
 * Limits that a definition may set, and what holds where it sets none.
 *
 * @module
 */

/** Most a run of an agent or a call of a tool may use. */
export type Limits = {
  /** Fuel, a deterministic count of work: about one WebAssembly instruction a unit. Whole, 1 to 2^53 - 1. */
  readonly fuel: number;
  /** Memory in MiB; whole, 1 to 1,024. */
  readonly memoryMb: number;
};

/** Limits of a definition that names none. */
export const DEFAULT_LIMITS: Limits = { fuel: 2_000_000_000, memoryMb: 64 };

/**
 * Completes and checks limits.
 *
 * @throws TypeError for a limit out of its range
 */
export function toLimits(limits: Partial<Limits> = {}): Limits {
  const { fuel, memoryMb } = { ...DEFAULT_LIMITS, ...limits };
  if (!Number.isSafeInteger(fuel) || fuel < 1) throw new TypeError('limits.fuel must be a whole number from 1');
  if (!Number.isSafeInteger(memoryMb) || memoryMb < 1 || memoryMb > 1024) {
    throw new TypeError('limits.memoryMb must be a whole number from 1 to 1024');
  }
  return { fuel, memoryMb };
}

/**
 * Checks the name of an agent or tool: a lower-case letter, then letters, digits, `_` and `-`, at most 64.
 *
 * @throws TypeError for any other
 */
export function assertName(name: unknown): asserts name is string {
  if (typeof name !== 'string' || !/^[a-z][a-z0-9_-]{0,63}$/.test(name)) {
    throw new TypeError(`name must match [a-z][a-z0-9_-]{0,63}: ${String(name)}`);
  }
}
