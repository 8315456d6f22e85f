/**
 * Tools: functions with schemas, capabilities and limits, each run in a sandbox of its own.
 *
 * @module
 */

import type { ToolContext, ToolHandle } from './context.ts';
import { assertName, type Limits, toLimits } from './limits.ts';
import type { StandardSchema } from './schema.ts';

/** What a tool may reach; whatever is not named is denied. */
export type Capabilities = {
  /** URLs that `ctx.fetch` may ask, `*` standing for any text: `https://books.example.com/*`. */
  readonly fetch?: readonly string[];
  /** `ctx.kv`, a namespace of the tool's own. */
  readonly kv?: boolean;
  /** `ctx.now`. */
  readonly clock?: boolean;
  /** `ctx.random`. */
  readonly random?: boolean;
};

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

/** A tool of whatever types. */
export type AnyTool = {
  readonly kind: 'tool';
  readonly name: string;
  readonly description: string;
  readonly inputSchema: StandardSchema | undefined;
  readonly outputSchema: StandardSchema | undefined;
  readonly capabilities: Required<Capabilities>;
  readonly limits: Limits;
  readonly execute: (input: unknown, ctx: ToolContext) => unknown;
};

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
  assertName(options.name);
  if (typeof options.description !== 'string') throw new TypeError(`tool ${options.name} has no description`);
  if (typeof options.execute !== 'function') throw new TypeError(`tool ${options.name} has no execute function`);
  const { fetch = [], kv = false, clock = false, random = false } = options.capabilities ?? {};
  if (!Array.isArray(fetch) || !fetch.every((pattern) => typeof pattern === 'string')) {
    throw new TypeError(`capabilities.fetch of tool ${options.name} must be a list of texts`);
  }
  return {
    kind: 'tool',
    name: options.name,
    description: options.description,
    inputSchema: options.inputSchema as StandardSchema | undefined,
    outputSchema: options.outputSchema as StandardSchema | undefined,
    capabilities: { fetch: [...fetch], kv: kv === true, clock: clock === true, random: random === true },
    limits: toLimits(options.limits),
    execute: options.execute as AnyTool['execute'],
  };
}
