/**
 * `openai`: chat completions, tools, structured output, completions, embeddings, models and errors.
 *
 * @module
 */

import { strict as assert } from 'node:assert';
import type { OpenAI as Client } from 'openai';
import type * as Helpers from 'openai/helpers/zod';
import type { ChatCompletionMessageParam, ChatCompletionTool } from 'openai/resources/chat/completions';
import { decodeFloats } from '../../support/openai-document.ts';
import { present, type Scenario, type Target } from '../scenario.ts';
import {
  JSON_TOKENS,
  LONG_QUESTION,
  LONG_TOKENS,
  NO_MODEL,
  QUESTION,
  RECIPE_QUESTION,
  recipe,
  SEED,
  shapes,
  TEXT_TOKENS,
  TOOL_DESCRIPTION,
  TOOL_NAME,
  TOOL_QUESTION,
  TOOL_RESULT,
  WEATHER_PARAMETERS,
  weatherArguments,
  type ZodModule,
} from './shapes.ts';

export type OpenAIModules = {
  readonly OpenAI: typeof Client;
  readonly helpers: typeof Helpers;
  readonly z: ZodModule;
};

type OpenAIScenario = Scenario<OpenAIModules>;

export function openAIClient({ OpenAI }: Pick<OpenAIModules, 'OpenAI'>, { baseURL, fetch }: Target): Client {
  return new OpenAI({ baseURL, apiKey: 'unused', fetch, maxRetries: 0 });
}

const messages: ChatCompletionMessageParam[] = [
  { role: 'system', content: 'You are brief.' },
  { role: 'user', content: QUESTION },
];
const plain = { messages, max_tokens: TEXT_TOKENS, temperature: 0 };
const warm = { messages, max_tokens: TEXT_TOKENS, temperature: 0.8, top_p: 0.9, seed: SEED };

const weatherTool: ChatCompletionTool = {
  type: 'function',
  function: { name: TOOL_NAME, description: TOOL_DESCRIPTION, parameters: WEATHER_PARAMETERS, strict: true },
};
const toolQuestion: ChatCompletionMessageParam[] = [{ role: 'user', content: TOOL_QUESTION }];

const models: OpenAIScenario = {
  name: 'models.list, models.retrieve',
  async run(modules, target) {
    const client = openAIClient(modules, target);
    const listed = [];
    for await (const model of client.models.list()) listed.push(model);
    const own = present(
      listed.find(({ id }) => id === target.model),
      'model in the list',
    );
    assert.deepEqual(await client.models.retrieve(target.model), own);
  },
};

const chat: OpenAIScenario = {
  name: 'chat.completions.create',
  async run(modules, target) {
    const client = openAIClient(modules, target);
    const first = await client.chat.completions.create({ model: target.model, ...warm });
    const { choices, usage, model } = first;
    assert.equal(model, target.model);
    assert.equal(choices.length, 1);
    const { message, finish_reason: finish } = present(choices[0], 'choice');
    assert.equal(message.role, 'assistant');
    assert.equal(typeof message.content, 'string');
    assert.ok(finish === 'stop' || finish === 'length');
    const { prompt_tokens: prompt, completion_tokens: completion, total_tokens: total } = present(usage, 'usage');
    assert.ok(prompt > 0 && completion > 0 && completion <= TEXT_TOKENS);
    assert.equal(total, prompt + completion);
    if (finish === 'length') assert.equal(completion, TEXT_TOKENS);
    const again = await client.chat.completions.create({ model: target.model, ...warm });
    assert.equal(again.choices[0]?.message.content, message.content, 'the same seed says the same');
    assert.equal(again.system_fingerprint, first.system_fingerprint);
    assert.notEqual(again.id, first.id);
  },
};

