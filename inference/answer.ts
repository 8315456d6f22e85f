/**
 * Answers requests of the API: finds the model, waits for a turn, computes, reads content and calls, signs, keeps the receipt.
 *
 * N1. No answer without a receipt, and no receipt for anything but what the engine answered to that very request.
 * N2. What was shown piece by piece is the beginning of what is signed, and all of it at the end.
 * N3. A request that has shown a piece is never computed a second time by itself.
 *
 * @module
 */

import type { Hex } from '../attest/core/bytes.ts';
import type { Json } from '../attest/encoding/canonical-json.ts';
import { type InferencePlace, NO_CONTRACT, type ReceiptFacts, signReceipt } from '../attest/sign/receipt.ts';
import { TraceError } from '../attest/trace/errors.ts';
import { type InferenceRequest, parseInferenceRequest } from '../attest/trace/inference-request.ts';
import { computeInferenceSeed } from '../attest/trace/run-seed.ts';
import type { Answer, AnswerEvent, Answering, AnswerOptions, AnswerStart, Asked, Caller } from './answering.ts';
import { ApiError } from './api-errors.ts';
import { toCompletionRequest } from './completion-request.ts';
import type { Completion, CompletionRequest, Delta, Engine, ModelIdentity, TokenLogprobs } from './engine.ts';
import type { ReceiptDomain } from './protocol.ts';
import { fingerprintOf } from './receipts/fingerprint.ts';
import { endOf, readAnswerTo } from './receipts/reading.ts';
import { type ReceiptDocument, toReceiptDocument } from './receipts/receipt-document.ts';
import { mostTokens } from './request-size.ts';
import type { KeyLimits, Scheduler } from './scheduler.ts';
import type { AnswerReader } from './tools/answer-reader.ts';

/** The models that can be asked; a `Fleet` is such. */
export type AnsweringModels = {
  find(idOrDigest: string): { readonly id: string; readonly identity?: ModelIdentity } | undefined;
  /** The right to use a model's engine, which is opened if it is not. */
  acquire(
    idOrDigest: string,
    signal?: AbortSignal,
  ): Promise<{
    readonly engine: Pick<Engine, 'complete'>;
    readonly identity: ModelIdentity;
    release(): void;
  }>;
};

/** What became of one answer, for those who count. Milliseconds from its arrival. */
export type AnswerFacts = {
  readonly model: string;
  readonly caller: Caller | null;
  readonly promptTokens: number;
  readonly outputTokens: number;
  /** Until the engine began to say something. */
  readonly startMs: number;
  readonly totalMs: number;
};

/**
 * Makes what answers requests.
 *
 * The returned function throws {@link ApiError} `MODEL_NOT_FOUND`, `IDENTITY_MISMATCH`, `WRONG_CHAIN`, `INVALID_VALUE` for fields that
 * contradict each other, and what scheduler, models and engine throw.
 */
export function createAnswering(options: createAnswering.Options): Answering {
  const { models, schedulerOf, privateKey, domain, receipts, now } = options;
  const { monotonic = () => performance.now(), limitsOf = () => undefined, onAnswered = () => {} } = options;
  return async (asked, how) => {
    const arrivedMs = monotonic();
    const known = models.find(asked.model);
    if (known === undefined) {
      const name = JSON.stringify(asked.model.slice(0, 256));
      throw new ApiError('MODEL_NOT_FOUND', `model ${name} is not served here; GET /v1/models lists what is`, {
        at: { param: 'model' },
      });
    }
    // What can be refused without the model is refused before it is opened.
    if (known.identity !== undefined) checkPinned(asked, known.identity);
    const place = bindPlace(asked, domain);
    const created = Math.floor(now() / 1000);
    const { caller } = how;
    const limits = caller === null ? undefined : limitsOf(caller);
    const turn = {
      key: caller === null ? '' : caller.id,
      positions: positionsOf(asked, known.identity),
      signal: how.signal,
      ...(limits === undefined ? {} : { limits }),
    };
    const computed = await schedulerOf(known.id).run(turn, async (signal) => {
      const lease = await models.acquire(asked.model, signal);
      try {
        checkPinned(asked, lease.identity);
        return await compute(asked, place, lease, { ...how, signal }, created, monotonic);
      } finally {
        lease.release();
      }
    });
    // An engine that failed after its first piece, see N3.
    if ('fault' in computed) throw computed.fault;
    const { identity, request, completion, reader, startedMs } = computed;
    const facts: ReceiptFacts = { ...place, request, completion };
    const receipt = toReceiptDocument(facts, signReceipt(facts, privateKey));
    await receipts.put(receipt, caller, how.responseId);
    const read = reader.answer;
    onAnswered({
      model: identity.id,
      caller,
      promptTokens: completion.promptIds.length,
      outputTokens: completion.outputIds.length,
      startMs: startedMs - arrivedMs,
      totalMs: monotonic() - arrivedMs,
    });
    return {
      identity,
      fingerprint: fingerprintOf(identity),
      completion,
      content: read.content,
      calls: read.calls,
      end: endOf(completion.finishReason, read),
      receipt,
      created,
    } satisfies Answer;
  };
}

