import { type AddressInfo, connect, type Socket } from 'node:net';
import { join } from 'node:path';
import Fastify from 'fastify';
import { describe, expect, it, onTestFinished } from 'vitest';
import { parseLosslessJson } from '../../../attest/encoding/canonical-json.ts';
import { NO_PLACE, parseReceipt, verifyReceipt } from '../../../attest/sign/receipt.ts';
import { addressOf } from '../../../attest/sign/secp256k1.ts';
import type { Answering } from '../../../inference/answering.ts';
import { chatResponseSchema } from '../../../inference/api/chat-response.ts';
import { chatChunkSchema } from '../../../inference/api/chat-stream.ts';
import { textChunkSchema, textResponseSchema } from '../../../inference/api/text-response.ts';
import { toErrorReply } from '../../../inference/api-errors.ts';
import type { Completion, Engine, TokenLogprobs } from '../../../inference/engine.ts';
import { InferenceError } from '../../../inference/errors.ts';
import { addChatCompletions, type CompletionOptions } from '../../../inference/routes/chat-completions.ts';
import { addCompletions } from '../../../inference/routes/completions.ts';
import { ServerError } from '../../../inference/server-errors.ts';
import { openOpenAIDocument } from '../../support/openai-document.ts';
import { TEST_KEY } from '../../support/receipt-facts.ts';
import { toyContext } from '../../support/toy-context.ts';
import { openToyEngine } from '../../support/toy-engine.ts';
import { describeVectors, vectorsDir } from '../../support/vectors.ts';

const CHAT = '/v1/chat/completions';
const TEXT = '/v1/completions';
const user = (content: string) => [{ role: 'user', content }];
const HELLO = { model: 'toy/echo', messages: user('hello') };
const TOOLS = [{ type: 'function', function: { name: 'look', parameters: { type: 'object' } } }];
const CALLING = { ...HELLO, tools: TOOLS, tool_choice: 'required' };
const PROMPT = { model: 'toy/echo', prompt: 'hello' };

/** The toy with probabilities: of each byte -0.5, of the bytes around it -1 and less. */
function loggingEngine(): Engine {
  const toy = openToyEngine();
  const token = (id: number, logprob: number) => ({ id, text: String.fromCharCode(id), bytes: [id], logprob });
  const describeAll = (ids: readonly number[], top: number): TokenLogprobs[] =>
    ids.map((id) => ({
      ...token(id, -0.5),
      top: Array.from({ length: top }, (_, i) => token((id + i) % 256, i === 0 ? -0.5 : -i)),
    }));
  return {
    ...toy,
    async complete(request, signal, onDelta): Promise<Completion> {
      const { logprobs } = request;
      if (logprobs === undefined) return toy.complete(request, signal, onDelta);
      const made = await toy.complete(request, signal, (delta) =>
        onDelta?.({ ...delta, logprobs: describeAll(delta.ids, logprobs) }),
      );
      return { ...made, logprobs: describeAll(made.outputIds, logprobs) };
    },
  };
}

type Body = { readonly [field: string]: unknown };
type Chunk = {
  choices: {
    delta: {
      role?: string;
      content?: string;
      tool_calls?: { index: number; id?: string; function: { name?: string; arguments: string } }[];
    };
    text: string;
    logprobs: null | { content: unknown[]; tokens: string[]; text_offset: number[] };
    finish_reason: string | null;
  }[];
  usage?: null | { total_tokens: number };
  id: string;
  error?: { code: string; message: string; param: string | null };
  tracebond?: { id: string };
};

