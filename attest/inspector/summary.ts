/**
 * What an agent did, in short: taken from records as they are checked, so that a page can answer before anybody reads records.
 *
 * S1. A record counts once nothing between it and the next one was found wrong: neither its own hashes nor a checkpoint over it.
 * S2. What a withheld payload holds is not told. What a body says (names, counts, targets that the policy decided on) is.
 * S3. Memory is bounded: names beyond {@link MAX_NAMES} are counted together.
 *
 * @module
 */

import type { Hex } from '../core/bytes.ts';
import type { RunOpenBody } from '../trace/bodies.ts';
import type { RunState } from '../trace/state.ts';
import { parseWalletTarget } from '../trace/wallet.ts';
import type { SoundRecord } from '../verify/structure.ts';
import type { AnswerCheck } from './evidence.ts';
import { fields } from './row.ts';
import { jsonOf, type ToldPayload, tellPayload } from './told-payload.ts';

/** Things of one name. The name is untrusted. */
export type Tally = {
  readonly name: string;
  readonly count: number;
  /** Of these, with an error as their end, and without any end that tells more. */
  readonly failed: number;
  readonly lost: number;
  /** First record of them. */
  readonly step: number;
};

/** Things of one sort. */
export type Tallies = {
  readonly count: number;
  /** In the order in which they first came. */
  readonly names: readonly Tally[];
  /** How many of `count` have other names than these. */
  readonly others: number;
};

/** What was found out about decisions of people. */
export type Approvals = {
  readonly asked: number;
  readonly step: number;
  /** Signed by an approver that the policy names, checked here. */
  readonly approved: number;
  readonly refused: number;
};

/** What an agent did. Texts are untrusted. */
export type Summary = {
  /** Name in the manifest of the agent's code; null: it has none, or the code is withheld. */
  readonly agent: { readonly name: string | null; readonly digest: Hex };
  readonly model: string;
  /** Milliseconds since 1970 of the operator's clock, of the first and the last record that count. */
  readonly began: number;
  readonly last: number;
  readonly input: ToldPayload;
  /** Undefined: no `run.close` that counts. `payload` is null where the run has no output. */
  readonly outcome:
    | {
        readonly step: number;
        readonly status: string;
        readonly error: string | null;
        readonly payload: ToldPayload | null;
      }
    | undefined;
  readonly inferences: Tallies;
  /** Tokens of inferences that ended. */
  readonly tokens: { readonly prompt: number; readonly output: number };
  readonly tools: Tallies;
  /** By origin, or MCP server. */
  readonly outside: Tallies;
  /** By receiver; `wei` is what they were sent for, together. */
  readonly payments: Tallies & { readonly wei: string; readonly signed: number };
  readonly approvals: Approvals;
  readonly denials: Tallies;
  readonly children: Tallies;
  /** The run's own store, dice and clock, by capability. */
  readonly own: Tallies;
};

/** Most names of one sort. */
export const MAX_NAMES = 50;

/** Most characters of one name. */
const MAX_NAME = 200;

type Sort = 'inferences' | 'tools' | 'outside' | 'payments' | 'approvals' | 'denials' | 'children' | 'own';

type Taken = { readonly sound: SoundRecord; readonly target: string; readonly answer: AnswerCheck | undefined };

