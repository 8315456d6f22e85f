/**
 * The state of a run between two records, and how each record changes it. The recorder and the verifier share this
 * code, so that `pre`, `post`, `subject` and `facts` of a head have one definition.
 *
 * Spec: `attest/spec/trace.md#state`.
 *
 * @module
 */

import { hashRequest } from '../bond/run-id.ts';
import { fromHex, type Hex, toHex, uintBytes } from '../core/bytes.ts';
import { type Digest, taggedHash, ZERO_DIGEST } from '../core/hash.ts';
import { canonicalBytes } from '../encoding/canonical-json.ts';
import { MerkleAccumulator } from '../merkle/tree.ts';
import type {
  ChildStartBody,
  HostStartBody,
  InferenceStartBody,
  KindBody,
  PolicyBody,
  RunOpenBody,
  ToolStartBody,
} from './bodies.ts';
import { closeFacts, computeFactsRoot, hostFacts, inferenceFacts, openFacts, policyFacts } from './facts.ts';
import { type Head, hashHead } from './head.ts';
import { type Capability, classOf, type Kind } from './kinds.ts';
import { KvTree } from './kv-tree.ts';
import { computeInferenceSeed, computeRunSeed } from './run-seed.ts';

/** Running totals of a run; see `Limits`. */
export type Counters = {
  readonly bytes: bigint;
  readonly draws: bigint;
  readonly fuel: bigint;
  readonly steps: bigint;
  readonly tokens: bigint;
};

/** A start that no record has completed yet, with the policy record that allowed it. */
export type OpenStart = {
  readonly index: bigint;
  readonly kind: Kind;
  readonly body: InferenceStartBody | ToolStartBody | HostStartBody | ChildStartBody;
  readonly bodyDigest: Digest;
  readonly policy: PolicyBody | undefined;
};

/** What a record says besides what the state fixes. */
export type RecordInput = { readonly record: KindBody; readonly at: bigint; readonly of?: bigint };

/** Body digest: SHA-256(0x04 || JCS(body)). */
export function hashBody(body: KindBody['body']): Digest {
  return taggedHash('body', canonicalBytes(body as Parameters<typeof canonicalBytes>[0]));
}

/**
 * State of one run. {@link RunState.apply} turns the next record into its head and moves the state past it. It computes
 * and does not judge: order and limits are the business of `rules.ts`, so that a false trace can be computed too.
 */
export class RunState {
  readonly run: Digest;
  readonly #messages = new MerkleAccumulator();
  readonly #kv = new KvTree();
  readonly #open = new Map<bigint, OpenStart>();
  #counters: Counters = { bytes: 0n, draws: 0n, fuel: 0n, steps: 0n, tokens: 0n };
  #size = 0n;
  #last: Digest;
  #digest: Digest = ZERO_DIGEST;
  /** Tree over the open starts, until one is added or removed. */
  #openRoot: Hex | undefined;
  #runOpen: RunOpenBody | undefined;
  #requestDigest: Digest = ZERO_DIGEST;
  #runSeed: Digest = ZERO_DIGEST;
  #policy: { readonly index: bigint; readonly body: PolicyBody } | undefined;

  constructor(run: Digest) {
    this.run = run;
    this.#last = run;
  }

  /** Number of records so far. */
  get size(): bigint {
    return this.#size;
  }

  /** Totals after the last record. */
  get counters(): Counters {
    return this.#counters;
  }

  /** Starts that wait for their end, by index. */
  get openStarts(): ReadonlyMap<bigint, OpenStart> {
    return this.#open;
  }

  /** Body of `run.open`, once it was applied. */
  get runOpen(): RunOpenBody | undefined {
    return this.#runOpen;
  }

  /** Seed of the run, from its request digest. */
  get runSeed(): Digest {
    return this.#runSeed;
  }

  /** Digest of the request that the run answers. */
  get requestDigest(): Digest {
    return this.#requestDigest;
  }

  /** Digest of the state after the last record. */
  get digest(): Digest {
    return this.#digest;
  }

  /** Leaf hash of the last record, or the run id. */
  get last(): Digest {
    return this.#last;
  }

  /** Commitment of the value at a key, or zero. */
  kvCommitment(key: string): Digest {
    return this.#kv.get(key);
  }

