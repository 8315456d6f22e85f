/**
 * What a cheating operator does after a run: it changes a record and makes everything that follows consistent again:
 * index, prev, states, counts, receipts, tree and signatures. Only the truth of the changed record is gone.
 *
 * Used by the demo and by tests; an honest operator has no use for it.
 *
 * @module
 */

import { type Hex, toHex } from '../../attest/core/bytes.ts';
import type { Json } from '../../attest/encoding/canonical-json.ts';
import { MerkleTree } from '../../attest/merkle/tree.ts';
import { signReceipt } from '../../attest/sign/receipt.ts';
import { type Bodies, type KindBody, parseBody, payloadFields } from '../../attest/trace/bodies.ts';
import { type Deployment, type SignedCheckpoint, signCheckpoint } from '../../attest/trace/checkpoint.ts';
import { TraceError } from '../../attest/trace/errors.ts';
import { type Head, hashHead } from '../../attest/trace/head.ts';
import { argsOfStart, type InferenceArgs, inferenceRequestOf } from '../../attest/trace/inference-call.ts';
import { startKindOf } from '../../attest/trace/kinds.ts';
import { readLines } from '../../attest/trace/line-reader.ts';
import { type BundleLine, encodeLine, parseLine } from '../../attest/trace/lines.ts';
import { type Payload, readIdsPayload, readTextPayload } from '../../attest/trace/payload.ts';
import { computeKey } from '../../attest/trace/rules.ts';
import { RunState } from '../../attest/trace/state.ts';
import { PayloadSet } from '../../attest/trace/writer.ts';

/** A record that can be changed, with its payloads by field. */
export type Entry = {
  readonly at: bigint;
  /** Index that the record had in the honest trace. */
  readonly index: bigint;
  readonly of: bigint;
  readonly record: KindBody;
  readonly payloads: ReadonlyMap<string, Payload>;
  /** Whether a checkpoint stood right after it. */
  readonly checkpoint: boolean;
};

/** Keys that the cheating operator holds, 32 bytes each. */
export type ForgeKeys = { readonly operator: Uint8Array; readonly receipts: Uint8Array };

/** A rebuilt trace. */
export type Forgery = {
  readonly bytes: Uint8Array;
  readonly heads: readonly Head[];
  readonly records: readonly KindBody[];
  readonly tree: MerkleTree;
  readonly checkpoint: SignedCheckpoint;
};

/** Reads a whole, honest bundle into entries. */
export async function readEntries(bytes: Uint8Array): Promise<readonly Entry[]> {
  const entries: Entry[] = [];
  let fields: readonly { readonly field: string }[] = [];
  for await (const raw of readLines([bytes])) {
    const line = parseLine(raw.bytes);
    const last = entries.at(-1);
    if (line.type === 'record') {
      const { head, record } = line;
      fields = payloadFields(record);
      entries.push({ at: head.at, index: head.index, of: head.of, record, payloads: new Map(), checkpoint: false });
    } else if (line.type === 'payload' && last !== undefined) {
      const field = fields[last.payloads.size]?.field ?? '';
      (last.payloads as Map<string, Payload>).set(field, line.payload);
    } else if (line.type === 'checkpoint' && last !== undefined) {
      entries[entries.length - 1] = { ...last, checkpoint: true };
    }
  }
  return entries;
}

/**
 * Replaces one payload of an entry, commitment and length included. Token ids take an array of numbers, texts a string,
 * everything else a JSON value.
 */
export function replacePayload(entry: Entry, field: string, value: Json): Entry {
  const old = entry.payloads.get(field);
  if (old === undefined) throw new TypeError(`the record has no payload ${field}`);
  const set = new PayloadSet(() => old.salt);
  const path = field.replace(/^body\./, '').split('.');
  const body = structuredClone(entry.record.body) as { [key: string]: Json };
  const parent = path.slice(0, -1).reduce<Record<string, Json>>((node, key) => node[key] as Record<string, Json>, body);
  const last = path.at(-1) as string;
  if (last === 'ids') Object.assign(parent, set.ids(value as readonly number[]));
  else if (old.media.startsWith('text/')) parent[last] = set.text(value as string);
  else parent[last] = set.json(value);
  const payload = [...set.byCommitment.values()][0] as Payload;
  const payloads = new Map(entry.payloads).set(field, payload);
  body['bytes'] = [...payloads.values()].reduce((sum, part) => sum + part.data.length, 0).toString();
  return { ...entry, record: parseBody(entry.record.kind, body), payloads };
}

