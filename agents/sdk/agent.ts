/**
 * Agents: a function that acts through `ctx`, the model it asks, and the tools it may call.
 *
 * @module
 */

import type { AgentContext } from './context.ts';
import { assertName, type Limits, toLimits } from './limits.ts';
import type { AnyTool } from './tool.ts';

/** What a developer writes. */
export type AgentOptions<Input, Result> = {
  /** A lower-case letter, then letters, digits, `_` and `-`, at most 64. */
  readonly name: string;
  /** Model that `ctx.infer` asks, as the inference server names it. */
  readonly model: string;
  readonly tools?: readonly AnyTool[];
  readonly limits?: Partial<Limits>;
  readonly run: (ctx: AgentContext, input: Input) => Result | Promise<Result>;
};

/** An agent, checked and complete. */
export type Agent = {
  readonly kind: 'agent';
  readonly name: string;
  readonly model: string;
  readonly tools: readonly AnyTool[];
  readonly limits: Limits;
  readonly run: (ctx: AgentContext, input: unknown) => unknown;
};

/**
 * Defines an agent; the default export of its module.
 *
 * @throws TypeError for a malformed name or limit, a model that is no text, or two tools of one name
 */
export function defineAgent<Input, Result>(options: AgentOptions<Input, Result>): Agent {
  assertName(options.name);
  const { name, model, tools = [], run } = options;
  if (typeof model !== 'string' || model === '') throw new TypeError(`agent ${name} names no model`);
  if (typeof run !== 'function') throw new TypeError(`agent ${name} has no run function`);
  if (!tools.every((tool) => tool?.kind === 'tool'))
    throw new TypeError(`a tool of agent ${name} is none of defineTool`);
  if (new Set(tools.map((tool) => tool.name)).size !== tools.length) {
    throw new TypeError(`two tools of agent ${name} have one name`);
  }
  return { kind: 'agent', name, model, tools: [...tools], limits: toLimits(options.limits), run: run as Agent['run'] };
}
