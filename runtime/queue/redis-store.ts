/**
 * The journals and statuses of runs in a Redis server, and their bundles in a folder.
 *
 * Every write of a claim carries its token, and the server refuses those of an older one (`redis-scripts.ts` S1): a worker that was stopped past
 * its lock and wakes up cannot write. The bundle of a run that is over is a file before its status says so.
 *
 * Spec: `runtime/spec/machines.md#store`.
 *
 * @module
 */

import { randomBytes } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Hex } from '../../attest/core/bytes.ts';
import { type Journal, JournalError } from '../journal.ts';
import type { Growth } from '../record-feed.ts';
import { RetentionError, withholdPayloads } from '../retention.ts';
import { emptyStatus, isOver, type RunStatus } from '../run-status.ts';
import type { RunClaim, RunEvents, RunStore, SignedLog } from './ports.ts';
import type { RedisArgument, RedisLink, RedisScript } from './redis-connect.ts';
import type { RedisEvent } from './redis-events.ts';
import {
  fileFacts,
  JOURNAL_START,
  MAX_APPEND_BYTES,
  piecesOf,
  readEntries,
  storeCall,
  writeBundle,
} from './redis-journal.ts';
import { encodeStatus, type RedisKeys, readRunId, readStatusOf } from './redis-keys.ts';
import * as scripts from './redis-scripts.ts';

/** What a store shares with its queue and inbox. */
export type RedisShared = {
  readonly link: RedisLink;
  readonly keys: RedisKeys;
  /** Of this process, among all. */
  readonly self: string;
  /** Tokens of the claims of this process, by run; kept when a claim was let go of. */
  readonly tokens: Map<Hex, string>;
  /** Resolves when this process has heard all that was told. @throws {@link QueueError} */
  readonly caughtUp: () => Promise<void>;
  /** Milliseconds since 1970. */
  readonly now: () => number;
  /** Told of faults that no caller hears of. */
  readonly onFault: (run: Hex | undefined, error: unknown) => void;
};

export declare namespace openRedisStore {
  type Options = {
    /** Where bundles lie; one for all machines, or each its own. */
    readonly folder: string;
    /** Of this machine, told to others that look for a bundle. */
    readonly home: string;
    /** Milliseconds for which a journal stays in the server after its run is over. */
    readonly keepMs: number;
  };
}

/** A store, and what the events of others do to it. */
export type RedisStore = RunStore & {
  /** Takes an event of kind `status`. */
  heard(event: RedisEvent): Promise<void>;
  grown(run: Hex): void;
  /** Reads every status again. */
  resync(): Promise<void>;
  /** Runs that some worker is to go on with. */
  live(): AsyncIterable<Hex>;
  /** Runs that were broken when the store was opened: a new process tries them again. */
  readonly broken: readonly Hex[];
};

const POLL_MS = 1_000;
/** Two clocks may differ by that when it is looked whether a file was written before its payloads were deleted. */
const CLOCKS_MS = 600_000;

