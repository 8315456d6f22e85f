/**
 * What an agent asks a model, written as arguments of the call `inference`, and what it makes of the text that comes back.
 *
 * The trace holds the text alone. Content, calls of tools and parsed JSON follow from it, so they are read here, in the sandbox.
 *
 * @module
 */

import { type AnswerParts, readAnswer, type ToolCall } from './answer.ts';
import { type JsonSchema, SchemaError, type StandardSchema, toJsonSchemaText, validate } from './schema.ts';
import type { AnyTool } from './tool.ts';

/** One message of a conversation. */
export type Message =
  | { readonly role: 'system' | 'user'; readonly content: string; readonly name?: string }
  | {
      readonly role: 'assistant';
      /** Null or nothing where there are calls alone. */
      readonly content?: string | null;
      readonly toolCalls?: readonly ToolCall[];
      readonly name?: string;
    }
  | {
      readonly role: 'tool';
      /** What a tool answered to a call. */
      readonly content: string;
      readonly toolCallId: string;
      readonly name?: string;
    };

/** Whether the model may, must or must not call tools, or which one it must call. */
export type ToolChoice = 'auto' | 'none' | 'required' | { readonly type: 'function'; readonly name: string };

/** The shape that an answer must have. */
export type ResponseFormat =
  | { readonly type: 'text' }
  | { readonly type: 'choice'; readonly choices: readonly string[] }
  | { readonly type: 'json_object' }
  /** The order of the schema's members is the order in which the model writes them. */
  | { readonly type: 'json_schema'; readonly schema: JsonSchema };

/** What decides an answer besides the conversation and its shape. */
export type InferSettings = {
  /** Most tokens of the answer; 256 if left out. */
  readonly maxTokens?: number;
  /** 0 to 2, rounded to 1/10,000; 0, the default, takes the most probable token always. */
  readonly temperature?: number;
  /** 0.0001 to 1, rounded to 1/10,000; 1 if left out. */
  readonly topP?: number;
  /** So many of the most probable tokens stay, at most 1,000,000; 0, the default, for all. */
  readonly topK?: number;
  /** A uint64, as decimal text beyond 2^53; 0 if left out. */
  readonly seed?: number | bigint | string;
};

/** What a model is asked. */
export type InferRequest = InferSettings & {
  readonly messages: readonly Message[];
  readonly responseFormat?: ResponseFormat;
  /**
   * Asks for JSON of this schema instead of `responseFormat`; the answer's `object` is what the schema reads. Its JSON Schema is
   * made at build time if the agent lists it in `schemas`, else when it is asked, for fuel.
   */
  readonly schema?: StandardSchema;
  /** At most four texts that end the answer and are not part of it; for free text without tools only. */
  readonly stop?: readonly string[];
  /** Tools that the model may call: to call them is up to the agent, by `ctx.tool`. */
  readonly tools?: readonly AnyTool[];
  /** `auto` if left out and there are tools. */
  readonly toolChoice?: ToolChoice;
  /** Whether one answer may hold several calls; true if left out. */
  readonly parallelToolCalls?: boolean;
};

/** A model's answer. */
export type InferAnswer<T = unknown> = {
  /** What the model wrote, calls included. */
  readonly text: string;
  /** `tool_calls` where there are calls, else the inference server's word. */
  readonly finishReason: 'stop' | 'length' | 'choice' | 'tool_calls';
  /** The text without the calls; null where there are calls and nothing else. */
  readonly content: string | null;
  readonly toolCalls: readonly ToolCall[];
  /** The JSON that was asked for, read; undefined where none was, or where there are calls. */
  readonly object: T;
  /** The answer as a message, to go on with. */
  readonly message: Message;
};

/** JSON Schemas made at build time, as texts. */
export type SchemaTexts = {
  readonly toolText: (tool: AnyTool) => string | null;
  readonly schemaText: (schema: StandardSchema) => string | null;
};

/** Tokens of an answer to a request that names no most. */
const DEFAULT_MAX_TOKENS = 256;
/** Units of temperature and top-p in 1. */
const SAMPLING_UNITS = 10_000;
/** What a tool without a schema is said to take. */
const ANY_OBJECT = '{"type":"object"}';

/**
 * The arguments of `inference`.
 *
 * @throws TypeError, RangeError for a request that contradicts itself or is out of range
 */
export function toInferenceArgs(request: InferRequest, texts: SchemaTexts): Readonly<Record<string, unknown>> {
  const {
    messages,
    maxTokens = DEFAULT_MAX_TOKENS,
    stop = [],
    tools = [],
    parallelToolCalls = true,
    seed = 0,
  } = request;
  const toolChoice = toToolChoice(request.toolChoice, tools);
  const mayCall = toolChoice.type !== 'none';
  const responseFormat = toResponseFormat(request, texts);
  if (mayCall && responseFormat.type === 'choice') throw new TypeError('a choice excludes tools');
  if (stop.length > 0 && (mayCall || responseFormat.type !== 'text'))
    throw new TypeError('stop goes with free text only');
  return {
    maxTokens: whole('maxTokens', maxTokens, 1, 2 ** 31),
    messages: messages.map(toPlainMessage),
    parallelToolCalls: mayCall && parallelToolCalls,
    responseFormat,
    sampling: {
      temperature: units('temperature', request.temperature ?? 0, 0, 2),
      topP: units('topP', request.topP ?? 1, 1 / SAMPLING_UNITS, 1),
      topK: whole('topK', request.topK ?? 0, 0, 1_000_000),
    },
    seed: toSeed(seed),
    stop: [...stop],
    toolChoice,
    tools: tools.map((tool) => ({
      name: tool.name,
      description: tool.description,
      parameters: texts.toolText(tool) ?? ANY_OBJECT,
    })),
  };
}

