/**
 * Where a receipt document is found: alone, in an answer of the API, or in a stream of events that was saved; and what the answer around
 * it says, which nobody signed.
 *
 * @module
 */

import { z } from 'zod';
import { type Json, parseJson, parseJsonText } from '../../attest/encoding/canonical-json.ts';
import type { RequestToolCall } from '../../attest/trace/inference-request.ts';
import { compare, type Outcome } from '../../attest/verify/outcome.ts';
import { malformed, noReceipt, readPart } from './carrier-error.ts';
import { type CarriedEmbeddings, readEmbeddingAnswer } from './embedding-answer.ts';
import { fingerprintOf } from './fingerprint.ts';
import { endOf, readWholeAnswerTo } from './reading.ts';
import type { ReceiptDocument } from './receipt-document.ts';
import { checkResponseEvents, outputItem } from './response-events.ts';

/** Greatest length of a file with a receipt, bytes. */
export const MAX_CARRIER_BYTES = 64 * 2 ** 20;

/** Nesting of an answer: that of the deepest schema, and what is around it. */
const MAX_DEPTH = 128;

/** The word that ends OpenAI's streams. */
const DONE = '[DONE]';

/** What an answer of words says besides its receipt. */
export type CarriedAnswer = {
  readonly surface: 'chat completion' | 'text completion' | 'response';
  readonly isStream: boolean;
  readonly content: string;
  readonly calls: readonly RequestToolCall[];
  /** `whole` says that it was not cut, and no more. */
  readonly end: 'stop' | 'length' | 'tool_calls' | 'whole';
  /** Undefined where it is not said. */
  readonly fingerprint: string | undefined;
  readonly promptTokens: number | undefined;
  readonly outputTokens: number | undefined;
};

/** A document as it was found, unread, and the answer around it; null where it was alone. */
export type Carried = { readonly document: Json; readonly answer: CarriedAnswer | CarriedEmbeddings | null };

/**
 * Finds the document.
 *
 * @param bytes - untrusted: a document, the body of an answer, or the events of a stream
 * @throws {@link CarrierError}, {@link EncodingError} if it is neither JSON nor events of JSON
 */
export function readCarrier(bytes: Uint8Array): Carried {
  const limits = { maxBytes: MAX_CARRIER_BYTES, maxDepth: MAX_DEPTH };
  if (bytes.length > MAX_CARRIER_BYTES || !isStream(bytes)) return readBody(parseJson(bytes, limits));
  const events = readEvents(new TextDecoder('utf-8', { fatal: false }).decode(bytes));
  const done = events.indexOf(DONE);
  // Clients read no further.
  if (done >= 0 && done < events.length - 1) throw malformed(DONE, 'expected nothing after it');
  return readStream(events.slice(0, done < 0 ? undefined : done).map((data) => parseJsonText(data, limits)));
}

/**
 * Whether the answer around a document says what the document says.
 *
 * @param document - of one piece (`verifyReceiptDocument`)
 * @returns the first field of the answer that differs, or undefined
 */
export function compareAnswer(answer: CarriedAnswer, document: ReceiptDocument): Outcome | undefined {
  const { request, text, receipt } = document;
  const read = readWholeAnswerTo(request, text);
  const end = endOf(receipt.finish, read);
  const tokens = (name: string, claimed: number | undefined, ids: readonly number[]) =>
    claimed === undefined ? undefined : compare(`usage.${name}`, claimed, ids.length);
  return (
    compare('content', answer.content, read.content ?? '') ??
    compare('tool_calls', answer.calls as unknown as Json, read.calls as unknown as Json) ??
    compare('finish_reason', answer.end, answer.end === 'whole' && end !== 'length' ? 'whole' : end) ??
    (answer.fingerprint === undefined
      ? undefined
      : compare('system_fingerprint', answer.fingerprint, fingerprintOf(request))) ??
    tokens('prompt_tokens', answer.promptTokens, document.promptIds) ??
    tokens('completion_tokens', answer.outputTokens, document.outputIds)
  );
}

/** Whether a file is no JSON value but lines of events. */
function isStream(bytes: Uint8Array): boolean {
  const start = new TextDecoder('utf-8').decode(bytes.subarray(0, 64)).trimStart();
  return /^(?:data|event|id|retry|):/.test(start);
}

/** The data of each event. */
function readEvents(text: string): readonly string[] {
  return text
    .split(/(?:\r\n|\r|\n){2,}/)
    .map((event) =>
      event
        .split(/\r\n|\r|\n/)
        .filter((line) => line.startsWith('data:'))
        .map((line) => line.slice(5).replace(/^ /, ''))
        .join('\n'),
    )
    .filter((data) => data !== '');
}

