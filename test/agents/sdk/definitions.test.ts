import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { agentManifest, DEFAULT_LIMITS, defineAgent, defineTool, toolManifest } from '../../../agents/sdk/index.ts';
import { SchemaError, validate } from '../../../agents/sdk/schema.ts';

const tool = defineTool({ name: 'add', description: 'Adds.', execute: () => 1 });
const run = () => 1;

describe('defineTool and defineAgent', () => {
  it('complete what is left out', () => {
    expect(toolManifest(tool)).toEqual({
      name: 'add',
      description: 'Adds.',
      language: 'javascript',
      inputSchema: null,
      capabilities: { fetch: [], kv: false, clock: false, random: false, approve: false },
      limits: DEFAULT_LIMITS,
    });
    expect(agentManifest(defineAgent({ name: 'a', model: 'm', tools: [tool], run }))).toEqual({
      name: 'a',
      model: 'm',
      run: 'own',
      tools: [toolManifest(tool)],
      agents: [],
      schemas: [],
      limits: DEFAULT_LIMITS,
    });
  });

  it('make JSON Schema of a zod schema', () => {
    const inputSchema = z.object({ a: z.string(), b: z.array(z.number().int()).optional() });
    const manifest = toolManifest(defineTool({ name: 'a', description: '', inputSchema, execute: () => 1 }));
    expect(JSON.parse(manifest.inputSchema ?? '')).toEqual({
      type: 'object',
      properties: {
        a: { type: 'string' },
        b: { type: 'array', items: expect.objectContaining({ type: 'integer' }) },
      },
      required: ['a'],
    });
    const inexpressible = z.object({ a: z.date() });
    expect(
      toolManifest(defineTool({ name: 'a', description: '', inputSchema: inexpressible, execute: () => 1 }))
        .inputSchema,
    ).toBeNull();
  });

  it.each([
    ['name of a tool', () => defineTool({ name: 'Add', description: '', execute: run })],
    ['long name', () => defineTool({ name: 'a'.repeat(65), description: '', execute: run })],
    ['fuel of nothing', () => defineTool({ name: 'a', description: '', limits: { fuel: 0 }, execute: run })],
    ['memory beyond', () => defineTool({ name: 'a', description: '', limits: { memoryMb: 1025 }, execute: run })],
    ['name of an agent', () => defineAgent({ name: '../a', model: 'm', run })],
    ['no model', () => defineAgent({ name: 'a', model: '', run })],
    ['two tools of one name', () => defineAgent({ name: 'a', model: 'm', tools: [tool, tool], run })],
  ])('refuse: %s', (_name, define) => {
    expect(define).toThrow(TypeError);
  });
});

describe('validation', () => {
  it('passes what there is no schema for, and what the schema makes of a value', async () => {
    expect(await validate(undefined, { a: 1 }, 'INPUT_INVALID')).toEqual({ a: 1 });
    expect(await validate(z.coerce.number(), '7', 'INPUT_INVALID')).toBe(7);
    expect(
      await validate(
        z.string().transform(async (text) => text.length),
        'abc',
        'OUTPUT_INVALID',
      ),
    ).toBe(3);
  });

  it('names at most five places', async () => {
    const schema = z.object({ rows: z.array(z.object({ id: z.string() })) });
    const value = { rows: Array.from({ length: 9 }, () => ({ id: 1 })) };
    const error = await validate(schema, value, 'OUTPUT_INVALID').catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(SchemaError);
    expect(error).toMatchObject({ code: 'OUTPUT_INVALID' });
    const places = String((error as SchemaError).message).split('; ');
    expect(places).toHaveLength(5);
    expect(places[4]).toBe('$.rows[4].id: Invalid input: expected string, received number');
  });
});
