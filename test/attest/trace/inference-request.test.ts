import { describe, expect, it } from 'vitest';
import { toHex, utf8 } from '../../../attest/core/bytes.ts';
import { sha256 } from '../../../attest/core/hash.ts';
import type { Json } from '../../../attest/encoding/canonical-json.ts';
import { EncodingError } from '../../../attest/encoding/errors.ts';
import { TraceError } from '../../../attest/trace/errors.ts';
import { computeRequestDigest, parseInferenceRequest } from '../../../attest/trace/inference-request.ts';
import { toyRequest } from '../../support/receipt-facts.ts';

const GOOD = toyRequest() as unknown as { readonly [field: string]: Json };
const message = { role: 'user', content: 'hello', name: null };
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
  ['a message without name', { ...GOOD, messages: [{ role: 'user', content: '' }] }, 'request.messages.0.name'],
  ['an unknown role', { ...GOOD, messages: [message, { ...message, role: 'developer' }] }, 'request.messages.1.role'],
  ['content that is parts', { ...GOOD, messages: [{ ...message, content: [] }] }, 'request.messages.0.content'],
  ['half a character', { ...GOOD, messages: [{ ...message, content: 'x\ud800' }] }, 'request.messages.0.content'],
  ['an empty name', { ...GOOD, messages: [{ ...message, name: '' }] }, 'request.messages.0.name'],
  ['a tool', { ...GOOD, tools: [{}] }, 'request.tools'],
  ['another format', { ...GOOD, responseFormat: { type: 'json_object' } }, 'request.responseFormat.type'],
  ['choices of a text', { ...GOOD, responseFormat: { type: 'text', choices: [] } }, 'request.responseFormat.choices'],
  ['no choices', { ...GOOD, responseFormat: choice() }, 'request.responseFormat.choices'],
  ['an empty choice', { ...GOOD, responseFormat: choice('a', '') }, 'request.responseFormat.choices.1'],
  ['a choice twice', { ...GOOD, responseFormat: choice('a', 'b', 'a') }, 'request.responseFormat.choices.2'],
  ['warm sampling', { ...GOOD, sampling: { temperature: 7000, topP: 10000, topK: 0 } }, 'request.sampling.temperature'],
  ['nucleus sampling', { ...GOOD, sampling: { temperature: 0, topP: 9000, topK: 0 } }, 'request.sampling.topP'],
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
    expect(() => parseInferenceRequest(null, 'body.request', 'MALFORMED_PAYLOAD')).toThrow(
      expect.objectContaining({ code: 'MALFORMED_PAYLOAD', at: { field: 'body.request' } }),
    );
  });
});

describe('computeRequestDigest', () => {
  it('is SHA-256 of the name and the canonical form', () => {
    const canonical =
      `{"engine":"0x${'5'.repeat(64)}","maxTokens":64,"messages":[{"content":"hello","name":null,"role":"user"}],` +
      `"model":"0x${'1'.repeat(64)}","profile":"0x${'4'.repeat(64)}","responseFormat":{"type":"text"},` +
      '"sampling":{"temperature":0,"topK":0,"topP":10000},"seed":"0","stop":[],"tools":[]}';
    expect(toHex(computeRequestDigest(toyRequest()))).toBe(toHex(sha256(utf8(`tracebond/request/1${canonical}`))));
  });

  it('differs with every field', () => {
    const one = (content: string, name: string | null = null) => ({ role: 'user' as const, content, name });
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
      toyRequest({ seed: '1' }),
      toyRequest({ stop: ['a'] }),
      toyRequest({ maxTokens: 65 }),
    ];
    expect(new Set(requests.map((request) => toHex(computeRequestDigest(request)))).size).toBe(requests.length);
  });

  it('has none for half a character', () => {
    const request = toyRequest({ messages: [{ role: 'user', content: '\udc00', name: null }] });
    expect(() => computeRequestDigest(request)).toThrow(EncodingError);
  });
});
