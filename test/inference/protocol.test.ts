import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { utf8 } from '../../attest/core/bytes.ts';
import { type LosslessJson, parseLosslessJson } from '../../attest/encoding/canonical-json.ts';
import { NO_CONTRACT, NO_PLACE } from '../../attest/sign/receipt.ts';
import { computeRequestDigest, parseInferenceRequest } from '../../attest/trace/inference-request.ts';
import { ApiError } from '../../inference/api-errors.ts';
import { DEFAULT_MAX_TOKENS, parseChatRequest, toChatBody } from '../../inference/protocol.ts';
import { toyRequest } from '../support/receipt-facts.ts';
import { TOY_IDENTITY } from '../support/toy-engine.ts';

type Fields = { readonly [field: string]: LosslessJson };
const user = { role: 'user', content: 'hello' };
const GOOD: Fields = { model: 'm', messages: [user] };
const run = `0x${'a'.repeat(64)}`;

/** Through JSON, as a body comes. */
function read(body: LosslessJson) {
  return parseChatRequest(
    parseLosslessJson(utf8(JSON.stringify(body, (_, value) => (typeof value === 'bigint' ? Number(value) : value)))),
  );
}

type Row = readonly [string, LosslessJson, ApiError['code'], string | null];
const withMessage = (message: LosslessJson): Fields => ({ ...GOOD, messages: [user, message] });
const withFormat = (format: LosslessJson): Fields => ({ ...GOOD, response_format: format });
const withPlace = (place: LosslessJson): Fields => ({ ...GOOD, tracebond: place });

/** OpenAI's fields that are refused whatever they hold, here with values that would change nothing. */
const NEUTRAL: Fields = {
  audio: null,
  frequency_penalty: 0,
  function_call: 'none',
  functions: [],
  logit_bias: {},
  logprobs: false,
  metadata: {},
  modalities: ['text'],
  moderation: null,
  parallel_tool_calls: true,
  prediction: null,
  presence_penalty: 0,
  prompt_cache_key: 'x',
  prompt_cache_options: {},
  prompt_cache_retention: null,
  reasoning_effort: null,
  safety_identifier: 'x',
  service_tier: 'auto',
  store: false,
  stream_options: null,
  tool_choice: 'none',
  tools: [],
  top_logprobs: 0,
  user: 'x',
  verbosity: null,
  web_search_options: {},
};

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
  ['role developer', withMessage({ role: 'developer', content: 'x' }), 'UNSUPPORTED_VALUE', 'messages[1].role'],
  [
    'role function',
    withMessage({ role: 'function', content: 'x', name: 'f' }),
    'UNSUPPORTED_VALUE',
    'messages[1].role',
  ],
  ['no content', withMessage({ role: 'user' }), 'MISSING_PARAMETER', 'messages[1].content'],
  ['null content', withMessage({ role: 'assistant', content: null }), 'INVALID_TYPE', 'messages[1].content'],
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
  [
    'tool calls',
    withMessage({ role: 'assistant', content: 'x', tool_calls: [] }),
    'UNSUPPORTED_PARAMETER',
    'messages[1].tool_calls',
  ],
  [
    'a tool call id',
    withMessage({ role: 'tool', content: 'x', tool_call_id: 'c' }),
    'UNSUPPORTED_PARAMETER',
    'messages[1].tool_call_id',
  ],
  ['a refusal', withMessage({ role: 'assistant', content: 'x', refusal: 'no' }), 'INVALID_TYPE', 'messages[1].refusal'],
  ['a refusal by the user', withMessage({ ...user, refusal: null }), 'UNSUPPORTED_PARAMETER', 'messages[1].refusal'],
  ['temperature 0.7', { ...GOOD, temperature: 0.7 }, 'UNSUPPORTED_VALUE', 'temperature'],
  ['temperature as a text', { ...GOOD, temperature: '0' }, 'INVALID_TYPE', 'temperature'],
  ['top_p 0.9', { ...GOOD, top_p: 0.9 }, 'UNSUPPORTED_VALUE', 'top_p'],
  ['n 2', { ...GOOD, n: 2 }, 'UNSUPPORTED_VALUE', 'n'],
  ['stream', { ...GOOD, stream: true }, 'UNSUPPORTED_VALUE', 'stream'],
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
  ['json_object', withFormat({ type: 'json_object' }), 'UNSUPPORTED_VALUE', 'response_format.type'],
  ['json_schema', withFormat({ type: 'json_schema', json_schema: {} }), 'UNSUPPORTED_VALUE', 'response_format.type'],
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
  ['an unknown field', { ...GOOD, top_k: 5 }, 'UNKNOWN_PARAMETER', 'top_k'],
  ['best_of', { ...GOOD, best_of: 1 }, 'UNKNOWN_PARAMETER', 'best_of'],
  ...Object.entries(NEUTRAL).map(
    ([name, value]): Row => [name, { ...GOOD, [name]: value }, 'UNSUPPORTED_PARAMETER', name],
  ),
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
      '__proto__',
      'n',
    );
    fc.assert(
      fc.property(fc.dictionary(field, fc.jsonValue()), (changes) => {
        try {
          read({ ...GOOD, ...changes } as LosslessJson);
        } catch (error) {
          expect(error).toBeInstanceOf(ApiError);
        }
      }),
      { numRuns: 500 },
    );
  });
});

