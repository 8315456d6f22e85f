import { join } from 'node:path';
import { createOpenAI } from '@ai-sdk/openai';
import { ChatOpenAI } from '@langchain/openai';
import { Agent, tool as agentTool, OpenAIResponsesModel, Runner, setTracingDisabled } from '@openai/agents';
import { generateText, stepCountIs, streamText, tool } from 'ai';
import Fastify, { type FastifyInstance } from 'fastify';
import OpenAI from 'openai';
import { describe, expect, it, onTestFinished } from 'vitest';
import { z } from 'zod';
import { parseLosslessJson } from '../../../attest/encoding/canonical-json.ts';
import type { Answering, Caller } from '../../../inference/answering.ts';
import { createResponseStore, type ResponseStore } from '../../../inference/api/response-store.ts';
import { type ResponseBody, responseSchema } from '../../../inference/api/responses-body.ts';
import { responsesEventSchema } from '../../../inference/api/responses-events.ts';
import { itemListSchema } from '../../../inference/api/responses-listing.ts';
import { toErrorReply } from '../../../inference/api-errors.ts';
import { InferenceError } from '../../../inference/errors.ts';
import { addResponses } from '../../../inference/routes/responses.ts';
import { ServerError } from '../../../inference/server-errors.ts';
import { openOpenAIDocument } from '../../support/openai-document.ts';
import { toyContext } from '../../support/toy-context.ts';
import { describeVectors } from '../../support/vectors.ts';

const URL = '/v1/responses';
const HELLO = { model: 'toy/echo', input: 'hello' };
const PARAMETERS = {
  type: 'object',
  properties: { toy: { type: 'number' } },
  required: ['toy'],
  additionalProperties: false,
} as const;
const TOOLS = [{ type: 'function', name: 'look', parameters: PARAMETERS, strict: true }] as const;
const CALLING = { ...HELLO, input: 'call it', tools: TOOLS };
const FORMED = { ...HELLO, text: { format: { type: 'json_schema', name: 'n', schema: PARAMETERS } }, temperature: 0.5 };

type Body = {
  readonly id: string;
  readonly status: string;
  readonly output: readonly { readonly type: string; readonly id: string; readonly call_id?: string }[];
  readonly error: { readonly code: string; readonly message: string } | null;
  readonly tracebond?: { readonly id: string; readonly text: string };
};
type Event = { readonly type: string; readonly sequence_number: number; readonly response?: Body };

type Opening = {
  readonly answer?: Answering;
  readonly faults?: unknown[];
  readonly store?: ResponseStore<ResponseBody>;
};

/** A promise and what settles it. */
function deferred(): { readonly promise: Promise<void>; readonly resolve: () => void } {
  let resolve = () => {};
  const promise = new Promise<void>((settle) => {
    resolve = settle;
  });
  return { promise, resolve };
}

/** The routes over the toy; `answer` replaces what answers, the header `x-caller` says who asks. */
function open({ answer, faults = [], store }: Opening = {}): FastifyInstance {
  const own = toyContext();
  const callerOf = ({ headers }: { headers: { readonly [name: string]: unknown } }): Caller | null =>
    typeof headers['x-caller'] === 'string' ? { id: headers['x-caller'] } : null;
  const app = Fastify({ forceCloseConnections: true });
  onTestFinished(() => app.close());
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('application/json', { parseAs: 'buffer' }, async (_: unknown, body: Buffer) =>
    parseLosslessJson(body),
  );
  app.setErrorHandler((error, _, reply) => {
    const { status, body } = toErrorReply(error);
    return reply.code(status).send(body);
  });
  addResponses(
    app,
    { ...own, callerOf, ...(answer && { answer }) },
    { onFault: (fault) => faults.push(fault), ...(store && { store }) },
  );
  return app;
}

async function post(app: FastifyInstance, body: object, caller?: string) {
  const headers = caller === undefined ? {} : { 'x-caller': caller };
  const reply = await app.inject({ method: 'POST', url: URL, payload: body, headers });
  return { status: reply.statusCode, body: reply.json<Body>() };
}

async function stream(app: FastifyInstance, body: object): Promise<Event[]> {
  const reply = await app.inject({ method: 'POST', url: URL, payload: { ...body, stream: true } });
  expect(reply.statusCode).toBe(200);
  expect(reply.headers['content-type']).toMatch(/^text\/event-stream/);
  const blocks = reply.body.split('\n\n');
  expect(blocks.pop()).toBe('');
  const events = blocks.map((block) => {
    const [, name = '', data = ''] = /^event: (.*)\ndata: (.*)$/.exec(block) ?? [];
    const event = JSON.parse(data) as Event;
    expect(event.type).toBe(name);
    return event;
  });
  expect(events.map((event) => event.sequence_number)).toEqual(events.map((_, i) => i));
  return events;
}

