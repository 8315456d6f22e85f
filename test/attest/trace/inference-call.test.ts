import { describe, expect, it } from 'vitest';
import type { Json } from '../../../attest/encoding/canonical-json.ts';
import { parseBody, payloadFields, type RunOpenBody } from '../../../attest/trace/bodies.ts';
import {
  argsOfStart,
  inferenceRequestOf,
  parseInferenceArgs,
  startRequestOf,
} from '../../../attest/trace/inference-call.ts';
import { jsonPayload, type Payload, textPayload } from '../../../attest/trace/payload.ts';
import { PayloadSet } from '../../../attest/trace/writer.ts';
import { infer, TOY_IDENTITY } from '../../support/toy-run.ts';

const open = { inference: TOY_IDENTITY } as RunOpenBody;
const tool = { description: null, name: 'weather', parameters: '{}' };
const message = { content: 'hi', name: null, role: 'user', toolCallId: null, toolCalls: [] };
const full = {
  maxTokens: 9,
  messages: [
    message,
    { ...message, role: 'assistant', content: '', toolCalls: [{ arguments: '{}', id: 'c1', name: 'weather' }] },
    { ...message, role: 'tool', toolCallId: 'c1', content: 'rain' },
  ],
  parallelToolCalls: true,
  responseFormat: { schema: '{"type":"string"}', type: 'json_schema' },
  sampling: { temperature: 1, topK: 2, topP: 3 },
  seed: '18446744073709551615',
  stop: [],
  toolChoice: { name: 'weather', type: 'function' },
  tools: [tool],
};

/** The start that a call becomes, with its payloads by field. */
function startOf(value: Json) {
  let salts = 0;
  const set = new PayloadSet(() => new Uint8Array(32).fill(++salts));
  const request = startRequestOf(parseInferenceArgs(value, open), set);
  const body = { by: null, bytes: set.bytes, call: 0, key: `0x${'00'.repeat(32)}`, request };
  const record = parseBody('inference.start', body as unknown as Json);
  if (record.kind !== 'inference.start') throw new Error('no start');
  const held = set.byCommitment;
  const payloads = new Map(
    payloadFields(record).map(({ field, commitment }) => [field, held.get(commitment) as Payload]),
  );
  return { body: record.body, payloads };
}

describe('a call of inference', () => {
  it.each([
    ['with everything', full],
    ['with a text alone', infer('hello')],
    ['with choices', infer('which?', ['a', 'b'])],
  ] as const)('%s becomes a start, and the start becomes the call again', (_name, value) => {
    const args = parseInferenceArgs(value as Json, open);
    const { body, payloads } = startOf(value as Json);
    expect(argsOfStart(body, payloads)).toEqual(args);
    expect(inferenceRequestOf(args, open)).toEqual({
      ...args,
      engine: TOY_IDENTITY.engine,
      model: TOY_IDENTITY.model,
      profile: TOY_IDENTITY.profile,
      prompt: null,
    });
  });

  it('has its texts as payloads, and no payload for what it does not say', () => {
    expect([...startOf(full).payloads.keys()]).toEqual([
      'body.request.messages.0.content',
      'body.request.messages.1.content',
      'body.request.messages.1.toolCalls',
      'body.request.messages.2.content',
      'body.request.responseFormat.schema',
      'body.request.tools',
    ]);
    const plain = startOf(infer('hello'));
    expect([...plain.payloads.keys()]).toEqual(['body.request.messages.0.content']);
    expect(plain.body.request).toMatchObject({ tools: null, messages: [{ toolCalls: null }] });
  });

  it('is not known again where any text is withheld, unless another says the same', () => {
    const args = parseInferenceArgs(full as Json, open);
    const { body, payloads } = startOf(full);
    for (const field of payloads.keys()) {
      const fewer = new Map([...payloads].filter(([name]) => name !== field));
      expect(argsOfStart(body, fewer), field).toBeUndefined();
      expect(argsOfStart(body, fewer, args), field).toEqual(args);
    }
  });

  it('is refused where a payload has another form', () => {
    const { body, payloads } = startOf(full);
    const salt = new Uint8Array(32);
    const wrong: readonly (readonly [string, Payload])[] = [
      ['body.request.messages.0.content', jsonPayload('hi', salt)],
      ['body.request.tools', textPayload('[]', salt)],
      ['body.request.tools', jsonPayload([], salt)],
      ['body.request.tools', jsonPayload({ length: 1 }, salt)],
      ['body.request.messages.1.toolCalls', jsonPayload([], salt)],
      ['body.request.messages.1.toolCalls', jsonPayload(null, salt)],
      ['body.request.responseFormat.schema', jsonPayload({}, salt)],
    ];
    for (const [field, payload] of wrong) {
      const changed = new Map(payloads).set(field, payload);
      expect(() => argsOfStart(body, changed), field).toThrow(
        expect.objectContaining({ code: 'MALFORMED_PAYLOAD', at: expect.objectContaining({ field }) }),
      );
    }
  });

  const bad: readonly (readonly [string, Json])[] = [
    ['nothing', null],
    ['a field too much', { ...full, model: TOY_IDENTITY.model }],
    ['a prompt', { ...full, prompt: 'x' }],
    ['a field too little', Object.fromEntries(Object.entries(full).filter(([name]) => name !== 'seed')) as Json],
    ['no messages', { ...full, messages: [] }],
    ['a call by a user', { ...full, messages: [{ ...message, toolCalls: full.messages[1]?.toolCalls as Json }] }],
    ['a tool twice', { ...full, tools: [tool, tool] }],
    ['a choice of no tool', { ...full, toolChoice: { name: 'other', type: 'function' } }],
    ['tools to call, and none there', { ...full, tools: [] }],
    ['stop with a schema', { ...full, stop: ['x'] }],
    ['a schema with spaces', { ...full, responseFormat: { schema: '{ "type":"string"}', type: 'json_schema' } }],
    ['a fraction', { ...full, sampling: { temperature: 0.5, topK: 2, topP: 3 } }],
    ['a seed beyond 64 bits', { ...full, seed: '18446744073709551616' }],
  ];
  it.each(bad)('is none with %s', (_name, value) => {
    expect(() => parseInferenceArgs(value, open)).toThrow(expect.objectContaining({ name: 'TraceError' }));
  });
});
