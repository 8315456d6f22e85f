/**
 * The names of keys in a Redis server, and what is read from it: untrusted, since others may write there.
 *
 * Spec: `runtime/spec/machines.md#keys`.
 *
 * @module
 */

import type { Hex } from '../../attest/core/bytes.ts';
import { RuntimeError } from '../../attest/core/error.ts';
import { type Json, parseJson } from '../../attest/encoding/canonical-json.ts';
import { type Approval, parseApproval } from '../../attest/trace/approval.ts';
import * as shape from '../../attest/trace/shape.ts';
import type { RunStatus } from '../run-status.ts';
import type { RunWord } from './ports.ts';

/** Keys of one set of runs. All have one hash tag, so that one script may use them together. */
export type RedisKeys = {
  readonly prefix: string;
  readonly status: string;
  readonly live: string;
  readonly events: string;
  readonly number: string;
  /** Channel on which the growth of journals is told. */
  readonly grown: string;
  /** Keys that every script is given, in its order. */
  ofRun(run: Hex): readonly string[];
  reply(run: Hex, id: string): string;
};

/** Names the keys below a prefix. */
export function redisKeys(prefix: string): RedisKeys {
  const below = (name: string) => `{${prefix}}:${name}`;
  const common = { status: below('status'), live: below('live'), events: below('events'), number: below('number') };
  return {
    prefix: `{${prefix}}`,
    ...common,
    grown: below('grown'),
    ofRun: (run) => [
      ...['run', 'journal', 'signed', 'words'].map((name) => below(`${name}:${run.slice(2)}`)),
      common.status,
      common.live,
      common.events,
      common.number,
    ],
    reply: (run, id) => `${below(`words:${run.slice(2)}`)}:reply:${id}`,
  };
}

/** The id of a run as it stands in keys; undefined for anything else. */
export function readRunId(text: string): Hex | undefined {
  return /^[0-9a-f]{64}$/.test(text) ? `0x${text}` : undefined;
}

const MAX_STATUS_BYTES = 16 * 1024 * 1024;
const MAX_WORD_BYTES = 256 * 1024;
const MOMENT = shape.integer(0, Number.MAX_SAFE_INTEGER);

const anything: shape.Shape<Json> = (value) => value;
const approvalShape: shape.Shape<Approval> = (value, path) => parseApproval(value, path);

const waitingShape = shape.object({
  index: shape.decimal64,
  at: MOMENT,
  for: shape.oneOf('approval', 'reconciliation', 'child'),
  capability: shape.text(128),
  target: shape.text(65_536),
  request: anything,
});

const STATUS_FIELDS = {
  run: shape.hex32,
  agent: shape.text(4_096),
  status: shape.oneOf('running', 'suspended', 'broken', 'done', 'failed', 'out-of-budget', 'cancelled', 'abandoned'),
  reason: shape.nullable(shape.oneOf('approval', 'reconciliation', 'child', 'paused')),
  waiting: shape.array(waitingShape, 100_000),
  createdAt: MOMENT,
  updatedAt: MOMENT,
  wakeAt: shape.nullable(MOMENT),
  parent: shape.nullable(shape.object({ run: shape.hex32, index: shape.decimal64 })),
  records: MOMENT,
  output: anything,
  error: shape.nullable(shape.object({ code: shape.text(256), message: shape.text(1_048_576) })),
  seedFrom: shape.oneOf('caller', 'operator'),
};

const statusShape = shape.object(STATUS_FIELDS);
const withheldShape = shape.object({ ...STATUS_FIELDS, withheldAt: MOMENT });

/** Writes a status. */
export function encodeStatus(status: RunStatus): string {
  return JSON.stringify(status);
}

/**
 * Reads a status.
 *
 * @param bytes - untrusted
 * @returns undefined for what is no status of this run
 */
export function readStatusOf(run: Hex, bytes: Uint8Array | null): RunStatus | undefined {
  if (bytes === null) return undefined;
  const value = readJson(bytes, MAX_STATUS_BYTES);
  if (value === undefined) return undefined;
  try {
    const isWithheld = typeof value === 'object' && value !== null && Object.hasOwn(value, 'withheldAt');
    const status: RunStatus = (isWithheld ? withheldShape : statusShape)(value, 'status');
    return status.run === run ? status : undefined;
  } catch (error) {
    if (RuntimeError.is(error)) return undefined;
    throw error;
  }
}

const wordShape = shape.tagged('type', {
  approval: shape.object({ type: shape.oneOf('approval'), index: shape.decimal64, approval: approvalShape }),
  reconcile: shape.object({
    type: shape.oneOf('reconcile'),
    index: shape.decimal64,
    how: shape.oneOf('send', 'lost'),
  }),
  child: shape.object({ type: shape.oneOf('child'), index: shape.decimal64 }),
  cancel: shape.object({ type: shape.oneOf('cancel') }),
  pause: shape.object({ type: shape.oneOf('pause') }),
  resume: shape.object({ type: shape.oneOf('resume') }),
});

/** Writes a word. */
export function encodeWord(word: RunWord): string {
  return JSON.stringify('index' in word ? { ...word, index: word.index.toString() } : word);
}

/** Reads a word; undefined for what is none. @param bytes - untrusted */
export function readWord(bytes: Uint8Array): RunWord | undefined {
  const value = readJson(bytes, MAX_WORD_BYTES);
  if (value === undefined) return undefined;
  try {
    const word = wordShape(value, 'word');
    return 'index' in word ? { ...word, index: BigInt(word.index) } : word;
  } catch (error) {
    if (RuntimeError.is(error)) return undefined;
    throw error;
  }
}

function readJson(bytes: Uint8Array, maxBytes: number): Json | undefined {
  try {
    return parseJson(bytes, { maxBytes });
  } catch (error) {
    if (RuntimeError.is(error)) return undefined;
    throw error;
  }
}
