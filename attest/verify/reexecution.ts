/**
 * Executes the recomputable records of a run again, in order, from what the records hold.
 *
 * X1. A guest sees exactly what it saw in the run: same code, input, seed, times, and the same deliveries in the same order.
 * X2. What comes from outside is fed from the records and never checked by doing it again.
 * X3. A record is `DIVERGED` only if everything that decides it was at hand; whatever is missing makes it
 *     `CANNOT_RECOMPUTE`.
 *     A record that was not checked (its rule is withheld, say) is taken as it stands: a guest is never left without
 *     a delivery that it got in the run, because it would then differ without a lie.
 * X4. After the first divergence nothing more is executed: what follows was computed from a false value.
 *
 * @module
 */

import type { Digest } from '../core/hash.ts';
import { canonicalJson, type Json } from '../encoding/canonical-json.ts';
import type { AgentBody, KindBody, PolicyBody, RunOpenBody } from '../trace/bodies.ts';
import {
  computeGuestSeed,
  deniedDelivery,
  failedDelivery,
  type GuestCall,
  type GuestCode,
  type GuestDelivery,
  grantToolFuel,
  inferenceParameters,
  inferenceRequestOf,
  type ParsedCall,
  parseCall,
  parseGuestCode,
  randomValue,
} from '../trace/guest.ts';
import { readIdsPayload, readJsonPayload, readTextPayload } from '../trace/payload.ts';
import { evaluatePolicy, type PolicyRules, parsePolicy } from '../trace/policy.ts';
import { computeInferenceSeed } from '../trace/run-seed.ts';
import type { Counters, OpenStart, RunState } from '../trace/state.ts';
import { type Executor, ExecutorFault, type GuestSession, type GuestState } from './executor.ts';
import { cannot, compare, compareIds, diverged, MATCH, type Outcome } from './outcome.ts';
import type { SoundRecord } from './structure.ts';
import type { CannotCode } from './verdict.ts';

/** Calls of one guest that wait for their decision, and the guest itself while it can be executed. */
type Guest = {
  readonly calls: Map<number, GuestCall>;
  session: GuestSession | undefined;
  state: GuestState | undefined;
  /** Why it cannot be executed any more. */
  obstacle: CannotCode | undefined;
};

/** Longest time that one activation of a guest may take here; beyond it the step is not checked. */
const WALL_MS = 120_000;

/** Executes one run again. Close it to free its guests. */
export class Reexecution {
  readonly #executor: Executor;
  readonly #agent: Guest = { calls: new Map(), session: undefined, state: undefined, obstacle: 'PAYLOAD_WITHHELD' };
  readonly #tools = new Map<bigint, Guest>();
  readonly #code = new Map<string, GuestCode>();
  readonly #texts = new Map<bigint, readonly string[] | undefined>();
  readonly #requests = new Map<bigint, Json | undefined>();
  readonly #kv = new Map<string, string | undefined>();
  readonly #toolNames = new Map<bigint, string>();
  #agentFuel = 0n;
  /** Undefined while the agent's code is withheld. */
  #agentLimit: bigint | undefined;
  #policy: PolicyRules | undefined;
  #open: RunOpenBody | undefined;
  #counters: Counters = { bytes: 0n, draws: 0n, fuel: 0n, steps: 0n, tokens: 0n };

  constructor(executor: Executor) {
    this.#executor = executor;
  }

  /**
   * Executes a record again.
   *
   * @param sound - the record; its structure holds
   * @param state - state after the record
   */
  async check(sound: SoundRecord, state: RunState): Promise<Outcome> {
    try {
      return await this.#check(sound, state);
    } catch (error) {
      if (error instanceof ExecutorFault) return cannot('HOST_FAULT');
      throw error;
    } finally {
      this.#counters = state.counters;
    }
  }

