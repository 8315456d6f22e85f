/**
 * `tracebond verify-receipt`: whether a receipt is signed for what it says, whether the answer around it says the same, and whether a model
 * of one's own computes it, in one pass over prompt and output. Verdicts and exit codes are those of `tracebond verify`.
 *
 * @module
 */

import { createReadStream } from 'node:fs';
import { type Command, Option } from 'commander';
import type { Hex } from '../../attest/core/bytes.ts';
import { RuntimeError } from '../../attest/core/error.ts';
import type { Outcome } from '../../attest/verify/outcome.ts';
import { EXIT_CODES, faultOf, type Verdict } from '../../attest/verify/verdict.ts';
import type { CheckingEngine, ProfileName } from '../../inference/engine.ts';
import { ModelError } from '../../inference/errors.ts';
import { openEngine } from '../../inference/model.ts';
import { ModelPathError, resolveModelPath, SHIPPED_MODEL } from '../../inference/model-path.ts';
import { type Carried, compareAnswer, MAX_CARRIER_BYTES, readCarrier } from '../../inference/receipts/carrier.ts';
import {
  parseReceiptDocument,
  type ReceiptDocument,
  verifyReceiptDocument,
} from '../../inference/receipts/receipt-document.ts';
import { obstacleOf, recomputeReceipt } from '../../inference/receipts/recheck.ts';
import { type Environment, readEnvironment } from './environment.ts';
import { engineOf, threadsOf } from './generate.ts';

export type VerifyReceiptUsageCode = 'FILE_UNREADABLE' | 'BAD_OPTION';

/** The command was called wrongly; exit code 1. */
export class VerifyReceiptUsageError extends RuntimeError<VerifyReceiptUsageCode> {
  override readonly name = 'VerifyReceiptUsageError';
}

type Options = {
  readonly model: string;
  readonly profile: ProfileName;
  readonly engine: 'auto' | 'reference' | 'wasm' | 'ort';
  readonly threads?: string;
  readonly signer?: string;
  readonly json?: true;
};

/** A thing that was looked at and holds. */
type Checked = 'document' | 'signature' | 'answer' | 'output';

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
  /** Around the receipt: `chat completion`, `text completion`, `response`; null for a document alone. */
  readonly answer: string | null;
  readonly isStream: boolean;
  /** Address whose signature it is; null before that is known. */
  readonly signer: string | null;
  /** Whether `--signer` asked for that address. If not, anybody may have signed. */
  readonly isPinned: boolean;
  readonly model: Hex | null;
  readonly promptTokens: number;
  readonly outputTokens: number;
  readonly timing: { readonly readyMs: number; readonly checkMs: number };
};

/** What stands in a report besides the file and what is known of the receipt. */
type Finding = Pick<ReceiptReport, 'verdict' | 'code' | 'field' | 'message' | 'claimed' | 'recomputed'>;

/** Codes with which this computer has the model and not the engine. */
const ENGINE_FAULTS: ReadonlySet<string> = new Set(['ENGINE_ABSENT', 'SELF_TEST_FAILED']);

/** Adds `verify-receipt` to a program. `exit` receives the exit code of the verdict. */
export function registerVerifyReceipt(program: Command, exit: (code: number) => void): void {
  program
    .command('verify-receipt')
    .description('check a receipt: its signature, the answer around it, and the output by computing it again')
    .argument('<file>', 'a receipt, an answer of the API, or a saved stream of events; "-" reads standard input')
    .option('--signer <address>', 'the key that must have signed')
    .option('--model <name>', 'model id, GGUF file, or folder of a model in safetensors', SHIPPED_MODEL.id)
    .addOption(
      new Option('--profile <name>', 'numerics of the receipt').choices(['exact', 'float-same-isa']).default('exact'),
    )
    .addOption(
      new Option('--engine <name>', 'what computes').choices(['auto', 'reference', 'wasm', 'ort']).default('auto'),
    )
    .option('--threads <number>', 'threads of the engine')
    .option('--json', 'print one JSON object')
    .action(async (file: string, options: Options) => {
      const report = await runVerifyReceipt(file, options, readEnvironment(), (line) => console.error(line));
      if (options.json === true) console.log(JSON.stringify(report));
      else printReport(report);
      exit(EXIT_CODES[report.verdict]);
    });
}

/**
 * Runs the command.
 *
 * @param file - `-` is standard input
 * @throws {@link VerifyReceiptUsageError}, {@link GenerateUsageError} `BAD_OPTION`
 */