const refusal = async (app: FastifyInstance, method: 'GET' | 'DELETE', url: string, caller = '') => {
  const reply = await app.inject({ method, url, ...(caller !== '' && { headers: { 'x-caller': caller } }) });
  return [reply.statusCode, reply.json<{ error?: { param: string | null } }>().error?.param];
};

describe('POST /v1/responses', () => {
  it('answers with a receipt', async () => {
    const { status, body } = await post(open(), HELLO);
    expect(status).toBe(200);
    expect(responseSchema.parse(body)).toBeDefined();
    expect(body).toMatchObject({
      status: 'completed',
      model: 'toy/echo',
      output: [{ type: 'message', status: 'completed', content: [{ type: 'output_text', text: 'echo: hello' }] }],
      tools: [],
      tool_choice: 'auto',
      text: { format: { type: 'text' } },
      store: true,
      usage: { output_tokens: 11 },
      tracebond: { format: 'tracebond/receipt@1', text: 'echo: hello' },
    });
  });

  it('repeats what was asked', async () => {
    const asked = {
      ...CALLING,
      instructions: 'be',
      metadata: { a: 'b' },
      user: 'u',
      top_p: 0.5,
      max_output_tokens: 99,
    };
    expect((await post(open(), asked)).body).toMatchObject({
      instructions: 'be',
      metadata: { a: 'b' },
      user: 'u',
      top_p: 0.5,
      max_output_tokens: 99,
      tools: TOOLS,
    });
  });

  it('is incomplete where the tokens were used up', async () => {
    expect((await post(open(), { ...HELLO, max_output_tokens: 5 })).body).toMatchObject({
      status: 'incomplete',
      incomplete_details: { reason: 'max_output_tokens' },
      output: [{ status: 'incomplete' }],
    });
    const events = await stream(open(), { ...HELLO, max_output_tokens: 5 });
    expect(events.at(-1)).toMatchObject({ type: 'response.incomplete', response: { status: 'incomplete' } });
  });

  it.each([HELLO, CALLING, FORMED])('streams what it answers whole (%#)', async (asked) => {
    const whole = (await post(open(), asked)).body;
    const events = await stream(open(), asked);
    for (const event of events) expect(responsesEventSchema.parse(event)).toBeDefined();
    expect(events.slice(0, 2).map(({ type }) => type)).toEqual(['response.created', 'response.in_progress']);
    const last = events.at(-1);
    expect(last?.type).toBe('response.completed');
    const unnamed = (body: Body | undefined) => ({
      ...body,
      id: '',
      output: body?.output.map((item) => ({ ...item, id: '' })),
    });
    expect(unnamed(last?.response)).toEqual(unnamed(whole));
  });

  it('refuses before a stream begins, with a status and the name of this surface', async () => {
    const refused = async (body: object) => {
      const reply = await open().inject({ method: 'POST', url: URL, payload: body });
      return [reply.statusCode, reply.json<{ error: { param: string | null } }>().error.param];
    };
    for (const extra of [{}, { stream: true }]) {
      expect(await refused({ ...HELLO, ...extra, model: 'none' })).toEqual([404, 'model']);
      expect(await refused({ ...HELLO, ...extra, input: 'fail CONTEXT_EXCEEDED' })).toEqual([400, 'input']);
      expect(await refused({ ...HELLO, ...extra, input: 'bug' })).toEqual([500, null]);
    }
  });

  it.each([
    ['maxTokens', 'max_output_tokens'],
    ['max_tokens', 'max_output_tokens'],
    ['messages[2].content', 'input[2].content'],
    ['response_format.json_schema.schema', 'text.format.schema'],
    ['tools[3].function.parameters', 'tools[3].parameters'],
    ['temperature', 'temperature'],
  ])('names %s as %s', async (field, param) => {
    const at = field === 'maxTokens' ? { field } : { param: field };
    const answer: Answering = async () => {
      throw new InferenceError('REQUEST_MALFORMED', 'no', { at });
    };
    const reply = await open({ answer }).inject({ method: 'POST', url: URL, payload: HELLO });
    expect(reply.json<{ error: { param: string } }>().error.param).toBe(param);
  });

  it('ends a stream that fails with an error and the failed response', async () => {
    const own = toyContext();
    const failing =
      (fault: Error): Answering =>
      async (asked, options) => {
        await own.answer(asked, options);
        throw fault;
      };
    const died = failing(new ServerError('ENGINE_DIED', 'gone'));
    const [error, failed] = (await stream(open({ answer: died }), HELLO)).slice(-2);
    expect(error).toMatchObject({ type: 'error', code: 'engine_died', error: { code: 'engine_died' } });
    expect(failed).toMatchObject({
      type: 'response.failed',
      response: { status: 'failed', error: { code: 'server_error', message: 'gone' } },
    });
    expect(failed?.response?.tracebond).toBeUndefined();

    const faults: unknown[] = [];
    const bug = new TypeError('secret of the host');
    const events = await stream(open({ answer: failing(bug), faults }), HELLO);
    expect(JSON.stringify(events)).not.toContain('secret');
    expect(faults).toEqual([bug]);
  });

  it('gives no response whose pieces are not what was signed', async () => {
    const own = toyContext();
    const lying: Answering = async (asked, options) => ({ ...(await own.answer(asked, options)), content: 'other' });
    expect((await post(open({ answer: lying }), HELLO)).status).toBe(500);
    expect((await stream(open({ answer: lying }), HELLO)).at(-1)).toMatchObject({ type: 'response.failed' });
  });
});

