import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { utf8 } from '../../../attest/core/bytes.ts';
import { type LosslessJson, parseLosslessJson } from '../../../attest/encoding/canonical-json.ts';
import { NO_PLACE } from '../../../attest/sign/receipt.ts';
import { chatRequestSchema, parseChatRequest } from '../../../inference/api/chat-request.ts';
import { narrow } from '../../../inference/api/json-body.ts';
import { ApiError } from '../../../inference/api-errors.ts';
import { InferenceError } from '../../../inference/errors.ts';

type Fields = { readonly [field: string]: LosslessJson };
const user = { role: 'user', content: 'hello' };
const GOOD: Fields = { model: 'm', messages: [user] };
const run = `0x${'a'.repeat(64)}`;

/** Through JSON, as a body comes. */
function read(body: LosslessJson) {
  return parseChatRequest(narrow(parseLosslessJson(utf8(JSON.stringify(body)))));
}

type Row = readonly [string, LosslessJson, ApiError['code'], string | null];
const withMessage = (message: LosslessJson): Fields => ({ ...GOOD, messages: [user, message] });
const withFormat = (format: LosslessJson): Fields => ({ ...GOOD, response_format: format });
const withPlace = (place: LosslessJson): Fields => ({ ...GOOD, tracebond: place });

const withTools = (fields: Fields): Fields => ({ ...GOOD, tools: [TOOL], ...fields });
const schema = { type: 'object', properties: { b: { type: 'string' }, a: { type: 'integer' } }, required: ['b', 'a'] };
const TOOL = { type: 'function', function: { name: 'look', description: 'Looks.', parameters: schema } };
const called = (id: string) => ({
  role: 'assistant',
  content: null,
  tool_calls: [{ id, type: 'function', function: { name: 'look', arguments: '{}' } }],
});

/** Fields that decide nothing here, each with a value that is taken. */
const NEUTRAL: Fields = {
  audio: null,
  frequency_penalty: 0,
  logit_bias: {},
  logprobs: false,
  metadata: { a: 'b' },
  modalities: ['text'],
  moderation: null,
  n: 1,
  parallel_tool_calls: false,
  prediction: null,
  presence_penalty: 0,
  prompt_cache_key: 'x',
  prompt_cache_retention: null,
  reasoning_effort: 'none',
  response_format: { type: 'text' },
  safety_identifier: 'x',
  seed: 0,
  service_tier: 'auto',
  stop: [],
  store: false,
  stream: false,
  stream_options: null,
  temperature: 0,
  tool_choice: 'auto',
  tools: [],
  top_k: 0,
  top_logprobs: 0,
  top_p: 1,
  user: 'x',
  verbosity: null,
};

/** The same fields with values of OpenAI's that would change something. */
const UNSUPPORTED: readonly (readonly [string, LosslessJson, string?])[] = [
  ['audio', { voice: 'alloy', format: 'mp3' }],
  ['frequency_penalty', 0.5],
  ['logit_bias', { '50256': -100 }],
  ['modalities', ['text', 'audio']],
  ['modalities', ['audio'], 'modalities[0]'],
  ['moderation', { model: 'x' }],
  ['n', 2],
  ['prediction', { type: 'content', content: 'x' }],
  ['presence_penalty', -1],
  ['prompt_cache_retention', '24h'],
  ['reasoning_effort', 'high'],
  ['service_tier', 'flex'],
  ['store', true],
  ['verbosity', 'low'],
];

const PART = 'messages[1].content[0].type';
const withName = (name: string): Fields => ({ ...GOOD, tools: [{ type: 'function', function: { name } }] });
/** An object of so many levels. */
const nested = (levels: number): { [key: string]: LosslessJson } => (levels === 1 ? {} : { not: nested(levels - 1) });

