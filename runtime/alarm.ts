/**
 * A clock that strikes once, however far away the time is.
 *
 * @module
 */

/** Longest timer of the host, milliseconds. */
const LONGEST_MS = 0x7fff_ffff;

/**
 * Calls `strike` at a time, at once if it is past; returns how to call it off.
 *
 * @param at - milliseconds since 1970; Infinity is never
 * @param now - the clock
 */
export function setAlarm(at: number, now: () => number, strike: () => void): () => void {
  let timer: NodeJS.Timeout | undefined;
  const wait = () => {
    const left = at - now();
    if (left <= 0) strike();
    else timer = setTimeout(wait, Math.min(left, LONGEST_MS)).unref();
  };
  if (at !== Number.POSITIVE_INFINITY) timer = setTimeout(wait, Math.max(0, Math.min(at - now(), LONGEST_MS))).unref();
  return () => clearTimeout(timer);
}
