/**
 * A server whose effects are counted: it honours Idempotency-Key, answers slowly at times, and drops connections after
 * the effect is done.
 *
 * @module
 */

import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Random } from './random.ts';

/** What a server does, in parts of 100 requests. */
export type Manners = {
  /** Waits before the effect. */
  readonly slowBefore?: number;
  /** Waits between the effect and the answer. */
  readonly slowAfter?: number;
  /** Drops the connection after the effect. */
  readonly drops?: number;
};

/** A counting server. */
export type CountingServer = {
  readonly origin: string;
  /** How often each effect was performed, by its number. */
  readonly performed: ReadonlyMap<number, number>;
  /** Requests that were answered from their key. */
  readonly repeated: () => number;
  /** Requests for effects, performed or not. */
  readonly requests: () => number;
  /** What no client of ours must do: no key, one key for two effects. */
  readonly faults: readonly string[];
  close(): Promise<void>;
};

/** Starts a server on a free port of this computer. */
export async function startCountingServer(random: Random, manners: Manners): Promise<CountingServer> {
  const performed = new Map<number, number>();
  const byKey = new Map<string, { readonly effect: string; readonly done: Promise<void> }>();
  const faults: string[] = [];
  let repeated = 0;
  let requests = 0;
  const perform = async (effect: string, wait: number): Promise<void> => {
    if (wait > 0) await sleep(wait);
    const number = Number(effect);
    performed.set(number, (performed.get(number) ?? 0) + 1);
  };
  const answer = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    let effect = '';
    for await (const piece of request) effect += String(piece);
    requests += 1;
    const key = request.headers['idempotency-key'];
    const wait = random.chance(manners.slowBefore ?? 0) ? 5 + random.below(40) : 0;
    if (typeof key !== 'string' || key === '') {
      faults.push(`effect ${effect} without a key`);
      await perform(effect, wait);
    } else {
      const known = byKey.get(key);
      if (known !== undefined) repeated += 1;
      if (known !== undefined && known.effect !== effect) faults.push(`one key for ${known.effect} and ${effect}`);
      const entry = known ?? { effect, done: perform(effect, wait) };
      byKey.set(key, entry);
      await entry.done;
    }
    if (random.chance(manners.slowAfter ?? 0)) await sleep(10 + random.below(70));
    if (random.chance(manners.drops ?? 0)) request.socket.destroy();
    else response.end('done');
  };
  const server = createServer((request, response) => {
    // A client that was killed in the middle of its request has asked for nothing.
    answer(request, response).catch(() => response.destroy());
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    performed,
    repeated: () => repeated,
    requests: () => requests,
    faults,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
