/**
 * The HTTP API: OpenAI's chat completions, not streamed, as far as greedy decoding can keep its word.
 *
 * P1. Nothing is ignored: a parameter that this server does not act on is refused by name, whatever its value.
 * P2. Two bodies that mean the same become one {@link InferenceRequest}, and so one request digest.
 * P3. `tracebond` is the only addition: in a request the place of the inference in its run, in a response the receipt.
 *
 * Spec: `inference/spec/receipt.md#over-http`.
 *
 * @module
 */

import { z } from 'zod';
import { fromHex, type Hex, toHex } from '../attest/core/bytes.ts';
import { ZERO_DIGEST } from '../attest/core/hash.ts';
import type { Json, LosslessJson } from '../attest/encoding/canonical-json.ts';
import { type InferencePlace, NO_CONTRACT } from '../attest/sign/receipt.ts';
import { GREEDY, type InferenceRequest, REQUEST_LIMITS } from '../attest/trace/inference-request.ts';
import type { PartialAnswer } from '../attest/verify/executor.ts';
import type { Completion, ModelIdentity } from './engine.ts';
import { refuse, refuseValue } from './protocol-faults.ts';

/** Tokens of output where a request names no number. */
export const DEFAULT_MAX_TOKENS = 256;

const UINT64 = 1n << 64n;
const UINT256 = 1n << 256n;

const hex = (bytes: number) =>
  z
    .string()
    .regex(new RegExp(`^0x[0-9a-f]{${2 * bytes}}$`), `expected ${bytes} bytes as lower-case 0x hexadecimal`)
    .transform((text) => text as Hex);

const decimal = (limit: bigint) =>
  z
    .string()
    .regex(/^(?:0|[1-9][0-9]{0,77})$/, 'expected a decimal number without leading zeros')
    .transform((text) => BigInt(text))
    .refine((value) => value < limit, 'expected a smaller number');

/** Lone surrogates are refused by the JSON reader already. */
const text = (min: number, max: number) => z.string().min(min).max(max);

const content = z.union([
  text(0, REQUEST_LIMITS.content),
  z
    .array(z.strictObject({ type: z.literal('text'), text: text(0, REQUEST_LIMITS.content) }))
    .min(1)
    .max(REQUEST_LIMITS.messages)
    .transform((parts) => parts.map((part) => part.text).join('')),
]);

const name = text(1, REQUEST_LIMITS.name).optional();

const message = z.discriminatedUnion('role', [
  z.strictObject({ role: z.literal('system'), content, name }),
  z.strictObject({ role: z.literal('user'), content, name }),
  // `refusal: null` is in every message that OpenAI's clients send back.
  z.strictObject({ role: z.literal('assistant'), content, name, refusal: z.null().optional() }),
  z.strictObject({ role: z.literal('tool'), content, name }),
]);

const responseFormat = z.discriminatedUnion('type', [
  z.strictObject({ type: z.literal('text') }),
  z.strictObject({
    type: z.literal('choice'),
    choices: z
      .array(text(1, REQUEST_LIMITS.choice))
      .min(1)
      .max(REQUEST_LIMITS.choices)
      .refine((choices) => new Set(choices).size === choices.length, 'expected no choice twice'),
  }),
]);

const seed = z.union([z.int().nonnegative().transform(BigInt), z.bigint().nonnegative().lt(UINT64), decimal(UINT64)]);

const maxTokens = z.int().min(1).max(REQUEST_LIMITS.maxTokens).nullish();

const place = z.strictObject({
  run: hex(32),
  index: decimal(UINT64),
  runSeed: hex(32),
});

const extension = place.partial().extend({
  chainId: decimal(UINT256).optional(),
  contract: hex(20).optional(),
  model: hex(32).optional(),
  profile: hex(32).optional(),
  engine: hex(32).optional(),
});

