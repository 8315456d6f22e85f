/**
 * One record in full: its fields, its payloads, and every hash as stored and as computed here. Reads the lines again, loosely, so that a
 * faulty record can be looked at too.
 *
 * @module
 */

import { type Hex, toHex } from '../core/bytes.ts';
import { RuntimeError } from '../core/error.ts';
import type { Digest } from '../core/hash.ts';
import { fromBase64 } from '../encoding/base64.ts';
import type { Json } from '../encoding/canonical-json.ts';
import { MerkleAccumulator } from '../merkle/tree.ts';
import { recoverAddress } from '../sign/secp256k1.ts';
import { parseBody, payloadFields } from '../trace/bodies.ts';
import { type Deployment, hashCheckpoint, parseCheckpoint } from '../trace/checkpoint.ts';
import { type Head, hashHead, parseHead } from '../trace/head.ts';
import { commitPayload, MEDIA, type Payload, parsePayload, readIdsPayload, readJsonPayload } from '../trace/payload.ts';
import { hashBody } from '../trace/state.ts';
import { type BundleChecker, DIGEST_NAMES } from './bundle-check.ts';
import { fields } from './row.ts';

/** A hash as the file says it and as it comes out here; null where one of the two is not there. */
export type HashView = {
  readonly name: string;
  readonly stored: string | null;
  readonly computed: string | null;
  /** Undefined where there is nothing to compare. */
  readonly same?: boolean;
};

/** A payload for people. */
export type PayloadView = {
  /** Field of the body that commits to it. */
  readonly field: string;
  readonly state: 'shown' | 'withheld' | 'missing';
  readonly media?: string;
  readonly bytes?: number;
  readonly form?: 'text' | 'json' | 'ids' | 'bytes';
  readonly text?: string;
  /** Whether `text` is only the beginning. */
  readonly isCut?: boolean;
  readonly commitment: HashView;
};

/** A checkpoint after the record, checked here. */
export type CheckpointView = {
  readonly closed: boolean;
  readonly size: string;
  readonly signer: HashView;
  readonly root: HashView;
  readonly state: HashView;
};

/** A record in full. Texts are untrusted. */
export type RecordDetail = {
  readonly index: number;
  /** Fields of the head that are no hashes. */
  readonly head: readonly (readonly [name: string, value: string])[];
  /** The body, indented; undefined where the line is no JSON. */
  readonly body?: string;
  readonly hashes: readonly HashView[];
  readonly payloads: readonly PayloadView[];
  readonly checkpoints: readonly CheckpointView[];
  /** What is wrong with this view itself: the file changed, the line cannot be read. */
  readonly remarks: readonly string[];
};

const MAX_TEXT = 128 * 1024;

/** Most fields of a head, and most payloads of a record that is none, that are shown. */
const MAX_SHOWN = 64;

/** Most characters of one field of a head. */
const MAX_FIELD = 4096;

/** Most bytes of one record that are read again. */
const MAX_DETAIL_BYTES = 96 * 1024 * 1024;

/** A line of a record or payload as JSON, whatever it is. */
type Line = { readonly bytes: Uint8Array; readonly value: { readonly [name: string]: Json } };

/**
 * Reads a record again.
 *
 * @param checker - after its check
 * @param place - where signatures are valid, and the operator that record 0 names
 */
