/**
 * `openai`: refusals, and answers that are given up.
 *
 * @module
 */

import { strict as assert } from 'node:assert';
import type { OpenAI as Client } from 'openai';
import { type OpenAIScenario, openAIClient, plain, refusal, weatherTool } from './openai-client.ts';
import { LONG_QUESTION, LONG_TOKENS, NO_MODEL, QUESTION } from './shapes.ts';

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

export const errorScenarios: readonly OpenAIScenario[] = [badRequests, notFound, abort];