export declare namespace createAnswering {
  type Options = {
    readonly models: AnsweringModels;
    /** Who lets requests into the engine of a model. */
    readonly schedulerOf: (modelId: string) => Pick<Scheduler, 'run'>;
    /** 32 bytes; signs receipts and nothing else. */
    readonly privateKey: Uint8Array;
    /** Chain and contract that every receipt is for, or null: each request names its own, or is off chain. */
    readonly domain: ReceiptDomain;
    /** A document can be read as soon as the promise resolves. */
    readonly receipts: { put(document: ReceiptDocument, caller: Caller | null, responseId?: string): Promise<void> };
    /** Milliseconds since 1970. */
    readonly now: () => number;
    /** Milliseconds of a monotonic clock. */
    readonly monotonic?: () => number;
    /** Limits of a caller's key, where it has its own. */
    readonly limitsOf?: (caller: Caller) => Partial<KeyLimits> | undefined;
    /** Told of every answer before it is returned. */
    readonly onAnswered?: (facts: AnswerFacts) => void;
  };
}

type Computed =
  | {
      readonly identity: ModelIdentity;
      readonly request: InferenceRequest;
      readonly completion: Completion;
      readonly reader: AnswerReader;
      readonly startedMs: number;
    }
  | { readonly fault: unknown };

type Leased = Awaited<ReturnType<AnsweringModels['acquire']>>;

async function compute(
  asked: Asked,
  place: InferencePlace,
  { engine, identity }: Leased,
  how: AnswerOptions,
  created: number,
  monotonic: () => number,
): Promise<Computed> {
  const request = bindRequest(asked, identity);
  const reader = readAnswerTo(request);
  const start: AnswerStart = { identity, fingerprint: fingerprintOf(identity), created };
  const pieces = new Pieces(reader, start, how, monotonic);
  const isShown = how.onStart !== undefined || how.onEvent !== undefined;
  let completion: Completion;
  try {
    const asks = toEngine(request, place, asked.logprobs);
    completion = await engine.complete(asks, how.signal, isShown ? (delta) => pieces.take(delta) : undefined);
    pieces.finish(completion);
  } catch (error) {
    if (!pieces.isStarted) throw error;
    return { fault: error };
  }
  return { identity, request, completion, reader, startedMs: pieces.startedMs };
}

/** Shows an answer as it comes. */
class Pieces {
  readonly #reader: AnswerReader;
  readonly #start: AnswerStart;
  readonly #how: AnswerOptions;
  readonly #monotonic: () => number;
  #text = '';
  /** Of tokens whose text is not shown yet. */
  #logprobs: TokenLogprobs[] = [];
  #hasCalls = false;
  #startedMs: number | undefined;

  constructor(reader: AnswerReader, start: AnswerStart, how: AnswerOptions, monotonic: () => number) {
    this.#reader = reader;
    this.#start = start;
    this.#how = how;
    this.#monotonic = monotonic;
  }

  get isStarted(): boolean {
    return this.#startedMs !== undefined;
  }

  get startedMs(): number {
    return this.#startedMs ?? this.#monotonic();
  }

