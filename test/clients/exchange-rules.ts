/**
 * What every exchange with the server must keep to, whatever was asked: OpenAI's document, its order of chunks and events,
 * and the receipt and fingerprint that this server adds.
 *
 * @module
 */

import { strict as assert } from 'node:assert';
import type { ChunkKind, OpenAIDocument } from '../support/openai-document.ts';
import type { Exchange } from './exchanges.ts';
import type { ServerEvent } from './server-events.ts';

/** Streams by their path. */
const STREAMS: Readonly<Record<string, ChunkKind>> = {
  '/v1/chat/completions': 'chat',
  '/v1/completions': 'completions',
  '/v1/responses': 'responses',
};

/** Paths of this server that OpenAI's document does not know. */
const OWN_PATHS = /^\/v1\/receipts\//;

/** Events after which `/responses` sends no more. */
const LAST_EVENTS = ['response.completed', 'response.incomplete', 'response.failed', 'error'];

type Fields = Readonly<Record<string, unknown>>;

/**
 * Fails where the exchange breaks a rule.
 *
 * @param document - undefined where it is not at hand; the other rules hold all the same
 * @throws AssertionError or DocumentMismatch
 */
export function checkExchange(exchange: Exchange, document: OpenAIDocument | undefined): void {
  const { method, path, status, headers } = exchange;
  const type = headers.get('content-type') ?? '';
  const place = `${method} ${path}`;
  if (type.startsWith('text/event-stream')) {
    assert.equal(status, 200, `${place}: a stream with the status ${status}`);
    assert.equal(isStreaming(exchange), true, `${place}: a stream that was not asked for`);
    const kind = STREAMS[path];
    assert.ok(kind, `${place}: no stream of this path`);
    if (kind === 'responses') checkResponsesStream(exchange, document);
    else checkChunks(exchange, kind, document);
    return;
  }
  if (!exchange.isWhole()) return;
  assert.match(type, /^application\/json\b/, `${place}: content type`);
  const body = exchange.json();
  if (status >= 400) {
    document?.validateError(body);
    checkErrorShape(body, place);
    return;
  }
  assert.equal(isStreaming(exchange), false, `${place}: a stream was asked for`);
  if (OWN_PATHS.test(path)) return;
  document?.validateResponse(path, method, status, body);
  if (path in STREAMS) checkEvidence(body, place);
}

/** Whether the request asked for a stream. */
function isStreaming({ request }: Exchange): boolean {
  return fields(request)['stream'] === true;
}

function checkErrorShape(body: unknown, place: string): void {
  const error = fields(fields(body)['error']);
  assert.equal(typeof error['message'], 'string', `${place}: message of an error`);
  assert.notEqual(error['message'], '', `${place}: message of an error`);
  assert.equal(typeof error['type'], 'string', `${place}: type of an error`);
}

/** What every answer carries beside what clients know. */
function checkEvidence(body: unknown, place: string): void {
  const { tracebond, system_fingerprint: fingerprint } = fields(body) as { tracebond?: unknown } & Fields;
  const receipt = fields(tracebond)['receipt'];
  assert.ok(typeof receipt === 'object' && receipt !== null, `${place}: no tracebond.receipt`);
  assert.equal(typeof fingerprint, 'string', `${place}: no system_fingerprint`);
  assert.notEqual(fingerprint, '', `${place}: empty system_fingerprint`);
}

function checkChunks(exchange: Exchange, kind: 'chat' | 'completions', document: OpenAIDocument | undefined): void {
  const place = `stream of ${exchange.path}`;
  const events = exchange.events();
  const isDone = events.at(-1)?.data === '[DONE]';
  if (exchange.isWhole()) assert.ok(isDone, `${place}: does not end by [DONE]`);
  const chunks = (isDone ? events.slice(0, -1) : events).map(({ data }) => JSON.parse(data) as Fields);
  for (const chunk of chunks) document?.validateChunk(kind, chunk);
  const failed = chunks.findIndex((chunk) => chunk['error'] !== undefined);
  if (failed >= 0) {
    assert.equal(failed, chunks.length - 1, `${place}: goes on after an error`);
    return;
  }
  for (const name of ['id', 'created', 'model', 'object']) {
    assert.ok(new Set(chunks.map((chunk) => chunk[name])).size <= 1, `${place}: ${name} changes`);
  }
  if (!isDone) return;
  checkChoice(chunks, kind, place);
  checkUsage(exchange, chunks, place);
  checkEvidence(chunks.at(-1), `last chunk of the ${place}`);
}

