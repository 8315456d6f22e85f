import { describe, expect, it } from 'vitest';
import { toHex, utf8 } from '../../../attest/core/bytes.ts';
import { sha256 } from '../../../attest/core/hash.ts';
import type { Json } from '../../../attest/encoding/canonical-json.ts';
import { EncodingError } from '../../../attest/encoding/errors.ts';
import { TraceError } from '../../../attest/trace/errors.ts';
import {
  computeRequestDigest,
  type InferenceRequest,
  parseInferenceRequest,
} from '../../../attest/trace/inference-request.ts';
import { toyMessage, toyRequest } from '../../support/receipt-facts.ts';

const GOOD = toyRequest() as unknown as { readonly [field: string]: Json };
const message = { ...toyMessage('hello') } as unknown as { readonly [field: string]: Json };
const assistant = { ...message, role: 'assistant' };
const call = { id: 'c', name: 'f', arguments: '{}' };
const tool = { name: 'f', description: null, parameters: '{"type":"object"}' };
const calling = { ...GOOD, tools: [tool], toolChoice: { type: 'auto' } };
const sampling = (change: { readonly [field: string]: Json }) => ({
  ...GOOD,
  sampling: { temperature: 0, topP: 10000, topK: 0, ...change },
});
const deep = (depth: number) => `${'['.repeat(depth)}${']'.repeat(depth)}`;
const schema = (text: Json) => ({ ...GOOD, responseFormat: { type: 'json_schema', schema: text } });
const choice = (...choices: Json[]) => ({ type: 'choice', choices });