/** Both routes over the toy; `answer` replaces what answers. */
function open(answer?: Answering, options: CompletionOptions = {}) {
  const engine = loggingEngine();
  const own = toyContext({ engine });
  const context = answer === undefined ? own : { ...own, answer };
  const app = Fastify();
  onTestFinished(() => app.close());
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('application/json', { parseAs: 'buffer' }, async (_: unknown, body: Buffer) =>
    parseLosslessJson(body),
  );
  app.setErrorHandler((error, _request, reply) => {
    const { status, body } = toErrorReply(error);
    return reply.code(status).send(body);
  });
  addChatCompletions(app, context, options);
  addCompletions(app, context, options);
  const post = async (url: string, body: Body) => {
    const reply = await app.inject({ method: 'POST', url, payload: body });
    return { status: reply.statusCode, headers: reply.headers, text: reply.body };
  };
  const ask = async (url: string, body: Body) => {
    const { status, text } = await post(url, body);
    return { status, body: JSON.parse(text) };
  };
  const stream = async (url: string, body: Body) => {
    const { status, headers, text } = await post(url, { ...body, stream: true });
    expect([status, headers['content-type']]).toEqual([200, 'text/event-stream; charset=utf-8']);
    expect([headers['cache-control'], headers['x-accel-buffering']]).toEqual(['no-cache', 'no']);
    const events = text.split('\n\n');
    expect(events.pop()).toBe('');
    const data = events.map((event) => event.replace(/^data: /, ''));
    const isDone = data.at(-1) === '[DONE]';
    return { isDone, chunks: data.slice(0, isDone ? -1 : undefined).map((one) => JSON.parse(one) as Chunk) };
  };
  return { context, ask, stream, post, app };
}

const contentOf = (chunks: readonly Chunk[]) => chunks.map(({ choices: [c] }) => c?.delta.content ?? '').join('');
const callsOf = (chunks: readonly Chunk[]) => {
  const calls: { id?: string | undefined; name?: string | undefined; arguments: string }[] = [];
  for (const { choices } of chunks) {
    for (const {
      index,
      id,
      function: { name, arguments: text },
    } of choices[0]?.delta.tool_calls ?? []) {
      const known = calls[index];
      if (known === undefined) calls[index] = { id, name, arguments: text };
      else known.arguments += text;
    }
  }
  return calls;
};

describe('a chat completion', () => {
  it('has content, usage and a receipt that holds', async () => {
    const { ask, context } = open();
    const { status, body } = await ask(CHAT, HELLO);
    expect(status).toBe(200);
    chatResponseSchema.parse(body);
    expect(body.choices).toEqual([
      {
        index: 0,
        message: { role: 'assistant', content: 'echo: hello', refusal: null },
        logprobs: null,
        finish_reason: 'stop',
      },
    ]);
    const { request, promptIds, outputIds, masks, text, receipt, id } = body.tracebond;
    expect(body).toMatchObject({ object: 'chat.completion', created: 1_700_000_000, model: 'toy/echo' });
    expect(body.id).toMatch(/^chatcmpl-[0-9a-f]{24}$/);
    expect(id).toMatch(/^rcpt_[0-9a-f]{24}$/);
    expect(body.usage).toMatchObject({
      prompt_tokens: promptIds.length,
      completion_tokens: 11,
      total_tokens: promptIds.length + 11,
    });
    const completion = { promptIds, outputIds, masks, text, finishReason: receipt.finish };
    verifyReceipt(parseReceipt(receipt), { ...NO_PLACE, request, completion }, addressOf(TEST_KEY));
    expect(await context.receipts.get(id, null)).toEqual(body.tracebond);
  });

  it('has calls, and content of null beside them', async () => {
    const { body } = await open().ask(CHAT, CALLING);
    const [{ message, finish_reason }] = body.choices;
    expect(finish_reason).toBe('tool_calls');
    expect(message).toEqual({
      role: 'assistant',
      content: null,
      refusal: null,
      tool_calls: [
        {
          id: expect.stringMatching(/^call_[0-9a-f]{24}$/),
          type: 'function',
          function: { name: 'look', arguments: '{"toy": 1}' },
        },
      ],
    });
  });

  it('ends at the limit, and at one of the choices', async () => {
    const { ask } = open();
    const end = async (more: Body) => (await ask(CHAT, { ...HELLO, ...more })).body.choices[0];
    expect(await end({ max_tokens: 4 })).toMatchObject({ finish_reason: 'length', message: { content: 'echo' } });
    const response_format = { type: 'choice', choices: ['yes'] };
    expect(await end({ response_format })).toMatchObject({ finish_reason: 'stop', message: { content: 'yes' } });
  });

  it('has probabilities of its content, where they are asked for', async () => {
    const { ask } = open();
    const { body } = await ask(CHAT, { ...HELLO, logprobs: true, top_logprobs: 2 });
    const { content, refusal } = body.choices[0].logprobs;
    expect(refusal).toBeNull();
    expect(content).toHaveLength(11);
    expect(content[0]).toEqual({
      token: 'e',
      logprob: -0.5,
      bytes: [101],
      top_logprobs: [
        { token: 'e', logprob: -0.5, bytes: [101] },
        { token: 'f', logprob: -1, bytes: [102] },
      ],
    });
    const none = await ask(CHAT, { ...CALLING, logprobs: true });
    expect(none.body.choices[0].logprobs).toEqual({ content: [], refusal: null });
  });

  it('says the same to the same, with the same receipt', async () => {
    const { ask } = open();
    const { id, ...first } = (await ask(CHAT, HELLO)).body;
    const { id: other, ...second } = (await ask(CHAT, HELLO)).body;
    expect(second).toEqual(first);
    expect(other).not.toBe(id);
  });
});