const fields: OpenAIScenario = {
  name: 'chat.completions.create: user, metadata, parts of text, developer, max_completion_tokens, n of one',
  async run(modules, target) {
    const client = openAIClient(modules, target);
    const completion = await client.chat.completions.create({
      model: target.model,
      messages: [
        { role: 'developer', content: 'You are brief.' },
        {
          role: 'user',
          content: [
            { type: 'text', text: 'Name ' },
            { type: 'text', text: 'a fruit.' },
          ],
        },
        { role: 'assistant', content: 'Apple.' },
        { role: 'user', content: 'Another?', name: 'ada' },
      ],
      max_completion_tokens: 8,
      n: 1,
      user: 'user-1',
      metadata: { purpose: 'test' },
      response_format: { type: 'text' },
      stop: null,
    });
    assert.ok(present(completion.usage, 'usage').completion_tokens <= 8);
  },
};

const chatStream: OpenAIScenario = {
  name: 'chat.completions.create as a stream with usage says what it says whole',
  async run(modules, target) {
    const client = openAIClient(modules, target);
    const whole = await client.chat.completions.create({ model: target.model, ...warm });
    const stream = await client.chat.completions.create({
      model: target.model,
      ...warm,
      stream: true,
      stream_options: { include_usage: true },
    });
    let text = '';
    let finish: string | null = null;
    let usage: unknown;
    for await (const chunk of stream) {
      text += chunk.choices[0]?.delta.content ?? '';
      finish = chunk.choices[0]?.finish_reason ?? finish;
      usage = chunk.usage ?? usage;
    }
    assert.equal(text, whole.choices[0]?.message.content);
    assert.equal(finish, whole.choices[0]?.finish_reason);
    const counts = (value: unknown) => {
      const { prompt_tokens, completion_tokens, total_tokens } = value as NonNullable<typeof whole.usage>;
      return { prompt_tokens, completion_tokens, total_tokens };
    };
    assert.deepEqual(counts(usage), counts(whole.usage));
  },
};

const streamHelper: OpenAIScenario = {
  name: 'chat.completions.stream: events and finalChatCompletion',
  async run(modules, target) {
    const client = openAIClient(modules, target);
    const stream = client.chat.completions.stream({ model: target.model, ...plain });
    const deltas: string[] = [];
    let chunks = 0;
    stream.on('content', (delta) => deltas.push(delta));
    stream.on('chunk', () => {
      chunks++;
    });
    const completion = await stream.finalChatCompletion();
    assert.equal(deltas.join(''), completion.choices[0]?.message.content);
    assert.ok(chunks >= 2, 'a stream of one chunk');
    const whole = await client.chat.completions.create({ model: target.model, ...plain });
    assert.equal(whole.choices[0]?.message.content, completion.choices[0]?.message.content);
  },
};

const logprobs: OpenAIScenario = {
  name: 'chat.completions.create with logprobs and top_logprobs, whole and as a stream',
  async run(modules, target) {
    const client = openAIClient(modules, target);
    const asked = { model: target.model, ...plain, logprobs: true, top_logprobs: 3 };
    const { choices, usage } = await client.chat.completions.create(asked);
    const tokens = present(choices[0]?.logprobs?.content, 'logprobs');
    assert.ok(tokens.length > 0 && tokens.length <= present(usage, 'usage').completion_tokens);
    for (const { token, logprob, top_logprobs: top } of tokens) {
      assert.ok(logprob <= 0, `a logprob of ${logprob}`);
      assert.equal(top.length, 3);
      const sorted = top.map(({ logprob: each }) => each).sort((a, b) => b - a);
      assert.deepEqual(
        top.map(({ logprob: each }) => each),
        sorted,
      );
      assert.equal(top[0]?.token, token, 'without temperature the most probable token is said');
    }
    const bytes = tokens.flatMap(({ bytes: each }) => present(each, 'bytes'));
    const text = present(choices[0]?.message.content, 'content');
    assert.ok(Buffer.from(bytes).toString('utf8').startsWith(text), 'bytes of the tokens are the text');
    const streamed = [];
    for await (const chunk of await client.chat.completions.create({ ...asked, stream: true })) {
      streamed.push(...(chunk.choices[0]?.logprobs?.content ?? []));
    }
    assert.deepEqual(streamed, tokens);
  },
};