/** Body of `POST /v1/chat/completions`; what is not here is refused. */
export const chatRequestSchema = z.strictObject({
  model: text(1, 256),
  messages: z.array(message).min(1).max(REQUEST_LIMITS.messages),
  max_tokens: maxTokens,
  max_completion_tokens: maxTokens,
  temperature: z.literal(0).nullish(),
  top_p: z.literal(1).nullish(),
  n: z.literal(1).nullish(),
  stream: z.literal(false).nullish(),
  seed: seed.nullish(),
  stop: z
    .union([
      text(1, REQUEST_LIMITS.stopText).transform((one) => [one]),
      z.array(text(1, REQUEST_LIMITS.stopText)).max(REQUEST_LIMITS.stop),
    ])
    .nullish(),
  response_format: responseFormat.nullish(),
  tracebond: extension.optional(),
});

/** Digests that the client insists on; the server refuses the request if one is not its own. */
export type PinnedIdentity = { readonly [D in 'model' | 'profile' | 'engine']?: Hex };

/** A request of the API, read: all of an {@link InferenceRequest} but the digests of the server's own identity. */
export type ChatRequest = {
  /** Name of the model, or its digest. */
  readonly model: string;
  readonly pinned: PinnedIdentity;
  /** Chain and contract are absent where the client leaves them to the server. */
  readonly place: Pick<InferencePlace, 'run' | 'index' | 'runSeed'> &
    Partial<Pick<InferencePlace, 'chainId' | 'contract'>>;
  readonly request: Omit<InferenceRequest, 'model' | 'profile' | 'engine'>;
};

/**
 * Reads the body of a chat completion request.
 *
 * @param body - untrusted
 * @throws {@link ApiError} with the parameter in `at.param`: `MISSING_PARAMETER`, `UNKNOWN_PARAMETER`,
 *   `UNSUPPORTED_PARAMETER` (OpenAI's, and not this server's), `UNSUPPORTED_VALUE` (likewise), `INVALID_TYPE`,
 *   `INVALID_VALUE`
 */
export function parseChatRequest(body: LosslessJson): ChatRequest {
  return bindFields(narrow(body));
}

/** The same value with every integer that a number holds exactly as a number. */
function narrow(value: LosslessJson): LosslessJson {
  if (typeof value === 'bigint') return Number.isSafeInteger(Number(value)) ? Number(value) : value;
  if (typeof value !== 'object' || value === null) return value;
  if (Array.isArray(value)) return value.map(narrow);
  // Not by assignment, which would take `__proto__` for an order.
  return Object.fromEntries(Object.entries(value).map(([key, field]) => [key, narrow(field)]));
}

function bindFields(body: LosslessJson): ChatRequest {
  const parsed = chatRequestSchema.safeParse(body);
  if (!parsed.success) throw refuse(parsed.error.issues, body);
  const { max_tokens, max_completion_tokens, tracebond = {}, ...fields } = parsed.data;
  if (typeof max_tokens === 'number' && typeof max_completion_tokens === 'number') {
    if (max_tokens !== max_completion_tokens) {
      throw refuseValue('max_tokens', 'max_tokens and max_completion_tokens differ');
    }
  }
  if (fields.response_format?.type === 'choice' && (fields.stop ?? []).length > 0) {
    throw refuseValue('stop', 'stop and a choice exclude each other');
  }
  const { run, index, runSeed, chainId, contract, ...pinned } = tracebond;
  const given = [run, index, runSeed].filter((value) => value !== undefined).length;
  if (given !== 0 && given !== 3) throw refuseValue('tracebond', 'run, index and runSeed come together');
  return {
    model: fields.model,
    pinned: defined(pinned),
    place: {
      run: run === undefined ? ZERO_DIGEST : fromHex(run),
      index: index ?? 0n,
      runSeed: runSeed === undefined ? ZERO_DIGEST : fromHex(runSeed),
      ...defined({ chainId, contract }),
    },
    request: {
      messages: fields.messages.map((one) => ({ role: one.role, content: one.content, name: one.name ?? null })),
      tools: [],
      responseFormat: fields.response_format ?? { type: 'text' },
      sampling: GREEDY,
      seed: (fields.seed ?? 0n).toString(),
      stop: fields.stop ?? [],
      maxTokens: max_completion_tokens ?? max_tokens ?? DEFAULT_MAX_TOKENS,
    },
  };
}

