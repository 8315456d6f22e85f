/**
 * One row per claim of a run: what it says, how far that was checked, in plain words. Decided from what was computed in this place, and
 * from a verifier's report where there is one about this very history.
 *
 * Spec: `attest/spec/inspector.md#claims`.
 *
 * @module
 */

import type { VerifyReport } from '../verify/verdict.ts';
import type { BundleCheck } from './bundle-check.ts';
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

/** Whether the run names a development chain: keys, coins and time there are SIMULATED. */
export function isSimulatedChain(check: BundleCheck): boolean {
  return check.open !== null && DEVELOPMENT_CHAINS.has(check.open.chain);
}

/** Why a report is not about what was checked here; undefined where it is. */
export function mismatchOf(check: BundleCheck, report: VerifyReport): string | undefined {
  if (report.run !== check.run) return `it is about run ${report.run ?? 'unknown'}`;
  if (report.size !== check.size || report.root !== check.root) {
    return 'it is about another history of this run: size or root of the last checkpoint differ';
  }
  return undefined;
}

/** The claims of a run, always the same rows in the same order. */
export function claimsOf(check: BundleCheck, sourced: SourcedReport | undefined): readonly Claim[] {
  const fitting = sourced !== undefined && mismatchOf(check, sourced.report) === undefined ? sourced : undefined;
  return [
    signed(check, fitting?.report),
    ran(check),
    checked(check),
    executed(check, sourced),
    recorded(check),
    ended(check),
    seed(check),
    bond(check, fitting?.report),
  ];
}

function signed(check: BundleCheck, report: VerifyReport | undefined): Claim {
  const base = { id: 'signed', title: 'Who signed' } as const;
  const { fault, open } = check;
  if (fault !== undefined && (fault.code === 'SIGNATURE_MISMATCH' || fault.code === 'CHECKPOINT_MISMATCH')) {
    return {
      ...base,
      level: 'bad',
      word: 'does not hold',
      text: `A signature is not what it says: ${fault.message}.`,
      step: fault.step,
    };
  }
  if (open === null || check.root === null) {
    return {
      ...base,
      level: 'part',
      word: 'nobody',
      text: 'No checkpoint that holds was reached: nobody answers for these records.',
    };
  }
  const facts = [['operator', open.operator]] as const;
  const covered = `${count(check.checkpoints, 'checkpoint')} over ${check.size} of ${count(check.records, 'record')}; the key was recovered here from the last signature that holds`;
  if (report?.verdict === 'INVALID' && report.code === 'SIGNER_MISMATCH') {
    return {
      ...base,
      level: 'bad',
      word: 'another key',
      text: `The verifier expected another operator: ${report.message ?? ''}`,
      facts,
    };
  }
  if (report?.verdict === 'MATCH') {
    return {
      ...base,
      level: 'good',
      word: 'known key',
      text: `${covered}. The verifier was told to trust this operator.`,
      facts,
    };
  }
  return {
    ...base,
    level: 'part',
    word: 'one key',
    text: `${covered}. Whose key it is the bundle cannot say: compare it with the one that you know, or ask a chain.`,
    facts,
  };
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
  return {
    ...base,
    level: 'good',
    word: 'fixed',
    text: 'Each part is fixed by its digest in record 0. Code and policy that the bundle shows were hashed here. What the code does, you judge.',
    step: 0,
    facts,
  };
}

function checked(check: BundleCheck): Claim {
  const base = { id: 'checked', title: 'Checked here, in your browser' } as const;
  const { fault, beyondLimit } = check;
  const counts = `${count(check.sound, 'record')}, ${count(check.payloads, 'payload')}, ${count(check.checkpoints, 'checkpoint')} and ${count(check.receipts.checked, 'receipt')} of the model's server`;
  const what = 'line form, heads, hash chain, tree, payload commitments, states, order, signatures';
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
  const gaps = [
    check.truncated ? 'the file is cut off' : '',
    check.closed ? '' : 'the run has no closed checkpoint, so more records may follow',
    check.size < check.records ? `the last ${check.records - check.size} records stand under no signature` : '',
    check.withheld > 0 ? `${count(check.withheld, 'record')} with withheld payloads` : '',
    check.receipts.unchecked > 0
      ? `${count(check.receipts.unchecked, 'receipt')} not checked, its texts are withheld`
      : '',
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
    text: `${counts}: ${what}. Computed here in ${check.elapsedMs} ms.`,
  };
}

