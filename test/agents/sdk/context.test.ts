import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { type AgentContext, toAgentContext } from '../../../agents/sdk/agent-context.ts';
import { type ToolContext, toToolContext } from '../../../agents/sdk/context.ts';
import { defineAgent, defineTool, jsonSchema } from '../../../agents/sdk/index.ts';
import type { Json } from '../../../attest/encoding/canonical-json.ts';
import type { RunOpenBody } from '../../../attest/trace/bodies.ts';
import { parseCall } from '../../../attest/trace/guest.ts';
import { readSampling } from '../../../inference/api/sampling-fields.ts';

type Made = { readonly method: string; readonly args: unknown };

function contexts(answer: unknown = { text: '{}', finishReason: 'stop' }): {
  readonly agent: AgentContext;
  readonly tool: ToolContext;
  readonly made: Made[];
} {
  const made: Made[] = [];
  const call = async (method: string, args: unknown): Promise<unknown> => {
    made.push({ method, args });
    return answer;
  };
  return { agent: toAgentContext(call), tool: toToolContext(call), made };
}

const add = defineTool({
  name: 'add',
  description: 'Adds.',
  inputSchema: z.object({ b: z.string(), a: z.number() }),
  execute: (input) => input.a,
});
const bare = defineTool({ name: 'bare', description: '', execute: () => 1 });
const child = defineAgent({ name: 'child', model: 'm', run: (_ctx, input: { a: number }) => input.a });
const digest = `0x${'11'.repeat(32)}`;
const open = { inference: { id: 'model', engine: digest, model: digest, profile: digest } } as unknown as RunOpenBody;

const plain = (role: string, content: string) => ({ role, content, name: null, toolCallId: null, toolCalls: [] });
const GREEDY = { temperature: 0, topP: 10_000, topK: 0 };
const QUESTION = {
  messages: [plain('user', 'hi')],
  maxTokens: 256,
  parallelToolCalls: false,
  responseFormat: { type: 'text' },
  sampling: GREEDY,
  seed: '0',
  stop: [],
  toolChoice: { type: 'none' },
  tools: [],
};
const hi = { messages: [{ role: 'user', content: 'hi' }] } as const;
const ADD = {
  name: 'add',
  description: 'Adds.',
  parameters: '{"type":"object","properties":{"b":{"type":"string"},"a":{"type":"number"}},"required":["b","a"]}',
};