const stops: OpenAIScenario = {
  name: 'chat.completions.create ends before a stop text, whole and as a stream',
  async run(modules, target) {
    const client = openAIClient(modules, target);
    const asked = { model: target.model, ...plain };
    const full = present((await client.chat.completions.create(asked)).choices[0]?.message.content, 'content');
    assert.ok(full.length > 8, 'too short a text to stop in');
    // Rarely at a token's edges.
    const middle = Math.floor(full.length / 2);
    const stop = full.slice(middle, middle + 3);
    const expected = full.slice(0, full.indexOf(stop));
    const stopped = await client.chat.completions.create({ ...asked, stop: [stop, 'never said \u2603'] });
    assert.equal(stopped.choices[0]?.message.content ?? '', expected);
    assert.equal(stopped.choices[0]?.finish_reason, 'stop');
    let streamed = '';
    for await (const chunk of await client.chat.completions.create({ ...asked, stop, stream: true })) {
      streamed += chunk.choices[0]?.delta.content ?? '';
    }
    assert.equal(streamed, expected);
  },
};

const toolCall: OpenAIScenario = {
  name: 'chat.completions.create: a required tool call, its result, an answer',
  async run(modules, target) {
    const client = openAIClient(modules, target);
    const asked = { model: target.model, temperature: 0, max_tokens: JSON_TOKENS, tools: [weatherTool] };
    const first = await client.chat.completions.create({ ...asked, messages: toolQuestion, tool_choice: 'required' });
    const { message, finish_reason: finish } = present(first.choices[0], 'choice');
    assert.equal(finish, 'tool_calls');
    const calls = present(message.tool_calls, 'tool calls');
    assert.ok(calls.length > 0);
    assert.equal(new Set(calls.map(({ id }) => id)).size, calls.length, 'ids of calls differ');
    const results = calls.map((call): ChatCompletionMessageParam => {
      assert.ok(call.type === 'function');
      assert.equal(call.function.name, TOOL_NAME);
      weatherArguments(modules.z).strict().parse(JSON.parse(call.function.arguments));
      return { role: 'tool', tool_call_id: call.id, content: TOOL_RESULT };
    });
    const second = await client.chat.completions.create({
      ...asked,
      max_tokens: TEXT_TOKENS,
      messages: [...toolQuestion, message, ...results],
      tool_choice: 'none',
    });
    assert.equal(second.choices[0]?.message.tool_calls?.length ?? 0, 0, 'a call although none is allowed');
    assert.notEqual(second.choices[0]?.finish_reason, 'tool_calls');
    assert.equal(typeof second.choices[0]?.message.content, 'string');
  },
};

const toolStream: OpenAIScenario = {
  name: 'chat.completions.stream: a named tool is called as it is whole',
  async run(modules, target) {
    const client = openAIClient(modules, target);
    const other: ChatCompletionTool = { type: 'function', function: { name: 'get_time', parameters: {} } };
    const asked = {
      model: target.model,
      temperature: 0,
      max_tokens: JSON_TOKENS,
      messages: toolQuestion,
      tools: [other, weatherTool],
      tool_choice: { type: 'function' as const, function: { name: TOOL_NAME } },
      parallel_tool_calls: false,
    };
    const calls = async (completion: Client.ChatCompletion) =>
      present(completion.choices[0]?.message.tool_calls, 'tool calls').map((call) => {
        assert.ok(call.type === 'function');
        return { name: call.function.name, arguments: call.function.arguments };
      });
    const streamed = await calls(await client.chat.completions.stream(asked).finalChatCompletion());
    assert.equal(streamed.length, 1, 'parallel calls although they are not allowed');
    assert.equal(streamed[0]?.name, TOOL_NAME);
    weatherArguments(modules.z).strict().parse(JSON.parse(streamed[0].arguments));
    assert.deepEqual(await calls(await client.chat.completions.create(asked)), streamed);
  },
};

