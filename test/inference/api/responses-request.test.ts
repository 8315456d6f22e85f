import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { utf8 } from '../../../attest/core/bytes.ts';
import { parseLosslessJson } from '../../../attest/encoding/canonical-json.ts';
import { parseInferenceRequest, REQUEST_LIMITS } from '../../../attest/trace/inference-request.ts';
import { narrow } from '../../../inference/api/json-body.ts';
import { type Kept, resolveItems } from '../../../inference/api/responses-input.ts';
import type { Item } from '../../../inference/api/responses-items.ts';
import { parseResponsesRequest, responsesRequestSchema, toAsked } from '../../../inference/api/responses-request.ts';

const HELLO = { model: 'm', input: 'hello' };
const TOOL = { type: 'function', name: 'look', parameters: { type: 'object', b: 1, a: 2 } };
const DIGEST = `0x${'1'.repeat(64)}`;
const NONE: Kept = { findResponse: () => undefined, findItem: () => undefined };

function ask(body: unknown, kept: Kept = NONE) {
  return askText(JSON.stringify(body), kept);
}

function askText(body: string, kept: Kept = NONE) {
  const fields = parseResponsesRequest(narrow(parseLosslessJson(utf8(body))));
  let ids = 0;
  const asked = toAsked(
    fields,
    resolveItems(fields, kept, (prefix) => `${prefix}_${ids++}`),
  );
  const whole = { ...asked.request, model: DIGEST, profile: DIGEST, engine: DIGEST };
  // Whatever this surface lets through is a request in normal form.
  expect(parseInferenceRequest(JSON.parse(JSON.stringify(whole)))).toEqual(whole);
  return asked;
}

const messages = (input: unknown, kept?: Kept) => ask({ model: 'm', input }, kept).request.messages;

function refusal(body: unknown, kept?: Kept): { code: string; param: unknown } {
  try {
    ask(body, kept);
  } catch (error) {
    const { code, at } = error as { code: string; at: { param?: unknown } };
    return { code, param: at?.param };
  }
  throw new Error('was taken');
}

