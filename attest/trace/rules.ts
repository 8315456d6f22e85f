/**
 * The order of records. Everything here is decided by the records themselves, without executing anything.
 *
 * R1. Record 0, and only it, is `run.open`; nothing follows `run.close`.
 * R2. `at` never decreases.
 * R3. An end or loss names an open start of its own kind; every other record names itself.
 * R4. A start stands right after the policy record that allows it, for the same call, capability and target.
 * R5. A policy record that allows is followed by its start, unless the run was broken off there.
 * R6. An `agent` record follows `run.open`, each end of a start made by the agent, and each denial of such a call, and
 *     stands nowhere else; only a run that was broken off may close in its place. After an `agent` record with an output
 *     or an error nothing but losses and `run.close` follows. A loss in the place of a start or of an `agent` record
 *     breaks the run off: nothing but losses and such a `run.close` follows it.
 * R7. A call of the agent was made by an earlier `agent` record and is decided once; a call of a tool names an open
 *     `tool.start`.
 * R8. `run.close` leaves nothing open, counts right, and its status is that of the last `agent` record.
 * R9. Totals stay within the limits of `run.open`; `run.close`, which only repeats what was counted, is not held to them.
 * R10. The idempotency key of a start is SHA-256("tracebond/key/1" || run || index).
 * R11. A tool ends or is lost after everything that it started has ended.
 * R12. At most 256 starts are open at once; payloads have at most 64 MiB a record and 256 MiB in all open starts.
 * R13. Only a `wallet.send` has an amount, and the amounts of a run are together at most its exposure.
 * R14. The evidence of an approval stands in the end of a `human.approve` that did not fail, that of a transaction in the end of every
 *     `wallet.send` that did not fail, and nowhere else.
 *
 * Spec: `attest/spec/trace.md#order`.
 *
 * @module
 */

import { toHex, uintBytes, utf8 } from '../core/bytes.ts';
import { type Digest, sha256 } from '../core/hash.ts';
import type { AgentBody, Bodies, HostStartBody, KindBody, PolicyBody } from './bodies.ts';
import { fieldError } from './errors.ts';
import { isStart, type RecordClass, startKindOf } from './kinds.ts';
import type { OpenStart, RunState } from './state.ts';

/** What the rules need to know of a record. */
export type OrderedRecord = {
  readonly record: KindBody;
  readonly at: bigint;
  readonly of: bigint;
};

/** Records in each class so far. */
export type Coverage = { recomputable: bigint; attested: bigint; opaque: bigint };

/** Greatest time of an ECMAScript date, milliseconds. */
const MAX_TIME_MS = 8_640_000_000_000_000n;

const MAX_LIVE_CALLS = 65_536;

/** Most starts that wait at once: a reader holds each of them, and executes each open tool. */
export const MAX_OPEN_STARTS = 256;

/** Most payload bytes of one record: a reader holds them together. */
export const MAX_RECORD_BYTES = 64n * 1024n * 1024n;

const MAX_OPEN_BYTES = 4n * MAX_RECORD_BYTES;

/** Checks records one by one in order. Memory is bounded by the number of calls and starts that wait. */
export class OrderRules {
  readonly #calls = new Map<number, string>();
  readonly #coverage: Coverage = { recomputable: 0n, attested: 0n, opaque: 0n };
  #nextCall = 0;
  #at = 0n;
  #policy: PolicyBody | undefined;
  #agentNext = false;
  #breakingOff = false;
  #agent: AgentBody | undefined;
  #closed = false;
  #checkpoints = 0n;
  #spent = 0n;

  /** Whether `run.close` was seen. */
  get closed(): boolean {
    return this.#closed;
  }

  /** Records in each class so far. */
  get coverage(): Readonly<Coverage> {
    return this.#coverage;
  }

  /** Whether the run was broken off: nothing but losses and a `run.close` that says so may follow. */
  get brokenOff(): boolean {
    return this.#breakingOff;
  }

  /** Counts a checkpoint that stands after the records so far. */
  countCheckpoint(): void {
    this.#checkpoints += 1n;
  }

