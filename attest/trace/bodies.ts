/**
 * The body of each kind of record: exact fields, one type each, no floating point numbers.
 *
 * A field of shape {@link commitment} is the commitment of a payload that follows the record line, in the order in
 * which {@link payloadFields} lists them. `bytes` is the sum of their lengths, so that the state after a record can be
 * computed when a payload is withheld.
 *
 * Spec: `attest/spec/trace.md#bodies`.
 *
 * @module
 */

import type { Hex } from '../core/bytes.ts';
import type { Json } from '../encoding/canonical-json.ts';
import { CAPABILITIES, type Kind } from './kinds.ts';
import {
  address,
  array,
  decimal64,
  decimal256,
  flag,
  hex32,
  integer,
  nullable,
  object,
  oneOf,
  type Shape,
  type ShapeOf,
  signature,
  tagged,
  text,
} from './shape.ts';

/** Commitment of a payload, see `payload.ts`. */
const commitment = hex32;

/** Shape of {@link Limits}. */
export const limitsShape = object({
  bytes: decimal64,
  fuel: decimal64,
  steps: decimal64,
  tokens: decimal64,
  wallMs: decimal64,
});

/** Limits of a run: payload bytes, guest fuel, starts, tokens (prompt and output), milliseconds. */
export type Limits = ShapeOf<typeof limitsShape>;

const request = object({
  agent: hex32,
  caller: address,
  expiry: decimal64,
  input: hex32,
  limits: hex32,
  nonce: hex32,
});

/** What the caller asked for; the EIP-712 struct `Request`. */
export type RequestFields = ShapeOf<typeof request>;

const inferenceIdentity = object({
  engine: hex32,
  id: text(256),
  model: hex32,
  operations: hex32,
  profile: hex32,
  profileName: text(64),
  signer: address,
  tokenizer: hex32,
});

/** Digests of all that decides an inference besides its request, and the key that signs receipts. */
export type InferenceIdentity = ShapeOf<typeof inferenceIdentity>;

const runOpen = object({
  agent: object({ code: commitment, digest: hex32 }),
  attempt: decimal64,
  bytes: decimal64,
  chain: decimal64,
  contract: address,
  deadline: decimal64,
  engine: hex32,
  exposure: decimal256,
  inference: inferenceIdentity,
  input: commitment,
  kv: object({ from: nullable(object({ index: decimal64, run: hex32 })), root: hex32 }),
  limits: limitsShape,
  modes: object({ default: oneOf('public') }),
  operator: address,
  parent: nullable(object({ index: decimal64, run: hex32 })),
  policy: object({ digest: hex32, rules: commitment }),
  request,
  salt: hex32,
  seedFrom: oneOf('caller', 'operator'),
  signature: nullable(signature),
  tools: array(object({ code: commitment, digest: hex32, name: text(64) }), 64),
});

/** Body of `run.open`. */
export type RunOpenBody = ShapeOf<typeof runOpen>;

const guestFailure = object({ code: text(64), message: commitment });

const agent = object({
  bytes: decimal64,
  calls: array(object({ id: integer(0, 2 ** 31), method: text(64) }), 4096),
  error: nullable(guestFailure),
  fuel: decimal64,
  output: nullable(commitment),
});

/** Body of `agent`: what the agent's code did between two deliveries. */
export type AgentBody = ShapeOf<typeof agent>;

const policy = object({
  by: nullable(decimal64),
  call: integer(0, 2 ** 31),
  decision: oneOf('allow', 'deny'),
  form: oneOf('origin-list', 'limit', 'grant', 'deny'),
  request: object({ capability: text(64), target: text(2048) }),
  rule: text(256),
});

/** Body of `policy`: one request, the rule that decided it, and the decision. */
export type PolicyBody = ShapeOf<typeof policy>;

/** As in the request's normal form; a schema is a payload of text. */
const responseFormat = tagged('type', {
  text: object({ type: oneOf('text') }),
  choice: object({ choices: array(text(4096), 256), type: oneOf('choice') }),
  json_object: object({ type: oneOf('json_object') }),
  json_schema: object({ schema: commitment, type: oneOf('json_schema') }),
});