describe('a request of responses', () => {
  it('is greedy free text by default', () => {
    expect(ask(HELLO)).toMatchObject({
      model: 'm',
      logprobs: null,
      pinned: {},
      place: { index: 0n },
      request: {
        messages: [{ role: 'user', content: 'hello', name: null, toolCalls: [], toolCallId: null }],
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
    });
  });

  it('takes what clients send as a matter of course', () => {
    const neutral = {
      instructions: null,
      previous_response_id: null,
      store: null,
      tools: [],
      tool_choice: null,
      parallel_tool_calls: true,
      text: { format: { type: 'text' }, verbosity: null },
      max_output_tokens: null,
      temperature: null,
      top_p: null,
      include: ['reasoning.encrypted_content'],
      top_logprobs: 0,
      stream: false,
      stream_options: null,
      truncation: 'disabled',
      reasoning: { effort: 'none', summary: null },
      background: false,
      service_tier: 'auto',
      user: 'u',
      safety_identifier: 's',
      prompt_cache_key: 'k',
      prompt_cache_retention: null,
      metadata: { a: 'b' },
      conversation: null,
      prompt: null,
      max_tool_calls: null,
    };
    expect(ask({ ...HELLO, ...neutral })).toEqual(ask(HELLO));
  });

  it('puts instructions first', () => {
    expect(ask({ ...HELLO, instructions: 'be' }).request.messages.map(({ role }) => role)).toEqual(['system', 'user']);
  });

  it('joins parts and calls a developer the system', () => {
    const found = messages([
      {
        role: 'developer',
        content: [
          { type: 'input_text', text: 'a' },
          { type: 'input_text', text: 'b' },
        ],
      },
      { type: 'message', role: 'user', content: 'c', id: 'msg_1', status: 'completed' },
      { role: 'assistant', content: [{ type: 'output_text', text: 'd', annotations: [], logprobs: [], parsed: {} }] },
      { role: 'assistant', content: [{ type: 'refusal', refusal: 'e' }], phase: 'final_answer' },
    ]);
    expect(found.map(({ role, content }) => [role, content])).toEqual([
      ['system', 'ab'],
      ['user', 'c'],
      ['assistant', 'd'],
      ['assistant', 'e'],
    ]);
  });

  it('gives calls to the message before them, and outputs to their calls', () => {
    const made = (id: string) => ({
      type: 'function_call',
      call_id: id,
      name: 'look',
      arguments: '{}',
      id: `fc_${id}`,
    });
    const found = messages([
      { role: 'user', content: 'a' },
      { role: 'assistant', content: 'so' },
      made('1'),
      made('2'),
      { type: 'function_call_output', call_id: '2', output: [{ type: 'input_text', text: 'r' }] },
      { type: 'function_call_output', call_id: '1', output: 's' },
      made('3'),
    ]);
    expect(found).toMatchObject([
      { role: 'user' },
      { role: 'assistant', content: 'so', toolCalls: [{ id: '1', name: 'look', arguments: '{}' }, { id: '2' }] },
      { role: 'tool', content: 'r', toolCallId: '2' },
      { role: 'tool', content: 's', toolCallId: '1' },
      { role: 'assistant', content: '', toolCalls: [{ id: '3' }] },
    ]);
  });

  it('continues what is kept', () => {
    const item = (id: string, role: 'user' | 'system', text: string): Item => ({
      id,
      type: 'message',
      role,
      status: 'completed',
      content: [{ type: 'input_text', text }],
    });
    const kept: Kept = {
      findResponse: (id) =>
        id === 'resp_1' ? { input: [item('a', 'user', '1')], output: [item('b', 'user', '2')] } : undefined,
      findItem: (id) => (id === 'msg_3' ? item('msg_3', 'user', '3') : undefined),
    };
    const body = { ...HELLO, previous_response_id: 'resp_1', input: [{ type: 'item_reference', id: 'msg_3' }] };
    expect(ask(body, kept).request.messages.map(({ content }) => content)).toEqual(['1', '2', '3']);
    expect(refusal({ ...body, previous_response_id: 'resp_2' }, kept)).toEqual({
      code: 'INVALID_VALUE',
      param: 'previous_response_id',
    });
    expect(refusal(body)).toMatchObject({ param: 'previous_response_id' });
    expect(refusal({ ...HELLO, input: [{ type: 'item_reference', id: 'msg_3' }] })).toEqual({
      code: 'NOT_FOUND',
      param: 'input[0].id',
    });
  });

  it('reads tools, their order kept', () => {
    const { request } = ask({
      ...HELLO,
      tools: [
        { ...TOOL, description: 'd', strict: true },
        { type: 'function', name: 'b' },
      ],
    });
    expect(request.tools).toEqual([
      { name: 'look', description: 'd', parameters: '{"type":"object","b":1,"a":2}' },
      { name: 'b', description: null, parameters: '{"type":"object","properties":{},"additionalProperties":false}' },
    ]);
    expect(request).toMatchObject({ toolChoice: { type: 'auto' }, parallelToolCalls: true, maxTokens: 1024 });
  });

  it('reads what may be called', () => {
    const choose = (tool_choice: unknown) =>
      ask({ ...HELLO, tools: [TOOL, { ...TOOL, name: 'b' }], tool_choice, parallel_tool_calls: false }).request;
    expect(choose('required').toolChoice).toEqual({ type: 'required' });
    expect(choose('none')).toMatchObject({ toolChoice: { type: 'none' }, tools: [{ name: 'look' }, { name: 'b' }] });
    expect(choose({ type: 'function', name: 'b' }).toolChoice).toEqual({ type: 'function', name: 'b' });
    const allowed = { type: 'allowed_tools', mode: 'required', tools: [{ type: 'function', name: 'b' }] };
    expect(choose(allowed)).toMatchObject({ toolChoice: { type: 'required' }, tools: [{ name: 'b' }] });
    expect(choose('auto').parallelToolCalls).toBe(false);
  });

  it('reads formats', () => {
    const format = (value: unknown) => ask({ ...HELLO, text: { format: value } }).request;
    expect(format({ type: 'json_object' })).toMatchObject({ responseFormat: { type: 'json_object' }, maxTokens: 1024 });
    const schema = { type: 'object', properties: { z: {}, a: {} } };
    expect(format({ type: 'json_schema', name: 'n', schema, strict: true }).responseFormat).toEqual({
      type: 'json_schema',
      schema: JSON.stringify(schema),
    });
  });

  it('reads sampling and seeds beyond 2^53 exactly', () => {
    const sampled = ask({ ...HELLO, temperature: 0.7, top_p: 0.95, max_output_tokens: 7 }).request;
    expect(sampled).toMatchObject({ sampling: { temperature: 7000, topP: 9500, topK: 0 }, maxTokens: 7 });
    expect(askText('{"model":"m","input":"a","seed":18446744073709551615}').request.seed).toBe('18446744073709551615');
  });

  it('reads log-probabilities', () => {
    const include = ['message.output_text.logprobs'];
    expect(ask({ ...HELLO, include }).logprobs).toBe(0);
    expect(ask({ ...HELLO, include, top_logprobs: 20 }).logprobs).toBe(20);
    expect(refusal({ ...HELLO, top_logprobs: 1 })).toEqual({ code: 'INVALID_VALUE', param: 'top_logprobs' });
  });

  const output = { type: 'function_call_output', call_id: 'c', output: 'x' };
  const made = { type: 'function_call', call_id: 'c', name: 'look', arguments: '{}' };
  const REFUSALS: readonly (readonly [string, unknown, string, string | null])[] = [
    ['a list', [], 'INVALID_TYPE', null],
    ['no model', { input: 'a' }, 'MISSING_PARAMETER', 'model'],
    ['no input', { model: 'm' }, 'MISSING_PARAMETER', 'input'],
    ['no messages', { model: 'm', input: [] }, 'INVALID_VALUE', 'input'],
    ['an input that is a number', { ...HELLO, input: 1 }, 'INVALID_TYPE', 'input'],
    ['what nobody knows', { ...HELLO, colour: 1 }, 'UNKNOWN_PARAMETER', 'colour'],
    ['chat messages', { ...HELLO, messages: [] }, 'UNKNOWN_PARAMETER', 'messages'],
    ['truncation', { ...HELLO, truncation: 'auto' }, 'UNSUPPORTED_VALUE', 'truncation'],
    ['work in the background', { ...HELLO, background: true }, 'UNSUPPORTED_VALUE', 'background'],
    ['reasoning', { ...HELLO, reasoning: { effort: 'high' } }, 'UNSUPPORTED_VALUE', 'reasoning.effort'],
    ['a summary', { ...HELLO, reasoning: { summary: 'auto' } }, 'UNSUPPORTED_VALUE', 'reasoning.summary'],
    ['verbosity', { ...HELLO, text: { verbosity: 'low' } }, 'UNSUPPORTED_VALUE', 'text.verbosity'],
    ['a conversation', { ...HELLO, conversation: 'conv_1' }, 'UNSUPPORTED_VALUE', 'conversation'],
    ['a prompt template', { ...HELLO, prompt: { id: 'p' } }, 'UNSUPPORTED_VALUE', 'prompt'],
    ['a tier', { ...HELLO, service_tier: 'flex' }, 'UNSUPPORTED_VALUE', 'service_tier'],
    [
      'obfuscation',
      { ...HELLO, stream_options: { include_obfuscation: true } },
      'UNSUPPORTED_VALUE',
      'stream_options.include_obfuscation',
    ],
    ['sources of a search', { ...HELLO, include: ['file_search_call.results'] }, 'UNSUPPORTED_VALUE', 'include[0]'],
    ['a tool of OpenAI', { ...HELLO, tools: [{ type: 'web_search' }] }, 'UNSUPPORTED_VALUE', 'tools[0].type'],
    [
      'a tool as in chat',
      { ...HELLO, tools: [{ type: 'function', function: { name: 'a' } }] },
      'MISSING_PARAMETER',
      'tools[0].name',
    ],
    ['two tools of one name', { ...HELLO, tools: [TOOL, TOOL] }, 'INVALID_VALUE', 'tools[1]'],
    ['a name with a space', { ...HELLO, tools: [{ ...TOOL, name: 'a b' }] }, 'INVALID_VALUE', 'tools[0].name'],
    [
      'a tool that is not there',
      { ...HELLO, tool_choice: { type: 'function', name: 'a' } },
      'INVALID_VALUE',
      'tool_choice',
    ],
    ['required without tools', { ...HELLO, tool_choice: 'required' }, 'INVALID_VALUE', 'tool_choice'],
    ['a temperature of 3', { ...HELLO, temperature: 3 }, 'INVALID_VALUE', 'temperature'],
    ['no tokens', { ...HELLO, max_output_tokens: 0 }, 'INVALID_VALUE', 'max_output_tokens'],
    ['an unknown role', { ...HELLO, input: [{ role: 'critic', content: 'a' }] }, 'INVALID_VALUE', 'input[0].role'],
    ['no role', { ...HELLO, input: [{ content: 'a' }] }, 'MISSING_PARAMETER', 'input[0].role'],
    ['an unknown item', { ...HELLO, input: [{ type: 'poem' }] }, 'INVALID_VALUE', 'input[0].type'],
    [
      'a reasoning item',
      { ...HELLO, input: [{ type: 'reasoning', id: 'rs_1', summary: [] }] },
      'UNSUPPORTED_VALUE',
      'input[0].type',
    ],
    [
      'an image',
      { ...HELLO, input: [{ role: 'user', content: [{ type: 'input_image', image_url: 'a' }] }] },
      'UNSUPPORTED_VALUE',
      'input[0].content[0].type',
    ],
    ['an output without its call', { ...HELLO, input: [output] }, 'INVALID_VALUE', 'input'],
    ['an output before its call', { ...HELLO, input: [output, made] }, 'INVALID_VALUE', 'input'],
    ['no call_id', { ...HELLO, input: [{ ...made, call_id: null }] }, 'INVALID_TYPE', 'input[0].call_id'],
    ['half a place', { ...HELLO, tracebond: { index: '1' } }, 'INVALID_VALUE', 'tracebond'],
    [
      'too many labels',
      { ...HELLO, metadata: Object.fromEntries(Array.from({ length: 17 }, (_, i) => [`k${i}`, 'v'])) },
      'INVALID_VALUE',
      'metadata',
    ],
    [
      'a schema that is a text',
      { ...HELLO, text: { format: { type: 'json_schema', name: 'n', schema: '{}' } } },
      'INVALID_TYPE',
      'text.format.schema',
    ],
  ];
  it.each(REFUSALS)('refuses %s', (_name, body, code, param) => {
    expect(refusal(body)).toEqual({ code, param });
  });

  it('bounds the conversation, not the items alone', () => {
    const many = Array.from({ length: REQUEST_LIMITS.messages }, () => ({ role: 'user', content: 'a' }));
    expect(messages(many)).toHaveLength(REQUEST_LIMITS.messages);
    expect(refusal({ ...HELLO, input: many, instructions: 'one more' })).toEqual({
      code: 'INVALID_VALUE',
      param: 'input',
    });
    const part = { type: 'input_text', text: 'a'.repeat(REQUEST_LIMITS.content / 2 + 1) };
    expect(refusal({ ...HELLO, input: [{ role: 'user', content: [part, part] }] })).toEqual({
      code: 'INVALID_VALUE',
      param: 'input',
    });
  });

  it('can be described', () => {
    const described = z.toJSONSchema(responsesRequestSchema, { io: 'input' });
    expect(described.$defs?.['CreateResponse']).toMatchObject({
      type: 'object',
      required: ['model', 'input'],
      additionalProperties: false,
    });
  });
});
