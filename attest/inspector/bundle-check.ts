/**
 * Checks a bundle as far as that needs nobody's computer but the reader's: what `tracebond verify --structure` checks, by the same
 * code, with what a page shows of it. Runs in a browser's worker and in Node.
 *
 * Spec: `attest/spec/inspector.md#what-is-checked-in-the-browser`.
 *
 * @module
 */

import { concatBytes, type Hex, toHex } from '../core/bytes.ts';
import { RuntimeError } from '../core/error.ts';
import type { Json } from '../encoding/canonical-json.ts';
import type { RunCloseBody, RunOpenBody } from '../trace/bodies.ts';
import { type Head, hashHead, headToJson } from '../trace/head.ts';
import { readLines } from '../trace/line-reader.ts';
import { ReceiptChecks } from '../verify/receipts.ts';
import { type SoundRecord, StructureReader } from '../verify/structure.ts';
import { faultOf } from '../verify/verdict.ts';
import { type AnswerCheck, EvidenceChecks, type Falsehood } from './evidence.ts';
import { LineMap, MAX_SPANS } from './line-map.ts';
import { fields, type Row, toRow } from './row.ts';
import { Summarizer, type Summary } from './summary.ts';

/** The bytes of a bundle, wherever they lie. */
export type BundleFile = {
  /** All bytes from `from` on, in pieces. */
  stream(from: number): AsyncIterable<Uint8Array>;
  /** Bytes `[from, to)`. */
  range(from: number, to: number): Promise<Uint8Array>;
};

/** A fault of the bundle and the record at which it was found. */
export type CheckFault = {
  readonly step: number;
  readonly code: string;
  readonly message: string;
  readonly field?: string;
};

/** Host calls of one capability, by what stands behind their answers. */
export type CapabilityCount = {
  readonly capability: string;
  readonly recomputable: number;
  readonly attested: number;
  readonly opaque: number;
  /** Of the attested ones, those whose evidence was checked here. */
  readonly evidence: number;
};

/** What was found out about a bundle in this place. Nothing is executed again here. */
export type BundleCheck = {
  /** Why the bundle is no evidence; absent: what was read fits together. */
  readonly fault?: CheckFault;
  /** A record beyond a limit of `run.open`: well formed and false. */
  readonly beyondLimit?: CheckFault;
  /** A record that is well formed and contradicts what it rests on. */
  readonly falsehood?: Falsehood;
  /** Records that fit all before them, in order, from 0. */
  readonly sound: number;
  /** Record lines in the file. */
  readonly records: number;
  readonly bytes: number;
  readonly run: Hex | null;
  /** Body of record 0. */
  readonly open: RunOpenBody | null;
  /** Body of `run.close`. */
  readonly close: RunCloseBody | null;
  /** Checkpoints whose signature recovered, here, to the operator that record 0 names. */
  readonly checkpoints: number;
  /** Records and root under the last of them. */
  readonly size: number;
  readonly root: Hex | null;
  /** Root under each checkpoint that holds, by the number of records under it. */
  readonly roots: ReadonlyMap<number, Hex>;
  readonly closed: boolean;
  readonly truncated: boolean;
  readonly classes: { readonly recomputable: number; readonly attested: number; readonly opaque: number };
  readonly capabilities: readonly CapabilityCount[];
  readonly lost: number;
  readonly withheld: number;
  /** Code and rules of record 0 that are withheld. */
  readonly hiddenParts: number;
  /** Answers of host calls: evidence that was checked, answers that follow from the run, and those that could not be checked. */
  readonly answers: { readonly evidence: number; readonly computed: number; readonly unchecked: number };
  /** Payloads whose commitment was computed here. */
  readonly payloads: number;
  readonly receipts: { readonly checked: number; readonly unchecked: number };
  /** What the agent did, by the records that fit; null where there is none. */
  readonly summary: Summary | null;
  /** Milliseconds that checking took here. */
  readonly elapsedMs: number;
};

/** Digests of one record as computed here, in the order of {@link DIGEST_NAMES}, 32 bytes each. */
export type RecordDigests = Uint8Array;

/** What {@link RecordDigests} holds. */
export const DIGEST_NAMES = ['prev', 'pre', 'post', 'subject', 'body', 'facts', 'leaf'] as const;

/** Rows that are told of together. */
const BATCH = 200;

/** How the label of a policy record begins that allows. */
const ALLOWED = 'allow ';

/** A longer record line after a fault is not read. */
const MAX_LOOSE_BYTES = 1 << 20;

/** Checks one bundle; keeps what {@link readDetail} of `record-detail.ts` needs. */
export class BundleChecker {
  readonly file: BundleFile;
  /** Places of records and checkpoints, after {@link BundleChecker.check} those of the whole file. */
  lines = new LineMap();
  readonly digests: RecordDigests[] = [];
  /** Records that fit all before them. */
  sound = 0;
  readonly #now: () => number;
  readonly #starts = new Map<number, Pick<Row, 'by' | 'label'>>();
  #rows: Row[] = [];
  /** What the policy record before allowed: its start stands right behind it. */
  #allowed: string | undefined;

