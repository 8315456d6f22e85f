/**
 * What host calls answered, as far as the bundle itself can contradict it: the signatures of approvers and of wallets, the run's store,
 * its random bytes. The same checks that the verifier makes while it executes a run again; they need neither agent nor model.
 *
 * E1. A record is false only if everything that decides it is shown; whatever is withheld leaves it unchecked.
 * E2. After the first false record nothing more is checked: what follows may come from it.
 *
 * @module
 */

import { RuntimeError } from '../core/error.ts';
import { canonicalJson, type Json } from '../encoding/canonical-json.ts';
import type { HostStartBody, KindBody } from '../trace/bodies.ts';
import { parseCall } from '../trace/guest.ts';
import { readJsonPayload } from '../trace/payload.ts';
import { coveredSend, type PolicyRules, parsePolicy } from '../trace/policy.ts';
import type { RunState } from '../trace/state.ts';
import { HostEffects } from '../verify/host-effects.ts';
import type { SoundRecord } from '../verify/structure.ts';
import { faultOf } from '../verify/verdict.ts';

/** A record that contradicts what it rests on. */
export type Falsehood = {
  readonly step: number;
  readonly code: string;
  readonly field?: string;
  readonly message: string;
  readonly claimed?: string;
  readonly recomputed?: string;
};

/**
 * What was found out about the answer of a host call: `approval`, `transaction`: signed by whom the policy names, for this very request;
 * `computed`: it follows from the run; `unchecked`: something that decides it is not shown.
 */
export type AnswerCheck = 'approval' | 'transaction' | 'computed' | 'unchecked';

/** Capabilities whose answers the bundle can contradict. */
const KEPT: ReadonlySet<string> = new Set(['human.approve', 'wallet.send', 'kv.put', 'kv.get', 'random.bytes']);

/** Checks answers as records go by. */
export class EvidenceChecks {
  /** The first record that is false. */
  falsehood: Falsehood | undefined;
  readonly #effects = new HostEffects();
  /** Names of tools by the index of their start. */
  readonly #tools = new Map<string, string>();
  #policy: PolicyRules | undefined;

  /**
   * Takes the next record.
   *
   * @param state - after the record
   * @returns what was found out about an answer; undefined where there is none, or only the host's word
   */
  take(sound: SoundRecord, state: RunState): AnswerCheck | undefined {
    if (this.falsehood !== undefined)
      return sound.record.kind === 'host.end' && isChecked(sound) ? 'unchecked' : undefined;
    try {
      return this.#take(sound, state);
    } catch (error) {
      if (!RuntimeError.is(error)) throw error;
      this.falsehood = { step: Number(sound.head.index), ...faultOf(error) };
      return 'unchecked';
    }
  }

  #take(sound: SoundRecord, state: RunState): AnswerCheck | undefined {
    const { record, head, payloads } = sound;
    if (record.kind === 'run.open') {
      const rules = payloads.get('body.policy.rules');
      if (rules !== undefined) this.#policy = parsePolicy(readJsonPayload(rules, 'body.policy.rules'));
    } else if (record.kind === 'tool.start') this.#tools.set(head.index.toString(), record.body.tool);
    else if (record.kind === 'host.start') this.#takeStart(sound, record.body, state);
    else if (record.kind === 'host.lost') this.#effects.forget(head.of);
    else if (record.kind === 'host.end') return this.#takeEnd(sound, record.body, state);
    return undefined;
  }

  #takeStart({ head, payloads }: SoundRecord, body: HostStartBody, state: RunState): void {
    const { capability, call: id } = body;
    const open = state.runOpen;
    if (open === undefined) return;
    const target = state.openStarts.get(head.index)?.policy?.request.target ?? '';
    const payload = payloads.get('body.request');
    const request = payload === undefined ? undefined : readJsonPayload(payload, 'body.request');
    if (request !== undefined) {
      const asked = parseCall({ id, method: capability, args: request }, this.#nameOf(body.by), open);
      if (asked.method === 'unknown') {
        this.#refute(head.index, 'body.request', canonicalJson(request), `nothing that ${capability} takes`);
        return;
      }
      if (asked.target !== target) {
        this.#refute(head.index, 'body.request', asked.target, target);
        return;
      }
    }
    if (KEPT.has(capability)) this.#effects.take(head.index, request);
    if (capability !== 'wallet.send' || this.#policy === undefined) return;
    const amount = coveredSend(this.#policy, this.#nameOf(body.by), target)?.amount.toString();
    if (amount === undefined) this.#refute(head.index, 'body.capability', capability, 'nothing that the policy covers');
    else if (body.amount !== amount) this.#refute(head.index, 'body.amount', String(body.amount), amount);
  }

  #takeEnd(
    sound: SoundRecord,
    body: Extract<KindBody, { kind: 'host.end' }>['body'],
    state: RunState,
  ): AnswerCheck | undefined {
    const { start, payloads, head } = sound;
    const payload = payloads.get('body.response');
    const response: Json | undefined = payload === undefined ? undefined : readJsonPayload(payload, 'body.response');
    const tool = this.#nameOf(start?.body.by ?? null);
    const outcome = this.#effects.check({ start, tool, body, response }, state, this.#policy);
    if (outcome.verdict === 'DIVERGED') {
      this.#refute(head.index, outcome.field, outcome.claimed, outcome.recomputed);
      return 'unchecked';
    }
    if (!isChecked(sound)) return undefined;
    if (outcome.verdict !== 'MATCH' || sound.withheld) return 'unchecked';
    return body.evidence === 'none' ? 'computed' : body.evidence;
  }

  #nameOf(by: string | null): string | null {
    return by === null ? null : (this.#tools.get(by) ?? null);
  }

  #refute(index: bigint, field: string, claimed: string, recomputed: string): void {
    const message = `${field} is not what follows from the rest of the bundle`;
    this.falsehood = { step: Number(index), code: 'STEP_DIVERGED', field, message, claimed, recomputed };
  }
}

/** Whether more than the host's word stands behind an answer. */
function isChecked({ head }: SoundRecord): boolean {
  return head.class !== 'opaque';
}
