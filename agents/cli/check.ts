/**
 * `tracebond check`: whether what `tracebond generate --json` printed follows from its prompt's tokens, seed and sampling, in one
 * pass of a model of one's own. Verdicts and exit codes are those of `tracebond verify`.
 *
 * @module
 */

import { type Command, Option } from 'commander';
import { defined } from '../../attest/core/defined.ts';
import { RuntimeError } from '../../attest/core/error.ts';
import { compare, diverged, type Outcome } from '../../attest/verify/outcome.ts';
import { EXIT_CODES, faultOf, type Verdict } from '../../attest/verify/verdict.ts';
import { type CheckedCompletion, checkCompletion, type WrongToken } from '../../inference/check.ts';
import { InferenceError } from '../../inference/errors.ts';
import { openModel } from '../../inference/model.ts';
import { SHIPPED_MODEL } from '../../inference/model-path.ts';
import { isNotAtHand, openAtHand, readInput } from './at-hand.ts';
import { type Environment, readEnvironment } from './environment.ts';
import { engineOf, threadsOf } from './generate.ts';
import { type GeneratedClaim, MAX_GENERATED_BYTES, parseGenerated } from './generated.ts';

export type CheckUsageCode = 'FILE_UNREADABLE';

/** The command was called wrongly; exit code 1. */
export class CheckUsageError extends RuntimeError<CheckUsageCode> {
  override readonly name = 'CheckUsageError';
}

type Options = {
  /** `-` is standard input. */
  readonly generated: string;
  readonly model: string;
  readonly engine: 'auto' | 'reference' | 'wasm' | 'ort';
  readonly threads?: string;
  readonly json?: true;
};

/** What `--json` prints. */
export type CheckReport = {
  readonly file: string;
  readonly verdict: Verdict;
  /** Why it is no claim or could not be checked. */
  readonly code?: string;
  /** The first field that is false; a wrong token is `tokens.INDEX`. */
  readonly field?: string;
  readonly message?: string;
  readonly claimed?: string;
  readonly recomputed?: string;
  readonly firstWrong: WrongToken | null;
  /** Tokens of output that were computed. */
  readonly positions: number;
  /** Of the output, the time of the prompt included; null if none was computed. */
  readonly positionsPerSecond: number | null;
  readonly timing: { readonly readyMs: number; readonly checkMs: number };
};

/** What stands in a report besides the file and what it took. */
type Finding = Omit<CheckReport, 'file' | 'positions' | 'positionsPerSecond' | 'timing' | 'firstWrong'>;

/** Codes with which no model ever answers such a request: whoever claims an answer lies. */
const REFUSALS: ReadonlySet<string> = new Set([
  'PROMPT_EMPTY',
  'PROMPT_TOO_LONG',
  'CONTEXT_EXCEEDED',
  'REQUEST_MALFORMED',
]);

/** Adds `check` to a program. `exit` receives the exit code of the verdict. */
export function registerCheck(program: Command, exit: (code: number) => void): void {
  program
    .command('check')
    .description('check what generate printed, in one pass over prompt and output')
    .requiredOption('--generated <file>', 'what `generate --json` printed; "-" reads standard input')
    .option('--model <name>', 'model id, GGUF file, or folder of a model in safetensors', SHIPPED_MODEL.id)
    .addOption(
      new Option('--engine <name>', 'what computes').choices(['auto', 'reference', 'wasm', 'ort']).default('auto'),
    )
    .option('--threads <number>', 'threads of the engine')
    .option('--json', 'print one JSON object')
    .action(async (options: Options) => {
      const report = await runCheck(options, readEnvironment(), (line) => console.error(line));
      if (options.json === true) console.log(JSON.stringify(report));
      else printCheck(report);
      exit(EXIT_CODES[report.verdict]);
    });
}

/**
 * Runs the command.
 *
 * @throws {@link CheckUsageError}, {@link GenerateUsageError} `BAD_OPTION`
 */