  /** @param now - milliseconds of a monotonic clock */
  constructor(file: BundleFile, now: () => number) {
    this.file = file;
    this.#now = now;
  }

  /**
   * Reads the bundle once, in order; what follows a fault is listed unchecked.
   *
   * @param onRows - gets all rows, in order, some at a time
   * @throws what `file` throws; a faulty bundle is a result
   */
  async check(onRows: (rows: readonly Row[]) => void): Promise<BundleCheck> {
    const began = this.#now();
    const reader = new StructureReader();
    const receipts = new ReceiptChecks();
    const evidence = new EvidenceChecks();
    const summarizer = new Summarizer();
    const roots = new Map<number, Hex>();
    const count = new Counter();
    let fault: CheckFault | undefined;
    let beyondLimit: CheckFault | undefined;
    let checkpoints = 0;
    let covered = 0n;
    const countCheckpoint = () => {
      const { size, root } = reader.end;
      if (size > covered && root !== undefined) {
        checkpoints += 1;
        if (roots.size < MAX_SPANS) roots.set(Number(size), toHex(root));
      }
      covered = size;
    };
    try {
      for await (const sound of reader.read(this.lines.along(this.file.stream(0)))) {
        countCheckpoint();
        const state = reader.state as NonNullable<typeof reader.state>;
        const answer = evidence.take(sound, state);
        this.#take(sound, reader, answer);
        summarizer.take(sound, state, answer);
        if (this.#rows.length >= BATCH) this.#tell(onRows);
        receipts.take(sound, state);
        count.take(sound, answer);
        try {
          reader.rules.checkLimits(state);
        } catch (error) {
          if (!RuntimeError.is(error)) throw error;
          beyondLimit ??= { step: Number(sound.head.index), ...faultOf(error) };
        }
      }
      if (reader.fault !== undefined) fault = { step: reader.fault.step, ...faultOf(reader.fault.error) };
    } catch (error) {
      if (!RuntimeError.is(error)) throw error;
      fault = { step: Number(error.at['step'] ?? this.digests.length - 1), ...faultOf(error) };
    }
    countCheckpoint();
    // Between two records only one checkpoint is counted: a second one says nothing more.
    const { falsehood } = evidence;
    const sound = fault === undefined ? count.records : Math.min(count.records, fault.step);
    this.sound = sound;
    if (fault !== undefined) await this.#listRest(fault, onRows);
    this.#tell(onRows);
    // What the head of the faulty record should say, where that much could be computed.
    if (reader.computed?.index === BigInt(this.digests.length)) this.#keep(reader.computed);
    const { end } = reader;
    const { coverage } = reader.rules;
    return {
      ...(fault === undefined ? {} : { fault }),
      ...(beyondLimit === undefined ? {} : { beyondLimit }),
      // What a later fault stands in is no evidence at all.
      ...(falsehood === undefined || falsehood.step >= sound ? {} : { falsehood }),
      sound,
      records: this.lines.count,
      bytes: this.lines.position,
      run: reader.state === undefined ? null : toHex(reader.state.run),
      open: count.open,
      close: count.close,
      checkpoints,
      size: Number(end.size),
      root: end.root === undefined ? null : toHex(end.root),
      roots,
      closed: end.closed,
      truncated: end.truncated,
      classes: {
        recomputable: Number(coverage.recomputable),
        attested: Number(coverage.attested),
        opaque: Number(coverage.opaque),
      },
      capabilities: [...count.capabilities.values()],
      lost: count.lost,
      withheld: count.withheld,
      hiddenParts: count.hiddenParts,
      answers: count.answers,
      payloads: count.payloads,
      receipts: count.receipts,
      summary: summarizer.end(sound),
      elapsedMs: Math.round(this.#now() - began),
    };
  }

  #take(sound: SoundRecord, reader: StructureReader, answer: AnswerCheck | undefined): void {
    const index = Number(sound.head.index);
    this.#add(index, headToJson(sound.head), sound.record.body as Json, sound.withheld, answer);
    if (reader.computed !== undefined) this.#keep(reader.computed);
  }

  #keep(computed: Head): void {
    if (this.digests.length >= MAX_SPANS) return;
    const { prev, pre, post, subject, body, facts } = computed;
    this.digests.push(concatBytes(prev, pre, post, subject, body, facts, hashHead(computed)));
  }

  #add(index: number, head: Json, body: Json, withheld: boolean, answer?: AnswerCheck): void {
    if (index >= MAX_SPANS) return;
    const plain = toRow(index, { head, body, withheld }, { starts: this.#starts, allowed: this.#allowed });
    const row = answer === undefined ? plain : { ...plain, answer };
    this.#allowed =
      row.kind === 'policy' && row.label.startsWith(ALLOWED) ? row.label.slice(ALLOWED.length) : undefined;
    if (row.kind.endsWith('.start')) this.#starts.set(index, { by: row.by, label: row.label });
    else this.#starts.delete(row.of);
    this.#rows.push(row);
  }

  #tell(onRows: (rows: readonly Row[]) => void): void {
    const rows = this.#rows;
    this.#rows = [];
    if (rows.length > 0) onRows(rows);
  }

