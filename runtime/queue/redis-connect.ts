/**
 * Connections to a Redis server: where it is, that it keeps what it acknowledges, and how a call is tried again.
 *
 * C1. A call that fails on its connection is made again for a bounded time; every call here may be made twice (`redis-scripts.ts`).
 * C2. Nothing of the address but host and port, and nothing of a command, is in any error: commands hold what runs say, and the password.
 *
 * Spec: `runtime/spec/machines.md#connection`.
 *
 * @module
 */

import { setTimeout as delay } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { QueueError } from './errors.ts';

/** How much a crash of the server's machine may take away: nothing; what `everysec` allows; what whoever runs it says. */
export type RedisDurability = 'always' | 'everysec' | 'trusted';

/** Where a server is. */
export type RedisAddress = {
  /** `host:port`, to show. */
  readonly place: string;
  readonly options: RedisServer;
};

/** How to reach a server. */
export type RedisServer = {
  readonly host: string;
  readonly port: number;
  readonly db: number;
  readonly username?: string;
  readonly password?: string;
  readonly tls?: { readonly servername: string };
};

/**
 * Reads `redis://[user:password@]host[:port][/database]`, or `rediss://` for TLS.
 *
 * @throws {@link QueueError} `QUEUE_UNSUPPORTED`; the address is not shown
 */
export function parseRedisUrl(url: string): RedisAddress {
  const refuse = (why: string) => new QueueError('QUEUE_UNSUPPORTED', `the address of the Redis server ${why}`);
  if (!URL.canParse(url)) throw refuse('is no URL');
  const { protocol, hostname, port, username, password, pathname } = new URL(url);
  if (protocol !== 'redis:' && protocol !== 'rediss:') throw refuse('must begin with redis:// or rediss://');
  const host = hostname.replace(/^\[(.*)\]$/, '$1');
  if (host === '') throw refuse('names no host');
  const database = /^\/?(\d{0,5})$/.exec(pathname)?.[1];
  if (database === undefined) throw refuse('may end with a number of a database only');
  const options: RedisServer = {
    host,
    port: port === '' ? 6379 : Number(port),
    db: Number(database),
    ...(username === '' ? {} : { username: decode(username) }),
    ...(password === '' ? {} : { password: decode(password) }),
    ...(protocol === 'rediss:' ? { tls: { servername: host } } : {}),
  };
  return { place: `${hostname}:${options.port}`, options };

  function decode(part: string): string {
    try {
      return decodeURIComponent(part);
    } catch {
      throw refuse('has a user or password that is not percent-encoded');
    }
  }
}

/** What a call to the server sends. */
export type RedisArgument = string | number | Buffer;

/** A connection whose calls are made again while they fail on it. */
export type RedisLink = {
  readonly place: string;
  readonly client: Redis;
  /**
   * Sends a command; replies are numbers, buffers, null or arrays of them.
   *
   * @throws {@link QueueError} `QUEUE_UNREACHABLE` after the time of patience; `QUEUE_UNSUPPORTED` with `at.reply` when the server refuses it
   */
  call(command: string, ...args: readonly RedisArgument[]): Promise<unknown>;
  /** Runs a script. @throws as {@link RedisLink.call} */
  run(script: RedisScript, keys: readonly string[], args: readonly RedisArgument[]): Promise<unknown>;
  /** Does what `what` does with patience, of `ms` milliseconds if that is said; for commands that a library sends. */
  patiently<T>(what: () => Promise<T>, ms?: number): Promise<T>;
  /** Whether calls are still made. */
  readonly isClosed: boolean;
  close(): void;
};

/** A script and its SHA-1, by which the server knows it. */
export type RedisScript = { readonly lua: string; readonly sha: string };

export declare namespace openRedisLink {
  type Options = {
    /** Shown in the server's list of clients. */
    readonly name: string;
    /** Milliseconds for which a call is made again. */
    readonly patienceMs: number;
    /** Milliseconds until a call without a reply has failed. */
    readonly timeoutMs: number;
  };
}

const LONGEST_PAUSE_MS = 1000;

/** Opens a connection; it is made in the background, and again whenever it is lost. */
export function openRedisLink(
  { place, options }: RedisAddress,
  { name, patienceMs, timeoutMs }: openRedisLink.Options,
): RedisLink {
  const client = new Redis({ ...options, ...reconnecting(name), commandTimeout: timeoutMs });
  let isClosed = false;
  // Whoever calls hears of it: of a connection that the server refuses, with its word for that.
  let refusal = '';
  client.on('error', (error) => {
    refusal = refusalOf(error) ?? '';
  });
  client.on('ready', () => {
    refusal = '';
  });
  const patiently = async <T>(what: () => Promise<T>, ms = patienceMs): Promise<T> => {
    const until = performance.now() + ms;
    for (let pause = 20; ; pause = Math.min(2 * pause, LONGEST_PAUSE_MS)) {
      try {
        return await what();
      } catch (error) {
        if (error instanceof QueueError) throw error;
        const reply = refusalOf(error);
        if (reply !== undefined) {
          throw new QueueError('QUEUE_UNSUPPORTED', `the server at ${place} refuses: ${reply}`, { at: { reply } });
        }
        if (isClosed) throw new QueueError('QUEUE_CLOSED', 'the connection is closed');
        if (performance.now() + pause >= until) {
          const why = refusal === '' ? 'cannot be reached' : `lets nobody in: ${refusal}`;
          throw new QueueError('QUEUE_UNREACHABLE', `the server at ${place} ${why}`, { at: { place } });
        }
        await Promise.race([delay(pause), readiness(client)]);
      }
    }
  };
  const send = (command: string, args: readonly RedisArgument[]) => client.callBuffer(command, ...args);
  return {
    place,
    client,
    call: (command, ...args) => patiently(() => send(command, args)),
    run: ({ lua, sha }, keys, args) =>
      patiently(async () => {
        try {
          return await send('EVALSHA', [sha, keys.length, ...keys, ...args]);
        } catch (error) {
          if (!isReply(error, 'NOSCRIPT')) throw error;
          return send('EVAL', [lua, keys.length, ...keys, ...args]);
        }
      }),
    patiently,
    get isClosed() {
      return isClosed;
    },
    close() {
      isClosed = true;
      client.disconnect();
    },
  };
}

