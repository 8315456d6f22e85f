/**
 * Writes a trace: records with their payloads, checkpoints, in order, each durable before the caller goes on.
 *
 * W1. `append` returns only after the sink has made the record and all its payloads durable; but a policy record that allows is
 *     written together with what follows it, which is its start: nothing happens between the two.
 * W2. A checkpoint is signed over what the sink already holds, and is durable before anybody sees it.
 * W3. After the sink failed once, nothing more is written: a trace never has a hole.
 * W4. A writer that continues a trace takes the records of its past first, each held against what the run says it is now;
 *     nothing is written before they are used up, and a run that differs from its past is stopped.
 *
 * @module
 */

import { equalBytes, type Hex, toHex } from '../core/bytes.ts';
import { ZERO_DIGEST } from '../core/hash.ts';
import type { Json } from '../encoding/canonical-json.ts';
import { MerkleAccumulator } from '../merkle/tree.ts';
import { type Bodies, type KindBody, parseBody, payloadFields } from './bodies.ts';
import { type Deployment, type SignedCheckpoint, signCheckpoint } from './checkpoint.ts';
import { fieldError } from './errors.ts';
import { type Head, hashHead } from './head.ts';
import type { Kind } from './kinds.ts';
import { type BundleLine, encodeLine } from './lines.ts';
import { commitPayload, computeIdsRoot, idsPayload, jsonPayload, type Payload, textPayload } from './payload.ts';
import { OrderRules } from './rules.ts';
import { hashBody, RunState } from './state.ts';

/** Where lines go. `append` resolves when the bytes are durable and rejects when they are not. */
export type TraceSink = { append(bytes: Uint8Array): Promise<void> };

/** What a writer takes from outside. */
export type WriterPorts = {
  readonly sink: TraceSink;
  /** Milliseconds since 1970. */
  readonly now: () => number;
  /** 32 fresh random bytes for each payload. */
  readonly salt: () => Uint8Array;
};

/** A record of a trace that is continued, with its payloads by field (`body.input`). */
export type PastRecord = {
  readonly head: Head;
  readonly record: KindBody;
  readonly payloads: ReadonlyMap<string, Payload>;
};

/** What stands in a trace that is continued, in order. */
export type PastItem =
  | ({ readonly type: 'record' } & PastRecord)
  | { readonly type: 'checkpoint'; readonly checkpoint: SignedCheckpoint };

/** Payloads of one record while its body is made: each method returns the commitment for the body. */
export class PayloadSet {
  readonly #salt: () => Uint8Array;
  readonly #payloads: { readonly commitment: Hex; readonly payload: Payload }[] = [];
  readonly #past: Payload[];

  /** @param past - payloads of the same record in a trace that is continued: what says the same keeps its salt */
  constructor(salt: () => Uint8Array, past: Iterable<Payload> = []) {
    this.#salt = salt;
    this.#past = [...past];
  }

  /** Sum of the lengths, for the field `bytes`. */
  get bytes(): string {
    return this.#payloads.reduce((sum, { payload }) => sum + payload.data.length, 0).toString();
  }