const refused: readonly Row[] = [
  ['null', null, 'INVALID_TYPE', null],
  ['a text', 'hello', 'INVALID_TYPE', null],
  ['a number', 1, 'INVALID_TYPE', null],
  ['an array', [GOOD], 'INVALID_TYPE', null],
  ['nothing', {}, 'MISSING_PARAMETER', 'model'],
  ['no model', { messages: [user] }, 'MISSING_PARAMETER', 'model'],
  ['an empty model', { ...GOOD, model: '' }, 'INVALID_VALUE', 'model'],
  ['a model that is a number', { ...GOOD, model: 1 }, 'INVALID_TYPE', 'model'],
  ['no messages', { model: 'm' }, 'MISSING_PARAMETER', 'messages'],
  ['empty messages', { ...GOOD, messages: [] }, 'INVALID_VALUE', 'messages'],
  ['messages as a text', { ...GOOD, messages: 'hello' }, 'INVALID_TYPE', 'messages'],
  ['1,025 messages', { ...GOOD, messages: Array.from({ length: 1025 }, () => user) }, 'INVALID_VALUE', 'messages'],
  ['a message that is a text', withMessage('x'), 'INVALID_TYPE', 'messages[1]'],
  ['no role', withMessage({ content: 'x' }), 'MISSING_PARAMETER', 'messages[1].role'],
  ['an unknown role', withMessage({ role: 'root', content: 'x' }), 'INVALID_VALUE', 'messages[1].role'],
  [
    'role function',
    withMessage({ role: 'function', content: 'x', name: 'f' }),
    'UNSUPPORTED_VALUE',
    'messages[1].role',
  ],
  ['no content', withMessage({ role: 'user' }), 'MISSING_PARAMETER', 'messages[1].content'],
  ['numeric content', withMessage({ role: 'user', content: 1 }), 'INVALID_TYPE', 'messages[1].content'],
  ['no parts', withMessage({ role: 'user', content: [] }), 'INVALID_VALUE', 'messages[1].content'],
  [
    'an image',
    withMessage({ role: 'user', content: [{ type: 'image_url', image_url: { url: 'x' } }] }),
    'UNSUPPORTED_VALUE',
    'messages[1].content[0].type',
  ],
  [
    'a part without text',
    withMessage({ role: 'user', content: [{ type: 'text' }] }),
    'MISSING_PARAMETER',
    'messages[1].content[0].text',
  ],
  [
    'a part with more',
    withMessage({ role: 'user', content: [{ type: 'text', text: 'x', cache: 1 }] }),
    'UNKNOWN_PARAMETER',
    'messages[1].content[0].cache',
  ],
  ['an empty name', withMessage({ ...user, name: '' }), 'INVALID_VALUE', 'messages[1].name'],
  ['a long name', withMessage({ ...user, name: 'x'.repeat(65) }), 'INVALID_VALUE', 'messages[1].name'],
  ['an unknown field of a message', withMessage({ ...user, mood: 'good' }), 'UNKNOWN_PARAMETER', 'messages[1].mood'],
  ['a refusal by the user', withMessage({ ...user, refusal: null }), 'UNKNOWN_PARAMETER', 'messages[1].refusal'],
  ['temperature as a text', { ...GOOD, temperature: '0' }, 'INVALID_TYPE', 'temperature'],
  ['stream as a text', { ...GOOD, stream: 'false' }, 'INVALID_TYPE', 'stream'],
  ['seed -1', { ...GOOD, seed: -1 }, 'INVALID_VALUE', 'seed'],
  ['seed 0.5', { ...GOOD, seed: 0.5 }, 'INVALID_TYPE', 'seed'],
  ['seed as a word', { ...GOOD, seed: 'x' }, 'INVALID_VALUE', 'seed'],
  ['seed with a zero before', { ...GOOD, seed: '01' }, 'INVALID_VALUE', 'seed'],
  ['seed 2^64', { ...GOOD, seed: '18446744073709551616' }, 'INVALID_VALUE', 'seed'],
  ['seed true', { ...GOOD, seed: true }, 'INVALID_TYPE', 'seed'],
  ['max_tokens 0', { ...GOOD, max_tokens: 0 }, 'INVALID_VALUE', 'max_tokens'],
  ['max_tokens 1.5', { ...GOOD, max_tokens: 1.5 }, 'INVALID_TYPE', 'max_tokens'],
  ['max_tokens as a text', { ...GOOD, max_tokens: '5' }, 'INVALID_TYPE', 'max_tokens'],
  ['max_tokens beyond all', { ...GOOD, max_tokens: 2 ** 31 + 1 }, 'INVALID_VALUE', 'max_tokens'],
  ['two limits', { ...GOOD, max_tokens: 5, max_completion_tokens: 6 }, 'INVALID_VALUE', 'max_tokens'],
  ['an empty stop', { ...GOOD, stop: '' }, 'INVALID_VALUE', 'stop'],
  ['an empty stop among others', { ...GOOD, stop: ['a', ''] }, 'INVALID_VALUE', 'stop[1]'],
  ['five stops', { ...GOOD, stop: ['a', 'b', 'c', 'd', 'e'] }, 'INVALID_VALUE', 'stop'],
  ['a numeric stop', { ...GOOD, stop: 1 }, 'INVALID_TYPE', 'stop'],
  ['a format as a text', withFormat('text'), 'INVALID_TYPE', 'response_format'],
  ['a format without type', withFormat({}), 'MISSING_PARAMETER', 'response_format.type'],
  ['an unknown format', withFormat({ type: 'xml' }), 'INVALID_VALUE', 'response_format.type'],
  ['choice without choices', withFormat({ type: 'choice' }), 'MISSING_PARAMETER', 'response_format.choices'],
  ['no choices', withFormat({ type: 'choice', choices: [] }), 'INVALID_VALUE', 'response_format.choices'],
  [
    'an empty choice',
    withFormat({ type: 'choice', choices: ['a', ''] }),
    'INVALID_VALUE',
    'response_format.choices[1]',
  ],
  ['a choice twice', withFormat({ type: 'choice', choices: ['a', 'a'] }), 'INVALID_VALUE', 'response_format.choices'],
  [
    '257 choices',
    withFormat({ type: 'choice', choices: Array.from({ length: 257 }, (_, i) => `${i}`) }),
    'INVALID_VALUE',
    'response_format.choices',
  ],
  ['choices of a text', withFormat({ type: 'text', choices: ['a'] }), 'UNKNOWN_PARAMETER', 'response_format.choices'],
  ['stop and a choice', { ...withFormat({ type: 'choice', choices: ['a'] }), stop: 'x' }, 'INVALID_VALUE', 'stop'],
  ['best_of', { ...GOOD, best_of: 1 }, 'UNKNOWN_PARAMETER', 'best_of'],
  ['functions', { ...GOOD, functions: [] }, 'UNSUPPORTED_PARAMETER', 'functions'],
  ['function_call', { ...GOOD, function_call: 'none' }, 'UNSUPPORTED_PARAMETER', 'function_call'],
  ['web_search_options', { ...GOOD, web_search_options: {} }, 'UNSUPPORTED_PARAMETER', 'web_search_options'],
  ...UNSUPPORTED.map(([name, value, param = name]): Row => {
    return [`${name} ${JSON.stringify(value)}`, { ...GOOD, [name]: value }, 'UNSUPPORTED_VALUE', param];
  }),
  ['null content', withMessage({ role: 'user', content: null }), 'INVALID_TYPE', 'messages[1].content'],
  ['a silent assistant', withMessage({ role: 'assistant' }), 'MISSING_PARAMETER', 'messages[1].content'],
  [
    'an assistant of null',
    withMessage({ role: 'assistant', content: null, tool_calls: [] }),
    'MISSING_PARAMETER',
    'messages[1].content',
  ],
  [
    'content and a refusal',
    withMessage({ role: 'assistant', content: 'x', refusal: 'no' }),
    'INVALID_VALUE',
    'messages[1].refusal',
  ],
  ['a file', withMessage({ role: 'user', content: [{ type: 'file', file: {} }] }), 'UNSUPPORTED_VALUE', PART],
  ['audio in', withMessage({ role: 'user', content: [{ type: 'input_audio' }] }), 'UNSUPPORTED_VALUE', PART],
  ['a refusal of a user', withMessage({ role: 'user', content: [{ type: 'refusal' }] }), 'UNSUPPORTED_VALUE', PART],
  [
    'an image by an assistant',
    withMessage({ role: 'assistant', content: [{ type: 'image_url' }] }),
    'UNSUPPORTED_VALUE',
    PART,
  ],
  ['calls of a user', withMessage({ ...user, tool_calls: [] }), 'UNKNOWN_PARAMETER', 'messages[1].tool_calls'],
  [
    'a custom call',
    withMessage({ role: 'assistant', tool_calls: [{ id: 'c', type: 'custom', custom: {} }] }),
    'UNSUPPORTED_VALUE',
    'messages[1].tool_calls[0].type',
  ],
  [
    'a call without arguments',
    withMessage({ role: 'assistant', tool_calls: [{ id: 'c', type: 'function', function: { name: 'f' } }] }),
    'MISSING_PARAMETER',
    'messages[1].tool_calls[0].function.arguments',
  ],
  [
    'a call of what is no name',
    withMessage({
      role: 'assistant',
      tool_calls: [{ id: 'c', type: 'function', function: { name: '"', arguments: '' } }],
    }),
    'INVALID_VALUE',
    'messages[1].tool_calls[0].function.name',
  ],
  [
    'a result of no call',
    withMessage({ role: 'tool', content: 'x', tool_call_id: 'c' }),
    'INVALID_VALUE',
    'messages[1].tool_call_id',
  ],
  [
    'a result before its call',
    { ...GOOD, messages: [{ role: 'tool', content: 'x', tool_call_id: 'c' }, called('c')] },
    'INVALID_VALUE',
    'messages[0].tool_call_id',
  ],
  ['temperature 2.1', { ...GOOD, temperature: 2.1 }, 'INVALID_VALUE', 'temperature'],
  ['temperature -1', { ...GOOD, temperature: -1 }, 'INVALID_VALUE', 'temperature'],
  ['top_p 0', { ...GOOD, top_p: 0 }, 'INVALID_VALUE', 'top_p'],
  ['top_p 1.1', { ...GOOD, top_p: 1.1 }, 'INVALID_VALUE', 'top_p'],
  ['top_k 1.5', { ...GOOD, top_k: 1.5 }, 'INVALID_TYPE', 'top_k'],
  ['top_k of a million and one', { ...GOOD, top_k: 1_000_001 }, 'INVALID_VALUE', 'top_k'],
  ['top_logprobs 21', { ...GOOD, logprobs: true, top_logprobs: 21 }, 'INVALID_VALUE', 'top_logprobs'],
  ['top_logprobs alone', { ...GOOD, top_logprobs: 2 }, 'INVALID_VALUE', 'top_logprobs'],
  ['stream_options alone', { ...GOOD, stream_options: { include_usage: true } }, 'INVALID_VALUE', 'stream_options'],
  [
    'obfuscation',
    { ...GOOD, stream: true, stream_options: { include_obfuscation: true } },
    'UNSUPPORTED_VALUE',
    'stream_options.include_obfuscation',
  ],
  [
    '17 labels',
    { ...GOOD, metadata: Object.fromEntries(Array.from({ length: 17 }, (_, i) => [`${i}`, ''])) },
    'INVALID_VALUE',
    'metadata',
  ],
  ['a label that is a number', { ...GOOD, metadata: { a: 1 } }, 'INVALID_TYPE', 'metadata.a'],
  [
    'a custom tool',
    { ...GOOD, tools: [{ type: 'custom', custom: { name: 'x' } }] },
    'UNSUPPORTED_VALUE',
    'tools[0].type',
  ],
  ['a tool without a function', { ...GOOD, tools: [{ type: 'function' }] }, 'MISSING_PARAMETER', 'tools[0].function'],
  ['a tool with a space', withName('a b'), 'INVALID_VALUE', 'tools[0].function.name'],
  [
    'a tool without a name',
    { ...GOOD, tools: [{ type: 'function', function: {} }] },
    'MISSING_PARAMETER',
    'tools[0].function.name',
  ],
  [
    'parameters as a list',
    { ...GOOD, tools: [{ type: 'function', function: { name: 'f', parameters: [] } }] },
    'INVALID_TYPE',
    'tools[0].function.parameters',
  ],
  [
    'parameters of half a million characters',
    {
      ...GOOD,
      tools: [{ type: 'function', function: { name: 'f', parameters: { description: 'x'.repeat(1 << 19) } } }],
    },
    'INVALID_VALUE',
    'tools[0].function.parameters',
  ],
  [
    'parameters of 65 levels',
    { ...GOOD, tools: [{ type: 'function', function: { name: 'f', parameters: nested(65) } }] },
    'INVALID_VALUE',
    'tools[0].function.parameters',
  ],
  ['a tool twice', withTools({ tools: [TOOL, TOOL] }), 'INVALID_VALUE', 'tools[1]'],
  ['129 tools', { ...GOOD, tools: Array.from({ length: 129 }, () => TOOL) }, 'INVALID_VALUE', 'tools'],
  ['a required tool of none', { ...GOOD, tool_choice: 'required' }, 'INVALID_VALUE', 'tool_choice'],
  ['an unknown choice', withTools({ tool_choice: 'any' }), 'INVALID_VALUE', 'tool_choice'],
  [
    'a choice of no tool',
    withTools({ tool_choice: { type: 'function', function: { name: 'x' } } }),
    'INVALID_VALUE',
    'tool_choice',
  ],
  [
    'a custom choice',
    withTools({ tool_choice: { type: 'custom', custom: {} } }),
    'UNSUPPORTED_VALUE',
    'tool_choice.type',
  ],
  ['stop and tools', withTools({ stop: 'x' }), 'INVALID_VALUE', 'stop'],
  ['stop and JSON', { ...withFormat({ type: 'json_object' }), stop: 'x' }, 'INVALID_VALUE', 'stop'],
  [
    'a choice and tools',
    withTools({ response_format: { type: 'choice', choices: ['a'] } }),
    'INVALID_VALUE',
    'response_format',
  ],
  ['json_schema alone', withFormat({ type: 'json_schema' }), 'MISSING_PARAMETER', 'response_format.json_schema'],
  [
    'json_schema without a schema',
    withFormat({ type: 'json_schema', json_schema: { name: 'x' } }),
    'MISSING_PARAMETER',
    'response_format.json_schema.schema',
  ],
  [
    'json_schema without a name',
    withFormat({ type: 'json_schema', json_schema: { schema } }),
    'MISSING_PARAMETER',
    'response_format.json_schema.name',
  ],
  [
    'a schema of 65 levels',
    withFormat({ type: 'json_schema', json_schema: { name: 'x', schema: nested(65) } }),
    'INVALID_VALUE',
    'response_format.json_schema.schema',
  ],
  ['a grammar', withFormat({ type: 'grammar', grammar: '' }), 'UNSUPPORTED_VALUE', 'response_format.type'],
  ['a place as a text', withPlace('x'), 'INVALID_TYPE', 'tracebond'],
  ['a place of null', withPlace(null), 'INVALID_TYPE', 'tracebond'],
  ['an unknown field of the place', withPlace({ user: 'x' }), 'UNKNOWN_PARAMETER', 'tracebond.user'],
  ['a run alone', withPlace({ run }), 'INVALID_VALUE', 'tracebond'],
  ['an index alone', withPlace({ index: '1' }), 'INVALID_VALUE', 'tracebond'],
  ['a short run', withPlace({ run: '0xaa', index: '1', runSeed: run }), 'INVALID_VALUE', 'tracebond.run'],
  [
    'an upper-case run',
    withPlace({ run: run.toUpperCase(), index: '1', runSeed: run }),
    'INVALID_VALUE',
    'tracebond.run',
  ],
  ['an index as a number', withPlace({ run, index: 1, runSeed: run }), 'INVALID_TYPE', 'tracebond.index'],
  [
    'an index of 2^64',
    withPlace({ run, index: '18446744073709551616', runSeed: run }),
    'INVALID_VALUE',
    'tracebond.index',
  ],
  ['a chain that is a name', withPlace({ chainId: 'mainnet' }), 'INVALID_VALUE', 'tracebond.chainId'],
  ['a chain of a million digits', withPlace({ chainId: '9'.repeat(1e6) }), 'INVALID_VALUE', 'tracebond.chainId'],
  ['a contract that is too long', withPlace({ contract: run }), 'INVALID_VALUE', 'tracebond.contract'],
  ['a model digest that is a name', withPlace({ model: 'm' }), 'INVALID_VALUE', 'tracebond.model'],
];