  /** Ends all guests. */
  async close(): Promise<void> {
    await this.#agent.session?.close();
    for (const guest of this.#tools.values()) await guest.session?.close();
    this.#tools.clear();
  }

  async #check(sound: SoundRecord, state: RunState): Promise<Outcome> {
    const { record, head } = sound;
    switch (record.kind) {
      case 'run.open':
        return this.#checkOpen(sound, record.body, state);
      case 'agent':
        return this.#checkAgent(sound, record.body);
      case 'policy':
        return this.#checkPolicy(record.body, Number(head.at));
      case 'inference.start':
      case 'tool.start':
      case 'host.start':
        return this.#checkStart(sound, record, state);
      case 'inference.end':
        return this.#checkInference(sound, record.body, state);
      case 'tool.end':
        return this.#checkTool(sound, record.body);
      case 'host.end':
        return this.#checkHost(sound, record.body, state);
      case 'inference.lost':
      case 'tool.lost':
      case 'host.lost':
        await this.#forget(head.of);
        await this.#deliver(sound.start, (id) => failedDelivery(id, record.body.reason), Number(head.at));
        return MATCH;
      case 'run.close':
        return this.#checkClose(sound, record.body);
      case 'run.child.start':
      case 'run.child.end':
      case 'run.child.lost': {
        // Its caller gets a delivery that this version does not make.
        const caller = this.#guestOf(((sound.start?.body ?? record.body) as { by: string | null }).by);
        if (caller !== undefined) caller.obstacle ??= 'CHILD_RUN';
        return cannot('CHILD_RUN');
      }
    }
  }