describe('a client that leaves', () => {
  it.each([false, true])('stops the work, and nothing is kept or reported (stream: %s)', async (isStream) => {
    const own = toyContext();
    const faults: unknown[] = [];
    const gone = deferred();
    const begun = deferred();
    const answer: Answering = async (asked, options) => {
      const made = await own.answer(asked, options);
      begun.resolve();
      if (!options.signal.aborted) await new Promise((resolve) => options.signal.addEventListener('abort', resolve));
      gone.resolve();
      // As an engine may that was done already.
      return made;
    };
    const store = createResponseStore<ResponseBody>({ now: () => 0 });
    const url = await open({ answer, faults, store }).listen({ port: 0, host: '127.0.0.1' });
    const leaving = new AbortController();
    const body = JSON.stringify({ ...HELLO, stream: isStream });
    const headers = { 'content-type': 'application/json' };
    const reply = fetch(`${url}${URL}`, { method: 'POST', headers, body, signal: leaving.signal }).catch(() => {});
    await begun.promise;
    if (isStream) await reply;
    leaving.abort();
    await gone.promise;
    await new Promise((resolve) => setImmediate(resolve));
    expect(store.size.count).toBe(0);
    expect(faults).toEqual([]);
  });
});

describe('responses that are kept', () => {
  it('are found, listed, continued and forgotten', async () => {
    const app = open();
    const { body } = await post(app, { ...CALLING, instructions: 'be' });
    expect((await app.inject(`${URL}/${body.id}`)).json()).toEqual(body);
    const result = { type: 'function_call_output', call_id: body.output[0]?.call_id, output: 'found' };
    const next = (await post(app, { ...HELLO, previous_response_id: body.id, input: [result] })).body;
    expect(next).toMatchObject({ previous_response_id: body.id, tracebond: { text: 'echo: found' } });

    const page = (query: string) => app.inject(`${URL}/${next.id}/input_items${query}`);
    const list = (await page('?order=asc')).json<{ data: { type: string; id: string }[]; has_more: boolean }>();
    expect(itemListSchema.parse(list).data.map(({ type }) => type)).toEqual([
      'message',
      'function_call',
      'function_call_output',
    ]);
    const first = (await page('?limit=1')).json<{ data: { id: string }[]; has_more: boolean }>();
    expect(first).toMatchObject({ has_more: true, data: [{ type: 'function_call_output' }] });
    expect((await page(`?after=${first.data[0]?.id}`)).json()).toMatchObject({
      has_more: false,
      data: [{ type: 'function_call' }, { type: 'message' }],
    });
    for (const [query, param] of [
      ['limit=0', 'limit'],
      ['order=up', 'order'],
      ['after=x', 'after'],
      ['a=1', 'a'],
      ['include=b', 'include'],
    ]) {
      const reply = await page(`?${query}`);
      expect([reply.statusCode, reply.json<{ error: { param: string } }>().error.param]).toEqual([400, param]);
    }

    const reply = await app.inject({ method: 'DELETE', url: `${URL}/${body.id}` });
    expect(reply.json()).toEqual({ id: body.id, object: 'response', deleted: true });
    expect(await refusal(app, 'GET', `${URL}/${body.id}`)).toEqual([404, null]);
    expect(await refusal(app, 'DELETE', `${URL}/${body.id}`)).toEqual([404, null]);
    expect(await refusal(app, 'GET', `${URL}/${body.id}/input_items`)).toEqual([404, null]);
    // What came after has its own copy of the conversation.
    expect((await post(app, { ...HELLO, previous_response_id: next.id })).status).toBe(200);
  });

  it('are no streams that can be had again', async () => {
    const app = open();
    const { id } = (await post(app, HELLO)).body;
    expect(await refusal(app, 'GET', `${URL}/${id}?stream=true`)).toEqual([400, 'stream']);
    expect(await refusal(app, 'GET', `${URL}/${id}?starting_after=1`)).toEqual([400, 'starting_after']);
    expect((await app.inject(`${URL}/${id}?stream=false`)).statusCode).toBe(200);
  });

  it('are not there where they shall not be, nor for others', async () => {
    const app = open();
    const unkept = (await post(app, { ...HELLO, store: false }, 'alice')).body;
    expect(await refusal(app, 'GET', `${URL}/${unkept.id}`, 'alice')).toEqual([404, null]);
    const reference = { ...HELLO, input: [{ type: 'item_reference', id: unkept.output[0]?.id }] };
    expect((await post(app, reference, 'alice')).status).toBe(404);

    const { id, output } = (await post(app, HELLO, 'alice')).body;
    const again = { ...HELLO, input: [{ type: 'item_reference', id: output[0]?.id }] };
    for (const other of ['bob', undefined]) {
      expect(await refusal(app, 'GET', `${URL}/${id}`, other)).toEqual([404, null]);
      expect(await refusal(app, 'DELETE', `${URL}/${id}`, other)).toEqual([404, null]);
      expect((await post(app, { ...HELLO, previous_response_id: id }, other)).status).toBe(400);
      expect((await post(app, again, other)).status).toBe(404);
    }
    expect((await post(app, again, 'alice')).status).toBe(200);
  });

  it('are kept of streams too', async () => {
    const app = open();
    const { response } = (await stream(app, HELLO)).at(-1) ?? {};
    expect((await app.inject(`${URL}/${response?.id}`)).json()).toEqual(response);
  });
});