  /** The payloads by commitment. */
  get byCommitment(): ReadonlyMap<Hex, Payload> {
    return new Map(this.#payloads.map(({ commitment, payload }) => [commitment, payload]));
  }

  /** Adds a payload that already has its salt. */
  add(payload: Payload): Hex {
    const commitment = toHex(commitPayload(payload));
    this.#payloads.push({ commitment, payload });
    return commitment;
  }

  /** Adds a text. */
  text(value: string): Hex {
    return this.add(this.#salted((salt) => textPayload(value, salt)));
  }

  /** Adds a JSON value. */
  json(value: Json): Hex {
    return this.add(this.#salted((salt) => jsonPayload(value, salt)));
  }

  /** Adds token ids, with the root over the single ids. */
  ids(ids: readonly number[]): { readonly count: number; readonly ids: Hex; readonly root: Hex } {
    const payload = idsPayload(ids, this.#salt());
    return { count: ids.length, ids: this.add(payload), root: toHex(computeIdsRoot(ids, payload.salt)) };
  }

  #salted(make: (salt: Uint8Array) => Payload): Payload {
    if (this.#past.length === 0) return make(this.#salt());
    const { media, data } = make(ZERO_DIGEST);
    const at = this.#past.findIndex((payload) => payload.media === media && equalBytes(payload.data, data));
    const [found] = at < 0 ? [] : this.#past.splice(at, 1);
    return found ?? make(this.#salt());
  }
}

/** Appends to one trace. */
export class TraceWriter {
  readonly state: RunState;
  readonly #ports: WriterPorts;
  readonly #deployment: Deployment;
  readonly #privateKey: Uint8Array;
  readonly #rules = new OrderRules();
  readonly #tree = new MerkleAccumulator();
  readonly #past: readonly PastItem[];
  /** Starts that the past completes. */
  readonly #completed: ReadonlySet<bigint>;
  /** Index of the next item of the past. */
  #taken = 0;
  #checkpoints = 0;
  #unsigned = 0;
  #last: SignedCheckpoint | undefined;
  #at = 0;
  #begun: boolean;
  /** Lines that go out with the next ones. */
  readonly #held: BundleLine[] = [];
  #failed: unknown;

  /**
   * @param run - run id, 32 bytes
   * @param privateKey - the operator's key, 32 bytes; kept as a reference
   * @param past - what the sink already holds, to be continued
   */
  constructor(
    ports: WriterPorts,
    run: Uint8Array,
    deployment: Deployment,
    privateKey: Uint8Array,
    past: readonly PastItem[] = [],
  ) {
    this.#ports = ports;
    this.#deployment = deployment;
    this.#privateKey = privateKey;
    this.#past = past;
    this.#completed = new Set(
      past.flatMap((item) => (item.type === 'record' && item.head.of !== item.head.index ? [item.head.of] : [])),
    );
    this.#begun = past.length > 0;
    this.state = new RunState(run);
  }

  /** The next record of the past; undefined once it is used up. */
  get next(): PastRecord | undefined {
    const item = this.#past[this.#taken];
    return item?.type === 'record' ? item : undefined;
  }

  /** Records since the last checkpoint. */
  get unsigned(): number {
    return this.#unsigned;
  }

  /** Whether the run was broken off: only losses and a `run.close` that says so may follow. */
  get brokenOff(): boolean {
    return this.#rules.brokenOff;
  }

  /** Whether `run.close` stands. */
  get closed(): boolean {
    return this.#rules.closed;
  }

  /** Whether the past holds an end or a loss of the start at `index`. */
  completes(index: bigint): boolean {
    return this.#completed.has(index);
  }

  /** A set for the payloads of the next record. */
  payloads(): PayloadSet {
    return new PayloadSet(this.#ports.salt, this.next?.payloads.values());
  }

  /**
   * Takes the next record of the past as it stands.
   *
   * @throws {@link TraceError} when it does not follow from the records before it
   */
  take(): PastRecord {
    const { next } = this;
    if (next === undefined) throw new TypeError('the past is used up');
    const { head, record } = next;
    const found = this.#advance(record, head.at, head.of === head.index ? undefined : head.of);
    if (!equalBytes(hashHead(found), hashHead(head))) {
      throw fieldError('JOURNAL_MISMATCH', 'head', `record ${head.index} does not follow from those before it`);
    }
    this.#taken += 1;
    this.#takeCheckpoints();
    return next;
  }

  /** Records in each class, and checkpoints, as `run.close` must count them (itself included). */
  get closing(): Pick<Bodies['run.close'], 'checkpoints' | 'coverage' | 'records'> {
    const { attested, opaque, recomputable } = this.#rules.coverage;
    return {
      checkpoints: this.#checkpoints.toString(),
      coverage: {
        attested: attested.toString(),
        opaque: opaque.toString(),
        recomputable: (recomputable + 1n).toString(),
      },
      records: (this.state.size + 1n).toString(),
    };
  }

  /**
   * Writes one record with its payloads; in the past, holds it against the record that stands there.
   *
   * @param of - index of the start that this record completes
   * @returns its head, after it is durable
   * @throws {@link TraceError} when the record would break a rule of the trace, then nothing is written; `JOURNAL_MISMATCH` when
   *   the past says otherwise
   */
  async append<K extends Kind>(kind: K, body: Bodies[K], payloads?: PayloadSet, of?: bigint): Promise<Head> {
    this.#requireSound();
    const record = parseBody(kind, body as Json) as KindBody;
    const { next } = this;
    if (next !== undefined) {
      requireSame(next, record, of);
      return this.take().head;
    }
    const at = BigInt(Math.max(this.#at, this.#ports.now()));
    const held = payloads?.byCommitment ?? new Map<Hex, Payload>();
    const shown = payloadFields(record).map(({ field, commitment }): BundleLine => {
      const payload = held.get(commitment);
      if (payload === undefined) throw new TypeError(`no payload for ${field}`);
      return { type: 'payload', commitment, payload };
    });
    const head = this.#advance(record, at, of);
    const lines: BundleLine[] = this.#begun ? [] : [{ type: 'header' }];
    this.#begun = true;
    lines.push({ type: 'record', head, record }, ...shown);
    if (record.kind === 'policy' && record.body.decision === 'allow') this.#held.push(...lines);
    else await this.#write(lines);
    return head;
  }

  /** Signs and writes a checkpoint over all records so far; the last one, if it is over the same. */
  async checkpoint(): Promise<SignedCheckpoint> {
    this.#requireSound();
    if (this.#last !== undefined && this.#last.size === this.state.size) return this.#last;
    if (this.next !== undefined) throw new TypeError('a checkpoint amid the past');
    const checkpoint = signCheckpoint(
      {
        run: this.state.run,
        size: this.state.size,
        root: this.#tree.root(),
        state: this.state.digest,
        closed: this.#rules.closed,
      },
      this.#deployment,
      this.#privateKey,
    );
    await this.#write([{ type: 'checkpoint', checkpoint }]);
    this.#countCheckpoint(checkpoint);
    return checkpoint;
  }

  #advance(record: KindBody, at: bigint, of: bigint | undefined): Head {
    this.#rules.check({ record, at, of: of ?? this.state.size }, this.state);
    const head = this.state.apply(of === undefined ? { record, at } : { record, at, of });
    this.#rules.countClass(head.class);
    this.#at = Number(at);
    this.#tree.append(hashHead(head));
    this.#unsigned += 1;
    return head;
  }

  #countCheckpoint(checkpoint: SignedCheckpoint): void {
    this.#checkpoints += 1;
    this.#rules.countCheckpoint();
    this.#unsigned = 0;
    this.#last = checkpoint;
  }

  #takeCheckpoints(): void {
    for (let item = this.#past[this.#taken]; item?.type === 'checkpoint'; item = this.#past[this.#taken]) {
      const { checkpoint } = item;
      const { run, size, root, state, closed } = checkpoint;
      if (
        !equalBytes(run, this.state.run) ||
        size !== this.state.size ||
        !equalBytes(root, this.#tree.root()) ||
        !equalBytes(state, this.state.digest) ||
        closed !== this.#rules.closed
      ) {
        throw fieldError(
          'JOURNAL_MISMATCH',
          'checkpoint',
          `the checkpoint after record ${this.state.size - 1n} is none of it`,
        );
      }
      this.#countCheckpoint(checkpoint);
      this.#taken += 1;
    }
  }

  #requireSound(): void {
    if (this.#failed !== undefined)
      throw new Error('the trace cannot be continued after a failed write', { cause: this.#failed });
  }

  async #write(lines: readonly BundleLine[]): Promise<void> {
    const encoded = [...this.#held.splice(0), ...lines].map((line) => encodeLine(line));
    const bytes = new Uint8Array(encoded.reduce((sum, line) => sum + line.length, 0));
    let offset = 0;
    for (const line of encoded) {
      bytes.set(line, offset);
      offset += line.length;
    }
    try {
      await this.#ports.sink.append(bytes);
    } catch (error) {
      this.#failed = error;
      throw error;
    }
  }
}

/** Holds what a run says now against what it said before. */
function requireSame({ head, record }: PastRecord, now: KindBody, of: bigint | undefined): void {
  const same = record.kind === now.kind && head.of === (of ?? head.index) && equalBytes(head.body, hashBody(now.body));
  if (same) return;
  throw fieldError(
    'JOURNAL_MISMATCH',
    record.kind === now.kind ? 'body' : 'head.kind',
    `record ${head.index} is a ${record.kind} that the run, executed again, does not give (${now.kind})`,
  );
}

/** Thirty-two zero bytes as a store that nobody wrote to. */
export const EMPTY_KV = toHex(ZERO_DIGEST);
