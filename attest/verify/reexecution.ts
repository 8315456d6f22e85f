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

import { toHex } from '../core/bytes.ts';
import type { Digest } from '../core/hash.ts';
import type { Json } from '../encoding/canonical-json.ts';
import type { AgentBody, Bodies, ChildStartBody, KindBody, PolicyBody, RunOpenBody } from '../trace/bodies.ts';
import { type Completion, deliveryOf } from '../trace/deliveries.ts';
import { hashLimits } from '../trace/facts.ts';
import { deniedDelivery, parseCall, parseGuestCode } from '../trace/guest.ts';
import { argsOfStart, type InferenceArgs, inferenceRequestOf } from '../trace/inference-call.ts';
import { readIdsPayload, readJsonPayload, readTextPayload } from '../trace/payload.ts';
import { childGrant, coveredSend, type PolicyRules, parsePolicy } from '../trace/policy.ts';
import { childNonce, computeInferenceSeed } from '../trace/run-seed.ts';
import type { Counters, RunState } from '../trace/state.ts';
import { type ChildReport, type ChildRuns, checkChildSignature, compareChild } from './child-runs.ts';
import { compareDecision } from './decision.ts';
import { type Executor, ExecutorFault } from './executor.ts';
import { compareGuestResult } from './guest-result.ts';
import { Guests } from './guests.ts';
import { HostEffects } from './host-effects.ts';
import { cannot, compare, compareIds, diverged, MATCH, type Outcome } from './outcome.ts';
import type { SoundRecord } from './structure.ts';

/** Executes one run again. Close it to free its guests. */
export class Reexecution {
  readonly #executor: Executor;
  readonly #guests: Guests;
  readonly #effects = new HostEffects();
  readonly #children: ChildRuns | undefined;
  readonly #requests = new Map<bigint, InferenceArgs | undefined>();
  #policy: PolicyRules | undefined;
  #open: RunOpenBody | undefined;
  #counters: Counters = { bytes: 0n, draws: 0n, fuel: 0n, steps: 0n, tokens: 0n };

  /** @param children - where the bundles of child runs are found */
  constructor(executor: Executor, children?: ChildRuns) {
    this.#executor = executor;
    this.#guests = new Guests(executor);
    this.#children = children;
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
  close(): Promise<void> {
    return this.#guests.close();
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
        return this.#checkInferenceStart(sound, record.body);
      case 'tool.start':
        return this.#checkToolStart(sound, record.body, state);
      case 'host.start':
        return this.#checkHostStart(sound, record.body, state);
      case 'inference.end':
        return this.#checkInference(sound, record.body, state);
      case 'tool.end':
        return this.#checkTool(sound, record.body);
      case 'host.end':
        return this.#checkHost(sound, record.body, state);
      case 'inference.lost':
      case 'tool.lost':
      case 'host.lost':
      case 'run.child.lost':
        this.#requests.delete(head.of);
        this.#effects.forget(head.of);
        await this.#guests.endTool(head.of);
        await this.#deliver(sound, record);
        return MATCH;
      case 'run.close':
        return this.#checkClose(sound, record.body);
      case 'run.child.start':
        return this.#checkChildStart(sound, record.body, state);
      case 'run.child.end':
        return this.#checkChild(sound, record.body, state);
    }
  }