describe('parseChatRequest takes', () => {
  it('the least', () => {
    expect(read(GOOD)).toEqual({
      model: 'm',
      pinned: {},
      place: { run: NO_PLACE.run, index: 0n, runSeed: NO_PLACE.runSeed },
      request: {
        messages: [{ role: 'user', content: 'hello', name: null }],
        tools: [],
        responseFormat: { type: 'text' },
        sampling: { temperature: 0, topP: 10000, topK: 0 },
        seed: '0',
        stop: [],
        maxTokens: DEFAULT_MAX_TOKENS,
      },
    });
  });

  it('every way to say the same as the same', () => {
    const all: readonly Fields[] = [
      { ...GOOD, temperature: 0, top_p: 1, n: 1, stream: false, seed: 0, stop: [], response_format: { type: 'text' } },
      { ...GOOD, temperature: null, top_p: null, n: null, stream: null, seed: null, stop: null, response_format: null },
      { ...GOOD, max_tokens: DEFAULT_MAX_TOKENS },
      { ...GOOD, max_completion_tokens: DEFAULT_MAX_TOKENS, max_tokens: DEFAULT_MAX_TOKENS },
      {
        ...GOOD,
        messages: [
          {
            role: 'user',
            content: [
              { type: 'text', text: 'hel' },
              { type: 'text', text: 'lo' },
            ],
          },
        ],
      },
      { ...GOOD, seed: '0', tracebond: {} },
    ];
    for (const body of all) expect(read(body)).toEqual(read(GOOD));
  });

  it('a seed of 64 bits, as a number or a text, exactly', () => {
    const body = (seed: string) =>
      parseLosslessJson(utf8(`{"model":"m","messages":[{"role":"user","content":""}],"seed":${seed}}`));
    for (const seed of ['9007199254740993', '18446744073709551615', '"18446744073709551615"', '7']) {
      expect(parseChatRequest(body(seed)).request.seed).toBe(seed.replaceAll('"', ''));
    }
    expect(() => parseChatRequest(body('18446744073709551616'))).toThrow(ApiError);
    // Rounds to an integer, and is none.
    expect(() => parseChatRequest(body('9007199254740993.5'))).toThrow(ApiError);
  });

  it('what a client sends back of an answer', () => {
    const { request } = read(withMessage({ role: 'assistant', content: 'hi', refusal: null }));
    expect(request.messages[1]).toEqual({ role: 'assistant', content: 'hi', name: null });
  });

  it('its own bodies, and makes the same request of them', () => {
    const text = fc.string({ unit: 'grapheme', minLength: 1, maxLength: 20 });
    const message = fc.record({
      role: fc.constantFrom('system', 'user', 'assistant', 'tool'),
      content: fc.string({ unit: 'grapheme' }),
      name: fc.option(text.filter((name) => name.length <= 64)),
    });
    const answer = fc.oneof(
      fc.record({ responseFormat: fc.constant({ type: 'text' as const }), stop: fc.array(text, { maxLength: 4 }) }),
      fc.record({
        responseFormat: fc.record({
          type: fc.constant('choice' as const),
          choices: fc.uniqueArray(text, { minLength: 1 }),
        }),
        stop: fc.constant([]),
      }),
    );
    const rest = fc.record({
      messages: fc.array(message, { minLength: 1, maxLength: 4 }),
      seed: fc.bigInt(0n, (1n << 64n) - 1n).map(String),
      maxTokens: fc.integer({ min: 1, max: 2 ** 31 }),
    });
    fc.assert(
      fc.property(rest, answer, fc.bigInt(0n, (1n << 64n) - 1n), (one, two, index) => {
        const request = parseInferenceRequest(
          toyRequest({ ...one, ...two } as Parameters<typeof toyRequest>[0]) as never,
        );
        const place = { ...NO_PLACE, index, chainId: 5n };
        const back = parseChatRequest(parseLosslessJson(utf8(JSON.stringify(toChatBody(request, 'toy', place)))));
        const { model, profile, engine } = TOY_IDENTITY;
        const again = { ...back.request, model, profile, engine };
        expect(again).toEqual(request);
        expect(computeRequestDigest(again)).toEqual(computeRequestDigest(request));
        expect(back.place).toEqual({ ...place, contract: NO_CONTRACT });
        expect(back.pinned).toEqual({ model, profile, engine });
      }),
      { numRuns: 200 },
    );
  });
});