const refused: readonly (readonly [string, Json, string])[] = [
  ['null', null, 'request'],
  ['an array', [], 'request'],
  ['an unknown field', { ...GOOD, top: 1 }, 'request.top'],
  ...Object.keys(GOOD).map((field): readonly [string, Json, string] => {
    const { [field]: _, ...rest } = GOOD;
    return [`no ${field}`, rest, `request.${field}`];
  }),
  ['model that is a name', { ...GOOD, model: 'smollm' }, 'request.model'],
  ['no messages', { ...GOOD, messages: [] }, 'request.messages'],
  ['too many messages', { ...GOOD, messages: Array.from({ length: 1025 }, () => message) }, 'request.messages'],
  [
    'a message without name',
    { ...GOOD, messages: [{ role: 'user', content: '', toolCalls: [], toolCallId: null }] },
    'request.messages.0.name',
  ],
  ['an unknown role', { ...GOOD, messages: [message, { ...message, role: 'developer' }] }, 'request.messages.1.role'],
  ['content that is parts', { ...GOOD, messages: [{ ...message, content: [] }] }, 'request.messages.0.content'],
  ['half a character', { ...GOOD, messages: [{ ...message, content: 'x\ud800' }] }, 'request.messages.0.content'],
  ['an empty name', { ...GOOD, messages: [{ ...message, name: '' }] }, 'request.messages.0.name'],
  ['a message without calls', { ...GOOD, messages: [{ ...message, toolCalls: null }] }, 'request.messages.0.toolCalls'],
  ...['id', 'name', 'arguments'].map((field): readonly [string, Json, string] => {
    const toolCalls = [call, { ...call, [field]: 1 }];
    const wanted = `request.messages.0.toolCalls.1.${field}`;
    return [`${field} of a call that is a number`, { ...GOOD, messages: [{ ...assistant, toolCalls }] }, wanted];
  }),
  [
    'a call of a name with a space',
    { ...GOOD, messages: [{ ...assistant, toolCalls: [{ ...call, name: 'a b' }] }] },
    'request.messages.0.toolCalls.0.name',
  ],
  [
    'a call with half a character',
    { ...GOOD, messages: [{ ...assistant, toolCalls: [{ ...call, arguments: '\udc00' }] }] },
    'request.messages.0.toolCalls.0.arguments',
  ],
  [
    'too many calls',
    { ...GOOD, messages: [{ ...assistant, toolCalls: Array.from({ length: 129 }, () => call) }] },
    'request.messages.0.toolCalls',
  ],
  [
    'an empty call id',
    { ...GOOD, messages: [{ ...message, role: 'tool', toolCallId: '' }] },
    'request.messages.0.toolCallId',
  ],
  ["calls of a user's", { ...GOOD, messages: [{ ...message, toolCalls: [call] }] }, 'request.messages.0.toolCalls'],
  [
    "an answer of an assistant's to a call",
    { ...GOOD, messages: [message, { ...assistant, toolCallId: 'c' }] },
    'request.messages.1.toolCallId',
  ],
  ['a prompt that is a number', { ...GOOD, prompt: 1 }, 'request.prompt'],
  ['a prompt with half a character', { ...GOOD, messages: [], prompt: '\ud800' }, 'request.prompt'],
  ['messages and a prompt', { ...GOOD, prompt: 'x' }, 'request.messages'],
  ['a tool without name', { ...GOOD, tools: [{ description: null, parameters: '{}' }] }, 'request.tools.0.name'],
  ['a tool with a dot', { ...GOOD, tools: [{ ...tool, name: 'a.b' }] }, 'request.tools.0.name'],
  ['a tool with a quote', { ...GOOD, tools: [{ ...tool, name: 'a"' }] }, 'request.tools.0.name'],
  ['a tool with a long name', { ...GOOD, tools: [{ ...tool, name: 'a'.repeat(65) }] }, 'request.tools.0.name'],
  ['a tool with no words', { ...GOOD, tools: [{ ...tool, description: 1 }] }, 'request.tools.0.description'],
  ['parameters that are an object', { ...GOOD, tools: [{ ...tool, parameters: {} }] }, 'request.tools.0.parameters'],
  ['parameters that are no JSON', { ...GOOD, tools: [{ ...tool, parameters: '{' }] }, 'request.tools.0.parameters'],
  ['parameters with a space', { ...GOOD, tools: [{ ...tool, parameters: '{ }' }] }, 'request.tools.0.parameters'],
  ['a tool twice', { ...GOOD, tools: [tool, { ...tool, description: 'again' }] }, 'request.tools.1.name'],
  [
    'too many tools',
    { ...GOOD, tools: Array.from({ length: 129 }, (_, i) => ({ ...tool, name: `f${i}` })) },
    'request.tools',
  ],
  ['another tool choice', { ...GOOD, toolChoice: { type: 'any' } }, 'request.toolChoice.type'],
  ['a tool choice as a text', { ...GOOD, toolChoice: 'auto' }, 'request.toolChoice.type'],
  ['a choice of a function without name', { ...calling, toolChoice: { type: 'function' } }, 'request.toolChoice.name'],
  ['a choice with a name too many', { ...calling, toolChoice: { type: 'auto', name: 'f' } }, 'request.toolChoice.name'],
  ['a tool choice without tools', { ...GOOD, toolChoice: { type: 'required' } }, 'request.toolChoice'],
  ['a choice of no tool', { ...calling, toolChoice: { type: 'function', name: 'g' } }, 'request.toolChoice'],
  ['tools of a prompt', { ...calling, messages: [], prompt: 'x' }, 'request.toolChoice'],
  ['parallel calls without tools', { ...GOOD, parallelToolCalls: true }, 'request.parallelToolCalls'],
  ['parallel calls of none', { ...GOOD, tools: [tool], parallelToolCalls: true }, 'request.parallelToolCalls'],
  ['parallel calls as a number', { ...calling, parallelToolCalls: 1 }, 'request.parallelToolCalls'],
  ['another format', { ...GOOD, responseFormat: { type: 'xml' } }, 'request.responseFormat.type'],
  [
    'an object format with a schema',
    { ...GOOD, responseFormat: { type: 'json_object', schema: '{}' } },
    'request.responseFormat.schema',
  ],
  [
    'a schema format without one',
    { ...GOOD, responseFormat: { type: 'json_schema' } },
    'request.responseFormat.schema',
  ],
  ['a schema that is an object', schema({}), 'request.responseFormat.schema'],
  ['a schema that is no JSON', schema('{"a":}'), 'request.responseFormat.schema'],
  ['a schema with white space', schema('{"a": 1}'), 'request.responseFormat.schema'],
  ['a schema with a key twice', schema('{"a":1,"a":1}'), 'request.responseFormat.schema'],
  ['a number in another form', schema('{"minimum":1.0}'), 'request.responseFormat.schema'],
  ['a schema that is too deep', schema(deep(65)), 'request.responseFormat.schema'],
  ['a schema that is too long', schema(`"${'a'.repeat(1 << 18)}"`), 'request.responseFormat.schema'],
  ['a choice and tools', { ...calling, responseFormat: choice('a') }, 'request.responseFormat'],
  ['a stop and a choice', { ...GOOD, stop: ['x'], responseFormat: choice('a') }, 'request.stop'],
  ['a stop and JSON', { ...GOOD, stop: ['x'], responseFormat: { type: 'json_object' } }, 'request.stop'],
  ['a stop and tools', { ...calling, stop: ['x'] }, 'request.stop'],
  ['choices of a text', { ...GOOD, responseFormat: { type: 'text', choices: [] } }, 'request.responseFormat.choices'],
  ['no choices', { ...GOOD, responseFormat: choice() }, 'request.responseFormat.choices'],
  ['an empty choice', { ...GOOD, responseFormat: choice('a', '') }, 'request.responseFormat.choices.1'],
  ['a choice twice', { ...GOOD, responseFormat: choice('a', 'b', 'a') }, 'request.responseFormat.choices.2'],
  ['sampling that is too hot', sampling({ temperature: 20_001 }), 'request.sampling.temperature'],
  ['sampling below zero', sampling({ temperature: -1 }), 'request.sampling.temperature'],
  ['sampling in fractions', sampling({ temperature: 0.7 }), 'request.sampling.temperature'],
  ['a nucleus of nothing', sampling({ topP: 0 }), 'request.sampling.topP'],
  ['a nucleus of more than all', sampling({ topP: 10_001 }), 'request.sampling.topP'],
  ['too many tokens to choose from', sampling({ topK: 1_000_001 }), 'request.sampling.topK'],
  ['sampling with another rule', sampling({ minP: 1 }), 'request.sampling.minP'],
  ['a seed as a number', { ...GOOD, seed: 0 }, 'request.seed'],
  ['a seed with a zero before', { ...GOOD, seed: '01' }, 'request.seed'],
  ['a negative seed', { ...GOOD, seed: '-1' }, 'request.seed'],
  ['a seed beyond uint64', { ...GOOD, seed: '18446744073709551616' }, 'request.seed'],
  ['a stop as a text', { ...GOOD, stop: 'x' }, 'request.stop'],
  ['five stops', { ...GOOD, stop: ['a', 'b', 'c', 'd', 'e'] }, 'request.stop'],
  ['an empty stop', { ...GOOD, stop: [''] }, 'request.stop.0'],
  ['no tokens', { ...GOOD, maxTokens: 0 }, 'request.maxTokens'],
  ['half a token', { ...GOOD, maxTokens: 1.5 }, 'request.maxTokens'],
  ['tokens as a text', { ...GOOD, maxTokens: '1' }, 'request.maxTokens'],
];

