import { describe, expect, it } from 'vitest';
import { type AgentContext, type ToolContext, toAgentContext, toToolContext } from '../../../agents/sdk/context.ts';
import { defineTool } from '../../../agents/sdk/index.ts';
import type { Json } from '../../../attest/encoding/canonical-json.ts';
import type { RunOpenBody } from '../../../attest/trace/bodies.ts';
import { parseCall } from '../../../attest/trace/guest.ts';

type Made = { readonly method: string; readonly args: unknown };

function contexts(): { readonly agent: AgentContext; readonly tool: ToolContext; readonly made: Made[] } {
  const made: Made[] = [];
  const call = async (method: string, args: unknown): Promise<unknown> => {
    made.push({ method, args });
    return null;
  };
  return { agent: toAgentContext(call), tool: toToolContext(call), made };
}

const add = defineTool({ name: 'add', description: 'Adds.', execute: (input: { a: number }) => input.a });
// Of the opening record, only the model's id is looked at.
const open = { inference: { id: 'model' } } as RunOpenBody;

const ASKED: readonly (readonly [string, (made: ReturnType<typeof contexts>) => Promise<unknown>, Made])[] = [
  [
    'a question',
    ({ agent }) => agent.infer({ messages: [{ role: 'user', content: 'hi' }] }),
    {
      method: 'inference',
      args: {
        messages: [{ role: 'user', content: 'hi', name: null }],
        maxTokens: 256,
        responseFormat: { type: 'text' },
        stop: [],
      },
    },
  ],
  [
    'a choice',
    ({ agent }) =>
      agent.infer({
        messages: [{ role: 'system', content: 'x' }],
        maxTokens: 8,
        responseFormat: { type: 'choice', choices: ['a', 'b'] },
        stop: ['\n'],
      }),
    {
      method: 'inference',
      args: {
        messages: [{ role: 'system', content: 'x', name: null }],
        maxTokens: 8,
        responseFormat: { type: 'choice', choices: ['a', 'b'] },
        stop: ['\n'],
      },
    },
  ],
  ['a tool', ({ agent }) => agent.tool(add, { a: 1 }), { method: 'tool', args: { name: 'add', input: { a: 1 } } }],
  ['the time', ({ agent }) => agent.now(), { method: 'clock.now', args: {} }],
  ['random bytes', ({ tool }) => tool.random(16), { method: 'random.bytes', args: { length: 16 } }],
  ['a key', ({ tool }) => tool.kv.get('k'), { method: 'kv.get', args: { key: 'k' } }],
  ['a value to keep', ({ agent }) => agent.kv.put('k', 'v'), { method: 'kv.put', args: { key: 'k', value: 'v' } }],
  [
    'a page',
    ({ tool }) => tool.fetch('https://a.test/', { method: 'HEAD' }),
    { method: 'http.fetch', args: { url: 'https://a.test/', method: 'HEAD', headers: {}, body: null } },
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
    const parsed = parseCall({ id: 0, method: expected.method, args: expected.args as Json }, null, open);
    expect(parsed.method).toBe(expected.method);
  });

  it('gives agents no fetch and tools neither model nor tools', () => {
    const { agent, tool } = contexts();
    expect(Object.keys(agent).sort()).toEqual(['infer', 'kv', 'log', 'now', 'random', 'tool']);
    expect(Object.keys(tool).sort()).toEqual(['fetch', 'kv', 'log', 'now', 'random']);
  });
});