  async #checkOpen(sound: SoundRecord, open: RunOpenBody, state: RunState): Promise<Outcome> {
    this.#open = open;
    const { payloads } = sound;
    for (const [i, tool] of open.tools.entries()) {
      const payload = payloads.get(`body.tools.${i}.code`);
      if (payload === undefined) continue;
      this.#guests.code.set(
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
    if (agent !== undefined) this.#guests.agentLimit = minimum(agent.limits.fuel, open.limits.fuel);
    if (agent === undefined || value === undefined) return cannot('PAYLOAD_WITHHELD');
    await this.#guests.openAgent(agent, value, Number(sound.head.at), state);
    if (this.#guests.agent.obstacle === 'ENGINE_MISMATCH') return cannot('ENGINE_MISMATCH');
    return sound.withheld ? cannot('PAYLOAD_WITHHELD') : MATCH;
  }

  #checkAgent(sound: SoundRecord, body: AgentBody): Outcome {
    const { state, obstacle } = this.#guests.agent;
    if (obstacle !== undefined || state === undefined) {
      // What a tool may use depends on it, so it is taken as recorded.
      this.#guests.agentFuel += BigInt(body.fuel);
      return cannot(obstacle ?? 'HOST_FAULT');
    }
    for (let i = 0; i < Math.max(body.calls.length, state.calls.length); i++) {
      const [claimed, found] = [body.calls[i], state.calls[i]];
      const differs =
        compare(`body.calls.${i}.id`, claimed?.id ?? null, found?.id ?? null) ??
        compare(`body.calls.${i}.method`, claimed?.method ?? null, found?.method.slice(0, 64) ?? null);
      if (differs !== undefined) return differs;
    }
    const fuel = state.fuelUsed - this.#guests.agentFuel;
    this.#guests.agentFuel = state.fuelUsed;
    return (
      compare('body.fuel', body.fuel, fuel.toString()) ??
      compareGuestResult(sound.payloads, state, body.output, body.error, 'body.output') ??
      MATCH
    );
  }

  async #checkPolicy(body: PolicyBody, at: number): Promise<Outcome> {
    const guest = this.#guests.of(body.by);
    const open = this.#open as RunOpenBody;
    const tool = this.#guests.nameOf(body.by);
    const call = guest?.calls.get(body.call);
    if (guest?.obstacle === undefined) {
      if (call === undefined) {
        return diverged('body.call', body.call, 'no such call of the guest');
      }
      const differs =
        compare('body.request.capability', body.request.capability, call.method.slice(0, 64)) ??
        compare('body.request.target', body.request.target, parseCall(call, tool, open).target);
      if (differs !== undefined) return differs;
    }
    const known = call === undefined || parseCall(call, tool, open).method !== 'unknown';
    const capability = known ? (call?.method ?? body.request.capability) : 'unknown';
    const request = { tool, capability, target: body.request.target };
    const use = { counters: this.#counters, open, wallet: this.#effects.wallet };
    const differs = this.#policy === undefined ? undefined : compareDecision(this.#policy, body, request, use);
    if (differs !== undefined) return differs;
    if (body.decision === 'deny' && guest !== undefined) {
      guest.calls.delete(body.call);
      await this.#guests.give(guest, deniedDelivery(body.call, body.request.capability, body.rule), at);
    }
    if (this.#policy === undefined) return cannot('PAYLOAD_WITHHELD');
    return guest?.obstacle === undefined ? MATCH : cannot(guest.obstacle);
  }

  /** Takes the call that a start answers, and says how the step stands once its fields are compared. */
  #begin(sound: SoundRecord, by: string | null, id: number) {
    const guest = this.#guests.of(by);
    const call = guest?.calls.get(id);
    guest?.calls.delete(id);
    const parsed = call === undefined ? undefined : parseCall(call, this.#guests.nameOf(by), this.#open as RunOpenBody);
    const standing = (differs: Outcome | undefined): Outcome => {
      if (differs !== undefined) return differs;
      if (guest === undefined || guest.obstacle !== undefined) return cannot(guest?.obstacle ?? 'HOST_FAULT');
      return sound.withheld ? cannot('PAYLOAD_WITHHELD') : MATCH;
    };
    return { parsed, standing };
  }

  #checkInferenceStart(sound: SoundRecord, body: Bodies['inference.start']): Outcome {
    const { parsed, standing } = this.#begin(sound, body.by, body.call);
    this.#requests.set(sound.head.index, argsOfStart(body, sound.payloads));
    if (parsed?.method !== 'inference') return standing(undefined);
    const claimed = argsOfStart(body, sound.payloads, parsed.args) as InferenceArgs;
    return standing(compare('body.request', claimed as unknown as Json, parsed.args as unknown as Json));
  }