const toolChoice = tagged('type', {
  none: object({ type: oneOf('none') }),
  auto: object({ type: oneOf('auto') }),
  required: object({ type: oneOf('required') }),
  function: object({ name: text(64), type: oneOf('function') }),
});

const inferenceStart = object({
  by: nullable(decimal64),
  bytes: decimal64,
  call: integer(0, 2 ** 31),
  key: hex32,
  request: object({
    maxTokens: integer(1, 2 ** 31),
    messages: array(
      object({
        content: commitment,
        name: nullable(text(64)),
        role: oneOf('system', 'user', 'assistant', 'tool'),
        toolCallId: nullable(text(128)),
        /** Payload: JSON list of `{arguments, id, name}`; null when the message calls nothing. */
        toolCalls: nullable(commitment),
      }),
      1024,
    ),
    parallelToolCalls: flag,
    responseFormat,
    sampling: object({ temperature: integer(0, 20000), topK: integer(0, 1_000_000), topP: integer(1, 10000) }),
    seed: decimal64,
    stop: array(text(256), 4),
    toolChoice,
    /** Payload: JSON list of `{description, name, parameters}`, a schema each as text; null without tools. */
    tools: nullable(commitment),
  }),
});

/** Body of `inference.start`: the whole request that decides the output. */
export type InferenceStartBody = ShapeOf<typeof inferenceStart>;

const tokenIds = object({ count: integer(0, 2 ** 31), ids: commitment, root: hex32 });

const inferenceEnd = object({
  bytes: decimal64,
  finish: oneOf('stop', 'length', 'choice'),
  masks: nullable(hex32),
  output: tokenIds,
  prompt: tokenIds,
  receipt: signature,
  text: commitment,
});

/** Body of `inference.end`: ids in, ids out, text, and the server's signature over all that decided them. */
export type InferenceEndBody = ShapeOf<typeof inferenceEnd>;

const toolStart = object({
  by: nullable(decimal64),
  bytes: decimal64,
  call: integer(0, 2 ** 31),
  input: commitment,
  key: hex32,
  tool: text(64),
});

/** Body of `tool.start`. */
export type ToolStartBody = ShapeOf<typeof toolStart>;

const toolEnd = object({
  bytes: decimal64,
  error: nullable(guestFailure),
  fuel: decimal64,
  result: nullable(commitment),
});

const hostStart = object({
  /** What a `wallet.send` counts for, in wei; "0" for anything else. */
  amount: decimal256,
  by: nullable(decimal64),
  bytes: decimal64,
  call: integer(0, 2 ** 31),
  capability: oneOf(...CAPABILITIES),
  key: hex32,
  request: commitment,
});

/** Body of `host.start`: a request to the outside, before it is made. */
export type HostStartBody = ShapeOf<typeof hostStart>;

/** Why a host call failed: a closed list, never the host's own message. */
export const HOST_FAILURES = [
  'UNREACHABLE',
  'TIMEOUT',
  'TOO_LARGE',
  'REDIRECT_DENIED',
  'ADDRESS_DENIED',
  'NOT_TEXT',
  'BAD_REQUEST',
  'SECRET_MISSING',
  'LIMIT_EXCEEDED',
  /** The definition of an MCP tool is not the one that the policy pins. */
  'TOOL_CHANGED',
  'TOOL_UNKNOWN',
  /** The transaction would cost more than the policy allows for fees. */
  'FEE_TOO_HIGH',
  'INSUFFICIENT_FUNDS',
  /** The chain does not take the transaction: nothing was sent. */
  'REJECTED',
] as const;

/** Why a host call failed. */
export type HostFailure = (typeof HOST_FAILURES)[number];

const hostEnd = object({
  bytes: decimal64,
  error: nullable(oneOf(...HOST_FAILURES)),
  /** `approval`: the response holds the signature of a person that the policy names; `transaction`: that of the wallet that the policy names. */
  evidence: oneOf('none', 'approval', 'transaction'),
  response: nullable(commitment),
});

const lost = object({ reason: oneOf('CRASH', 'CANCELLED', 'DEADLINE', 'HOST_FAULT') });

const childStart = object({
  /** Name of the agent, as the policy lists it with its digest and limits. */
  agent: text(64),
  by: nullable(decimal64),
  bytes: decimal64,
  call: integer(0, 2 ** 31),
  input: commitment,
  key: hex32,
  request,
  signature: nullable(signature),
});