describe('a stream of a chat completion', () => {
  it('is the answer in pieces, the receipt in the last', async () => {
    const { stream, ask } = open(undefined, { newId: () => 'abc' });
    const { chunks, isDone } = await stream(CHAT, HELLO);
    expect(isDone).toBe(true);
    for (const chunk of chunks) chatChunkSchema.parse(chunk);
    expect(new Set(chunks.map(({ id }) => id))).toEqual(new Set(['chatcmpl-abc']));
    expect(chunks[0]?.choices[0]?.delta).toEqual({ role: 'assistant', content: '', refusal: null });
    expect(chunks.length).toBe(1 + 11 + 1);
    expect(contentOf(chunks)).toBe('echo: hello');
    expect(chunks.slice(0, -1).every((chunk) => chunk.choices[0]?.finish_reason === null)).toBe(true);
    expect(chunks.at(-1)?.choices).toEqual([{ index: 0, delta: {}, logprobs: null, finish_reason: 'stop' }]);
    expect(chunks.at(-1)?.tracebond).toEqual((await ask(CHAT, HELLO)).body.tracebond);
    expect(chunks.filter(({ tracebond, usage }) => tracebond !== undefined || usage !== undefined)).toHaveLength(1);
  });

  it('ends with the usage where it is asked for', async () => {
    const { stream, ask } = open();
    const { chunks } = await stream(CHAT, { ...HELLO, stream_options: { include_usage: true } });
    const last = chunks.at(-1);
    const whole = (await ask(CHAT, HELLO)).body;
    expect(last).toMatchObject({ choices: [], usage: whole.usage, tracebond: whole.tracebond });
    expect(chunks.slice(0, -1).every(({ usage, tracebond }) => usage === null && tracebond === undefined)).toBe(true);
    expect(chunks.at(-2)?.choices[0]?.finish_reason).toBe('stop');
  });

  it('has calls in pieces', async () => {
    const { stream, ask } = open();
    const { chunks } = await stream(CHAT, CALLING);
    const [{ message }] = (await ask(CHAT, CALLING)).body.choices;
    const [call] = message.tool_calls;
    expect(callsOf(chunks)).toEqual([{ id: call.id, ...call.function }]);
    expect(contentOf(chunks)).toBe('');
    expect(chunks.at(-1)?.choices[0]?.finish_reason).toBe('tool_calls');
    const pieces = chunks.flatMap(({ choices }) => choices[0]?.delta.tool_calls ?? []);
    expect(pieces.length).toBeGreaterThan(2);
    expect(pieces.filter(({ id }) => id !== undefined)).toHaveLength(1);
  });

  it('has the probabilities of the whole answer', async () => {
    const { stream, ask } = open();
    const body = { ...HELLO, logprobs: true, top_logprobs: 1 };
    const { chunks } = await stream(CHAT, body);
    const streamed = chunks.flatMap(({ choices }) => choices[0]?.logprobs?.content ?? []);
    expect(streamed).toEqual((await ask(CHAT, body)).body.choices[0].logprobs.content);
  });

  it('has new ids by default', async () => {
    const { stream } = open();
    const [one, two] = [await stream(CHAT, HELLO), await stream(CHAT, HELLO)];
    expect(one.chunks[0]?.id).toMatch(/^chatcmpl-[0-9a-f]{24}$/);
    expect(one.chunks[0]?.id).not.toBe(two.chunks[0]?.id);
  });
});

