/**
 * Tools of other SDKs as tools of this one, and back: the AI SDK (`ai`), OpenAI Agents (`@openai/agents`), Mastra (`@mastra/core`) and
 * MCP. Only shapes are known here, none of those packages.
 *
 * Inwards, the function becomes sandboxed code: it may use what the sandbox has and nothing of Node. `ai` and `@openai/agents` themselves need
 * Node, so a module that imports them cannot be bundled; `tool` of `@ai-sdk/provider-utils` can, and so can the bare object. Outwards, the tool runs in the
 * other SDK's process, unsandboxed and unrecorded, with a `ctx` of the caller's making.
 *
 * @module
 */

import type { Capabilities } from './capabilities.ts';
import type { ToolContext } from './context.ts';
import type { Limits } from './limits.ts';
import { type JsonSchema, jsonSchema, type StandardSchema, toJsonSchemaText } from './schema.ts';
import { type AnyTool, defineTool, executeTool, type Tool } from './tool.ts';

/** What other SDKs' tools do not say. */
export type ForeignToolOptions = { readonly capabilities?: Capabilities; readonly limits?: Partial<Limits> };

/** A schema of the AI SDK's own, `jsonSchema(...)`. */
type AiSchema<T> = {
  readonly jsonSchema: unknown;
  readonly validate?: ((value: unknown) => unknown) | undefined;
  readonly _type?: T;
};

/** `tool(...)` of the AI SDK. */
type AiTool<Input, Result> = {
  readonly description?: string | undefined;
  readonly inputSchema?: StandardSchema<unknown, Input> | AiSchema<Input> | (() => unknown) | undefined;
  readonly execute?: ((input: Input, options: never) => Result) | undefined;
};

/** `tool(...)` of OpenAI Agents. */
type OpenAiTool = {
  readonly name: string;
  readonly description: string;
  readonly parameters: object;
  readonly invoke: (runContext: never, input: string) => Promise<unknown>;
};

/** `createTool(...)` of Mastra; `execute` gets the input first, as from version 1 on. */
type MastraTool<Input, Result> = {
  readonly id: string;
  readonly description: string;
  readonly inputSchema?: StandardSchema<unknown, Input> | undefined;
  readonly outputSchema?: StandardSchema | undefined;
  readonly execute?: ((input: Input, context: never) => Result | Promise<Result>) | undefined;
};

/** A tool as an MCP server lists it. */
type McpTool = {
  readonly name: string;
  readonly description?: string | undefined;
  readonly inputSchema: object;
};

/** What a tool of MCP answers. */
type McpResult = {
  readonly content?: readonly { readonly type: string; readonly text?: string | undefined }[] | undefined;
  readonly structuredContent?: unknown;
  readonly isError?: boolean | undefined;
};

/** The result, or the items of a stream of results. */
type LastOf<Result> = Result extends AsyncIterable<infer Item> ? Item : Awaited<Result>;

/**
 * Takes a tool of the AI SDK. Its `execute` gets `ctx` as `experimental_context`; of a stream of results the last one counts.
 *
 * @throws TypeError if it has no `execute`, or a schema that is made later
 */
export function fromAiTool<Input, Result>(
  name: string,
  tool: AiTool<Input, Result>,
  options: ForeignToolOptions = {},
): Tool<Input, LastOf<Result>> {
  const { execute } = tool;
  if (execute === undefined) throw new TypeError(`tool ${name} has no execute function`);
  return defineTool({
    ...options,
    name,
    description: tool.description ?? '',
    ...withInput(fromAiSchema(tool.inputSchema, name)),
    execute: async (input: Input, ctx) => {
      const run = execute as (input: Input, options: unknown) => unknown;
      return last(run(input, { toolCallId: name, messages: [], experimental_context: ctx }));
    },
  }) as Tool<Input, LastOf<Result>>;
}

/** Takes a tool of OpenAI Agents. It checks its input itself, and its function gets `{ context: ctx }` as its run context. */
export function fromOpenAiTool(tool: OpenAiTool, options: ForeignToolOptions = {}): Tool<unknown, unknown> {
  const invoke = tool.invoke as (runContext: unknown, input: string) => Promise<unknown>;
  return defineTool({
    ...options,
    name: tool.name,
    description: tool.description,
    inputSchema: jsonSchema(tool.parameters as JsonSchema),
    execute: (input: unknown, ctx) => invoke({ context: ctx }, JSON.stringify(input)),
  });
}

