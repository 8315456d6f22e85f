/**
 * Where a run stands, as its owner shows it: derived from the journal, and kept beside it so that thousands of runs are listed
 * without reading their journals. Whatever it says, the journal decides.
 *
 * @module
 */

import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { open, readFile, rename, rm, unlink } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { Hex } from '../attest/core/bytes.ts';
import { RuntimeError } from '../attest/core/error.ts';
import { type Json, parseJson } from '../attest/encoding/canonical-json.ts';
import type { RunCloseBody, RunOpenBody } from '../attest/trace/bodies.ts';
import type { RunResult, Suspension } from './run-types.ts';

/** One start that waits for somebody; `index` and `at` are decimal. */
export type WaitingStatus = {
  readonly index: string;
  readonly at: number;
  readonly for: 'approval' | 'reconciliation' | 'child';
  readonly capability: string;
  readonly target: string;
  readonly request: Json;
};

/** Where a run stands. */
export type RunStatus = {
  readonly run: Hex;
  readonly agent: string;
  /** `broken`: its journal cannot be gone on with; `error` says why. */
  readonly status: 'running' | 'suspended' | 'broken' | RunCloseBody['status'];
  /** Why it is put aside. */
  readonly reason: 'approval' | 'reconciliation' | 'child' | 'paused' | null;
  readonly waiting: readonly WaitingStatus[];
  /** Milliseconds since 1970. */
  readonly createdAt: number;
  readonly updatedAt: number;
  /** Time at which a run that is put aside goes on by itself; null: never. */
  readonly wakeAt: number | null;
  readonly parent: { readonly run: Hex; readonly index: string } | null;
  readonly records: number;
  readonly output: Json | null;
  readonly error: { readonly code: string; readonly message: string } | null;
  readonly seedFrom: 'caller' | 'operator';
  /** When its payloads were deleted, milliseconds since 1970; absent as long as they are there. */
  readonly withheldAt?: number;
};

/** Whether a run has a closed trace. */
export function isOver({ status }: Pick<RunStatus, 'status'>): boolean {
  return status !== 'running' && status !== 'suspended' && status !== 'broken';
}

/** The status of a run of which only its id is known. */
export function emptyStatus(run: Hex, createdAt: number): RunStatus {
  return {
    run,
    agent: '',
    status: 'running',
    reason: null,
    waiting: [],
    createdAt,
    updatedAt: createdAt,
    wakeAt: null,
    parent: null,
    records: 0,
    output: null,
    error: null,
    seedFrom: 'operator',
  };
}

/** The status of a run whose record 0 stands, at `at`. */
export function openStatus(run: Hex, agent: string, open: RunOpenBody, at: bigint): RunStatus {
  const { parent, seedFrom } = open;
  return { ...emptyStatus(run, Number(at)), agent, parent, seedFrom, records: 1 };
}

/** The status of a run that is over, or put aside. */
export function restingStatus(before: RunStatus, result: RunResult | Suspension, updatedAt: number): RunStatus {
  if (result.status !== 'suspended') {
    const { status, output, error, records } = result;
    const over = { reason: null, waiting: [], wakeAt: null, output, error, records: Number(records) };
    return { ...before, ...over, status, updatedAt };
  }
  const { reason, wakeAt } = result;
  const waiting = result.waiting.map((one) => ({ ...one, index: one.index.toString(), at: Number(one.at) }));
  return {
    ...before,
    status: 'suspended',
    reason: reason === 'left' ? null : reason,
    waiting,
    updatedAt,
    wakeAt: Number.isFinite(wakeAt) ? wakeAt : null,
  };
}

/** Writes a status beside a journal; whole or not at all. */
export async function writeStatus(path: string, status: RunStatus): Promise<void> {
  const aside = `${path}.${randomBytes(6).toString('hex')}.tmp`;
  try {
    const file = await open(aside, 'wx', 0o600);
    try {
      await file.writeFile(`${JSON.stringify(status)}\n`);
    } finally {
      await file.close();
    }
    await rename(aside, path);
  } catch (error) {
    await rm(aside, { force: true });
    throw error;
  }
}

/** Takes a status away before its run goes on, durably: a run that was at work must not be found as put aside. */
export async function removeStatus(path: string): Promise<void> {
  try {
    await unlink(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
    throw error;
  }
  const folder = await open(dirname(path), constants.O_RDONLY);
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

/** Reads a status, or undefined where there is none that can be read: then the journal is asked. */
export async function readStatus(path: string): Promise<RunStatus | undefined> {
  try {
    const value = parseJson(await readFile(path)) as unknown as RunStatus;
    return typeof value === 'object' && typeof value.run === 'string' && Array.isArray(value.waiting)
      ? value
      : undefined;
  } catch (error) {
    if (RuntimeError.is(error) || (error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}