/** Builds and signs a trace from entries, whatever they say. */
export function rebuildTrace(
  entries: readonly Entry[],
  run: Uint8Array,
  deployment: Deployment,
  keys: ForgeKeys,
): Forgery {
  const state = new RunState(run);
  const tree = new MerkleTree();
  const lines: BundleLine[] = [{ type: 'header' }];
  const moved = new Map<bigint, bigint>();
  const requests = new Map<bigint, InferenceArgs>();
  const heads: Head[] = [];
  const records: KindBody[] = [];
  const coverage = { attested: 0, opaque: 0, recomputable: 0 };
  let checkpoints = 0;
  let checkpoint: SignedCheckpoint | undefined;
  for (const entry of entries) {
    const index = state.size;
    moved.set(entry.index, index);
    const start = moved.get(entry.of) ?? index;
    const counts = { checkpoints, coverage, records: Number(index) + 1 };
    const record = adjust(entry, index, moved, state, counts, (body) => {
      const opened = state.openStarts.get(start);
      const open = state.runOpen;
      const args = requests.get(start);
      if (opened?.kind !== 'inference.start' || open === undefined || args === undefined) return body;
      const facts = readable(() => ({
        ...deployment,
        run,
        index: start,
        runSeed: state.runSeed,
        request: inferenceRequestOf(args, open),
        completion: {
          promptIds: readIdsPayload(entry.payloads.get('body.prompt.ids') as Payload, 'prompt'),
          outputIds: readIdsPayload(entry.payloads.get('body.output.ids') as Payload, 'output'),
          text: readTextPayload(entry.payloads.get('body.text') as Payload, 'text'),
          finishReason: body.finish,
          masks: body.masks,
        },
      }));
      if (facts === undefined) return body;
      return { ...body, receipt: signReceipt(facts, keys.receipts).signature };
    });
    if (record.kind === 'inference.start') {
      const { body } = record;
      const args = readable(() => argsOfStart(body, entry.payloads));
      if (args !== undefined) requests.set(index, args);
    }
    const completes = startKindOf(record.kind) !== undefined;
    const head = state.apply(completes ? { record, at: entry.at, of: start } : { record, at: entry.at });
    coverage[head.class] += 1;
    heads.push(head);
    records.push(record);
    tree.append(hashHead(head));
    lines.push({ type: 'record', head, record });
    for (const { field, commitment } of payloadFields(record)) {
      const payload = entry.payloads.get(field);
      lines.push(payload === undefined ? { type: 'withheld', commitment } : { type: 'payload', commitment, payload });
    }
    if (!entry.checkpoint) continue;
    checkpoint = signCheckpoint(
      { run, size: state.size, root: tree.root(), state: state.digest, closed: record.kind === 'run.close' },
      deployment,
      keys.operator,
    );
    checkpoints += 1;
    lines.push({ type: 'checkpoint', checkpoint });
  }
  if (checkpoint === undefined) throw new TypeError('a trace without a checkpoint');
  return { bytes: Buffer.concat(lines.map((line) => encodeLine(line))), heads, records, tree, checkpoint };
}

/** What is read, or undefined where a payload is not what its place takes: such a lie needs no receipt to be one. */
function readable<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    if (error instanceof TraceError) return undefined;
    throw error;
  }
}

/** Makes the fields of a record that depend on its place fit again. */
function adjust(
  entry: Entry,
  index: bigint,
  moved: ReadonlyMap<bigint, bigint>,
  state: RunState,
  counts: {
    checkpoints: number;
    coverage: { attested: number; opaque: number; recomputable: number };
    records: number;
  },
  resign: (body: Bodies['inference.end']) => Bodies['inference.end'],
): KindBody {
  const body: { [key: string]: unknown } = { ...entry.record.body };
  if (typeof body['key'] === 'string') body['key'] = toHex(computeKey(state.run, index)) satisfies Hex;
  if (typeof body['by'] === 'string') body['by'] = (moved.get(BigInt(body['by'])) ?? BigInt(body['by'])).toString();
  if (entry.record.kind === 'inference.end') Object.assign(body, resign(entry.record.body));
  if (entry.record.kind === 'run.close') {
    body['checkpoints'] = counts.checkpoints.toString();
    body['records'] = counts.records.toString();
    body['coverage'] = {
      attested: counts.coverage.attested.toString(),
      opaque: counts.coverage.opaque.toString(),
      recomputable: (counts.coverage.recomputable + 1).toString(),
    };
  }
  return parseBody(entry.record.kind, body as Json);
}