describe('a completion of a text', () => {
  it('continues it as it stands', async () => {
    const { ask } = open();
    const { status, body } = await ask(TEXT, PROMPT);
    expect(status).toBe(200);
    textResponseSchema.parse(body);
    expect(body.choices).toEqual([{ index: 0, text: 'echo: hello', logprobs: null, finish_reason: 'stop' }]);
    expect(body.tracebond.request).toMatchObject({ prompt: 'hello', messages: [], maxTokens: 16 });
    expect(body.id).toMatch(/^cmpl-[0-9a-f]{24}$/);
    const same = { ...body, id: expect.any(String) };
    expect((await ask(TEXT, { ...PROMPT, prompt: ['hello'] })).body).toEqual(same);
    const neutral = { echo: false, best_of: 1, suffix: null, n: 1, logprobs: null, frequency_penalty: 0, user: 'x' };
    expect((await ask(TEXT, { ...PROMPT, ...neutral })).body).toEqual(same);
  });

  it('has probabilities in lists', async () => {
    const { ask, stream } = open();
    const { body } = await ask(TEXT, { ...PROMPT, prompt: 'ü', logprobs: 1 });
    const { logprobs } = body.choices[0];
    expect(logprobs.tokens.slice(0, 2)).toEqual(['e', 'c']);
    expect(logprobs.token_logprobs).toEqual(logprobs.tokens.map(() => -0.5));
    expect(logprobs.top_logprobs[0]).toEqual({ e: -0.5 });
    // The letter is two tokens.
    expect(logprobs.text_offset).toEqual([0, 1, 2, 3, 4, 5, 6, 6]);
    const { chunks } = await stream(TEXT, { ...PROMPT, prompt: 'ü', logprobs: 1 });
    const offsets = chunks.flatMap(({ choices }) => choices[0]?.logprobs?.text_offset ?? []);
    expect(offsets).toEqual(logprobs.text_offset);
  });

  it('comes in pieces', async () => {
    const { stream, ask } = open();
    const { chunks, isDone } = await stream(TEXT, { ...PROMPT, stream_options: { include_usage: true } });
    expect(isDone).toBe(true);
    for (const chunk of chunks) textChunkSchema.parse(chunk);
    expect(chunks.map(({ choices }) => choices[0]?.text ?? '').join('')).toBe('echo: hello');
    expect(chunks.at(-1)).toMatchObject({ usage: { total_tokens: expect.any(Number) }, choices: [] });
    expect(chunks.at(-1)?.tracebond).toEqual((await ask(TEXT, PROMPT)).body.tracebond);
  });

  const refused: readonly (readonly [string, Body, string, string])[] = [
    ['no prompt', { prompt: undefined }, 'missing_required_parameter', 'prompt'],
    ['null', { prompt: null }, 'invalid_type', 'prompt'],
    ['token ids', { prompt: [1, 2] }, 'unsupported_value', 'prompt'],
    ['one token id', { prompt: [1] }, 'unsupported_value', 'prompt[0]'],
    ['lists of token ids', { prompt: [[1, 2]] }, 'unsupported_value', 'prompt[0]'],
    ['two prompts', { prompt: ['a', 'b'] }, 'unsupported_value', 'prompt'],
    ['no prompts', { prompt: [] }, 'unsupported_value', 'prompt'],
    ['echo', { echo: true }, 'unsupported_value', 'echo'],
    ['best_of', { best_of: 2 }, 'unsupported_value', 'best_of'],
    ['a suffix', { suffix: 'x' }, 'unsupported_value', 'suffix'],
    ['6 logprobs', { logprobs: 6 }, 'invalid_value', 'logprobs'],
    ['logprobs as of a chat', { logprobs: true }, 'invalid_type', 'logprobs'],
    ['messages', { messages: user('x') }, 'unknown_parameter', 'messages'],
    ['tools', { tools: TOOLS }, 'unknown_parameter', 'tools'],
    ['stop and JSON', { stop: 'x', response_format: { type: 'json_object' } }, 'invalid_value', 'stop'],
    ['stream_options alone', { stream: false, stream_options: {} }, 'invalid_value', 'stream_options'],
    ['temperature 3', { temperature: 3 }, 'invalid_value', 'temperature'],
    ['top_p 0', { top_p: 0 }, 'invalid_value', 'top_p'],
    ['5,000 letters', { prompt: 'x'.repeat(5000) }, 'context_length_exceeded', 'prompt'],
    ['another model', { model: 'x' }, 'model_not_found', 'model'],
  ];
  it.each(refused)('is refused for %s', async (_, more, code, param) => {
    const { ask } = open(longAnswers());
    for (const stream of [false, true]) {
      const { status, body } = await ask(TEXT, { ...PROMPT, stream, ...more });
      expect([status === 400 || status === 404, body.error.code, body.error.param]).toEqual([true, code, param]);
    }
  });
});

