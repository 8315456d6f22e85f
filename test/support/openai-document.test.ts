import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { type ChunkKind, DocumentMismatch, decodeFloats, openOpenAIDocument } from './openai-document.ts';
import { describeVectors } from './vectors.ts';

type Body = Record<string, unknown>;

const CREATED = 1_700_000_000;
const usage = { prompt_tokens: 5, completion_tokens: 3, total_tokens: 8 };
const error = { message: 'no such model', type: 'invalid_request_error', param: 'model', code: 'model_not_found' };

const chatHead = { id: 'chatcmpl-1', created: CREATED, model: 'm', system_fingerprint: 'fp_1' };
const message = { role: 'assistant', content: 'hello', refusal: null };
const toolCall = { id: 'call_1', type: 'function', function: { name: 'f', arguments: '{}' } };
const choice = { index: 0, message, logprobs: null, finish_reason: 'stop' };
const chat = { ...chatHead, object: 'chat.completion', choices: [choice], usage };
const chatChunk = {
  ...chatHead,
  object: 'chat.completion.chunk',
  choices: [{ index: 0, delta: { content: 'h' }, logprobs: null, finish_reason: null }],
  usage: null,
};

const textHead = { id: 'cmpl-1', object: 'text_completion', created: CREATED, model: 'm' };
const text = { ...textHead, choices: [{ index: 0, text: 'hello', logprobs: null, finish_reason: 'length' }], usage };
const textChunk = { ...textHead, choices: [{ index: 0, text: 'h', logprobs: null, finish_reason: null }], usage: null };

const embeddings = {
  object: 'list',
  model: 'm',
  data: [{ object: 'embedding', index: 0, embedding: [0.5, -1] }],
  usage: { prompt_tokens: 1, total_tokens: 1 },
};

const outputText = { type: 'output_text', text: 'hello', annotations: [], logprobs: [] };
const outputMessage = { type: 'message', id: 'msg_1', role: 'assistant', status: 'completed', content: [outputText] };
const functionCall = {
  type: 'function_call',
  id: 'fc_1',
  call_id: 'call_1',
  name: 'f',
  arguments: '{}',
  status: 'completed',
};
const response = {
  id: 'resp_1',
  object: 'response',
  created_at: CREATED,
  status: 'completed',
  error: null,
  incomplete_details: null,
  instructions: null,
  metadata: {},
  model: 'm',
  output: [outputMessage, functionCall],
  parallel_tool_calls: true,
  temperature: 1,
  tool_choice: 'auto',
  tools: [],
  top_p: 1,
  usage: {
    input_tokens: 5,
    input_tokens_details: { cached_tokens: 0, cache_write_tokens: 0 },
    output_tokens: 3,
    output_tokens_details: { reasoning_tokens: 0 },
    total_tokens: 8,
  },
};
const part = { item_id: 'msg_1', output_index: 0, content_index: 0 };
const events: readonly Body[] = [
  { type: 'response.created', response: { ...response, status: 'in_progress', output: [], usage: undefined } },
  { type: 'response.output_item.added', output_index: 0, item: { ...outputMessage, status: 'in_progress' } },
  { type: 'response.content_part.added', ...part, part: { ...outputText, text: '' } },
  { type: 'response.output_text.delta', ...part, delta: 'h', logprobs: [] },
  { type: 'response.output_text.done', ...part, text: 'hello', logprobs: [] },
  { type: 'response.function_call_arguments.delta', item_id: 'fc_1', output_index: 0, delta: '{' },
  { type: 'response.function_call_arguments.done', item_id: 'fc_1', name: 'f', output_index: 0, arguments: '{}' },
  { type: 'response.output_item.done', output_index: 0, item: functionCall },
  { type: 'response.completed', response },
  { type: 'error', code: null, message: 'gone', param: null },
].map((event, sequence_number) => ({ ...event, sequence_number }));

/** Examples that break the schema they illustrate: properties that later versions require, or that are null. */
const BROKEN_EXAMPLES: Readonly<Record<string, number>> = { '/chat/completions': 2, '/responses': 7 };