const toolsOfAnyShape: OpenAIScenario = {
  name: 'chat.completions.create: tools without parameters, and not strict',
  async run(modules, target) {
    const client = openAIClient(modules, target);
    const tools: ChatCompletionTool[] = [
      { type: 'function', function: { name: 'get_time' } },
      {
        type: 'function',
        function: { name: 'search', parameters: { type: 'object', properties: { text: { type: 'string' } } } },
      },
    ];
    for (const name of ['get_time', 'search']) {
      const { choices } = await client.chat.completions.create({
        model: target.model,
        temperature: 0,
        max_tokens: JSON_TOKENS,
        messages: toolQuestion,
        tools,
        tool_choice: { type: 'function', function: { name } },
      });
      const call = present(choices[0]?.message.tool_calls?.[0], 'call');
      assert.ok(call.type === 'function');
      assert.equal(call.function.name, name);
      assert.equal(typeof JSON.parse(call.function.arguments), 'object');
    }
  },
};

/** The tool as the client's own loop runs it; counts its calls. */
function runnableTool({ helpers, z }: OpenAIModules) {
  const counted = { calls: 0 };
  const shape = weatherArguments(z).strict();
  const tool = helpers.zodFunction({
    name: TOOL_NAME,
    description: TOOL_DESCRIPTION,
    parameters: shape,
    function(args) {
      shape.parse(args);
      counted.calls++;
      return TOOL_RESULT;
    },
  });
  return { counted, tool };
}

const runTools: OpenAIScenario = {
  name: 'chat.completions.runTools: two steps of required calls',
  async run(modules, target) {
    const client = openAIClient(modules, target);
    const { counted, tool } = runnableTool(modules);
    const runner = client.chat.completions.runTools(
      {
        model: target.model,
        temperature: 0,
        max_tokens: JSON_TOKENS,
        messages: toolQuestion,
        tools: [tool],
        tool_choice: 'required',
        parallel_tool_calls: false,
      },
      { maxChatCompletions: 2 },
    );
    await runner.done();
    assert.deepEqual(
      runner.messages.map(({ role }) => role),
      ['user', 'assistant', 'tool', 'assistant', 'tool'],
    );
    assert.equal(counted.calls, 2);
    assert.equal(target.exchanges.length, 2);
  },
};

const runToolsAuto: OpenAIScenario = {
  name: 'chat.completions.runTools: the model may call, whole and as a stream',
  async run(modules, target) {
    const client = openAIClient(modules, target);
    const shape = weatherArguments(modules.z).strict();
    const tool = {
      type: 'function' as const,
      function: {
        name: TOOL_NAME,
        description: TOOL_DESCRIPTION,
        parameters: WEATHER_PARAMETERS,
        parse: (text: string) => shape.parse(JSON.parse(text)),
        function: () => TOOL_RESULT,
      },
    };
    const asked = {
      model: target.model,
      temperature: 0,
      max_tokens: JSON_TOKENS,
      messages: toolQuestion,
      tools: [tool],
      // Else calls may fill the budget.
      parallel_tool_calls: false,
    };
    const limits = { maxChatCompletions: 2 };
    const whole = await outcome(modules, client.chat.completions.runTools(asked, limits));
    assert.ok(target.exchanges.length <= 2);
    const streamed = await outcome(modules, client.chat.completions.runTools({ ...asked, stream: true }, limits));
    // Of a stream it does not take it so.
    if (whole !== 'cut' && streamed !== 'cut') assert.deepEqual(streamed, whole);
  },
};

/** Roles and last text of a run; that the client takes a text cut by its tokens for a failure is its own rule. */
async function outcome(
  { OpenAI }: OpenAIModules,
  runner: { done(): Promise<void>; readonly messages: readonly ChatCompletionMessageParam[] },
): Promise<unknown> {
  try {
    await runner.done();
  } catch (error) {
    if (error instanceof OpenAI.OpenAIError && /length limit was reached/.test(error.message)) return 'cut';
    throw error;
  }
  return { roles: runner.messages.map(({ role }) => role), text: runner.messages.at(-1)?.content ?? '' };
}