/** The toy, which finds the prompt of 5,000 letters too long. */
function longAnswers(): Answering {
  const { answer } = toyContext();
  return (asked, options) => {
    if ((asked.request.prompt ?? '').length > 4096) throw new InferenceError('PROMPT_TOO_LONG', 'too long');
    return answer(asked, options);
  };
}

describe('faults', () => {
  it('before the first piece have their status, also of streams', async () => {
    const { ask } = open();
    for (const stream of [false, true]) {
      const { status, body } = await ask(CHAT, { ...HELLO, stream, messages: user('fail PROMPT_TOO_LONG') });
      expect([status, body.error.code, body.error.param]).toEqual([400, 'context_length_exceeded', 'messages']);
      const missing = await ask(CHAT, { ...HELLO, stream, model: 'x' });
      expect([missing.status, missing.body.error.code]).toEqual([404, 'model_not_found']);
    }
  });

  it('of schemas and budgets name the parameter', async () => {
    const fail =
      (error: Error): Answering =>
      async () => {
        throw error;
      };
    const schema = new InferenceError('SCHEMA_REFUSED', 'x', { at: { field: 'schema', path: '#/a' } });
    expect((await open(fail(schema)).ask(CHAT, HELLO)).body.error.param).toBe('response_format.json_schema.schema');
    const tool = new InferenceError('SCHEMA_REFUSED', 'x', { at: { field: 'tools', index: 1 } });
    expect((await open(fail(tool)).ask(CHAT, HELLO)).body.error.param).toBe('tools[1].function.parameters');
    const budget = new InferenceError('BUDGET_TOO_SMALL', 'x', { at: { field: 'maxTokens', needed: 9 } });
    const error = async (body: Body) => (await open(fail(budget)).ask(CHAT, { ...HELLO, ...body })).body.error.param;
    expect(await error({ max_tokens: 5 })).toBe('max_tokens');
    expect(await error({ max_completion_tokens: 5 })).toBe('max_completion_tokens');
  });

  it('after it end the stream with an error', async () => {
    const faults: unknown[] = [];
    const secret = new TypeError('secret of the host');
    for (const [error, code] of [
      [new ServerError('ENGINE_DIED', 'the engine ended'), 'engine_died'],
      [secret, 'internal_error'],
    ] as const) {
      const { answer } = toyContext();
      const failing: Answering = async (asked, options) => {
        await answer(asked, options);
        throw error;
      };
      for (const [url, body] of [
        [CHAT, HELLO],
        [TEXT, PROMPT],
      ] as const) {
        const { chunks, isDone } = await open(failing, { onFault: (fault) => faults.push(fault) }).stream(url, body);
        expect(isDone).toBe(false);
        expect(chunks.at(-1)?.error?.code).toBe(code);
        expect(chunks.at(-1)?.error?.message).not.toContain('secret');
        expect(chunks.length).toBeGreaterThan(10);
      }
    }
    expect(faults).toEqual([secret, secret]);
  });
});

