/**
 * `tracebond generate`: one text from one prompt, computed in this process, with what another computer needs to compute it
 * again and compare.
 *
 * @module
 */

import { readFileSync } from 'node:fs';
import { type Command, Option } from 'commander';
import type { Hex } from '../../attest/core/bytes.ts';
import { RuntimeError } from '../../attest/core/error.ts';
import type { AheadCounts } from '../../inference/ahead.ts';
import type { ProfileName } from '../../inference/engine.ts';
import type { ExactEngineName } from '../../inference/exact/engines.ts';
import { checkSampling } from '../../inference/exact/sampler.ts';
import { generate } from '../../inference/generate.ts';
import { openModel } from '../../inference/model.ts';
import { resolveModelPath, SHIPPED_MODEL } from '../../inference/model-path.ts';
import { type Environment, readEnvironment } from './environment.ts';
import { samplingOf } from './generated.ts';

export type GenerateUsageCode = 'BAD_OPTION' | 'PROMPT_MISSING' | 'PROMPT_UNREADABLE';

/** The command was called wrongly. */
export class GenerateUsageError extends RuntimeError<GenerateUsageCode> {
  override readonly name = 'GenerateUsageError';
}

type Options = {
  readonly model: string;
  readonly prompt?: string;
  readonly promptFile?: string;
  readonly maxTokens: string;
  readonly chat?: true;
  readonly stop?: readonly string[];
  readonly profile: ProfileName;
  readonly engine: 'auto' | 'reference' | 'wasm' | 'ort';
  readonly threads?: string;
  readonly seed: string;
  readonly temperature: string;
  readonly topP: string;
  readonly topK: string;
  /** False: nothing is computed ahead. */
  readonly speculation?: boolean;
  readonly json?: true;
};

/** What `--json` prints. */
export type GenerateResult = {
  readonly text: string;
  readonly finishReason: 'stop' | 'length';
  readonly promptTokens: readonly number[];
  readonly tokens: readonly number[];
  /** SHA-256 over all logits of all generated positions, binary32 little-endian. */
  readonly logitsDigest: Hex;
  /** Root over model, tables, operations and tokenizer; null under `float-same-isa`. */
  readonly commitment: Hex | null;
  readonly model: string;
  readonly profile: ProfileName;
  readonly engine: 'reference' | 'wasm' | 'ort';
  readonly threads: number;
  /** A uint64 as a decimal text where it is beyond 2^53, else a number. */
  readonly seed: number | string;
  readonly temperature: number;
  readonly topP: number;
  readonly topK: number;
  /** Most tokens of output. */
  readonly maxTokens: number;
  /** Texts before which the output ends. */
  readonly stop: readonly string[];
  readonly timing: {
    readonly readyMs: number;
    readonly prefillMs: number;
    readonly decodeMs: number;
    readonly prefillTokensPerSecond: number;
    /** Of the tokens after the first, which falls out of the prefill; null if there is only one. */
    readonly decodeTokensPerSecond: number | null;
    readonly residentBytes: number;
    /** Rows computed, ids among them that were computed before they came, and how many of those came. */
    readonly counts: AheadCounts;
  };
};

/** Adds the command. */
export function registerGenerate(program: Command): void {
  program
    .command('generate')
    .description('continue a prompt, with the digest of all logits')
    .option('--model <name>', 'model id, GGUF file, or folder of a model in safetensors', SHIPPED_MODEL.id)
    .option('--prompt <text>', 'text to continue')
    .option('--prompt-file <file>', 'file with the text to continue, UTF-8')
    .option('--max-tokens <number>', 'most tokens of output', '64')
    .option('--chat', "take the prompt as a user's message in the model's chat template")
    .option('--stop <text...>', 'texts before which the output ends')
    .addOption(new Option('--profile <name>', 'numerics').choices(['exact', 'float-same-isa']).default('exact'))
    .addOption(
      new Option('--engine <name>', 'what computes').choices(['auto', 'reference', 'wasm', 'ort']).default('auto'),
    )
    .option('--threads <number>', 'threads of the engine wasm')
    .option('--seed <number>', 'own seed of the draw, a uint64', '0')
    .option('--temperature <number>', 'in steps of 1/10,000; 0 is greedy', '0')
    .option('--top-p <number>', 'in steps of 1/10,000', '1')
    .option('--top-k <number>', '0 for none', '0')
    .option('--no-speculation', 'compute no likely tokens ahead; the output is the same')
    .option('--json', 'print one JSON object')
    .action(async (options: Options) => {
      const result = await runGenerate(options, readEnvironment(), (line) => console.error(line));
      process.stdout.write(options.json === true ? `${JSON.stringify(result)}\n` : `${result.text}\n`);
    });
}

/**
 * Runs the command.
 *
 * @throws {@link GenerateUsageError}, and {@link InferenceError} `SAMPLING_REFUSED`, before anything is opened
 * @throws {@link ModelPathError}, {@link ModelError}, {@link InferenceError}
 */