  /** Drops what is held of a start that was lost. */
  async #forget(index: bigint): Promise<void> {
    this.#texts.delete(index);
    this.#requests.delete(index);
    this.#toolNames.delete(index);
    const tool = this.#tools.get(index);
    this.#tools.delete(index);
    await tool?.session?.close();
  }

  async #checkOpen(sound: SoundRecord, open: RunOpenBody, state: RunState): Promise<Outcome> {
    this.#open = open;
    const { payloads } = sound;
    for (const [i, tool] of open.tools.entries()) {
      const payload = payloads.get(`body.tools.${i}.code`);
      if (payload === undefined) continue;
      this.#code.set(
        tool.name,
        parseGuestCode(readJsonPayload(payload, `body.tools.${i}.code`), `body.tools.${i}.code`),
      );
    }
    const rules = payloads.get('body.policy.rules');
    if (rules !== undefined) this.#policy = parsePolicy(readJsonPayload(rules, 'body.policy.rules'));
    const code = payloads.get('body.agent.code');
    const input = payloads.get('body.input');
    const agent =
      code === undefined ? undefined : parseGuestCode(readJsonPayload(code, 'body.agent.code'), 'body.agent.code');
    const value = input === undefined ? undefined : readJsonPayload(input, 'body.input');
    if (agent !== undefined) this.#agentLimit = minimum(agent.limits.fuel, open.limits.fuel);
    if (agent === undefined || value === undefined) return cannot('PAYLOAD_WITHHELD');
    if (open.engine !== this.#executor.sandbox) {
      this.#agent.obstacle = 'ENGINE_MISMATCH';
      return cannot('ENGINE_MISMATCH');
    }
    this.#agent.obstacle = 'HOST_FAULT';
    this.#agent.session = await this.#executor.openGuest({
      source: agent.source,
      entry: 'agent',
      input: value,
      fuel: minimum(agent.limits.fuel, open.limits.fuel),
      memoryBytes: agent.limits.memoryMb * 2 ** 20,
      outputBytes: agent.limits.outputBytes,
      wallMs: WALL_MS,
      seed: computeGuestSeed(state.runSeed, 0n),
      startTimeMs: Number(sound.head.at),
    });
    this.#agent.obstacle = undefined;
    await this.#advance(this.#agent, () => (this.#agent.session as GuestSession).start());
    return sound.withheld ? cannot('PAYLOAD_WITHHELD') : MATCH;
  }

  #checkAgent(sound: SoundRecord, body: AgentBody): Outcome {
    const { state, obstacle } = this.#agent;
    if (obstacle !== undefined || state === undefined) {
      // What a tool may use depends on it, so it is taken as recorded.
      this.#agentFuel += BigInt(body.fuel);
      return cannot(obstacle ?? 'HOST_FAULT');
    }
    for (let i = 0; i < Math.max(body.calls.length, state.calls.length); i++) {
      const [claimed, found] = [body.calls[i], state.calls[i]];
      const differs =
        compare(`body.calls.${i}.id`, claimed?.id ?? null, found?.id ?? null) ??
        compare(`body.calls.${i}.method`, claimed?.method ?? null, found?.method.slice(0, 64) ?? null);
      if (differs !== undefined) return differs;
    }
    const fuel = state.fuelUsed - this.#agentFuel;
    this.#agentFuel = state.fuelUsed;
    return (
      compare('body.fuel', body.fuel, fuel.toString()) ??
      this.#compareResult(sound, state, body.output, body.error, 'body.output') ??
      MATCH
    );
  }

  async #checkPolicy(body: PolicyBody, at: number): Promise<Outcome> {
    const guest = this.#guestOf(body.by);
    const open = this.#open as RunOpenBody;
    const call = guest?.calls.get(body.call);
    if (guest?.obstacle === undefined) {
      if (call === undefined) {
        return diverged('body.call', body.call, 'no such call of the guest');
      }
      const differs =
        compare('body.request.capability', body.request.capability, call.method.slice(0, 64)) ??
        compare('body.request.target', body.request.target, parseCall(call, open).target);
      if (differs !== undefined) return differs;
    }
    const differs = this.#policy === undefined ? undefined : this.#compareDecision(this.#policy, body, call, open);
    if (differs !== undefined) return differs;
    if (body.decision === 'deny' && guest !== undefined) {
      guest.calls.delete(body.call);
      await this.#give(guest, deniedDelivery(body.call, body.request.capability, body.rule), at);
    }
    if (this.#policy === undefined) return cannot('PAYLOAD_WITHHELD');
    return guest?.obstacle === undefined ? MATCH : cannot(guest.obstacle);
  }

  #compareDecision(
    policy: PolicyRules,
    body: PolicyBody,
    call: GuestCall | undefined,
    open: RunOpenBody,
  ): Outcome | undefined {
    const tool = body.by === null ? null : (this.#toolNames.get(BigInt(body.by)) ?? null);
    const decided = evaluatePolicy(
      policy,
      { tool, capability: knownCapability(call, open, body), target: body.request.target },
      this.#counters,
      open.limits,
    );
    return (
      compare('body.decision', body.decision, decided.decision) ??
      compare('body.form', body.form, decided.form) ??
      compare('body.rule', body.rule, decided.rule)
    );
  }

  async #checkStart(
    sound: SoundRecord,
    record: Extract<KindBody, { kind: 'inference.start' | 'tool.start' | 'host.start' }>,
    state: RunState,
  ): Promise<Outcome> {
    const { head, payloads } = sound;
    const guest = this.#guestOf(record.body.by);
    const call = guest?.calls.get(record.body.call);
    guest?.calls.delete(record.body.call);
    const parsed = call === undefined ? undefined : parseCall(call, this.#open as RunOpenBody);
    let differs: Outcome | undefined;
    if (record.kind === 'inference.start') {
      const texts = record.body.request.messages.map((_, i) => {
        const field = `body.request.messages.${i}.content`;
        const payload = payloads.get(field);
        return payload === undefined ? undefined : readTextPayload(payload, field);
      });
      this.#texts.set(head.index, texts.includes(undefined) ? undefined : (texts as string[]));
      if (parsed?.method === 'inference') differs = compareInferenceStart(record.body.request, texts, parsed.args);
    } else if (record.kind === 'tool.start') {
      const payload = payloads.get('body.input');
      const input = payload === undefined ? undefined : readJsonPayload(payload, 'body.input');
      this.#toolNames.set(head.index, record.body.tool);
      if (!(await this.#openTool(record.body.tool, input, head.index, Number(head.at), state))) {
        return diverged('state.counters.fuel', 'a start', 'no fuel is left for it');
      }
      if (parsed?.method === 'tool') {
        differs =
          compare('body.tool', record.body.tool, parsed.args.name) ??
          (input === undefined ? undefined : compare('body.input', input, parsed.args.input));
      }
    } else {
      const payload = payloads.get('body.request');
      const request = payload === undefined ? undefined : readJsonPayload(payload, 'body.request');
      if (request !== undefined) {
        const { capability, call: id } = record.body;
        const asked = parseCall({ id, method: capability, args: request }, this.#open as RunOpenBody);
        // Whoever asked: no guest can have asked for what the capability does not take, or for another target.
        differs =
          asked.method === 'unknown'
            ? diverged('body.request', request, `nothing that ${capability} takes`)
            : compare('body.request', asked.target, state.openStarts.get(head.index)?.policy?.request.target ?? '');
      }
      if (differs === undefined) this.#requests.set(head.index, request);
      if (differs === undefined && parsed !== undefined && parsed.method !== 'unknown' && request !== undefined) {
        differs = compare('body.request', request, parsed.args as Json);
      }
    }
    if (differs !== undefined) return differs;
    if (guest === undefined || guest.obstacle !== undefined) return cannot(guest?.obstacle ?? 'HOST_FAULT');
    return sound.withheld ? cannot('PAYLOAD_WITHHELD') : MATCH;
  }

  async #checkInference(
    sound: SoundRecord,
    body: Extract<KindBody, { kind: 'inference.end' }>['body'],
    { runSeed }: RunState,
  ): Promise<Outcome> {
    const { start, payloads } = sound;
    const outcome = await this.#recomputeInference(sound, body, runSeed);
    const text = payloads.get('body.text');
    const value =
      text === undefined ? undefined : { text: readTextPayload(text, 'body.text'), finishReason: body.finish };
    await this.#deliver(
      start,
      (id) => (value === undefined ? undefined : { id, ok: true, value }),
      Number(sound.head.at),
    );
    return outcome;
  }

  async #recomputeInference(
    { start, payloads, withheld }: SoundRecord,
    body: Extract<KindBody, { kind: 'inference.end' }>['body'],
    runSeed: Digest,
  ): Promise<Outcome> {
    const open = this.#open as RunOpenBody;
    const index = start?.index ?? 0n;
    const texts = this.#texts.get(index);
    this.#texts.delete(index);
    if (withheld || texts === undefined || start?.kind !== 'inference.start') return cannot('PAYLOAD_WITHHELD');
    const obstacle = this.#executor.obstacle(open.inference);
    if (obstacle !== undefined) return cannot(obstacle);
    const request = inferenceRequestOf(start.body as Parameters<typeof inferenceRequestOf>[0], texts, open);
    const shown = (name: 'prompt' | 'output') => {
      const payload = payloads.get(`body.${name}.ids`);
      return payload === undefined ? [] : readIdsPayload(payload, `body.${name}.ids`);
    };
    const outputIds = shown('output');
    const seed = computeInferenceSeed(runSeed, index, BigInt(request.seed));
    const answer = await this.#executor.infer(request, seed, outputIds);
    if ('refused' in answer) return diverged('body.output.ids', 'an output', answer.refused);
    const differs =
      compareIds('body.prompt.ids', shown('prompt'), answer.promptIds) ??
      compareIds('body.output.ids', outputIds, answer.outputIds);
    if (differs !== undefined) return differs;
    // An answer that ended early and yet does not differ says nothing about what comes after it.
    if (answer.finishReason === null) return cannot('HOST_FAULT');
    const text = payloads.get('body.text');
    return (
      compare('body.finish', body.finish, answer.finishReason) ??
      compare('body.masks', body.masks, answer.masks) ??
      compare('body.text', text === undefined ? '' : readTextPayload(text, 'body.text'), answer.text) ??
      MATCH
    );
  }

  async #checkTool(sound: SoundRecord, body: Extract<KindBody, { kind: 'tool.end' }>['body']): Promise<Outcome> {
    const index = sound.start?.index ?? 0n;
    const guest = this.#tools.get(index);
    this.#tools.delete(index);
    this.#toolNames.delete(index);
    await guest?.session?.close();
    const state = guest?.state;
    let outcome: Outcome = cannot(guest?.obstacle ?? 'HOST_FAULT');
    if (guest !== undefined && guest.obstacle === undefined && state !== undefined) {
      outcome =
        (state.status === 'waiting' ? diverged('head.kind', 'tool.end', 'the tool waits for a delivery') : undefined) ??
        this.#compareResult(sound, state, body.result, body.error, 'body.result') ??
        compare('body.fuel', body.fuel, state.fuelUsed.toString()) ??
        (sound.withheld ? cannot('PAYLOAD_WITHHELD') : MATCH);
    }
    const result = sound.payloads.get('body.result');
    const message = sound.payloads.get('body.error.message');
    await this.#deliver(
      sound.start,
      (id): GuestDelivery | undefined => {
        if (result !== undefined) return { id, ok: true, value: readJsonPayload(result, 'body.result') };
        if (body.error === null || message === undefined) return undefined;
        return {
          id,
          ok: false,
          error: { code: body.error.code, message: readTextPayload(message, 'body.error.message') },
        };
      },
      Number(sound.head.at),
    );
    return outcome;
  }

  async #checkHost(
    sound: SoundRecord,
    body: Extract<KindBody, { kind: 'host.end' }>['body'],
    state: RunState,
  ): Promise<Outcome> {
    const { start } = sound;
    const payload = sound.payloads.get('body.response');
    const response = payload === undefined ? undefined : readJsonPayload(payload, 'body.response');
    let outcome = this.#recomputeHost(start, state, response, body.error);
    if (outcome.verdict === 'MATCH' && sound.withheld) outcome = cannot('PAYLOAD_WITHHELD');
    await this.#deliver(
      start,
      (id): GuestDelivery | undefined => {
        if (body.error !== null) return failedDelivery(id, body.error);
        return response === undefined ? undefined : { id, ok: true, value: response };
      },
      Number(sound.head.at),
    );
    return outcome;
  }

  /** What the store or the run's seed answers; `response` is undefined when it is withheld or an error stands for it. */
  #recomputeHost(
    start: OpenStart | undefined,
    state: RunState,
    response: Json | undefined,
    error: string | null,
  ): Outcome {
    const index = start?.index ?? 0n;
    const capability = (start?.body as { capability?: string } | undefined)?.capability;
    const request = this.#requests.get(index) as { readonly [key: string]: Json } | undefined;
    this.#requests.delete(index);
    if (capability !== 'kv.put' && capability !== 'kv.get' && capability !== 'random.bytes') return MATCH;
    if (error !== null) return diverged('body.error', error, `${capability} does not fail`);
    const key = start?.policy?.request.target ?? '';
    let expected: Json | undefined;
    if (capability === 'kv.put') {
      this.#kv.set(key, request === undefined ? undefined : (request['value'] as string));
      expected = null;
    } else if (capability === 'kv.get') {
      expected = this.#kv.has(key) ? this.#kv.get(key) : null;
    } else if (request !== undefined) {
      expected = randomValue(state.runSeed, index, request['length'] as number);
    }
    if (response === undefined || expected === undefined) return cannot('PAYLOAD_WITHHELD');
    return compare('body.response', response, expected) ?? MATCH;
  }

  #checkClose(sound: SoundRecord, body: Extract<KindBody, { kind: 'run.close' }>['body']): Outcome {
    const { state, obstacle } = this.#agent;
    if (body.status !== 'done' && body.status !== 'failed') return MATCH;
    if (obstacle !== undefined || state === undefined) return cannot(obstacle ?? 'HOST_FAULT');
    return this.#compareResult(sound, state, body.output, body.error, 'body.output') ?? MATCH;
  }

  /** Compares a recorded result or error with the state of the guest that gave it. */
  #compareResult(
    sound: SoundRecord,
    state: GuestState,
    output: string | null,
    error: { readonly code: string; readonly message: string } | null,
    field: string,
  ): Outcome | undefined {
    const payload = sound.payloads.get(field);
    const message = sound.payloads.get('body.error.message');
    if (output !== null && state.status !== 'done') return diverged(field, 'a result', state.status);
    if (error !== null && state.status !== 'failed') return diverged('body.error', error.code, state.status);
    if (state.status === 'done') {
      if (output === null) return diverged(field, 'no result', canonicalJson(state.value));
      if (payload === undefined) return cannot('PAYLOAD_WITHHELD');
      return compare(field, readJsonPayload(payload, field), state.value);
    }
    if (state.status === 'failed') {
      if (error === null) return diverged('body.error', 'no error', state.error.code);
      if (message === undefined) return cannot('PAYLOAD_WITHHELD');
      return (
        compare('body.error.code', error.code, state.error.code) ??
        compare('body.error.message', readTextPayload(message, 'body.error.message'), state.error.message)
      );
    }
    return undefined;
  }

  /** Starts a tool; false when the run's fuel does not allow it. */
  async #openTool(name: string, input: Json | undefined, index: bigint, at: number, state: RunState): Promise<boolean> {
    const guest: Guest = { calls: new Map(), session: undefined, state: undefined, obstacle: undefined };
    this.#tools.set(index, guest);
    const open = this.#open as RunOpenBody;
    const code = this.#code.get(name);
    if (code === undefined || input === undefined) {
      guest.obstacle = 'PAYLOAD_WITHHELD';
      return true;
    }
    if (open.engine !== this.#executor.sandbox) {
      guest.obstacle = 'ENGINE_MISMATCH';
      return true;
    }
    if (this.#agentLimit === undefined) {
      // The tool's fuel depends on what the agent's code may still use.
      guest.obstacle = 'PAYLOAD_WITHHELD';
      return true;
    }
    const fuel = grantToolFuel({
      tool: BigInt(code.limits.fuel),
      run: BigInt(open.limits.fuel),
      used: this.#counters.fuel,
      agent: this.#agentLimit,
      agentUsed: this.#agentFuel,
    });
    if (fuel === 0n) return false;
    guest.obstacle = 'HOST_FAULT';
    const session = await this.#executor.openGuest({
      source: code.source,
      entry: { tool: name },
      input,
      fuel,
      memoryBytes: code.limits.memoryMb * 2 ** 20,
      outputBytes: code.limits.outputBytes,
      wallMs: WALL_MS,
      seed: computeGuestSeed(state.runSeed, index),
      startTimeMs: at,
    });
    guest.session = session;
    guest.obstacle = undefined;
    await this.#advance(guest, () => session.start());
    return true;
  }

  #guestOf(by: string | null): Guest | undefined {
    return by === null ? this.#agent : this.#tools.get(BigInt(by));
  }

  async #deliver(
    start: OpenStart | undefined,
    make: (id: number) => GuestDelivery | undefined,
    at: number,
  ): Promise<void> {
    const body = start?.body as { readonly by: string | null; readonly call: number } | undefined;
    if (body === undefined) return;
    const guest = this.#guestOf(body.by);
    if (guest === undefined) return;
    const delivery = make(body.call);
    if (delivery === undefined) {
      guest.obstacle ??= 'PAYLOAD_WITHHELD';
      return;
    }
    await this.#give(guest, delivery, at);
  }

  async #give(guest: Guest, delivery: GuestDelivery, at: number): Promise<void> {
    const { session } = guest;
    if (session === undefined || guest.obstacle !== undefined) return;
    if (guest.state?.status !== 'waiting') return;
    await this.#advance(guest, () => session.deliver(delivery, at));
  }

  async #advance(guest: Guest, step: () => Promise<GuestState>): Promise<void> {
    try {
      guest.state = await step();
    } catch (error) {
      if (!(error instanceof ExecutorFault)) throw error;
      guest.obstacle = 'HOST_FAULT';
      return;
    }
    for (const call of guest.state.calls) guest.calls.set(call.id, call);
  }
}