  /** The head of the next record, and the state moved past it. */
  apply({ record, at, of }: RecordInput): Head {
    const index = this.#size;
    if (record.kind === 'run.open' && index === 0n) {
      this.#runOpen = record.body;
      this.#requestDigest = hashRequest(record.body.request);
      this.#runSeed = computeRunSeed(this.#requestDigest);
      this.#digest = this.#computeDigest();
    }
    const start = of === undefined ? undefined : this.#open.get(of);
    const bodyDigest = hashBody(record.body);
    const pre = this.#digest;
    const subject = this.#subjectOf(record, start);
    const facts = computeFactsRoot(record.kind, this.#factsOf(record, index, start));
    this.#move(record, index, bodyDigest, start);
    this.#digest = this.#computeDigest();
    const head: Head = {
      kind: record.kind,
      class: classOf(
        record.kind,
        (start?.body as Partial<HostStartBody> | undefined)?.capability,
        record.kind === 'host.end' && record.body.evidence !== 'none',
      ),
      index,
      at,
      of: of ?? index,
      run: this.run,
      prev: this.#last,
      pre,
      post: this.#digest,
      subject,
      body: bodyDigest,
      facts,
    };
    this.#last = hashHead(head);
    this.#policy = record.kind === 'policy' ? { index, body: record.body } : undefined;
    this.#size += 1n;
    return head;
  }

  #computeDigest(): Digest {
    this.#openRoot ??= this.#computeOpenRoot();
    const { bytes, draws, fuel, steps, tokens } = this.#counters;
    return taggedHash(
      'state',
      canonicalBytes({
        counters: {
          bytes: bytes.toString(),
          draws: draws.toString(),
          fuel: fuel.toString(),
          steps: steps.toString(),
          tokens: tokens.toString(),
        },
        kv: toHex(this.#kv.root()),
        messages: toHex(this.#messages.root()),
        open: this.#openRoot,
        vm: null,
      }),
    );
  }

  #computeOpenRoot(): Hex {
    const open = new MerkleAccumulator();
    // Starts are added in the order of their indices, and a Map keeps it.
    for (const start of this.#open.values()) {
      open.append(taggedHash('state', uintBytes(start.index, 8), start.bodyDigest));
    }
    return toHex(open.root());
  }

  #subjectOf(record: KindBody, start: OpenStart | undefined): Digest {
    const open = this.#runOpen;
    if (open === undefined) return ZERO_DIGEST;
    switch (record.kind) {
      case 'run.open':
      case 'run.close':
        return this.#requestDigest;
      case 'agent':
        return fromHex(open.agent.digest);
      case 'inference.start':
      case 'inference.end':
      case 'inference.lost':
        return fromHex(open.inference.model);
      case 'tool.start':
        return toolDigest(open, record.body.tool);
      case 'tool.end':
      case 'tool.lost':
        return toolDigest(open, (start?.body as Partial<ToolStartBody> | undefined)?.tool);
      case 'run.child.start':
        return hashRequest(record.body.request);
      case 'run.child.end':
      case 'run.child.lost': {
        const child = (start?.body as Partial<ChildStartBody> | undefined)?.request;
        return child === undefined ? ZERO_DIGEST : hashRequest(child);
      }
      default:
        return fromHex(open.policy.digest);
    }
  }

  #factsOf(record: KindBody, index: bigint, start: OpenStart | undefined): readonly Digest[] {
    switch (record.kind) {
      case 'run.open':
        return openFacts(record.body, this.#requestDigest);
      case 'run.close':
        return closeFacts(record.body);
      case 'policy':
        return policyFacts(record.body);
      case 'inference.start':
        return [computeInferenceSeed(this.#runSeed, index, BigInt(record.body.request.seed))];
      case 'inference.end':
        return inferenceFacts(record.body, this.seedOf(start));
      case 'host.start':
        return hostFacts(record.body.capability, record.body.amount);
      case 'host.end': {
        const { capability = '', amount = '0' } = (start?.body ?? {}) as Partial<HostStartBody>;
        if (!capability.startsWith('kv.')) return hostFacts(capability, amount);
        const key = start?.policy?.request.target ?? '';
        const old = this.#kv.get(key);
        const written = capability === 'kv.put' && record.body.error === null ? start : undefined;
        return [
          KvTree.pathOf(key),
          old,
          written === undefined ? old : fromHex((written.body as HostStartBody).request),
        ];
      }
      default:
        return [];
    }
  }

  /** Inference seed of an open `inference.start`; zero for anything else. */
  seedOf(start: OpenStart | undefined): Digest {
    if (start?.kind !== 'inference.start') return ZERO_DIGEST;
    return computeInferenceSeed(this.#runSeed, start.index, BigInt((start.body as InferenceStartBody).request.seed));
  }

  #move(record: KindBody, index: bigint, bodyDigest: Digest, start: OpenStart | undefined): void {
    const counters = { ...this.#counters };
    if ('bytes' in record.body) counters.bytes += BigInt(record.body.bytes);
    if (start !== undefined) {
      this.#open.delete(start.index);
      this.#openRoot = undefined;
    }
    switch (record.kind) {
      case 'inference.start':
        for (const message of record.body.request.messages) this.#messages.append(fromHex(message.content));
        counters.draws += 1n;
        break;
      case 'inference.end':
        this.#messages.append(fromHex(record.body.text));
        counters.tokens += BigInt(record.body.prompt.count + record.body.output.count);
        break;
      case 'agent':
      case 'tool.end':
        counters.fuel += BigInt(record.body.fuel);
        break;
      case 'host.start':
        if ((record.body.capability as Capability) === 'random.bytes') counters.draws += 1n;
        break;
      case 'host.end': {
        const request = start?.body as Partial<HostStartBody> | undefined;
        if (request?.capability === 'kv.put' && record.body.error === null) {
          this.#kv.set(start?.policy?.request.target ?? '', fromHex(request.request as Hex));
        }
        break;
      }
      default:
        break;
    }
    switch (record.kind) {
      case 'inference.start':
      case 'tool.start':
      case 'host.start':
      case 'run.child.start': {
        counters.steps += 1n;
        const policy = this.#policy?.index === index - 1n ? this.#policy.body : undefined;
        this.#open.set(index, { index, kind: record.kind, body: record.body, bodyDigest, policy });
        this.#openRoot = undefined;
        break;
      }
      default:
        break;
    }
    this.#counters = counters;
  }
}

function toolDigest(open: RunOpenBody, name: string | undefined): Digest {
  const tool = open.tools.find((candidate) => candidate.name === name);
  return tool === undefined ? ZERO_DIGEST : fromHex(tool.digest);
}
