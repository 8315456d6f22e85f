/**
 * What `tracebond verify-receipt` found, as JSON and in words.
 *
 * @module
 */

import type { Hex } from '../../attest/core/bytes.ts';
import type { Verdict } from '../../attest/verify/verdict.ts';

/** A thing that was looked at and holds; `vectors` is to embeddings what `output` is to an answer. */
export type Checked = 'document' | 'signature' | 'answer' | 'output' | 'vectors';

/** What `--json` prints. */
export type ReceiptReport = {
  readonly file: string;
  readonly verdict: Verdict;
  /** Why it is no receipt, or could not be computed again. */
  readonly code?: string;
  /** The first field that is false: of the document, of the answer around it, or of what was computed. */
  readonly field?: string;
  readonly message?: string;
  readonly claimed?: string;
  readonly recomputed?: string;
  /** What was found to hold, in the order in which it is checked. */
  readonly checked: readonly Checked[];
  readonly id: string | null;
  /** Around the receipt: `chat completion`, `text completion`, `response`, `embeddings`; null for a document alone. */
  readonly answer: string | null;
  readonly isStream: boolean;
  /** Address whose signature it is; null before that is known. */
  readonly signer: string | null;
  /** Whether `--signer` asked for that address. If not, anybody may have signed. */
  readonly isPinned: boolean;
  readonly model: Hex | null;
  /** Of all texts together where it is a receipt of embeddings. */
  readonly promptTokens: number;
  /** 0 where it is a receipt of embeddings. */
  readonly outputTokens: number;
  readonly timing: { readonly readyMs: number; readonly checkMs: number };
};

/** What stands in a report besides the file and what is known of the receipt. */
export type Finding = Pick<ReceiptReport, 'verdict' | 'code' | 'field' | 'message' | 'claimed' | 'recomputed'>;

const WORDS: { readonly [C in Checked]: string } = {
  document: 'every field of the receipt',
  signature: 'signature',
  answer: 'the answer around it',
  output: 'the output, by computing it again',
  vectors: 'the vectors, by computing them again',
};

/** Prints a report to standard output. */
export function printReceiptReport(report: ReceiptReport): void {
  const { verdict, code, field, message, claimed, recomputed, checked, signer, isPinned } = report;
  console.log(`${verdict}  ${report.file}`);
  if (report.id !== null) console.log(`  receipt    ${report.id}${aroundOf(report)}`);
  if (report.model !== null) console.log(`  model      ${report.model}`);
  if (signer !== null) {
    console.log(`  signed by  ${signer}${isPinned ? '' : ', not pinned: say --signer with the address you trust'}`);
  }
  if (code !== undefined) console.log(`  why        ${code}`);
  if (message !== undefined) console.log(`  fault      ${message}`);
  if (field !== undefined) console.log(`  field      ${field}`);
  if (claimed !== undefined) console.log(`  claimed    ${claimed}`);
  if (recomputed !== undefined) console.log(`  recomputed ${recomputed}`);
  const words = checked.map((name) => WORDS[name]).join('; ');
  console.log(`  checked    ${words === '' ? 'nothing' : words}`);
  const { promptTokens, outputTokens } = report;
  const duration = Math.round(report.timing.checkMs);
  if (checked.includes('output')) {
    console.log(`  computed   prompt of ${tokens(promptTokens)}, output of ${tokens(outputTokens)}, in ${duration} ms`);
  }
  if (checked.includes('vectors')) console.log(`  computed   texts of ${tokens(promptTokens)}, in ${duration} ms`);
  console.log('  not proved: who asked, how often it was asked, the times, and that the model is wise');
}

function tokens(count: number): string {
  return count === 1 ? '1 token' : `${count} tokens`;
}

function aroundOf({ answer, isStream }: ReceiptReport): string {
  if (answer === null) return '';
  return answer === 'embeddings' ? ', of embeddings' : `, of a ${answer}${isStream ? ', streamed' : ''}`;
}