  /** Rows of what stands from the fault on, by shape alone; those of the records before it were told. */
  async #listRest(fault: CheckFault, onRows: (rows: readonly Row[]) => void): Promise<void> {
    const told = this.digests.length;
    const from = this.lines.records[told]?.start ?? (told === 0 ? 0 : (this.lines.records[told - 1]?.end ?? 0));
    // The first reading stopped inside the file: places from here on are found anew.
    const rest = new LineMap(from);
    let index = told;
    try {
      for await (const { bytes, complete } of readLines(rest.along(this.file.stream(from)))) {
        if (!complete || bytes[2] !== 0x72 || bytes.length < 3) continue;
        const { head, body } = looseRecord(bytes);
        this.#add(index, head, body, false);
        if (this.#rows.length >= BATCH) this.#tell(onRows);
        index += 1;
      }
    } catch (error) {
      // A line without end: what lies behind it cannot be told apart.
      if (!RuntimeError.is(error)) throw error;
    }
    const kept = this.lines.records.slice(0, told);
    const checkpoints = this.lines.checkpoints.filter((line) => line.start < from);
    const whole = new LineMap(rest.position);
    // One by one: as arguments of a call they would be too many.
    for (const span of [kept, rest.records].flat()) whole.records.push(span);
    for (const line of checkpoints) whole.checkpoints.push(line);
    for (const line of rest.checkpoints) whole.checkpoints.push({ ...line, after: line.after + told });
    whole.count = told + rest.count;
    this.lines = whole;
    // Not even the line of the faulty record is there: the fault has a place of its own in the list.
    if (fault.step >= whole.count) this.#add(whole.count, { kind: 'unreadable', class: 'unknown' }, null, false);
  }
}

/** Head and body of a record line, whatever they are. */
function looseRecord(bytes: Uint8Array): { readonly head: Json; readonly body: Json } {
  if (bytes.length > MAX_LOOSE_BYTES) return { head: { kind: 'unreadable' }, body: null };
  try {
    const record = fields(fields(JSON.parse(new TextDecoder().decode(bytes)))['record']);
    return { head: record['head'] ?? null, body: record['body'] ?? null };
  } catch (error) {
    if (!(error instanceof SyntaxError) && !(error instanceof RangeError)) throw error;
    return { head: { kind: 'unreadable' }, body: null };
  }
}

/** Counts what the page tells of sound records. */
class Counter {
  records = 0;
  lost = 0;
  withheld = 0;
  payloads = 0;
  receipts = { checked: 0, unchecked: 0 };
  hiddenParts = 0;
  answers = { evidence: 0, computed: 0, unchecked: 0 };
  open: RunOpenBody | null = null;
  close: RunCloseBody | null = null;
  readonly capabilities = new Map<string, CapabilityCount>();
  /** Inferences whose request is not shown whole. */
  readonly #hidden = new Set<bigint>();

  take({ head, record, payloads, withheld, start }: SoundRecord, answer: AnswerCheck | undefined): void {
    const isEvidence = answer === 'approval' || answer === 'transaction';
    if (answer !== undefined) this.answers[isEvidence ? 'evidence' : (answer as 'computed' | 'unchecked')] += 1;
    this.records += 1;
    this.payloads += payloads.size;
    if (withheld) this.withheld += 1;
    if (head.kind.endsWith('.lost')) this.lost += 1;
    if (record.kind === 'run.open') {
      this.open = record.body;
      const parts = [
        'body.agent.code',
        'body.policy.rules',
        ...record.body.tools.map((_, i) => `body.tools.${i}.code`),
      ];
      this.hiddenParts = parts.filter((field) => !payloads.has(field)).length;
    }
    if (record.kind === 'run.close') this.close = record.body;
    if (record.kind === 'inference.start' && withheld) this.#hidden.add(head.index);
    if (record.kind === 'inference.end') {
      const isChecked = !withheld && !this.#hidden.delete(head.of);
      this.receipts = isChecked
        ? { ...this.receipts, checked: this.receipts.checked + 1 }
        : { ...this.receipts, unchecked: this.receipts.unchecked + 1 };
    }
    if (record.kind === 'host.end' && start !== undefined && 'capability' in start.body) {
      const { capability } = start.body;
      const none = { capability, recomputable: 0, attested: 0, opaque: 0, evidence: 0 };
      const before = this.capabilities.get(capability) ?? none;
      const known = before.evidence + (isEvidence ? 1 : 0);
      this.capabilities.set(capability, { ...before, [head.class]: before[head.class] + 1, evidence: known });
    }
  }
}
