/**
 * One run of an agent: its code in the sandbox, every effect a pair of records, everything written ahead.
 *
 * L1. Guest code moves only when exactly one delivery is given to it; deliveries are made in the order of their records.
 * L2. A policy record stands before every start, and the start is durable before the effect happens.
 * L3. Calls are served one at a time, oldest first; the order on record is the order of effects.
 * L4. A fault of the host is never recorded as a result of the guest: the run is closed as `abandoned`.
 * L5. A run that cannot be written on (full disk) just ends: its trace has no closed checkpoint and never passes as whole.
 *
 * @module
 */

import { type Hex, toHex } from '../attest/core/bytes.ts';
import { RuntimeError } from '../attest/core/error.ts';
import type { Json } from '../attest/encoding/canonical-json.ts';
import type { Bodies, GuestFailure, RunCloseBody, RunOpenBody } from '../attest/trace/bodies.ts';
import type { SignedCheckpoint } from '../attest/trace/checkpoint.ts';
import {
  computeGuestSeed,
  deniedDelivery,
  failedDelivery,
  type GuestCode,
  grantToolFuel,
  inferenceParameters,
  inferenceRequestOf,
  type ParsedCall,
  parseCall,
  randomValue,
} from '../attest/trace/guest.ts';
import type { Kind } from '../attest/trace/kinds.ts';
import { evaluatePolicy, fetchGrant, type PolicyRules } from '../attest/trace/policy.ts';
import { computeKey } from '../attest/trace/rules.ts';
import type { PayloadSet, TraceWriter } from '../attest/trace/writer.ts';
import type { InferenceClient } from '../inference/client.ts';
import { OutOfBudget, requireBudget } from './budget.ts';
import { fetchHttp } from './http-fetch.ts';
import { type Delivery, type HostCall, HostFault, type Vm, type VmSession, type VmState } from './sandbox/vm.ts';

/** What a run takes from outside. */
export type RunPorts = {
  readonly vm: Vm;
  readonly inference: Pick<InferenceClient, 'complete'>;
  readonly writer: TraceWriter;
  /** Milliseconds since 1970, for `clock.now` and deadlines. */
  readonly now: () => number;
  readonly fetch?: typeof fetch;
  /** Called after each durable record. */
  readonly onRecord?: (kind: Kind, index: bigint) => void;
};

/** What is run: the body of `run.open` with its payloads, and what it names by digest. */
export type RunPlan = {
  readonly openBody: RunOpenBody;
  readonly openPayloads: PayloadSet;
  readonly agent: GuestCode;
  readonly tools: ReadonlyMap<string, GuestCode>;
  readonly policy: PolicyRules;
  readonly input: Json;
};

/** How a run ended. */
export type RunResult = {
  readonly run: Hex;
  readonly status: RunCloseBody['status'];
  readonly output: Json | null;
  readonly error: { readonly code: string; readonly message: string } | null;
  readonly checkpoint: SignedCheckpoint;
  readonly records: bigint;
};

/** Wall-clock bound of one activation of guest code, and of one request to the outside. */
const ACTIVATION_MS = 60_000;
const REQUEST_MS = 20_000;

/** Records between two checkpoints. */
const CHECKPOINT_EVERY = 32n;

/**
 * Runs an agent to its end and closes its trace.
 *
 * @throws JournalError when the trace cannot be written; the trace is then not closed
 */
export async function runAgent(ports: RunPorts, plan: RunPlan): Promise<RunResult> {
  return new Run(ports, plan).execute();
}

type Ending = {
  readonly status: RunCloseBody['status'];
  readonly output?: Json;
  readonly error?: { code: string; message: string };
};

class Run {
  readonly #ports: RunPorts;
  readonly #plan: RunPlan;
  readonly #writer: TraceWriter;
  readonly #kv = new Map<string, string>();
  readonly #deadline: number;
  #agentFuel = 0n;
  #sinceCheckpoint = 0n;
  /** `at` of the last record, the time that the next delivery carries. */
  #at = 0n;

  constructor(ports: RunPorts, plan: RunPlan) {
    this.#ports = ports;
    this.#plan = plan;
    this.#writer = ports.writer;
    this.#deadline = ports.now() + Number(plan.openBody.limits.wallMs);
  }