describeVectors('openai-openapi', (folder) => {
  const document = openOpenAIDocument(join(folder, 'openapi.json'));
  const fails = (check: () => void, message?: RegExp) => {
    expect(check).toThrow(DocumentMismatch);
    if (message !== undefined) expect(check).toThrow(message);
  };

  describe('its own examples', () => {
    const passes = (path: string, body: unknown) => {
      try {
        document.validateResponse(path, 'POST', 200, body);
        return true;
      } catch (fault) {
        if (fault instanceof DocumentMismatch) return false;
        throw fault;
      }
    };

    it.each(['/chat/completions', '/responses', '/completions'])(
      'of %s pass, but for those known to be old',
      (path) => {
        const examples = document.responseExamples(path, 'post');
        expect(examples.length).toBeGreaterThan(0);
        const broken = examples.filter(({ body }) => !passes(path, body));
        expect(broken.length).toBe(BROKEN_EXAMPLES[path] ?? 0);
      },
    );

    it('of schemas pass', () => {
      for (const name of ['CreateChatCompletionResponse', 'CreateCompletionResponse', 'Model']) {
        const example = document.schemaExample(name);
        expect(example).toBeTypeOf('object');
        document.validateAs(name, example);
      }
    });

    it('of events pass, where they are whole', () => {
      const whole = [...document.eventSchemas.values()].filter((name) => {
        const example = document.schemaExample(name);
        try {
          document.validateAs(name, example);
          return true;
        } catch {
          return false;
        }
      });
      expect(document.eventSchemas.size).toBeGreaterThan(50);
      expect(whole.length).toBeGreaterThan(34);
    });
  });

  const whole: [string, string, Body][] = [
    ['/v1/chat/completions', 'POST', chat],
    ['/v1/chat/completions', 'post', { ...chat, tracebond: { receipt: {} } }],
    [
      '/chat/completions',
      'POST',
      {
        ...chat,
        choices: [{ ...choice, finish_reason: 'tool_calls', message: { ...message, tool_calls: [toolCall] } }],
      },
    ],
    ['/v1/completions', 'POST', { ...text, tracebond: { receipt: {} } }],
    ['/v1/responses', 'POST', { ...response, tracebond: { receipt: {} } }],
    ['/v1/embeddings', 'POST', embeddings],
    ['/v1/models', 'GET', { object: 'list', data: [{ id: 'm', object: 'model', created: 0, owned_by: 'us' }] }],
    ['/v1/models/some-model', 'GET', { id: 'some-model', object: 'model', created: 0, owned_by: 'us' }],
  ];
  it.each(whole)('a whole answer of %s (%s) passes', (path, method, body) => {
    document.validateResponse(path, method, 200, body);
  });

  const brokenWhole: [string, string, Body][] = [
    ['no id', '/chat/completions', { ...chat, id: undefined }],
    ['another object', '/chat/completions', { ...chat, object: 'chat.completion.chunk' }],
    ['created as text', '/chat/completions', { ...chat, created: '2026' }],
    ['created before 1970', '/chat/completions', { ...chat, created: -1 }],
    ['null fingerprint', '/chat/completions', { ...chat, system_fingerprint: null }],
    ['null usage', '/chat/completions', { ...chat, usage: null }],
    ['usage without a total', '/chat/completions', { ...chat, usage: { ...usage, total_tokens: undefined } }],
    ['tokens in part', '/chat/completions', { ...chat, usage: { ...usage, total_tokens: 0.5 } }],
    ['unknown finish', '/chat/completions', { ...chat, choices: [{ ...choice, finish_reason: 'choice' }] }],
    ['no finish', '/chat/completions', { ...chat, choices: [{ ...choice, finish_reason: null }] }],
    ['no logprobs', '/chat/completions', { ...chat, choices: [{ ...choice, logprobs: undefined }] }],
    [
      'no refusal',
      '/chat/completions',
      { ...chat, choices: [{ ...choice, message: { ...message, refusal: undefined } }] },
    ],
    ['role user', '/chat/completions', { ...chat, choices: [{ ...choice, message: { ...message, role: 'user' } }] }],
    [
      'arguments as an object',
      '/chat/completions',
      {
        ...chat,
        choices: [
          {
            ...choice,
            message: { ...message, tool_calls: [{ ...toolCall, function: { name: 'f', arguments: {} } }] },
          },
        ],
      },
    ],
    ['text finished by null', '/completions', { ...text, choices: [{ ...text.choices[0], finish_reason: null }] }],
    ['no text', '/completions', { ...text, choices: [{ ...text.choices[0], text: undefined }] }],
    ['unknown status', '/responses', { ...response, status: 'done' }],
    ['no output', '/responses', { ...response, output: undefined }],
    ['null user', '/responses', { ...response, user: null }],
    ['output of an unknown type', '/responses', { ...response, output: [{ ...outputMessage, type: 'text' }] }],
    ['output without a type', '/responses', { ...response, output: [{ id: 'msg_1' }] }],
    ['call without a name', '/responses', { ...response, output: [{ ...functionCall, name: undefined }] }],
    [
      'text without logprobs',
      '/responses',
      { ...response, output: [{ ...outputMessage, content: [{ ...outputText, logprobs: undefined }] }] },
    ],
    [
      'text without annotations',
      '/responses',
      { ...response, output: [{ ...outputMessage, content: [{ ...outputText, annotations: undefined }] }] },
    ],
    ['too warm', '/responses', { ...response, temperature: 3 }],
    ['embedding of texts', '/embeddings', { ...embeddings, data: [{ ...embeddings.data[0], embedding: ['a'] }] }],
    ['embedding in half', '/embeddings', { ...embeddings, data: [{ ...embeddings.data[0], embedding: 'AAA=' }] }],
    ['embedding of nothing', '/embeddings', { ...embeddings, data: [{ ...embeddings.data[0], embedding: '' }] }],
    ['no index', '/embeddings', { ...embeddings, data: [{ ...embeddings.data[0], index: undefined }] }],
  ];
  it.each(brokenWhole)('%s fails for %s', (_, path, body) => {
    fails(() => document.validateResponse(path, 'POST', 200, JSON.parse(JSON.stringify(body))));
  });

  it('names what is wrong, and only the member of the union that is meant', () => {
    const body = { ...response, output: [{ ...functionCall, name: 7 }] };
    fails(() => document.validateResponse('/responses', 'POST', 200, body), /\/output\/0\/name must be string/);
    expect(() => document.validateResponse('/responses', 'POST', 200, body)).not.toThrow(/content/);
  });

  const chunks: [ChunkKind, Body][] = [
    ['chat', chatChunk],
    ['chat', { ...chatChunk, choices: [], usage, tracebond: { receipt: {} } }],
    ['chat', { ...chatChunk, choices: [{ index: 0, delta: {}, finish_reason: 'stop' }] }],
    ['chat', { error }],
    ['completions', textChunk],
    ['completions', { ...textHead, choices: [], usage }],
    ['completions', { error }],
    ...events.map((event): [ChunkKind, Body] => ['responses', event]),
  ];
  it.each(chunks)('a chunk of %s passes: %o', (kind, chunk) => {
    document.validateChunk(kind, JSON.parse(JSON.stringify(chunk)));
  });

  const brokenChunks: [string, ChunkKind, Body][] = [
    ['object of a whole answer', 'chat', { ...chatChunk, object: 'chat.completion' }],
    ['no delta', 'chat', { ...chatChunk, choices: [{ index: 0, finish_reason: null }] }],
    ['no finish', 'chat', { ...chatChunk, choices: [{ index: 0, delta: {} }] }],
    ['unknown finish', 'chat', { ...chatChunk, choices: [{ index: 0, delta: {}, finish_reason: 'end' }] }],
    [
      'call without an index',
      'chat',
      { ...chatChunk, choices: [{ index: 0, delta: { tool_calls: [toolCall] }, finish_reason: null }] },
    ],
    ['no choices', 'chat', { ...chatChunk, choices: undefined }],
    ['half an error', 'chat', { error: { message: 'gone' } }],
    ['no text', 'completions', { ...textChunk, choices: [{ ...textChunk.choices[0], text: undefined }] }],
    ['unknown finish', 'completions', { ...textChunk, choices: [{ ...textChunk.choices[0], finish_reason: 'end' }] }],
    ['unknown type', 'responses', { type: 'response.finished', sequence_number: 1 }],
    ['no type', 'responses', { sequence_number: 1 }],
    ['bare error', 'responses', { error }],
    ...events.map((event): [string, ChunkKind, Body] => [
      `${String(event['type'])} without a number`,
      'responses',
      { ...event, sequence_number: undefined },
    ]),
  ];
  it.each(brokenChunks)('%s fails in a chunk of %s', (_, kind, chunk) => {
    fails(() => document.validateChunk(kind, JSON.parse(JSON.stringify(chunk))));
  });

  it('takes errors of any path for errors', () => {
    document.validateResponse('/v1/chat/completions', 'POST', 400, { error });
    document.validateResponse('/v1/anything', 'POST', 404, { error: { ...error, param: null, code: null } });
    document.validateError({ error });
    fails(() => document.validateResponse('/v1/chat/completions', 'POST', 400, chat));
    fails(() => document.validateError({ error: { ...error, param: undefined } }), /param/);
    fails(() => document.validateError({ error: { ...error, code: 404 } }), /code/);
    fails(() => document.validateError({ error: 'no such model' }));
    fails(() => document.validateError(error));
  });

  it('knows no other paths, methods and statuses', () => {
    fails(() => document.validateResponse('/v1/complete', 'POST', 200, chat), /no path \/complete/);
    fails(() => document.validateResponse('/v1/chat/completions', 'PUT', 200, chat), /no PUT/);
    fails(() => document.validateResponse('/v1/chat/completions', 'POST', 201, chat), /no response 201/);
  });

  it('lets other properties be, wherever answers carry ours', () => {
    for (const name of [
      'CreateChatCompletionResponse',
      'CreateChatCompletionStreamResponse',
      'CreateCompletionResponse',
      'Model',
    ]) {
      const example = {
        CreateChatCompletionResponse: chat,
        CreateChatCompletionStreamResponse: chatChunk,
        CreateCompletionResponse: text,
        Model: { id: 'm', object: 'model', created: 0, owned_by: 'us' },
      }[name];
      document.validateAs(name, { ...example, tracebond: { receipt: { any: ['thing'] } } });
    }
  });
});

describe('base64 embeddings', () => {
  it('are binary32, little-endian', () => {
    expect(decodeFloats(Buffer.from(new Float32Array([0.5, -1]).buffer).toString('base64'))).toEqual([0.5, -1]);
  });

  it.each(['', 'AAAA', 'AAAAAA', 'AAAAAA=', '****', 'AAAA AA=='])('%j is none', (base64) => {
    expect(() => decodeFloats(base64)).toThrow(DocumentMismatch);
  });
});
