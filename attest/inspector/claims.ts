/**
 * One row per claim of a run: what it says, how far that was checked, in plain words. Decided from what was computed in this place, and
 * from a verifier's report where there is one about these very bytes.
 *
 * C1. Green is only what was checked on this computer: by the page itself, or by the verifier that the reader started from it. What a
 *     report from elsewhere says is amber at best.
 *
 * Spec: `attest/spec/inspector.md#claims`.
 *
 * @module
 */

import { CANNOT_CODES, type VerifyReport } from '../verify/verdict.ts';
import type { BundleCheck } from './bundle-check.ts';
import { mismatchOf } from './fit.ts';
import type { SourcedReport } from './report.ts';

/** `good`: checked, and it holds; `part`: not known here, or only reported; `bad`: checked, and it does not hold. */
export type Level = 'good' | 'part' | 'bad';

/** A claim with what was found out about it. Texts may hold parts of the bundle, which are untrusted. */
export type Claim = {
  readonly id: 'signed' | 'ran' | 'checked' | 'executed' | 'recorded' | 'ended' | 'seed' | 'bond';
  readonly title: string;
  readonly level: Level;
  /** One word or two that say the level. */
  readonly word: string;
  readonly text: string;
  /** Record to look at. */
  readonly step?: number;
  /** Names with digests or addresses, to be shown whole. */
  readonly facts?: readonly (readonly [name: string, value: string])[];
};

/** What a trace never proves; the README has the same list. */
export const NOT_PROVED: readonly string[] = [
  'that no run happened that was never opened',
  'that what came from outside was true, or that it was asked only once before its start was covered by a checkpoint',
  "recorded time beyond the chain's; here it was only checked that it never decreases",
  'that the operator did not read the input first and decline',
  'that the model is wise',
];

/** Chains whose coins are nothing worth: those of development nodes. */
const DEVELOPMENT_CHAINS: ReadonlySet<string> = new Set(['1337', '31337']);

/** Reasons of a verifier for not deciding, for people. */
const REASONS: Readonly<Record<string, string>> = {
  TRUNCATED: 'the file is cut off',
  NOT_CLOSED: 'the run is not closed',
  PAYLOAD_WITHHELD: 'parts of the run are withheld',
  SIGNER_UNKNOWN: 'it was not told to trust this operator',
  STRUCTURE_ONLY: 'nothing was executed, only the form was checked',
  MODEL_NOT_AT_HAND: 'the model is not on that computer',
  ENGINE_MISMATCH: 'that computer has another sandbox or model engine',
  OTHER_NUMERICS: 'that computer computes with other numerics',
  CHILD_RUN: 'the bundle of a child run is missing',
  HOST_FAULT: 'that computer could not finish the execution',
};

/** Whether the run names a development chain: keys, coins and time there are SIMULATED. */
export function isSimulatedChain(check: BundleCheck): boolean {
  return check.open !== null && DEVELOPMENT_CHAINS.has(check.open.chain);
}

/** A reason of a verifier for not deciding, in words, with its code. */
export function reasonText(code: string | undefined): string {
  if (code === undefined) return 'no reason given';
  return Object.hasOwn(REASONS, code) ? `${REASONS[code]} (${code})` : code;
}

/** The claims of a run, always the same rows in the same order. */
export function claimsOf(check: BundleCheck, sourced: SourcedReport | undefined): readonly Claim[] {
  const fitting = sourced !== undefined && mismatchOf(check, sourced.report) === undefined ? sourced : undefined;
  return [
    signed(check, fitting),
    ran(check),
    checked(check),
    executed(check, sourced),
    recorded(check),
    ended(check),
    seed(check),
    bond(check, fitting?.report),
  ];
}

