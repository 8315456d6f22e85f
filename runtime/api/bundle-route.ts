/**
 * `GET /v1/runs/{id}/bundle`: the trace of a run, which is its bundle once it is over; before, all of its lines that are whole.
 *
 * @module
 */

import { type FileHandle, open } from 'node:fs/promises';
import type { FastifyInstance } from 'fastify';
import { JournalError } from '../journal.ts';
import { findRun, type RunContext } from './context.ts';
import { noFields, readFields } from './queries.ts';

/** Bytes that are looked at in one go for the end of the last whole line. */
const STEP = 64 << 10;

/** Adds the route. */
export function addBundle(app: FastifyInstance, context: RunContext): void {
  app.get<{ Params: { id: string } }>('/v1/runs/:id/bundle', { exposeHeadRoute: false }, async (request, reply) => {
    readFields(noFields, request.query);
    const { run } = findRun(context, context.callerOf(request), request.params.id);
    const file = await openBundle(await context.manager.fetchBundle(run));
    let length: number;
    try {
      length = await wholeLength(file);
    } catch (error) {
      await file.close();
      throw error;
    }
    void reply
      .header('content-type', 'application/jsonl')
      .header('content-length', length)
      .header('content-disposition', `attachment; filename="${run.slice(2)}.trace"`);
    if (length > 0) return reply.send(file.createReadStream({ start: 0, end: length - 1 }));
    await file.close();
    return reply.send('');
  });
}

async function openBundle(path: string): Promise<FileHandle> {
  try {
    return await open(path, 'r');
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== 'ENOENT') throw cause;
    throw new JournalError('JOURNAL_MISSING', 'the bundle is not there', { cause });
  }
}

/** Bytes up to the last line feed. */
async function wholeLength(file: FileHandle): Promise<number> {
  const { size } = await file.stat();
  for (let end = size; end > 0; ) {
    const start = Math.max(0, end - STEP);
    const piece = Buffer.alloc(end - start);
    const { bytesRead } = await file.read(piece, 0, piece.length, start);
    const at = piece.subarray(0, bytesRead).lastIndexOf(0x0a);
    if (at >= 0) return start + at + 1;
    end = start;
  }
  return 0;
}
