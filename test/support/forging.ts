/** Editing of bundles for tests of the verifier: lines, fields of bodies, records that never were, payloads left out. */

import type { Entry } from '../../agents/demo/forge.ts';
import { utf8 } from '../../attest/core/bytes.ts';
import type { Json } from '../../attest/encoding/canonical-json.ts';
import { parseBody } from '../../attest/trace/bodies.ts';
import type { Kind } from '../../attest/trace/kinds.ts';
import type { Payload } from '../../attest/trace/payload.ts';
import { PayloadSet } from '../../attest/trace/writer.ts';

/** Lines of a bundle without their LF. */
export function linesOf(bytes: Uint8Array): string[] {
  return Buffer.from(bytes).toString().split('\n').slice(0, -1);
}

/** Lines to bytes, an LF after each. */
export function joinLines(lines: readonly string[]): Uint8Array {
  return utf8(lines.map((line) => `${line}\n`).join(''));
}

/** An entry with one field of its body replaced; `path` is dotted, without `body.`. */
export function patchEntry(entry: Entry, path: string, value: Json): Entry {
  const body = structuredClone(entry.record.body) as unknown as { [key: string]: Json };
  const steps = path.split('.');
  const parent = steps
    .slice(0, -1)
    .reduce<Record<string, Json>>((node, key) => node[key] as Record<string, Json>, body);
  parent[steps.at(-1) as string] = value;
  return { ...entry, record: parseBody(entry.record.kind, body) };
}

/** An entry with one payload replaced by any payload at all, whatever its media type, commitment and length kept right. */
export function swapPayload(entry: Entry, field: string, payload: Payload): Entry {
  const commitment = new PayloadSet(() => payload.salt).add(payload);
  const payloads = new Map(entry.payloads).set(field, payload);
  const bytes = [...payloads.values()].reduce((sum, part) => sum + part.data.length, 0).toString();
  return { ...patchEntry(patchEntry(entry, field.replace('body.', ''), commitment), 'bytes', bytes), payloads };
}

/** Entries with entry `index` changed. */
export function editAt(entries: readonly Entry[], index: number, change: (entry: Entry) => Entry): readonly Entry[] {
  return entries.map((entry, i) => (i === index ? change(entry) : entry));
}

/** Entries with others put before entry `index`. */
export function insertAt(entries: readonly Entry[], index: number, ...added: readonly Entry[]): readonly Entry[] {
  return [...entries.slice(0, index), ...added, ...entries.slice(index)];
}

/** Entries whose time never decreases. */
export function steady(entries: readonly Entry[]): readonly Entry[] {
  let at = 0n;
  return entries.map((entry) => {
    if (entry.at > at) at = entry.at;
    return { ...entry, at };
  });
}

let fresh = 1_000_000n;

/** A record that never was, to be inserted: as of `like`'s time, completing `of` if given. */
export function makeEntry(like: Entry, kind: Kind, body: Json, of?: bigint): Entry {
  const index = fresh++;
  return {
    at: like.at,
    index,
    of: of ?? index,
    record: parseBody(kind, body),
    payloads: new Map(),
    checkpoint: false,
  };
}

/** A copy of an entry as a record of its own; `of` is the start that it completes. */
export function copyEntry(entry: Entry, of?: bigint): Entry {
  const index = fresh++;
  return { ...entry, index, of: of ?? (entry.of === entry.index ? index : entry.of) };
}

/** The bundle with payload number `nth` of record `step` left out. */
export function withhold(bytes: Uint8Array, step: number, nth = 0): Uint8Array {
  const lines = linesOf(bytes);
  const starts = lines.flatMap((line, i) => (line.startsWith('{"record"') ? [i] : []));
  const at = (starts[step] as number) + 1 + nth;
  const line = JSON.parse(lines[at] as string) as { payload?: { commitment: string } };
  if (line.payload === undefined) throw new Error(`record ${step} has no payload ${nth}`);
  lines[at] = JSON.stringify({ withheld: line.payload.commitment });
  return joinLines(lines);
}

/** Number of payload lines after record `step`. */
export function payloadCount(bytes: Uint8Array, step: number): number {
  const lines = linesOf(bytes);
  const starts = lines.flatMap((line, i) => (line.startsWith('{"record"') ? [i] : []));
  let count = 0;
  while (lines[(starts[step] as number) + 1 + count]?.startsWith('{"payload"')) count++;
  return count;
}
