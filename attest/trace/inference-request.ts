/**
 * The whole request that decides an output, in one normal form: two requests that could be answered differently never
 * have one digest, and one request has one digest whatever client wrote it.
 *
 * Numbers of the sampler are integers in 1/10,000, because records hold no floating point. Greedy decoding is the only
 * sampler of this version, and tools come later: their fields are there, with the one value that is allowed now.
 *
 * Spec: `inference/spec/receipt.md#the-request`.
 *
 * @module
 */

import { type Hex, utf8 } from '../core/bytes.ts';
import { type Digest, sha256 } from '../core/hash.ts';
import { canonicalBytes, hasLoneSurrogate, type Json } from '../encoding/canonical-json.ts';
import { fieldError, type TraceErrorCode } from './errors.ts';
import { array, decimal64, hex32, integer, nullable, object, oneOf, type Shape, tagged, text } from './shape.ts';

/** Who speaks in a message. */
export type InferenceRole = 'system' | 'user' | 'assistant' | 'tool';

/** One message of the conversation; `content` is well-formed Unicode and never holds control tokens. */
export type InferenceMessage = {
  readonly role: InferenceRole;
  readonly content: string;
  readonly name: string | null;
};

/** What shape the answer must have: free text, or exactly one of the given texts. */
export type ResponseFormat =
  | { readonly type: 'text' }
  | { readonly type: 'choice'; readonly choices: readonly string[] };

/** Greedy decoding, in integers of 1/10,000; the only sampler of this version. */
export type Sampling = { readonly temperature: 0; readonly topP: 10000; readonly topK: 0 };

/** Everything that decides the output of one model call, and nothing else. */
export type InferenceRequest = {
  /** Digest of the weights. */
  readonly model: Hex;
  /** Digest of the numerics profile. */
  readonly profile: Hex;
  /** Digest of the engine's code and libraries. */
  readonly engine: Hex;
  readonly messages: readonly InferenceMessage[];
  /** Tool definitions; empty in this version. */
  readonly tools: readonly Json[];
  readonly responseFormat: ResponseFormat;
  readonly sampling: Sampling;
  /** The request's own seed, a uint64 as a decimal string; `"0"` where the caller gave none. */
  readonly seed: string;
  /** Texts before which the output ends, at most 4. */
  readonly stop: readonly string[];
  /** Most tokens of output. */
  readonly maxTokens: number;
};

/** The sampler of this version. */
export const GREEDY: Sampling = { temperature: 0, topP: 10000, topK: 0 };

/** Bounds of a request; anything beyond is refused before it is hashed or tokenised. */
export const REQUEST_LIMITS = {
  messages: 1024,
  /** UTF-16 units of one message. */
  content: 1 << 22,
  name: 64,
  choices: 256,
  choice: 4096,
  stop: 4,
  stopText: 256,
  maxTokens: 2 ** 31,
} as const;

const DOMAIN = utf8('tracebond/request/1');

/** A text of `[min, max]` UTF-16 units without lone surrogates (they have no UTF-8, so no digest). */
function wellFormed(min: number, max: number): Shape<string> {
  const shape = text(max);
  return (value, path, code) => {
    const found = shape(value, path, code);
    if (found.length < min) throw fieldError(code ?? 'MALFORMED_BODY', path, 'expected a text that is not empty');
    if (hasLoneSurrogate(found)) throw fieldError(code ?? 'MALFORMED_BODY', path, 'holds a lone surrogate');
    return found;
  };
}

const choices: Shape<readonly string[]> = (value, path, code) => {
  const found = array(wellFormed(1, REQUEST_LIMITS.choice), REQUEST_LIMITS.choices)(value, path, code);
  if (found.length === 0) throw fieldError(code ?? 'MALFORMED_BODY', path, 'expected at least one choice');
  const twice = found.findIndex((choice, i) => found.indexOf(choice) !== i);
  if (twice >= 0) throw fieldError(code ?? 'MALFORMED_BODY', `${path}.${twice}`, 'repeats a choice');
  return found;
};

const messages: Shape<readonly InferenceMessage[]> = (value, path, code) => {
  const message = object({
    role: oneOf('system', 'user', 'assistant', 'tool'),
    content: wellFormed(0, REQUEST_LIMITS.content),
    name: nullable(wellFormed(1, REQUEST_LIMITS.name)),
  });
  const found = array(message, REQUEST_LIMITS.messages)(value, path, code);
  if (found.length === 0) throw fieldError(code ?? 'MALFORMED_BODY', path, 'expected at least one message');
  return found;
};

const request = object({
  model: hex32,
  profile: hex32,
  engine: hex32,
  messages,
  tools: array<Json>((value) => value, 0),
  responseFormat: tagged('type', {
    text: object({ type: oneOf('text') }),
    choice: object({ type: oneOf('choice'), choices }),
  }),
  sampling: object({ temperature: oneOf(0), topP: oneOf(10000), topK: oneOf(0) }),
  seed: decimal64,
  stop: array(wellFormed(1, REQUEST_LIMITS.stopText), REQUEST_LIMITS.stop),
  maxTokens: integer(1, REQUEST_LIMITS.maxTokens),
});

/**
 * Checks a request: exactly the fields of {@link InferenceRequest}, each in its normal form.
 *
 * It is itself a `Shape`, so a larger value can hold a request at its own path.
 *
 * @param value - untrusted
 * @throws {@link TraceError} `code` with the dotted path in `at.field`
 */
export function parseInferenceRequest(
  value: Json,
  path = 'request',
  code: TraceErrorCode = 'MALFORMED_BODY',
): InferenceRequest {
  return request(value, path, code);
}

/**
 * Digest of a request: SHA-256("tracebond/request/1" || JCS(request)).
 *
 * @throws {@link EncodingError} if a text of the request is not well-formed Unicode
 */
export function computeRequestDigest(value: InferenceRequest): Digest {
  return sha256(DOMAIN, canonicalBytes(value as unknown as Json));
}
