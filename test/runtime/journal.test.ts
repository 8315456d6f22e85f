import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { TraceWriter } from '../../attest/trace/writer.ts';
import { trustSigner } from '../../attest/verify/trust.ts';
import { verifyBundle } from '../../attest/verify/verifier.ts';
import { JournalError, type JournalFile, openJournal } from '../../runtime/journal.ts';
import { OFF_CHAIN } from '../../runtime/plan.ts';
import { runAgent } from '../../runtime/run.ts';
import { OPERATOR, OPERATOR_KEY, toyPlan, toyRun } from '../support/toy-run.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'journal-'));
});
afterEach(() => rm(folder, { recursive: true }));

const failing = (after: number, code: string) => {
  const written: Uint8Array[] = [];
  let size = 0;
  const file: JournalFile = {
    async write(bytes, offset, length) {
      const room = after - size;
      if (room <= 0) throw Object.assign(new Error('write failed'), { code });
      // A full disk takes what still fits, then fails: the worst case for a log.
      const taken = Math.min(room, length);
      written.push(Uint8Array.from(bytes.subarray(offset, offset + taken)));
      size += taken;
      return { bytesWritten: taken };
    },
    datasync: async () => {},
    close: async () => {},
  };
  return { file, bytes: () => Buffer.concat(written) };
};

describe('a journal', () => {
  it('holds what was appended, and never continues or overwrites a file', async () => {
    const path = join(folder, 'run.trace');
    const journal = await openJournal(path);
    await journal.append(Buffer.from('one\n'));
    await journal.append(Buffer.from('two\n'));
    await journal.close();
    expect(await readFile(path, 'utf8')).toBe('one\ntwo\n');
    await expect(openJournal(path)).rejects.toMatchObject({ code: 'JOURNAL_EXISTS', at: { path } });
    expect(await readFile(path, 'utf8')).toBe('one\ntwo\n');
  });

  it('names a folder that is missing', async () => {
    await expect(openJournal(join(folder, 'none', 'x.trace'))).rejects.toMatchObject({ code: 'JOURNAL_MISSING' });
  });
});

describe('a disk that is full', () => {
  it('ends the run with JOURNAL_FULL, and what is on disk is never taken for a whole trace', async () => {
    const whole = (await toyRun()).bytes.length;
    for (let after = 0; after < whole; after += Math.ceil(whole / 23)) {
      const disk = failing(after, 'ENOSPC');
      const sink = await openJournal('simulated', async () => disk.file);
      const { ports, plan, run, executor } = toyPlan();
      const writer = new TraceWriter({ ...ports.writing, sink }, run, OFF_CHAIN, OPERATOR_KEY);
      const failed = await runAgent({ ...ports.running, writer }, plan).catch((error: unknown) => error);
      expect(failed).toBeInstanceOf(JournalError);
      expect(failed).toMatchObject({ code: 'JOURNAL_FULL', at: { errno: 'ENOSPC' } });
      await expect(writer.checkpoint()).rejects.toThrow('cannot be continued');
      const report = await verifyBundle({ executor, trust: trustSigner(OPERATOR), now: () => 0 }, [disk.bytes()]);
      if (after === 0) expect(report).toMatchObject({ verdict: 'INVALID', code: 'MISSING_LINE' });
      else expect(report, `after ${after}`).toMatchObject({ verdict: 'CANNOT_RECOMPUTE' });
    }
  });
});