const count = z.number().int().nonnegative();
const usage = z
  .looseObject({ prompt_tokens: count, completion_tokens: count, total_tokens: count.optional() })
  .refine(({ prompt_tokens: prompt, completion_tokens: output, total_tokens: total = prompt + output }) => {
    return total === prompt + output;
  }, 'expected the sum of its tokens as total_tokens');
/** This server's answers have one choice, and refuse nothing in words. */
const first = z.literal(0).optional();
const role = z.literal('assistant').optional();
const refusal = z.null().optional();
const call = z.looseObject({
  id: z.string(),
  type: z.literal('function'),
  function: z.looseObject({ name: z.string(), arguments: z.string() }),
});
const finish = z.enum(['stop', 'length', 'tool_calls']);
const fingerprint = z.string().optional();

const chatBody = z.looseObject({
  choices: z.tuple([
    z.looseObject({
      index: first,
      message: z.looseObject({ role, content: z.string().nullable(), refusal, tool_calls: z.array(call).optional() }),
      finish_reason: finish,
    }),
  ]),
  usage: usage.optional(),
  system_fingerprint: fingerprint,
});

const textBody = z.looseObject({
  choices: z.tuple([z.looseObject({ index: first, text: z.string(), finish_reason: finish })]),
  usage: usage.optional(),
  system_fingerprint: fingerprint,
});

const responseBody = z.looseObject({
  status: z.enum(['completed', 'incomplete']),
  output: z.array(outputItem),
  usage: z
    .looseObject({ input_tokens: count, output_tokens: count, total_tokens: count.optional() })
    .refine(({ input_tokens: input, output_tokens: output, total_tokens: total = input + output }) => {
      return total === input + output;
    }, 'expected the sum of its tokens as total_tokens')
    .nullish(),
  system_fingerprint: fingerprint,
});

function readBody(body: Json): Carried {
  const fields = fieldsOf(body);
  if (typeof fields['format'] === 'string') return { document: body, answer: null };
  const document = fields['tracebond'];
  if (document === undefined || document === null) throw noReceipt('the JSON has no receipt');
  switch (fields['object']) {
    case 'chat.completion':
      return { document, answer: chatAnswer(readPart(chatBody, body)) };
    case 'text_completion':
      return { document, answer: textAnswer(readPart(textBody, body)) };
    case 'response':
      return { document, answer: responseAnswer(readPart(responseBody, body)) };
    case 'list':
      return { document, answer: readEmbeddingAnswer(body) };
    default:
      throw malformed('object', 'expected chat.completion, text_completion, response or list');
  }
}

function chatAnswer({ choices: [choice], ...body }: z.output<typeof chatBody>): CarriedAnswer {
  return {
    surface: 'chat completion',
    isStream: false,
    content: choice.message.content ?? '',
    calls: (choice.message.tool_calls ?? []).map((one) => ({ id: one.id, ...pickCall(one.function) })),
    end: choice.finish_reason,
    ...headOf(body.system_fingerprint, body.usage?.prompt_tokens, body.usage?.completion_tokens),
  };
}

function textAnswer({ choices: [choice], ...body }: z.output<typeof textBody>): CarriedAnswer {
  return {
    surface: 'text completion',
    isStream: false,
    content: choice.text,
    calls: [],
    end: choice.finish_reason,
    ...headOf(body.system_fingerprint, body.usage?.prompt_tokens, body.usage?.completion_tokens),
  };
}

function responseAnswer(body: z.output<typeof responseBody>): CarriedAnswer {
  return {
    surface: 'response',
    isStream: false,
    content: body.output
      .flatMap((item) => (item.type === 'message' ? item.content.map(({ text }) => text) : []))
      .join(''),
    calls: body.output.flatMap((item) =>
      item.type === 'function_call' ? [{ id: item.call_id, ...pickCall(item) }] : [],
    ),
    end: body.status === 'incomplete' ? 'length' : 'whole',
    ...headOf(body.system_fingerprint, body.usage?.input_tokens, body.usage?.output_tokens),
  };
}

function pickCall(of: { readonly name: string; readonly arguments: string }) {
  return { name: of.name, arguments: of.arguments };
}

function headOf(print: string | undefined, promptTokens: number | undefined, outputTokens: number | undefined) {
  return { fingerprint: print, promptTokens, outputTokens };
}