function signed(check: BundleCheck, sourced: SourcedReport | undefined): Claim {
  const base = { id: 'signed', title: 'Who signed' } as const;
  const { fault, open } = check;
  if (fault !== undefined && (fault.code === 'SIGNATURE_MISMATCH' || fault.code === 'CHECKPOINT_MISMATCH')) {
    const text = `A signature is not what it says: ${fault.message}.`;
    return { ...base, level: 'bad', word: 'does not hold', text, step: fault.step };
  }
  if (open === null || check.root === null) {
    const text = 'No signature that holds was reached: nobody answers for these records.';
    return { ...base, level: 'part', word: 'nobody', text };
  }
  const facts = [['operator', open.operator]] as const;
  const covered = `One key signed ${check.size} of ${count(check.records, 'record')}, in ${count(check.checkpoints, 'checkpoint')}; it was recovered here from the signatures`;
  const report = sourced?.report;
  if (report?.verdict === 'INVALID' && report.code === 'SIGNER_MISMATCH') {
    const text = `The verifier expected another operator: ${report.message ?? ''}`;
    return { ...base, level: 'bad', word: 'another key', text, facts };
  }
  if (sourced !== undefined && isTrusted(sourced.report)) {
    return sourced.source === 'here'
      ? { ...base, level: 'good', word: 'known key', text: `${covered}. Your trust file names this operator.`, facts }
      : {
          ...base,
          level: 'part',
          word: 'reported',
          text: `${covered}. The verifier whose report you gave was told to trust it; compare it with the key that you know.`,
          facts,
        };
  }
  const text = `${covered}. Whose key it is the bundle cannot say: compare it with the one that you know, or ask a chain.`;
  return { ...base, level: 'part', word: 'one key', text, facts };
}

/** Whether a verifier knew the operator: had it not, it would have said so before any reason that comes later. */
function isTrusted({ verdict, code }: VerifyReport): boolean {
  const place = (CANNOT_CODES as readonly string[]).indexOf(code ?? '');
  return verdict === 'MATCH' || (verdict === 'CANNOT_RECOMPUTE' && place > CANNOT_CODES.indexOf('SIGNER_UNKNOWN'));
}

function ran(check: BundleCheck): Claim {
  const base = { id: 'ran', title: 'What ran' } as const;
  const { open, fault } = check;
  if (open === null)
    return { ...base, level: 'bad', word: 'unknown', text: 'The first record cannot be read.', step: 0 };
  if (fault?.code === 'IDENTITY_MISMATCH' || fault?.code === 'RUN_ID_MISMATCH') {
    return { ...base, level: 'bad', word: 'does not hold', text: `${fault.message}.`, step: fault.step };
  }
  const facts: (readonly [string, string])[] = [
    ['agent code', open.agent.digest],
    ...open.tools.map((tool) => [`tool ${tool.name}`, tool.digest] as const),
    [`model ${open.inference.id}`, open.inference.model],
    [`numerics ${open.inference.profileName}`, open.inference.profile],
    ['inference engine', open.inference.engine],
    ['sandbox engine', open.engine],
    ['policy', open.policy.digest],
  ];
  if (check.root === null) {
    const text = 'Record 0 names each part by its digest, but no signature that holds stands under it.';
    return { ...base, level: 'part', word: 'unsigned', text, step: 0, facts };
  }
  if (check.hiddenParts > 0) {
    const text = `The operator signed the digest of each part, but ${count(check.hiddenParts, 'part')} of code or policy is withheld: what ran cannot be read here.`;
    return { ...base, level: 'part', word: 'withheld', text, step: 0, facts };
  }
  const text =
    'The operator signed that these parts ran, each named by its digest; agent, tools and policy are shown, and were hashed here. That they really gave these records, only executing them again can say; what the code does, you judge.';
  return { ...base, level: 'good', word: 'named and signed', text, step: 0, facts };
}

function checked(check: BundleCheck): Claim {
  const base = { id: 'checked', title: 'Checked here, in your browser' } as const;
  const { fault, beyondLimit, falsehood, answers } = check;
  const parts = [
    count(check.sound, 'record'),
    count(check.payloads, 'payload'),
    count(check.checkpoints, 'checkpoint'),
    `${count(check.receipts.checked, 'receipt')} of the model's server`,
    answers.evidence > 0 ? count(answers.evidence, 'signature of others', 'signatures of others') : '',
    answers.computed > 0
      ? count(answers.computed, "answer of the run's own store or dice", "answers of the run's own store or dice")
      : '',
  ].filter((part) => part !== '');
  const counts = parts.join(', ');
  const what = 'form, hashes, tree, order and signatures';
  if (fault !== undefined) {
    return {
      ...base,
      level: 'bad',
      word: 'no evidence',
      text: `Record ${fault.step} does not fit: ${fault.message} (${fault.code}). ${count(check.sound, 'record')} before it fit together; what follows it was not checked.`,
      step: fault.step,
    };
  }
  if (beyondLimit !== undefined) {
    const text = `Record ${beyondLimit.step} is beyond a limit of the run: ${beyondLimit.message} (${beyondLimit.code}).`;
    return { ...base, level: 'bad', word: 'beyond a limit', text, step: beyondLimit.step };
  }
  if (falsehood !== undefined) {
    const place = falsehood.step < check.size ? '' : ' No signature covers it, so it accuses nobody.';
    const text = `Record ${falsehood.step} is false: ${falsehood.message} (${falsehood.code}).${place}`;
    return { ...base, level: 'bad', word: 'a false record', text, step: falsehood.step };
  }
  const gaps = [
    check.truncated ? 'the file is cut off' : '',
    check.closed ? '' : 'the run has no closed checkpoint, so more records may follow',
    check.size < check.records ? `the last ${check.records - check.size} records stand under no signature` : '',
    check.withheld > 0 ? `${count(check.withheld, 'record')} with withheld payloads` : '',
    check.receipts.unchecked > 0 ? `${count(check.receipts.unchecked, 'receipt')} not checked: texts are withheld` : '',
    answers.unchecked > 0 ? `${count(answers.unchecked, 'answer')} not checked: parts of them are withheld` : '',
  ].filter((gap) => gap !== '');
  if (gaps.length > 0) {
    return {
      ...base,
      level: 'part',
      word: 'in part',
      text: `What is there fits together (${what}): ${counts}. But ${gaps.join('; ')}.`,
    };
  }
  return {
    ...base,
    level: 'good',
    word: 'fits together',
    text: `Nothing was changed after it was signed: ${what} were computed again here, in ${check.elapsedMs} ms, for ${counts}.`,
  };
}

