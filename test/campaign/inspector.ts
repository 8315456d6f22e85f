/**
 * The inspector's check against the verifier's: over bundles that were changed in any way, the page says no more than the verifier, finds
 * the same fault at the same record, and shows every record without failing.
 *
 * @module
 */

import { type Entry, readEntries, rebuildTrace, replacePayload } from '../../agents/demo/forge.ts';
import { utf8 } from '../../attest/core/bytes.ts';
import { RuntimeError } from '../../attest/core/error.ts';
import type { Json } from '../../attest/encoding/canonical-json.ts';
import { type BundleCheck, BundleChecker } from '../../attest/inspector/bundle-check.ts';
import { claimsOf } from '../../attest/inspector/claims.ts';
import { mismatchOf } from '../../attest/inspector/fit.ts';
import { readDetail } from '../../attest/inspector/record-detail.ts';
import { parseReport } from '../../attest/inspector/report.ts';
import type { Row } from '../../attest/inspector/row.ts';
import { MEDIA } from '../../attest/trace/payload.ts';
import { trustSigner } from '../../attest/verify/trust.ts';
import type { VerifyReport } from '../../attest/verify/verdict.ts';
import { verifyBundle } from '../../attest/verify/verifier.ts';
import { OFF_CHAIN } from '../../runtime/plan.ts';
import type { CampaignOptions, CampaignResult } from '../support/campaign.ts';
import { editAt, joinLines, linesOf, patchEntry, swapPayload, withhold } from '../support/forging.ts';
import { fileOf } from '../support/inspected.ts';
import { type Random, seededRandom } from '../support/random.ts';
import { OPERATOR, OPERATOR_KEY, SIGNER_KEY, type ToyRun, toyRun } from '../support/toy-run.ts';

type Target = {
  readonly toy: ToyRun;
  readonly report: VerifyReport;
  readonly entries: readonly Entry[];
  readonly lines: readonly string[];
};

/** A bundle made from an honest one. */
type Change = (random: Random, target: Target) => Uint8Array;

const now = () => performance.now();
const KEYS = { operator: OPERATOR_KEY, receipts: SIGNER_KEY };

/** Values that stand for others. */
const VALUES: readonly Json[] = [
  null,
  true,
  false,
  0,
  -1,
  1e15,
  '',
  '0',
  '-1',
  '00',
  '18446744073709551616',
  '0x',
  `0x${'00'.repeat(32)}`,
  `0x${'0'.repeat(40)}`,
  'run.close',
  'opaque',
  '__proto__',
  '\u202e',
  'x'.repeat(5000),
  [],
  {},
  ['a'],
  { a: { b: [] } },
];

const rebuilt = (target: Target, entries: readonly Entry[], keys = KEYS) =>
  rebuildTrace(entries, target.toy.result.checkpoint.run, OFF_CHAIN, keys).bytes;

/** One line of JSON with one value in it changed, or a member added, dropped or renamed. */
function editJson(random: Random, line: string): string {
  const value = JSON.parse(line) as Json;
  const places: { readonly parent: Record<string, Json>; readonly key: string }[] = [];
  const walk = (node: Json): void => {
    if (typeof node !== 'object' || node === null) return;
    for (const [key, child] of Object.entries(node)) {
      places.push({ parent: node as Record<string, Json>, key });
      walk(child);
    }
  };
  walk(value);
  const { parent, key } = anyOf(random, places);
  const kind = random.below(5);
  const old = must(parent[key]);
  if (kind === 0) delete parent[key];
  else if (kind === 1) parent[random.pick(['zz', '__proto__x', 'constructor', 'toString'])] = old;
  else if (kind === 2 && typeof old === 'string' && old.length > 3) {
    const at = random.below(old.length);
    parent[key] = old.slice(0, at) + (old[at] === '1' ? '2' : '1') + old.slice(at + 1);
  } else parent[key] = anyOf(random, VALUES);
  return JSON.stringify(value);
}

/** Paths of the values in some JSON that hold no others. */
function leavesOf(value: Json, path = ''): readonly (readonly [path: string, value: Json])[] {
  if (typeof value !== 'object' || value === null) return [[path, value]];
  return Object.entries(value).flatMap(([key, child]) => leavesOf(child, path === '' ? key : `${path}.${key}`));
}

/** Another value of the same form. */
function likeThat(random: Random, value: Json): Json {
  if (typeof value === 'boolean') return !value;
  if (typeof value === 'number') return value + 1 + random.below(100);
  if (typeof value !== 'string') return anyOf(random, VALUES);
  if (/^\d+$/.test(value)) return String(BigInt(value) + BigInt(random.below(3)) - 1n).replace('-', '');
  if (/^0x[0-9a-f]+$/.test(value)) {
    const digit = 2 + random.below(value.length - 2);
    return value.slice(0, digit) + (value[digit] === '1' ? '2' : '1') + value.slice(digit + 1);
  }
  return random.pick([`${value}x`, 'none', 'approval', 'transaction', 'agent', 'tool', 'kv.get', 'length']);
}

