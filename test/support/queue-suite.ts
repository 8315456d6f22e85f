/**
 * What every machinery of runs holds to, whichever it is: the guarantees Q1 to Q4 of `runtime/queue/ports.ts`.
 *
 * @module
 */

import { readFile } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { describe, expect, onTestFinished, test } from 'vitest';
import { type Hex, toHex, utf8 } from '../../attest/core/bytes.ts';
import { sha256 } from '../../attest/core/hash.ts';
import { ControlError, RunControl } from '../../runtime/control.ts';
import { JournalError } from '../../runtime/journal.ts';
import type { JobEnd, Machinery, RunClaim, RunEvents, RunJob } from '../../runtime/queue/ports.ts';
import { emptyStatus, type RunStatus } from '../../runtime/run-status.ts';
import { toyRun } from './toy-run.ts';

/** The machinery of one or more processes over the same runs. */
export type OpenMachinery = {
  /** Opens one more, in place of a process; `isOther`: on another machine, where that is a difference. */
  readonly open: (isOther?: boolean) => Promise<Machinery>;
  /** Whether several may be open at once. */
  readonly isShared: boolean;
};

let drawn = 0;
/** An id that no test has had. */
export const someRun = (): Hex => toHex(sha256(utf8(`suite ${process.pid} ${drawn++}`)));
export const runningStatus = (run: Hex): RunStatus => ({
  ...emptyStatus(run, 1_700_000_000_000),
  agent: 'suite',
  records: 1,
});
export const overStatus = (run: Hex): RunStatus => ({
  ...runningStatus(run),
  status: 'done',
  output: { ok: true },
  records: 3,
});
export const suspendedStatus = (run: Hex): RunStatus => ({
  ...runningStatus(run),
  status: 'suspended',
  reason: 'paused',
});

/** All that is told. */
export function events() {
  const statuses = new Map<Hex, RunStatus | undefined>();
  const grown: Hex[] = [];
  const listener: RunEvents = {
    status: (run, status) => void statuses.set(run, status),
    grown: (run) => void grown.push(run),
  };
  return { statuses, grown, listener };
}

/** All bytes. */
export async function collect(source: AsyncIterable<Uint8Array>): Promise<string> {
  const parts: Uint8Array[] = [];
  for await (const part of source) parts.push(Uint8Array.from(part));
  return Buffer.concat(parts).toString('utf8');
}

/** Waits until something is so, for at most five seconds. */
export async function until(is: () => boolean | Promise<boolean>, limitMs = 5_000): Promise<void> {
  const end = performance.now() + limitMs;
  while (!(await is())) {
    if (performance.now() > end) throw new Error('it did not come about in time');
    await delay(5);
  }
}

/** How a promise of something that is said ended: a code, or `heard`. */
export async function ending(heard: Promise<void>): Promise<string> {
  return heard.then(
    () => 'heard',
    (error) => (error instanceof ControlError ? error.code : String(error)),
  );
}

/** Takes the next word that a run is given, and says that it is on record. */
async function takeNext(control: RunControl): Promise<bigint> {
  let taken: ReturnType<RunControl['takeWord']>;
  await until(() => {
    taken = control.takeWord();
    return taken !== undefined;
  });
  taken?.accept();
  return taken?.index ?? -1n;
}

async function expectCode(work: Promise<unknown>, code: string): Promise<void> {
  const error = await work.then(
    () => undefined,
    (caught: unknown) => caught,
  );
  expect(error).toBeInstanceOf(JournalError);
  expect((error as JournalError).code).toBe(code);
}

