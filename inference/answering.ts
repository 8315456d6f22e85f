/**
 * What every surface of the HTTP API shares: a request as a client asked it, the answer piece by piece, and the answer with its
 * receipt. The surfaces (`api/`) read bodies into an {@link Asked} and write an {@link Answer} in their own words; `answer.ts` does what
 * lies between.
 *
 * @module
 */

import type { Hex } from '../attest/core/bytes.ts';
import type { InferencePlace } from '../attest/sign/receipt.ts';
import type { InferenceRequest, RequestToolCall } from '../attest/trace/inference-request.ts';
import type { Completion, ModelIdentity, TokenLogprobs } from './engine.ts';
import type { ReceiptDocument } from './receipts/receipt-document.ts';

/** Digests that the client insists on; the server refuses the request if one is not its own. */
export type PinnedIdentity = { readonly [D in 'model' | 'profile' | 'engine']?: Hex };

/** A request of the API, read: all of an {@link InferenceRequest} but the digests of the server's own identity. */
export type Asked = {
  /** Name of the model, or its digest. */
  readonly model: string;
  readonly pinned: PinnedIdentity;
  /** Chain and contract are absent where the client leaves them to the server. */
  readonly place: Pick<InferencePlace, 'run' | 'index' | 'runSeed'> &
    Partial<Pick<InferencePlace, 'chainId' | 'contract'>>;
  readonly request: Omit<InferenceRequest, 'model' | 'profile' | 'engine'>;
  /** Alternatives of each token, `[0, 20]`; null where no log-probabilities are wanted. */
  readonly logprobs: number | null;
};

/**
 * A piece of an answer. A call's arguments follow it before the next call begins; text comes before all calls. Text of all `text` pieces is
 * the answer's content, that of a call's `arguments` pieces its arguments.
 */
export type AnswerEvent =
  | { readonly type: 'text'; readonly text: string; readonly logprobs?: readonly TokenLogprobs[] }
  | { readonly type: 'call'; readonly index: number; readonly id: string; readonly name: string }
  | { readonly type: 'arguments'; readonly index: number; readonly text: string };

/** Why an answer ended, in OpenAI's words. */
export type AnswerEnd = 'stop' | 'length' | 'tool_calls';

/** An answer with its receipt. */
export type Answer = {
  readonly identity: ModelIdentity;
  /** Equal for two servers exactly when model, numerics and engine are. */
  readonly fingerprint: string;
  readonly completion: Completion;
  /** Null where the answer is calls and nothing else. */
  readonly content: string | null;
  readonly calls: readonly RequestToolCall[];
  readonly end: AnswerEnd;
  /** What goes into a response as `tracebond`; signed, and kept under its `id`. */
  readonly receipt: ReceiptDocument;
  /** Seconds since 1970. */
  readonly created: number;
};

/** What is known of an answer before its first piece. */
export type AnswerStart = Pick<Answer, 'identity' | 'fingerprint' | 'created'>;

/** How one answer is made. */
export type AnswerOptions = {
  /** Fires when the client is gone. */
  readonly signal: AbortSignal;
  /** Whose access key it is; null where none is required. */
  readonly caller: Caller | null;
  /** Id of the response; its receipt is found under it too. */
  readonly responseId?: string;
  /** Told once, when the request is accepted by an engine: what can be refused was not. */
  readonly onStart?: (start: AnswerStart) => void;
  readonly onEvent?: (event: AnswerEvent) => void;
};

/** Who asks: an access key, by its id. */
export type Caller = { readonly id: string };

/**
 * Answers a request: finds the model, waits for a turn, computes, signs, keeps the receipt.
 *
 * @throws {@link ApiError} `MODEL_NOT_FOUND`, `IDENTITY_MISMATCH`, `WRONG_CHAIN`
 * @throws {@link InferenceError}, {@link ServerError}
 */
export type Answering = (asked: Asked, options: AnswerOptions) => Promise<Answer>;
