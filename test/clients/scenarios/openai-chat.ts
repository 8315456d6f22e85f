/**
 * `openai`: models and chat completions, whole and streamed.
 *
 * @module
 */

import { strict as assert } from 'node:assert';
import { present } from '../scenario.ts';
import { type OpenAIScenario, openAIClient, plain, warm } from './openai-client.ts';
import { TEXT_TOKENS } from './shapes.ts';

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

export const chatScenarios: readonly OpenAIScenario[] = [
  models,
  chat,
  fields,
  chatStream,
  streamHelper,
  logprobs,
  stops,
];