/** The suite of one machinery. */
export function describeMachinery(name: string, setUp: () => Promise<OpenMachinery>): void {
  const opened = async (count = 1) => {
    const { open, isShared } = await setUp();
    const all: Machinery[] = [];
    for (let i = 0; i < (isShared ? count : 1); i++) all.push(await open(i > 0));
    const told = events();
    for (const [i, { store }] of all.entries()) await store.open(i === 0 ? told.listener : events().listener);
    onTestFinished(() => closeAll(all));
    const first = all[0] as Machinery;
    return { first, second: all[1] ?? first, told, open, all };
  };

  describe(`${name}: queue`, () => {
    test('a run that is added is taken up, once', async () => {
      const { first, second } = await opened(2);
      const run = someRun();
      const jobs: Hex[] = [];
      const handle = async (job: RunJob): Promise<JobEnd> => {
        jobs.push(job.run);
        await delay(20);
        return 'rested';
      };
      // What was added while nobody worked waits (Q4).
      await first.queue.add(run);
      await first.queue.add(run);
      await first.queue.ensure(run);
      expect(await first.queue.counts()).toMatchObject({ waiting: 1, active: 0 });
      first.queue.work(handle);
      if (second !== first) second.queue.work(handle);
      await until(async () => jobs.length > 0 && (await first.queue.counts()).active === 0);
      expect(await first.queue.counts()).toMatchObject({ waiting: 0, active: 0 });
      expect(jobs).toEqual([run]);
    });

    test('a run that is added while it is worked on is taken up once more, by one at a time', async () => {
      const { first, second } = await opened(2);
      const run = someRun();
      let atWork = 0;
      let most = 0;
      let count = 0;
      const gates: (() => void)[] = [];
      const handle = async (): Promise<JobEnd> => {
        count += 1;
        atWork += 1;
        most = Math.max(most, atWork);
        await new Promise<void>((resolve) => void gates.push(resolve));
        atWork -= 1;
        return 'rested';
      };
      first.queue.work(handle);
      if (second !== first) second.queue.work(handle);
      await first.queue.add(run);
      await until(() => gates.length === 1);
      await first.queue.add(run);
      await second.queue.add(run);
      await second.queue.ensure(run);
      gates[0]?.();
      await until(() => gates.length === 2);
      // Of a run that is worked on, `ensure` wants nothing more.
      await first.queue.ensure(run);
      gates[1]?.();
      await until(async () => (await first.queue.counts()).active === 0);
      await delay(50);
      expect([count, most]).toEqual([2, 1]);
    });

    test('a run that was ensured and then added while at work is taken up once more', async () => {
      const { first } = await opened();
      const run = someRun();
      const gates: (() => void)[] = [];
      first.queue.work(async () => {
        await new Promise<void>((resolve) => void gates.push(resolve));
        return 'rested';
      });
      await first.queue.ensure(run);
      await until(() => gates.length === 1);
      await first.queue.add(run);
      gates[0]?.();
      await until(() => gates.length === 2);
      gates[1]?.();
      await until(async () => (await first.queue.counts()).active === 0);
      await delay(30);
      expect(gates).toHaveLength(2);
    });

    test('a run that was left is taken up again', async () => {
      const { first } = await opened();
      const ends: JobEnd[] = ['left', 'left', 'rested'];
      const taken: Hex[] = [];
      const run = someRun();
      first.queue.work(async (job) => {
        taken.push(job.run);
        return ends[taken.length - 1] ?? 'rested';
      });
      await first.queue.add(run);
      await until(async () => taken.length === 3 && (await first.queue.counts()).active === 0);
      expect(taken).toEqual([run, run, run]);
    });

    test('close waits for what is at work, and takes nothing more', async () => {
      const { first } = await opened();
      let over = false;
      let began = false;
      first.queue.work(async () => {
        began = true;
        await delay(100);
        over = true;
        return 'rested';
      });
      await first.queue.add(someRun());
      await until(() => began);
      await first.queue.close();
      expect(over).toBe(true);
      await expect(first.queue.add(someRun())).rejects.toMatchObject({ code: 'QUEUE_CLOSED' });
      expect(() => first.queue.work(async () => 'rested')).toThrow(expect.objectContaining({ code: 'QUEUE_CLOSED' }));
    });

    test('there is room in an empty queue', async () => {
      const { first } = await opened();
      expect(await first.queue.hasRoom(() => false)).toBe(true);
    });
  });

  describe(`${name}: store`, () => {
    const begin = async (store: Machinery['store'], text = 'begin\n') => {
      const run = someRun();
      expect(await store.create(runningStatus(run), utf8(text))).toBe(true);
      return run;
    };

    test('a journal is begun once, and by one', async () => {
      const { first, second } = await opened(2);
      const run = await begin(first.store);
      expect(await second.store.create(runningStatus(run), utf8('other\n'))).toBe(false);
      expect(await collect(first.store.read(run))).toBe('begin\n');
      const both = someRun();
      const made = await Promise.all([
        first.store.create(runningStatus(both), utf8('one\n')),
        second.store.create(runningStatus(both), utf8('two\n')),
      ]);
      expect(made.filter((one) => one)).toHaveLength(1);
      expect(await collect(second.store.read(both))).toBe(made[0] ? 'one\n' : 'two\n');
    });

    test('what was appended is there for a process that comes later', async () => {
      const { first, open } = await opened();
      const run = await begin(first.store);
      const claim = await first.store.claim(run);
      const journal = await claim.proceed(6);
      await journal.append(utf8('more\n'));
      await journal.append(utf8('and more\n'));
      await journal.close();
      await claim.release();
      const later = await open();
      onTestFinished(() => closeAll([later]));
      const told = events();
      await later.store.open(told.listener);
      expect(told.statuses.has(run)).toBe(true);
      expect(told.statuses.get(run)?.status ?? 'running').toBe('running');
      const again = await later.store.claim(run);
      expect(await collect(again.read())).toBe('begin\nmore\nand more\n');
      await again.release();
    });

    test('a torn end is cut off', async () => {
      const { first } = await opened();
      const run = await begin(first.store, 'begin\nto');
      const claim = await first.store.claim(run);
      const journal = await claim.proceed(6);
      await journal.append(utf8('next\nand\nha'));
      await journal.append(utf8('lf'));
      await journal.close();
      await claim.release();
      expect(await collect(first.store.read(run))).toBe('begin\nnext\nand\nhalf');
      const again = await first.store.claim(run);
      const more = await again.proceed(15);
      await more.append(utf8('whole\n'));
      await more.close();
      expect(await collect(again.read())).toBe('begin\nnext\nand\nwhole\n');
      await again.release();
    });

    test('an append of megabytes is read as it was written', async () => {
      const { first } = await opened();
      const run = await begin(first.store);
      const claim = await first.store.claim(run);
      const journal = await claim.proceed(6);
      const big = Buffer.alloc(3_200_000, 'x');
      big.write('\n', big.length - 1);
      await journal.append(big);
      await journal.append(utf8('end\n'));
      await journal.close();
      await claim.release();
      const read = await collect(first.store.read(run));
      expect(read.length).toBe(6 + big.length + 4);
      expect(read === `begin\n${big.toString()}end\n`).toBe(true);
    });

    test('a run that nobody began is missing', async () => {
      const { first } = await opened();
      const run = someRun();
      await expect(collect(first.store.read(run))).rejects.toMatchObject({ code: 'JOURNAL_MISSING' });
      await expect(first.store.fetch(run)).rejects.toMatchObject({ code: 'JOURNAL_MISSING' });
      const claimed = first.store.claim(run).then(async (claim) => {
        try {
          await collect(claim.read());
        } finally {
          await claim.release();
        }
      });
      await expectCode(claimed, 'JOURNAL_MISSING');
    });

    test('who held a run cannot write it after another has claimed it', async () => {
      const { first, second } = await opened(2);
      const run = await begin(first.store);
      const old = await first.store.claim(run);
      const journal = await old.proceed(6);
      let young: RunClaim;
      try {
        young = await second.store.claim(run);
      } catch (error) {
        // Or nobody can claim it as long as it is held.
        expect((error as JournalError).code).toBe('JOURNAL_IN_USE');
        await journal.close();
        await old.release();
        return;
      }
      const next = await young.proceed(6);
      await next.append(utf8('young\n'));
      await expectCode(journal.append(utf8('old\n')), 'JOURNAL_FENCED');
      await expectCode(old.rest(overStatus(run)), 'JOURNAL_FENCED');
      await expectCode(old.proceed(0), 'JOURNAL_FENCED');
      await expectCode(old.signed.append(utf8('old\n')), 'JOURNAL_FENCED');
      await expectCode(old.discard(), 'JOURNAL_FENCED');
      await old.release();
      await next.append(utf8('more\n'));
      await young.rest(overStatus(run));
      await young.release();
      expect(await collect(second.store.read(run))).toBe('begin\nyoung\nmore\n');
      expect(await readFile(await second.store.fetch(run), 'utf8')).toBe('begin\nyoung\nmore\n');
    });

    test('how a run rests is told to those who come later, and a run that goes on is running', async () => {
      const { first, open } = await opened();
      const [over, aside, on] = [await begin(first.store), await begin(first.store), await begin(first.store)];
      for (const [run, status] of [
        [over, overStatus(over)],
        [aside, suspendedStatus(aside)],
        [on, suspendedStatus(on)],
      ] as const) {
        const claim = await first.store.claim(run);
        await (await claim.proceed(6)).close();
        await claim.rest(status);
        await claim.release();
      }
      const claim = await first.store.claim(on);
      await (await claim.proceed(6)).close();
      await claim.release();
      const later = await open(true);
      onTestFinished(() => closeAll([later]));
      const told = events();
      await later.store.open(told.listener);
      expect(told.statuses.get(over)).toEqual(overStatus(over));
      expect(told.statuses.get(aside)).toEqual(suspendedStatus(aside));
      expect(told.statuses.get(on)?.status ?? 'running').toBe('running');
    });

    test('what wallets signed stands beside the journal', async () => {
      const { first, open } = await opened();
      const run = await begin(first.store);
      const claim = await first.store.claim(run);
      expect(await claim.signed.read()).toHaveLength(0);
      await claim.signed.append(utf8('one\n'));
      await claim.signed.append(utf8('two\n'));
      await claim.release();
      const later = await open();
      onTestFinished(() => closeAll([later]));
      const again = await later.store.claim(run);
      await again.signed.append(utf8('three\n'));
      expect(Buffer.from(await again.signed.read()).toString()).toBe('one\ntwo\nthree\n');
      await again.release();
    });

    test('a run that was never begun is taken away', async () => {
      const { first } = await opened();
      const run = await begin(first.store, 'to');
      const claim = await first.store.claim(run);
      await claim.discard();
      await claim.release();
      await expect(collect(first.store.read(run))).rejects.toMatchObject({ code: 'JOURNAL_MISSING' });
      expect(await first.store.create(runningStatus(run), utf8('begin\n'))).toBe(true);
    });

    test('who follows a run reads what is there and what comes, to its end', async () => {
      const { first, second, told } = await opened(2);
      // The other process writes, this one follows.
      const run = await begin(second.store);
      const claim = await second.store.claim(run);
      const journal = await claim.proceed(6);
      let isOver = false;
      const growth = {
        next: async () => {
          const seen = told.grown.length;
          await until(() => isOver || told.grown.length > seen || first === second);
          await delay(1);
          return !isOver;
        },
      };
      const followed = collect(first.store.read(run, growth));
      for (let i = 0; i < 20; i++) {
        await journal.append(utf8(`line ${i}\n`));
        await delay(2);
      }
      await journal.close();
      await claim.rest(overStatus(run));
      await claim.release();
      if (first !== second) await until(() => told.statuses.get(run)?.status === 'done');
      isOver = true;
      expect(await followed).toBe(`begin\n${Array.from({ length: 20 }, (_, i) => `line ${i}\n`).join('')}`);
      if (first !== second) expect(told.grown).toContain(run);
    });

    test('who follows a run may go away', async () => {
      const { first } = await opened();
      const run = await begin(first.store);
      const gone = new AbortController();
      const growth = {
        next: (signal?: AbortSignal) =>
          new Promise<boolean>((resolve) => {
            signal?.addEventListener('abort', () => resolve(false));
          }),
      };
      const followed = collect(first.store.read(run, growth, gone.signal));
      await delay(20);
      gone.abort();
      expect(await followed).toBe('begin\n');
    });

    test('payloads of a run that is over are deleted wherever they are', async () => {
      const { first, second, told, open } = await opened(2);
      const bytes = Buffer.from((await toyRun()).bytes);
      const run = someRun();
      await first.store.create(runningStatus(run), bytes);
      const claim = await first.store.claim(run);
      await (await claim.proceed(bytes.length)).close();
      await claim.rest(overStatus(run));
      await claim.release();
      // A salt, which goes with its payload.
      const secret = /"media":"text.plain[^}]*"salt":"(0x[0-9a-f]{64})"/.exec(bytes.toString())?.[1] ?? 'none';
      expect(await readFile(await first.store.fetch(run), 'utf8')).toContain(secret);
      expect(await readFile(await second.store.fetch(run), 'utf8')).toContain(secret);
      const withheld = { ...overStatus(run), output: null, withheldAt: Date.now() };
      await second.store.withhold(withheld);
      if (first !== second) {
        await until(() => told.statuses.get(run)?.withheldAt !== undefined);
        await until(async () => !(await readFile(first.store.path(run), 'utf8')).includes(secret));
      }
      for (const { store } of [first, second]) {
        expect(await readFile(store.path(run), 'utf8')).not.toContain(secret);
        expect(await collect(store.read(run))).not.toContain(secret);
        expect(await readFile(await store.fetch(run), 'utf8')).toContain('"withheld"');
      }
      const later = await open();
      onTestFinished(() => closeAll([later]));
      const toldLater = events();
      await later.store.open(toldLater.listener);
      expect(toldLater.statuses.get(run)).toEqual(withheld);
    });
  });

  describe(`${name}: inbox`, () => {
    const begin = async ({ store }: Machinery) => {
      const run = someRun();
      await store.create(runningStatus(run), utf8('begin\n'));
      return run;
    };
    const child = (index: bigint) => ({ type: 'child', index }) as const;

    test('a word that is said before a run is taken up is heard when it is', async () => {
      const { first, second } = await opened(2);
      const run = await begin(first);
      const said = await first.inbox.say(run, child(7n));
      expect(said.isAttached).toBe(false);
      const claim = await second.store.claim(run);
      const control = new RunControl();
      const hearing = await second.inbox.attach(run, control);
      expect(await takeNext(control)).toBe(7n);
      expect(await ending(said.heard)).toBe('heard');
      expect(await hearing.close()).toBe(false);
      await claim.release();
    });

    test('a word that is said while a run is worked on is heard, from anywhere', async () => {
      const { first, second } = await opened(2);
      const run = await begin(first);
      const claim = await second.store.claim(run);
      const control = new RunControl();
      const hearing = await second.inbox.attach(run, control);
      for (const { inbox } of [first, second]) {
        const said = await inbox.say(run, { type: 'reconcile', how: 'lost', index: 3n });
        expect(said.isAttached).toBe(true);
        expect(await takeNext(control)).toBe(3n);
        expect(await ending(said.heard)).toBe('heard');
      }
      expect(await hearing.close()).toBe(false);
      await claim.release();
    });

    test('a word that a run refuses is refused to who said it, with the same code', async () => {
      const { first, second } = await opened(2);
      const run = await begin(first);
      const claim = await second.store.claim(run);
      const control = new RunControl();
      const hearing = await second.inbox.attach(run, control);
      const approval = { approved: true, approver: null, note: 'ñ "quoted"', signature: null };
      const said = await first.inbox.say(run, { type: 'approval', index: 1n, approval });
      let word: ReturnType<RunControl['takeWord']>;
      await until(() => {
        word = control.takeWord();
        return word !== undefined;
      });
      expect(word).toMatchObject({ type: 'approval', index: 1n, approval });
      word?.refuse(new ControlError('APPROVAL_INVALID', 'no approver has signed it'));
      await expect(said.heard).rejects.toMatchObject({
        code: 'APPROVAL_INVALID',
        message: 'no approver has signed it',
      });
      expect(await hearing.close()).toBe(false);
      await claim.release();
    });

    test('a word that a run did not take before it was put aside is heard when it is taken up again', async () => {
      const { first, second } = await opened(2);
      const run = await begin(first);
      const claim = await first.store.claim(run);
      const control = new RunControl();
      const hearing = await first.inbox.attach(run, control);
      const said = await second.inbox.say(run, child(2n));
      expect(said.isAttached).toBe(true);
      // Words wait: whoever closes it has the run taken up again.
      expect(await hearing.close()).toBe(true);
      await claim.rest(suspendedStatus(run));
      await claim.release();
      const later = await second.store.claim(run);
      const next = new RunControl();
      const hears = await second.inbox.attach(run, next);
      expect(await takeNext(next)).toBe(2n);
      expect(await ending(said.heard)).toBe('heard');
      expect(await hears.close()).toBe(false);
      await later.release();
    });

    test('cancel and pause are heard, and forgotten when the run that heard them ends', async () => {
      const { first, second } = await opened(2);
      const run = await begin(first);
      const before = await first.inbox.say(run, { type: 'pause' });
      const resume = await first.inbox.say(run, { type: 'resume' });
      const claim = await second.store.claim(run);
      const control = new RunControl();
      const hearing = await second.inbox.attach(run, control);
      const said = await first.inbox.say(run, { type: 'cancel' });
      await until(() => control.cancelled && control.paused);
      expect([await ending(before.heard), await ending(resume.heard), await ending(said.heard)]).toEqual([
        'heard',
        'heard',
        'heard',
      ]);
      expect(await hearing.close()).toBe(false);
      await claim.release();
      const again = await first.store.claim(run);
      const next = new RunControl();
      const hears = await first.inbox.attach(run, next);
      expect([next.cancelled, next.paused]).toEqual([false, false]);
      await hears.close();
      await again.release();
    });

    test('what waits is refused when the run is over', async () => {
      const { first, second } = await opened(2);
      const run = await begin(first);
      const said = [await first.inbox.say(run, child(1n)), await second.inbox.say(run, { type: 'cancel' })];
      const claim = await first.store.claim(run);
      await (await claim.proceed(6)).close();
      await claim.rest(overStatus(run));
      await claim.release();
      await first.inbox.refuse(run);
      expect(await Promise.all(said.map(({ heard }) => ending(heard)))).toEqual(['RUN_OVER', 'RUN_OVER']);
    });
  });
}

async function closeAll(all: readonly Machinery[]): Promise<void> {
  for (const { queue, inbox, store } of all) {
    await queue.close();
    await inbox.close();
    await store.close();
  }
}