/** Takes records in order. */
export class Summarizer {
  readonly #sorts: Readonly<Record<Sort, Names>> = {
    inferences: new Names(),
    tools: new Names(),
    outside: new Names(),
    payments: new Names(),
    approvals: new Names(),
    denials: new Names(),
    children: new Names(),
    own: new Names(),
  };
  /** Where starts that have no end yet are counted. */
  readonly #open = new Map<bigint, Counted | undefined>();
  #held: Taken | undefined;
  #first: Pick<Summary, 'agent' | 'model' | 'began' | 'input'> | undefined;
  #last = 0;
  #outcome: Summary['outcome'];
  #tokens = { prompt: 0, output: 0 };
  #decisions = { approved: 0, refused: 0 };
  #wei = 0n;
  #signed = 0;

  /**
   * Takes the next record; it counts when the one behind it is taken, or by {@link Summarizer.end}.
   *
   * @param state - after the record
   */
  take(sound: SoundRecord, state: RunState, answer: AnswerCheck | undefined): void {
    const target = state.openStarts.get(sound.head.index)?.policy?.request.target ?? '';
    this.#count();
    this.#held = { sound, target, answer };
  }

  /**
   * The summary; null where not even record 0 counts.
   *
   * @param sound - number of records that fit all before them, and whose checkpoints do
   */
  end(sound: number): Summary | null {
    if (this.#held !== undefined && Number(this.#held.sound.head.index) < sound) this.#count();
    const first = this.#first;
    if (first === undefined) return null;
    const { inferences, tools, outside, payments, approvals, denials, children, own } = this.#sorts;
    return {
      ...first,
      last: this.#last,
      outcome: this.#outcome,
      inferences: inferences.tallies(),
      tokens: this.#tokens,
      tools: tools.tallies(),
      outside: outside.tallies(),
      payments: { ...payments.tallies(), wei: this.#wei.toString(), signed: this.#signed },
      approvals: { asked: approvals.count, step: approvals.tallies().names[0]?.step ?? 0, ...this.#decisions },
      denials: denials.tallies(),
      children: children.tallies(),
      own: own.tallies(),
    };
  }

  #count(): void {
    const held = this.#held;
    this.#held = undefined;
    if (held === undefined) return;
    const { sound, target, answer } = held;
    const { head, record } = sound;
    this.#last = Number(head.at);
    switch (record.kind) {
      case 'run.open':
        this.#first = openingOf(sound, record.body);
        break;
      case 'run.close':
        this.#outcome = outcomeOf(sound, record.body);
        break;
      case 'policy': {
        const { capability, target: wanted } = record.body.request;
        if (record.body.decision === 'deny') {
          this.#sorts.denials.add(`${capability} ${placeOf(capability, wanted)}`.trim(), Number(head.index));
        }
        break;
      }
      case 'inference.start':
        this.#begin('inferences', '', head.index);
        break;
      case 'inference.end':
        this.#tokens = {
          prompt: this.#tokens.prompt + record.body.prompt.count,
          output: this.#tokens.output + record.body.output.count,
        };
        this.#finish(head.of, 'ended');
        break;
      case 'tool.start':
        this.#begin('tools', record.body.tool, head.index);
        break;
      case 'run.child.start':
        this.#begin('children', record.body.agent, head.index);
        break;
      case 'host.start':
        this.#beginHost(record.body.capability, target, head.index);
        break;
      case 'host.end':
        this.#takeAnswer(sound, answer);
        this.#finish(head.of, record.body.error === null ? 'ended' : 'failed');
        break;
      case 'tool.end':
        this.#finish(head.of, record.body.error === null ? 'ended' : 'failed');
        break;
      case 'run.child.end':
        this.#finish(head.of, record.body.status === 'done' ? 'ended' : 'failed');
        break;
      case 'inference.lost':
      case 'tool.lost':
      case 'host.lost':
      case 'run.child.lost':
        this.#finish(head.of, 'lost');
        break;
      default:
        break;
    }
  }

  #begin(sort: Sort, name: string, index: bigint): void {
    this.#open.set(index, this.#sorts[sort].add(name, Number(index)));
  }

  #beginHost(capability: string, target: string, index: bigint): void {
    const place = placeOf(capability, target);
    if (capability === 'http.fetch' || capability === 'mcp.call') this.#begin('outside', place, index);
    else if (capability === 'wallet.send') {
      this.#wei += parseWalletTarget(target)?.value ?? 0n;
      this.#begin('payments', place, index);
    } else if (capability === 'human.approve') this.#begin('approvals', '', index);
    else this.#begin('own', capability, index);
  }

  #takeAnswer({ payloads }: SoundRecord, answer: AnswerCheck | undefined): void {
    if (answer === 'transaction') this.#signed += 1;
    if (answer !== 'approval') return;
    const response = fields(jsonOf(payloads.get('body.response'), 'body.response'));
    if (response['approved'] === true) this.#decisions = { ...this.#decisions, approved: this.#decisions.approved + 1 };
    if (response['approved'] === false) this.#decisions = { ...this.#decisions, refused: this.#decisions.refused + 1 };
  }

  #finish(of: bigint, how: 'ended' | 'failed' | 'lost'): void {
    const counted = this.#open.get(of);
    this.#open.delete(of);
    if (counted !== undefined && how !== 'ended') counted[how] += 1;
  }
}

function openingOf(sound: SoundRecord, body: RunOpenBody): Pick<Summary, 'agent' | 'model' | 'began' | 'input'> {
  const code = fields(jsonOf(sound.payloads.get('body.agent.code'), 'body.agent.code'));
  const { name } = fields(code['manifest']);
  return {
    agent: {
      name: typeof name === 'string' && name !== '' ? name.slice(0, MAX_NAME) : null,
      digest: body.agent.digest,
    },
    model: body.inference.id,
    began: Number(sound.head.at),
    input: tellPayload(sound, 'body.input'),
  };
}

function outcomeOf(
  sound: SoundRecord,
  body: Extract<SoundRecord['record'], { kind: 'run.close' }>['body'],
): Summary['outcome'] {
  const field = body.output !== null ? 'body.output' : body.error !== null ? 'body.error.message' : undefined;
  return {
    step: Number(sound.head.index),
    status: body.status,
    error: body.error === null ? null : body.error.code,
    payload: field === undefined ? null : tellPayload(sound, field),
  };
}

/** Where a request goes, in short: an origin, a server, a receiver. */
function placeOf(capability: string, target: string): string {
  if (capability === 'http.fetch') {
    const url = target.slice(target.indexOf(' ') + 1);
    const origin = URL.canParse(url) ? new URL(url).origin : 'null';
    return origin === 'null' ? target : origin;
  }
  if (capability === 'mcp.call') return `MCP server ${target.split(' ', 1)[0] ?? ''}`;
  if (capability !== 'wallet.send') return target;
  const send = parseWalletTarget(target);
  return send === undefined ? target : `${send.to} on chain ${send.chain}`;
}

type Counted = { count: number; failed: number; lost: number; readonly step: number };

/** Counts by name. */
class Names {
  count = 0;
  #others = 0;
  readonly #names = new Map<string, Counted>();

  /** @returns what an end of it is counted in; undefined beyond {@link MAX_NAMES} */
  add(name: string, step: number): Counted | undefined {
    this.count += 1;
    const key = name.slice(0, MAX_NAME);
    let counted = this.#names.get(key);
    if (counted === undefined && this.#names.size < MAX_NAMES) {
      counted = { count: 0, failed: 0, lost: 0, step };
      this.#names.set(key, counted);
    }
    if (counted === undefined) this.#others += 1;
    else counted.count += 1;
    return counted;
  }

  tallies(): Tallies {
    const names = [...this.#names].map(([name, counted]) => ({ name, ...counted }));
    return { count: this.count, names, others: this.#others };
  }
}