const parse: OpenAIScenario = {
  name: 'chat.completions.parse with zodResponseFormat',
  async run(modules, target) {
    const client = openAIClient(modules, target);
    for (const { name, question, shape } of shapes(modules.z)) {
      const { choices, usage } = await client.chat.completions.parse({
        model: target.model,
        messages: [{ role: 'user', content: question }],
        max_tokens: JSON_TOKENS,
        temperature: 0.7,
        seed: SEED,
        response_format: modules.helpers.zodResponseFormat(shape, name),
      });
      assert.equal(choices[0]?.finish_reason, 'stop', name);
      shape.strict().parse(present(choices[0]?.message.parsed, `parsed ${name}`));
      assert.ok(present(usage, 'usage').completion_tokens <= JSON_TOKENS);
    }
  },
};

const parseStream: OpenAIScenario = {
  name: 'chat.completions.stream with zodResponseFormat',
  async run(modules, target) {
    const client = openAIClient(modules, target);
    const shape = recipe(modules.z);
    const asked = {
      model: target.model,
      messages: [{ role: 'user' as const, content: RECIPE_QUESTION }],
      max_tokens: JSON_TOKENS,
      temperature: 0,
      response_format: modules.helpers.zodResponseFormat(shape, 'recipe'),
    };
    const stream = client.chat.completions.stream(asked);
    let deltas = 0;
    stream.on('content.delta', ({ snapshot }) => {
      deltas++;
      assert.equal(typeof snapshot, 'string');
    });
    const completion = await stream.finalChatCompletion();
    assert.ok(deltas > 1, 'a structured answer comes in parts');
    const parsed = shape.strict().parse(present(completion.choices[0]?.message.parsed, 'parsed recipe'));
    const whole = await client.chat.completions.parse(asked);
    assert.deepEqual(whole.choices[0]?.message.parsed, parsed);
  },
};

const budget: OpenAIScenario = {
  name: 'structured output parses within small budgets; a budget below the shortest answer is refused',
  async run(modules, target) {
    const client = openAIClient(modules, target);
    const shape = modules.z.object({ answer: modules.z.string(), sure: modules.z.boolean() });
    const ask = (max: number) =>
      client.chat.completions.parse({
        model: target.model,
        messages: [{ role: 'user', content: QUESTION }],
        max_completion_tokens: max,
        temperature: 1,
        seed: SEED,
        response_format: modules.helpers.zodResponseFormat(shape, 'answer'),
      });
    for (const max of [28, 29, 31, 36, 48]) {
      const { choices, usage } = await ask(max);
      shape.strict().parse(present(choices[0]?.message.parsed, `answer within ${max} tokens`));
      assert.ok(present(usage, 'usage').completion_tokens <= max);
    }
    const fault = await refusal(modules, ask(1));
    assert.equal(fault.param, 'max_completion_tokens');
  },
};

const jsonObject: OpenAIScenario = {
  name: 'chat.completions.create as a JSON object',
  async run(modules, target) {
    const client = openAIClient(modules, target);
    const { choices } = await client.chat.completions.create({
      model: target.model,
      messages: [{ role: 'user', content: 'Describe a cat as a JSON object.' }],
      max_tokens: 64,
      temperature: 1,
      seed: SEED,
      response_format: { type: 'json_object' },
    });
    const value: unknown = JSON.parse(present(choices[0]?.message.content, 'content'));
    assert.ok(typeof value === 'object' && value !== null && !Array.isArray(value));
  },
};

