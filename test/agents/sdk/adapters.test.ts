import * as openai from '@openai/agents';
import { jsonSchema as aiJsonSchema, tool as aiTool, asSchema } from 'ai';
import { describe, expect, expectTypeOf, it } from 'vitest';
import { z } from 'zod';
import { toToolContext } from '../../../agents/sdk/context.ts';
import {
  type AnyTool,
  defineTool,
  defineWasmTool,
  fromAiTool,
  fromMastraTool,
  fromMcpTool,
  fromOpenAiTool,
  jsonSchema,
  type Tool,
  toAiTool,
  toMcpTool,
  toOpenAiTool,
  toolManifest,
} from '../../../agents/sdk/index.ts';
import { executeTool } from '../../../agents/sdk/tool.ts';

const ctx = toToolContext(async () => 7);
const Sum = z.object({ a: z.number(), b: z.number() });
const parametersOf = (tool: AnyTool) => JSON.parse(toolManifest(tool).inputSchema ?? 'null');
const SUM_SCHEMA = {
  type: 'object',
  properties: { a: { type: 'number' }, b: { type: 'number' } },
  required: ['a', 'b'],
};

describe('tools of other SDKs', () => {
  it('of the AI SDK with zod: schema, types and function are kept, ctx is its context', async () => {
    const foreign = aiTool({
      description: 'Adds.',
      inputSchema: Sum,
      execute: async ({ a, b }, { experimental_context: context }) => ({ sum: a + b, same: context === ctx }),
    });
    const tool = fromAiTool('add', foreign, { capabilities: { clock: true } });
    expectTypeOf(tool).toEqualTypeOf<Tool<{ a: number; b: number }, { sum: number; same: boolean }>>();
    expect(toolManifest(tool)).toMatchObject({ name: 'add', description: 'Adds.', capabilities: { clock: true } });
    expect(parametersOf(tool)).toEqual(SUM_SCHEMA);
    expect(await executeTool(tool, { a: 1, b: 2 }, ctx)).toEqual({ sum: 3, same: true });
    await expect(executeTool(tool, { a: '1' }, ctx)).rejects.toMatchObject({ code: 'INPUT_INVALID' });
  });

  it('of the AI SDK with JSON Schema, its validation, and a stream of results', async () => {
    const inputSchema = aiJsonSchema<{ n: number }>(
      { type: 'object', properties: { n: { type: 'number' } } },
      {
        validate: (value) =>
          typeof (value as { n?: unknown }).n === 'number'
            ? { success: true, value: value as { n: number } }
            : { success: false, error: new Error('n is no number') },
      },
    );
    const foreign = aiTool({
      inputSchema,
      async *execute({ n }) {
        for (let i = 0; i <= n; i++) yield i;
      },
    });
    const tool = fromAiTool('count', foreign);
    expect(parametersOf(tool)).toEqual({ type: 'object', properties: { n: { type: 'number' } } });
    expect(await executeTool(tool, { n: 3 }, ctx)).toBe(3);
    await expect(executeTool(tool, {}, ctx)).rejects.toThrow('n is no number');
    expect(() => fromAiTool('none', aiTool({ inputSchema: Sum }))).toThrow(TypeError);
    expect(() => fromAiTool('later', { inputSchema: () => inputSchema, execute: () => 1 })).toThrow(TypeError);
    const later = { jsonSchema: Promise.resolve({}), validate: undefined };
    expect(() => fromAiTool('later', { inputSchema: later, execute: () => 1 })).toThrow(TypeError);
  });

  it('of OpenAI Agents', async () => {
    const foreign = openai.tool({
      name: 'add',
      description: 'Adds.',
      parameters: Sum,
      errorFunction: null,
      execute: async ({ a, b }, run) => ({ sum: a + b, same: run?.context === ctx }),
    });
    const tool = fromOpenAiTool(foreign);
    expect(parametersOf(tool)).toMatchObject(SUM_SCHEMA);
    expect(await executeTool(tool, { a: 1, b: 2 }, ctx)).toEqual({ sum: 3, same: true });
    await expect(executeTool(tool, { a: '1' }, ctx)).rejects.toThrow();
  });

  it('of Mastra and MCP, by their shapes', async () => {
    const mastra = fromMastraTool({
      id: 'add',
      description: 'Adds.',
      inputSchema: Sum,
      outputSchema: z.object({ sum: z.number().max(9) }),
      execute: async ({ a, b }: z.output<typeof Sum>) => ({ sum: a + b }),
    });
    expect(await executeTool(mastra, { a: 1, b: 2 }, ctx)).toEqual({ sum: 3 });
    await expect(executeTool(mastra, { a: 9, b: 2 }, ctx)).rejects.toMatchObject({ code: 'OUTPUT_INVALID' });
    expect(() => fromMastraTool({ id: 'add', description: '' })).toThrow(TypeError);
    const listed = { name: 'add', inputSchema: SUM_SCHEMA };
    const text = (value: string) => ({ content: [{ type: 'text', text: value }, { type: 'image' }] });
    const cases = [
      [() => text('3'), '3'],
      [() => ({ ...text('3'), structuredContent: { sum: 3 } }), { sum: 3 }],
      [() => ({}), ''],
    ] as const;
    for (const [handler, expected] of cases) {
      expect(await executeTool(fromMcpTool(listed, handler), {}, ctx)).toEqual(expected);
    }
    expect(parametersOf(fromMcpTool(listed, () => ({})))).toEqual(SUM_SCHEMA);
    const failing = fromMcpTool(listed, () => ({ ...text('no such row'), isError: true }));
    await expect(executeTool(failing, {}, ctx)).rejects.toThrow('no such row');
  });
});