describe('parseInferenceRequest', () => {
  it.each(refused)('%s', (_, value, field) => {
    try {
      parseInferenceRequest(value);
    } catch (error) {
      expect(error).toBeInstanceOf(TraceError);
      expect(error).toMatchObject({ code: 'MALFORMED_BODY', at: { field } });
      return;
    }
    expect.unreachable();
  });

  it('takes the normal form, at any path and under any code', () => {
    expect(parseInferenceRequest(GOOD)).toEqual(toyRequest());
    expect(parseInferenceRequest({ ...GOOD, seed: '18446744073709551615' }).seed).toBe('18446744073709551615');
    const drawn = { temperature: 20_000, topP: 1, topK: 1_000_000 };
    const rich = toyRequest({
      messages: [
        toyMessage('', { role: 'assistant', toolCalls: [{ id: 'c', name: 'f', arguments: 'not JSON' }] }),
        toyMessage('rain', { role: 'tool', toolCallId: 'c' }),
      ],
      tools: [{ name: 'f', description: 'Does.', parameters: '{"b":1,"a":2}' }],
      toolChoice: { type: 'function', name: 'f' },
      parallelToolCalls: true,
      responseFormat: { type: 'json_schema', schema: deep(64) },
      sampling: drawn,
    });
    expect(parseInferenceRequest(rich as unknown as Json)).toEqual(rich);
    const prompted = toyRequest({ messages: [], prompt: '' });
    expect(parseInferenceRequest(prompted as unknown as Json)).toEqual(prompted);
    expect(() => parseInferenceRequest(null, 'body.request', 'MALFORMED_PAYLOAD')).toThrow(
      expect.objectContaining({ code: 'MALFORMED_PAYLOAD', at: { field: 'body.request' } }),
    );
  });
});

