/**
 * The runtime's way to a model: asks an inference server over HTTP and believes nothing that its receipt does not cover.
 *
 * @module
 */

import type { z } from 'zod';
import type { Hex } from '../attest/core/bytes.ts';
import { RuntimeError } from '../attest/core/error.ts';
import { type Json, parseJson } from '../attest/encoding/canonical-json.ts';
import { EncodingError } from '../attest/encoding/errors.ts';
import {
  type AnsweredCompletion,
  type InferencePlace,
  parseReceipt,
  type Receipt,
  verifyReceipt,
} from '../attest/sign/receipt.ts';
import type { InferenceRequest } from '../attest/trace/inference-request.ts';
import type { ModelIdentity } from './engine.ts';
import { answerSchema, modelListSchema, toWireRequest } from './protocol.ts';
import { endOf, readWholeAnswerTo } from './receipts/reading.ts';

export type { InferencePlace } from '../attest/sign/receipt.ts';
export type { ModelIdentity } from './engine.ts';

export type ClientErrorCode =
  /** No connection, or it broke; may be tried again. */
  | 'UNREACHABLE'
  /** The caller's signal. */
  | 'CANCELLED'
  /** The server refuses this request (4xx); `at.status`, `at.code`, `at.param` as it said. */
  | 'REFUSED'
  /** The server has too much to do (429); `at.retryAfterSeconds`. */
  | 'OVERLOADED'
  /** The server failed (5xx); `at.status`, `at.code`. */
  | 'FAILED'
  /** The answer is none of this API. */
  | 'MALFORMED_RESPONSE'
  /** The server has another model, profile or engine than the request names. */
  | 'IDENTITY_MISMATCH'
  /** The server signs with another key than the trusted one. */
  | 'SIGNER_MISMATCH';

/** A model call that gave no answer. A false receipt is a `ReceiptError` instead. */
export class ClientError extends RuntimeError<ClientErrorCode> {
  override readonly name = 'ClientError';
}

/** An answer whose receipt was checked. */
export type InferenceAnswer = AnsweredCompletion & { readonly receipt: Receipt };

/** A connection to one inference server. */
export type InferenceClient = {
  /**
   * What the server says it runs; asked once, then remembered.
   *
   * @throws {@link ClientError}
   */
  identity(): Promise<ModelIdentity>;
  /**
   * Address of the key that receipts are checked against: the trusted one, else the one that the server named first.
   *
   * @throws {@link ClientError}
   */
  signer(): Promise<Hex>;
  /**
   * Has the model answer, and checks the receipt against the request that was sent and the answer that came.
   *
   * @param place - where the inference stands; `NO_PLACE` outside a run
   * @throws {@link ClientError}
   * @throws {@link ReceiptError} what the receipt contradicts
   */
  complete(request: InferenceRequest, place: InferencePlace, signal?: AbortSignal): Promise<InferenceAnswer>;
};

/** Largest answer that is read. */
const MAX_RESPONSE_BYTES = 16 << 20;

/** Connects lazily: nothing is sent before the first call. */
export function openInferenceClient(options: openInferenceClient.Options): InferenceClient {
  return new HttpInferenceClient(options);
}

export declare namespace openInferenceClient {
  type Options = {
    /** Base of the server, such as `http://127.0.0.1:8080`. */
    readonly url: string;
    /** Trusted address of the server's key. Without it the server's own word is taken once and kept. */
    readonly signer?: Hex;
    readonly fetch?: typeof fetch;
  };
}

type Served = { readonly identity: ModelIdentity; readonly signer: Hex };

class HttpInferenceClient implements InferenceClient {
  readonly #base: string;
  readonly #trusted: Hex | undefined;
  readonly #fetch: typeof fetch;
  #served: Promise<Served> | undefined;

  constructor({ url, signer, fetch: send = fetch }: openInferenceClient.Options) {
    this.#base = url.replace(/\/+$/, '');
    this.#trusted = signer?.toLowerCase() as Hex | undefined;
    this.#fetch = send;
  }

