/**
 * `@langchain/openai`: chat completions and the Responses API.
 *
 * @module
 */

import { strict as assert } from 'node:assert';
import type * as Messages from '@langchain/core/messages';
import type * as Tools from '@langchain/core/tools';
import type * as LangChain from '@langchain/openai';
import { present, type Scenario, type Target } from '../scenario.ts';
import {
  JSON_TOKENS,
  LONG_QUESTION,
  LONG_TOKENS,
  NO_MODEL,
  QUESTION,
  RECIPE_QUESTION,
  recipe,
  shapes,
  TEXT_TOKENS,
  TOOL_DESCRIPTION,
  TOOL_NAME,
  TOOL_QUESTION,
  TOOL_RESULT,
  weatherArguments,
  type ZodModule,
} from './shapes.ts';

export type LangChainModules = {
  readonly langchain: typeof LangChain;
  readonly messages: typeof Messages;
  readonly tools: typeof Tools;
  readonly z: ZodModule;
};

type LangChainScenario = Scenario<LangChainModules>;

type Api = { readonly name: string; readonly useResponsesApi: boolean };

const APIS: readonly Api[] = [
  { name: 'ChatOpenAI', useResponsesApi: false },
  { name: 'ChatOpenAI over responses', useResponsesApi: true },
];

function chatModel(
  { langchain }: LangChainModules,
  { baseURL, fetch, model }: Target,
  { useResponsesApi }: Api,
  options: { readonly model?: string; readonly maxTokens?: number } = {},
) {
  return new langchain.ChatOpenAI({
    model: options.model ?? model,
    apiKey: 'unused',
    configuration: { baseURL, fetch },
    maxRetries: 0,
    temperature: 0,
    maxTokens: options.maxTokens ?? TEXT_TOKENS,
    useResponsesApi,
  });
}

/** Content is a text, or a list of parts. */
function textOf(content: unknown): string {
  if (typeof content === 'string') return content;
  const parts = Array.isArray(content) ? (content as readonly { readonly text?: unknown }[]) : [];
  return parts.map(({ text }) => (typeof text === 'string' ? text : '')).join('');
}

/** Tokens of the answer; undefined where the message reports none. */
function outputTokens(message: object): number | undefined {
  return (message as { usage_metadata?: { output_tokens: number } }).usage_metadata?.output_tokens;
}

function textScenario(api: Api): LangChainScenario {
  return {
    name: `${api.name}: invoke, and stream says the same`,
    async run(modules, target) {
      const chat = chatModel(modules, target, api);
      const asked = [new modules.messages.SystemMessage('You are brief.'), new modules.messages.HumanMessage(QUESTION)];
      const whole = await chat.invoke(asked);
      const text = textOf(whole.content);
      assert.ok(text.length > 0);
      assert.ok(present(outputTokens(whole), 'usage') <= TEXT_TOKENS);
      let streamed = '';
      let tokens: number | undefined;
      for await (const chunk of await chat.stream(asked)) {
        streamed += textOf(chunk.content);
        tokens = outputTokens(chunk) ?? tokens;
      }
      assert.equal(streamed, text);
      assert.equal(tokens, outputTokens(whole));
    },
  };
}

function toolScenario(api: Api): LangChainScenario {
  return {
    name: `${api.name}: bindTools, its result, an answer`,
    async run(modules, target) {
      const shape = weatherArguments(modules.z);
      const weather = modules.tools.tool(async () => TOOL_RESULT, {
        name: TOOL_NAME,
        description: TOOL_DESCRIPTION,
        schema: shape,
      });
      const chat = chatModel(modules, target, api, { maxTokens: JSON_TOKENS });
      const question = new modules.messages.HumanMessage(TOOL_QUESTION);
      const calling = chat.bindTools([weather], { tool_choice: TOOL_NAME });
      const called = await calling.invoke([question]);
      const calls = present(called.tool_calls, 'tool calls');
      assert.ok(calls.length > 0);
      assert.deepEqual(called.invalid_tool_calls ?? [], []);
      const results = [];
      for (const call of calls) {
        assert.equal(call.name, TOOL_NAME);
        shape.strict().parse(call.args);
        results.push(await weather.invoke({ ...call, type: 'tool_call' }));
      }
      const answering = chat.bindTools([weather], { tool_choice: 'none' });
      const answer = await answering.invoke([question, called, ...results]);
      // Over the Responses API the client sends the choice of a named tool only.
      if (!api.useResponsesApi) assert.deepEqual(answer.tool_calls ?? [], []);
      for (const { args } of answer.tool_calls ?? []) shape.strict().parse(args);

      let streamed: Messages.AIMessageChunk | undefined;
      for await (const chunk of await calling.stream([question])) streamed = streamed?.concat(chunk) ?? chunk;
      assert.deepEqual(
        present(streamed?.tool_calls, 'streamed tool calls').map(({ name, args }) => ({ name, args })),
        calls.map(({ name, args }) => ({ name, args })),
      );
    },
  };
}