/** Takes a tool of Mastra. Its `execute` gets `{ requestContext: ctx }`. */
export function fromMastraTool<Input, Result>(
  tool: MastraTool<Input, Result>,
  options: ForeignToolOptions = {},
): Tool<Input, Awaited<Result>> {
  const { id, description, inputSchema, outputSchema, execute } = tool;
  if (execute === undefined) throw new TypeError(`tool ${id} has no execute function`);
  const run = execute as (input: Input, context: unknown) => unknown;
  return defineTool({
    ...options,
    name: id,
    description,
    ...withInput(inputSchema),
    ...(outputSchema === undefined ? {} : { outputSchema }),
    execute: (input: Input, ctx) => run(input, { requestContext: ctx }),
  }) as Tool<Input, Awaited<Result>>;
}

/**
 * Takes a tool of MCP with the function behind it. Its result is `structuredContent`, or else its texts, a line each; with `isError` it
 * fails with them.
 */
export function fromMcpTool(
  tool: McpTool,
  handler: (input: unknown, ctx: ToolContext) => McpResult | Promise<McpResult>,
  options: ForeignToolOptions = {},
): Tool<unknown, unknown> {
  return defineTool({
    ...options,
    name: tool.name,
    description: tool.description ?? '',
    inputSchema: jsonSchema(tool.inputSchema as JsonSchema),
    async execute(input: unknown, ctx) {
      const { content = [], structuredContent, isError } = await handler(input, ctx);
      const text = content.flatMap((part) => (part.text === undefined ? [] : [part.text])).join('\n');
      if (isError === true) throw new Error(text);
      return structuredContent ?? text;
    },
  });
}

/** Gives a tool to the AI SDK, `generateText({ tools: { name: toAiTool(tool, ctx) } })`. The tool reads its input itself. */
export function toAiTool<Sent, Given>(tool: Tool<Sent, Given>, ctx: ToolContext) {
  return {
    description: tool.description,
    inputSchema: jsonSchema<Sent>(toObjectSchema(tool)),
    execute: (input: Sent) => executeTool(tool, input, ctx) as Promise<Given>,
  };
}

/** Gives a tool to OpenAI Agents: options of its `tool(...)`. */
export function toOpenAiTool(tool: AnyTool, ctx: ToolContext) {
  const { properties = {}, required = [], ...schema } = toObjectSchema(tool);
  return {
    name: tool.name,
    description: tool.description,
    parameters: {
      ...schema,
      type: 'object' as const,
      properties: properties as Record<string, never>,
      required: required as string[],
      additionalProperties: true as const,
    },
    strict: false as const,
    execute: (input: unknown) => executeTool(tool, input, ctx),
  };
}

/** Gives a tool to an MCP server: an entry of its list, and the function behind it. */
export function toMcpTool(tool: AnyTool, ctx: ToolContext) {
  return {
    tool: { name: tool.name, description: tool.description, inputSchema: toObjectSchema(tool) },
    async handler(input: unknown) {
      try {
        const result = await executeTool(tool, input, ctx);
        const text = typeof result === 'string' ? result : JSON.stringify(result);
        const isObject = typeof result === 'object' && result !== null && !Array.isArray(result);
        return { content: [{ type: 'text' as const, text }], ...(isObject ? { structuredContent: result } : {}) };
      } catch (error) {
        return { content: [{ type: 'text' as const, text: String((error as Error).message) }], isError: true };
      }
    },
  };
}

function toObjectSchema(tool: AnyTool): JsonSchema & { readonly type: 'object' } {
  const text = toJsonSchemaText(tool.inputSchema);
  return { ...(text === null ? {} : (JSON.parse(text) as JsonSchema)), type: 'object' };
}

function withInput<T>(inputSchema: StandardSchema<unknown, T> | undefined) {
  return inputSchema === undefined ? {} : { inputSchema };
}

function fromAiSchema<T>(schema: AiTool<T, unknown>['inputSchema'], name: string) {
  if (schema === undefined) return undefined;
  if ('~standard' in schema) return schema;
  const { jsonSchema: written, validate } = schema as AiSchema<T>;
  if (typeof written !== 'object' || written === null || 'then' in written) {
    throw new TypeError(`the schema of tool ${name} is made later`);
  }
  if (validate === undefined) return jsonSchema<T>(written as JsonSchema);
  return jsonSchema<T>(written as JsonSchema, async (value) => {
    const result = (await validate(value)) as
      | { readonly success: true; readonly value: T }
      | { readonly success: false; readonly error: { readonly message: string } };
    return result.success ? { value: result.value } : { issues: [{ message: result.error.message }] };
  });
}

/** The result, or the last one of a stream. */
async function last(result: unknown): Promise<unknown> {
  const given = await result;
  if (typeof given !== 'object' || given === null || !(Symbol.asyncIterator in given)) return given;
  let latest: unknown;
  for await (const item of given as AsyncIterable<unknown>) latest = item;
  return latest;
}
