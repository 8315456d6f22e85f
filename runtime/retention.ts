/**
 * Deletion of payloads: a run that is over keeps its records, hashes and signatures, and loses what was said in it.
 *
 * R1. Only a bundle that ends with its closed checkpoint is rewritten; a run that may go on needs its payloads.
 * R2. The rewritten bundle replaces the old one whole or not at all, and is on disk before it does.
 * R3. What is taken out is a line `{"withheld": commitment}`; every other line stays byte for byte. Such a bundle verifies as
 *     `CANNOT_RECOMPUTE` `PAYLOAD_WITHHELD`, never as `INVALID`.
 *
 * Salts go with their payloads, so that nobody tries inputs against a commitment. The blocks of the old file are the file
 * system's to overwrite.
 *
 * Spec: `runtime/spec/api.md#retention`.
 *
 * @module
 */

import { randomBytes } from 'node:crypto';
import { constants, createReadStream } from 'node:fs';
import { type FileHandle, open, rename, rm, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { RuntimeError } from '../attest/core/error.ts';
import { payloadFields } from '../attest/trace/bodies.ts';
import { readLines } from '../attest/trace/line-reader.ts';
import { type BundleLine, encodeLine, parseLine } from '../attest/trace/lines.ts';

export type RetentionErrorCode =
  /** The bundle does not end with its closed checkpoint. */
  | 'NOT_CLOSED'
  /** A line that is none of a bundle, or stands where it cannot; `at.line`. */
  | 'NOT_A_BUNDLE'
  /** The output is there already, or is the bundle itself. */
  | 'OUTPUT_EXISTS';

/** Payloads that could not be taken out; the bundle is as it was. */
export class RetentionError extends RuntimeError<RetentionErrorCode> {
  override readonly name = 'RetentionError';
}

/** Fields that are kept unless told otherwise: code and policy, which say nothing of a caller. `*` is any index. */
export const CODE_FIELDS = ['body.agent.code', 'body.policy.rules', 'body.tools.*.code'] as const;

/** What is kept of a bundle. */
export type WithholdOptions = {
  /** Dotted fields, `*` for any index; {@link CODE_FIELDS} by default. */
  readonly keep?: readonly string[];
};

/**
 * Takes the payloads out of a closed bundle, in its place.
 *
 * @returns how many were taken out now
 * @throws {@link RetentionError} `NOT_CLOSED`, `NOT_A_BUNDLE`
 */
export async function withholdPayloads(path: string, options: WithholdOptions = {}): Promise<number> {
  const { mode } = await stat(path);
  const aside = `${path}.${randomBytes(6).toString('hex')}.tmp`;
  try {
    const count = await writeRedacted(path, aside, options, mode & 0o777);
    await rename(aside, path);
    await syncFolder(path);
    return count;
  } catch (error) {
    await rm(aside, { force: true });
    throw error;
  }
}

/**
 * Writes a copy of a closed bundle without its payloads.
 *
 * @param target - a file that is not there yet
 * @returns how many were taken out
 * @throws {@link RetentionError}
 */
export async function redactBundle(path: string, target: string, options: WithholdOptions = {}): Promise<number> {
  try {
    return await writeRedacted(path, target, options, 0o644);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') {
      throw new RetentionError('OUTPUT_EXISTS', `${target} exists already`, { at: { path: target } });
    }
    await rm(target, { force: true });
    throw error;
  }
}

async function writeRedacted(path: string, target: string, options: WithholdOptions, mode: number): Promise<number> {
  const file = await open(target, constants.O_CREAT | constants.O_EXCL | constants.O_WRONLY, mode);
  try {
    let count = 0;
    for await (const { bytes, withheld } of redactLines(createReadStream(path), options)) {
      await writeAll(file, bytes);
      if (withheld) count += 1;
    }
    await file.sync();
    return count;
  } finally {
    await file.close();
  }
}

type Redacted = { readonly bytes: Uint8Array; readonly withheld: boolean };

async function* redactLines(
  source: AsyncIterable<Uint8Array>,
  { keep = CODE_FIELDS }: WithholdOptions,
): AsyncGenerator<Redacted> {
  const kept = new Set(keep);
  let fields: string[] = [];
  let number = 0;
  let closed = false;
  for await (const { bytes, complete } of readLines(source)) {
    number += 1;
    if (!complete || closed) throw notClosed(`line ${number} is ${complete ? 'behind the end' : 'cut off'}`);
    const line = parse(bytes, number);
    if ((line.type === 'header') !== (number === 1)) throw misplaced(number, line.type);
    if (line.type === 'payload' || line.type === 'withheld') {
      const field = fields.shift();
      if (field === undefined) throw misplaced(number, line.type);
      if (line.type === 'payload' && !kept.has(anyIndex(field))) {
        yield { bytes: encodeLine({ type: 'withheld', commitment: line.commitment }), withheld: true };
        continue;
      }
    } else {
      if (fields.length > 0) throw misplaced(number, line.type);
      if (line.type === 'record') fields = payloadFields(line.record).map(({ field }) => field);
      closed = line.type === 'checkpoint' && line.checkpoint.closed;
    }
    yield { bytes: Buffer.concat([bytes, LINE_FEED]), withheld: false };
  }
  if (!closed) throw notClosed('it has no closed checkpoint');
}

const LINE_FEED = Uint8Array.of(0x0a);

function parse(bytes: Uint8Array, line: number): BundleLine {
  try {
    return parseLine(bytes);
  } catch (cause) {
    if (!RuntimeError.is(cause)) throw cause;
    throw new RetentionError('NOT_A_BUNDLE', `line ${line}: ${cause.message}`, { at: { line }, cause });
  }
}

/** `body.tools.*.code` for `body.tools.7.code`. */
function anyIndex(field: string): string {
  return field.replace(/\.\d+(?=\.|$)/g, '.*');
}

function misplaced(line: number, type: BundleLine['type']): RetentionError {
  return new RetentionError('NOT_A_BUNDLE', `line ${line}: a ${type} cannot stand here`, { at: { line } });
}

function notClosed(why: string): RetentionError {
  return new RetentionError('NOT_CLOSED', `the run is not over: ${why}`);
}

async function writeAll(file: FileHandle, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length; ) {
    const { bytesWritten } = await file.write(bytes, at, bytes.length - at);
    at += bytesWritten;
  }
}

async function syncFolder(path: string): Promise<void> {
  const folder = await open(dirname(path), constants.O_RDONLY);
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}
