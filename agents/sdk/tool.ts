/**
 * Tools: functions with schemas, capabilities and limits, each run in a sandbox of its own.
 *
 * @module
 */

import { type Capabilities, type CapabilitySet, toCapabilities } from './capabilities.ts';
import type { ToolContext, ToolHandle } from './context.ts';
import { assertName, type Limits, toLimits } from './limits.ts';
import { type StandardSchema, validate } from './schema.ts';

/** What a developer writes. `Sent` goes in, `Input` is what `execute` sees; `Result` comes out of it, `Given` of the tool. */
export type ToolOptions<Input, Result, Sent = Input, Given = Result> = {
  /** A lower-case letter, then letters, digits, `_` and `-`, at most 64. */
  readonly name: string;
  /** What the tool does, for the model. */
  readonly description: string;
  /** Any Standard Schema; the input is checked by it inside the sandbox (`INPUT_INVALID`). */
  readonly inputSchema?: StandardSchema<Sent, Input>;
  /** Any Standard Schema; the result is checked by it inside the sandbox (`OUTPUT_INVALID`). */
  readonly outputSchema?: StandardSchema<Result, Given>;
  readonly capabilities?: Capabilities;
  readonly limits?: Partial<Limits>;
  readonly execute: (input: Input, ctx: ToolContext) => Result | Promise<Result>;
};

/** Where the program of a WebAssembly tool is: in a file, relative to the agent's module, or here. */
export type WasmSource = { readonly path: string } | { readonly base64: string };

/** A tool of whatever types: a function, or a WebAssembly program. */
export type AnyTool = {
  readonly kind: 'tool';
  readonly name: string;
  readonly description: string;
  readonly inputSchema: StandardSchema | undefined;
  readonly outputSchema: StandardSchema | undefined;
  readonly capabilities: CapabilitySet;
  readonly limits: Limits;
  readonly asText?: true;
} & (
  | { readonly language: 'javascript'; readonly execute: (input: unknown, ctx: ToolContext) => unknown }
  | { readonly language: 'wasm'; readonly module: () => WasmSource }
);

/** A tool that takes `Sent` and gives `Given`. */
export type Tool<Sent, Given> = AnyTool & ToolHandle<Sent, Given>;

/**
 * Defines a tool.
 *
 * @throws TypeError for a malformed name, capability or limit
 */
export function defineTool<Input, Result, Sent = Input, Given = Result>(
  options: ToolOptions<Input, Result, Sent, Given>,
): Tool<Sent, Given> {
  const { name, description, inputSchema, outputSchema, execute } = options;
  assertDescribed(name, description);
  if (typeof execute !== 'function') throw new TypeError(`tool ${name} has no execute function`);
  return {
    kind: 'tool',
    language: 'javascript',
    name,
    description,
    inputSchema: inputSchema as StandardSchema | undefined,
    outputSchema: outputSchema as StandardSchema | undefined,
    capabilities: toCapabilities(options.capabilities, name),
    limits: toLimits(options.limits),
    execute: execute as (input: unknown, ctx: ToolContext) => unknown,
  };
}

/**
 * Runs a tool's function between its schemas.
 *
 * @throws {@link SchemaError}
 * @throws TypeError for a WebAssembly tool, which the engine runs itself
 */
export async function executeTool(tool: AnyTool, input: unknown, ctx: ToolContext): Promise<unknown> {
  if (tool.language !== 'javascript') throw new TypeError(`tool ${tool.name} is no function`);
  const given = tool.asText === true ? (JSON.parse(String(input)) as unknown) : input;
  const read = await validate(tool.inputSchema, given, 'INPUT_INVALID');
  const result = await validate(tool.outputSchema, await tool.execute(read, ctx), 'OUTPUT_INVALID');
  return tool.asText === true ? JSON.stringify(result ?? null) : result;
}

/** @throws TypeError for a malformed name or no description */
export function assertDescribed(name: unknown, description: unknown): void {
  assertName(name);
  if (typeof description !== 'string') throw new TypeError(`tool ${name} has no description`);
}
