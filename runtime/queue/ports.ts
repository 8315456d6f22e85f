/**
 * What a manager of runs stands on: a queue of runs that have work to do, a store of their journals and statuses, an inbox of what is said to
 * them. Embedded in one process (`embedded-*.ts`, `file-store.ts`), or shared by many machines (`redis-*.ts`); one suite of tests holds for both.
 *
 * Q1. A run that was added is taken up by some worker, at least once; by one at a time, as far as anyone can know.
 * Q2. Who claims a run can write it; who held it before cannot any more, however late it wakes (fencing).
 * Q3. What was said to a run is heard, or refused, once somebody takes it up; a word is heard again if who heard it died before it was on record.
 * Q4. What `append`, `create`, `add` and `say` have acknowledged survives a crash of anything.
 *
 * Spec: `runtime/spec/machines.md`.
 *
 * @module
 */

import type { Hex } from '../../attest/core/bytes.ts';
import type { RunControl, Word } from '../control.ts';
import type { Journal } from '../journal.ts';
import type { Growth } from '../record-feed.ts';
import type { RunStatus } from '../run-status.ts';

/** A run to go on with. */
export type RunJob = {
  readonly run: Hex;
  /** Aborted when the job was given to another worker: the run is to be left. */
  readonly lost: AbortSignal;
};

/** How a job ended: the run rests, or it was left as it stands and waits for another worker. */
export type JobEnd = 'rested' | 'left';

/** How a queue stands, over all machines. */
export type QueueCounts = {
  /** Runs that wait for a worker. */
  readonly waiting: number;
  /** Runs that are worked on. */
  readonly active: number;
  /** Runs that were taken from a worker that had stalled, as far as this process saw. */
  readonly stalled: number;
};

/** Runs that have work to do. */
export type RunQueue = {
  /** Has a run taken up; if it is worked on now, once more afterwards. */
  add(run: Hex): Promise<void>;
  /** Has a run taken up if it neither waits nor is worked on. */
  ensure(run: Hex): Promise<void>;
  /**
   * Starts to take jobs. A handler that rejects is asked again after a while.
   *
   * @throws {@link QueueError} `QUEUE_CLOSED`
   */
  work(handle: (job: RunJob) => Promise<JobEnd>): void;
  /**
   * Whether new runs are taken.
   *
   * @param isAtRest - of runs that rest already, though their job here has not ended: they take no room
   */
  hasRoom(isAtRest: (run: Hex) => boolean): Promise<boolean>;
  counts(): Promise<QueueCounts>;
  /** Takes no more jobs, and resolves when those at work here have ended. */
  close(): Promise<void>;
};

/** A run that one worker writes. */
export type RunClaim = {
  /** Its journal, as it stands now; of nobody else's writing from here on. */
  read(): AsyncIterable<Uint8Array>;
  /**
   * Goes on with the journal after its first `keepBytes` bytes; the rest, a torn end, is cut off. From here on the run is `running`.
   *
   * @throws {@link JournalError} from here and from `append`; `JOURNAL_FENCED` once another has claimed the run, `JOURNAL_UNREACHABLE` while
   * the store cannot be reached: whether it was written is known when the journal is read again
   */
  proceed(keepBytes: number): Promise<Journal>;
  /** Keeps how the run rests; the bundle of a run that is over is whole then. @throws {@link JournalError} as `proceed` */
  rest(status: RunStatus): Promise<void>;
  /** Takes away a run that was never begun: its journal holds no whole record 0. */
  discard(): Promise<void>;
  /** What the wallets of this run have signed: lines, in order. */
  readonly signed: SignedLog;
  /** Lets go of it. */
  release(): Promise<void>;
};

/** Lines beside a journal, durable when `append` returns, and held to the same claim. */
export type SignedLog = {
  /** All bytes that are there; a crash may have torn the last line, and what is appended then follows it. */
  read(): Promise<Uint8Array>;
  /** @throws {@link JournalError} */
  append(bytes: Uint8Array): Promise<void>;
};

/** Who hears of runs. */
export type RunEvents = {
  /** A status that is known, or has changed; undefined: of this run only the journal is known, and it may have been at work. */
  readonly status: (run: Hex, status: RunStatus | undefined) => void;
  /** The journal of a run, which another process writes, has grown. */
  readonly grown: (run: Hex) => void;
};

/** The journals and statuses of all runs. */
export type RunStore = {
  /** Tells all that is there, then every change that another process makes. Resolves when all is told that was there. */
  open(events: RunEvents): Promise<void>;
  /** Begins a journal; false if the run has one. @throws {@link JournalError} */
  create(status: RunStatus, bytes: Uint8Array): Promise<boolean>;
  /** @throws {@link JournalError} `JOURNAL_IN_USE` if it cannot be taken from who writes it, `JOURNAL_MISSING`, `JOURNAL_UNREACHABLE` */
  claim(run: Hex): Promise<RunClaim>;
  /** What is there of a journal, then what comes, as long as `growth` says that it may grow. @throws {@link JournalError} `JOURNAL_MISSING` */
  read(run: Hex, growth?: Growth, signal?: AbortSignal): AsyncIterable<Uint8Array>;
  /** Path of the bundle of a run on this machine, whether it is there or not. */
  path(run: Hex): string;
  /** Has all that is there of the bundle under its path, and resolves to the path. @throws {@link JournalError} `JOURNAL_MISSING` */
  fetch(run: Hex): Promise<string>;
  /** Deletes the payloads of a run that is over, wherever they are, and keeps its status. @throws {@link RetentionError} */
  withhold(status: RunStatus): Promise<void>;
  close(): Promise<void>;
};

/** Whatever is said to a run: about one of its starts, or about the whole of it. `resume` has a run taken up that is put aside. */
export type RunWord =
  | (Word & { readonly index: bigint })
  | { readonly type: 'cancel' }
  | { readonly type: 'pause' }
  | { readonly type: 'resume' };

/** A word that was said. */
export type Said = {
  /**
   * Resolves when it is on record (`cancel`, `pause`, `resume`: when it was given to the run); rejects with {@link ControlError} as
   * {@link RunControl.say}, `RUN_OVER` if the run is over, `NOT_HEARD` if nobody took the run up for too long: then it still waits.
   */
  readonly heard: Promise<void>;
  /** Whether somebody works on the run and hears it; else the run has to be added to the queue. */
  readonly isAttached: boolean;
};

/** What is said to runs, wherever they are worked on. */
export type RunInbox = {
  /** Says a word; resolves when it cannot be lost any more. */
  say(run: Hex, word: RunWord): Promise<Said>;
  /** Gives a run what was said to it, and what will be. */
  attach(run: Hex, control: RunControl): Promise<Hearing>;
  /** Refuses all that waits: the run is over. */
  refuse(run: Hex): Promise<void>;
  close(): Promise<void>;
};

/** A run that hears. `cancel` and `pause` are forgotten only when it ends: a run that is taken up after a crash hears them again. */
export type Hearing = {
  /** Ends; resolves to whether words wait that the run did not take (`RUN_OVER`), which it will hear when it is taken up again. */
  close(): Promise<boolean>;
};

/** One way to keep runs. */
export type Machinery = {
  readonly queue: RunQueue;
  readonly store: RunStore;
  readonly inbox: RunInbox;
  /** Whether other programs may go on with a run that this one cannot; such a job is then asked of them. */
  readonly isShared: boolean;
};
