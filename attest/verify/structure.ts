/**
 * Structure of a bundle: encoding, order, hashes, tree, states, signatures, receipts. Streams: one record with its
 * payloads is held at a time.
 *
 * @module
 */

import { equalBytes, fromHex, type Hex, toHex } from '../core/bytes.ts';
import { RuntimeError } from '../core/error.ts';
import type { Digest } from '../core/hash.ts';
import { MerkleAccumulator } from '../merkle/tree.ts';
import { type KindBody, payloadFields } from '../trace/bodies.ts';
import { type SignedCheckpoint, verifyCheckpoint } from '../trace/checkpoint.ts';
import { fieldError } from '../trace/errors.ts';
import { HEAD_FIELDS, type Head, hashHead, headFieldText } from '../trace/head.ts';
import { isCutOff, type RawLine, readLines } from '../trace/line-reader.ts';
import { type BundleLine, parseLine } from '../trace/lines.ts';
import { computeIdsRoot, type Payload, readIdsPayload } from '../trace/payload.ts';
import { checkRecordBytes, OrderRules } from '../trace/rules.ts';
import { type OpenStart, RunState } from '../trace/state.ts';
import { deploymentOf, verifyIdentity } from './identity.ts';

/** A record that fits everything before it, with the payloads that the bundle shows. */
export type SoundRecord = {
  readonly head: Head;
  readonly record: KindBody;
  /** By field (`body.input`); a withheld payload is missing. */
  readonly payloads: ReadonlyMap<string, Payload>;
  /** Whether a payload of the record was left out. */
  readonly withheld: boolean;
  /** The start that this record completes. */
  readonly start: OpenStart | undefined;
};

/** A fault with the record at which it was found. */
export type StructureFault = { readonly step: number; readonly error: RuntimeError };

/** How a bundle ended. */
export type StructureEnd = {
  readonly truncated: boolean;
  readonly closed: boolean;
  /** Records and root under the last checkpoint that holds. */
  readonly size: bigint;
  readonly root: Digest | undefined;
};

/** Reads a bundle once, in order. */
export class StructureReader {
  readonly rules = new OrderRules();
  /** State after the last record; undefined before the first. */
  state: RunState | undefined;
  /** Why reading stopped, if the bundle is invalid. */
  fault: StructureFault | undefined;
  /** Head of the last record as computed from all before it; the stored one differs only where that is the fault. */
  computed: Head | undefined;
  #end: StructureEnd = { truncated: false, closed: false, size: 0n, root: undefined };
  readonly #tree = new MerkleAccumulator();

  /** How the bundle ended, once {@link StructureReader.read} is through. */
  get end(): StructureEnd {
    return this.#end;
  }

  /**
   * Records in order, each checked against all before it. Ends at the first fault, which {@link StructureReader.fault}
   * then holds. The caller may use {@link StructureReader.state} between two records: it is that after the last one.
   */
  async *read(source: AsyncIterable<Uint8Array> | Iterable<Uint8Array>): AsyncGenerator<SoundRecord> {
    try {
      yield* this.#read(readLines(source));
    } catch (error) {
      if (!RuntimeError.is(error)) throw error;
      this.fault = { step: this.#stepOf(error), error };
    }
  }

  #stepOf(error: RuntimeError): number {
    const { step } = error.at;
    if (typeof step === 'number') return step;
    const taken = Number(this.state?.size ?? 0n);
    const field = typeof error.at['field'] === 'string' ? error.at['field'] : '';
    return field.startsWith('checkpoint') ? Math.max(0, taken - 1) : taken;
  }