export async function readDetail(
  checker: BundleChecker,
  index: number,
  place: { readonly deployment: Deployment; readonly operator: string } | undefined,
): Promise<RecordDetail> {
  const span = checker.lines.records[index];
  const empty = { index, head: [], hashes: [], payloads: [], checkpoints: [] };
  if (span === undefined) return { ...empty, remarks: ['There is no whole record line at this place of the file.'] };
  if (span.end - span.start > MAX_DETAIL_BYTES) return { ...empty, remarks: ['This record is too large to be shown.'] };
  const [first, ...rest] = splitLines(await checker.file.range(span.start, span.end));
  const record = fields(first?.value['record']);
  const head = loosely(() => parseHead(record['head'] ?? null));
  const next = checker.lines.records[index + 1];
  const nextHead = next === undefined ? undefined : await readHead(checker, next);
  const remarks: string[] = [];
  const leaf = head === undefined ? undefined : toHex(hashHead(head));
  const checked = digestOf(checker, index, 'leaf');
  if (index < checker.sound && leaf !== checked) {
    remarks.push('The file has changed since it was checked: open the page again.');
  }
  if (first === undefined || record['head'] === undefined) remarks.push('The line of this record is no JSON object.');
  return {
    index,
    head: Object.entries(fields(record['head']))
      .filter(([, value]) => !isDigest(value))
      .slice(0, MAX_SHOWN)
      .map(([name, value]) => [name.slice(0, MAX_FIELD), written(value).slice(0, MAX_FIELD)] as const),
    ...(record['body'] === undefined ? {} : { body: written(record['body'], 2).slice(0, MAX_TEXT) }),
    hashes: hashesOf(checker, index, record, { leaf, next: nextHead }),
    payloads: payloadsOf(head, record['body'] ?? null, rest),
    checkpoints: place === undefined ? [] : await checkpointsAfter(checker, index, head, place),
    remarks,
  };
}

function hashesOf(
  checker: BundleChecker,
  index: number,
  record: { readonly [name: string]: Json },
  { leaf, next }: { readonly leaf: Hex | undefined; readonly next: Head | undefined },
): readonly HashView[] {
  const stored = fields(record['head']);
  const body = record['body'];
  const views = DIGEST_NAMES.filter((name) => name !== 'leaf').map((name) => {
    let computed: string | undefined = digestOf(checker, index, name);
    if (name === 'prev') computed ??= index === 0 ? undefined : digestOf(checker, index - 1, 'leaf');
    if (name === 'body' && body !== undefined) computed = loosely(() => toHex(hashBody(body as unknown as HashedBody)));
    return compare(`head.${name}`, stored[name], computed);
  });
  return [
    compare('record hash (stored in the next record)', next === undefined ? undefined : toHex(next.prev), leaf),
    ...views,
  ];
}

type HashedBody = Parameters<typeof hashBody>[0];

function payloadsOf(head: Head | undefined, body: Json, lines: readonly Line[]): readonly PayloadView[] {
  const record = head === undefined ? undefined : loosely(() => parseBody(head.kind, body));
  const wanted =
    record === undefined
      ? lines.slice(0, MAX_SHOWN).map((_, i) => ({ field: `payload ${i}`, commitment: undefined }))
      : payloadFields(record);
  return wanted.map(({ field, commitment }, i): PayloadView => {
    const value = lines[i]?.value;
    if (value === undefined) return { field, state: 'missing', commitment: compare(field, commitment, undefined) };
    if (value['withheld'] !== undefined) {
      return { field, state: 'withheld', commitment: compare(field, commitment, undefined) };
    }
    const line = fields(value['payload']);
    const payload = loosely(() => loosePayload(line));
    const computed = payload === undefined ? undefined : loosely(() => toHex(commitPayload(payload)));
    const view = {
      field,
      state: 'shown',
      commitment: compare(field, commitment ?? line['commitment'], computed),
    } as const;
    if (payload === undefined) return view;
    return { ...view, media: payload.media, bytes: payload.data.length, ...show(payload, field) };
  });
}

/** A payload line without the check of its commitment. */
function loosePayload(line: { readonly [name: string]: Json }): Payload {
  const chunks = Array.isArray(line['chunks']) ? line['chunks'] : [];
  const parts = chunks.map((chunk) => fromBase64(String(chunk)));
  const data = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    data.set(part, at);
    at += part.length;
  }
  const sound = loosely(() => parsePayload(line as Json));
  if (sound !== undefined) return sound.payload;
  const salt = Uint8Array.from(String(line['salt']).slice(2).match(/../g) ?? [], (digits) =>
    Number.parseInt(digits, 16),
  );
  return { mode: 'public', media: String(line['media']), data, salt };
}

function show(payload: Payload, field: string): Pick<PayloadView, 'form' | 'text' | 'isCut'> {
  const [form, text] = asText(payload, field);
  return text.length > MAX_TEXT ? { form, text: text.slice(0, MAX_TEXT), isCut: true } : { form, text };
}

