/**
 * `tracebond verify-receipt`: whether a receipt is signed for what it says, whether the answer around it says the same, and whether a model
 * of one's own computes it: an answer in one pass over prompt and output, embeddings from their texts. Verdicts and exit codes are those of `tracebond verify`.
 *
 * @module
 */

import { type Command, Option } from 'commander';
import type { Hex } from '../../attest/core/bytes.ts';
import { defined } from '../../attest/core/defined.ts';
import { RuntimeError } from '../../attest/core/error.ts';
import type { Outcome } from '../../attest/verify/outcome.ts';
import { EXIT_CODES, faultOf } from '../../attest/verify/verdict.ts';
import type { CheckingEngine, ProfileName } from '../../inference/engine.ts';
import { openEngine } from '../../inference/model.ts';
import { SHIPPED_MODEL } from '../../inference/model-path.ts';
import { type Carried, MAX_CARRIER_BYTES, readCarrier } from '../../inference/receipts/carrier.ts';
import { type AnswerDifference, type Checkable, readCheckable } from '../../inference/receipts/checkable.ts';
import { obstacleOf } from '../../inference/receipts/recheck.ts';
import { isNotAtHand, openAtHand, readInput } from './at-hand.ts';
import { type Environment, readEnvironment } from './environment.ts';
import { engineOf, threadsOf } from './generate.ts';
import { type Checked, type Finding, printReceiptReport, type ReceiptReport } from './receipt-report.ts';

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

/** Adds `verify-receipt` to a program. `exit` receives the exit code of the verdict. */
export function registerVerifyReceipt(program: Command, exit: (code: number) => void): void {
  program
    .command('verify-receipt')
    .description(
      'check a receipt: its signature, the answer around it, and the output or the vectors by computing them again',
    )
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
      else printReceiptReport(report);
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
  const bytes = await readInput(
    file,
    MAX_CARRIER_BYTES,
    (message, details) => new VerifyReceiptUsageError('FILE_UNREADABLE', message, details),
  );
  const open = () =>
    openAtHand(options.model, environment, (known) =>
      openEngine({ ...known, profile: options.profile, ...defined({ engine, threads }), onProgress: progress }),
    );
  const startedAt = performance.now();
  const checked: Checked[] = [];
  let carried: Carried | undefined;
  let receipt: Checkable | undefined;
  let signer: Hex | undefined;
  const report = (finding: Finding, readyAt = performance.now()): ReceiptReport => ({
    file,
    ...finding,
    checked,
    id: receipt?.id ?? null,
    answer: carried?.answer?.surface ?? null,
    isStream: carried?.answer?.isStream ?? false,
    signer: signer ?? null,
    isPinned: pinned !== undefined && signer !== undefined,
    model: receipt?.request.model ?? null,
    promptTokens: receipt?.promptTokens ?? 0,
    outputTokens: receipt?.outputTokens ?? 0,
    timing: { readyMs: rounded(readyAt - startedAt), checkMs: rounded(performance.now() - readyAt) },
  });
  try {
    carried = readCarrier(bytes);
    receipt = readCheckable(carried);
    signer = receipt.verify(pinned);
    checked.push('document', 'signature');
  } catch (error) {
    if (!RuntimeError.is(error)) throw error;
    return report({ verdict: 'INVALID', ...faultOf(error) });
  }
  const differs = receipt.compareAround();
  if (differs !== undefined) {
    const message = 'the answer says what its receipt does not';
    return report({ ...(await locate(differs)), verdict: 'INVALID', code: 'ANSWER_MISMATCH', message });
  }
  if (carried.answer !== null) checked.push('answer');
  const opened = await open();
  if (isNotAtHand(opened)) return report(opened);
  try {
    const readyAt = performance.now();
    const outcome = await receipt.recompute(opened);
    if (outcome.verdict === 'MATCH') checked.push(receipt.kind);
    return report({ ...outcome, ...explain(outcome, receipt, opened) }, readyAt);
  } finally {
    await opened.close();
  }

  /** It is false already: the model only says where, and without it less is told. */
  async function locate({ outcome, locate: find }: AnswerDifference): Promise<Outcome> {
    if (find === null) return outcome;
    const opened = await open();
    if (isNotAtHand(opened)) return outcome;
    try {
      return (await find(opened)) ?? outcome;
    } finally {
      await opened.close();
    }
  }
}

/** Which digest the model at hand does not have. */
function explain(outcome: Outcome, { request }: Checkable, { identity }: CheckingEngine): { message?: string } {
  if (outcome.verdict !== 'CANNOT_RECOMPUTE') return {};
  const fields = { MODEL_NOT_AT_HAND: 'model', OTHER_NUMERICS: 'profile', ENGINE_MISMATCH: 'engine' } as const;
  const obstacle = obstacleOf(request, identity);
  if (obstacle === undefined) return { message: 'the engine failed on this computer' };
  const field = fields[obstacle];
  const hint = obstacle === 'MODEL_NOT_AT_HAND' ? ': name the model with --model, its numerics with --profile' : '';
  return { message: `the receipt is for the ${field} ${request[field]}, at hand is ${identity[field]}${hint}` };
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

function rounded(value: number): number {
  return Math.round(value * 100) / 100;
}
