/**
 * Runs of many machines: queue, journals and inbox on one Redis server, bundles in a folder.
 *
 * Spec: `runtime/spec/machines.md`.
 *
 * @module
 */

import { randomBytes } from 'node:crypto';
import { hostname } from 'node:os';
import type { Hex } from '../../attest/core/bytes.ts';
import type { Machinery, RunStore } from './ports.ts';
import { openRedisLink, parseRedisUrl, type RedisDurability, requireRedis } from './redis-connect.ts';
import { openRedisReader, type RedisReader } from './redis-events.ts';
import { openRedisInbox } from './redis-inbox.ts';
import { redisKeys } from './redis-keys.ts';
import { openRedisQueue } from './redis-queue.ts';
import { openRedisStore } from './redis-store.ts';

export declare namespace openRedisMachinery {
  type Options = {
    /** `redis://` or `rediss://` with user and password; never shown. */
    readonly url: string;
    /** Folder of bundles: one that all machines share, or this one's own. */
    readonly folder: string;
    /** Begins the name of every key. */
    readonly prefix?: string;
    /** Name of this machine, told to others that look for a bundle which lies here; by default that of the host. */
    readonly home?: string;
    readonly durability?: RedisDurability;
    /** Runs at work at once in this process. */
    readonly concurrency?: number;
    /** Runs that wait from which on no new ones are taken. */
    readonly maxWaiting?: number;
    /** Milliseconds after which a worker that is not heard of loses its job. */
    readonly lockMs?: number;
    /** Milliseconds for which a call to the server is tried again. */
    readonly patienceMs?: number;
    /** Milliseconds until a call without a reply is tried again. */
    readonly timeoutMs?: number;
    /** Milliseconds for which a journal stays in the server after its run is over. */
    readonly keepMs?: number;
    /** Milliseconds until a word that nobody hears is `NOT_HEARD`. */
    readonly hearMs?: number;
    readonly now?: () => number;
    /** Told of faults that no caller hears of. */
    readonly onFault?: (run: Hex | undefined, error: unknown) => void;
  };
}

const DAY_MS = 86_400_000;

/**
 * Opens the machinery of one process.
 *
 * @throws {@link QueueError} `QUEUE_UNREACHABLE`, `QUEUE_UNSUPPORTED`, `QUEUE_NOT_DURABLE`
 */
export async function openRedisMachinery(
  options: openRedisMachinery.Options,
): Promise<Machinery & { readonly place: string }> {
  const { folder, prefix = 'tracebond', home = hostname(), durability = 'always', onFault = () => undefined } = options;
  const address = parseRedisUrl(options.url);
  const self = randomBytes(8).toString('hex');
  const keys = redisKeys(prefix);
  const link = openRedisLink(address, {
    name: `${prefix.replace(/[^A-Za-z0-9_-]/g, '_')}-${self}`,
    patienceMs: options.patienceMs ?? 20_000,
    timeoutMs: options.timeoutMs ?? 10_000,
  });
  let reader: RedisReader | undefined;
  try {
    await requireRedis(link, durability);
    const caughtUp = async () => reader?.caughtUp();
    const shared = {
      link,
      caughtUp,
      keys,
      self,
      tokens: new Map<Hex, string>(),
      now: options.now ?? Date.now,
      onFault,
    };
    const store = await openRedisStore(shared, { folder, home, keepMs: options.keepMs ?? 7 * DAY_MS });
    const inbox = openRedisInbox(shared, { patienceMs: options.hearMs ?? 30_000 });
    const listener = {
      onEvent: (event: Parameters<typeof store.heard>[0]) =>
        event.kind === 'status' ? store.heard(event) : inbox.heard(event),
      async onGap() {
        await store.resync();
        await inbox.resync();
      },
      onGrown: (run: Hex) => store.grown(run),
      onFault: (error: unknown) => onFault(undefined, error),
    };
    const queue = await openRedisQueue(address, link, keys, {
      concurrency: options.concurrency ?? 64,
      maxWaiting: options.maxWaiting ?? 10_000,
      lockMs: options.lockMs ?? 30_000,
      caughtUp,
      live: () => store.live(),
      broken: store.broken,
      onFault,
    });
    const opened: RunStore = {
      ...store,
      async open(events) {
        // The place from which events are read is fixed before statuses are: none falls between.
        reader = await openRedisReader(address, link, keys, self, listener);
        await store.open(events);
      },
      async close() {
        await store.close();
        await reader?.close();
        link.close();
      },
    };
    return { place: link.place, queue, store: opened, inbox, isShared: true };
  } catch (error) {
    link.close();
    throw error;
  }
}
