/**
 * How a call of `inference` becomes the body of its start, and how the start becomes the call's arguments again: texts that a
 * reader may be denied (contents, calls, tools, schema) are payloads, all else stands in the record.
 *
 * Spec: `attest/spec/trace.md#bodies`.
 *
 * @module
 */

import type { Json } from '../encoding/canonical-json.ts';
import type { InferenceStartBody, RunOpenBody } from './bodies.ts';
import { fieldError } from './errors.ts';
import {
  type InferenceMessage,
  type InferenceRequest,
  parseInferenceRequest,
  type RequestTool,
  type RequestToolCall,
  type ResponseFormat,
} from './inference-request.ts';
import { type Payload, readJsonPayload, readTextPayload } from './payload.ts';
import { exactObject } from './shape.ts';
import type { PayloadSet } from './writer.ts';

/** What guest code says of an inference: the request without what the run fixes. */
export type InferenceArgs = Omit<InferenceRequest, 'model' | 'profile' | 'engine' | 'prompt'>;

const ARG_NAMES = [
  'maxTokens',
  'messages',
  'parallelToolCalls',
  'responseFormat',
  'sampling',
  'seed',
  'stop',
  'toolChoice',
  'tools',
] as const;

/**
 * Checks the arguments of a call of `inference`.
 *
 * @param value - untrusted
 * @throws {@link TraceError} naming the field that is no request's, or contradicts another
 */
export function parseInferenceArgs(value: Json, open: RunOpenBody): InferenceArgs {
  const fields = exactObject(value, 'args', ARG_NAMES);
  const { engine, model, profile } = open.inference;
  const {
    engine: _engine,
    model: _model,
    profile: _profile,
    prompt: _prompt,
    ...args
  } = parseInferenceRequest({ ...fields, engine, model, profile, prompt: null }, 'args');
  return args;
}

/** The request that decides an inference, in the run that asks. */
export function inferenceRequestOf(args: InferenceArgs, open: RunOpenBody): InferenceRequest {
  const { engine, model, profile } = open.inference;
  return { ...args, engine, model, profile, prompt: null };
}

/** The request of an `inference.start`; its texts go into `payloads`. */
export function startRequestOf(args: InferenceArgs, payloads: PayloadSet): InferenceStartBody['request'] {
  const messages = args.messages.map(({ content, name, role, toolCallId, toolCalls }) => ({
    content: payloads.text(content),
    name,
    role,
    toolCallId,
    toolCalls: toolCalls.length === 0 ? null : payloads.json(toolCalls as unknown as Json),
  }));
  const { responseFormat } = args;
  return {
    maxTokens: args.maxTokens,
    messages,
    parallelToolCalls: args.parallelToolCalls,
    responseFormat:
      responseFormat.type === 'json_schema'
        ? { schema: payloads.text(responseFormat.schema), type: 'json_schema' }
        : responseFormat,
    sampling: args.sampling,
    seed: args.seed,
    stop: args.stop,
    toolChoice: args.toolChoice,
    tools: args.tools.length === 0 ? null : payloads.json(args.tools as unknown as Json),
  };
}

/**
 * The arguments that a start was made of.
 *
 * @param payloads - by field (`body.request.tools`); what is missing was withheld
 * @param like - arguments from which a withheld text is taken; without them one withheld text makes the whole undefined
 * @throws {@link TraceError} `MALFORMED_PAYLOAD` if a payload has another form than its place
 */
export function argsOfStart(
  { request }: InferenceStartBody,
  payloads: ReadonlyMap<string, Payload>,
  like?: InferenceArgs,
): InferenceArgs | undefined {
  let withheld = false;
  const read = <T>(field: string, parse: (payload: Payload, field: string) => T, other: T | undefined): T => {
    const path = `body.request.${field}`;
    const payload = payloads.get(path);
    if (payload !== undefined) return parse(payload, path);
    withheld ||= other === undefined;
    return other as T;
  };
  const messages = request.messages.map(
    ({ toolCalls, ...message }, i): InferenceMessage => ({
      ...message,
      content: read(`messages.${i}.content`, readTextPayload, like?.messages[i]?.content),
      toolCalls:
        toolCalls === null
          ? []
          : read(`messages.${i}.toolCalls`, readList<RequestToolCall>, like?.messages[i]?.toolCalls),
    }),
  );
  const responseFormat: ResponseFormat =
    request.responseFormat.type === 'json_schema'
      ? { type: 'json_schema', schema: read('responseFormat.schema', readTextPayload, schemaOf(like)) }
      : request.responseFormat;
  const tools = request.tools === null ? [] : read('tools', readList<RequestTool>, like?.tools);
  return withheld ? undefined : { ...request, messages, responseFormat, tools };
}

/** A list of something: a start that says nothing has no payload for it, so that there is one way to say so. */
function readList<T>(payload: Payload, field: string): readonly T[] {
  const value = readJsonPayload(payload, field);
  if (Array.isArray(value) && value.length > 0) return value as unknown as readonly T[];
  throw fieldError('MALFORMED_PAYLOAD', field, 'expected a list of one at least');
}

function schemaOf(args: InferenceArgs | undefined): string | undefined {
  return args?.responseFormat.type === 'json_schema' ? args.responseFormat.schema : undefined;
}