function executed(check: BundleCheck, sourced: SourcedReport | undefined): Claim {
  const base = { id: 'executed', title: 'Executed again' } as const;
  const { recomputable } = check.classes;
  if (sourced === undefined) {
    const text = `Not here: this page does not run the agent or the model. A verifier can execute ${count(recomputable, 'record')} again and compare.`;
    return { ...base, level: 'part', word: 'not here', text };
  }
  const { report, source } = sourced;
  const by =
    source === 'here'
      ? "this computer's verifier, when you asked for it"
      : 'a verifier whose report was given to this page';
  const mismatch = mismatchOf(check, report);
  if (mismatch !== undefined) {
    return { ...base, level: 'part', word: 'other report', text: `A report was given and is not used: ${mismatch}.` };
  }
  if (report.verdict === 'DIVERGED' || report.verdict === 'INVALID') {
    const field = report.field === undefined ? '' : `, ${report.field}`;
    const place = report.step === undefined ? '' : ` at record ${report.step}${field}`;
    const why = report.verdict === 'DIVERGED' ? 'Executing it again gave another value' : 'The bundle is no evidence';
    const text = `${why}: ${report.verdict}${place} (${report.code ?? 'no code'}), says ${by}.`;
    const word = report.verdict === 'DIVERGED' ? 'a false step' : 'no evidence';
    return { ...base, level: 'bad', word, text, ...(report.step === undefined ? {} : { step: report.step }) };
  }
  const equal = `${report.checked} of ${count(report.classes.recomputable, 'record')} that can be executed again were, and came out equal, says ${by}`;
  if (report.verdict === 'MATCH') {
    return source === 'here'
      ? { ...base, level: 'good', word: 'equal', text: `${equal}.` }
      : { ...base, level: 'part', word: 'reported equal', text: `${equal}. Nothing was executed here.` };
  }
  return {
    ...base,
    level: 'part',
    word: 'in part',
    text: `${equal}. The rest was not decided: ${reasonText(report.code)}.`,
  };
}

function recorded(check: BundleCheck): Claim {
  const base = { id: 'recorded', title: 'Only recorded' } as const;
  const outside = check.capabilities.filter(({ attested, opaque }) => attested + opaque > 0);
  const isWhole = check.fault === undefined && check.closed && !check.truncated;
  const rest = isWhole ? '' : ' What is not reached by a signature that holds is not counted as known.';
  if (outside.length === 0 && check.lost === 0) {
    return isWhole
      ? { ...base, level: 'good', word: 'nothing', text: 'Besides its input, nothing in this run came from outside.' }
      : { ...base, level: 'part', word: 'not known', text: `Nothing from outside in what was checked.${rest}` };
  }
  const parts = outside.map(sourceText);
  if (check.lost > 0) parts.push(`${count(check.lost, 'effect')} without a result`);
  const text = `Came from outside. Nobody can compute it again; the operator says so: ${parts.join(', ')}.${rest}`;
  return { ...base, level: 'part', word: 'only reported', text };
}