function asText(payload: Payload, field: string): readonly ['text' | 'json' | 'ids' | 'bytes', string] {
  if (payload.media === MEDIA.ids) {
    const ids = loosely(() => readIdsPayload(payload, field));
    if (ids !== undefined) return ['ids', ids.join(' ')];
  }
  if (payload.media === MEDIA.json) {
    const value = loosely(() => ({ json: readJsonPayload(payload, field) }));
    if (value !== undefined) return ['json', written(value.json, 2)];
  }
  try {
    return ['text', new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(payload.data)];
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    return ['bytes', toHex(payload.data.subarray(0, MAX_TEXT / 2))];
  }
}

async function checkpointsAfter(
  checker: BundleChecker,
  index: number,
  head: Head | undefined,
  { deployment, operator }: { readonly deployment: Deployment; readonly operator: string },
): Promise<readonly CheckpointView[]> {
  const found = checker.lines.checkpoints.filter((line) => line.after === index + 1);
  const root = rootAfter(checker, index);
  const views: CheckpointView[] = [];
  for (const { start, end } of found.slice(0, 8)) {
    const [line] = splitLines(await checker.file.range(start, end));
    const stored = fields(line?.value['checkpoint']);
    const checkpoint = loosely(() => parseCheckpoint(stored as Json));
    const signer =
      checkpoint && loosely(() => recoverAddress(hashCheckpoint(checkpoint, deployment), checkpoint.signature));
    const computedRoot = root === undefined ? undefined : toHex(root);
    views.push({
      closed: stored['closed'] === true,
      size: String(stored['size']),
      signer: compare('key that signed, and the operator of record 0', operator, signer),
      root: compare('tree root', stored['root'], computedRoot),
      state: compare('state', stored['state'], head === undefined ? undefined : toHex(head.post)),
    });
  }
  return views;
}

/** Root over the records up to `index`, from the hashes computed here. */
function rootAfter(checker: BundleChecker, index: number): Digest | undefined {
  if (checker.digests.length <= index) return undefined;
  const tree = new MerkleAccumulator();
  for (const digests of checker.digests.slice(0, index + 1)) tree.append(digests.subarray(6 * 32, 7 * 32));
  return tree.root();
}

async function readHead(checker: BundleChecker, span: { readonly start: number; readonly end: number }) {
  const [line] = splitLines(await checker.file.range(span.start, Math.min(span.end, span.start + (1 << 20))));
  return loosely(() => parseHead(fields(line?.value['record'])['head'] ?? null));
}

function digestOf(checker: BundleChecker, index: number, name: (typeof DIGEST_NAMES)[number]): Hex | undefined {
  const digests = checker.digests[index];
  const at = DIGEST_NAMES.indexOf(name);
  return digests === undefined ? undefined : toHex(digests.subarray(at * 32, at * 32 + 32));
}

function compare(name: string, stored: Json | undefined, computed: string | undefined): HashView {
  const text = stored === undefined ? null : written(stored);
  const view = { name, stored: text === null ? null : text.slice(0, 256), computed: computed ?? null };
  return text === null || computed === undefined ? view : { ...view, same: text === computed };
}

/** A value as text; one that nests too deep to be written says so. */
function written(value: Json, indent?: number): string {
  if (typeof value === 'string' && indent === undefined) return value;
  return loosely(() => JSON.stringify(value, null, indent)) ?? '… nests too deep to be shown';
}

function isDigest(value: unknown): boolean {
  return typeof value === 'string' && /^0x[0-9a-f]{64}$/.test(value);
}

/** The lines of some bytes as JSON; a line that is none has no fields. */
function splitLines(bytes: Uint8Array): readonly Line[] {
  const lines: Line[] = [];
  for (let from = 0; from < bytes.length; ) {
    const end = bytes.indexOf(0x0a, from);
    const part = bytes.subarray(from, end < 0 ? bytes.length : end);
    lines.push({ bytes: part, value: loosely(() => fields(JSON.parse(new TextDecoder().decode(part)))) ?? {} });
    from = end < 0 ? bytes.length : end + 1;
  }
  return lines;
}

/** What `read` gives, or undefined where the bundle is not what it should be: the fault itself was found by the check. */
function loosely<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    if (RuntimeError.is(error) || error instanceof SyntaxError || error instanceof RangeError) return undefined;
    throw error;
  }
}
