import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { utf8 } from '../../attest/core/bytes.ts';
import { parseLosslessJson } from '../../attest/encoding/canonical-json.ts';
import { NO_CONTRACT, NO_PLACE } from '../../attest/sign/receipt.ts';
import {
  computeRequestDigest,
  type InferenceMessage,
  type InferenceRequest,
  parseInferenceRequest,
} from '../../attest/trace/inference-request.ts';
import { parseChatRequest } from '../../inference/api/chat-request.ts';
import { narrow } from '../../inference/api/json-body.ts';
import { parseTextRequest } from '../../inference/api/text-request.ts';
import { modelListSchema, toChatBody, toModelBody, toTextBody, toWireRequest } from '../../inference/protocol.ts';
import { TOY_IDENTITY } from '../support/toy-engine.ts';

const { model, profile, engine } = TOY_IDENTITY;
const words = fc.string({ unit: 'grapheme', minLength: 1, maxLength: 20 }).filter((one) => one.length <= 64);
const functionName = fc.stringMatching(/^[a-zA-Z0-9_-]{1,12}$/);
/** JSON text of an object as `JSON.stringify` writes it, members in any order. */
const schema = fc
  .dictionary(fc.oneof(words, fc.constantFrom('__proto__', 'constructor', '2', '10')), fc.jsonValue({ maxDepth: 2 }))
  .map((value) => JSON.stringify(JSON.parse(JSON.stringify(value))));
const call = fc.record({ id: words, name: functionName, arguments: fc.string({ unit: 'grapheme' }) });

const conversation: fc.Arbitrary<InferenceMessage[]> = fc
  .array(
    fc.record({
      role: fc.constantFrom('system' as const, 'user' as const, 'assistant' as const, 'tool' as const),
      content: fc.string({ unit: 'grapheme' }),
      name: fc.option(words),
      toolCalls: fc.array(call, { maxLength: 2 }),
      isAnswer: fc.boolean(),
    }),
    { minLength: 1, maxLength: 5 },
  )
  .map((messages) => {
    let lastId: string | null = null;
    return messages.map(({ isAnswer, ...message }) => {
      const toolCalls = message.role === 'assistant' ? message.toolCalls : [];
      const toolCallId = message.role === 'tool' && isAnswer ? lastId : null;
      lastId = toolCalls.at(-1)?.id ?? lastId;
      return { ...message, toolCalls, toolCallId };
    });
  });

const json = fc.oneof(
  fc.constant({ type: 'json_object' as const }),
  fc.record({ type: fc.constant('json_schema' as const), schema }),
);
const free = fc.record({
  responseFormat: fc.constant({ type: 'text' as const }),
  stop: fc.array(words, { maxLength: 4 }),
});
const chosen = fc.record({
  responseFormat: fc.record({ type: fc.constant('choice' as const), choices: fc.uniqueArray(words, { minLength: 1 }) }),
  stop: fc.constant([]),
});
const formed = fc.record({ responseFormat: json, stop: fc.constant([]) });

const tools = fc.uniqueArray(
  fc.record({ name: functionName, description: fc.option(fc.string({ unit: 'grapheme' })), parameters: schema }),
  { selector: ({ name }) => name, maxLength: 3 },
);
const idle = fc.record({
  tools,
  toolChoice: fc.constant({ type: 'none' as const }),
  parallelToolCalls: fc.constant(false),
});
const calling = fc.record({ tools, pick: fc.nat(), parallelToolCalls: fc.boolean() }).map(({ pick, ...fields }) => {
  const named = fields.tools[pick % Math.max(1, fields.tools.length)];
  const { name } = named ?? { name: '' };
  const choices = [{ type: 'auto' }, { type: 'required' }, { type: 'function', name }] as const;
  return named === undefined
    ? { ...fields, toolChoice: { type: 'none' as const }, parallelToolCalls: false }
    : { ...fields, toolChoice: choices[pick % 3] ?? choices[0] };
});

const shared = fc.record({
  model: fc.constant(model),
  profile: fc.constant(profile),
  engine: fc.constant(engine),
  sampling: fc.record({
    temperature: fc.nat(20_000),
    topP: fc.integer({ min: 1, max: 10_000 }),
    topK: fc.nat(1_000_000),
  }),
  seed: fc.bigInt(0n, (1n << 64n) - 1n).map(String),
  maxTokens: fc.integer({ min: 1, max: 2 ** 31 }),
});

const chat = fc
  .tuple(
    shared,
    conversation,
    fc.oneof(
      fc.tuple(fc.oneof(free, chosen, formed), idle),
      fc.tuple(
        fc.oneof(formed, free).map((form) => ({ ...form, stop: [] })),
        calling,
      ),
    ),
  )
  .map(([rest, messages, [form, use]]) => ({ ...rest, ...form, ...use, messages, prompt: null }));

const continued = fc
  .tuple(shared, fc.string({ unit: 'grapheme' }), fc.oneof(free, chosen, formed))
  .map(([rest, prompt, form]) => ({
    ...rest,
    ...form,
    prompt,
    messages: [],
    tools: [],
    toolChoice: { type: 'none' as const },
    parallelToolCalls: false,
  }));

describe('a request on its way', () => {
  it('is read by the server as it was written', () => {
    fc.assert(
      fc.property(fc.oneof(chat, continued), fc.bigInt(0n, (1n << 64n) - 1n), (one, index) => {
        const request: InferenceRequest = parseInferenceRequest(one as never);
        const place = { ...NO_PLACE, index, chainId: 5n };
        const { path, body } = toWireRequest(request, 'toy', place);
        const parse = path === '/v1/completions' ? parseTextRequest : parseChatRequest;
        const { asked } = parse(narrow(parseLosslessJson(utf8(JSON.stringify(body)))));
        const again = { ...asked.request, model, profile, engine };
        expect(again).toEqual(request);
        expect(computeRequestDigest(again)).toEqual(computeRequestDigest(request));
        expect(asked.place).toEqual({ ...place, contract: NO_CONTRACT });
        expect(asked.pinned).toEqual({ model, profile, engine });
      }),
      { numRuns: 500 },
    );
  });

  it('has no body where no surface takes it', () => {
    const [[one]] = [fc.sample(continued, 1)];
    const request = one as InferenceRequest;
    const tool = { name: 'f', description: null, parameters: '{}' };
    expect(() => toChatBody(request, 'toy', NO_PLACE)).toThrow(TypeError);
    expect(() => toTextBody({ ...request, tools: [tool] }, 'toy', NO_PLACE)).toThrow(TypeError);
    expect(() => toTextBody({ ...request, prompt: null }, 'toy', NO_PLACE)).toThrow(TypeError);
  });
});

describe('a list of models', () => {
  it('is read as it was written', () => {
    const signer = `0x${'5'.repeat(40)}` as const;
    for (const domain of [null, { chainId: 5n, contract: NO_CONTRACT }]) {
      const list = { object: 'list', data: [toModelBody(TOY_IDENTITY, signer, domain)] };
      const [found] = modelListSchema.parse(JSON.parse(JSON.stringify(list))).data;
      const { id, ...digests } = TOY_IDENTITY;
      expect(found?.id).toBe(id);
      expect(found?.tracebond).toEqual({
        ...digests,
        signer,
        chainId: domain === null ? null : 5n,
        contract: domain === null ? null : NO_CONTRACT,
      });
    }
  });
});