function readStream(events: readonly Json[]): Carried {
  const last = events.map(fieldsOf).findLast((fields) => fields['tracebond'] !== undefined || 'response' in fields);
  if (last === undefined) throw noReceipt('no event of the stream has a receipt');
  if ('response' in last) return readResponseStream(events, last['response'] ?? null);
  const document = last['tracebond'] ?? null;
  if (last['object'] === 'chat.completion.chunk') return { document, answer: joinChat(events) };
  if (last['object'] === 'text_completion') return { document, answer: joinText(events) };
  throw malformed('object', 'expected chat.completion.chunk or text_completion');
}

const chatChunk = z.looseObject({
  choices: z
    .array(
      z.looseObject({
        index: first,
        delta: z.looseObject({
          role,
          content: z.string().nullish(),
          refusal,
          tool_calls: z
            .array(
              z.looseObject({
                index: count,
                id: z.string().optional(),
                function: z.looseObject({ name: z.string().optional(), arguments: z.string().optional() }).optional(),
              }),
            )
            .optional(),
        }),
        finish_reason: finish.nullish(),
      }),
    )
    .max(1),
  usage: usage.nullish(),
  system_fingerprint: fingerprint,
});

function joinChat(events: readonly Json[]): CarriedAnswer {
  const chunks = events.map((event) => readPart(chatChunk, event));
  const calls: { id: string; name: string; arguments: string }[] = [];
  for (const part of chunks.flatMap(({ choices }) => choices.flatMap(({ delta }) => delta.tool_calls ?? []))) {
    // attacker-controlled: an index far away would leave holes
    if (part.index > calls.length) throw malformed('tool_calls', 'a call begins before the one before it');
    const open = calls[part.index] ?? { id: '', name: '', arguments: '' };
    open.id += part.id ?? '';
    open.name += part.function?.name ?? '';
    open.arguments += part.function?.arguments ?? '';
    calls[part.index] = open;
  }
  return {
    surface: 'chat completion',
    isStream: true,
    content: chunks.flatMap(({ choices }) => choices.map(({ delta }) => delta.content ?? '')).join(''),
    calls,
    end: endOfChunks(chunks),
    ...headOfChunks(chunks),
  };
}

const textChunk = z.looseObject({
  choices: z.array(z.looseObject({ index: first, text: z.string(), finish_reason: finish.nullish() })).max(1),
  usage: usage.nullish(),
  system_fingerprint: fingerprint,
});

function joinText(events: readonly Json[]): CarriedAnswer {
  const chunks = events.map((event) => readPart(textChunk, event));
  return {
    surface: 'text completion',
    isStream: true,
    content: chunks.flatMap(({ choices }) => choices.map(({ text }) => text)).join(''),
    calls: [],
    end: endOfChunks(chunks),
    ...headOfChunks(chunks),
  };
}

type Chunk = {
  readonly choices: readonly { readonly finish_reason?: z.output<typeof finish> | null | undefined }[];
  readonly usage?: z.output<typeof usage> | null | undefined;
  readonly system_fingerprint?: string | undefined;
};

function endOfChunks(chunks: readonly Chunk[]): z.output<typeof finish> {
  const ends = chunks.flatMap(({ choices }) => choices.flatMap((choice) => choice.finish_reason ?? []));
  const [end] = ends;
  if (end === undefined || ends.length > 1) throw malformed('finish_reason', 'expected one in the whole stream');
  return end;
}

function headOfChunks(chunks: readonly Chunk[]) {
  const prints = new Set(chunks.flatMap((chunk) => chunk.system_fingerprint ?? []));
  if (prints.size > 1) throw malformed('system_fingerprint', 'expected one in the whole stream');
  const last = chunks.findLast((chunk) => (chunk.usage ?? null) !== null)?.usage ?? undefined;
  const [print] = prints;
  return headOf(print, last?.prompt_tokens, last?.completion_tokens);
}

/** The answer is that of the last event; what came before, piece by piece and as a whole, must be the same. */
function readResponseStream(events: readonly Json[], last: Json): Carried {
  const document = fieldsOf(last)['tracebond'];
  if (document === undefined || document === null) throw noReceipt('the last response of the stream has no receipt');
  const body = readPart(responseBody, last);
  const end = events.at(-1);
  if (fieldsOf(end ?? null)['type'] !== `response.${body.status}`) {
    throw malformed('type', `expected response.${body.status} at the end`);
  }
  checkResponseEvents(events.slice(0, -1), body.output);
  return { document, answer: { ...responseAnswer(body), isStream: true } };
}

function fieldsOf(value: Json): { readonly [key: string]: Json } {
  const isObject = typeof value === 'object' && value !== null && !Array.isArray(value);
  return isObject ? (value as { readonly [key: string]: Json }) : {};
}