const CHANGES: Readonly<Record<string, Change>> = {
  honest: (_random, { toy }) => toy.bytes,
  flip: (random, { toy }) => {
    const bytes = Uint8Array.from(toy.bytes);
    const at = random.below(bytes.length);
    bytes[at] = (bytes[at] ?? 0) ^ (1 << random.below(8));
    return bytes;
  },
  lines: (random, { lines }) => {
    const edited = [...lines];
    const [at, other] = [random.below(lines.length), random.below(lines.length)];
    const kind = random.below(4);
    if (kind === 0) edited.splice(at, 1);
    else if (kind === 1) edited.splice(other, 0, must(lines[at]));
    else if (kind === 2) [edited[at], edited[other]] = [must(lines[other]), must(lines[at])];
    else edited.splice(at, other);
    return joinLines(edited);
  },
  json: (random, { lines }) => {
    const at = random.below(lines.length);
    return joinLines(lines.map((line, i) => (i === at ? editJson(random, line) : line)));
  },
  form: (random, { lines, toy }) => {
    const at = random.below(lines.length);
    const line = must(lines[at]);
    const put = (text: string) => joinLines(lines.map((other, i) => (i === at ? text : other)));
    switch (random.below(8)) {
      case 0:
        return put(`${line}\r`);
      case 1:
        return put(`\ufeff${line}`);
      case 2:
        return put(line.replace(':', ': '));
      case 3:
        return put(`${line} `);
      case 4:
        return put('');
      case 5:
        return put(line.replace(/"([a-z])/, (_, letter: string) => `"\\u00${letter.charCodeAt(0).toString(16)}`));
      case 6:
        return Buffer.concat([toy.bytes, Buffer.from(random.pick(['\n', '{', '{}\n', ' ', `${line}\n`, line]))]);
      default:
        return put(line.replace('{', `{"__proto__":{},`));
    }
  },
  cut: (random, { toy }) => toy.bytes.subarray(0, random.below(toy.bytes.length)),
  withheld: (random, { toy, entries }) => {
    const shown = entries.flatMap(({ payloads }, i) => [...payloads].map((_, nth) => ({ i, nth })));
    const { i, nth } = anyOf(random, shown);
    return withhold(toy.bytes, i, nth);
  },
  body: (random, target) => {
    const at = random.below(target.entries.length);
    return rebuilt(
      target,
      editAt(target.entries, at, (entry) => {
        const [path, value] = anyOf(random, leavesOf(entry.record.body as unknown as Json));
        return patchEntry(entry, path, likeThat(random, value));
      }),
    );
  },
  payload: (random, target) => {
    const filled = target.entries.flatMap(({ payloads }, i) => [...payloads.keys()].map((field) => ({ i, field })));
    const { i, field } = anyOf(random, filled);
    return rebuilt(
      target,
      editAt(target.entries, i, (entry) => {
        const old = must(entry.payloads.get(field));
        const media = random.below(4) === 0 ? anyOf(random, Object.values(MEDIA)) : old.media;
        const value = anyOf(random, VALUES);
        if (random.below(2) === 0 && old.media === MEDIA.json) return replacePayload(entry, field, value);
        const data = random.below(2) === 0 ? random.bytes(8) : utf8(JSON.stringify(value));
        return swapPayload(entry, field, { ...old, media, data });
      }),
    );
  },
  records: (random, target) => {
    const edited = [...target.entries];
    const at = 1 + random.below(edited.length - 1);
    if (random.below(2) === 0) edited.splice(at, 1);
    else edited.splice(at, 0, must(edited[random.below(edited.length)]));
    return rebuilt(target, edited);
  },
  time: (random, target) => {
    const at = random.below(target.entries.length);
    return rebuilt(
      target,
      editAt(target.entries, at, (entry) => ({ ...entry, at: random.pick([0n, 1n, entry.at + 100_000n]) })),
    );
  },
  keys: (random, target) =>
    rebuilt(
      target,
      target.entries,
      random.pick([
        { ...KEYS, operator: SIGNER_KEY },
        { ...KEYS, receipts: OPERATOR_KEY },
      ]),
    ),
};

/** What is wrong with what the page would show of a bundle, empty if nothing. */
async function compareWithVerifier(bytes: Uint8Array, random: Random, { toy, report: its }: Target): Promise<string> {
  const rows: Row[] = [];
  const checker = new BundleChecker(fileOf(bytes, 1 + random.below(60_000)), now);
  const check = await checker.check((more) => rows.push(...more));
  const structure = await verifyBundle({ now }, [bytes]);
  const place =
    check.open === null
      ? undefined
      : {
          deployment: { chainId: BigInt(check.open.chain), contract: check.open.contract },
          operator: check.open.operator,
        };
  const shown = [0, check.fault?.step ?? 0, check.sound - 1, random.below(rows.length + 1)];
  for (const index of shown) {
    if (index < 0) continue;
    const { hashes } = await readDetail(checker, index, place);
    if (index < check.sound && hashes.some(({ name, same }) => name.startsWith('head.') && same === false)) {
      return `record ${index} is sound, and a hash differs`;
    }
  }
  const faults = [compareFaults(check, structure), compareClaims(check, structure)];
  const whole = await verifyBundle({ now, executor: toy.executor }, [bytes]);
  const report = parseReport(JSON.parse(JSON.stringify(whole)));
  const mismatch = mismatchOf(check, report);
  // The honest run's report must not lend its green to other bytes.
  const lent = claimsOf(check, { report: its, source: 'here' }).find(({ id }) => id === 'executed');
  if (lent?.level === 'good' && !Buffer.from(bytes).equals(toy.bytes)) faults.push("green by another file's report");
  if (mismatch !== undefined) faults.push(`its own report is refused: ${mismatch}`);
  const executed = claimsOf(check, { report, source: 'here' }).find(({ id }) => id === 'executed');
  const isBad = whole.verdict === 'INVALID' || whole.verdict === 'DIVERGED';
  if ((executed?.level === 'bad') !== isBad) faults.push(`${whole.verdict} is shown ${executed?.level}`);
  if (check.falsehood !== undefined && !isBad) faults.push(`red here, and ${whole.verdict} for the verifier`);
  // Evidence that contradicts itself is found here too, wherever the verifier's first false record is such a one.
  const first = whole.verdict === 'DIVERGED' ? whole.steps[whole.step ?? -1] : undefined;
  if (first?.kind === 'host.end' && first.code === undefined && check.falsehood?.step !== first.index) {
    faults.push(`the verifier finds the answer of record ${first.index} false, the page ${check.falsehood?.step}`);
  }
  return faults.filter((fault) => fault !== '').join('; ');
}

function compareFaults(check: BundleCheck, report: VerifyReport): string {
  const [mine, its] = [
    { run: check.run, size: check.size, root: check.root, classes: check.classes, lost: check.lost },
    { run: report.run, size: report.size, root: report.root, classes: report.classes, lost: report.lost },
  ].map((one) => JSON.stringify(one));
  if (mine !== its) return `counts ${mine}, the verifier ${its}`;
  const place = (one: { step?: number; code?: string; field?: string } | undefined) =>
    one === undefined ? 'none' : `${one.code} at ${one.step} ${one.field ?? ''}`;
  if (report.verdict === 'INVALID' && report.code !== 'UNSIGNED_RECORD') {
    return place(check.fault) === place(report) ? '' : `fault ${place(check.fault)}, the verifier ${place(report)}`;
  }
  if (check.fault !== undefined) return `fault ${place(check.fault)}, the verifier ${report.verdict}`;
  const isBeyond = report.verdict === 'DIVERGED' || report.code === 'UNSIGNED_RECORD';
  return (check.beyondLimit !== undefined) === isBeyond ? '' : `limit ${place(check.beyondLimit)}, ${report.verdict}`;
}

function compareClaims(check: BundleCheck, report: VerifyReport): string {
  const levels = new Map(claimsOf(check, undefined).map(({ id, level }) => [id, level]));
  const whole =
    report.verdict === 'CANNOT_RECOMPUTE' && (report.code === 'SIGNER_UNKNOWN' || report.code === 'STRUCTURE_ONLY');
  if (levels.get('checked') === 'good' && !whole)
    return `all fits together, the verifier ${report.verdict} ${report.code}`;
  if (levels.get('signed') === 'good' || levels.get('executed') === 'good' || levels.get('bond') === 'good') {
    return 'a claim is green that nobody checked';
  }
  if (levels.get('ended') === 'good' && report.status !== 'done') return `ended well, the verifier ${report.status}`;
  if (levels.get('ended') === 'good' && report.verdict === 'INVALID') return 'ended well, and is no evidence';
  return '';
}

export async function run({ seed, count }: CampaignOptions): Promise<CampaignResult> {
  const toy = await toyRun();
  const report = await verifyBundle({ now, executor: toy.executor, trust: trustSigner(OPERATOR) }, [toy.bytes]);
  const target: Target = { toy, report, entries: await readEntries(toy.bytes), lines: linesOf(toy.bytes) };
  const names = Object.keys(CHANGES);
  const failures: string[] = [];
  const compared = new Map(names.map((name) => [name, 0]));
  for (let index = 0; index < count; index++) {
    const random = seededRandom((seed * 1_000_003 + index) >>> 0);
    const name = must(names[index % names.length]);
    let bytes: Uint8Array;
    try {
      bytes = must(CHANGES[name])(random, target);
    } catch (error) {
      // What cannot even be written down is no bundle.
      if (!RuntimeError.is(error)) throw error;
      continue;
    }
    const fault = await compareWithVerifier(bytes, random, target).catch((error: unknown) => `threw ${String(error)}`);
    compared.set(name, (compared.get(name) ?? 0) + 1);
    if (fault !== '') failures.push(`case ${index}, ${name}: ${fault}`);
  }
  const cases = [...compared.values()].reduce((sum, one) => sum + one, 0);
  return { cases, failures, summary: [...compared].map(([name, times]) => `${name} ${times}`).join(', ') };
}

/** Any of them; there is one. */
function anyOf<T>(random: Random, items: readonly T[]): T {
  return must(items[random.below(items.length)]);
}

function must<T>(value: T | undefined): T {
  if (value === undefined) throw new TypeError('nothing is there');
  return value;
}