  async identity(): Promise<ModelIdentity> {
    return (await this.#serving()).identity;
  }

  async signer(): Promise<Hex> {
    return (await this.#serving()).signer;
  }

  async complete(request: InferenceRequest, place: InferencePlace, signal?: AbortSignal): Promise<InferenceAnswer> {
    const { identity, signer } = await this.#serving();
    for (const field of ['model', 'profile', 'engine'] as const) {
      if (request[field] !== identity[field]) {
        throw new ClientError('IDENTITY_MISMATCH', `${field}: expected ${request[field]}, got ${identity[field]}`, {
          at: { field },
        });
      }
    }
    const { path, body: sent } = toWireRequest(request, identity.id, place);
    const body = await this.#ask(path, { method: 'POST', body: JSON.stringify(sent) }, signal);
    const parsed = answerSchema.safeParse(body);
    if (!parsed.success) throw malformed('completion', parsed.error.message);
    const { tracebond } = parsed.data;
    const receipt = parseReceipt(tracebond.receipt as Json);
    const { promptIds, outputIds, masks, text } = tracebond;
    const completion = { promptIds, outputIds, masks, text, finishReason: receipt.finish };
    verifyReceipt(receipt, { ...place, request, completion }, signer);
    checkChoice(parsed.data.choices[0], request, completion);
    return { ...completion, receipt };
  }

  #serving(): Promise<Served> {
    this.#served ??= this.#askServed().catch((error) => {
      // Not remembered: the server may come up later.
      this.#served = undefined;
      throw error;
    });
    return this.#served;
  }

  async #askServed(): Promise<Served> {
    const body = await this.#ask('/v1/models', { method: 'GET' });
    const parsed = modelListSchema.safeParse(body);
    if (!parsed.success) throw malformed('model list', parsed.error.message);
    const [model] = parsed.data.data;
    if (model === undefined) throw malformed('model list', 'no model');
    const { signer, chainId: _chainId, contract: _contract, ...digests } = model.tracebond;
    if (this.#trusted !== undefined && signer !== this.#trusted) {
      throw new ClientError('SIGNER_MISMATCH', `signer: expected ${this.#trusted}, the server has ${signer}`, {
        at: { field: 'signer' },
      });
    }
    return { identity: { id: model.id, ...digests }, signer };
  }

  async #ask(path: string, init: { method: string; body?: string }, signal?: AbortSignal): Promise<Json> {
    let status: number;
    let retryAfter: string | null;
    let bytes: Uint8Array;
    try {
      const response = await this.#fetch(`${this.#base}${path}`, {
        ...init,
        redirect: 'error',
        headers: {
          accept: 'application/json',
          ...(init.body === undefined ? {} : { 'content-type': 'application/json' }),
        },
        ...(signal === undefined ? {} : { signal }),
      });
      status = response.status;
      retryAfter = response.headers.get('retry-after');
      bytes = await readLimited(response);
    } catch (error) {
      if (RuntimeError.is(error)) throw error;
      if (signal?.aborted) throw new ClientError('CANCELLED', 'the model call was cancelled', { cause: error });
      const cause = (error as Error).cause;
      const reason = cause instanceof Error && cause.message !== '' ? cause.message : (error as Error).message;
      throw new ClientError('UNREACHABLE', `inference server ${this.#base} does not answer: ${reason}`, {
        at: { url: this.#base },
        cause: error,
      });
    }
    const body = readJson(bytes, status);
    if (status === 200) return body;
    throw toRefusal(status, retryAfter, body);
  }
}

/**
 * Checks that what the answer says in OpenAI's words follows from the text that was signed: nobody who reads those words alone is told
 * something else.
 */
function checkChoice(
  { finish_reason, message, text }: z.output<typeof answerSchema>['choices'][0],
  request: InferenceRequest,
  completion: AnsweredCompletion,
): void {
  const signed = readWholeAnswerTo(request, completion.text);
  const end = endOf(completion.finishReason, signed);
  if (finish_reason !== end) {
    throw malformed('completion', `finish_reason ${finish_reason}, the receipt says ${end}`);
  }
  const isSaid = (request.prompt === null ? message?.content : text) === signed.content;
  const said = (message?.tool_calls ?? []).map((call) => [call.id, call.function.name, call.function.arguments]);
  const calls = signed.calls.map((call) => [call.id, call.name, call.arguments]);
  if (!isSaid || JSON.stringify(said) !== JSON.stringify(calls)) {
    throw malformed('completion', 'its content is not the text of the receipt');
  }
}

/** A body of at most {@link MAX_RESPONSE_BYTES}, whatever its headers say. */
async function readLimited(response: Response): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of response.body ?? []) {
    length += chunk.length;
    // Leaving the loop cancels the stream.
    if (length > MAX_RESPONSE_BYTES) throw malformed('response', `more than ${MAX_RESPONSE_BYTES} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

function readJson(bytes: Uint8Array, status: number): Json {
  try {
    return parseJson(bytes);
  } catch (error) {
    if (!(error instanceof EncodingError)) throw error;
    throw new ClientError('MALFORMED_RESPONSE', `response of status ${status} is no JSON: ${error.message}`, {
      at: { status },
      cause: error,
    });
  }
}

function toRefusal(status: number, retryAfter: string | null, body: Json): ClientError {
  const said = (body as { readonly error?: { readonly [key: string]: Json } } | null)?.error;
  const field = (name: string) => (typeof said?.[name] === 'string' ? said[name].slice(0, 1000) : null);
  const at = { status, code: field('code'), param: field('param') };
  const message = `inference server says ${status}: ${field('message') ?? 'no reason'}`;
  if (status === 429) {
    const seconds = Number(retryAfter);
    const retryAfterSeconds = retryAfter !== null && Number.isSafeInteger(seconds) && seconds >= 0 ? seconds : null;
    return new ClientError('OVERLOADED', message, { at: { ...at, retryAfterSeconds } });
  }
  return new ClientError(status >= 400 && status < 500 ? 'REFUSED' : 'FAILED', message, { at });
}

function malformed(what: string, reason: string): ClientError {
  return new ClientError('MALFORMED_RESPONSE', `${what} of the inference server: ${reason.slice(0, 1000)}`);
}
