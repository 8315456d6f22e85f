/**
 * The port between whatever serves completions and whatever computes them: one request in, token ids and text out.
 *
 * The real adapter is `openEngine` of `model.ts`; the server reaches it through a child process that answers the same
 * port (`child.ts`).
 *
 * @module
 */

import type { Hex } from '../attest/core/bytes.ts';
import type { PartialAnswer } from '../attest/verify/executor.ts';
import type { Sequences } from './sequences.ts';

/** One message of a conversation, before the chat template. */
export type ChatMessage = {
  readonly role: 'system' | 'user' | 'assistant' | 'tool';
  readonly content: string;
  readonly name?: string;
};

/** Names of the numerics profiles: the same bits everywhere, or on one class of CPU only. */
export type ProfileName = 'exact' | 'float-same-isa';

/** What an engine is asked: greedy decoding by default, optionally to one of `choices`. */
export type CompletionRequest = {
  readonly messages: readonly ChatMessage[];
  /** Most tokens of output, at least 1. */
  readonly maxTokens: number;
  /** When present, the output is exactly one of these texts. */
  readonly choices?: readonly string[];
  /** Texts before which the output ends. */
  readonly stop?: readonly string[];
  /** Temperature and top-p in 1/10,000, top-k (0 for none), and the inference seed, 32 bytes; temperature 0 is greedy. */
  readonly sampling?: {
    readonly temperature: number;
    readonly topP: number;
    readonly topK: number;
    readonly seed: Hex;
  };
};

/** What an engine answers. */
export type Completion = {
  readonly promptIds: readonly number[];
  readonly outputIds: readonly number[];
  readonly text: string;
  readonly finishReason: 'stop' | 'length' | 'choice';
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

/** A model that is loaded, before it answers anything. */
export type LoadedModel = {
  readonly identity: ModelIdentity;
  readonly engineName: 'reference' | 'wasm' | 'ort';
  readonly threads: number;
  /** Root over all that decides the results of the profile `exact`; null under another profile. */
  readonly commitment: Hex | null;
  readonly sequences: Sequences;
};

/** A model that is loaded and answers one request at a time. */
export type Engine = {
  readonly identity: ModelIdentity;
  /** Computes one completion; `signal` stops it with an error. */
  complete(request: CompletionRequest, signal?: AbortSignal): Promise<Completion>;
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
