/**
 * `POST /v1/responses`, streamed and not; `GET` and `DELETE /v1/responses/{id}` and `GET /v1/responses/{id}/input_items` of those that are
 * kept.
 *
 * @module
 */

import { randomBytes } from 'node:crypto';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import type { Answer, AnswerOptions, AnswerStart } from '../answering.ts';
import type { AnswerStreamOptions } from '../api/answer-stream.ts';
import { readBody } from '../api/json-body.ts';
import { createResponseStore, type ResponseStore } from '../api/response-store.ts';
import { beginResponse, endResponse, type ResponseBody } from '../api/responses-body.ts';
import { type Kept, resolveItems } from '../api/responses-input.ts';
import { listItems, parseItemsQuery } from '../api/responses-listing.ts';
import { type OutputWriter, writeOutput } from '../api/responses-output.ts';
import { parseResponsesRequest, toAsked } from '../api/responses-request.ts';
import { streamResponse } from '../api/responses-stream.ts';
import { clientSignal } from '../api/sse.ts';
import { ApiError } from '../api-errors.ts';
import { InferenceError } from '../errors.ts';
import { withParam } from '../protocol-faults.ts';
import type { ServerContext } from './context.ts';

/** Settings of the routes. */
export type ResponsesOptions = AnswerStreamOptions & {
  /** Where responses are kept; by default a store of this server's own, in memory. */
  readonly store?: ResponseStore<ResponseBody>;
  /** A new id with a prefix; random by default. Nothing signed depends on it. */
  readonly newId?: (prefix: string) => string;
};

/** Adds the routes. */
export function addResponses(app: FastifyInstance, context: ServerContext, options: ResponsesOptions = {}): void {
  const { store = createResponseStore<ResponseBody>({ now: context.now }), newId = randomId, ...settings } = options;
  const ownerOf = (request: FastifyRequest) => context.callerOf(request)?.id ?? '';

  app.post('/v1/responses', async (request, reply) => {
    const caller = context.callerOf(request);
    const owner = ownerOf(request);
    const fields = parseResponsesRequest(readBody(request));
    const items = resolveItems(fields, keptOf(store, owner), newId);
    const asked = toAsked(fields, items);
    const id = newId('resp');
    const signal = clientSignal(reply);
    const begin = (start: AnswerStart) => beginResponse(id, fields, start);
    const finish = (begun: ResponseBody, answer: Answer, output: OutputWriter) => {
      // Whoever is gone was not shown all pieces.
      if (signal.aborted) throw new InferenceError('CANCELLED', 'the client is gone');
      output.finish(answer.end !== 'length');
      checkOutput(answer, output);
      const body = endResponse(begun, answer, output.items, context.now());
      if (body.store) store.put(owner, { id, body, input: items, output: output.items });
      return body;
    };
    const answer = (call: Pick<AnswerOptions, 'onStart' | 'onEvent'>) =>
      context.answer(asked, { ...call, signal, caller, responseId: id }).catch((fault: unknown) => {
        throw withParam(fault, renameParam);
      });
    if (fields.stream === true) return streamResponse(reply, { newId, answer, begin, finish }, settings);
    const output = writeOutput(newId, () => {});
    const made = await answer({ onEvent: (event) => output.push(event) });
    return finish(begin(made), made, output);
  });

  const find = (request: FastifyRequest, id: string) => {
    const found = store.get(ownerOf(request), id);
    if (found === undefined) throw notKept(id);
    return found;
  };
  app.get<{ Params: { id: string } }>('/v1/responses/:id', async (request) => {
    refuseReplay(request.query);
    return find(request, request.params.id).body;
  });
  app.get<{ Params: { id: string } }>('/v1/responses/:id/input_items', async (request) => {
    const query = parseItemsQuery(request.query);
    return listItems(find(request, request.params.id).input, query);
  });
  app.delete<{ Params: { id: string } }>('/v1/responses/:id', async (request) => {
    const { id } = request.params;
    if (!store.delete(ownerOf(request), id)) throw notKept(id);
    return { id, object: 'response', deleted: true };
  });
}

function keptOf(store: ResponseStore<ResponseBody>, owner: string): Kept {
  return { findResponse: (id) => store.get(owner, id), findItem: (id) => store.findItem(owner, id) };
}

/** What the pieces make must be what was answered: the receipt is about that. */
function checkOutput({ content, calls }: Answer, { items }: OutputWriter): void {
  const said = items.map((item) => (item.type === 'message' ? item.content.map((part) => part.text).join('') : ''));
  const made = items.flatMap((item) => (item.type === 'function_call' ? [item] : []));
  const isSame =
    said.join('') === (content ?? '') &&
    made.length === calls.length &&
    calls.every(({ id, name, arguments: words }, i) => {
      const one = made[i];
      return one?.call_id === id && one.name === name && one.arguments === words;
    });
  if (!isSame) throw new TypeError('the pieces of an answer are not the answer');
}

/** Names of chat completions as this surface has them. */
function renameParam(_fault: unknown, param: string | null): string | undefined {
  if (param === null) return undefined;
  if (param === 'messages') return 'input';
  if (param === 'max_tokens') return 'max_output_tokens';
  return param
    .replace(/^messages\b/, 'input')
    .replace(/^response_format\.json_schema\b/, 'text.format')
    .replace(/^response_format\b/, 'text.format')
    .replace(/^(tools\[\d+\])\.function\b/, '$1');
}

function notKept(id: string): ApiError {
  return new ApiError('NOT_FOUND', `response '${id.slice(0, 128)}' is not kept here`);
}

/** Only whole responses are kept, not their streams. */
function refuseReplay(query: unknown): void {
  for (const [name, value] of Object.entries(query as Record<string, unknown>)) {
    if (name === 'include' || name === 'include[]') continue;
    if ((name === 'stream' || name === 'include_obfuscation') && value === 'false') continue;
    throw new ApiError('UNSUPPORTED_PARAMETER', `${name.slice(0, 64)}: not supported here`, {
      at: { param: name.slice(0, 64) },
    });
  }
}

function randomId(prefix: string): string {
  return `${prefix}_${randomBytes(24).toString('hex')}`;
}