  async #checkToolStart(sound: SoundRecord, body: Bodies['tool.start'], state: RunState): Promise<Outcome> {
    const { parsed, standing } = this.#begin(sound, body.by, body.call);
    const payload = sound.payloads.get('body.input');
    const input = payload === undefined ? undefined : readJsonPayload(payload, 'body.input');
    const { index, at } = sound.head;
    if (!(await this.#guests.openTool(body.tool, input, index, Number(at), this.#counters.fuel, state))) {
      return diverged('state.counters.fuel', 'a start', 'no fuel is left for it');
    }
    if (parsed?.method !== 'tool') return standing(undefined);
    return standing(
      compare('body.tool', body.tool, parsed.args.name) ??
        (input === undefined ? undefined : compare('body.input', input, parsed.args.input)),
    );
  }

  #checkHostStart(sound: SoundRecord, body: Bodies['host.start'], state: RunState): Outcome {
    const { parsed, standing } = this.#begin(sound, body.by, body.call);
    const { index } = sound.head;
    const payload = sound.payloads.get('body.request');
    if (payload === undefined) {
      this.#effects.take(index, undefined);
      return standing(this.#compareAmount(body, state, index));
    }
    const request = readJsonPayload(payload, 'body.request');
    const { capability, call: id } = body;
    const asked = parseCall(
      { id, method: capability, args: request },
      this.#guests.nameOf(body.by),
      this.#open as RunOpenBody,
    );
    // Whoever asked: no guest can have asked for what the capability does not take, or for another target.
    const differs =
      asked.method === 'unknown'
        ? diverged('body.request', request, `nothing that ${capability} takes`)
        : compare('body.request', asked.target, state.openStarts.get(index)?.policy?.request.target ?? '');
    if (differs !== undefined) return standing(differs);
    this.#effects.take(index, request);
    const spent = this.#compareAmount(body, state, index);
    if (spent !== undefined) return standing(spent);
    if (parsed === undefined || parsed.method === 'unknown') return standing(undefined);
    return standing(compare('body.request', request, parsed.args as Json));
  }

  /** Counts a send in the wallet's book, and holds its amount against the grant that covers it. */
  #compareAmount(body: Bodies['host.start'], state: RunState, index: bigint): Outcome | undefined {
    if (body.capability !== 'wallet.send' || this.#policy === undefined) return undefined;
    const tool = this.#guests.nameOf(body.by);
    const covered = coveredSend(this.#policy, tool, state.openStarts.get(index)?.policy?.request.target ?? '');
    if (covered === undefined) return diverged('body.capability', body.capability, 'nothing that the policy covers');
    const { rule, amount, target, needsApproval } = covered;
    this.#effects.wallet.spend(rule, tool, target.digest, amount, needsApproval);
    return compare('body.amount', body.amount, amount.toString());
  }

  #checkChildStart(sound: SoundRecord, body: ChildStartBody, state: RunState): Outcome {
    const { parsed, standing } = this.#begin(sound, body.by, body.call);
    const open = this.#open as RunOpenBody;
    const payload = sound.payloads.get('body.input');
    const input = payload === undefined ? undefined : readJsonPayload(payload, 'body.input');
    const grant = this.#policy === undefined ? undefined : childGrant(this.#policy, body.agent);
    const { request } = body;
    return standing(
      compare('body.request.input', request.input, body.input) ??
        compare('body.request.caller', request.caller, open.operator) ??
        compare('body.request.nonce', request.nonce, childNonce(state.run, sound.head.index)) ??
        compare('body.request.expiry', request.expiry, open.request.expiry) ??
        (grant === undefined
          ? undefined
          : (compare('body.request.agent', request.agent, grant.digest) ??
            compare('body.request.limits', request.limits, toHex(hashLimits(grant.limits))))) ??
        (parsed?.method !== 'run.child' || input === undefined
          ? undefined
          : compare('body.input', input, parsed.args.input)),
    );
  }

