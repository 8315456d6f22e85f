/**
 * The whole request that decides an output, in one normal form: two requests that could be answered differently never
 * have one digest, and one request has one digest whatever client wrote it.
 *
 * Numbers of the sampler are integers in 1/10,000, because records hold no floating point. What a client may leave out has one value
 * here that says so.
 *
 * Spec: `inference/spec/receipt.md#the-request`.
 *
 * @module
 */

import { type Hex, utf8 } from '../core/bytes.ts';
import { type Digest, sha256 } from '../core/hash.ts';
import { canonicalBytes, hasLoneSurrogate, type Json, parseJsonText } from '../encoding/canonical-json.ts';
import { EncodingError } from '../encoding/errors.ts';
import { fieldError, type TraceErrorCode } from './errors.ts';
import { array, decimal64, hex32, integer, nullable, object, oneOf, type Shape, tagged, text } from './shape.ts';

/** Who speaks in a message. */
export type InferenceRole = 'system' | 'user' | 'assistant' | 'tool';

/** A call of a tool that an assistant's message made. */
export type RequestToolCall = {
  readonly id: string;
  readonly name: string;
  /** JSON text, as the assistant wrote it. */
  readonly arguments: string;
};

/** One message of the conversation; `content` is well-formed Unicode and never holds control tokens. */
export type InferenceMessage = {
  readonly role: InferenceRole;
  readonly content: string;
  readonly name: string | null;
  /** Empty unless the role is `assistant`. */
  readonly toolCalls: readonly RequestToolCall[];
  /** The call that a message of the role `tool` answers; null for others, and where the caller named none. */
  readonly toolCallId: string | null;
};

/** A function that the model may call. */
export type RequestTool = {
  readonly name: string;
  readonly description: string | null;
  /** JSON Schema of the arguments, as JSON text: the order of its members decides the order of the arguments. */
  readonly parameters: string;
};

/** Whether tools may, must or must not be called; `none` where there are no tools. */
export type ToolChoice =
  | { readonly type: 'none' | 'auto' | 'required' }
  | { readonly type: 'function'; readonly name: string };

/** What shape the answer must have: free text, exactly one of the given texts, any JSON object, or JSON of a schema. */
export type ResponseFormat =
  | { readonly type: 'text' }
  | { readonly type: 'choice'; readonly choices: readonly string[] }
  | { readonly type: 'json_object' }
  /** The schema as JSON text: the order of its members decides that of the answer's. */
  | { readonly type: 'json_schema'; readonly schema: string };

/** How tokens are chosen; temperature and top-p in integers of 1/10,000. Temperature 0 is greedy. */
export type Sampling = {
  /** `[0, 20000]` */
  readonly temperature: number;
  /** `[1, 10000]` */
  readonly topP: number;
  /** `[0, 1000000]`, 0 for none. */
  readonly topK: number;
};

/** Everything that decides the output of one model call, and nothing else. */
export type InferenceRequest = {
  /** Digest of the weights. */
  readonly model: Hex;
  /** Digest of the numerics profile. */
  readonly profile: Hex;
  /** Digest of the engine's code and libraries. */
  readonly engine: Hex;
  /** At least one, unless there is a `prompt`. */
  readonly messages: readonly InferenceMessage[];
  /** Text that is continued as it stands, without a chat template; null for a conversation. */
  readonly prompt: string | null;
  readonly tools: readonly RequestTool[];
  readonly toolChoice: ToolChoice;
  /** Whether one answer may hold several calls; false where no tool may be called. */
  readonly parallelToolCalls: boolean;
  readonly responseFormat: ResponseFormat;
  readonly sampling: Sampling;
  /** The request's own seed, a uint64 as a decimal string; `"0"` where the caller gave none. */
  readonly seed: string;
  /** Texts before which the output ends, at most 4. */
  readonly stop: readonly string[];
  /** Most tokens of output. */
  readonly maxTokens: number;
};

/** The default: the most probable token, always. */
export const GREEDY: Sampling = { temperature: 0, topP: 10000, topK: 0 };