const completions: OpenAIScenario = {
  name: 'completions.create, whole and as a stream',
  async run(modules, target) {
    const client = openAIClient(modules, target);
    const asked = {
      model: target.model,
      prompt: 'The capital of France is',
      max_tokens: TEXT_TOKENS,
      temperature: 0.5,
      seed: SEED,
    };
    const whole = await client.completions.create(asked);
    const { text, finish_reason: finish } = present(whole.choices[0], 'choice');
    assert.ok(text.length > 0);
    assert.ok(present(whole.usage, 'usage').completion_tokens <= TEXT_TOKENS);
    let streamed = '';
    let ended: string | null = null;
    for await (const chunk of await client.completions.create({
      ...asked,
      stream: true,
      stream_options: { include_usage: true },
    })) {
      streamed += chunk.choices[0]?.text ?? '';
      ended = chunk.choices[0]?.finish_reason ?? ended;
    }
    assert.equal(streamed, text);
    assert.equal(ended, finish);
  },
};

const embeddings: OpenAIScenario = {
  name: "embeddings.create: floats, base64 and the client's own choice",
  async run(modules, target) {
    const client = openAIClient(modules, target);
    const input = ['the cat sat on the mat', 'stock prices fell', 'the cat sat on the mat'];
    const asked = { model: target.model, input };
    // The client asks for base64 by itself and decodes it.
    const own = await client.embeddings.create(asked);
    const floats = await client.embeddings.create({ ...asked, encoding_format: 'float' });
    const base64 = await client.embeddings.create({ ...asked, encoding_format: 'base64' });
    const vectors = floats.data.map(({ embedding }) => embedding);
    assert.deepEqual(
      floats.data.map(({ index }) => index),
      [0, 1, 2],
    );
    assert.deepEqual(vectors[0], vectors[2], 'one text, one vector');
    assert.notDeepEqual(vectors[0], vectors[1]);
    const [first = []] = vectors;
    assert.ok(first.length > 0 && vectors.every((vector) => vector.length === first.length));
    assert.ok(first.every(Number.isFinite) && first.some((value) => value !== 0));
    const binary32 = vectors.map((vector) => vector.map(Math.fround));
    assert.deepEqual(
      own.data.map(({ embedding }) => [...embedding]),
      binary32,
    );
    assert.deepEqual(
      base64.data.map(({ embedding }) => decodeFloats(embedding as unknown as string)),
      binary32,
    );
    const single = await client.embeddings.create({ ...asked, input: present(input[0], 'text') });
    assert.deepEqual(
      single.data.map(({ embedding }) => [...embedding]),
      binary32.slice(0, 1),
      'neighbours change nothing',
    );
    const { prompt_tokens: prompt, total_tokens: total } = floats.usage;
    assert.ok(prompt > 0 && total === prompt);
  },
};

/** The client's error for a 400. */
async function refusal({ OpenAI }: OpenAIModules, asked: PromiseLike<unknown>) {
  const fault: unknown = await Promise.resolve(asked).then(
    () => undefined,
    (error: unknown) => error,
  );
  assert.ok(fault instanceof OpenAI.BadRequestError, `expected a BadRequestError, got ${String(fault)}`);
  assert.equal(fault.status, 400);
  return fault;
}

const badRequests: OpenAIScenario = {
  name: 'BadRequestError names the parameter',
  async run(modules, target) {
    const client = openAIClient(modules, target);
    const cases: readonly [string, object][] = [
      ['n', { n: 2 }],
      ['temperature', { temperature: 3 }],
      ['temperature', { temperature: 'warm' }],
      ['top_p', { top_p: -1 }],
      ['max_tokens', { max_tokens: 0 }],
      ['max_tokens', { max_tokens: 1.5 }],
      ['messages', { messages: [] }],
      ['messages', { messages: 'hello' }],
      ['logit_bias', { logit_bias: { '1': 100 } }],
      ['frequency_penalty', { frequency_penalty: 1.5 }],
      ['presence_penalty', { presence_penalty: 1.5 }],
      ['top_logprobs', { logprobs: true, top_logprobs: 21 }],
      ['top_logprobs', { top_logprobs: 2 }],
      ['response_format', { response_format: { type: 'yaml' } }],
      ['response_format', { response_format: { type: 'json_schema' } }],
      ['tool_choice', { tool_choice: 'required' }],
      ['tool_choice', { tools: [weatherTool], tool_choice: { type: 'function', function: { name: 'other' } } }],
      ['tools', { tools: [{ type: 'function', function: { name: 'no spaces allowed' } }] }],
      ['stream_options', { stream_options: { include_usage: true } }],
      ['modalities', { modalities: ['text', 'audio'] }],
      ['audio', { audio: { format: 'wav', voice: 'alloy' } }],
      ['no_such_parameter', { no_such_parameter: 1 }],
    ];
    const faults: string[] = [];
    for (const [param, change] of cases) {
      try {
        const body = { model: target.model, ...plain, ...change } as Client.ChatCompletionCreateParamsNonStreaming;
        const fault = await refusal(modules, client.chat.completions.create(body));
        // `messages.0` and `messages[0]` name it as well.
        assert.match(String(fault.param), new RegExp(`^${param}\\b`));
        assert.equal(fault.type, 'invalid_request_error');
      } catch (error) {
        faults.push(`${JSON.stringify(change)}: ${error instanceof Error ? error.message : String(error)}`);
      }
    }
    assert.deepEqual(faults, []);
  },
};