describe('a client that goes away', () => {
  /** An answer that says so many pieces of 64 KiB, then waits until nobody wants it any more. */
  function endless(pieces: number) {
    let tell: (said: number) => void = () => {};
    const promise = new Promise<number>((resolve) => {
      tell = resolve;
    });
    const { answer } = toyContext();
    const endlessAnswer: Answering = async (asked, { signal, caller, onStart, onEvent }) => {
      if (pieces > 0) onStart?.(await answer(asked, { signal, caller }));
      let said = 0;
      for (; said < pieces && !signal.aborted; said++) {
        onEvent?.({ type: 'text', text: 'x'.repeat(64 << 10) });
        await new Promise((resolve) => setImmediate(resolve));
      }
      if (!signal.aborted) await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }));
      tell(said);
      throw new InferenceError('CANCELLED', 'cancelled');
    };
    return { answer: endlessAnswer, said: promise };
  }

  async function call(answer: Answering, body: Body): Promise<Socket> {
    const { app } = open(answer, { maxBufferedBytes: 1 << 20 });
    await app.listen({ port: 0, host: '127.0.0.1' });
    const socket = connect((app.server.address() as AddressInfo).port, '127.0.0.1');
    onTestFinished(() => void socket.destroy());
    socket.on('error', () => {});
    const text = JSON.stringify(body);
    const head = `POST ${CHAT} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n`;
    socket.pause();
    socket.write(`${head}content-length: ${text.length}\r\n\r\n${text}`);
    return socket;
  }

  it.each([
    ['before the first piece of a stream', 0, true],
    ['in a stream', 2, true],
    ['before a whole answer', 0, false],
  ] as const)('%s stops the computation', async (_, pieces, stream) => {
    const { answer, said } = endless(pieces);
    const socket = await call(answer, { ...HELLO, stream });
    setTimeout(() => socket.destroy(), 50);
    expect(await said).toBe(pieces);
  });

  it('or never reads is cut off, and stops it too', async () => {
    const { answer, said } = endless(10_000);
    await call(answer, { ...HELLO, stream: true });
    expect(await said).toBeLessThan(1000);
  });
});

describeVectors('openai-openapi', () => {
  const document = openOpenAIDocument(join(vectorsDir() ?? '', 'openai-openapi/openapi.json'));
  const bodies: readonly (readonly [string, Body])[] = [
    [CHAT, HELLO],
    [CHAT, CALLING],
    [CHAT, { ...HELLO, tools: TOOLS, messages: user('call it') }],
    [CHAT, { ...HELLO, logprobs: true, top_logprobs: 3 }],
    [CHAT, { ...HELLO, max_tokens: 3 }],
    [CHAT, { ...HELLO, response_format: { type: 'json_object' } }],
    [TEXT, PROMPT],
    [TEXT, { ...PROMPT, logprobs: 2, max_tokens: 3 }],
  ];

  it.each(bodies)('%s with %j answers as it says', async (url, body) => {
    const { ask, stream } = open();
    const whole = await ask(url, body);
    document.validateResponse(url, 'post', whole.status, whole.body);
    const kind = url === CHAT ? 'chat' : 'completions';
    for (const include_usage of [false, true]) {
      const { chunks } = await stream(url, { ...body, stream_options: { include_usage } });
      for (const chunk of chunks) document.validateChunk(kind, chunk);
    }
  });

  it('has errors as it says', async () => {
    const { ask } = open();
    for (const body of [{}, { ...HELLO, n: 2 }, { ...HELLO, model: 'x' }, { ...HELLO, messages: user('bug') }]) {
      const { status, body: said } = await ask(CHAT, body);
      expect(status).toBeGreaterThanOrEqual(400);
      document.validateError(said);
    }
  });
});