  async execute(): Promise<RunResult> {
    const { openBody, openPayloads } = this.#plan;
    await this.#append('run.open', openBody, openPayloads);
    let ending: Ending;
    try {
      ending = await this.#runAgent();
    } catch (error) {
      ending = this.#endingOf(error);
      await this.#loseOpenStarts(ending.status === 'abandoned' ? 'HOST_FAULT' : 'CANCELLED');
    }
    return this.#close(ending);
  }

  #endingOf(error: unknown): Ending {
    if (error instanceof OutOfBudget) {
      return { status: 'out-of-budget', error: { code: 'OUT_OF_BUDGET', message: error.message } };
    }
    if (error instanceof HostFault) return { status: 'abandoned', error: { code: error.code, message: error.message } };
    throw error;
  }

  async #runAgent(): Promise<Ending> {
    const { agent, input, openBody } = this.#plan;
    const session = await this.#openGuest({
      code: agent,
      entry: 'agent',
      input,
      fuel: this.#agentLimit(),
      index: 0n,
      at: this.#at,
    });
    try {
      let state = await session.start();
      const calls: HostCall[] = [];
      for (;;) {
        await this.#recordAgent(state);
        calls.push(...state.calls);
        if (state.status === 'done') return { status: 'done', output: state.value };
        if (state.status === 'failed') return { status: 'failed', error: state.error };
        const call = calls.shift();
        if (call === undefined) throw new TypeError('a guest waits without a call');
        if (this.#ports.now() > this.#deadline) throw new OutOfBudget('wallMs');
        const delivery = await this.#serve(call, null, openBody);
        state = await session.deliver(delivery, Number(this.#at));
      }
    } finally {
      await session.close();
    }
  }

  #agentLimit(): bigint {
    const [own, run] = [BigInt(this.#plan.agent.limits.fuel), BigInt(this.#plan.openBody.limits.fuel)];
    return own < run ? own : run;
  }

  async #recordAgent(state: VmState): Promise<void> {
    const payloads = this.#writer.payloads();
    const output = state.status === 'done' ? payloads.json(state.value) : null;
    const error = failureOf(state, payloads);
    const fuel = state.fuelUsed - this.#agentFuel;
    await this.#append(
      'agent',
      {
        bytes: payloads.bytes,
        calls: state.calls.map((call) => ({ id: call.id, method: call.method.slice(0, 64) })),
        error,
        fuel: fuel.toString(),
        output,
      },
      payloads,
    );
    this.#agentFuel = state.fuelUsed;
  }

  /** Decides a call, makes its effect on record, and gives what is to be delivered. */
  async #serve(call: HostCall, by: bigint | null, open: RunOpenBody): Promise<Delivery> {
    const parsed = parseCall(call, open);
    const capability = call.method.slice(0, 64);
    const caller = by === null ? undefined : this.#writer.state.openStarts.get(by);
    const tool = (caller?.body as { readonly tool?: string } | undefined)?.tool ?? null;
    const decided = evaluatePolicy(
      this.#plan.policy,
      { tool, capability: parsed.method === 'unknown' ? 'unknown' : parsed.method, target: parsed.target },
      this.#writer.state.counters,
      open.limits,
    );
    await this.#append('policy', {
      by: by === null ? null : by.toString(),
      call: call.id,
      ...decided,
      request: { capability, target: parsed.target },
    });
    if (decided.decision === 'deny' || parsed.method === 'unknown')
      return deniedDelivery(call.id, capability, decided.rule);
    switch (parsed.method) {
      case 'inference':
        return this.#infer(call, by, parsed.args, open);
      case 'tool':
        return this.#runTool(call, by, parsed.args, open);
      default:
        return this.#hostCall(call, by, tool, parsed);
    }
  }

  async #infer(
    call: HostCall,
    by: bigint | null,
    args: Extract<ParsedCall, { method: 'inference' }>['args'],
    open: RunOpenBody,
  ): Promise<Delivery> {
    const { state } = this.#writer;
    const payloads = this.#writer.payloads();
    const messages = args.messages.map((message) => ({
      content: payloads.text(message.content),
      name: message.name,
      role: message.role,
    }));
    const body: Bodies['inference.start'] = {
      by: by === null ? null : by.toString(),
      bytes: payloads.bytes,
      call: call.id,
      key: this.#key(),
      request: { ...inferenceParameters(args), messages },
    };
    const { index } = await this.#append('inference.start', body, payloads);
    const request = inferenceRequestOf(
      body,
      args.messages.map((message) => message.content),
      open,
    );
    const place = {
      run: state.run,
      index,
      runSeed: state.runSeed,
      chainId: BigInt(open.chain),
      contract: open.contract,
    };
    let answer: Awaited<ReturnType<InferenceClient['complete']>>;
    try {
      answer = await this.#ports.inference.complete(request, place);
    } catch (error) {
      if (!RuntimeError.is(error)) throw error;
      await this.#append('inference.lost', { reason: 'HOST_FAULT' }, undefined, index);
      return failedDelivery(call.id, 'HOST_FAULT');
    }
    const shown = this.#writer.payloads();
    const output = shown.ids(answer.outputIds);
    const prompt = shown.ids(answer.promptIds);
    const end: Bodies['inference.end'] = {
      finish: answer.finishReason,
      masks: answer.masks,
      output,
      prompt,
      receipt: answer.receipt.signature,
      text: shown.text(answer.text),
      bytes: shown.bytes,
    };
    await this.#append('inference.end', end, shown, index);
    return { id: call.id, ok: true, value: { finishReason: answer.finishReason, text: answer.text } };
  }

  async #runTool(
    call: HostCall,
    by: bigint | null,
    args: Extract<ParsedCall, { method: 'tool' }>['args'],
    open: RunOpenBody,
  ): Promise<Delivery> {
    const code = this.#plan.tools.get(args.name);
    if (code === undefined) throw new TypeError(`policy grants the tool ${args.name}, which the run does not have`);
    const fuel = grantToolFuel({
      tool: BigInt(code.limits.fuel),
      run: BigInt(open.limits.fuel),
      used: this.#writer.state.counters.fuel,
      agent: this.#agentLimit(),
      agentUsed: this.#agentFuel,
    });
    if (fuel === 0n) throw new OutOfBudget('fuel');
    const payloads = this.#writer.payloads();
    const input = payloads.json(args.input);
    const { index } = await this.#append(
      'tool.start',
      {
        by: by === null ? null : by.toString(),
        bytes: payloads.bytes,
        call: call.id,
        input,
        key: this.#key(),
        tool: args.name,
      },
      payloads,
    );
    const session = await this.#openGuest({
      code,
      entry: { tool: args.name },
      input: args.input,
      fuel,
      index,
      at: this.#at,
    });
    let state: VmState;
    try {
      state = await session.start();
      const calls: HostCall[] = [...state.calls];
      while (state.status === 'waiting') {
        const inner = calls.shift();
        if (inner === undefined) throw new TypeError('a guest waits without a call');
        const delivery: Delivery = await this.#serve(inner, index, open);
        state = await session.deliver(delivery, Number(this.#at));
        calls.push(...state.calls);
      }
    } finally {
      await session.close();
    }
    const shown = this.#writer.payloads();
    const result = state.status === 'done' ? shown.json(state.value) : null;
    const error = failureOf(state, shown);
    await this.#append(
      'tool.end',
      { bytes: shown.bytes, error, fuel: state.fuelUsed.toString(), result },
      shown,
      index,
    );
    return state.status === 'done'
      ? { id: call.id, ok: true, value: state.value }
      : { id: call.id, ok: false, error: state.error };
  }

  async #hostCall(
    call: HostCall,
    by: bigint | null,
    tool: string | null,
    parsed: Exclude<ParsedCall, { method: 'inference' | 'tool' }>,
  ): Promise<Delivery> {
    const payloads = this.#writer.payloads();
    const request = payloads.json(parsed.args as Json);
    const { index } = await this.#append(
      'host.start',
      {
        by: by === null ? null : by.toString(),
        bytes: payloads.bytes,
        call: call.id,
        capability: parsed.method,
        key: this.#key(),
        request,
      },
      payloads,
    );
    const done = await this.#perform(parsed, tool, index);
    const shown = this.#writer.payloads();
    const response = done.ok ? shown.json(done.value) : null;
    const error = done.ok ? null : done.error;
    await this.#append('host.end', { bytes: shown.bytes, error, evidence: 'none', response }, shown, index);
    return done.ok ? { id: call.id, ok: true, value: done.value } : failedDelivery(call.id, done.error);
  }

  async #perform(
    parsed: Exclude<ParsedCall, { method: 'inference' | 'tool' }>,
    tool: string | null,
    index: bigint,
  ): Promise<{ ok: true; value: Json } | { ok: false; error: NonNullable<Bodies['host.end']['error']> }> {
    switch (parsed.method) {
      case 'clock.now':
        return { ok: true, value: this.#ports.now() };
      case 'random.bytes':
        return { ok: true, value: randomValue(this.#writer.state.runSeed, index, parsed.args.length) };
      case 'kv.get':
        return { ok: true, value: this.#kv.get(parsed.args.key) ?? null };
      case 'kv.put':
        this.#kv.set(parsed.args.key, parsed.args.value);
        return { ok: true, value: null };
      case 'http.fetch': {
        const grant = fetchGrant(this.#plan.policy, tool);
        if (grant === undefined) throw new TypeError('http.fetch was allowed without a grant');
        const options = { timeoutMs: REQUEST_MS };
        return fetchHttp(
          grant,
          parsed.args,
          this.#ports.fetch === undefined ? options : { ...options, fetch: this.#ports.fetch },
        );
      }
    }
  }

  #openGuest(guest: {
    readonly code: GuestCode;
    readonly entry: 'agent' | { readonly tool: string };
    readonly input: Json;
    readonly fuel: bigint;
    readonly index: bigint;
    readonly at: bigint;
  }): Promise<VmSession> {
    return this.#ports.vm.open({
      source: guest.code.source,
      entry: guest.entry,
      input: guest.input,
      fuel: guest.fuel,
      memoryBytes: guest.code.limits.memoryMb * 2 ** 20,
      outputBytes: guest.code.limits.outputBytes,
      wallMs: ACTIVATION_MS,
      seed: computeGuestSeed(this.#writer.state.runSeed, guest.index),
      startTimeMs: Number(guest.at),
    });
  }

  async #loseOpenStarts(reason: 'HOST_FAULT' | 'CANCELLED'): Promise<void> {
    const open = [...this.#writer.state.openStarts.values()].reverse();
    for (const start of open) {
      const lost = start.kind.replace('.start', '.lost') as 'tool.lost' | 'host.lost' | 'inference.lost';
      await this.#writer.append(lost, { reason }, undefined, start.index);
    }
  }

  async #close(ending: Ending): Promise<RunResult> {
    const { state } = this.#writer;
    const payloads = this.#writer.payloads();
    const output = ending.output === undefined ? null : payloads.json(ending.output);
    const failed = ending.status === 'failed' && ending.error !== undefined;
    const error = failed
      ? { code: ending.error?.code ?? '', message: payloads.text(ending.error?.message ?? '') }
      : null;
    await this.#writer.append(
      'run.close',
      { ...this.#writer.closing, bytes: payloads.bytes, error, output, status: ending.status },
      payloads,
    );
    const checkpoint = await this.#writer.checkpoint();
    return {
      run: toHex(state.run),
      status: ending.status,
      output: ending.output ?? null,
      error: ending.error ?? null,
      checkpoint,
      records: state.size,
    };
  }

  #key(): Hex {
    return toHex(computeKey(this.#writer.state.run, this.#writer.state.size));
  }

  async #append<K extends Kind>(kind: K, body: Bodies[K], payloads?: PayloadSet, of?: bigint) {
    const { state } = this.#writer;
    const more = body as {
      bytes?: string;
      fuel?: string;
      prompt?: { count: number };
      output?: { count?: number } | null;
    };
    const tokens = kind === 'inference.end' ? BigInt((more.prompt?.count ?? 0) + (more.output?.count ?? 0)) : 0n;
    requireBudget(state.counters, this.#plan.openBody.limits, {
      bytes: BigInt(more.bytes ?? 0),
      fuel: kind === 'agent' || kind === 'tool.end' ? BigInt(more.fuel ?? 0) : 0n,
      tokens,
    });
    if (this.#sinceCheckpoint >= CHECKPOINT_EVERY) {
      await this.#writer.checkpoint();
      this.#sinceCheckpoint = 0n;
    }
    const head = await this.#writer.append(kind, body, payloads, of);
    this.#sinceCheckpoint += 1n;
    this.#at = head.at;
    this.#ports.onRecord?.(kind, head.index);
    return head;
  }
}

function failureOf(state: VmState, payloads: PayloadSet): GuestFailure | null {
  if (state.status !== 'failed') return null;
  return { code: state.error.code, message: payloads.text(state.error.message) };
}