  /** Counts the class of a record that was taken. */
  countClass(recordClass: RecordClass): void {
    this.#coverage[recordClass] += 1n;
  }

  /**
   * Checks the next record against the state before it.
   *
   * @throws {@link TraceError} `ORDER_VIOLATION` with the field that breaks a rule
   */
  check({ record, at, of }: OrderedRecord, state: RunState): void {
    const index = state.size;
    const { kind } = record;
    if (this.#closed) throw order('head.index', 'a record after run.close (R1)');
    if ((kind === 'run.open') !== (index === 0n)) throw order('head.kind', 'record 0, and only it, is run.open (R1)');
    if (at < this.#at) throw order('head.at', `time runs backwards: ${at} after ${this.#at} (R2)`);
    if (at > MAX_TIME_MS) throw order('head.at', `${at} is no time that a clock shows (R2)`);
    this.#at = at;
    this.#checkPlace(record);
    if ('bytes' in record.body) checkRecordBytes(BigInt(record.body.bytes));
    if (isStart(kind)) checkRoom(record, state);
    const start = this.#checkOf(record, of, index, state);
    if ('key' in record.body && record.body.key !== toHex(computeKey(state.run, index))) {
      throw order('body.key', 'not the idempotency key of this place (R10)');
    }
    this.#agentNext = kind === 'run.open';
    switch (record.kind) {
      case 'run.open':
        if (record.body.limits.fuel === '0') throw order('body.limits.fuel', 'a run without fuel cannot start');
        if (record.body.kv.from !== null || !/^0x0*$/.test(record.body.kv.root)) {
          throw order('body.kv', 'a run that continues the store of another is not supported by this version');
        }
        break;
      case 'agent':
        this.#takeAgent(record.body);
        break;
      case 'policy':
        this.#takePolicy(record.body, state);
        break;
      case 'run.close':
        this.#checkClose(record.body, index, state);
        break;
      case 'inference.start':
        this.#checkStart('inference', state.runOpen?.inference.id ?? '', record.body);
        break;
      case 'tool.start':
        this.#checkStart('tool', record.body.tool, record.body);
        if (state.runOpen?.tools.every((tool) => tool.name !== record.body.tool)) {
          throw order('body.tool', 'not a tool that run.open names (R4)');
        }
        break;
      case 'host.start':
        this.#checkStart(record.body.capability, undefined, record.body);
        this.#spend(record.body, state);
        break;
      case 'run.child.start':
        this.#checkStart('run.child', record.body.agent, record.body);
        break;
      case 'tool.end':
        if ((record.body.result === null) === (record.body.error === null)) {
          throw order('body.result', 'expected a result or an error, not both and not none');
        }
        requireNoChildren(of, state);
        break;
      case 'tool.lost':
        requireNoChildren(of, state);
        break;
      case 'host.end':
        if ((record.body.response === null) === (record.body.error === null)) {
          throw order('body.response', 'expected a response or an error, not both and not none');
        }
        checkEvidence(start, record.body);
        break;
      case 'run.child.end':
        checkChildEnd(record.body);
        break;
      default:
        break;
    }
    if (start !== undefined && start.body.by === null) this.#agentNext = true;
    if (this.#breakingOff || this.#agentEnded) this.#agentNext = false;
  }

  get #agentEnded(): boolean {
    return this.#agent !== undefined && (this.#agent.output !== null || this.#agent.error !== null);
  }

  /** Whether a record of this kind may stand here at all (R5, R6). */
  #checkPlace(record: KindBody): void {
    const { kind } = record;
    const loss = kind.endsWith('.lost');
    if (this.#breakingOff && !loss && !isBrokenOff(record)) {
      throw order('head.kind', `the run was broken off before this ${kind} (R6)`);
    }
    if (this.#agentEnded && !loss && kind !== 'run.close') {
      throw order('head.kind', `the agent has ended before this ${kind} (R6)`);
    }
    if (this.#agentNext && kind !== 'agent') {
      if (!loss && !isBrokenOff(record)) throw order('head.kind', `expected an agent record, got ${kind} (R6)`);
      this.#breakingOff = true;
    }
    if (!this.#agentNext && kind === 'agent') throw order('head.kind', 'an agent record without a delivery (R6)');
    if (this.#policy !== undefined && !isStart(kind)) {
      if (!loss && !isBrokenOff(record)) throw order('head.kind', `allowed start missing, got ${kind} (R5)`);
      this.#policy = undefined;
      this.#breakingOff = true;
    }
  }

  /**
   * Checks the totals after a record (R9).
   *
   * @throws {@link TraceError} `LIMIT_EXCEEDED` naming the counter
   */
  checkLimits(state: RunState): void {
    const limits = state.runOpen?.limits;
    if (limits === undefined || this.#closed) return;
    for (const name of ['bytes', 'fuel', 'steps', 'tokens'] as const) {
      if (state.counters[name] > BigInt(limits[name])) {
        throw fieldError(
          'LIMIT_EXCEEDED',
          `state.counters.${name}`,
          `${state.counters[name]} above ${limits[name]} (R9)`,
        );
      }
    }
  }

  #checkOf(record: KindBody, of: bigint, index: bigint, state: RunState) {
    const wanted = startKindOf(record.kind);
    if (wanted === undefined) {
      if (of !== index) throw order('head.of', `expected ${index}, got ${of} (R3)`);
      return undefined;
    }
    const start = state.openStarts.get(of);
    if (start === undefined || start.kind !== wanted) throw order('head.of', `no open ${wanted} at ${of} (R3)`);
    return start;
  }

  #takeAgent(body: AgentBody): void {
    if (body.output !== null && body.error !== null) throw order('body.error', 'an output and an error at once');
    for (const [i, call] of body.calls.entries()) {
      if (call.id !== this.#nextCall) throw order(`body.calls.${i}.id`, `expected ${this.#nextCall} (R7)`);
      this.#calls.set(call.id, call.method);
      this.#nextCall += 1;
    }
    if (this.#calls.size > MAX_LIVE_CALLS) throw order('body.calls', 'too many calls wait');
    this.#agent = body;
  }

  #takePolicy(body: PolicyBody, state: RunState): void {
    if (body.by === null) {
      if (this.#calls.get(body.call) !== body.request.capability) {
        throw order(
          'body.call',
          `call ${body.call} was not made as ${body.request.capability} or is already decided (R7)`,
        );
      }
      this.#calls.delete(body.call);
      if (body.decision === 'deny') this.#agentNext = true;
    } else if (state.openStarts.get(BigInt(body.by))?.kind !== 'tool.start') {
      throw order('body.by', `no open tool.start at ${body.by} (R7)`);
    }
    this.#policy = body.decision === 'allow' ? body : undefined;
  }

  /** Counts what a start may spend (R13). */
  #spend({ capability, amount }: HostStartBody, state: RunState): void {
    if (capability !== 'wallet.send' && amount !== '0') {
      throw order('body.amount', `${capability} moves no value (R13)`);
    }
    this.#spent += BigInt(amount);
    const exposure = BigInt(state.runOpen?.exposure ?? 0);
    if (this.#spent > exposure) throw order('body.amount', `${this.#spent} wei above the exposure ${exposure} (R13)`);
  }

  #checkStart(capability: string, target: string | undefined, body: { call: number; by: string | null }): void {
    const policy = this.#policy;
    this.#policy = undefined;
    if (policy === undefined) throw order('head.kind', 'a start without the policy record that allows it (R4)');
    if (policy.by !== body.by) throw order('body.by', `policy allows ${policy.by}, got ${body.by} (R4)`);
    if (policy.call !== body.call) throw order('body.call', `policy allows call ${policy.call}, got ${body.call} (R4)`);
    if (policy.request.capability !== capability) {
      throw order('body', `policy allows ${policy.request.capability}, got ${capability} (R4)`);
    }
    if (target !== undefined && policy.request.target !== target) {
      throw order('body', `policy allows ${policy.request.target}, got ${target} (R4)`);
    }
  }

  #checkClose(body: Extract<KindBody, { kind: 'run.close' }>['body'], index: bigint, state: RunState): void {
    if (state.openStarts.size > 0) throw order('body.status', 'a start is still open (R8)');
    if (body.records !== (index + 1n).toString()) throw order('body.records', `expected ${index + 1n} (R8)`);
    if (body.checkpoints !== this.#checkpoints.toString()) {
      throw order('body.checkpoints', `expected ${this.#checkpoints} (R8)`);
    }
    for (const name of ['attested', 'opaque', 'recomputable'] as const) {
      const expected = this.#coverage[name] + (name === 'recomputable' ? 1n : 0n);
      if (body.coverage[name] !== expected.toString())
        throw order(`body.coverage.${name}`, `expected ${expected} (R8)`);
    }
    if ((body.status === 'done') !== (body.output !== null))
      throw order('body.output', 'only a run that is done has an output (R8)');
    if (body.status === 'done' && this.#agent?.output === null)
      throw order('body.status', 'the agent gave no output (R8)');
    if (body.status === 'failed' && this.#agent?.error === null)
      throw order('body.status', 'the agent gave no error (R8)');
    if ((body.status === 'failed') !== (body.error !== null))
      throw order('body.error', 'only a failed run has an error (R8)');
    this.#closed = true;
  }
}

/** Idempotency key of the start at `index`: SHA-256("tracebond/key/1" || run || index as 8 bytes). */
export function computeKey(run: Digest, index: bigint): Digest {
  return sha256(utf8('tracebond/key/1'), run, uintBytes(index, 8));
}

/**
 * Checks the claimed size of the payloads of one record (R12), before they are read.
 *
 * @throws {@link TraceError} `ORDER_VIOLATION`
 */
export function checkRecordBytes(bytes: bigint): void {
  if (bytes > MAX_RECORD_BYTES) throw order('body.bytes', `${bytes} above ${MAX_RECORD_BYTES} (R12)`);
}

function checkRoom(record: KindBody, state: RunState): void {
  if (state.openStarts.size >= MAX_OPEN_STARTS) throw order('head.kind', 'too many starts are open (R12)');
  let bytes = bytesOf(record.body);
  for (const start of state.openStarts.values()) bytes += bytesOf(start.body);
  if (bytes > MAX_OPEN_BYTES) throw order('body.bytes', `open starts hold ${bytes} bytes (R12)`);
}

function bytesOf(body: KindBody['body']): bigint {
  return 'bytes' in body ? BigInt(body.bytes) : 0n;
}

/** The signature of a person goes with a decision alone, that of a wallet with every send that did not fail (R14). */
function checkEvidence(start: OpenStart | undefined, { evidence, error }: Bodies['host.end']): void {
  const { capability } = (start?.body ?? {}) as Partial<HostStartBody>;
  const isSend = capability === 'wallet.send' && error === null;
  if (evidence === 'approval' && (capability !== 'human.approve' || error !== null)) {
    throw order('body.evidence', 'only a decision of human.approve has the evidence of an approval (R14)');
  }
  if ((evidence === 'transaction') !== isSend) {
    throw order(
      'body.evidence',
      'a wallet.send that did not fail, and it alone, has the evidence of a transaction (R14)',
    );
  }
}

function checkChildEnd(body: Extract<KindBody, { kind: 'run.child.end' }>['body']): void {
  if ((body.output === null) === (body.error === null)) {
    throw order('body.output', 'expected an output or an error, not both and not none');
  }
  if ((body.status === 'done') !== (body.output !== null)) {
    throw order('body.output', 'only a child run that is done has an output');
  }
  if (!body.checkpoint.closed) throw order('body.checkpoint.closed', 'the child run is not closed');
}

function requireNoChildren(tool: bigint, state: RunState): void {
  for (const other of state.openStarts.values()) {
    if (other.body.by === tool.toString()) throw order('head.of', `its start ${other.index} is still open (R11)`);
  }
}

function isBrokenOff(record: KindBody): boolean {
  return record.kind === 'run.close' && record.body.status !== 'done' && record.body.status !== 'failed';
}

function order(field: string, message: string) {
  return fieldError('ORDER_VIOLATION', field, message);
}