function structuredScenario(api: Api, method: 'jsonSchema' | 'functionCalling' | 'jsonMode'): LangChainScenario {
  return {
    name: `${api.name}: withStructuredOutput by ${method}`,
    async run(modules, target) {
      const chat = chatModel(modules, target, api, { maxTokens: JSON_TOKENS });
      if (method === 'jsonMode') {
        // Any object: the shape is not enforced.
        const any = chat.withStructuredOutput(modules.z.looseObject({}), { method, name: 'any' });
        assert.equal(typeof (await any.invoke(`${RECIPE_QUESTION} Answer as JSON.`)), 'object');
        return;
      }
      for (const { name, question, shape } of shapes(modules.z)) {
        // The client itself cannot follow a zod shape that contains itself.
        const given = name === 'folder' ? modules.z.toJSONSchema(shape) : shape;
        const structured = chat.withStructuredOutput(given, { method, name, strict: true });
        shape.strict().parse(await structured.invoke(question));
      }
      // The client itself cannot parse what it streams over the Responses API.
      if (api.useResponsesApi) return;
      const streaming = chat.withStructuredOutput(recipe(modules.z), { method, name: 'recipe', strict: true });
      let last: unknown;
      for await (const part of await streaming.stream(RECIPE_QUESTION)) last = part;
      recipe(modules.z).strict().parse(last);
    },
  };
}

const faults: LangChainScenario = {
  name: 'errors, and a stream that the client leaves',
  async run(modules, target) {
    for (const api of APIS) {
      const missing = chatModel(modules, target, api, { model: NO_MODEL });
      await assert.rejects(missing.invoke(QUESTION), (error) => (error as { status?: unknown }).status === 404);
      const long = chatModel(modules, target, api, { maxTokens: LONG_TOKENS });
      const leaving = new AbortController();
      let parts = 0;
      try {
        for await (const _ of await long.stream(LONG_QUESTION, { signal: leaving.signal })) {
          if (++parts === 3) leaving.abort();
        }
      } catch (error) {
        if (!leaving.signal.aborted) throw error;
      }
      assert.ok(leaving.signal.aborted, 'the stream ended before it could be left');
      const next = await chatModel(modules, target, api).invoke(QUESTION);
      assert.ok(textOf(next.content).length > 0);
    }
  },
};

const embeddings: LangChainScenario = {
  name: 'OpenAIEmbeddings',
  async run({ langchain }, { baseURL, fetch, model }) {
    const embedder = new langchain.OpenAIEmbeddings({
      model,
      apiKey: 'unused',
      configuration: { baseURL, fetch },
      maxRetries: 0,
    });
    const texts = ['the cat sat on the mat', 'stock prices fell'];
    const many = await embedder.embedDocuments(texts);
    assert.equal(many.length, 2);
    assert.deepEqual(await embedder.embedQuery(present(texts[0], 'text')), many[0]);
    assert.notDeepEqual(many[0], many[1]);
  },
};

export const langChainScenarios: readonly LangChainScenario[] = [
  ...APIS.flatMap((api) => [
    textScenario(api),
    toolScenario(api),
    structuredScenario(api, 'jsonSchema'),
    structuredScenario(api, 'functionCalling'),
  ]),
  structuredScenario({ name: 'ChatOpenAI', useResponsesApi: false }, 'jsonMode'),
  faults,
  embeddings,
];