/** A connection that fails its calls at once when it is lost, and is made again in the background. */
export function reconnecting(name: string) {
  return {
    connectionName: name,
    protocol: 2 as const,
    enableOfflineQueue: false,
    autoResendUnfulfilledCommands: false,
    maxRetriesPerRequest: 0,
    connectTimeout: 5_000,
    retryStrategy: (times: number) => Math.min(50 * times, LONGEST_PAUSE_MS),
  };
}

const readying = new WeakMap<Redis, Promise<void>>();

/** Resolves when a connection is made that was not; never if it stands. However many wait, the client has one listener. */
export function readiness(client: Redis): Promise<void> {
  const known = readying.get(client);
  if (known !== undefined) return known;
  if (client.status === 'ready') return new Promise(() => {});
  const ready = new Promise<void>((resolve) => {
    client.once('ready', () => {
      readying.delete(client);
      resolve();
    });
  });
  readying.set(client, ready);
  return ready;
}

/** Refusals that pass: nobody was let in yet, the server loads, is busy, or is not the one that writes. */
const PASSING = ['NOAUTH', 'LOADING', 'BUSY', 'READONLY', 'MASTERDOWN', 'TRYAGAIN', 'CLUSTERDOWN'];

/** The first word of what the server refused for good; undefined if the connection failed. */
export function refusalOf(error: unknown): string | undefined {
  if (!(error instanceof Error) || error.name !== 'ReplyError') return undefined;
  const word = /^[A-Z]+/.exec(error.message)?.[0] ?? 'ERR';
  return PASSING.includes(word) ? undefined : word;
}

function isReply(error: unknown, word: string): boolean {
  return error instanceof Error && error.name === 'ReplyError' && error.message.startsWith(word);
}

/**
 * Checks that a server can do what is needed, and that it keeps what it acknowledges.
 *
 * @throws {@link QueueError} `QUEUE_UNREACHABLE`, `QUEUE_UNSUPPORTED`, `QUEUE_NOT_DURABLE`
 */
export async function requireRedis(link: RedisLink, durability: RedisDurability): Promise<void> {
  const { place } = link;
  const info = String(await link.call('INFO'));
  const field = (name: string) => new RegExp(`^${name}:(.*?)\\r?$`, 'm').exec(info)?.[1] ?? '';
  const version = /^(\d+)\.(\d+)\./.exec(field('redis_version'));
  const isNew = version !== null && (Number(version[1]) > 6 || (Number(version[1]) === 6 && Number(version[2]) >= 2));
  if (!isNew) throw new QueueError('QUEUE_UNSUPPORTED', `the server at ${place} must be Redis 6.2 or newer`);
  if (field('redis_mode') === 'cluster') {
    throw new QueueError('QUEUE_UNSUPPORTED', `the server at ${place} is a node of a cluster; one server is expected`);
  }
  if (field('role') !== 'master') {
    throw new QueueError('QUEUE_UNSUPPORTED', `the server at ${place} is a replica; the one that writes is expected`);
  }
  // Managed servers forbid CONFIG; INFO tells the policy of eviction to all.
  const policy = field('maxmemory_policy');
  if (policy !== 'noeviction') {
    throw new QueueError(
      'QUEUE_NOT_DURABLE',
      `the server at ${place} evicts keys (${policy}): set maxmemory-policy noeviction`,
      { at: { setting: 'maxmemory-policy' } },
    );
  }
  if (durability === 'trusted') return;
  const notDurable = (setting: string, why: string) =>
    new QueueError('QUEUE_NOT_DURABLE', `the server at ${place} ${why}`, { at: { setting } });
  const config = async (name: string): Promise<string> => {
    try {
      const reply = await link.call('CONFIG', 'GET', name);
      return Array.isArray(reply) ? String(reply[1] ?? '') : '';
    } catch (error) {
      if (!(error instanceof QueueError) || error.code !== 'QUEUE_UNSUPPORTED') throw error;
      throw notDurable(
        name,
        `does not tell its configuration: say TRACEBOND_REDIS_DURABILITY=trusted if it has appendonly yes and appendfsync always`,
      );
    }
  };
  if ((await config('appendonly')) !== 'yes') {
    throw notDurable('appendonly', 'forgets everything when it ends: set appendonly yes and appendfsync always');
  }
  const fsync = await config('appendfsync');
  if (fsync !== 'always' && !(fsync === 'everysec' && durability === 'everysec')) {
    throw notDurable(
      'appendfsync',
      `has appendfsync ${fsync}: a power cut takes acknowledged records away, a run then goes on from an older point, and its ` +
        `operator has signed two histories and can lose its bond; set appendfsync always` +
        (fsync === 'everysec' ? ', or say TRACEBOND_REDIS_DURABILITY=everysec to take that risk' : ''),
    );
  }
}