describe('parseChatRequest refuses', () => {
  it.each(refused)('%s', (_, body, code, param) => {
    try {
      read(body);
    } catch (error) {
      expect(error).toBeInstanceOf(ApiError);
      expect({ code: (error as ApiError).code, param: (error as ApiError).at['param'] }).toEqual({ code, param });
      if (param !== null) expect((error as ApiError).message).toContain(param);
      expect((error as ApiError).message.length).toBeLessThan(1000);
      return;
    }
    expect.unreachable();
  });

  it('anything else with an ApiError only', () => {
    const field = fc.constantFrom(
      'model',
      'messages',
      'seed',
      'stop',
      'tracebond',
      'response_format',
      'tools',
      'tool_choice',
      'temperature',
      '__proto__',
      'n',
    );
    fc.assert(
      fc.property(fc.dictionary(field, fc.jsonValue()), (changes) => {
        try {
          read({ ...GOOD, ...changes } as LosslessJson);
        } catch (error) {
          // Of a sampling that is too fine.
          if (!(error instanceof InferenceError && error.code === 'SAMPLING_REFUSED'))
            expect(error).toBeInstanceOf(ApiError);
        }
      }),
      { numRuns: 500 },
    );
  });
});

describe('parseChatRequest takes', () => {
  const plain = { name: null, toolCalls: [], toolCallId: null };

  it('the least', () => {
    const { asked, ...rest } = read(GOOD);
    expect(asked).toEqual({
      model: 'm',
      pinned: {},
      place: { run: NO_PLACE.run, index: 0n, runSeed: NO_PLACE.runSeed },
      request: {
        messages: [{ role: 'user', content: 'hello', ...plain }],
        prompt: null,
        tools: [],
        toolChoice: { type: 'none' },
        parallelToolCalls: false,
        responseFormat: { type: 'text' },
        sampling: { temperature: 0, topP: 10000, topK: 0 },
        seed: '0',
        stop: [],
        maxTokens: 256,
      },
      logprobs: null,
    });
    expect(rest).toMatchObject({ isStream: false, includeUsage: false });
  });

  it.each(Object.entries(NEUTRAL))('%s as clients send it, and null, as nothing', (name, value) => {
    expect(read({ ...GOOD, [name]: value }).asked).toEqual(read(GOOD).asked);
    expect(read({ ...GOOD, [name]: null }).asked).toEqual(read(GOOD).asked);
  });

  it('every way to say the same as the same', () => {
    const all: readonly Fields[] = [
      { ...GOOD, ...NEUTRAL },
      { ...GOOD, max_tokens: 256 },
      { ...GOOD, max_completion_tokens: 256, max_tokens: 256 },
      withMessages({
        role: 'user',
        content: [
          { type: 'text', text: 'hel' },
          { type: 'text', text: 'lo' },
        ],
      }),
      { ...GOOD, seed: '0', tracebond: {} },
      { ...GOOD, tool_choice: 'none', parallel_tool_calls: true },
    ];
    for (const body of all) expect(read(body).asked).toEqual(read(GOOD).asked);
  });

  it('a developer as the system', () => {
    const of = (role: string) => read(withMessages({ role, content: 'x' })).asked.request.messages;
    expect(of('developer')).toEqual(of('system'));
  });

  it('a seed of 64 bits, as a number or a text, exactly', () => {
    const body = (seed: string) =>
      narrow(parseLosslessJson(utf8(`{"model":"m","messages":[{"role":"user","content":""}],"seed":${seed}}`)));
    for (const seed of ['9007199254740993', '18446744073709551615', '"18446744073709551615"', '7']) {
      expect(parseChatRequest(body(seed)).asked.request.seed).toBe(seed.replaceAll('"', ''));
    }
    for (const seed of ['18446744073709551616', '-9007199254740993', '-1', '9007199254740993.5', '1e400'.slice(0, 4)]) {
      expect(() => parseChatRequest(body(seed))).toThrow(ApiError);
    }
  });

  it('sampling, to the nearest 1/10,000', () => {
    const sampling = (more: object) => read({ ...GOOD, ...more }).asked.request.sampling;
    expect(sampling({ temperature: 0.7, top_p: 0.95, top_k: 40 })).toEqual({
      temperature: 7000,
      topP: 9500,
      topK: 40,
    });
    expect(sampling({ temperature: 0.1 + 0.2, top_p: 1 / 3 })).toEqual({ temperature: 3000, topP: 3333, topK: 0 });
    expect(sampling({ temperature: 1e-7, top_p: 0.99999 })).toEqual({ temperature: 0, topP: 10_000, topK: 0 });
    expect(sampling({ temperature: 1.99996 })).toMatchObject({ temperature: 20_000 });
  });

  it('calls and their results', () => {
    const { messages } = read({
      ...GOOD,
      messages: [
        user,
        { ...called('c1'), refusal: null, annotations: [], audio: null, parsed: { a: 1 } },
        { role: 'tool', tool_call_id: 'c1', content: [{ type: 'text', text: 'seen' }] },
        { role: 'tool', content: 'unnamed', name: 'look' },
      ],
    }).asked.request;
    expect(messages.slice(1)).toEqual([
      { role: 'assistant', content: '', ...plain, toolCalls: [{ id: 'c1', name: 'look', arguments: '{}' }] },
      { role: 'tool', content: 'seen', ...plain, toolCallId: 'c1' },
      { role: 'tool', content: 'unnamed', ...plain, name: 'look' },
    ]);
  });

  it('a refusal as a text', () => {
    const said = (message: LosslessJson) => read(withMessages(message)).asked.request.messages[0]?.content;
    expect(said({ role: 'assistant', content: null, refusal: 'no' })).toBe('no');
    expect(said({ role: 'assistant', content: [{ type: 'refusal', refusal: 'no' }] })).toBe('no');
    expect(said({ role: 'assistant', content: '' })).toBe('');
  });

  it('schemas in the order in which they are written', () => {
    const { tools, toolChoice, parallelToolCalls, maxTokens } = read(withTools({})).asked.request;
    expect(tools).toEqual([{ name: 'look', description: 'Looks.', parameters: JSON.stringify(schema) }]);
    expect([toolChoice, parallelToolCalls, maxTokens]).toEqual([{ type: 'auto' }, true, 1024]);
    const json = { type: 'json_schema', json_schema: { name: 'x', strict: true, schema } };
    const { responseFormat } = read(withFormat(json)).asked.request;
    expect(responseFormat).toEqual({ type: 'json_schema', schema: JSON.stringify(schema) });
  });

  it('names in schemas that look like prototypes, and integers beyond 2^53', () => {
    const text = '{"type":"object","properties":{"__proto__":{"maximum":18446744073709551615},"constructor":{}}}';
    const body = `{"model":"m","messages":[{"role":"user","content":""}],"response_format":{"type":"json_schema","json_schema":{"name":"x","schema":${text}}}}`;
    const { responseFormat } = parseChatRequest(narrow(parseLosslessJson(utf8(body)))).asked.request;
    expect(responseFormat).toEqual({
      type: 'json_schema',
      schema: text.replace('18446744073709551615', '18446744073709552000'),
    });
  });

  it('a function that says nothing of its arguments as one without any', () => {
    const none = '{"type":"object","properties":{},"additionalProperties":false}';
    for (const more of [{}, { parameters: null, description: null, strict: null }, { strict: true }]) {
      const tools = [{ type: 'function', function: { name: 'f', ...more } }];
      expect(read({ ...GOOD, tools }).asked.request.tools).toEqual([
        { name: 'f', description: null, parameters: none },
      ]);
    }
  });

  it('every choice of tools', () => {
    const other = { type: 'function', function: { name: 'other' } };
    const chosen = (tool_choice: LosslessJson) => {
      const { tools, toolChoice, parallelToolCalls } = read(withTools({ tools: [TOOL, other], tool_choice })).asked
        .request;
      return [tools.map(({ name }) => name), toolChoice, parallelToolCalls];
    };
    expect(chosen('none')).toEqual([['look', 'other'], { type: 'none' }, false]);
    expect(chosen('required')).toEqual([['look', 'other'], { type: 'required' }, true]);
    expect(chosen(other)).toEqual([['look', 'other'], { type: 'function', name: 'other' }, true]);
    const allowed = { type: 'allowed_tools', allowed_tools: { mode: 'required', tools: [other] } };
    expect(chosen(allowed)).toEqual([['other'], { type: 'required' }, true]);
    expect(read(withTools({ parallel_tool_calls: false })).asked.request.parallelToolCalls).toBe(false);
  });

  it('logprobs and streams', () => {
    expect(read({ ...GOOD, logprobs: true }).asked.logprobs).toBe(0);
    expect(read({ ...GOOD, logprobs: true, top_logprobs: 20 }).asked.logprobs).toBe(20);
    const stream = { ...GOOD, stream: true, stream_options: { include_usage: true, include_obfuscation: false } };
    expect(read(stream)).toMatchObject({ isStream: true, includeUsage: true });
  });

  it('faults of the engine under the names that the client used', () => {
    const named = (body: Fields, at: { [key: string]: string | number }, param: string | null) =>
      read(body).nameParam(new InferenceError('SCHEMA_REFUSED', 'x', { at }), param);
    expect(named(GOOD, { field: 'schema' }, null)).toBe('response_format.json_schema.schema');
    expect(named(GOOD, { field: 'tools', index: 2 }, null)).toBe('tools[2].function.parameters');
    expect(named({ ...GOOD, max_completion_tokens: 5 }, {}, 'max_tokens')).toBe('max_completion_tokens');
    expect(named({ ...GOOD, max_tokens: 5 }, {}, 'max_tokens')).toBeUndefined();
  });

  it('a body that its JSON Schema describes', () => {
    for (const target of ['draft-2020-12', 'openapi-3.0'] as const) {
      const described = z.toJSONSchema(chatRequestSchema, { target, io: 'input' });
      expect(Object.keys(described.properties ?? {})).toEqual(Object.keys(chatRequestSchema.shape));
    }
  });
});

const withMessages = (message: LosslessJson): Fields => ({ ...GOOD, messages: [message] });
