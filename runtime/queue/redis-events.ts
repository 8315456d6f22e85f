/**
 * What the processes on one Redis server tell each other: statuses, words and replies through a stream that forgets nothing a reader has not
 * seen, or says that it did; growth of journals through a channel that may lose it.
 *
 * E1. Events are numbered without a hole. Who finds one, or a number that goes back, reads everything again (`onGap`).
 *
 * Spec: `runtime/spec/machines.md#events`.
 *
 * @module
 */

import { setTimeout as delay } from 'node:timers/promises';
import { Redis } from 'ioredis';
import type { Hex } from '../../attest/core/bytes.ts';
import { QueueError } from './errors.ts';
import { type RedisAddress, type RedisLink, readiness, reconnecting, refusalOf } from './redis-connect.ts';
import { type RedisKeys, readRunId } from './redis-keys.ts';

/** One event, in its order. */
export type RedisEvent = {
  readonly kind: 'status' | 'word' | 'reply';
  readonly run: Hex;
  readonly body: Buffer;
  /** Whether this process told it. */
  readonly isOwn: boolean;
};

/** Who hears. */
export type RedisListener = {
  /** Told one after the other. */
  readonly onEvent: (event: RedisEvent) => Promise<void>;
  /** Events were missed: everything has to be read again. */
  readonly onGap: () => Promise<void>;
  readonly onGrown: (run: Hex) => void;
  /** Told of what a listener threw. */
  readonly onFault: (error: unknown) => void;
};

/** An open reader. */
export type RedisReader = {
  /**
   * Resolves when all has been heard here that was told before it was called.
   *
   * @throws {@link QueueError} `QUEUE_UNREACHABLE` if that takes too long
   */
  caughtUp(): Promise<void>;
  close(): Promise<void>;
};

const BLOCK_MS = 2_000;
const PAUSE_MS = 200;
/** How long a process may be behind. */
const BEHIND_MS = 5_000;
/** Events of one read. */
const BATCH = 200;

/** Reads events from now on. Resolves when the place from which it reads is fixed: what is read of other keys afterwards is not older. */
export async function openRedisReader(
  address: RedisAddress,
  link: RedisLink,
  keys: RedisKeys,
  self: string,
  listener: RedisListener,
): Promise<RedisReader> {
  const name = `${link.client.options.connectionName ?? 'tracebond'}-events`;
  const blocking = new Redis({ ...address.options, ...reconnecting(name), commandTimeout: 5 * BLOCK_MS });
  const channel = new Redis({
    ...address.options,
    ...reconnecting(name),
    enableOfflineQueue: true,
    maxRetriesPerRequest: null,
  });
  for (const client of [blocking, channel]) client.on('error', () => undefined);
  let isClosed = false;
  let endPause: () => void = () => {};
  const closed = new Promise<void>((resolve) => {
    endPause = resolve;
  });

  channel.on('message', (_channel: string, message: string) => {
    const run = readRunId(message);
    if (run !== undefined) listener.onGrown(run);
  });
  // Made again by the client whenever its connection is; until then growth is found by asking.
  channel.subscribe(keys.grown).catch(() => undefined);

  let place = await lastPlace(link, keys);
  /** Number of the last event that was not only read, but taken. */
  let heard = place.number;
  const waiting = new Set<() => void>();
  const setHeard = (number: number) => {
    heard = number;
    for (const look of waiting) look();
  };
  const loop = (async () => {
    while (!isClosed) {
      try {
        const reply = await blocking.callBuffer(
          'XREAD',
          'COUNT',
          BATCH,
          'BLOCK',
          BLOCK_MS,
          'STREAMS',
          keys.events,
          place.id,
        );
        if (reply === null) await lookForGap();
        else await take(reply);
      } catch (error) {
        if (isClosed) return;
        // A connection that is lost is made again; anything else is told.
        if (error instanceof QueueError || refusalOf(error) !== undefined) listener.onFault(error);
        await Promise.race([delay(PAUSE_MS, undefined, { ref: false }), readiness(blocking), closed]);
      }
    }
  })();

  async function take(reply: unknown): Promise<void> {
    for (const entry of entriesOf(reply)) {
      const event = readEvent(entry, self);
      if (event === undefined || event.number !== place.number + 1) {
        await startAgain();
        return;
      }
      place = { id: event.id, number: event.number };
      await listener.onEvent(event).catch((error: unknown) => listener.onFault(error));
      setHeard(event.number);
    }
  }

  /** Nothing came: either nothing was told, or the stream begins again below the place where this reader is. */
  async function lookForGap(): Promise<void> {
    const last = await lastPlace(link, keys);
    if (last.number !== place.number && !isClosed && last.number < place.number) await startAgain();
  }

  async function startAgain(): Promise<void> {
    place = await lastPlace(link, keys);
    await listener.onGap();
    setHeard(place.number);
  }

  return {
    async caughtUp() {
      const number = Number(String((await link.call('GET', keys.number)) ?? '0'));
      const end = performance.now() + BEHIND_MS;
      // A number that went back is found out by the loop.
      while (heard < number && !isClosed) {
        if (performance.now() > end) {
          throw new QueueError('QUEUE_UNREACHABLE', `the events of the server at ${link.place} do not come through`);
        }
        await new Promise<void>((resolve) => {
          const timer = setTimeout(resolve, PAUSE_MS);
          waiting.add(function look() {
            waiting.delete(look);
            clearTimeout(timer);
            resolve();
          });
        });
      }
    },
    async close() {
      isClosed = true;
      endPause();
      blocking.disconnect();
      channel.disconnect();
      await loop;
    },
  };
}

type Place = { readonly id: string; readonly number: number };

async function lastPlace(link: RedisLink, keys: RedisKeys): Promise<Place> {
  const reply = await link.call('XREVRANGE', keys.events, '+', '-', 'COUNT', 1);
  const event = readEvent(Array.isArray(reply) ? reply[0] : undefined, '');
  if (event !== undefined) return event;
  // Nothing was told yet, or what stands there is none of ours: the next number is that of the counter.
  const number = Number(String((await link.call('GET', keys.number)) ?? '0'));
  const id = Array.isArray(reply) && Array.isArray(reply[0]) ? String(reply[0][0]) : '0-0';
  return { id, number: Number.isSafeInteger(number) ? number : 0 };
}

function entriesOf(reply: unknown): readonly unknown[] {
  const stream = Array.isArray(reply) ? reply[0] : undefined;
  return Array.isArray(stream) && Array.isArray(stream[1]) ? stream[1] : [];
}

/** Reads an entry of the stream; undefined for what none of our scripts wrote. */
function readEvent(entry: unknown, self: string): (RedisEvent & Place) | undefined {
  if (!Array.isArray(entry) || !Array.isArray(entry[1]) || entry[1].length !== 10) return undefined;
  const fields = entry[1].map((field: unknown) => (Buffer.isBuffer(field) ? field : Buffer.alloc(0)));
  const [, n, , from, , kindBytes, , runBytes, , body] = fields;
  const names = fields.filter((_, i) => i % 2 === 0).join();
  const number = Number(String(n));
  const run = readRunId(String(runBytes));
  const kind = String(kindBytes);
  if (names !== 'n,from,kind,run,body' || !Number.isSafeInteger(number) || run === undefined || body === undefined)
    return undefined;
  if (kind !== 'status' && kind !== 'word' && kind !== 'reply') return undefined;
  return { id: String(entry[0]), number, kind, run, body, isOwn: String(from) === self };
}