export async function runVerifyReceipt(
  file: string,
  options: Options,
  environment: Environment,
  progress: (line: string) => void,
): Promise<ReceiptReport> {
  const engine = engineOf(options);
  const threads = threadsOf(options.threads);
  const pinned = options.signer === undefined ? undefined : readAddress(options.signer);
  const bytes = await readFile(file);
  const startedAt = performance.now();
  const checked: Checked[] = [];
  let carried: Carried | undefined;
  let document: ReceiptDocument | undefined;
  let signer: Hex | undefined;
  const report = (finding: Finding, readyAt = performance.now()): ReceiptReport => ({
    file,
    ...finding,
    checked,
    id: document?.id ?? null,
    answer: carried?.answer?.surface ?? null,
    isStream: carried?.answer?.isStream ?? false,
    signer: signer ?? null,
    isPinned: pinned !== undefined && signer !== undefined,
    model: document?.request.model ?? null,
    promptTokens: document?.promptIds.length ?? 0,
    outputTokens: document?.outputIds.length ?? 0,
    timing: { readyMs: rounded(readyAt - startedAt), checkMs: rounded(performance.now() - readyAt) },
  });
  try {
    carried = readCarrier(bytes);
    document = parseReceiptDocument(carried.document);
    signer = verifyReceiptDocument(document, pinned);
    checked.push('document', 'signature');
  } catch (error) {
    if (!RuntimeError.is(error)) throw error;
    return report({ verdict: 'INVALID', ...faultOf(error) });
  }
  if (carried.answer !== null) {
    const differs = compareAnswer(carried.answer, document);
    if (differs !== undefined) {
      const message = 'the answer says what its receipt does not';
      return report({ ...differs, verdict: 'INVALID', code: 'ANSWER_MISMATCH', message });
    }
    checked.push('answer');
  }
  const opened = await openAtHand();
  if (!('check' in opened)) return report(opened);
  try {
    const readyAt = performance.now();
    const outcome = await recomputeReceipt(opened, document);
    if (outcome.verdict === 'MATCH') checked.push('output');
    return report({ ...outcome, ...explain(outcome, document, opened) }, readyAt);
  } finally {
    await opened.close();
  }

  async function openAtHand(): Promise<CheckingEngine | Finding> {
    try {
      const { id, path } = resolveModelPath(options.model, environment.env, environment.home);
      return await openEngine({
        path,
        id,
        cacheDir: environment.cache,
        profile: options.profile,
        ...(engine === undefined ? {} : { engine }),
        ...(threads === undefined ? {} : { threads }),
        onProgress: progress,
      });
    } catch (error) {
      if (!(error instanceof ModelPathError) && !(error instanceof ModelError)) throw error;
      const code = ENGINE_FAULTS.has(error.code) ? 'HOST_FAULT' : 'MODEL_NOT_AT_HAND';
      return { verdict: 'CANNOT_RECOMPUTE', code, message: error.message };
    }
  }
}

/** Which digest the model at hand does not have. */
function explain(outcome: Outcome, { request }: ReceiptDocument, { identity }: CheckingEngine): { message?: string } {
  if (outcome.verdict !== 'CANNOT_RECOMPUTE') return {};
  const fields = { MODEL_NOT_AT_HAND: 'model', OTHER_NUMERICS: 'profile', ENGINE_MISMATCH: 'engine' } as const;
  const obstacle = obstacleOf(request, identity);
  if (obstacle === undefined) return { message: 'the engine failed on this computer' };
  const field = fields[obstacle];
  return { message: `the receipt is for the ${field} ${request[field]}, at hand is ${identity[field]}` };
}

/** @throws {@link VerifyReceiptUsageError} if there is nothing to read */
async function readFile(file: string): Promise<Uint8Array> {
  const source = file === '-' ? process.stdin : createReadStream(file);
  const parts: Uint8Array[] = [];
  let length = 0;
  try {
    for await (const part of source as AsyncIterable<Uint8Array>) {
      parts.push(part);
      length += part.length;
      // The reader refuses it by its length.
      if (length > MAX_CARRIER_BYTES) break;
    }
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    throw new VerifyReceiptUsageError('FILE_UNREADABLE', `${file} cannot be read (${code})`, { at: { file }, cause });
  }
  return Buffer.concat(parts);
}

function readAddress(value: string): Hex {
  const address = value.toLowerCase();
  if (!/^0x[0-9a-f]{40}$/.test(address)) {
    throw new VerifyReceiptUsageError(
      'BAD_OPTION',
      `--signer: expected an address of 20 bytes in hexadecimal, got ${JSON.stringify(value.slice(0, 64))}`,
    );
  }
  return address as Hex;
}

const WORDS: { readonly [C in Checked]: string } = {
  document: 'every field of the receipt',
  signature: 'signature',
  answer: 'the answer around it',
  output: 'the output, by computing it again',
};

function printReport(report: ReceiptReport): void {
  const { verdict, code, field, message, claimed, recomputed, checked, signer, isPinned, answer } = report;
  console.log(`${verdict}  ${report.file}`);
  if (report.id !== null) {
    const around = answer === null ? '' : `, of a ${answer}${report.isStream ? ', streamed' : ''}`;
    console.log(`  receipt    ${report.id}${around}`);
  }
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
  if (checked.includes('output')) {
    const { promptTokens, outputTokens, timing } = report;
    console.log(`  computed   ${promptTokens} tokens of prompt, ${outputTokens} of output in ${timing.checkMs} ms`);
  }
  console.log('  not proved: who asked, how often it was asked, the times, and that the model is wise');
}

function rounded(value: number): number {
  return Math.round(value * 100) / 100;
}