const notFound: OpenAIScenario = {
  name: 'NotFoundError for a model that is not there',
  async run(modules, target) {
    const client = openAIClient(modules, target);
    const { NotFoundError } = modules.OpenAI;
    const isNotFound = (error: unknown) => error instanceof NotFoundError && error.code === 'model_not_found';
    await assert.rejects(client.models.retrieve(NO_MODEL), isNotFound);
    await assert.rejects(client.chat.completions.create({ ...plain, model: NO_MODEL }), isNotFound);
    await assert.rejects(client.chat.completions.create({ ...plain, model: NO_MODEL, stream: true }), isNotFound);
    await assert.rejects(client.responses.create({ model: NO_MODEL, input: QUESTION }), isNotFound);
    await assert.rejects(client.completions.create({ model: NO_MODEL, prompt: QUESTION }), isNotFound);
    await assert.rejects(client.embeddings.create({ model: NO_MODEL, input: QUESTION }), isNotFound);
  },
};

const abort: OpenAIScenario = {
  name: 'a stream that the client leaves does not disturb the next request',
  async run(modules, target) {
    const client = openAIClient(modules, target);
    const long = {
      model: target.model,
      messages: [{ role: 'user' as const, content: LONG_QUESTION }],
      max_tokens: LONG_TOKENS,
    };
    const stream = await client.chat.completions.create({ ...long, stream: true });
    let chunks = 0;
    for await (const _ of stream) {
      if (++chunks === 3) stream.controller.abort();
    }
    const signal = AbortSignal.timeout(200);
    await assert.rejects(client.chat.completions.create(long, { signal }), modules.OpenAI.APIUserAbortError);
    const started = performance.now();
    const next = await client.chat.completions.create({ model: target.model, ...plain });
    assert.equal(typeof next.choices[0]?.message.content, 'string');
    assert.ok(performance.now() - started < 20_000, 'the next request waits for those that were left');
  },
};

const receipts: OpenAIScenario = {
  name: 'the receipt of an answer is found again',
  async run(modules, target) {
    const client = openAIClient(modules, target);
    const completion = await client.chat.completions.create({ model: target.model, ...plain });
    const { tracebond } = completion as unknown as { tracebond: { id: string; receipt: unknown } };
    const found = await client.get<{ receipt?: unknown }>(`/receipts/${tracebond.id}`);
    assert.deepEqual(found.receipt, tracebond.receipt);
    await assert.rejects(client.get('/receipts/rcpt_none'), modules.OpenAI.NotFoundError);
  },
};

export const openAIScenarios: readonly OpenAIScenario[] = [
  models,
  chat,
  fields,
  chatStream,
  streamHelper,
  logprobs,
  stops,
  toolCall,
  toolStream,
  toolsOfAnyShape,
  runTools,
  runToolsAuto,
  parse,
  parseStream,
  budget,
  jsonObject,
  completions,
  embeddings,
  badRequests,
  notFound,
  abort,
  receipts,
];