  async #checkChild(sound: SoundRecord, body: Bodies['run.child.end'], { run }: RunState): Promise<Outcome> {
    const open = this.#open as RunOpenBody;
    const forged = checkChildSignature(body, open);
    if (forged !== undefined) return forged;
    const child: ChildReport | undefined = await this.#children?.(body.run, open.operator);
    const output = sound.payloads.get('body.output');
    const value = output === undefined ? undefined : readJsonPayload(output, 'body.output');
    const message = sound.payloads.get('body.error.message');
    const error =
      body.error === null || message === undefined
        ? undefined
        : { code: body.error.code, message: readTextPayload(message, 'body.error.message') };
    let outcome: Outcome = cannot('CHILD_RUN');
    if (child !== undefined && sound.start !== undefined) {
      outcome = compareChild(child, toHex(run), sound.start, body, { output: value, error });
    }
    await this.#deliver(sound, { kind: 'run.child.end', body });
    return outcome;
  }

  async #checkInference(
    sound: SoundRecord,
    body: Extract<KindBody, { kind: 'inference.end' }>['body'],
    { runSeed }: RunState,
  ): Promise<Outcome> {
    const outcome = await this.#recomputeInference(sound, body, runSeed);
    await this.#deliver(sound, { kind: 'inference.end', body });
    return outcome;
  }

  async #recomputeInference(
    { start, payloads, withheld }: SoundRecord,
    body: Extract<KindBody, { kind: 'inference.end' }>['body'],
    runSeed: Digest,
  ): Promise<Outcome> {
    const open = this.#open as RunOpenBody;
    const index = start?.index ?? 0n;
    const args = this.#requests.get(index);
    this.#requests.delete(index);
    if (withheld || args === undefined || start?.kind !== 'inference.start') return cannot('PAYLOAD_WITHHELD');
    const obstacle = this.#executor.obstacle(open.inference);
    if (obstacle !== undefined) return cannot(obstacle);
    const request = inferenceRequestOf(args, open);
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
    const guest = await this.#guests.endTool(index);
    const state = guest?.state;
    let outcome: Outcome = cannot(guest?.obstacle ?? 'HOST_FAULT');
    if (guest !== undefined && guest.obstacle === undefined && state !== undefined) {
      outcome =
        (state.status === 'waiting' ? diverged('head.kind', 'tool.end', 'the tool waits for a delivery') : undefined) ??
        compareGuestResult(sound.payloads, state, body.result, body.error, 'body.result') ??
        compare('body.fuel', body.fuel, state.fuelUsed.toString()) ??
        (sound.withheld ? cannot('PAYLOAD_WITHHELD') : MATCH);
    }
    await this.#deliver(sound, { kind: 'tool.end', body });
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
    const tool = this.#guests.nameOf(start?.body.by ?? null);
    let outcome = this.#effects.check({ start, tool, body, response }, state, this.#policy);
    if (outcome.verdict === 'MATCH' && sound.withheld) outcome = cannot('PAYLOAD_WITHHELD');
    await this.#deliver(sound, { kind: 'host.end', body });
    return outcome;
  }

  #checkClose(sound: SoundRecord, body: Extract<KindBody, { kind: 'run.close' }>['body']): Outcome {
    const { state, obstacle } = this.#guests.agent;
    if (body.status !== 'done' && body.status !== 'failed') return MATCH;
    if (obstacle !== undefined || state === undefined) return cannot(obstacle ?? 'HOST_FAULT');
    return compareGuestResult(sound.payloads, state, body.output, body.error, 'body.output') ?? MATCH;
  }

  async #deliver({ start, payloads, head }: SoundRecord, completion: Completion): Promise<void> {
    await this.#guests.deliver(start, (id) => deliveryOf(completion, payloads, id), Number(head.at));
  }
}

function minimum(a: string, b: string): bigint {
  const [left, right] = [BigInt(a), BigInt(b)];
  return left < right ? left : right;
}