type Contexts = ReturnType<typeof contexts>;
const ASKED: readonly (readonly [string, (made: Contexts) => Promise<unknown>, Made])[] = [
  ['a question', ({ agent }) => agent.infer(hi), { method: 'inference', args: QUESTION }],
  [
    'a choice',
    ({ agent }) => agent.infer({ ...hi, maxTokens: 8, responseFormat: { type: 'choice', choices: ['a', 'b'] } }),
    {
      method: 'inference',
      args: { ...QUESTION, maxTokens: 8, responseFormat: { type: 'choice', choices: ['a', 'b'] } },
    },
  ],
  [
    'an end',
    ({ agent }) => agent.infer({ ...hi, stop: ['\n'] }),
    { method: 'inference', args: { ...QUESTION, stop: ['\n'] } },
  ],
  [
    'a draw',
    ({ agent }) => agent.infer({ ...hi, temperature: 0.7, topP: 0.95, topK: 40, seed: 18446744073709551615n }),
    {
      method: 'inference',
      args: { ...QUESTION, sampling: { temperature: 7000, topP: 9500, topK: 40 }, seed: '18446744073709551615' },
    },
  ],
  [
    'any JSON',
    ({ agent }) => agent.infer({ ...hi, responseFormat: { type: 'json_object' } }),
    { method: 'inference', args: { ...QUESTION, responseFormat: { type: 'json_object' } } },
  ],
  [
    'JSON of a JSON Schema, members in order',
    ({ agent }) => agent.infer({ ...hi, schema: jsonSchema({ type: 'object', properties: { z: {}, a: {} } }) }),
    {
      method: 'inference',
      args: {
        ...QUESTION,
        responseFormat: { type: 'json_schema', schema: '{"type":"object","properties":{"z":{},"a":{}}}' },
      },
    },
  ],
  [
    'calls',
    ({ agent }) => agent.infer({ ...hi, tools: [add, bare] }),
    {
      method: 'inference',
      args: {
        ...QUESTION,
        parallelToolCalls: true,
        toolChoice: { type: 'auto' },
        tools: [ADD, { name: 'bare', description: '', parameters: '{"type":"object"}' }],
      },
    },
  ],
  [
    'one call of one tool',
    ({ agent }) =>
      agent.infer({ ...hi, tools: [add], toolChoice: { type: 'function', name: 'add' }, parallelToolCalls: false }),
    {
      method: 'inference',
      args: { ...QUESTION, toolChoice: { type: 'function', name: 'add' }, tools: [ADD] },
    },
  ],
  [
    'an answer after calls',
    ({ agent }) =>
      agent.infer({
        messages: [
          { role: 'system', content: 'be' },
          { role: 'user', content: 'hi', name: 'ada' },
          { role: 'assistant', content: null, toolCalls: [{ id: 'call_0', name: 'add', arguments: '{}' }] },
          { role: 'tool', content: '7', toolCallId: 'call_0' },
        ],
        tools: [add],
        toolChoice: 'none',
      }),
    {
      method: 'inference',
      args: {
        ...QUESTION,
        messages: [
          plain('system', 'be'),
          { ...plain('user', 'hi'), name: 'ada' },
          { ...plain('assistant', ''), toolCalls: [{ id: 'call_0', name: 'add', arguments: '{}' }] },
          { ...plain('tool', '7'), toolCallId: 'call_0' },
        ],
        tools: [ADD],
      },
    },
  ],
  [
    'a tool',
    ({ agent }) => agent.tool(add, { a: 1, b: '' }),
    { method: 'tool', args: { name: 'add', input: { a: 1, b: '' } } },
  ],
  [
    'another agent',
    ({ agent }) => agent.run(child, { a: 1 }),
    { method: 'run.child', args: { agent: 'child', input: { a: 1 } } },
  ],
  [
    'a person',
    ({ agent }) => agent.approve({ summary: 'Pay?', details: { cents: 5 }, timeoutMs: 1000 }),
    { method: 'human.approve', args: { summary: 'Pay?', details: { cents: 5 }, timeoutMs: 1000 } },
  ],
  [
    'a person, without end',
    ({ tool }) => tool.approve({ summary: 'Pay?' }),
    { method: 'human.approve', args: { summary: 'Pay?', details: null, timeoutMs: 0 } },
  ],
  ['the time', ({ agent }) => agent.now(), { method: 'clock.now', args: {} }],
  ['random bytes', ({ tool }) => tool.random(16), { method: 'random.bytes', args: { length: 16 } }],
  ['a key', ({ tool }) => tool.kv.get('k'), { method: 'kv.get', args: { key: 'k' } }],
  ['a value to keep', ({ agent }) => agent.kv.put('k', 'v'), { method: 'kv.put', args: { key: 'k', value: 'v' } }],
  [
    'a change',
    ({ tool }) => tool.fetch('https://a.test/', { method: 'POST', headers: { 'content-type': 'a/b' }, body: 'x' }),
    {
      method: 'http.fetch',
      args: { url: 'https://a.test/', method: 'POST', headers: { 'content-type': 'a/b' }, body: 'x' },
    },
  ],
  [
    'a page by GET',
    ({ tool }) => tool.fetch('https://a.test/'),
    { method: 'http.fetch', args: { url: 'https://a.test/', method: 'GET', headers: {}, body: null } },
  ],
];

