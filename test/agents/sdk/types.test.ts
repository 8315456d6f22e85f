/**
 * What the compiler knows of agents and tools. `expectTypeOf` says nothing when it runs: `npm run types` is the test.
 */

import { describe, expect, expectTypeOf, it } from 'vitest';
import { z } from 'zod';
import type { AgentContext } from '../../../agents/sdk/agent-context.ts';
import {
  type Agent,
  defineAgent,
  defineTool,
  defineWasmTool,
  type InferAnswer,
  jsonSchema,
  type LoopInput,
  type LoopResult,
  type Tool,
} from '../../../agents/sdk/index.ts';

const parse = defineTool({
  name: 'parse',
  description: '',
  inputSchema: z.object({ text: z.string(), base: z.coerce.number().default(10) }),
  outputSchema: z.object({ value: z.number().transform(String) }),
  execute(input, ctx) {
    expectTypeOf(input).toEqualTypeOf<{ text: string; base: number }>();
    expectTypeOf(ctx.fetch).returns.resolves.toHaveProperty('json');
    // @ts-expect-error tools have no model
    ctx.infer;
    return { value: Number.parseInt(input.text, input.base) };
  },
});
const plain = defineTool({ name: 'plain', description: '', execute: async (input: { n: number }) => [input.n] });
const wasm = defineWasmTool({
  name: 'wasm',
  description: '',
  inputSchema: jsonSchema<{ text: string }>({ type: 'object' }),
  outputSchema: z.object({ words: z.number() }),
  module: './a.wasm',
});
const Place = z.object({ city: z.string(), zip: z.coerce.number() });
const looker = defineAgent({
  name: 'looker',
  model: 'm',
  run: async (_ctx, input: { city: string }) => ({ zip: input.city.length }),
});
const loop = defineAgent({ name: 'loop', model: 'm', tools: [parse, plain, wasm] });
const loopObject = defineAgent({ name: 'loop', model: 'm', outputSchema: Place });

/** Never called. */
async function agentCode(ctx: AgentContext): Promise<void> {
  expectTypeOf(await ctx.tool(parse, { text: '7' })).toEqualTypeOf<{ value: string }>();
  expectTypeOf(await ctx.tool(plain, { n: 7 })).toEqualTypeOf<number[]>();
  expectTypeOf(await ctx.tool(wasm, { text: '' })).toEqualTypeOf<{ words: number }>();
  expectTypeOf(await ctx.run(looker, { city: '' })).toEqualTypeOf<{ zip: number }>();
  expectTypeOf(await ctx.run(loop, 'hi')).toEqualTypeOf<LoopResult<undefined>>();
  expectTypeOf((await ctx.run(loopObject, { prompt: 'hi' })).object).toEqualTypeOf<z.output<typeof Place>>();
  // @ts-expect-error a number is no text
  await ctx.tool(parse, { text: 7 });
  // @ts-expect-error a member is missing
  await ctx.tool(plain, {});
  // @ts-expect-error the module reads a text
  await ctx.tool(wasm, { words: 1 });
  // @ts-expect-error an agent is no tool
  await ctx.tool(looker, { city: '' });
  // @ts-expect-error a tool is no agent
  await ctx.run(parse, { text: '' });
  // @ts-expect-error no conversation
  await ctx.run(loop, { question: 'hi' });
  // @ts-expect-error agents have no fetch
  ctx.fetch;

  const messages = [{ role: 'user', content: 'hi' }] as const;
  const free = await ctx.infer({ messages });
  expectTypeOf(free).toEqualTypeOf<InferAnswer>();
  expectTypeOf(free.object).toBeUnknown();
  expectTypeOf(free.finishReason).toEqualTypeOf<'stop' | 'length' | 'choice' | 'tool_calls'>();
  expectTypeOf((await ctx.infer({ messages, schema: Place })).object).toEqualTypeOf<{ city: string; zip: number }>();
  const either = await ctx.infer({ messages, schema: Place, tools: [parse] });
  expectTypeOf(either.object).toEqualTypeOf<{ city: string; zip: number } | undefined>();
  const typed = await ctx.infer({ messages, schema: jsonSchema<readonly string[]>({ type: 'array' }) });
  expectTypeOf(typed.object).toEqualTypeOf<readonly string[]>();
  await ctx.infer({ messages: [...messages, free.message, { role: 'tool', content: '7', toolCallId: 'call_0' }] });
  // @ts-expect-error a tool's message says which call it answers
  await ctx.infer({ messages: [{ role: 'tool', content: '7' }] });
  // @ts-expect-error no such role
  await ctx.infer({ messages: [{ role: 'person', content: '7' }] });
  // @ts-expect-error no such choice
  await ctx.infer({ messages, tools: [parse], toolChoice: 'always' });
  // @ts-expect-error agents are no tools of a model
  await ctx.infer({ messages, tools: [looker] });
}

describe('the types of agents and tools', () => {
  it('follow from their schemas and functions', () => {
    expectTypeOf(parse).toExtend<Tool<{ text: string; base?: unknown }, { value: string }>>();
    expectTypeOf(looker).toExtend<Agent<{ city: string }, { zip: number }>>();
    expectTypeOf(loop).toExtend<Agent<LoopInput, LoopResult>>();
    expectTypeOf<LoopResult>().not.toHaveProperty('object');
    expect(looker.run).toBeTypeOf('function');
    expect(loop.run).toBeUndefined();
    expect(agentCode).toBeTypeOf('function');
  });

  it('refuse what cannot be', () => {
    const base = { name: 'a', description: '', execute: () => 1 };
    const rule = { url: 'https://a.test', methods: ['LIST'] } as const;
    // @ts-expect-error no such method
    expect(() => defineTool({ ...base, capabilities: { fetch: [rule] } })).toThrow(TypeError);
    // @ts-expect-error a module is a path, a URL or bytes
    expect(() => defineWasmTool({ name: 'a', description: '', module: 7 })).toThrow(TypeError);
    // @ts-expect-error a tool is what defineTool made
    expect(() => defineAgent({ name: 'a', model: 'm', tools: [base] })).toThrow(TypeError);
    // @ts-expect-error the result is no text
    defineTool({ ...base, outputSchema: z.string() });
    // @ts-expect-error maxSteps is for agents without a function
    defineAgent({ name: 'a', model: 'm', maxSteps: 3, run: () => 1 });
  });
});
