/**
 * `openai`: the Responses API.
 *
 * @module
 */

import { strict as assert } from 'node:assert';
import type { FunctionTool, ResponseInput } from 'openai/resources/responses/responses';
import { present, type Scenario } from '../scenario.ts';
import { type OpenAIModules, openAIClient } from './openai-client.ts';
import {
  JSON_TOKENS,
  LONG_QUESTION,
  LONG_TOKENS,
  QUESTION,
  RECIPE_QUESTION,
  recipe,
  shapes,
  TEXT_TOKENS,
  TOOL_DESCRIPTION,
  TOOL_NAME,
  TOOL_QUESTION,
  TOOL_RESULT,
  WEATHER_PARAMETERS,
  weatherArguments,
} from './shapes.ts';

type ResponsesScenario = Scenario<OpenAIModules>;

const plain = { input: QUESTION, instructions: 'You are brief.', max_output_tokens: TEXT_TOKENS, temperature: 0 };

const weatherTool: FunctionTool = {
  type: 'function',
  name: TOOL_NAME,
  description: TOOL_DESCRIPTION,
  parameters: WEATHER_PARAMETERS,
  strict: true,
};

const create: ResponsesScenario = {
  name: 'responses.create',
  async run(modules, target) {
    const client = openAIClient(modules, target);
    const response = await client.responses.create({ model: target.model, ...plain, metadata: { purpose: 'test' } });
    assert.equal(response.model, target.model);
    assert.ok(response.output_text.length > 0);
    assert.equal(response.instructions, plain.instructions);
    assert.deepEqual(response.metadata, { purpose: 'test' });
    const { input_tokens: input, output_tokens: output, total_tokens: total } = present(response.usage, 'usage');
    assert.ok(input > 0 && output > 0 && output <= TEXT_TOKENS);
    assert.equal(total, input + output);
    assert.ok(response.status === 'completed' || response.status === 'incomplete');
    if (response.status === 'incomplete') {
      assert.equal(response.incomplete_details?.reason, 'max_output_tokens');
      assert.equal(output, TEXT_TOKENS);
    }
    const again = await client.responses.create({ model: target.model, ...plain });
    assert.equal(again.output_text, response.output_text);
    assert.notEqual(again.id, response.id);
  },
};

const items: ResponsesScenario = {
  name: 'responses.create: a conversation as items',
  async run(modules, target) {
    const client = openAIClient(modules, target);
    const input: ResponseInput = [
      { role: 'developer', content: 'You are brief.' },
      { role: 'user', content: [{ type: 'input_text', text: 'Name a fruit.' }] },
    ];
    const asked = { model: target.model, max_output_tokens: 8, temperature: 0 };
    const first = await client.responses.create({ ...asked, input });
    const second = await client.responses.create({
      ...asked,
      input: [...input, ...(first.output as ResponseInput), { role: 'user', content: 'Another?' }],
    });
    assert.ok(present(second.usage, 'usage').input_tokens > present(first.usage, 'usage').input_tokens);
  },
};

const stream: ResponsesScenario = {
  name: 'responses.create as a stream says what it says whole',
  async run(modules, target) {
    const client = openAIClient(modules, target);
    const whole = await client.responses.create({ model: target.model, ...plain });
    const types: string[] = [];
    let text = '';
    for await (const event of await client.responses.create({ model: target.model, ...plain, stream: true })) {
      types.push(event.type);
      if (event.type === 'response.output_text.delta') text += event.delta;
    }
    assert.equal(text, whole.output_text);
    const once = types.filter((type, at) => type !== types[at - 1]);
    assert.deepEqual(once, [
      'response.created',
      'response.in_progress',
      'response.output_item.added',
      'response.content_part.added',
      'response.output_text.delta',
      'response.output_text.done',
      'response.content_part.done',
      'response.output_item.done',
      `response.${whole.status}`,
    ]);
  },
};

const streamHelper: ResponsesScenario = {
  name: 'responses.stream: events and finalResponse',
  async run(modules, target) {
    const client = openAIClient(modules, target);
    const shape = recipe(modules.z);
    const asked = {
      model: target.model,
      input: RECIPE_QUESTION,
      max_output_tokens: JSON_TOKENS,
      temperature: 0,
      text: { format: modules.helpers.zodTextFormat(shape, 'recipe') },
    };
    const events = client.responses.stream(asked);
    let snapshot = '';
    events.on('response.output_text.delta', (event) => {
      snapshot = event.snapshot;
    });
    const final = await events.finalResponse();
    assert.equal(final.status, 'completed');
    assert.equal(snapshot, final.output_text);
    const parsed = shape.strict().parse(present(final.output_parsed, 'parsed recipe'));
    assert.deepEqual((await client.responses.parse(asked)).output_parsed, parsed);
  },
};

