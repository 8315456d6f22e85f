/**
 * A journal that a run left behind: what of it is whole, and the run that it is of.
 *
 * J1. What is read is the longest beginning of whole items: a record with all its payloads, or a checkpoint. The rest is what a
 *     crash cut off; it was never durable, so no effect followed from it.
 * J2. Records are held against the run when it is executed again (`past.ts`); here they only have to be well-formed.
 *
 * @module
 */

import { type Hex, toHex } from '../attest/core/bytes.ts';
import { RuntimeError } from '../attest/core/error.ts';
import type { Json } from '../attest/encoding/canonical-json.ts';
import { type InferenceIdentity, type KindBody, payloadFields, type RunOpenBody } from '../attest/trace/bodies.ts';
import { type GuestCode, parseGuestCode } from '../attest/trace/guest.ts';
import type { Head } from '../attest/trace/head.ts';
import { readLines } from '../attest/trace/line-reader.ts';
import { type BundleLine, parseLine } from '../attest/trace/lines.ts';
import { type Payload, readJsonPayload } from '../attest/trace/payload.ts';
import { parsePolicy } from '../attest/trace/policy.ts';
import { type PastItem, PayloadSet } from '../attest/trace/writer.ts';
import type { RunPlan } from './run-types.ts';

export type RecoveryErrorCode =
  /** No whole `run.open`: nothing was begun. */
  | 'JOURNAL_EMPTY'
  /** A line in the middle that this program never wrote. */
  | 'JOURNAL_CORRUPT'
  /** A payload that the run needs to go on was taken out. */
  | 'PAYLOAD_WITHHELD'
  /** The run has another engine, operator or model. */
  | 'OTHER_HOST';

/** A journal from which no run can go on. */
export class RecoveryError extends RuntimeError<RecoveryErrorCode> {
  override readonly name = 'RecoveryError';
}

/** What is whole of a journal. */
export type Journaled = {
  readonly items: readonly PastItem[];
  /** Bytes up to the end of the last whole item; what follows is to be cut off. */
  readonly keepBytes: number;
  readonly run: Uint8Array;
  readonly open: RunOpenBody;
  /** Whether the closed checkpoint stands: there is nothing to go on with. */
  readonly closed: boolean;
};

type Unfinished = {
  readonly head: Head;
  readonly record: KindBody;
  readonly payloads: Map<string, Payload>;
  /** Fields whose payloads are still to come. */
  readonly fields: { readonly field: string; readonly commitment: Hex }[];
};

/**
 * Reads a journal.
 *
 * @throws {@link RecoveryError} `JOURNAL_EMPTY`, `JOURNAL_CORRUPT` with the line, `PAYLOAD_WITHHELD`
 */
export async function readJournal(source: AsyncIterable<Uint8Array> | Iterable<Uint8Array>): Promise<Journaled> {
  const items: PastItem[] = [];
  let unfinished: Unfinished | undefined;
  let offset = 0;
  let keepBytes = 0;
  let number = 0;
  for await (const { bytes, complete } of readLines(source)) {
    if (!complete) break;
    offset += bytes.length + 1;
    number += 1;
    unfinished = takeLine(parse(bytes, number), unfinished, items, number);
    if (unfinished === undefined) keepBytes = offset;
  }
  const [first] = items;
  if (first?.type !== 'record' || first.record.kind !== 'run.open') {
    throw new RecoveryError('JOURNAL_EMPTY', 'the journal holds no whole run.open');
  }
  const last = items.at(-1);
  const closed = last?.type === 'checkpoint' && last.checkpoint.closed;
  return { items, keepBytes, run: first.head.run, open: first.record.body, closed };
}

function parse(bytes: Uint8Array, line: number): BundleLine {
  try {
    return parseLine(bytes);
  } catch (cause) {
    if (!RuntimeError.is(cause)) throw cause;
    throw new RecoveryError('JOURNAL_CORRUPT', `line ${line}: ${cause.message}`, { at: { line }, cause });
  }
}

function takeLine(
  line: BundleLine,
  unfinished: Unfinished | undefined,
  items: PastItem[],
  number: number,
): Unfinished | undefined {
  const corrupt = (why: string) =>
    new RecoveryError('JOURNAL_CORRUPT', `line ${number}: ${why}`, { at: { line: number } });
  if (line.type === 'header' || number === 1) {
    if (line.type !== 'header' || number !== 1) throw corrupt('the header stands first, and nowhere else');
    return undefined;
  }
  if (line.type === 'withheld') {
    throw new RecoveryError('PAYLOAD_WITHHELD', `line ${number}: a payload was taken out`, { at: { line: number } });
  }
  if (unfinished !== undefined) {
    const [next, ...rest] = unfinished.fields;
    if (line.type !== 'payload' || line.commitment !== next?.commitment) throw corrupt(`expected ${next?.field}`);
    unfinished.payloads.set(next.field, line.payload);
    return finish({ ...unfinished, fields: rest }, items);
  }
  if (line.type === 'payload') throw corrupt('a payload of no record');
  if (line.type === 'checkpoint') {
    items.push(line);
    return undefined;
  }
  const { head, record } = line;
  return finish({ head, record, payloads: new Map(), fields: [...payloadFields(record)] }, items);
}

function finish(item: Unfinished, items: PastItem[]): Unfinished | undefined {
  if (item.fields.length > 0) return item;
  items.push({ type: 'record', head: item.head, record: item.record, payloads: item.payloads });
  return undefined;
}

/**
 * Checks that a run goes on where it gives the same again, where its checkpoints can be signed, and where what it asks is answered by
 * the model that its record 0 names.
 *
 * @throws {@link RecoveryError} `OTHER_HOST` naming what differs
 */
export function requireSameHost(
  open: RunOpenBody,
  host: { readonly engine: Hex; readonly operator: Hex; readonly identity: InferenceIdentity },
): void {
  const same = (field: string, found: string, here: string) => {
    if (found === here) return;
    throw new RecoveryError('OTHER_HOST', `the run has the ${field} ${found}, here is ${here}`, { at: { field } });
  };
  same('engine', open.engine, host.engine);
  same('operator', open.operator, host.operator);
  for (const part of Object.keys(host.identity) as (keyof InferenceIdentity)[]) {
    same(`inference.${part}`, open.inference[part], host.identity[part]);
  }
}

/**
 * The plan of a run, from the first record of its journal.
 *
 * @throws {@link RecoveryError} `JOURNAL_EMPTY`
 * @throws {@link TraceError} `MALFORMED_PAYLOAD`, `MALFORMED_BODY`
 */
export function planOf({ items, run }: Pick<Journaled, 'items' | 'run'>): RunPlan {
  const [first] = items;
  if (first?.type !== 'record' || first.record.kind !== 'run.open') {
    throw new RecoveryError('JOURNAL_EMPTY', `the journal of ${toHex(run)} does not begin with run.open`);
  }
  const { record, payloads } = first;
  const json = (field: string): Json => readJsonPayload(payloads.get(field) as Payload, field);
  const openPayloads = new PayloadSet(() => {
    throw new TypeError('the payloads of run.open have their salts');
  });
  for (const payload of payloads.values()) openPayloads.add(payload);
  const tools = new Map<string, GuestCode>();
  for (const [i, { name }] of record.body.tools.entries()) {
    const field = `body.tools.${i}.code`;
    tools.set(name, parseGuestCode(json(field), field));
  }
  return {
    openBody: record.body,
    openPayloads,
    agent: parseGuestCode(json('body.agent.code'), 'body.agent.code'),
    tools,
    policy: parsePolicy(json('body.policy.rules')),
    input: json('body.input'),
  };
}