describe('computeRequestDigest', () => {
  it('is SHA-256 of the name and the canonical form', () => {
    const canonical =
      `{"engine":"0x${'5'.repeat(64)}","maxTokens":64,"messages":[{"content":"hello","name":null,"role":"user",` +
      `"toolCallId":null,"toolCalls":[]}],"model":"0x${'1'.repeat(64)}","parallelToolCalls":false,` +
      `"profile":"0x${'4'.repeat(64)}","prompt":null,"responseFormat":{"type":"text"},` +
      '"sampling":{"temperature":0,"topK":0,"topP":10000},"seed":"0","stop":[],"toolChoice":{"type":"none"},"tools":[]}';
    expect(toHex(computeRequestDigest(toyRequest()))).toBe(toHex(sha256(utf8(`tracebond/request/1${canonical}`))));
  });

  it('differs with every field', () => {
    const one = (content: string, name: string | null = null) => toyMessage(content, { name });
    const callOf = (change: Partial<typeof call>) =>
      toyRequest({ messages: [toyMessage('hello', { role: 'assistant', toolCalls: [{ ...call, ...change }] })] });
    const toolOf = (change: Partial<InferenceRequest>) =>
      toyRequest({ tools: [tool, { ...tool, name: 'g' }], toolChoice: { type: 'auto' }, ...change });
    const requests = [
      toyRequest(),
      toyRequest({ model: `0x${'a'.repeat(64)}` }),
      toyRequest({ profile: `0x${'a'.repeat(64)}` }),
      toyRequest({ engine: `0x${'a'.repeat(64)}` }),
      toyRequest({ messages: [one('hell'), one('o')] }),
      toyRequest({ messages: [one('hello', 'bob')] }),
      toyRequest({ messages: [{ ...one('hello'), role: 'system' }] }),
      toyRequest({ responseFormat: { type: 'choice', choices: ['a', 'b'] } }),
      toyRequest({ responseFormat: { type: 'choice', choices: ['b', 'a'] } }),
      toyRequest({ messages: [{ ...one('hello'), role: 'assistant' }] }),
      callOf({}),
      callOf({ id: 'd' }),
      callOf({ name: 'g' }),
      callOf({ arguments: '{ }' }),
      toyRequest({ messages: [{ ...one('hello'), role: 'tool' }] }),
      toyRequest({ messages: [{ ...one('hello'), role: 'tool', toolCallId: 'c' }] }),
      toyRequest({ messages: [], prompt: 'hello' }),
      toyRequest({ tools: [tool] }),
      toyRequest({ tools: [{ ...tool, description: '' }] }),
      toyRequest({ tools: [{ ...tool, parameters: '{}' }] }),
      toyRequest({ tools: [{ ...tool, parameters: '{"a":1,"b":2}' }] }),
      toyRequest({ tools: [{ ...tool, parameters: '{"b":2,"a":1}' }] }),
      toolOf({}),
      toolOf({ toolChoice: { type: 'required' } }),
      toolOf({ toolChoice: { type: 'function', name: 'f' } }),
      toolOf({ toolChoice: { type: 'function', name: 'g' } }),
      toolOf({ parallelToolCalls: true }),
      toyRequest({ responseFormat: { type: 'json_object' } }),
      toyRequest({ responseFormat: { type: 'json_schema', schema: '{}' } }),
      toyRequest({ responseFormat: { type: 'json_schema', schema: 'true' } }),
      toyRequest({ sampling: { temperature: 1, topP: 10000, topK: 0 } }),
      toyRequest({ sampling: { temperature: 0, topP: 9999, topK: 0 } }),
      toyRequest({ sampling: { temperature: 0, topP: 10000, topK: 1 } }),
      toyRequest({ seed: '1' }),
      toyRequest({ stop: ['a'] }),
      toyRequest({ maxTokens: 65 }),
    ];
    expect(new Set(requests.map((request) => toHex(computeRequestDigest(request)))).size).toBe(requests.length);
  });

  it('has none for half a character', () => {
    const request = toyRequest({ messages: [toyMessage('\udc00')] });
    expect(() => computeRequestDigest(request)).toThrow(EncodingError);
  });
});