/**
 * Reads the answer to a request.
 *
 * @param delivered - what the call `inference` gave
 * @param nextId - id of the next call
 * @throws {@link SchemaError} `OUTPUT_INVALID` if JSON was asked for and the text is none, or none of the schema
 */
export async function readInference(
  request: InferRequest,
  delivered: { readonly text: string; readonly finishReason: string },
  nextId: () => string,
): Promise<InferAnswer> {
  const { text } = delivered;
  const mayCall = toToolChoice(request.toolChoice, request.tools ?? []).type !== 'none';
  const { content, toolCalls } = readAnswer(text, mayCall, nextId);
  const finishReason = (toolCalls.length > 0 ? 'tool_calls' : delivered.finishReason) as InferAnswer['finishReason'];
  const object = toolCalls.length > 0 ? undefined : await readObject(request, text);
  return { text, finishReason, content, toolCalls, object, message: toMessage(text, content, toolCalls) };
}

/** The answer as a message. A name that no request can hold, which no server of ours writes, leaves the text as it is. */
function toMessage(text: string, content: string | null, toolCalls: AnswerParts['toolCalls']): Message {
  const isSayable = toolCalls.every(({ name }) => /^[a-zA-Z0-9_-]{1,64}$/.test(name));
  return isSayable ? { role: 'assistant', content, toolCalls } : { role: 'assistant', content: text };
}

async function readObject({ schema, responseFormat }: InferRequest, text: string): Promise<unknown> {
  const isJson =
    schema !== undefined || responseFormat?.type === 'json_object' || responseFormat?.type === 'json_schema';
  if (!isJson) return undefined;
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new SchemaError('OUTPUT_INVALID', 'the answer of the model is no JSON');
  }
  return validate(schema, value, 'OUTPUT_INVALID');
}

function toPlainMessage(message: Message) {
  const { role, name = null } = message;
  return {
    role,
    content: message.content ?? '',
    name,
    toolCallId: role === 'tool' ? message.toolCallId : null,
    toolCalls:
      role === 'assistant'
        ? (message.toolCalls ?? []).map((call) => ({ id: call.id, name: call.name, arguments: call.arguments }))
        : [],
  };
}

function toToolChoice(
  choice: ToolChoice | undefined,
  tools: readonly AnyTool[],
): { readonly type: 'none' | 'auto' | 'required' } | { readonly type: 'function'; readonly name: string } {
  if (choice === undefined) return { type: tools.length === 0 ? 'none' : 'auto' };
  if (choice === 'none') return { type: 'none' };
  if (tools.length === 0) throw new TypeError('toolChoice without tools');
  if (typeof choice === 'string') return { type: choice };
  if (!tools.some(({ name }) => name === choice.name)) throw new TypeError(`toolChoice names no tool: ${choice.name}`);
  return { type: 'function', name: choice.name };
}

function toResponseFormat({ responseFormat, schema }: InferRequest, texts: SchemaTexts) {
  if (schema === undefined) {
    if (responseFormat?.type !== 'json_schema') return responseFormat ?? { type: 'text' as const };
    return { type: 'json_schema' as const, schema: JSON.stringify(responseFormat.schema) };
  }
  if (responseFormat !== undefined) throw new TypeError('schema stands in place of responseFormat');
  const text = texts.schemaText(schema);
  if (text === null) throw new TypeError('schema cannot be written as JSON Schema');
  return { type: 'json_schema' as const, schema: text };
}

/** @throws RangeError unless it is a whole number in the range */
function whole(field: string, value: number, low: number, high: number): number {
  if (!Number.isSafeInteger(value) || value < low || value > high) {
    throw new RangeError(`${field} must be a whole number from ${low} to ${high}`);
  }
  return value;
}

/** A uint64 as decimal text. */
function toSeed(seed: number | bigint | string): string {
  const text = String(seed);
  const isSafe = typeof seed !== 'number' || Number.isSafeInteger(seed);
  if (!isSafe || !/^(0|[1-9][0-9]{0,19})$/.test(text) || BigInt(text) >= 2n ** 64n) {
    throw new RangeError('seed must be a whole number from 0 to 2^64 - 1, as text beyond 2^53');
  }
  return text;
}

/** A number in units of 1/10,000, as the inference API rounds it. */
function units(field: string, value: number, low: number, high: number): number {
  if (!(value >= low && value <= high)) throw new RangeError(`${field} must be a number from ${low} to ${high}`);
  return Math.round(value * SAMPLING_UNITS);
}

/** Texts made when they are asked for. */
export const MADE_AT_RUN_TIME: SchemaTexts = {
  toolText: (tool) => toJsonSchemaText(tool.inputSchema),
  schemaText: toJsonSchemaText,
};