function executed(check: BundleCheck, sourced: SourcedReport | undefined): Claim {
  const base = { id: 'executed', title: 'Executed again' } as const;
  const { recomputable } = check.classes;
  if (sourced === undefined) {
    const text = `Not here: this page does not run the agent or the model. ${count(recomputable, 'record')} could be executed again by a verifier.`;
    return { ...base, level: 'part', word: 'not here', text };
  }
  const { report, source } = sourced;
  const by =
    source === 'here'
      ? "this computer's verifier, when you asked for it"
      : 'a verifier whose report was given to this page';
  const mismatch = mismatchOf(check, report);
  if (mismatch !== undefined && report.verdict !== 'INVALID') {
    return { ...base, level: 'part', word: 'other report', text: `A report was given and is not used: ${mismatch}.` };
  }
  if (report.verdict === 'DIVERGED' || report.verdict === 'INVALID') {
    const place =
      report.step === undefined
        ? ''
        : ` at record ${report.step}${report.field === undefined ? '' : `, ${report.field}`}`;
    const text = `${report.verdict}${place} (${report.code ?? 'no code'}), says ${by}.`;
    const word = report.verdict === 'DIVERGED' ? 'a false step' : 'no evidence';
    return { ...base, level: 'bad', word, text, ...(report.step === undefined ? {} : { step: report.step }) };
  }
  const equal = `${report.checked} of ${report.classes.recomputable} recomputable records were executed again and are equal, says ${by}`;
  if (report.verdict === 'MATCH') return { ...base, level: 'good', word: 'equal', text: `${equal}.` };
  return {
    ...base,
    level: 'part',
    word: 'in part',
    text: `${equal}. Not all of it could be decided: ${report.code ?? 'no reason given'}.`,
  };
}

function recorded(check: BundleCheck): Claim {
  const base = { id: 'recorded', title: 'Only recorded' } as const;
  const outside = check.capabilities.filter(({ attested, opaque }) => attested + opaque > 0);
  const { opaque } = check.classes;
  if (check.fault !== undefined && outside.length === 0) {
    const text = 'Checking stopped before the end: what else came from outside is not known.';
    return { ...base, level: 'part', word: 'not known', text };
  }
  if (outside.length === 0 && opaque === 0) {
    return { ...base, level: 'good', word: 'nothing', text: 'Nothing in this run came from outside.' };
  }
  const parts = outside.map(
    (one) =>
      `${one.capability} ${one.opaque + one.attested}${one.attested > 0 ? ` (${one.attested} with a signature of its own, not checked here)` : ''}`,
  );
  if (check.lost > 0) parts.push(`lost ${check.lost}`);
  return {
    ...base,
    level: 'part',
    word: 'only reported',
    text: `Nobody can compute these again; the operator says so: ${parts.join(', ')}.`,
  };
}

function ended(check: BundleCheck): Claim {
  const base = { id: 'ended', title: 'How it ended' } as const;
  const { close, lost } = check;
  const losses = lost === 0 ? '' : ` ${count(lost, 'started effect')} without a result.`;
  if (close === null && check.fault !== undefined) {
    return { ...base, level: 'part', word: 'not known', text: `Checking stopped before the end of the run.${losses}` };
  }
  if (close === null) {
    return { ...base, level: 'part', word: 'not closed', text: `No record closes the run.${losses}` };
  }
  if (close.status === 'done') {
    return {
      ...base,
      level: lost === 0 ? 'good' : 'part',
      word: 'done',
      text: `The run ended with an output.${losses}`,
    };
  }
  return { ...base, level: 'part', word: close.status, text: `The run gave no output: ${close.status}.${losses}` };
}

function seed(check: BundleCheck): Claim {
  const base = { id: 'seed', title: 'Who chose the randomness' } as const;
  const { open } = check;
  if (open === null) return { ...base, level: 'part', word: 'unknown', text: 'The first record cannot be read.' };
  const facts = [['caller', open.request.caller]] as const;
  if (open.seedFrom === 'caller') {
    const text = 'The caller signed the request, and the seed follows from it; the signature was checked here.';
    return { ...base, level: 'good', word: 'the caller', text, facts };
  }
  const text =
    'Nobody but the operator signed the request: the operator could try several and show the one that it liked.';
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
  const holds = report.opened === true && report.bonded !== null && report.bonded !== '0';
  return {
    ...base,
    level: report.opened === false || report.bonded === '0' ? 'bad' : holds && simulated === '' ? 'good' : 'part',
    word: simulated === '' ? (holds ? 'bonded' : 'in part') : 'SIMULATED',
    text: `The verifier says, from a chain or from its file of what was read on one: ${opened}, ${bonded}. How long it can still be challenged was not read.${simulated}`,
    facts,
  };
}

function dateOf(seconds: string): string {
  const ms = Number(seconds) * 1000;
  return ms <= 8.64e15 ? `${new Date(ms).toISOString().replace('.000Z', ' UTC').replace('T', ' ')}` : seconds;
}

function count(number: number, what: string): string {
  return `${number} ${number === 1 ? what : `${what}s`}`;
}