/** How often something was asked of the outside, and what stands behind the answers. */
function sourceText({ capability, attested, opaque, evidence }: BundleCheck['capabilities'][number]): string {
  const total = `${capability} ${attested + opaque}`;
  if (attested === 0) return total;
  if (evidence < attested)
    return `${total} (${attested} with a signature of its own, ${evidence} of them checked here)`;
  return capability === 'wallet.send'
    ? `${total} (signed by the wallet of the policy, checked here; what the chain made of it is not)`
    : `${total} (${attested} signed by an approver of the policy, checked here)`;
}

function ended(check: BundleCheck): Claim {
  const base = { id: 'ended', title: 'How it ended' } as const;
  const { close, lost } = check;
  const losses = lost === 0 ? '' : ` ${count(lost, 'started effect')} without a result.`;
  if (check.fault !== undefined) {
    const said =
      close === null ? 'Checking stopped before the end of the run.' : `The last record says ${close.status}.`;
    const text = `${said} The bundle is no evidence of it.${losses}`;
    return { ...base, level: 'part', word: 'not known', text };
  }
  if (close === null) {
    return { ...base, level: 'part', word: 'not closed', text: `No record closes the run.${losses}` };
  }
  if (close.status !== 'done') {
    return { ...base, level: 'part', word: close.status, text: `The run gave no output: ${close.status}.${losses}` };
  }
  if (!check.closed) {
    const text = `The last record says done, but no signature covers it.${losses}`;
    return { ...base, level: 'part', word: 'unsigned', text };
  }
  return { ...base, level: lost === 0 ? 'good' : 'part', word: 'done', text: `The run ended with an output.${losses}` };
}

function seed(check: BundleCheck): Claim {
  const base = { id: 'seed', title: 'Who chose the randomness' } as const;
  const { open } = check;
  if (open === null) return { ...base, level: 'part', word: 'unknown', text: 'The first record cannot be read.' };
  const facts = [['caller', open.request.caller]] as const;
  if (open.seedFrom === 'caller' && open.request.caller !== open.operator) {
    const text =
      "The key of the caller signed the request, checked here, and all randomness follows from it. Whether it is the caller's own key, the caller can say.";
    return { ...base, level: 'good', word: "the caller's key", text, facts };
  }
  const text =
    open.seedFrom === 'caller'
      ? 'Caller and operator are one key: it could try several requests and show the one that it liked.'
      : 'Nobody but the operator signed the request: the operator could try several and show the one that it liked.';
  return { ...base, level: 'part', word: 'the operator', text };
}

function bond(check: BundleCheck, report: VerifyReport | undefined): Claim {
  const base = { id: 'bond', title: 'Bond and window' } as const;
  const { open } = check;
  if (open === null)
    return { ...base, level: 'part', word: 'not checked here', text: 'The first record cannot be read.' };
  if (open.chain === '0') {
    return {
      ...base,
      level: 'part',
      word: 'none',
      text: 'The run names no chain: no bond stands behind it, and nobody can be made to pay.',
    };
  }
  const simulated = isSimulatedChain(check)
    ? ` Chain ${open.chain} is a development chain: its coins, keys and time are SIMULATED.`
    : '';
  const facts = [
    ['chain', open.chain],
    ['contract', open.contract],
    ['deadline, as record 0 says', dateOf(open.deadline)],
  ] as const;
  if (report === undefined || (report.opened === null && report.bonded === null)) {
    const text = `Not checked here: the run names a chain, and nobody asked it.${simulated}`;
    return { ...base, level: 'part', word: 'not checked here', text, facts };
  }
  const opened =
    report.opened === null
      ? 'whether the run was opened there was not asked'
      : report.opened
        ? 'the run was opened there'
        : 'the run was not opened there';
  const bonded =
    report.bonded === null ? 'the bond was not asked for' : `a bond of ${report.bonded} of the token's smallest unit`;
  const isMissing = report.opened === false || report.bonded === '0';
  // The chain itself is never asked here: at best somebody reports what it said.
  return {
    ...base,
    level: isMissing ? 'bad' : 'part',
    word: isMissing ? 'missing' : simulated === '' ? 'reported' : 'SIMULATED',
    text: `The verifier says, from a chain or from its file of what was read on one: ${opened}, ${bonded}. How long it can still be challenged was not read.${simulated}`,
    facts,
  };
}

function dateOf(seconds: string): string {
  const ms = Number(seconds) * 1000;
  return ms <= 8.64e15 ? `${new Date(ms).toISOString().replace('.000Z', ' UTC').replace('T', ' ')}` : seconds;
}

function count(number: number, what: string, many = `${what}s`): string {
  return `${number} ${number === 1 ? what : many}`;
}