describe('clients', () => {
  const listen = async () => ({ baseURL: `${await open().listen({ port: 0, host: '127.0.0.1' })}/v1`, apiKey: 'any' });
  const look = { description: 'looks', inputSchema: z.object({ toy: z.number() }), execute: async () => 'found' };

  it('openai: streams, calls, continues', async () => {
    const client = new OpenAI({ ...(await listen()), maxRetries: 0 });
    const made = await client.responses.stream({ ...HELLO }).finalResponse();
    expect(made.output_text).toBe('echo: hello');
    const tools = TOOLS.map((one) => ({ ...one, parameters: { ...PARAMETERS } }));
    const asked = { model: 'toy/echo', tools };
    const call = await client.responses.parse({ ...asked, input: 'call it' });
    const [item] = call.output;
    if (item?.type !== 'function_call') throw new TypeError('expected a call');
    expect(item.parsed_arguments).toEqual({ toy: 1 });
    const result = { type: 'function_call_output', call_id: item.call_id, output: 'found' } as const;
    const user = { role: 'user', content: 'call it' } as const;
    expect((await client.responses.create({ ...asked, input: [user, item, result] })).output_text).toBe('echo: found');
    const page = await client.responses.inputItems.list(call.id);
    expect(page.data).toHaveLength(1);
    const failing = client.responses.create({ ...HELLO, input: 'fail CONTEXT_EXCEEDED', stream: true });
    await expect(failing).rejects.toMatchObject({ status: 400, param: 'input' });
  });

  it('AI SDK: tools in several steps, streamed and not, and references to items', async () => {
    const model = createOpenAI(await listen())('toy/echo');
    const asked = { model, prompt: 'call it', tools: { look: tool(look) }, stopWhen: stepCountIs(3) };
    const made = await generateText(asked);
    expect([made.steps.length, made.text, made.finishReason]).toEqual([2, 'echo: found', 'stop']);
    expect(await streamText(asked).text).toBe('echo: found');
    const messages = [
      { role: 'user' as const, content: 'call it' },
      ...made.response.messages,
      { role: 'user' as const, content: 'more' },
    ];
    expect((await generateText({ model, messages })).text).toBe('echo: more');
  });

  it('LangChain: streams and calls', async () => {
    const { baseURL, apiKey } = await listen();
    const model = new ChatOpenAI({
      model: 'toy/echo',
      apiKey,
      useResponsesApi: true,
      configuration: { baseURL },
      maxRetries: 0,
    });
    let text = '';
    for await (const chunk of await model.stream('hello')) text += chunk.text;
    expect(text).toBe('echo: hello');
    const tools = [{ type: 'function', function: { name: 'look', description: 'looks', parameters: PARAMETERS } }];
    const call = await model.bindTools(tools).invoke('call it');
    expect(call.tool_calls).toMatchObject([{ name: 'look', args: { toy: 1 } }]);
    const result = { role: 'tool', content: 'found', tool_call_id: call.tool_calls?.[0]?.id ?? '' };
    expect((await model.invoke([{ role: 'user', content: 'call it' }, call, result])).text).toBe('echo: found');
  });

  it('Agents SDK: runs, streamed and not, and continues', async () => {
    setTracingDisabled(true);
    const model = new OpenAIResponsesModel(new OpenAI({ ...(await listen()), maxRetries: 0 }), 'toy/echo');
    const { inputSchema: parameters, ...rest } = look;
    const agent = new Agent({
      name: 'a',
      instructions: 'be',
      model,
      tools: [agentTool({ ...rest, name: 'look', parameters })],
    });
    const runner = new Runner();
    const made = await runner.run(agent, 'call it');
    expect(made.finalOutput).toBe('echo: found');
    const streamed = await runner.run(agent, 'call it', { stream: true });
    await streamed.completed;
    expect(streamed.finalOutput).toBe('echo: found');
    const previousResponseId = made.lastResponseId ?? '';
    expect((await runner.run(agent, 'more', { previousResponseId })).finalOutput).toBe('echo: more');
    expect((await runner.run(agent, [...made.history, { role: 'user', content: 'x' }])).finalOutput).toBe('echo: x');
  });
});