export async function runGenerate(
  options: Options,
  environment: Environment,
  progress: (line: string) => void,
): Promise<GenerateResult> {
  const { profile } = options;
  const engine = engineOf(options);
  const maxTokens = integer('--max-tokens', options.maxTokens, 1, 2 ** 31);
  const threads = threadsOf(options.threads);
  const seed = uint64('--seed', options.seed);
  const temperature = fraction('--temperature', options.temperature);
  const topP = fraction('--top-p', options.topP);
  const topK = integer('--top-k', options.topK, 0, 1_000_000);
  checkSampling({ temperature, topP, topK });
  const stop = options.stop ?? [];
  const prompt = readPrompt(options);
  const { id, path } = resolveModelPath(options.model, environment.env, environment.home);
  const startedAt = performance.now();
  const model = await openModel({
    path,
    id,
    cacheDir: environment.cache,
    profile,
    ...(engine === undefined ? {} : { engine }),
    ...(threads === undefined ? {} : { threads }),
    chat: options.chat === true,
    onProgress: progress,
  });
  const readyMs = performance.now() - startedAt;
  try {
    const generated = await generate(model, {
      prompt,
      chat: options.chat === true,
      maxTokens,
      stop,
      sampling: samplingOf({ temperature, topP, topK }, seed),
      speculate: options.speculation !== false,
    });
    const { text, finishReason, promptTokens, tokens, logitsDigest, prefillMs, decodeMs, counts } = generated;
    return {
      text,
      finishReason,
      promptTokens,
      tokens,
      logitsDigest,
      commitment: model.commitment,
      model: id,
      profile,
      engine: model.engineName,
      threads: model.threads,
      seed: seed <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(seed) : String(seed),
      temperature: temperature / 10_000,
      topP: topP / 10_000,
      topK,
      maxTokens,
      stop,
      timing: {
        readyMs: rounded(readyMs),
        prefillMs: rounded(prefillMs),
        decodeMs: rounded(decodeMs),
        prefillTokensPerSecond: rounded((1000 * promptTokens.length) / prefillMs),
        decodeTokensPerSecond: tokens.length < 2 ? null : rounded((1000 * (tokens.length - 1)) / decodeMs),
        residentBytes: process.memoryUsage.rss(),
        counts,
      },
    };
  } finally {
    await model.sequences.close();
  }
}

/**
 * The engine of the profile `exact` that was asked for; undefined leaves it to the profile.
 *
 * @throws {@link GenerateUsageError} `BAD_OPTION`
 */
export function engineOf({ profile, engine }: Pick<Options, 'profile' | 'engine'>): ExactEngineName | undefined {
  if (engine === 'auto') return undefined;
  if (profile === 'exact') return engine;
  if (engine === 'ort') return undefined;
  throw new GenerateUsageError('BAD_OPTION', `--engine ${engine} does not compute the profile ${profile}`);
}

/**
 * Threads that were asked for; undefined leaves them to the engine.
 *
 * @throws {@link GenerateUsageError} `BAD_OPTION`
 */
export function threadsOf(text: string | undefined): number | undefined {
  return text === undefined ? undefined : integer('--threads', text, 1, 64);
}

function readPrompt({ prompt, promptFile }: Options): string {
  if ((prompt === undefined) === (promptFile === undefined)) {
    throw new GenerateUsageError('PROMPT_MISSING', 'expected one of --prompt and --prompt-file');
  }
  if (promptFile === undefined) return prompt ?? '';
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(readFileSync(promptFile));
  } catch (cause) {
    const reason = cause instanceof TypeError ? 'it is not UTF-8' : (cause as Error).message;
    throw new GenerateUsageError('PROMPT_UNREADABLE', `cannot read ${promptFile}: ${reason}`, {
      at: { file: promptFile },
      cause,
    });
  }
}

function integer(name: string, text: string, low: number, high: number): number {
  const value = Number(text);
  if (!/^\d{1,15}$/.test(text) || value < low || value > high) {
    throw bad(name, text, `an integer in [${low}, ${high}]`);
  }
  return value;
}

function uint64(name: string, text: string): bigint {
  if (!/^\d{1,20}$/.test(text) || BigInt(text) >= 1n << 64n) throw bad(name, text, 'an integer below 2^64');
  return BigInt(text);
}

/** A decimal of at most four places, in 1/10,000; finer ones are refused, because they could not be recorded. */
function fraction(name: string, text: string): number {
  const match = /^(\d{1,4})(?:\.(\d{1,4}))?$/.exec(text);
  if (match === null) throw bad(name, text, 'a number with at most four decimal places');
  return Number(match[1]) * 10_000 + Number((match[2] ?? '').padEnd(4, '0'));
}

function bad(name: string, text: string, expected: string): GenerateUsageError {
  return new GenerateUsageError(
    'BAD_OPTION',
    `${name}: expected ${expected}, got ${JSON.stringify(text.slice(0, 64))}`,
    {
      at: { option: name },
    },
  );
}

function rounded(value: number): number {
  return Math.round(value * 100) / 100;
}
