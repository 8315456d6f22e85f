/**
 * Requests and tokens of each access key in a minute: a bucket for each that fills evenly and holds what a minute allows.
 *
 * @module
 */

import { ServerError } from './server-errors.ts';

/** What a key may do in a minute; null for any. */
export type MinuteLimits = { readonly requestsPerMinute: number | null; readonly tokensPerMinute: number | null };

/** A request that was let in. */
export type Admission = {
  /** Says how many tokens it took in the end; the first call counts. */
  settle(tokens: number): void;
};

/** Counters of all keys. */
export type RateLimits = {
  /**
   * Counts a request.
   *
   * @param tokens - that it may take at most. They are taken until `settle`; a request of more than a minute's tokens enters when none are taken
   * @throws {@link ServerError} `RATE_LIMITED` with `at.retryAfterSeconds`, and nothing is counted
   */
  admit(key: { readonly id: string; readonly limits: MinuteLimits }, tokens: number): Admission;
};

const MINUTE_MS = 60_000;

/** What is left of a minute's allowance, in 1/60,000, so that whole milliseconds add whole numbers; below zero where more was taken. */
type Bucket = { left: number; atMs: number };

/**
 * Opens the counters; those of a key that is not seen for a minute are forgotten once they are full again.
 *
 * @param now - milliseconds of a monotonic clock
 */
export function openRateLimits(now: () => number = () => performance.now()): RateLimits {
  const requests = new Map<string, Bucket>();
  const tokens = new Map<string, Bucket>();
  let tidiedMs = now();
  const tidy = () => {
    if (now() - tidiedMs < MINUTE_MS) return;
    tidiedMs = now();
    for (const buckets of [requests, tokens]) {
      for (const [id, { left, atMs }] of buckets) if (left >= 0 && tidiedMs - atMs > MINUTE_MS) buckets.delete(id);
    }
  };
  return {
    admit({ id, limits }, most) {
      tidy();
      const call = limits.requestsPerMinute === null ? null : filled(requests, id, limits.requestsPerMinute, now());
      const text = limits.tokensPerMinute === null ? null : filled(tokens, id, limits.tokensPerMinute, now());
      const waits = [
        call === null ? 0 : waitFor(call, 1, limits.requestsPerMinute),
        text === null ? 0 : waitFor(text, most, limits.tokensPerMinute),
      ];
      const waitMs = Math.max(...waits);
      if (waitMs > 0) {
        const what = waits[0] === waitMs ? `${limits.requestsPerMinute} requests` : `${limits.tokensPerMinute} tokens`;
        throw new ServerError('RATE_LIMITED', `this key may have ${what} a minute`, {
          at: { retryAfterSeconds: Math.max(1, Math.ceil(waitMs / 1000)) },
        });
      }
      if (call !== null) call.left -= MINUTE_MS;
      if (text !== null) text.left -= most * MINUTE_MS;
      let isSettled = false;
      return {
        settle(taken) {
          if (isSettled) return;
          isSettled = true;
          if (text !== null) text.left += (most - taken) * MINUTE_MS;
        },
      };
    },
  };
}

/** The bucket as it is now. */
function filled(buckets: Map<string, Bucket>, id: string, perMinute: number, nowMs: number): Bucket {
  const bucket = buckets.get(id) ?? { left: perMinute * MINUTE_MS, atMs: nowMs };
  buckets.set(id, bucket);
  bucket.left = Math.min(perMinute * MINUTE_MS, bucket.left + (nowMs - bucket.atMs) * perMinute);
  bucket.atMs = nowMs;
  return bucket;
}

/** Milliseconds until so much may be taken. */
function waitFor({ left }: Bucket, wanted: number, perMinute: number | null): number {
  if (perMinute === null) return 0;
  return Math.max(0, Math.min(wanted, perMinute) * MINUTE_MS - left) / perMinute;
}
