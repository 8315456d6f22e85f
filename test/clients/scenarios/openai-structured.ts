/**
 * `openai`: structured output.
 *
 * @module
 */

import { strict as assert } from 'node:assert';
import { present } from '../scenario.ts';
import { type OpenAIScenario, openAIClient, refusal } from './openai-client.ts';
import { JSON_TOKENS, QUESTION, RECIPE_QUESTION, recipe, SEED, shapes } from './shapes.ts';

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

export const structuredScenarios: readonly OpenAIScenario[] = [parse, parseStream, budget, jsonObject];