/** Bounds of a request; anything beyond is refused before it is hashed or tokenised. */
export const REQUEST_LIMITS = {
  messages: 1024,
  /** UTF-16 units of one message. */
  content: 1 << 22,
  name: 64,
  tools: 128,
  /** UTF-16 units of a tool's description. */
  description: 1 << 16,
  /** Calls of one message. */
  toolCalls: 128,
  toolCallId: 128,
  /** UTF-16 units of one call's arguments. */
  arguments: 1 << 20,
  /** UTF-16 units and nesting of a JSON Schema. */
  schema: 1 << 18,
  schemaDepth: 64,
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

const TOOL_NAME = /^[a-zA-Z0-9_-]{1,64}$/;

/** A tool's name: it is written into JSON and into prompts as it stands. */
const toolName: Shape<string> = (value, path, code) => {
  const found = text(REQUEST_LIMITS.name)(value, path, code);
  if (!TOOL_NAME.test(found)) {
    throw fieldError(code ?? 'MALFORMED_BODY', path, 'expected 1 to 64 letters, digits, underscores or dashes');
  }
  return found;
};

/** JSON text without needless white space, as `JSON.stringify` writes it: one schema in one order is one text. */
const jsonText: Shape<string> = (value, path, code) => {
  const found = wellFormed(1, REQUEST_LIMITS.schema)(value, path, code);
  try {
    if (JSON.stringify(parseJsonText(found, { maxDepth: REQUEST_LIMITS.schemaDepth })) === found) return found;
  } catch (error) {
    if (!(error instanceof EncodingError)) throw error;
    throw fieldError(code ?? 'MALFORMED_BODY', path, `expected JSON text: ${error.message}`);
  }
  throw fieldError(code ?? 'MALFORMED_BODY', path, 'expected JSON text without needless white space');
};

const message = object({
  role: oneOf('system', 'user', 'assistant', 'tool'),
  content: wellFormed(0, REQUEST_LIMITS.content),
  name: nullable(wellFormed(1, REQUEST_LIMITS.name)),
  toolCalls: array(
    object({
      id: wellFormed(1, REQUEST_LIMITS.toolCallId),
      name: toolName,
      arguments: wellFormed(0, REQUEST_LIMITS.arguments),
    }),
    REQUEST_LIMITS.toolCalls,
  ),
  toolCallId: nullable(wellFormed(1, REQUEST_LIMITS.toolCallId)),
});

const request = object({
  model: hex32,
  profile: hex32,
  engine: hex32,
  messages: array(message, REQUEST_LIMITS.messages),
  prompt: nullable(wellFormed(0, REQUEST_LIMITS.content)),
  tools: array(
    object({
      name: toolName,
      description: nullable(wellFormed(0, REQUEST_LIMITS.description)),
      parameters: jsonText,
    }),
    REQUEST_LIMITS.tools,
  ),
  toolChoice: tagged('type', {
    none: object({ type: oneOf('none') }),
    auto: object({ type: oneOf('auto') }),
    required: object({ type: oneOf('required') }),
    function: object({ type: oneOf('function'), name: toolName }),
  }),
  parallelToolCalls: oneOf(true, false),
  responseFormat: tagged('type', {
    text: object({ type: oneOf('text') }),
    choice: object({ type: oneOf('choice'), choices }),
    json_object: object({ type: oneOf('json_object') }),
    json_schema: object({ type: oneOf('json_schema'), schema: jsonText }),
  }),
  sampling: object({ temperature: integer(0, 20_000), topP: integer(1, 10_000), topK: integer(0, 1_000_000) }),
  seed: decimal64,
  stop: array(wellFormed(1, REQUEST_LIMITS.stopText), REQUEST_LIMITS.stop),
  maxTokens: integer(1, REQUEST_LIMITS.maxTokens),
});

/** What one field says about another: a request that contradicts itself has no second reading. */
function checkTogether(found: InferenceRequest, path: string, code: TraceErrorCode): InferenceRequest {
  const wrong = (field: string, reason: string) => fieldError(code, `${path}.${field}`, reason);
  const { messages, prompt, tools, toolChoice, parallelToolCalls, responseFormat, stop } = found;
  if ((messages.length === 0) !== (prompt !== null)) throw wrong('messages', 'expected messages or a prompt');
  messages.forEach(({ role, toolCalls, toolCallId }, i) => {
    if (toolCalls.length > 0 && role !== 'assistant') {
      throw wrong(`messages.${i}.toolCalls`, 'only an assistant calls tools');
    }
    if (toolCallId !== null && role !== 'tool') throw wrong(`messages.${i}.toolCallId`, 'only a tool answers a call');
  });
  const names = tools.map(({ name }) => name);
  const twice = names.findIndex((name, i) => names.indexOf(name) !== i);
  if (twice >= 0) throw wrong(`tools.${twice}.name`, 'repeats a tool');
  const mayCall = toolChoice.type !== 'none';
  if (mayCall && tools.length === 0) throw wrong('toolChoice', 'there are no tools');
  if (mayCall && prompt !== null) throw wrong('toolChoice', 'a prompt has no tools');
  if (toolChoice.type === 'function' && !names.includes(toolChoice.name)) throw wrong('toolChoice', 'no such tool');
  if (parallelToolCalls && !mayCall) throw wrong('parallelToolCalls', 'no tool may be called');
  const isFree = responseFormat.type === 'text' && !mayCall;
  if (!isFree && stop.length > 0) throw wrong('stop', 'stop goes with free text only');
  if (responseFormat.type === 'choice' && mayCall) throw wrong('responseFormat', 'a choice excludes tools');
  return found;
}

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
  return checkTogether(request(value, path, code), path, code);
}

/**
 * Digest of a request: SHA-256("tracebond/request/1" || JCS(request)).
 *
 * @throws {@link EncodingError} if a text of the request is not well-formed Unicode
 */
export function computeRequestDigest(value: InferenceRequest): Digest {
  return sha256(DOMAIN, canonicalBytes(value as unknown as Json));
}