function knownCapability(call: GuestCall | undefined, open: RunOpenBody, body: PolicyBody): string {
  if (call === undefined) return body.request.capability;
  return parseCall(call, open).method === 'unknown' ? 'unknown' : call.method;
}

function compareInferenceStart(
  request: Extract<KindBody, { kind: 'inference.start' }>['body']['request'],
  texts: readonly (string | undefined)[],
  args: Extract<ParsedCall, { method: 'inference' }>['args'],
): Outcome | undefined {
  const { messages, ...rest } = request;
  const differs = compare('body.request.messages', messages.length, args.messages.length);
  if (differs !== undefined) return differs;
  for (const [i, message] of args.messages.entries()) {
    const claimed = messages[i] as (typeof messages)[number];
    const different =
      compare(`body.request.messages.${i}.role`, claimed.role, message.role) ??
      compare(`body.request.messages.${i}.name`, claimed.name, message.name) ??
      (texts[i] === undefined
        ? undefined
        : compare(`body.request.messages.${i}.content`, texts[i] as string, message.content));
    if (different !== undefined) return different;
  }
  return compare('body.request', rest as Json, inferenceParameters(args) as Json);
}

function minimum(a: string, b: string): bigint {
  const [left, right] = [BigInt(a), BigInt(b)];
  return left < right ? left : right;
}