  async *#read(lines: AsyncGenerator<RawLine>): AsyncGenerator<SoundRecord> {
    try {
      yield* this.#records(lines);
    } finally {
      // Lets go of the source, a file for example, when reading stops before its end.
      await lines.return(undefined);
    }
  }

  async *#records(lines: AsyncGenerator<RawLine>): AsyncGenerator<SoundRecord> {
    let next = await nextLine(lines);
    if (next === undefined) throw fieldError('MISSING_LINE', 'header', 'the file is empty');
    if (next === 'cut') return this.#cut();
    if (next.type !== 'header') throw fieldError('MALFORMED_HEADER', 'header', 'the first line is not the header');
    for (;;) {
      next = await nextLine(lines);
      if (next === undefined) return;
      if (this.#end.closed) throw fieldError('UNEXPECTED_LINE', 'line', 'a line after the closed checkpoint');
      if (next === 'cut') return this.#cut();
      if (next.type === 'checkpoint') {
        this.#takeCheckpoint(next.checkpoint);
      } else if (next.type === 'record') {
        if (this.rules.closed) throw fieldError('MISSING_LINE', 'checkpoint', 'run.close without its checkpoint');
        const collected = await this.#collect(next, lines);
        if (collected === 'cut') return this.#cut();
        yield this.#takeRecord(next, collected);
      } else {
        throw fieldError('UNEXPECTED_LINE', 'line', `a ${next.type} line where a record or checkpoint is expected`);
      }
    }
  }

  #cut(): void {
    this.#end = { ...this.#end, truncated: true };
  }

  async #collect(line: { readonly record: KindBody }, lines: AsyncGenerator<RawLine>) {
    const payloads = new Map<string, Payload>();
    let withheld = false;
    // attacker-controlled: the number of payloads, which are held together
    let room = 'bytes' in line.record.body ? BigInt(line.record.body.bytes) : 0n;
    checkRecordBytes(room);
    for (const { field, commitment } of payloadFields(line.record)) {
      const next = await nextLine(lines);
      if (next === 'cut' || next === undefined) return 'cut' as const;
      if (next.type !== 'payload' && next.type !== 'withheld') {
        throw fieldError('MISSING_LINE', field, `expected its payload, got a ${next.type} line`);
      }
      if (next.commitment !== commitment) {
        throw fieldError('PAYLOAD_MISMATCH', field, `the next payload is ${next.commitment}`);
      }
      if (next.type === 'withheld') {
        withheld = true;
        continue;
      }
      room -= BigInt(next.payload.data.length);
      if (room < 0n) throw fieldError('PAYLOAD_MISMATCH', 'body.bytes', 'payloads have more bytes');
      payloads.set(field, next.payload);
    }
    if (room > 0n && !withheld) throw fieldError('PAYLOAD_MISMATCH', 'body.bytes', `payloads have ${room} bytes less`);
    return { payloads, withheld };
  }

  #takeRecord(
    { head, record }: { readonly head: Head; readonly record: KindBody },
    { payloads, withheld }: { readonly payloads: ReadonlyMap<string, Payload>; readonly withheld: boolean },
  ): SoundRecord {
    this.state ??= new RunState(head.run);
    const { state } = this;
    const start = head.of === head.index ? undefined : state.openStarts.get(head.of);
    const step = Number(state.size);
    try {
      this.rules.check({ record, at: head.at, of: head.of }, state);
      if (record.kind === 'run.open') verifyIdentity(record.body, head.run, payloads);
      if (record.kind === 'inference.end') verifyIds(record.body, payloads);
      const expected = state.apply(
        head.of === state.size ? { record, at: head.at } : { record, at: head.at, of: head.of },
      );
      this.computed = expected;
      for (const field of HEAD_FIELDS) {
        const [found, wanted] = [headFieldText(head, field), headFieldText(expected, field)];
        if (found !== wanted) throw fieldError('HEAD_MISMATCH', `head.${field}`, `expected ${wanted}, got ${found}`);
      }
    } catch (error) {
      throw atStep(error, step);
    }
    this.rules.countClass(head.class);
    this.#tree.append(hashHead(head));
    return { head, record, payloads, withheld, start };
  }

  #takeCheckpoint(checkpoint: SignedCheckpoint): void {
    const { state } = this;
    if (state === undefined || state.runOpen === undefined) {
      throw fieldError('UNEXPECTED_LINE', 'checkpoint', 'a checkpoint before the first record');
    }
    const differ = (field: string, claimed: string, expected: string) => {
      if (claimed !== expected) {
        throw fieldError('CHECKPOINT_MISMATCH', `checkpoint.${field}`, `expected ${expected}, got ${claimed}`);
      }
    };
    const root = this.#tree.root();
    differ('run', toHex(checkpoint.run), toHex(state.run));
    differ('size', checkpoint.size.toString(), state.size.toString());
    differ('root', toHex(checkpoint.root), toHex(root));
    differ('state', toHex(checkpoint.state), toHex(state.digest));
    differ('closed', String(checkpoint.closed), String(this.rules.closed));
    verifyCheckpoint(checkpoint, deploymentOf(state.runOpen), state.runOpen.operator);
    this.rules.countCheckpoint();
    this.#end = { truncated: false, closed: checkpoint.closed, size: state.size, root };
  }
}

/** The next line, undefined at the end, `cut` when the file ends inside a line. */
async function nextLine(lines: AsyncGenerator<RawLine>): Promise<BundleLine | 'cut' | undefined> {
  const { value, done } = await lines.next();
  if (done === true) return undefined;
  if (!value.complete) {
    if (isCutOff(value.bytes)) return 'cut';
    throw fieldError('MALFORMED_LINE', 'line', 'the last line does not end in LF');
  }
  return parseLine(value.bytes);
}

function verifyIds(
  body: Extract<KindBody, { kind: 'inference.end' }>['body'],
  payloads: ReadonlyMap<string, Payload>,
): void {
  for (const name of ['output', 'prompt'] as const) {
    const payload = payloads.get(`body.${name}.ids`);
    if (payload === undefined) continue;
    const ids = readIdsPayload(payload, `body.${name}.ids`);
    if (ids.length !== body[name].count) {
      throw fieldError('PAYLOAD_MISMATCH', `body.${name}.count`, `payload has ${ids.length} ids`);
    }
    const root: Hex = toHex(computeIdsRoot(ids, payload.salt));
    if (!equalBytes(fromHex(root), fromHex(body[name].root))) {
      throw fieldError('PAYLOAD_MISMATCH', `body.${name}.root`, `the ids have root ${root}`);
    }
  }
}

function atStep(error: unknown, step: number): unknown {
  if (RuntimeError.is(error) && error.at['step'] === undefined) {
    Object.assign(error, { at: { ...error.at, step } });
  }
  return error;
}