/** Body of `run.child.start`: the request that the child run answers. */
export type ChildStartBody = ShapeOf<typeof childStart>;

const closeStatus = oneOf('done', 'failed', 'out-of-budget', 'cancelled', 'abandoned');

const childEnd = object({
  bytes: decimal64,
  checkpoint: object({ closed: flag, root: hex32, signature, size: decimal64, state: hex32 }),
  error: nullable(guestFailure),
  output: nullable(commitment),
  run: hex32,
  status: closeStatus,
});

const runClose = object({
  bytes: decimal64,
  checkpoints: decimal64,
  coverage: object({ attested: decimal64, opaque: decimal64, recomputable: decimal64 }),
  error: nullable(guestFailure),
  output: nullable(commitment),
  records: decimal64,
  status: closeStatus,
});

/** Body of `run.close`; the counts include this record. */
export type RunCloseBody = ShapeOf<typeof runClose>;

/** Why a call of guest code failed. */
export type GuestFailure = ShapeOf<typeof guestFailure>;

const SHAPES = {
  'run.open': runOpen,
  'run.close': runClose,
  policy,
  agent,
  'inference.start': inferenceStart,
  'inference.end': inferenceEnd,
  'inference.lost': lost,
  'tool.start': toolStart,
  'tool.end': toolEnd,
  'tool.lost': lost,
  'host.start': hostStart,
  'host.end': hostEnd,
  'host.lost': lost,
  'run.child.start': childStart,
  'run.child.end': childEnd,
  'run.child.lost': lost,
} as const satisfies { readonly [K in Kind]: Shape<unknown> };

/** Body type of each kind. */
export type Bodies = { readonly [K in Kind]: ShapeOf<(typeof SHAPES)[K]> };

/** A body together with its kind. */
export type KindBody = { [K in Kind]: { readonly kind: K; readonly body: Bodies[K] } }[Kind];

/**
 * Checks the body of a record of this kind: exact fields, exact types.
 *
 * @throws {@link TraceError} `MALFORMED_BODY` with the dotted path
 */
export function parseBody(kind: Kind, value: Json): KindBody {
  return { kind, body: SHAPES[kind](value, 'body') } as KindBody;
}

/** Dotted paths (`body.…`) and commitments of the payloads that follow a record, in order. */
export function payloadFields(record: KindBody): readonly { readonly field: string; readonly commitment: Hex }[] {
  const found: { field: string; commitment: Hex }[] = [];
  const add = (field: string, value: Hex | null) => {
    if (value !== null) found.push({ field: `body.${field}`, commitment: value });
  };
  const failure = (value: GuestFailure | null) => {
    if (value !== null) add('error.message', value.message);
  };
  switch (record.kind) {
    case 'run.open':
      add('agent.code', record.body.agent.code);
      add('input', record.body.input);
      add('policy.rules', record.body.policy.rules);
      record.body.tools.forEach((tool, i) => {
        add(`tools.${i}.code`, tool.code);
      });
      break;
    case 'run.close':
    case 'agent':
      failure(record.body.error);
      add('output', record.body.output);
      break;
    case 'inference.start':
      record.body.request.messages.forEach((message, i) => {
        add(`request.messages.${i}.content`, message.content);
        add(`request.messages.${i}.toolCalls`, message.toolCalls);
      });
      if (record.body.request.responseFormat.type === 'json_schema') {
        add('request.responseFormat.schema', record.body.request.responseFormat.schema);
      }
      add('request.tools', record.body.request.tools);
      break;
    case 'inference.end':
      add('output.ids', record.body.output.ids);
      add('prompt.ids', record.body.prompt.ids);
      add('text', record.body.text);
      break;
    case 'tool.start':
      add('input', record.body.input);
      break;
    case 'tool.end':
      failure(record.body.error);
      add('result', record.body.result);
      break;
    case 'host.start':
      add('request', record.body.request);
      break;
    case 'host.end':
      add('response', record.body.response);
      break;
    case 'run.child.start':
      add('input', record.body.input);
      break;
    case 'run.child.end':
      failure(record.body.error);
      add('output', record.body.output);
      break;
    default:
      break;
  }
  return found;
}