/** One choice: its role first, its end once and after all else. */
function checkChoice(chunks: readonly Fields[], kind: ChunkKind, place: string): void {
  const choices = chunks.flatMap((chunk) => list(chunk['choices'])).map(fields);
  const ends = choices.filter((choice) => typeof choice['finish_reason'] === 'string');
  assert.equal(ends.length, 1, `${place}: finish reasons`);
  assert.equal(choices.indexOf(ends[0] as Fields), choices.length - 1, `${place}: goes on after its finish reason`);
  if (kind !== 'chat') return;
  assert.equal(fields(choices[0]?.['delta'])['role'], 'assistant', `${place}: first delta has no role`);
  const calls = choices.flatMap((choice) => list(fields(choice['delta'])['tool_calls'])).map(fields);
  const seen = new Set<unknown>();
  for (const call of calls) {
    const index = call['index'];
    const { name, arguments: written } = fields(call['function']);
    if (!seen.has(index)) {
      assert.equal(index, seen.size, `${place}: index of a call`);
      assert.equal(typeof call['id'], 'string', `${place}: first part of a call has no id`);
      assert.equal(typeof name, 'string', `${place}: first part of a call has no name`);
      seen.add(index);
    }
    assert.ok(written === undefined || typeof written === 'string', `${place}: arguments of a call`);
  }
  if (seen.size > 0) assert.equal(ends[0]?.['finish_reason'], 'tool_calls', `${place}: finish reason after calls`);
}

function checkUsage({ request }: Exchange, chunks: readonly Fields[], place: string): void {
  const isWanted = fields(fields(request)['stream_options'])['include_usage'] === true;
  const reported = chunks.filter((chunk) => typeof chunk['usage'] === 'object' && chunk['usage'] !== null);
  if (!isWanted) {
    assert.equal(reported.length, 0, `${place}: usage that nobody asked for`);
    return;
  }
  assert.equal(reported.length, 1, `${place}: chunks with usage`);
  assert.equal(reported[0], chunks.at(-1), `${place}: usage is not in the last chunk`);
  assert.deepEqual(reported[0]?.['choices'], [], `${place}: choices beside the usage`);
}

function checkResponsesStream(exchange: Exchange, document: OpenAIDocument | undefined): void {
  const place = `stream of ${exchange.path}`;
  const sent = exchange.events();
  const events = sent.map((event) => parseNamed(event, place));
  for (const [at, event] of events.entries()) {
    document?.validateChunk('responses', event);
    assert.equal(event['sequence_number'], at, `${place}: sequence numbers`);
  }
  assert.equal(events[0]?.['type'], 'response.created', `${place}: first event`);
  const ended = events.findIndex(({ type }) => LAST_EVENTS.includes(String(type)));
  if (ended < 0) {
    assert.equal(exchange.isWhole(), false, `${place}: does not end`);
    return;
  }
  assert.equal(ended, events.length - 1, `${place}: goes on after its end`);
  const last = events[ended] as Fields;
  if (last['type'] !== 'response.completed' && last['type'] !== 'response.incomplete') return;
  const response = fields(last['response']);
  assert.equal(`response.${response['status']}`, last['type'], `${place}: status and last event`);
  checkEvidence(response, `last event of the ${place}`);
  checkItems(events, list(response['output']), place);
}

function parseNamed({ event, data }: ServerEvent, place: string): Fields {
  const parsed = fields(JSON.parse(data));
  assert.equal(event, parsed['type'], `${place}: name and type of an event`);
  return parsed;
}

/** Items are added, grow and are done in order; what grew is what is done, and what is done is what the response has. */
function checkItems(events: readonly Fields[], output: readonly unknown[], place: string): void {
  const of = (type: string) => events.filter((event) => event['type'] === type);
  const done = of('response.output_item.done');
  assert.deepEqual(
    done.map((event) => event['item']),
    output,
    `${place}: items done and output`,
  );
  const indices = output.map((_, at) => at);
  for (const type of ['response.output_item.added', 'response.output_item.done']) {
    assert.deepEqual(
      of(type).map((event) => event['output_index']),
      indices,
      `${place}: order of ${type}`,
    );
  }
  for (const [at, value] of output.entries()) {
    const item = fields(value);
    const mine = events.filter((event) => event['output_index'] === at);
    const join = (type: string) =>
      mine
        .filter((event) => event['type'] === type)
        .map((event) => event['delta'])
        .join('');
    if (item['type'] === 'function_call') {
      assert.equal(join('response.function_call_arguments.delta'), item['arguments'], `${place}: joined arguments`);
    }
    if (item['type'] === 'message') {
      const text = list(item['content'])
        .map((part) => fields(part)['text'])
        .join('');
      assert.equal(join('response.output_text.delta'), text, `${place}: joined text`);
    }
    for (const { item_id: id } of mine as { item_id?: unknown }[]) {
      if (id !== undefined) assert.equal(id, item['id'], `${place}: id of an item`);
    }
  }
}

/** The fields of an object; none of anything else. */
function fields(value: unknown): Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Fields) : {};
}

function list(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}
