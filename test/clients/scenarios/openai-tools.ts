/**
 * `openai`: tool calls, and its helper that runs them.
 *
 * @module
 */

import { strict as assert } from 'node:assert';
import type { OpenAI as Client } from 'openai';
import type { ChatCompletionMessageParam, ChatCompletionTool } from 'openai/resources/chat/completions';
import { present } from '../scenario.ts';
import { type OpenAIModules, type OpenAIScenario, openAIClient, toolQuestion, weatherTool } from './openai-client.ts';
import {
  JSON_TOKENS,
  TEXT_TOKENS,
  TOOL_DESCRIPTION,
  TOOL_NAME,
  TOOL_RESULT,
  WEATHER_PARAMETERS,
  weatherArguments,
} from './shapes.ts';

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

export const toolScenarios: readonly OpenAIScenario[] = [toolCall, toolStream, toolsOfAnyShape, runTools, runToolsAuto];