describeVectors('openai-openapi', (folder) => {
  const document = openOpenAIDocument(join(folder, 'openapi.json'));

  it.each([HELLO, CALLING, FORMED, { ...HELLO, max_output_tokens: 3 }])(
    'is as the document says (%#)',
    async (asked) => {
      const app = open();
      const { body } = await post(app, asked);
      document.validateResponse(URL, 'post', 200, body);
      document.validateResponse(`${URL}/x`, 'get', 200, (await app.inject(`${URL}/${body.id}`)).json());
      const next = (await post(app, { ...HELLO, previous_response_id: body.id })).body;
      document.validateResponse(
        `${URL}/x/input_items`,
        'get',
        200,
        (await app.inject(`${URL}/${next.id}/input_items`)).json(),
      );
      for (const event of await stream(app, asked)) document.validateChunk('responses', event);
    },
  );

  it('has log-probabilities as the document says', async () => {
    const own = toyContext();
    const token = (text: string, logprob: number) => ({ id: 1, text, bytes: [...Buffer.from(text)], logprob });
    const answer: Answering = (asked, options) =>
      own.answer(asked, {
        ...options,
        onEvent: (event) => {
          const logprobs = [{ ...token('e', -0.5), top: [token('f', -1), { ...token('', -Infinity), bytes: null }] }];
          options.onEvent?.(event.type === 'text' ? { ...event, logprobs } : event);
        },
      });
    const asked = { ...HELLO, include: ['message.output_text.logprobs'], top_logprobs: 2 };
    const { body } = await post(open({ answer }), asked);
    document.validateResponse(URL, 'post', 200, body);
    expect(body).toMatchObject({ top_logprobs: 2, output: [{ content: [{ logprobs: { length: 11 } }] }] });
    for (const event of await stream(open({ answer }), asked)) document.validateChunk('responses', event);
  });

  it('fails as the document says', async () => {
    const own = toyContext();
    const answer: Answering = async (asked, options) => {
      await own.answer(asked, options);
      throw new ServerError('ENGINE_DIED', 'gone');
    };
    for (const event of await stream(open({ answer }), HELLO)) document.validateChunk('responses', event);
    document.validateError((await post(open(), { ...HELLO, truncation: 'auto' })).body);
    document.validateError((await open().inject(`${URL}/resp_none`)).json());
  });
});