export async function runCheck(
  options: Options,
  environment: Environment,
  progress: (line: string) => void,
): Promise<CheckReport> {
  const engine = engineOf({ profile: 'exact', engine: options.engine });
  const threads = threadsOf(options.threads);
  const bytes = await readInput(
    options.generated,
    MAX_GENERATED_BYTES,
    (message, details) => new CheckUsageError('FILE_UNREADABLE', message, details),
  );
  const startedAt = performance.now();
  const report = (finding: Finding, readyAt = performance.now(), checked?: CheckedCompletion): CheckReport => {
    const checkMs = checked === undefined ? 0 : performance.now() - readyAt;
    const positions = checked?.positions ?? 0;
    return {
      file: options.generated,
      ...finding,
      firstWrong: checked?.firstWrong ?? null,
      positions,
      positionsPerSecond: checked === undefined ? null : rounded((1000 * positions) / checkMs),
      timing: { readyMs: rounded(readyAt - startedAt), checkMs: rounded(checkMs) },
    };
  };
  let claim: GeneratedClaim;
  try {
    claim = parseGenerated(bytes);
  } catch (error) {
    if (!RuntimeError.is(error)) throw error;
    return report({ verdict: 'INVALID', ...faultOf(error) });
  }
  if (claim.profile !== 'exact') return report({ verdict: 'CANNOT_RECOMPUTE', code: 'OTHER_NUMERICS' });
  const model = await openAtHand(options.model, environment, (known) =>
    openModel({ ...known, ...defined({ engine, threads }), onProgress: progress }),
  );
  if (isNotAtHand(model)) return report(model);
  try {
    const readyAt = performance.now();
    if (model.commitment !== claim.commitment) {
      const message = `the model at hand has the commitment ${model.commitment}, not ${claim.commitment}`;
      return report({ verdict: 'CANNOT_RECOMPUTE', code: 'MODEL_NOT_AT_HAND', field: 'commitment', message });
    }
    try {
      const checked = await checkCompletion(model, {
        ...claim.completion,
        hashLogits: claim.logitsDigest !== undefined,
      });
      return report(compareGenerated(claim, checked), readyAt, checked);
    } catch (error) {
      if (!(error instanceof InferenceError)) throw error;
      const { code, message } = error;
      if (REFUSALS.has(code)) return report({ ...diverged('tokens', 'an output', code), message }, readyAt);
      return report({ verdict: 'CANNOT_RECOMPUTE', code: 'HOST_FAULT', message: `${code}: ${message}` }, readyAt);
    }
  } finally {
    await model.sequences.close();
  }
}

/** Holds the fields of a claim against what was computed: tokens first, then what follows from them. */
export function compareGenerated(claim: GeneratedClaim, checked: CheckedCompletion): Outcome {
  const { firstWrong } = checked;
  if (firstWrong !== null) {
    return diverged(`tokens.${firstWrong.index}`, firstWrong.claimed ?? 'none', firstWrong.correct ?? 'none');
  }
  return (
    compare('finishReason', claim.finishReason, checked.finishReason) ??
    compare('text', claim.text, checked.text) ??
    (claim.logitsDigest === undefined
      ? undefined
      : compare('logitsDigest', claim.logitsDigest, checked.logitsDigest)) ?? { verdict: 'MATCH' }
  );
}

function printCheck(report: CheckReport): void {
  const { verdict, code, field, message, claimed, recomputed, firstWrong, positions, positionsPerSecond } = report;
  console.log(`${verdict}  ${report.file}`);
  if (code !== undefined) console.log(`  why        ${code}`);
  if (message !== undefined) console.log(`  fault      ${message}`);
  if (field !== undefined) console.log(`  field      ${field}`);
  if (firstWrong !== null) console.log(`  position   ${firstWrong.position} of prompt and output`);
  if (claimed !== undefined) console.log(`  claimed    ${claimed}`);
  if (recomputed !== undefined) console.log(`  recomputed ${recomputed}`);
  console.log(`  checked    ${positions} tokens, ${positionsPerSecond ?? 0} a second`);
  console.log('  not proved: which words the prompt was, who made it, the times, and that the model is wise');
}

function rounded(value: number): number {
  return Math.round(value * 100) / 100;
}