const parse: ResponsesScenario = {
  name: 'responses.parse with zodTextFormat',
  async run(modules, target) {
    const client = openAIClient(modules, target);
    for (const { name, question, shape } of shapes(modules.z)) {
      const response = await client.responses.parse({
        model: target.model,
        input: question,
        max_output_tokens: JSON_TOKENS,
        text: { format: modules.helpers.zodTextFormat(shape, name) },
      });
      assert.equal(response.status, 'completed', name);
      shape.strict().parse(present(response.output_parsed, `parsed ${name}`));
    }
  },
};

const tools: ResponsesScenario = {
  name: 'responses.create: a required tool call, its output, an answer',
  async run(modules, target) {
    const client = openAIClient(modules, target);
    const asked = {
      model: target.model,
      temperature: 0,
      max_output_tokens: JSON_TOKENS,
      tools: [weatherTool],
      parallel_tool_calls: false,
    };
    const input: ResponseInput = [{ role: 'user', content: TOOL_QUESTION }];
    const first = await client.responses.create({ ...asked, input, tool_choice: 'required' });
    assert.equal(first.status, 'completed');
    const calls = first.output.filter((item) => item.type === 'function_call');
    assert.equal(calls.length, 1);
    const call = present(calls[0], 'call');
    assert.equal(call.name, TOOL_NAME);
    weatherArguments(modules.z).strict().parse(JSON.parse(call.arguments));
    const second = await client.responses.create({
      ...asked,
      max_output_tokens: TEXT_TOKENS,
      input: [
        ...input,
        ...(first.output as ResponseInput),
        { type: 'function_call_output', call_id: call.call_id, output: TOOL_RESULT },
      ],
      tool_choice: 'none',
    });
    assert.deepEqual(
      second.output.map(({ type }) => type),
      ['message'],
    );
  },
};

const toolStream: ResponsesScenario = {
  name: 'responses.create as a stream: a named tool is called as it is whole',
  async run(modules, target) {
    const client = openAIClient(modules, target);
    const asked = {
      model: target.model,
      temperature: 0,
      max_output_tokens: JSON_TOKENS,
      input: TOOL_QUESTION,
      tools: [weatherTool],
      tool_choice: { type: 'function' as const, name: TOOL_NAME },
      parallel_tool_calls: false,
    };
    let written = '';
    for await (const event of await client.responses.create({ ...asked, stream: true })) {
      if (event.type === 'response.function_call_arguments.delta') written += event.delta;
    }
    weatherArguments(modules.z).strict().parse(JSON.parse(written));
    const whole = await client.responses.create(asked);
    const calls = whole.output.flatMap((item) => (item.type === 'function_call' ? [item.arguments] : []));
    assert.deepEqual(calls, [written]);
  },
};

const refused: ResponsesScenario = {
  name: 'BadRequestError names the parameter of /responses',
  async run(modules, target) {
    const client = openAIClient(modules, target);
    const cases: readonly [string, object][] = [
      ['temperature', { temperature: 3 }],
      ['max_output_tokens', { max_output_tokens: 0 }],
      ['input', { input: 7 }],
      ['tools', { tools: [{ type: 'web_search' }] }],
      ['previous_response_id', { previous_response_id: 'resp_none' }],
      ['background', { background: true }],
      ['conversation', { conversation: 'conv_1' }],
      ['text', { text: { format: { type: 'json_schema' } } }],
      ['no_such_parameter', { no_such_parameter: 1 }],
    ];
    const faults: string[] = [];
    for (const [param, change] of cases) {
      const body = { model: target.model, ...plain, ...change };
      const fault: unknown = await client.responses.create(body).then(
        () => undefined,
        (error: unknown) => error,
      );
      // An earlier response that is not there may be called not found.
      const isRefusal =
        fault instanceof modules.OpenAI.BadRequestError || fault instanceof modules.OpenAI.NotFoundError;
      const named = isRefusal ? String(fault.param) : '';
      if (!isRefusal || !new RegExp(`^${param}\\b`).test(named)) {
        faults.push(`${JSON.stringify(change)}: param ${named}, ${fault === undefined ? 'accepted' : String(fault)}`);
      }
    }
    assert.deepEqual(faults, []);
  },
};

const abort: ResponsesScenario = {
  name: 'a stream of /responses that the client leaves does not disturb the next request',
  async run(modules, target) {
    const client = openAIClient(modules, target);
    const long = { model: target.model, input: LONG_QUESTION, max_output_tokens: LONG_TOKENS };
    const events = await client.responses.create({ ...long, stream: true });
    for await (const { type } of events) {
      if (type === 'response.output_text.delta') events.controller.abort();
    }
    const next = await client.responses.create({ model: target.model, ...plain });
    assert.ok(next.output_text.length > 0);
  },
};

export const openAIResponsesScenarios: readonly ResponsesScenario[] = [
  create,
  items,
  stream,
  streamHelper,
  parse,
  tools,
  toolStream,
  refused,
  abort,
];
