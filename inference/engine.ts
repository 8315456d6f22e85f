/**
 * The port between whatever serves completions and whatever computes them: one request in, token ids and text out.
 *
 * The real adapter is `openEngine` of `model.ts`; the server reaches it through a child process that answers the same
 * port (`child.ts`).
 *
 * @module
 */

import type { Hex } from '../attest/core/bytes.ts';

/** One message of a conversation, before the chat template. */
export type ChatMessage = {
  readonly role: 'system' | 'user' | 'assistant' | 'tool';
  readonly content: string;
  readonly name?: string;
};

/** What an engine is asked: greedy decoding, optionally to one of `choices`. */
export type CompletionRequest = {
  readonly messages: readonly ChatMessage[];
  /** Most tokens of output, at least 1. */
  readonly maxTokens: number;
  /** When present, the output is exactly one of these texts. */
  readonly choices?: readonly string[];
  /** Texts before which the output ends. */
  readonly stop?: readonly string[];
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
  readonly profileName: 'float-same-isa';
  readonly engine: Hex;
  /** Most tokens of prompt and output together. */
  readonly contextLength: number;
  readonly vocabularySize: number;
};

/** A model that is loaded and answers one request at a time. */
export type Engine = {
  readonly identity: ModelIdentity;
  /** Computes one completion; `signal` stops it with an error. */
  complete(request: CompletionRequest, signal?: AbortSignal): Promise<Completion>;
  close(): Promise<void>;
};
