/**
 * The port between whatever serves completions and whatever computes them: one request in, token ids and text out.
 *
 * The real adapter is `openEngine` of `model.ts`; the server reaches it through a child process that answers the same
 * port (`child.ts`).
 *
 * @module
 */

import type { Hex } from '../attest/core/bytes.ts';
import type { RequestTool, RequestToolCall, ResponseFormat, ToolChoice } from '../attest/trace/inference-request.ts';
import type { PartialAnswer } from '../attest/verify/executor.ts';
import type { Sequences } from './sequences.ts';

/** One message of a conversation, before the chat template. */
export type ChatMessage = {
  readonly role: 'system' | 'user' | 'assistant' | 'tool';
  readonly content: string;
  readonly name?: string;
  /** Calls that an assistant made. */
  readonly toolCalls?: readonly RequestToolCall[];
  /** The call that a message of the role `tool` answers. */
  readonly toolCallId?: string;
};

/** Names of the numerics profiles: the same bits everywhere, or on one class of CPU only. */
export type ProfileName = 'exact' | 'float-same-isa';

/** Which tools may be called, and how. */
export type ToolUse = {
  /** At least one. */
  readonly tools: readonly RequestTool[];
  readonly choice: Exclude<ToolChoice, { readonly type: 'none' }>;
  readonly parallel: boolean;
};

/** What an engine is asked: greedy decoding by default, of free text unless `choices`, `format` or `toolUse` say otherwise. */
export type CompletionRequest = {
  /** Empty exactly where there is a `prompt`. */
  readonly messages: readonly ChatMessage[];
  /** Text that is continued as it stands. */
  readonly prompt?: string;
  /** Most tokens of output, at least 1. */
  readonly maxTokens: number;
  /** When present, the output is exactly one of these texts. */
  readonly choices?: readonly string[];
  /** When present, the output is JSON of this form, whole within `maxTokens`, or calls of tools where these are there. */
  readonly format?: Extract<ResponseFormat, { readonly type: 'json_object' | 'json_schema' }>;
  readonly toolUse?: ToolUse;
  /** Texts before which the output ends; of free text only. */
  readonly stop?: readonly string[];
  /** Temperature and top-p in 1/10,000, top-k (0 for none), and the inference seed, 32 bytes; temperature 0 is greedy. */
  readonly sampling?: {
    readonly temperature: number;
    readonly topP: number;
    readonly topK: number;
    readonly seed: Hex;
  };
  /** Asks for the logarithms of probabilities, with so many of the most probable tokens at each place, `[0, 20]`. They decide nothing. */
  readonly logprobs?: number;
};

/** A token and the natural logarithm of its probability, before sampling and masks. */
export type TokenProbability = {
  readonly id: number;
  readonly text: string;
  /** Bytes that the token adds; a character may lie in several tokens. Null for a control token. */
  readonly bytes: readonly number[] | null;
  readonly logprob: number;
};

/** One place of an output. */
export type TokenLogprobs = TokenProbability & { readonly top: readonly TokenProbability[] };

/** A piece of an answer as it is made. */
export type Delta = {
  /** Whole characters; those of all pieces are the answer's text. */
  readonly text: string;
  readonly ids: readonly number[];
  /** One for each id, where they were asked for. */
  readonly logprobs?: readonly TokenLogprobs[];
};

/** What an engine answers. */
export type Completion = {
  readonly promptIds: readonly number[];
  readonly outputIds: readonly number[];
  readonly text: string;
  readonly finishReason: 'stop' | 'length' | 'choice';
  /** Root over what was allowed at each place; null where all was. */
  readonly masks: Hex | null;
  /** One for each output id, where they were asked for. */
  readonly logprobs?: readonly TokenLogprobs[];
};

/** Vectors of texts. */
export type Embeddings = {
  /** Tokens of each text. */
  readonly ids: readonly (readonly number[])[];
  /** One of unit length for each, `[embedding]`, binary32. */
  readonly vectors: readonly (readonly number[])[];
};

/** Digests of all that decides an output besides the request. */
export type ModelIdentity = {
  readonly id: string;
  readonly model: Hex;
  readonly tokenizer: Hex;
  readonly operations: Hex;
  readonly profile: Hex;
  readonly profileName: ProfileName;
  readonly engine: Hex;
  /** Most tokens of prompt and output together. */
  readonly contextLength: number;
  readonly vocabularySize: number;
};

/** Whether two identities are equal in every field. */
export function isSameModel(a: ModelIdentity, b: ModelIdentity): boolean {
  return (Object.keys(a) as (keyof ModelIdentity)[]).every((field) => a[field] === b[field]);
}

/** A model that is loaded, before it answers anything. */
export type LoadedModel = {
  readonly identity: ModelIdentity;
  readonly engineName: 'reference' | 'wasm' | 'ort';
  readonly threads: number;
  /** Root over all that decides the results of the profile `exact`; null under another profile. */
  readonly commitment: Hex | null;
  readonly sequences: Sequences;
};

/** A model that is loaded and answers requests, several at once. */
export type Engine = {
  readonly identity: ModelIdentity;
  /**
   * Computes one completion; `signal` stops it with an error.
   *
   * @param onDelta - gets the answer piece by piece, all of it before the promise resolves
   */
  complete(request: CompletionRequest, signal?: AbortSignal, onDelta?: (delta: Delta) => void): Promise<Completion>;
  /**
   * The mean of the last hidden state over a text's tokens, of unit length.
   *
   * @param texts - at least one, none empty
   * @throws {@link InferenceError} `PROMPT_EMPTY`, `PROMPT_TOO_LONG`, `REQUEST_MALFORMED` under a profile without embeddings
   */
  embed(texts: readonly string[], signal?: AbortSignal): Promise<Embeddings>;
  close(): Promise<void>;
};

/** An engine that also computes along a claimed output. */
export type CheckingEngine = Engine & {
  /**
   * The completion of a request, or its beginning up to the first id that differs from a claimed output. A true claim costs no more than
   * a prompt of its length where the profile allows it, a false one no more than a true one.
   *
   * @param claim - untrusted; decides nothing but where the computation ends
   */
  check(
    request: CompletionRequest,
    claim: readonly number[],
    signal?: AbortSignal,
  ): Promise<Completion | PartialAnswer>;
};