describe('tools for other SDKs', () => {
  const add = defineTool({
    name: 'add',
    description: 'Adds.',
    inputSchema: Sum,
    outputSchema: z.object({ sum: z.number(), at: z.number() }),
    execute: async ({ a, b }, { now }) => ({ sum: a + b, at: await now() }),
  });

  it('go to the AI SDK', async () => {
    const { execute, inputSchema, description } = aiTool(toAiTool(add, ctx));
    expect(description).toBe('Adds.');
    expect(await asSchema(inputSchema).jsonSchema).toMatchObject(SUM_SCHEMA);
    const options = { toolCallId: '', messages: [] };
    expect(await execute?.({ a: 1, b: 2 }, options)).toEqual({ sum: 3, at: 7 });
    await expect(execute?.({ a: 'x' } as never, options)).rejects.toMatchObject({ code: 'INPUT_INVALID' });
    const bare = toAiTool(defineTool({ name: 'bare', description: '', execute: () => 1 }), ctx);
    expect(await asSchema(bare.inputSchema).jsonSchema).toMatchObject({ type: 'object' });
  });

  it('go to OpenAI Agents', async () => {
    const given = openai.tool(toOpenAiTool(add, ctx));
    expect(given.parameters).toMatchObject(SUM_SCHEMA);
    const run = new openai.RunContext();
    expect(await given.invoke(run, '{"a":1,"b":2}')).toEqual({ sum: 3, at: 7 });
    // Its default is to tell the model.
    expect(await given.invoke(run, '{"a":"x"}')).toContain('Invalid input');
  });

  it('go to MCP, with errors as answers', async () => {
    const { tool, handler } = toMcpTool(add, ctx);
    expect(tool).toMatchObject({ name: 'add', description: 'Adds.', inputSchema: SUM_SCHEMA });
    expect(await handler({ a: 1, b: 2 })).toEqual({
      content: [{ type: 'text', text: '{"sum":3,"at":7}' }],
      structuredContent: { sum: 3, at: 7 },
    });
    expect(await handler({})).toMatchObject({ isError: true });
    const list = defineTool({ name: 'list', description: '', execute: () => [1] });
    expect(await toMcpTool(list, ctx).handler({})).toEqual({ content: [{ type: 'text', text: '[1]' }] });
  });

  it('go there only if they are functions', async () => {
    const wasm = defineWasmTool({ name: 'a', description: '', module: './a.wasm', inputSchema: jsonSchema({}) });
    await expect(toAiTool(wasm, ctx).execute({})).rejects.toThrow(TypeError);
  });
});