describe('ctx', () => {
  it.each(ASKED)('asks for %s with the call that the trace knows', async (_name, ask, expected) => {
    const both = contexts();
    await ask(both);
    expect(both.made).toEqual([expected]);
    const parsed = parseCall({ id: 0, method: expected.method, args: both.made[0]?.args as Json }, null, open);
    expect(parsed.method).toBe(expected.method);
  });

  it('gives agents no fetch and tools neither model nor tools nor agents', () => {
    const { agent, tool } = contexts();
    expect(Object.keys(agent).sort()).toEqual(['approve', 'infer', 'kv', 'log', 'now', 'random', 'run', 'tool']);
    expect(Object.keys(tool).sort()).toEqual(['approve', 'fetch', 'kv', 'log', 'mcp', 'now', 'random', 'wallet']);
  });

  it('rounds what is drawn as the inference API does', async () => {
    for (const temperature of [0, 0.1 + 0.2, 1 / 3, 0.00005, 0.00004, 1.99999, 2]) {
      const { agent, made } = contexts();
      await agent.infer({ ...hi, temperature, topP: 0.0001 + temperature / 3 });
      const { sampling } = (made[0]?.args ?? {}) as { readonly sampling?: unknown };
      expect(sampling).toEqual(readSampling({ temperature, top_p: 0.0001 + temperature / 3 }));
    }
  });

  it.each<readonly [string, Parameters<AgentContext['infer']>[0]]>([
    ['a temperature that is none', { ...hi, temperature: Number.NaN }],
    ['too hot', { ...hi, temperature: 2.1 }],
    ['no share', { ...hi, topP: 0 }],
    ['half a token', { ...hi, maxTokens: 0.5 }],
    ['no token', { ...hi, maxTokens: 0 }],
    ['too many of the most probable', { ...hi, topK: 1_000_001 }],
    ['a seed below 0', { ...hi, seed: -1 }],
    ['a seed that is rounded', { ...hi, seed: 2 ** 53 }],
    ['a seed of 65 bits', { ...hi, seed: 2n ** 64n }],
    ['a seed that is none', { ...hi, seed: '0x1' }],
    ['a choice and tools', { ...hi, tools: [add], responseFormat: { type: 'choice', choices: ['a'] } }],
    ['an end and tools', { ...hi, tools: [add], stop: ['x'] }],
    ['an end and JSON', { ...hi, stop: ['x'], responseFormat: { type: 'json_object' } }],
    ['a tool that is not there', { ...hi, tools: [add], toolChoice: { type: 'function', name: 'sub' } }],
    ['a call without tools', { ...hi, toolChoice: 'required' }],
    ['two shapes', { ...hi, schema: z.object({}), responseFormat: { type: 'text' } }],
    ['a schema that has no JSON Schema', { ...hi, schema: z.date() }],
  ])('refuses %s before anything is asked', async (_name, request) => {
    const { agent, made } = contexts();
    await expect(agent.infer(request)).rejects.toThrow();
    expect(made).toEqual([]);
  });
});

describe('answers', () => {
  const call = '<tool_call>\n{"name": "add", "arguments": {"a": 1}}\n</tool_call>';

  it('are read as content and calls, with ids of the run', async () => {
    const { agent } = contexts({ text: `so: ${call}\n${call}`, finishReason: 'stop' });
    const asked = { ...hi, tools: [add] };
    const ids = (from: number) =>
      [from, from + 1].map((n) => ({ id: `call_${n}`, name: 'add', arguments: '{"a": 1}' }));
    expect(await agent.infer(asked)).toMatchObject({ content: 'so: ', finishReason: 'tool_calls', toolCalls: ids(0) });
    expect(await agent.infer(asked)).toMatchObject({
      toolCalls: ids(2),
      object: undefined,
      message: { role: 'assistant', content: 'so: ', toolCalls: ids(2) },
    });
    expect(await agent.infer({ ...asked, toolChoice: 'none' })).toMatchObject({
      content: `so: ${call}\n${call}`,
      finishReason: 'stop',
      toolCalls: [],
    });
  });

  it('are said again as text where a call has a name that no request can hold', async () => {
    const text = '<tool_call>\n{"name": "no such", "arguments": {}}\n</tool_call>';
    const { agent } = contexts({ text, finishReason: 'stop' });
    const answer = await agent.infer({ ...hi, tools: [add] });
    expect(answer.toolCalls).toHaveLength(1);
    expect(answer.message).toEqual({ role: 'assistant', content: text });
  });

  it('are read by their schema, and refused by it', async () => {
    const schema = z.object({ at: z.coerce.number() });
    const asked = { ...hi, schema };
    const { agent } = contexts({ text: '{"at": "7"}', finishReason: 'stop' });
    expect((await agent.infer(asked)).object).toEqual({ at: 7 });
    for (const text of ['{"at": "x"}', '{"at": 7', '']) {
      const other = contexts({ text, finishReason: 'length' }).agent;
      await expect(other.infer(asked)).rejects.toMatchObject({ code: 'OUTPUT_INVALID' });
    }
    const parsed = await agent.infer({ ...hi, responseFormat: { type: 'json_object' } });
    expect(parsed.object).toEqual({ at: '7' });
    expect((await agent.infer(hi)).object).toBeUndefined();
  });

  it('over HTTP can be read as JSON', async () => {
    const { tool } = contexts({ status: 200, headers: { etag: '"a"' }, body: '{"a":[1.5]}' });
    const answer = await tool.fetch('https://a.test/');
    expect(answer).toMatchObject({ status: 200, headers: { etag: '"a"' } });
    expect(answer.json()).toEqual({ a: [1.5] });
    const broken = contexts({ status: 200, headers: {}, body: '{' }).tool;
    await expect(broken.fetch('https://a.test/').then((found) => found.json())).rejects.toThrow(SyntaxError);
  });
});
