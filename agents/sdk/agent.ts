/**
 * Agents: a function that acts through `ctx`, the model it asks, the tools and other agents it may call. Without a function, the
 * built-in tool-calling loop runs (`tool-loop.ts`).
 *
 * @module
 */

import type { AgentContext, AgentHandle } from './agent-context.ts';
import type { InferSettings, ToolChoice } from './infer.ts';
import { assertName, type Limits, toLimits } from './limits.ts';
import type { LoopInput, LoopResult, LoopSettings } from './loop.ts';
import type { StandardSchema } from './schema.ts';
import type { AnyTool } from './tool.ts';

type SharedOptions = {
  /** A lower-case letter, then letters, digits, `_` and `-`, at most 64. */
  readonly name: string;
  /** Model that `ctx.infer` asks, as the inference server names it. */
  readonly model: string;
  readonly tools?: readonly AnyTool[];
  /** Agents that `ctx.run` may run. */
  readonly agents?: readonly AnyAgent[];
  /** Schemas of `ctx.infer` whose JSON Schema is to be made at build time. */
  readonly schemas?: readonly StandardSchema[];
  readonly limits?: Partial<Limits>;
  /** What the agent does, for whoever calls it as a tool. */
  readonly description?: string;
  /** Any Standard Schema; the input is checked by it inside the sandbox (`INPUT_INVALID`). */
  readonly inputSchema?: StandardSchema;
};

/** What a developer writes. */
export type AgentOptions<Input, Result> = SharedOptions & {
  /** Any Standard Schema; the result is checked by it inside the sandbox (`OUTPUT_INVALID`). */
  readonly outputSchema?: StandardSchema;
  readonly run: (ctx: AgentContext, input: Input) => Result | Promise<Result>;
};

/** What a developer writes of an agent that is a model with tools. */
export type LoopAgentOptions<T = undefined> = SharedOptions &
  InferSettings & {
    readonly run?: undefined;
    /** What the model is told first, as the system's message. */
    readonly instructions?: string;
    /** Answers that the model may give, 1 to 100; 8 if left out. */
    readonly maxSteps?: number;
    /** For the first answer; later ones are `auto`, or a required tool would be called for ever. */
    readonly toolChoice?: ToolChoice;
    /** Whether one answer may hold several calls, which then run side by side; true if left out. */
    readonly parallelToolCalls?: boolean;
    /** Shape of the last answer; what it reads is the result's `object`, and holds safe integers only. */
    readonly outputSchema?: StandardSchema<unknown, T>;
  };

/** An agent of whatever types, checked and complete. */
export type AnyAgent = {
  readonly kind: 'agent';
  readonly name: string;
  readonly model: string;
  readonly tools: readonly AnyTool[];
  readonly agents: readonly AnyAgent[];
  readonly schemas: readonly StandardSchema[];
  readonly limits: Limits;
  readonly description?: string;
  readonly inputSchema?: StandardSchema;
} & (
  | { readonly run: AgentFunction; readonly loop: undefined; readonly outputSchema?: StandardSchema }
  /** The built-in loop runs. */
  | { readonly run: undefined; readonly loop: LoopSettings }
);

/** An agent's own function. */
export type AgentFunction = (ctx: AgentContext, input: unknown) => unknown;

/** An agent that takes `Input` and gives `Result`. */
export type Agent<Input = unknown, Result = unknown> = AnyAgent & AgentHandle<Input, Result>;

/**
 * Defines an agent; the default export of its module.
 *
 * @throws TypeError for a malformed name, limit or setting, a model that is no text, or two tools or agents of one name
 */
export function defineAgent<Input, Result>(
  options: AgentOptions<Input, Result>,
): Agent<Input, Result> & { readonly run: AgentFunction };
/** Defines an agent that is a model with tools: the built-in loop runs, in the sandbox like any agent. */
export function defineAgent<T = undefined>(options: LoopAgentOptions<T>): Agent<LoopInput, LoopResult<T>>;
export function defineAgent(options: AgentOptions<never, unknown> | LoopAgentOptions<unknown>): AnyAgent {
  const { name, model, tools = [], agents = [], schemas = [], run, description, inputSchema, outputSchema } = options;
  assertName(name);
  if (typeof model !== 'string' || model === '') throw new TypeError(`agent ${name} names no model`);
  if (run !== undefined && typeof run !== 'function') throw new TypeError(`run of agent ${name} is no function`);
  if (description !== undefined && typeof description !== 'string') {
    throw new TypeError(`description of agent ${name} is no text`);
  }
  assertParts(tools, 'tool', name);
  assertParts(agents, 'agent', name);
  const shared = {
    kind: 'agent',
    name,
    model,
    tools: [...tools],
    agents: [...agents],
    schemas: [...schemas],
    limits: toLimits(options.limits),
    ...(description === undefined ? {} : { description }),
    ...(inputSchema === undefined ? {} : { inputSchema }),
  } as const;
  if (run === undefined) return { ...shared, run, loop: toLoopSettings(options, name) };
  const own = { ...shared, run: run as AgentFunction, loop: undefined };
  return outputSchema === undefined ? own : { ...own, outputSchema };
}

function assertParts(parts: readonly { kind: string; name: string }[], kind: 'tool' | 'agent', owner: string): void {
  if (!parts.every((part) => part?.kind === kind))
    throw new TypeError(`a ${kind} of agent ${owner} is none of this SDK`);
  if (new Set(parts.map(({ name }) => name)).size !== parts.length) {
    throw new TypeError(`two ${kind}s of agent ${owner} have one name`);
  }
}

function toLoopSettings(options: Omit<LoopAgentOptions<unknown>, 'run'>, name: string): LoopSettings {
  const { instructions, maxSteps = 8, toolChoice, parallelToolCalls = true, outputSchema } = options;
  if (!Number.isSafeInteger(maxSteps) || maxSteps < 1 || maxSteps > 100) {
    throw new TypeError(`maxSteps of agent ${name} must be a whole number from 1 to 100`);
  }
  if (instructions !== undefined && typeof instructions !== 'string') {
    throw new TypeError(`instructions of agent ${name} are no text`);
  }
  const { maxTokens, temperature, topP, topK, seed } = options;
  const settings = Object.entries({ maxTokens, temperature, topP, topK, seed }).filter(
    ([, value]) => value !== undefined,
  );
  return {
    ...(Object.fromEntries(settings) as InferSettings),
    instructions,
    maxSteps,
    toolChoice,
    parallelToolCalls,
    outputSchema,
  };
}