/** Opens a store; the folder is made if it is not there. */
export async function openRedisStore(
  shared: RedisShared,
  { folder, home, keepMs }: openRedisStore.Options,
): Promise<RedisStore> {
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const { link, keys, self, tokens, now, onFault } = shared;
  const path = (run: Hex) => join(folder, `${run.slice(2)}.trace`);
  const claimed = new Set<Hex>();
  const followed = new Map<Hex, { readers: number; bytes: number }>();
  const broken: Hex[] = [];
  let events: RunEvents | undefined;

  const runScript = (run: Hex, script: RedisScript, ...args: readonly RedisArgument[]) =>
    storeCall(run, () => link.run(script, keys.ofRun(run), [run.slice(2), self, ...args]));
  const keyOf = (run: Hex, place: 0 | 1 | 2) => keys.ofRun(run)[place] as string;
  const statusOf = async (run: Hex) =>
    readStatusOf(run, bytesOf(await storeCall(run, () => link.call('HGET', keys.status, run.slice(2)))));
  const factsOf = async (run: Hex): Promise<Facts | undefined> => {
    const reply = await storeCall(run, () => link.call('HMGET', keyOf(run, 0), 'bytes', 'over', 'home'));
    const [bytes, over, where] = Array.isArray(reply)
      ? reply.map((one) => (one === null ? undefined : String(one)))
      : [];
    if (bytes === undefined || !/^\d{1,15}$/.test(bytes)) return undefined;
    return { bytes: Number(bytes), isOver: over === '1', home: where ?? '' };
  };
  const missing = (run: Hex, facts?: Facts) => {
    const elsewhere = facts !== undefined && facts.home !== '' && facts.home !== home;
    const why = elsewhere ? `its bundle lies on ${facts.home}` : 'it is not known here';
    return new JournalError('JOURNAL_MISSING', `run ${run} has no journal any more: ${why}`, {
      at: { run, ...(elsewhere ? { home: facts.home } : {}) },
    });
  };
  /** Reads the whole stream of a run, and finds that it is. */
  async function* wholeStream(run: Hex, facts: Facts): AsyncGenerator<Uint8Array> {
    const { position } = yield* readEntries(link, keyOf(run, 1), run);
    if (position < facts.bytes) throw missing(run, facts);
  }
  /** Whether the bundle of a run that is over lies here whole. */
  const isHere = async (run: Hex, facts: Facts): Promise<boolean> => {
    const file = await fileFacts(path(run));
    if (file === undefined || !facts.isOver) return false;
    return file.size === facts.bytes || (await statusOf(run))?.withheldAt !== undefined;
  };
  /** Deletes the payloads of a run in the file that lies here. */
  const withholdHere = async (run: Hex, withheldAt: number): Promise<void> => {
    const file = await fileFacts(path(run));
    if (file === undefined || file.mtimeMs > withheldAt + CLOCKS_MS) return;
    try {
      await withholdPayloads(path(run));
    } catch (error) {
      // A copy of a run that was not over then: nobody needs it.
      if (!(error instanceof RetentionError)) throw error;
      await rm(path(run), { force: true });
    }
  };

  const claim = async (run: Hex): Promise<RunClaim> => {
    const token = bytesOf(await runScript(run, scripts.CLAIM));
    if (token === null) throw missing(run);
    const held = String(token);
    tokens.set(run, held);
    claimed.add(run);
    const requireHeld = (reply: unknown): void => {
      if (String(reply) === 'kept') return;
      if (String(reply) === 'fenced') {
        throw new JournalError('JOURNAL_FENCED', `run ${run} was given to another worker`, { at: { run } });
      }
      throw new JournalError(
        'JOURNAL_UNWRITABLE',
        `the journal of ${run} is not as it was left: the server has lost what it acknowledged`,
        {
          at: { run },
        },
      );
    };
    let isRested = false;
    const isHeld = async () => Number(await runScript(run, scripts.CHECK, held)) === 1;
    return {
      async *read() {
        const facts = await factsOf(run);
        if (facts === undefined) throw missing(run);
        if (await isHere(run, facts)) yield* createReadStream(path(run));
        else yield* wholeStream(run, facts);
      },
      async proceed(keepBytes) {
        const before = (await statusOf(run)) ?? emptyStatus(run, now());
        const rest = { reason: null, waiting: [], wakeAt: null, error: null, updatedAt: now() };
        const status = encodeStatus({ ...before, ...rest, status: 'running' });
        const reply = await runScript(run, scripts.PROCEED, held, keepBytes, status);
        const [how, sequence] = Array.isArray(reply) ? reply : [];
        requireHeld(how);
        return openJournal(run, held, Number(String(sequence)), keepBytes, requireHeld);
      },
      async rest(status) {
        const over = isOver(status);
        if (over) {
          const facts = await factsOf(run);
          if (facts === undefined) throw missing(run);
          requireHeld((await isHeld()) ? 'kept' : 'fenced');
          if (!(await isHere(run, { ...facts, isOver: true }))) {
            requireHeld((await writeBundle(path(run), wholeStream(run, facts), isHeld)) ? 'kept' : 'fenced');
          }
        }
        const how = over ? 'over' : status.status === 'running' ? 'live' : 'rests';
        requireHeld(await runScript(run, scripts.REST, held, encodeStatus(status), how, keepMs, home));
        // From here on others may say more of it.
        isRested = true;
        if (tokens.get(run) === held) claimed.delete(run);
      },
      async discard() {
        requireHeld(await runScript(run, scripts.DISCARD, held));
      },
      signed: openSignedLog(run, held, requireHeld),
      async release() {
        if (tokens.get(run) !== held) return;
        claimed.delete(run);
        if (isRested) return;
        // What others said of it meanwhile was not told.
        await statusOf(run).then(
          (status) => tell(run, status),
          (error: unknown) => onFault(run, error),
        );
      },
    };
  };

  const openJournal = (
    run: Hex,
    token: string,
    sequence: number,
    position: number,
    requireHeld: (reply: unknown) => void,
  ): Journal => {
    let at = { sequence, position };
    let failed: unknown;
    return {
      async append(bytes) {
        if (failed !== undefined) throw failed;
        try {
          if (bytes.length > MAX_APPEND_BYTES) {
            throw new JournalError('JOURNAL_UNWRITABLE', `${bytes.length} bytes at once, at most ${MAX_APPEND_BYTES}`, {
              at: { run },
            });
          }
          const next = { sequence: at.sequence + 1, position: at.position + bytes.length };
          const places = [at.sequence, next.sequence, at.position, next.position];
          requireHeld(await runScript(run, scripts.APPEND, token, keys.grown, ...places, ...piecesOf(bytes)));
          at = next;
        } catch (error) {
          failed = error;
          throw error;
        }
      },
      async close() {},
    };
  };

  const openSignedLog = (run: Hex, token: string, requireHeld: (reply: unknown) => void): SignedLog => {
    let length: number | undefined;
    return {
      async read() {
        const bytes = bytesOf(await storeCall(run, () => link.call('GET', keyOf(run, 2)))) ?? Buffer.alloc(0);
        length = bytes.length;
        return bytes;
      },
      async append(bytes) {
        length ??= Number(await storeCall(run, () => link.call('STRLEN', keyOf(run, 2))));
        requireHeld(await runScript(run, scripts.SIGN, token, length, Buffer.from(bytes)));
        length += bytes.length;
      },
    };
  };

  async function* scanStatuses(): AsyncGenerator<readonly [Hex, RunStatus | undefined]> {
    let cursor = '0';
    do {
      const reply = await link.call('HSCAN', keys.status, cursor, 'COUNT', 100);
      const [next, pairs] = Array.isArray(reply) ? reply : [];
      cursor = String(next ?? '0');
      for (let i = 0; Array.isArray(pairs) && i + 1 < pairs.length; i += 2) {
        const run = readRunId(String(pairs[i]));
        if (run !== undefined) yield [run, readStatusOf(run, bytesOf(pairs[i + 1]))];
      }
    } while (cursor !== '0');
  }

  const tell = async (run: Hex, status: RunStatus | undefined): Promise<void> => {
    // Whoever writes a run knows more of it than the server.
    if (!claimed.has(run)) events?.status(run, status);
    if (status?.withheldAt !== undefined) {
      await withholdHere(run, status.withheldAt).catch((error: unknown) => onFault(run, error));
    }
  };

  const poll = setInterval(() => {
    for (const [run, one] of followed) {
      factsOf(run).then(
        (facts) => {
          if (facts === undefined || facts.bytes === one.bytes) return;
          one.bytes = facts.bytes;
          if (!claimed.has(run)) events?.grown(run);
        },
        // It is asked again in a second.
        () => undefined,
      );
    }
  }, POLL_MS);
  poll.unref();

  return {
    broken,
    async open(told) {
      events = told;
      for await (const [run, status] of scanStatuses()) {
        if (status?.status === 'broken') broken.push(run);
        await tell(run, status);
      }
    },
    async create(status, bytes) {
      const id = randomBytes(16).toString('hex');
      const reply = await runScript(
        status.run,
        scripts.CREATE,
        id,
        encodeStatus(status),
        bytes.length,
        ...piecesOf(bytes),
      );
      return Number(reply) === 1;
    },
    claim,
    async *read(run, growth, signal) {
      const facts = await factsOf(run);
      if (facts === undefined) throw missing(run);
      if (await isHere(run, facts)) {
        yield* createReadStream(path(run));
        return;
      }
      if (growth === undefined) {
        yield* wholeStream(run, facts);
        return;
      }
      const one = followed.get(run) ?? { readers: 0, bytes: facts.bytes };
      one.readers += 1;
      followed.set(run, one);
      try {
        yield* follow(run, growth, signal);
      } finally {
        one.readers -= 1;
        if (one.readers === 0) followed.delete(run);
      }
    },
    path,
    async fetch(run) {
      const facts = await factsOf(run);
      if (facts === undefined) throw missing(run);
      if (!(await isHere(run, facts))) await writeBundle(path(run), wholeStream(run, facts));
      return path(run);
    },
    async withhold(status) {
      const facts = await factsOf(status.run);
      if (facts === undefined) throw missing(status.run);
      if ((await fileFacts(path(status.run))) === undefined && facts.home === home) {
        await writeBundle(path(status.run), wholeStream(status.run, facts));
      }
      if ((await fileFacts(path(status.run))) !== undefined) await withholdPayloads(path(status.run));
      await runScript(status.run, scripts.WITHHOLD, encodeStatus(status));
    },
    async heard({ run, isOwn }) {
      if (isOwn) return;
      await tell(run, await statusOf(run));
    },
    grown(run) {
      if (!claimed.has(run)) events?.grown(run);
    },
    async resync() {
      for await (const [run, status] of scanStatuses()) await tell(run, status);
    },
    async *live() {
      let cursor = '0';
      do {
        const reply = await link.call('SSCAN', keys.live, cursor, 'COUNT', 100);
        const [next, members] = Array.isArray(reply) ? reply : [];
        cursor = String(next ?? '0');
        for (const member of Array.isArray(members) ? members : []) {
          const run = readRunId(String(member));
          if (run !== undefined) yield run;
        }
      } while (cursor !== '0');
    },
    async close() {
      clearInterval(poll);
    },
  };

  async function* follow(run: Hex, growth: Growth, signal: AbortSignal | undefined): AsyncGenerator<Uint8Array> {
    let place = JOURNAL_START;
    for (let isLast = false; ; ) {
      const before = place.position;
      place = yield* readEntries(link, keyOf(run, 1), run, place);
      if (signal?.aborted === true) return;
      if (place.position > before) continue;
      if (isLast) return;
      // What was written before the end was told is still read.
      isLast = !(await growth.next(signal));
    }
  }
}

/** How a journal stands. */
type Facts = { readonly bytes: number; readonly isOver: boolean; readonly home: string };

function bytesOf(reply: unknown): Buffer | null {
  return Buffer.isBuffer(reply) ? reply : null;
}
