/**
 * Writes a trace: records with their payloads, checkpoints, in order, each durable before the caller goes on.
 *
 * W1. `append` returns only after the sink has made the record and all its payloads durable.
 * W2. A checkpoint is signed over what the sink already holds, and is durable before anybody sees it.
 * W3. After the sink failed once, nothing more is written: a trace never has a hole.
 *
 * @module
 */

import { type Hex, toHex } from '../core/bytes.ts';
import { ZERO_DIGEST } from '../core/hash.ts';
import type { Json } from '../encoding/canonical-json.ts';
import { MerkleAccumulator } from '../merkle/tree.ts';
import { type Bodies, type KindBody, parseBody, payloadFields } from './bodies.ts';
import { type Deployment, type SignedCheckpoint, signCheckpoint } from './checkpoint.ts';
import { type Head, hashHead } from './head.ts';
import type { Kind } from './kinds.ts';
import { type BundleLine, encodeLine } from './lines.ts';
import { commitPayload, computeIdsRoot, idsPayload, jsonPayload, type Payload, textPayload } from './payload.ts';
import { OrderRules } from './rules.ts';
import { RunState } from './state.ts';

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

/** Payloads of one record while its body is made: each method returns the commitment for the body. */
export class PayloadSet {
  readonly #salt: () => Uint8Array;
  readonly #payloads: Payload[] = [];

  constructor(salt: () => Uint8Array) {
    this.#salt = salt;
  }

  /** Sum of the lengths, for the field `bytes`. */
  get bytes(): string {
    return this.#payloads.reduce((sum, payload) => sum + payload.data.length, 0).toString();
  }

  /** The payloads by commitment. */
  get byCommitment(): ReadonlyMap<Hex, Payload> {
    return new Map(this.#payloads.map((payload) => [toHex(commitPayload(payload)), payload]));
  }

  /** Adds a payload that already has its salt. */
  add(payload: Payload): Hex {
    this.#payloads.push(payload);
    return toHex(commitPayload(payload));
  }

  /** Adds a text. */
  text(value: string): Hex {
    return this.add(textPayload(value, this.#salt()));
  }

  /** Adds a JSON value. */
  json(value: Json): Hex {
    return this.add(jsonPayload(value, this.#salt()));
  }

  /** Adds token ids, with the root over the single ids. */
  ids(ids: readonly number[]): { readonly count: number; readonly ids: Hex; readonly root: Hex } {
    const payload = idsPayload(ids, this.#salt());
    return { count: ids.length, ids: this.add(payload), root: toHex(computeIdsRoot(ids, payload.salt)) };
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
  #checkpoints = 0;
  #at = 0;
  #begun = false;
  #failed: unknown;

  /**
   * @param run - run id, 32 bytes
   * @param privateKey - the operator's key, 32 bytes; kept as a reference
   */
  constructor(ports: WriterPorts, run: Uint8Array, deployment: Deployment, privateKey: Uint8Array) {
    this.#ports = ports;
    this.#deployment = deployment;
    this.#privateKey = privateKey;
    this.state = new RunState(run);
  }

  /** A set for the payloads of the next record. */
  payloads(): PayloadSet {
    return new PayloadSet(this.#ports.salt);
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
   * Writes one record with its payloads.
   *
   * @param of - index of the start that this record completes
   * @returns its head, after it is durable
   * @throws {@link TraceError} when the record would break a rule of the trace; then nothing is written
   */
  async append<K extends Kind>(kind: K, body: Bodies[K], payloads?: PayloadSet, of?: bigint): Promise<Head> {
    this.#requireSound();
    const record = parseBody(kind, body as Json) as KindBody;
    const at = BigInt(Math.max(this.#at, this.#ports.now()));
    const index = this.state.size;
    const held = payloads?.byCommitment ?? new Map<Hex, Payload>();
    const shown = payloadFields(record).map(({ field, commitment }): BundleLine => {
      const payload = held.get(commitment);
      if (payload === undefined) throw new TypeError(`no payload for ${field}`);
      return { type: 'payload', commitment, payload };
    });
    this.#rules.check({ record, at, of: of ?? index }, this.state);
    const head = this.state.apply(of === undefined ? { record, at } : { record, at, of });
    this.#rules.countClass(head.class);
    this.#at = Number(at);
    this.#tree.append(hashHead(head));
    const lines: BundleLine[] = this.#begun ? [] : [{ type: 'header' }];
    this.#begun = true;
    lines.push({ type: 'record', head, record }, ...shown);
    await this.#write(lines);
    return head;
  }

  /** Signs and writes a checkpoint over all records so far. */
  async checkpoint(): Promise<SignedCheckpoint> {
    this.#requireSound();
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
    this.#checkpoints += 1;
    this.#rules.countCheckpoint();
    return checkpoint;
  }

  #requireSound(): void {
    if (this.#failed !== undefined)
      throw new Error('the trace cannot be continued after a failed write', { cause: this.#failed });
  }

  async #write(lines: readonly BundleLine[]): Promise<void> {
    const encoded = lines.map((line) => encodeLine(line));
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

/** Thirty-two zero bytes as a store that nobody wrote to. */
export const EMPTY_KV = toHex(ZERO_DIGEST);