  take({ text, logprobs }: Pick<Delta, 'text' | 'logprobs'>): void {
    // Whoever is gone is shown nothing, also what the engine sends before it hears of it.
    if (this.#how.signal.aborted) return;
    this.#begin();
    this.#text += text;
    if (logprobs !== undefined) this.#logprobs.push(...logprobs);
    for (const event of this.#reader.push(text)) this.#show(event);
  }

  /** Shows what is left of the whole answer. */
  finish({ text }: Completion): void {
    if (!text.startsWith(this.#text)) throw new TypeError('the engine showed another text than it answered');
    this.take({ text: text.slice(this.#text.length) });
    for (const event of this.#reader.end()) this.#show(event);
    // Tokens without text: the end of the answer, or of a stop text.
    if (!this.#hasCalls && this.#logprobs.length > 0) this.#show({ type: 'text', text: '' });
  }

  #begin(): void {
    if (this.#startedMs !== undefined) return;
    this.#startedMs = this.#monotonic();
    this.#how.onStart?.(this.#start);
  }

  #show(event: AnswerEvent): void {
    if (event.type === 'call') this.#hasCalls = true;
    if (event.type !== 'text' || this.#hasCalls || this.#logprobs.length === 0) {
      this.#how.onEvent?.(event);
      return;
    }
    const logprobs = this.#logprobs;
    this.#logprobs = [];
    this.#how.onEvent?.({ ...event, logprobs });
  }
}

function toEngine(request: InferenceRequest, place: InferencePlace, logprobs: number | null): CompletionRequest {
  const seed = computeInferenceSeed(place.runSeed, place.index, BigInt(request.seed));
  const asks = toCompletionRequest(request, seed);
  return logprobs === null ? asks : { ...asks, logprobs };
}

/** @throws {@link ApiError} `IDENTITY_MISMATCH` */
function checkPinned({ pinned }: Asked, identity: ModelIdentity): void {
  for (const field of ['model', 'profile', 'engine'] as const) {
    const wanted: Hex | undefined = pinned[field];
    if (wanted !== undefined && wanted !== identity[field]) {
      throw new ApiError('IDENTITY_MISMATCH', `${field}: expected ${wanted}, this server has ${identity[field]}`, {
        at: { param: `tracebond.${field}` },
      });
    }
  }
}

/** @throws {@link ApiError} `WRONG_CHAIN` */
function bindPlace({ place }: Asked, domain: ReceiptDomain): InferencePlace {
  const own = domain ?? { chainId: 0n, contract: NO_CONTRACT };
  const bound = { ...own, ...place };
  if (domain === null) return bound;
  for (const field of ['chainId', 'contract'] as const) {
    if (bound[field] !== own[field]) {
      throw new ApiError('WRONG_CHAIN', `${field}: expected ${own[field]}, the request has ${bound[field]}`, {
        at: { param: `tracebond.${field}` },
      });
    }
  }
  return bound;
}

/** Fields of a request as the API calls them. */
const PARAMETERS: { readonly [field: string]: string } = {
  maxTokens: 'max_tokens',
  parallelToolCalls: 'parallel_tool_calls',
  responseFormat: 'response_format',
  toolChoice: 'tool_choice',
};

/**
 * The whole request: what the client asked for and the identity of what answers it.
 *
 * @throws {@link ApiError} `INVALID_VALUE` where it contradicts itself
 */
function bindRequest({ request }: Asked, { model, profile, engine }: ModelIdentity): InferenceRequest {
  try {
    return parseInferenceRequest({ ...request, model, profile, engine } as unknown as Json);
  } catch (error) {
    if (!(error instanceof TraceError)) throw error;
    const [, name = '', ...rest] = String(error.at['field']).split('.');
    const param = [name === 'sampling' ? '' : (PARAMETERS[name] ?? name), ...rest]
      .filter((part) => part !== '')
      .join('.');
    const reason = error.message.replace(/^[^:]*: /, '');
    throw new ApiError('INVALID_VALUE', `${param}: ${reason}`, { at: { param }, cause: error });
  }
}

/** Positions that a request may take, before its tokens are counted. */
function positionsOf({ request }: Asked, identity: ModelIdentity | undefined): number {
  const most = mostTokens(request);
  return Math.min(most, identity?.contextLength ?? most);
}