/**
 * The body that asks for exactly this request at this place; {@link parseChatRequest} reads it back.
 *
 * @param modelId - the server's name of the model
 */
export function toChatBody(request: InferenceRequest, modelId: string, at: InferencePlace): { [key: string]: Json } {
  return {
    model: modelId,
    messages: request.messages.map(({ role, content: words, name: who }) =>
      who === null ? { role, content: words } : { role, content: words, name: who },
    ),
    max_completion_tokens: request.maxTokens,
    temperature: 0,
    top_p: 1,
    seed: request.seed,
    stop: request.stop,
    response_format:
      request.responseFormat.type === 'text'
        ? { type: 'text' }
        : { type: 'choice', choices: request.responseFormat.choices },
    tracebond: {
      run: toHex(at.run),
      index: at.index.toString(),
      runSeed: toHex(at.runSeed),
      chainId: at.chainId.toString(),
      contract: at.contract,
      model: request.model,
      profile: request.profile,
      engine: request.engine,
    },
  };
}

const tokenIds = z.array(z.int().min(0).max(0xffffffff));

/** Body of an answer, as a client reads it: what it needs is checked, other fields may be there. */
export const chatResponseSchema = z.looseObject({
  id: z.string(),
  object: z.literal('chat.completion'),
  created: z.int(),
  model: z.string(),
  choices: z.tuple([
    z.looseObject({
      index: z.literal(0),
      message: z.looseObject({ role: z.literal('assistant'), content: z.string() }),
      finish_reason: z.enum(['stop', 'length']),
    }),
  ]),
  tracebond: z.strictObject({ receipt: z.unknown(), promptIds: tokenIds, outputIds: tokenIds }),
});

/** What a server says about its model under `tracebond`, besides OpenAI's fields. */
export const modelSchema = z.looseObject({
  id: z.string().min(1).max(256),
  object: z.literal('model'),
  tracebond: z.strictObject({
    model: hex(32),
    tokenizer: hex(32),
    operations: hex(32),
    profile: hex(32),
    profileName: z.enum(['exact', 'float-same-isa']),
    engine: hex(32),
    contextLength: z.int().min(1).max(0xffffffff),
    vocabularySize: z.int().min(1).max(0xffffffff),
    signer: hex(20),
    chainId: decimal(UINT256).nullable(),
    contract: hex(20).nullable(),
  }),
});

/** Body of `GET /v1/models`. */
export const modelListSchema = z.looseObject({ object: z.literal('list'), data: z.array(modelSchema).min(1).max(64) });

/** Chain and contract that receipts are bound to, or null where each request names its own. */
export type ReceiptDomain = { readonly chainId: bigint; readonly contract: Hex } | null;

/** The JSON of one model. `created` is not known for a file and is 0. */
export function toModelBody(
  identity: ModelIdentity,
  signer: Hex,
  domain: ReceiptDomain,
): { readonly [key: string]: Json } {
  const { id, ...digests } = identity;
  return {
    id,
    object: 'model',
    created: 0,
    owned_by: 'tracebond',
    tracebond: {
      ...digests,
      signer,
      chainId: domain === null ? null : domain.chainId.toString(),
      contract: domain === null ? null : domain.contract,
    },
  };
}

/** Chain and contract of a request that names none, on a server that is bound to none: off chain. */
export const OFF_CHAIN = { chainId: 0n, contract: NO_CONTRACT } as const;

/** A model of one's own that answers a recorded request again; see `recompute.ts`. */
export type Recomputer = {
  readonly identity: ModelIdentity;
  /** Computes the answer; refuses a request for other digests than its own. */
  complete(request: InferenceRequest, signal?: AbortSignal): Promise<Completion>;
  /** Computes it along an output that somebody claims (untrusted), up to the first id that differs. */
  check(request: InferenceRequest, claim: readonly number[], signal?: AbortSignal): Promise<Completion | PartialAnswer>;
};

/** The object without its undefined fields. */
function defined<T extends object>(fields: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as {
    [K in keyof T]?: Exclude<T[K], undefined>;
  };
}
