/**
 * Tampering with a bundle: a changed byte or a moved line is INVALID, a lie that was made consistent again is INVALID or
 * DIVERGED at its record, a cut file never matches. The verifier never throws.
 *
 * @module
 */

import { type Entry, readEntries, rebuildTrace, replacePayload } from '../../agents/demo/forge.ts';
import type { Json } from '../../attest/encoding/canonical-json.ts';
import { trustSigner } from '../../attest/verify/trust.ts';
import { verifyBundle } from '../../attest/verify/verifier.ts';
import { OFF_CHAIN } from '../../runtime/plan.ts';
import type { CampaignOptions, CampaignResult } from '../support/campaign.ts';
import { editAt, joinLines, linesOf, patchEntry } from '../support/forging.ts';
import { type Random, seededRandom } from '../support/random.ts';
import { OPERATOR, OPERATOR_KEY, SIGNER_KEY, type ToyRun, toyRun } from '../support/toy-run.ts';

type Target = { readonly toy: ToyRun; readonly entries: readonly Entry[]; readonly lines: readonly string[] };

/** One way to tamper: the bundle that it makes, and what is wrong with the verifier's answer (empty if nothing). */
type Attack = (random: Random, target: Target) => Promise<string>;

const ports = { trust: trustSigner(OPERATOR), now: () => performance.now() };

/** Fields that follow from something else, so that any other value must be found, at its own record. */
const FIELDS: readonly { readonly path: RegExp; readonly change: (random: Random) => Json }[] = [
  { path: /^body\.fuel$/, change: (random) => (1 + random.below(1000)).toString() },
  { path: /^body\.bytes$/, change: (random) => random.below(100_000).toString() },
  { path: /^body\.call$/, change: (random) => 50 + random.below(1000) },
  { path: /^body\.rule$/, change: (random) => `agent.${10 + random.below(1000)}` },
  { path: /^body\.masks$/, change: (random) => `0x${Buffer.from(random.bytes(32)).toString('hex')}` },
  { path: /^body\.request\.maxTokens$/, change: (random) => 17 + random.below(1000) },
  { path: /^body\.request\.target$/, change: (random) => `target ${random.below(1000)}` },
  { path: /^body\.request\.seed$/, change: (random) => (1 + random.below(1000)).toString() },
  { path: /^body\.prompt\.count$/, change: (random) => 1000 + random.below(1000) },
  { path: /^body\.calls\.0\.method$/, change: (random) => `method ${random.below(1000)}` },
];

const flip: Attack = async (random, { toy }) => {
  const bytes = Uint8Array.from(toy.bytes);
  const at = random.below(bytes.length);
  bytes[at] = (bytes[at] as number) ^ (1 << random.below(8));
  const { verdict } = await verifyBundle(ports, [bytes]);
  return verdict === 'INVALID' ? '' : `byte ${at} as ${bytes[at]} is ${verdict}`;
};

const moveLine: Attack = async (random, { lines }) => {
  const edited = [...lines];
  const at = random.below(lines.length - 1);
  const kind = random.pick(['drop', 'double', 'swap']);
  if (kind === 'drop') edited.splice(at, 1);
  else if (kind === 'double') edited.splice(at, 0, lines[at] as string);
  else {
    const other = random.below(lines.length);
    if (other === at) return '';
    [edited[at], edited[other]] = [lines[other] as string, lines[at] as string];
  }
  const { verdict } = await verifyBundle(ports, [joinLines(edited)]);
  return verdict === 'INVALID' ? '' : `line ${at}, ${kind}: ${verdict}`;
};

const lie: Attack = async (random, { toy, entries }) => {
  const at = random.below(entries.length);
  const entry = entries[at] as Entry;
  const change = lieAbout(random, entry);
  if (change === undefined) return '';
  const keys = { operator: OPERATOR_KEY, receipts: SIGNER_KEY };
  const { bytes } = rebuildTrace(editAt(entries, at, change.make), toy.result.checkpoint.run, OFF_CHAIN, keys);
  const { verdict, step } = await verifyBundle({ ...ports, executor: toy.executor }, [bytes]);
  if (verdict !== 'INVALID' && verdict !== 'DIVERGED') return `record ${at}, ${change.what}: ${verdict}`;
  // A call or a decision is contradicted first by the order: at the decision or the start that must follow it.
  const before = entry.record.kind === 'policy' || change.what === 'calls.0.method';
  const expected = before && verdict === 'INVALID' ? [at, at + 1] : [at];
  return expected.includes(step ?? -1) ? '' : `record ${at}, ${change.what}: found at ${step}`;
};

function lieAbout(random: Random, entry: Entry): { what: string; make: (entry: Entry) => Entry } | undefined {
  const { kind, body } = entry.record;
  const opaque = kind === 'host.end' && entry.payloads.size > 0 && !isComputed(entry);
  const fields = FIELDS.filter(({ path }) => has(body, path));
  const payloads = opaque || kind === 'run.open' ? [] : [...entry.payloads.keys()];
  const choice = random.below(fields.length + payloads.length);
  const field = fields[choice];
  if (field !== undefined) {
    const path = field.path.source.slice(1, -1).replaceAll('\\', '').slice('body.'.length);
    const value = field.change(random);
    return { what: path, make: (old) => patchEntry(old, path, value) };
  }
  const payload = payloads[choice - fields.length];
  if (payload === undefined) return undefined;
  const value = payload.endsWith('ids') ? [random.below(1000)] : `a lie ${random.below(1000)}`;
  return { what: payload, make: (old) => replacePayload(old, payload, value) };
}

/** Whether the answer of a host call follows from the run: the toy's clock and fetches do not. */
function isComputed(entry: Entry): boolean {
  return ![4n, 30n].includes(entry.index);
}

function has(body: object, path: RegExp): boolean {
  const steps = path.source.slice(1, -1).replaceAll('\\', '').split('.').slice(1);
  let node: unknown = body;
  for (const step of steps) {
    if (typeof node !== 'object' || node === null || !Object.hasOwn(node, step)) return false;
    node = (node as { [key: string]: unknown })[step];
  }
  return true;
}

const cut: Attack = async (random, { toy }) => {
  const size = random.below(toy.bytes.length);
  const { verdict } = await verifyBundle({ ...ports, executor: toy.executor }, [toy.bytes.subarray(0, size)]);
  if (size === 0) return verdict === 'INVALID' ? '' : `an empty file is ${verdict}`;
  return verdict === 'CANNOT_RECOMPUTE' ? '' : `cut at ${size}: ${verdict}`;
};

const ATTACKS = { flip, moveLine, lie, cut } as const;

export async function run({ seed, count }: CampaignOptions): Promise<CampaignResult> {
  const toy = await toyRun();
  const target: Target = { toy, entries: await readEntries(toy.bytes), lines: linesOf(toy.bytes) };
  const failures: string[] = [];
  const names = Object.keys(ATTACKS) as (keyof typeof ATTACKS)[];
  const found = new Map<string, number>();
  for (let index = 0; index < count; index++) {
    const random = seededRandom((seed * 1_000_003 + index) >>> 0);
    const name = names[index % names.length] as keyof typeof ATTACKS;
    const fault = await ATTACKS[name](random, target).catch((error: unknown) => `threw ${String(error)}`);
    if (fault === '') found.set(name, (found.get(name) ?? 0) + 1);
    else failures.push(`case ${index}, ${name}: ${fault}`);
  }
  const rates = names.map((name, i) => `${name} ${found.get(name) ?? 0}/${Math.ceil((count - i) / names.length)}`);
  return { cases: count, failures, summary: `found: ${rates.join(', ')}` };
}
